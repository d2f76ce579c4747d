//! The per-CPU lines of `/proc/stat`, held against the kernel's own steps backwards.
//!
//! `iowait` and `idle` are known to decrease now and then (kernel `Documentation/filesystems/proc.rst`,
//! section 1.7), which Prometheus would read as a counter reset. So each counter keeps its highest
//! value; a CPU whose idle time drops by [`RESET_TICKS`] was taken off and on, and starts anew.

use crate::collect::parse;

/// Three seconds.
const RESET_TICKS: u64 = 300;
const IDLE: usize = 3;
/// More CPUs than any kernel is built for.
const MOST_CPUS: usize = 16_384;

/// One CPU's counters, in ticks: user nice system idle iowait irq softirq steal guest guest_nice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) cpu: u32,
    pub(super) ticks: [u64; 10],
}

/// Brings `held` up to date with `/proc/stat`; answers whether the set of CPUs has changed.
///
/// Kernels before 2.6.33 lack the last columns; they count as 0.
pub(super) fn read_times(text: &[u8], held: &mut Vec<Times>) -> Result<bool, String> {
    let mut changed = false;
    let mut count = 0;
    for line in parse::lines(text) {
        let Some(rest) = line.strip_prefix(b"cpu") else {
            // The CPU lines come first; the `intr` line after them is long.
            if count > 0 {
                break;
            }
            continue;
        };
        if rest.first().is_none_or(|b| !b.is_ascii_digit()) {
            continue;
        }
        let now = parse_line(rest)
            .ok_or_else(|| format!("expected numbers in {:?}", String::from_utf8_lossy(line)))?;
        match held.get_mut(count) {
            Some(times) if times.cpu == now.cpu => hold(&mut times.ticks, &now.ticks),
            _ => {
                changed = true;
                place(held, count, now);
            }
        }
        count += 1;
        if count == MOST_CPUS {
            break;
        }
    }
    changed |= held.len() != count;
    held.truncate(count);
    Ok(changed)
}

/// Puts a CPU where its line is, with what is held of it if it was further down: those skipped went offline.
fn place(held: &mut Vec<Times>, at: usize, now: Times) {
    let later = held.iter().skip(at).position(|t| t.cpu == now.cpu);
    match later {
        Some(distance) => {
            held.drain(at..at + distance);
            if let Some(times) = held.get_mut(at) {
                hold(&mut times.ticks, &now.ticks);
            }
        }
        None => held.insert(at.min(held.len()), now),
    }
}

fn parse_line(rest: &[u8]) -> Option<Times> {
    let mut fields = parse::fields(rest);
    let cpu = u32::try_from(parse::unsigned(fields.next()?)?).ok()?;
    let mut ticks = [0; 10];
    for (tick, field) in ticks.iter_mut().zip(fields) {
        *tick = parse::unsigned(field)?;
    }
    Some(Times { cpu, ticks })
}

fn hold(held: &mut [u64; 10], now: &[u64; 10]) {
    let idle = |ticks: &[u64; 10]| ticks.get(IDLE).copied().unwrap_or_default();
    if idle(held).saturating_sub(idle(now)) >= RESET_TICKS {
        *held = *now;
        return;
    }
    for (held, now) in held.iter_mut().zip(now) {
        *held = (*held).max(*now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(texts: &[&str]) -> Vec<(u32, u64, u64)> {
        let mut held = Vec::new();
        for text in texts {
            read_times(text.as_bytes(), &mut held).unwrap();
        }
        held.iter().map(|t| (t.cpu, t.ticks[0], t.ticks[IDLE])).collect()
    }

    #[test]
    fn counters_are_held_and_reset_on_a_jump() {
        assert_eq!(after(&["cpu0 9 0 0 1000", "cpu0 8 0 0 999"]), [(0, 9, 1000)]);
        assert_eq!(after(&["cpu0 9 0 0 1000", "cpu0 8 0 0 701"]), [(0, 9, 1000)]);
        assert_eq!(after(&["cpu0 9 0 0 1000", "cpu0 8 0 0 700"]), [(0, 8, 700)]);
    }

    #[test]
    fn cpus_come_and_go() {
        let all = "cpu  0\ncpu0 5\ncpu1 5\ncpu2 5\nintr 5\n";
        assert_eq!(after(&[all, "cpu0 4\ncpu2 4\n"]), [(0, 5, 0), (2, 5, 0)], "those that stay are held");
        assert_eq!(after(&["cpu0 5\ncpu2 5\n", "cpu0 4\ncpu1 4\ncpu2 4\n"]), [(0, 5, 0), (1, 4, 0), (2, 5, 0)]);
        assert_eq!(after(&[all, "cpu7 1\n"]), [(7, 1, 0)]);
        assert_eq!(after(&[all, ""]), []);
        let mut held = Vec::new();
        assert_eq!(read_times(all.as_bytes(), &mut held), Ok(true));
        assert_eq!(read_times(all.as_bytes(), &mut held), Ok(false));
    }

    #[test]
    fn the_largest_counter_and_garbage() {
        assert_eq!(after(&["cpu0 18446744073709551615"]), [(0, u64::MAX, 0)]);
        assert!(read_times(b"cpu0 1 x", &mut Vec::new()).is_err());
        assert!(read_times(b"cpu99999999999 1", &mut Vec::new()).is_err());
    }
}
