//! Reloads, and a driver that comes back with other GPUs or not at all.

use super::*;
use crate::collect::gpu::asides::MOST;

/// Waits for what other threads bring about; fails where that never comes.
fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "in vain");
        std::thread::yield_now();
    }
}

/// A collector that takes the place of those with the same `kept`.
fn next(world: &Arc<World>, options: &[(&str, &str)], kept: &Kept) -> Box<dyn Collector> {
    let options = [&[(FIELDS, "DCGM_FI_DEV_XID_ERRORS")], options].concat();
    collector_on(&host(&Fixture::new()), world, &options, kept)
}

/// `UUID value` and, of what is counted by it, `xid=value` of the samples that begin with `family`.
fn shown(collector: &mut dyn Collector, family: &str) -> Vec<String> {
    let text = samples(collector, &[family]);
    let label = |line: &str, name: &str| -> Option<String> {
        Some(line.split_once(&format!("{name}=\""))?.1.split_once('"')?.0.to_owned())
    };
    let line = |line: &str| {
        let value = line.rsplit(' ').next().unwrap_or_default();
        let xid = label(line, "xid").map(|xid| format!("{xid}=")).unwrap_or_default();
        format!("{} {xid}{value}", label(line, "UUID").unwrap_or_default())
    };
    text.lines().map(line).collect()
}

const COUNTED: &str = "outrigger_gpu_xid_errors_total";

#[test]
fn errors_between_a_reload_and_the_first_pass_after_it_are_counted_once() {
    let (world, kept) = (world(&[gpu(&[])]), Kept::default());
    let mut before = next(&world, &[], &kept);
    let listened = || world.listened.lock().unwrap().get(&0).copied();
    until(|| run(&mut *before).1.is_ok() && listened() == Some(1));
    let mut after = next(&world, &[], &kept);
    drop(before);
    world.xids.lock().unwrap().push((0, 79));
    until(|| world.xids.lock().unwrap().is_empty());
    until(|| shown(&mut *after, COUNTED) == ["GPU-0000 79=1"]);
    world.xids.lock().unwrap().push((0, 79));
    until(|| shown(&mut *after, COUNTED) == ["GPU-0000 79=2"]);
    assert_eq!(listened(), Some(1), "the thread is the one that was there");
    // Without a successor it ends.
    drop(after);
    until(|| kept.alive.of(("gpu-xid", 0)) == 0);
}

#[test]
fn errors_stay_with_the_gpu_that_had_them() {
    let (world, kept) = (world(&[gpu(&[])]), Kept::default());
    let mut collector = next(&world, &[], &kept);
    world.xids.lock().unwrap().push((0, 79));
    until(|| shown(&mut *collector, COUNTED) == ["GPU-0000 79=1"]);
    // The driver comes back with another GPU in its place.
    world.gone.store(true, Ordering::Release);
    assert_eq!(run(&mut *collector).0, "outrigger_gpu_available 0\n");
    world.first.store(1, Ordering::Release);
    world.gone.store(false, Ordering::Release);
    until(|| run(&mut *collector).1.is_ok());
    assert_eq!(shown(&mut *collector, COUNTED), [""; 0]);
    assert_eq!(shown(&mut *collector, "DCGM_FI_DEV_XID_ERRORS"), ["GPU-0001 0"]);
    world.xids.lock().unwrap().push((1, 48));
    until(|| shown(&mut *collector, COUNTED) == ["GPU-0001 48=1"]);
}

#[test]
fn a_lost_gpu_keeps_its_name_over_a_reload() {
    let (world, kept) = (world(&[gpu(&[])]), Kept::default());
    assert_eq!(shown(&mut *next(&world, &[], &kept), "outrigger_gpu_up"), ["GPU-0000 1"]);
    world.change(|gpus| gpus[0].lost = true);
    let mut after = next(&world, &[], &kept);
    assert_eq!(shown(&mut *after, "outrigger_gpu_up"), ["GPU-0000 0"]);
    world.first.store(1, Ordering::Release);
    world.change(|gpus| gpus[0].lost = false);
    assert_eq!(shown(&mut *after, "outrigger_gpu_up"), ["GPU-0001 1"]);
}

#[test]
fn a_gpu_that_hangs_holds_few_threads_whatever_the_reloads() {
    let (world, kept) = (world(&[gpu(&[])]), Kept::default());
    world.change(|gpus| gpus[0].hangs = true);
    let opened = || world.opened.lock().unwrap().get(&0).copied().unwrap_or(0);
    for count in 1..=u32::try_from(MOST).unwrap() {
        let mut collector = next(&world, &[(TIMEOUT, "10ms")], &kept);
        assert_eq!(shown(&mut *collector, "outrigger_gpu_up"), [" 0"]);
        until(|| opened() == count);
    }
    // One more does not ask, and so does not wait for an answer.
    let mut collector = next(&world, &[(TIMEOUT, "1h")], &kept);
    assert_eq!(shown(&mut *collector, "outrigger_gpu_up"), [" 0"]);
    assert_eq!(opened(), u32::try_from(MOST).unwrap());
    world.change(|gpus| gpus[0].hangs = false);
    until(|| shown(&mut *collector, "outrigger_gpu_up") == ["GPU-0000 1"]);
}

#[test]
fn a_driver_that_is_gone_for_one_gpu_is_not_opened_anew_in_each_pass() {
    let world = world(&[gpu(&[]), gpu(&[])]);
    world.change(|gpus| (gpus[0].hangs, gpus[1].driverless) = (true, true));
    let mut collector = next(&world, &[(TIMEOUT, "5ms")], &Kept::default());
    let begun = Instant::now();
    for _ in 0..20 {
        let _ = run(&mut *collector);
    }
    let sessions = u64::from(world.sessions.load(Ordering::Acquire));
    assert!(sessions <= 1 + begun.elapsed().as_secs(), "{sessions}");
    world.change(|gpus| (gpus[0].hangs, gpus[1].driverless) = (false, false));
    until(|| {
        let (text, result) = run(&mut *collector);
        result.is_ok() && text.matches("outrigger_gpu_up").count() == 2
    });
}
