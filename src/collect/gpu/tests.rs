//! The collector over a driver of the test's: GPUs with and without MIG, lost and hung ones, a driver that
//! comes and goes.

mod sessions;

use std::collections::BTreeMap;
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::backend::CriticalErrors;
use super::reading::Quantity::{self, *};
use super::reading::{Activity, Instance, Process, Values};
use super::*;
use crate::collect::HostPaths;
use crate::collect::container_names::ContainerName;
use crate::collect::host::testing::{Fixture, run};

/// What the driver of a test does.
#[derive(Default)]
struct World {
    gone: AtomicBool,
    /// How often the driver was opened.
    sessions: AtomicU32,
    /// Number of the GPU that the driver calls its first.
    first: AtomicU32,
    gpus: Mutex<Vec<FakeGpu>>,
    changed: Condvar,
    /// GPU and number of the error; the last one of a GPU is told first.
    xids: Mutex<Vec<(u32, u64)>>,
    /// How often each was listened to.
    listened: Mutex<BTreeMap<u32, u32>>,
    opened: Mutex<BTreeMap<u32, u32>>,
}

#[derive(Clone, Default)]
struct FakeGpu {
    reading: Reading,
    lost: bool,
    hangs: bool,
    /// It says that the driver is gone.
    driverless: bool,
}

impl World {
    fn change(&self, change: impl FnOnce(&mut Vec<FakeGpu>)) {
        change(&mut self.gpus.lock().unwrap());
        self.changed.notify_all();
    }
}

impl World {
    fn answers(&self, gpu: u32) -> Result<Reading, GpuError> {
        let mut gpus = self.gpus.lock().unwrap();
        while gpus[gpu as usize].hangs {
            gpus = self.changed.wait(gpus).unwrap();
        }
        match &gpus[gpu as usize] {
            gpu if gpu.driverless => Err(GpuError::NoDriver("unloaded".to_owned())),
            gpu if gpu.lost => Err(GpuError::Device("the GPU is lost".to_owned())),
            gpu => Ok(gpu.reading.clone()),
        }
    }
}

struct FakeDriver(Arc<World>);

impl GpuBackend for FakeDriver {
    fn versions(&self) -> [String; 2] {
        ["580.1".to_owned(), "13.580.1".to_owned()]
    }

    fn count(&self) -> Result<u32, GpuError> {
        match self.0.gone.load(Ordering::Acquire) {
            true => Err(GpuError::NoDriver("unloaded".to_owned())),
            false => Ok(u32::try_from(self.0.gpus.lock().unwrap().len()).unwrap()),
        }
    }

    fn open(&self, gpu: u32) -> Result<Box<dyn GpuDevice>, GpuError> {
        *self.0.opened.lock().unwrap().entry(gpu).or_default() += 1;
        Ok(Box::new(self.device(gpu)))
    }

    fn listen(&self, gpu: u32) -> Result<Box<dyn CriticalErrors>, GpuError> {
        *self.0.listened.lock().unwrap().entry(gpu).or_default() += 1;
        self.0.answers(gpu)?;
        Ok(Box::new(self.device(gpu)))
    }

    fn pcie_throughput(&self, gpu: u32) -> Result<[f64; 2], GpuError> {
        self.0.answers(gpu)?;
        Ok([f64::from(gpu) + 1.0, f64::from(gpu) + 2.0])
    }
}

impl FakeDriver {
    fn device(&self, gpu: u32) -> FakeDevice {
        let uuid = format!("GPU-000{}", self.0.first.load(Ordering::Acquire) + gpu);
        FakeDevice { world: Arc::clone(&self.0), gpu, uuid }
    }
}

struct FakeDevice {
    world: Arc<World>,
    gpu: u32,
    uuid: String,
}

impl GpuDevice for FakeDevice {
    fn identity(&self) -> Identity {
        Identity {
            uuid: self.uuid.clone(),
            pci_bus_id: format!("00000000:0{}:00.0", self.gpu),
            model: "NVIDIA Test".to_owned(),
            details: vec![("DCGM_FI_DEV_SERIAL", "42".to_owned())],
            is_whole: true,
        }
    }

    fn read(&mut self, questions: &Questions) -> Result<Reading, GpuError> {
        let mut reading = self.world.answers(self.gpu)?;
        for quantity in Quantity::ALL.iter().filter(|q| !questions.wanted.has(**q)) {
            assert!(reading.values.get(*quantity).is_none(), "{quantity:?} was not asked for");
        }
        if !questions.processes {
            reading.processes.clear();
        }
        Ok(reading)
    }
}

impl CriticalErrors for FakeDevice {
    fn uuid(&self) -> &str {
        &self.uuid
    }

    fn next(&mut self, wait: Duration) -> Result<Option<u64>, GpuError> {
        self.world.answers(self.gpu)?;
        let mut xids = self.world.xids.lock().unwrap();
        if let Some(at) = xids.iter().rposition(|(gpu, _)| self.uuid.ends_with(&gpu.to_string())) {
            return Ok(Some(xids.remove(at).1));
        }
        drop(xids);
        let gpus = self.world.gpus.lock().unwrap();
        drop(self.world.changed.wait_timeout(gpus, wait.min(Duration::from_millis(5))).unwrap());
        Ok(None)
    }
}

fn values(of: &[(Quantity, f64)]) -> Values {
    let mut values = Values::default();
    of.iter().for_each(|(quantity, value)| values.set(*quantity, *value));
    values
}

fn gpu(of: &[(Quantity, f64)]) -> FakeGpu {
    FakeGpu { reading: Reading { values: values(of), ..Reading::default() }, ..FakeGpu::default() }
}

fn world(gpus: &[FakeGpu]) -> Arc<World> {
    let world = World::default();
    *world.gpus.lock().unwrap() = gpus.to_vec();
    Arc::new(world)
}

/// The collector over this world, with the process files of a fixture.
fn collector(world: &Arc<World>, fixture: &Fixture, options: &[(&str, &str)]) -> Box<dyn Collector> {
    collector_on(&host(fixture), world, options, &Kept::default())
}

fn host(fixture: &Fixture) -> Host {
    Host::new(HostPaths { procfs: fixture.path().join("proc"), ..HostPaths::default() })
}

fn collector_on(
    host: &Host,
    world: &Arc<World>,
    options: &[(&str, &str)],
    kept: &Kept,
) -> Box<dyn Collector> {
    let mut all = Options::default();
    all.set(HOSTNAME, "host").unwrap();
    all.set(FIELDS, "DCGM_FI_DEV_GPU_TEMP").unwrap();
    options.iter().for_each(|(name, value)| all.set(name, value).unwrap());
    let world = Arc::clone(world);
    let open = move || match world.gone.load(Ordering::Acquire) {
        true => Err(GpuError::NoDriver("no driver".to_owned())),
        false => {
            world.sessions.fetch_add(1, Ordering::AcqRel);
            Ok(Box::new(FakeDriver(Arc::clone(&world))) as Box<dyn GpuBackend>)
        }
    };
    build(host, &all, Box::new(open), kept.clone()).unwrap()
}

/// The samples, without those that name starts with none of `prefixes`.
fn samples(collector: &mut dyn Collector, prefixes: &[&str]) -> String {
    let (text, result) = run(collector);
    assert!(result.is_ok(), "{result:?}");
    text.lines().filter(|l| prefixes.iter().any(|p| l.starts_with(p))).map(|l| format!("{l}\n")).collect()
}

const GPU_0: &str = r#"Hostname="host",UUID="GPU-0000",device="nvidia0",gpu="0",modelName="NVIDIA Test",pci_bus_id="00000000:00:00.0""#;

#[test]
fn families_have_the_units_of_dcgm() {
    let world = world(&[gpu(&[
        (GpuTemperature, 36.0),
        (PowerUsage, 72_743.0),
        (Energy, 2_324_275.0),
        (MemoryUsed, 1_563_230_208.0),
        (MemoryTotal, 85_520_809_984.0),
        (MemoryReserved, 503_316_480.0),
        (ActiveTensor, 92.5),
        (PcieSendRate, 2.0),
        (NvlinkSent, 5.0),
        (NvlinkReceived, 7.0),
        (NvlinkSent0, 5.0),
        (ClockReasons, 5.0),
    ])]);
    let fields = [(FIELDS, "all"), (PROCESSES, "false")];
    let mut collector = collector(&world, &Fixture::new(), &fields);
    let labels = format!(
        r#"DCGM_FI_DEV_SERIAL="42",DCGM_FI_DRIVER_VERSION="580.1",DCGM_FI_NVML_VERSION="13.580.1",{GPU_0}"#
    );
    let mut want = String::new();
    for (name, value) in [
        ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "5"),
        ("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "5"),
        ("DCGM_FI_DEV_FB_RESERVED", "480"),
        ("DCGM_FI_DEV_FB_TOTAL", "81559"),
        ("DCGM_FI_DEV_FB_USED_PERCENT", "0.01838715943709222"),
        ("DCGM_FI_DEV_FB_USED", "1490"),
        ("DCGM_FI_DEV_GPU_TEMP", "36"),
        ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "12"),
        ("DCGM_FI_DEV_POWER_USAGE", "72.743"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "2324275"),
        ("DCGM_FI_DEV_XID_ERRORS", "0"),
        ("DCGM_FI_PROF_PCIE_TX_BYTES", "2097152"),
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "0.925"),
    ] {
        want += &format!("{name}{{{labels}}} {value}\n");
    }
    // PCIe throughput comes from its own thread, some time after the first pass.
    let got = samples(&mut *collector, &["DCGM_"]);
    let got: String = got.lines().filter(|l| !l.contains("X_THROUGHPUT")).map(|l| format!("{l}\n")).collect();
    assert_eq!(got, want);
    let reasons = samples(&mut *collector, &["outrigger_gpu_clock_event_reason"]);
    let on: Vec<_> = reasons.lines().filter(|l| l.ends_with(" 1")).collect();
    assert_eq!(reasons.lines().count(), write::REASONS.len());
    assert!(on.len() == 2 && on[0].contains(r#"reason="gpu_idle""#), "{on:?}");
    while !samples(&mut *collector, &["DCGM_FI_DEV_PCIE_"]).contains(&format!(
        "DCGM_FI_DEV_PCIE_RX_THROUGHPUT{{{labels}}} 2\nDCGM_FI_DEV_PCIE_TX_THROUGHPUT{{{labels}}} 1\n"
    )) {
        std::thread::yield_now();
    }
}

#[test]
fn instances_have_memory_and_activity_in_place_of_their_gpu() {
    let mut with_mig = gpu(&[(GpuTemperature, 40.0), (MemoryUsed, 9e9)]);
    let instance = |id, profile: &str, used| Instance {
        id,
        profile: profile.to_owned(),
        values: values(&[(MemoryUsed, used), (ActiveTensor, 50.0)]),
    };
    with_mig.reading.instances =
        vec![instance(2, "3g.40gb", 2_097_152.0), instance(9, "1g.10gb", 1_048_576.0)];
    let world = world(&[with_mig, gpu(&[(GpuTemperature, 30.0), (MemoryUsed, 3_145_728.0)])]);
    let fields = "DCGM_FI_DEV_GPU_TEMP,DCGM_FI_DEV_FB_USED,DCGM_FI_PROF_PIPE_TENSOR_ACTIVE";
    let mut collector = collector(&world, &Fixture::new(), &[(FIELDS, fields)]);
    let gpu_1 = GPU_0.replace("GPU-0000", "GPU-0001").replace("nvidia0", "nvidia1");
    let gpu_1 = gpu_1.replace(r#"gpu="0""#, r#"gpu="1""#).replace(":00:00.0", ":01:00.0");
    let mut want = String::new();
    for (id, profile, used) in [(2, "3g.40gb", 2), (9, "1g.10gb", 1)] {
        let labels = format!(r#"GPU_I_ID="{id}",GPU_I_PROFILE="{profile}",{GPU_0}"#);
        want += &format!("DCGM_FI_DEV_FB_USED{{{labels}}} {used}\n");
    }
    want += &format!("DCGM_FI_DEV_FB_USED{{{gpu_1}}} 3\n");
    want += &format!("DCGM_FI_DEV_GPU_TEMP{{{GPU_0}}} 40\nDCGM_FI_DEV_GPU_TEMP{{{gpu_1}}} 30\n");
    for (id, profile) in [(2, "3g.40gb"), (9, "1g.10gb")] {
        let labels = format!(r#"GPU_I_ID="{id}",GPU_I_PROFILE="{profile}",{GPU_0}"#);
        want += &format!("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{labels}}} 0.5\n");
    }
    assert_eq!(samples(&mut *collector, &["DCGM_"]), want);
}

#[test]
fn processes_have_the_names_of_their_containers() {
    let id = "0123456789abcdef".repeat(4);
    let cgroup = format!("0::/kubepods/burstable/pod1/{id}\n");
    let fixture = Fixture::new().files(&[("proc/7/comm", "python3\n"), ("proc/7/cgroup", &cgroup)]);
    let mut busy = gpu(&[]);
    busy.reading.processes = vec![Process { pid: 7, memory: Some(1.0), activity: None, instance: None }];
    let host = host(&fixture);
    let name = ContainerName { container: "train".into(), pod: "job-1".into(), namespace: "ml".into() };
    host.containers().set([(id.clone(), name)].into_iter());
    let mut collector = collector_on(&host, &world(&[busy]), &[], &Kept::default());
    assert_eq!(
        samples(&mut *collector, &["outrigger_gpu_process_memory"]),
        format!(
            "outrigger_gpu_process_memory_bytes{{UUID=\"GPU-0000\",container=\"train\",container_id=\"{id}\",gpu=\"0\",\
             namespace=\"ml\",pci_bus_id=\"00000000:00:00.0\",pid=\"7\",pod=\"job-1\",process=\"python3\"}} 1\n"
        )
    );
}

#[test]
fn processes_are_named_and_found_in_their_containers() {
    let id = "0123456789abcdef".repeat(4);
    let fixture = Fixture::new().files(&[
        ("proc/7/comm", "python3\n"),
        ("proc/7/cgroup", &format!("0::/system.slice/docker-{id}.scope\n")),
    ]);
    let mut busy = gpu(&[]);
    let process = |pid, memory, activity| Process { pid, memory, activity, instance: None };
    let activity = Activity { sm: 0.97, memory: 0.29, encoder: 0.0, decoder: 0.0 };
    busy.reading.processes = vec![process(7, Some(1e9), Some(activity)), process(8, None, None)];
    let world = world(&[busy]);
    let mut collector = collector(&world, &fixture, &[]);
    let labels = format!(
        r#"UUID="GPU-0000",container_id="{id}",{{}}gpu="0",pci_bus_id="00000000:00:00.0",pid="7",process="python3""#
    );
    let of = |engine: &str| labels.replace("{}", &format!("engine={engine:?},"));
    assert_eq!(
        samples(&mut *collector, &["outrigger_gpu_process"]),
        format!(
            "outrigger_gpu_process_memory_bytes{{{}}} 1000000000\n\
             outrigger_gpu_process_utilization_ratio{{{}}} 0\n\
             outrigger_gpu_process_utilization_ratio{{{}}} 0\n\
             outrigger_gpu_process_utilization_ratio{{{}}} 0.29\n\
             outrigger_gpu_process_utilization_ratio{{{}}} 0.97\n\
             outrigger_gpu_processes_left_out 0\n",
            labels.replace("{}", ""),
            of("decoder"),
            of("encoder"),
            of("memory"),
            of("sm")
        )
    );
    world.change(|gpus| {
        let many = (1..=300).map(|pid| process(pid, Some(1.0), None));
        gpus[0].reading.processes = many.collect();
    });
    let text = samples(&mut *collector, &["outrigger_gpu_process"]);
    assert!(text.contains("outrigger_gpu_processes_left_out 44\n"), "{text}");
    assert_eq!(text.lines().count(), 257);
}

#[test]
fn a_lost_and_a_hung_gpu_cost_only_themselves_and_come_back() {
    let one = || gpu(&[(GpuTemperature, 1.0)]);
    let world = world(&[one(), one(), one()]);
    let mut collector = collector(&world, &Fixture::new(), &[(TIMEOUT, "50ms")]);
    let mut up = || {
        let text = samples(&mut *collector, &["outrigger_gpu_up", "DCGM_FI_DEV_GPU_TEMP"]);
        let up: Vec<_> = text.lines().filter(|l| l.starts_with("outrigger_gpu_up")).collect();
        assert!(up.iter().all(|l| l.contains("UUID=\"GPU-000")), "its identity stays known: {text}");
        assert_eq!(text.lines().count(), up.len() + up.iter().filter(|l| l.ends_with(" 1")).count());
        up.iter().map(|line| line.chars().last().unwrap()).collect::<String>()
    };
    assert_eq!(up(), "111");
    world.change(|gpus| (gpus[0].lost, gpus[1].hangs) = (true, true));
    for _ in 0..3 {
        assert_eq!(up(), "001");
    }
    world.change(|gpus| (gpus[0].lost, gpus[1].hangs) = (false, false));
    // What hung returns in its own time.
    while up() != "111" {
        std::thread::yield_now();
    }
    let opened = world.opened.lock().unwrap().clone();
    assert_eq!((opened[&1], opened[&2]), (1, 1), "only what failed was opened again");
    assert!(opened[&0] > 1);
}

#[test]
fn a_driver_comes_and_goes() {
    let world = world(&[gpu(&[(GpuTemperature, 1.0)])]);
    world.gone.store(true, Ordering::Release);
    let mut collector = collector(&world, &Fixture::new(), &[]);
    for _ in 0..2 {
        let (text, result) = run(&mut *collector);
        assert!(matches!(result, Err(CollectError::NoData(ref why)) if why == "no driver"), "{result:?}");
        assert_eq!(text, "outrigger_gpu_available 0\n");
    }
    world.gone.store(false, Ordering::Release);
    // It is looked for again after a second.
    let found =
        |text: &str| text.contains("outrigger_gpu_available 1\n") && text.contains("DCGM_FI_DEV_GPU_TEMP");
    while !found(&run(&mut *collector).0) {
        std::thread::yield_now();
    }
    world.gone.store(true, Ordering::Release);
    assert_eq!(run(&mut *collector).0, "outrigger_gpu_available 0\n");
}

#[test]
fn critical_errors_are_counted_from_their_events() {
    let world = world(&[gpu(&[])]);
    *world.xids.lock().unwrap() = vec![(0, 79), (0, 48), (0, 79)];
    let mut collector = collector(&world, &Fixture::new(), &[(FIELDS, "DCGM_FI_DEV_XID_ERRORS")]);
    let labels = r#"UUID="GPU-0000",gpu="0",pci_bus_id="00000000:00:00.0""#;
    let want = format!(
        "DCGM_FI_DEV_XID_ERRORS{{{GPU_0}}} 79\n\
         outrigger_gpu_xid_errors_total{{{labels},xid=\"48\"}} 1\n\
         outrigger_gpu_xid_errors_total{{{labels},xid=\"79\"}} 2\n"
    );
    while samples(&mut *collector, &["DCGM_", "outrigger_gpu_xid"]) != want {
        std::thread::yield_now();
    }
}

#[test]
fn a_gpu_that_hangs_or_is_lost_costs_the_others_no_errors_and_is_listened_to_again() {
    let world = world(&[gpu(&[]), gpu(&[]), gpu(&[])]);
    world.change(|gpus| (gpus[0].lost, gpus[1].hangs) = (true, true));
    *world.xids.lock().unwrap() = vec![(0, 48), (1, 48), (2, 48)];
    let fields = "DCGM_FI_DEV_PCIE_TX_THROUGHPUT";
    let mut collector = collector(&world, &Fixture::new(), &[(FIELDS, fields), (TIMEOUT, "20ms")]);
    let mut until = |gpus: &[&str]| loop {
        let text = samples(&mut *collector, &["DCGM_", "outrigger_gpu_xid"]);
        let with = |family: &str| -> Vec<&str> {
            let lines = text.lines().filter(|l| l.starts_with(family));
            lines.map(|l| l.split_once("UUID=\"").unwrap().1.split_once('"').unwrap().0).collect()
        };
        let got = [with("outrigger_gpu_xid"), with(fields)];
        if got == [gpus, gpus] {
            break;
        }
        assert!(got.iter().all(|got| got.len() <= gpus.len()), "{got:?}");
        std::thread::yield_now();
    };
    until(&["GPU-0002"]);
    world.change(|gpus| (gpus[0].lost, gpus[1].hangs) = (false, false));
    until(&["GPU-0000", "GPU-0001", "GPU-0002"]);
    // The hung one was listened to as soon as it answered, the lost one once more.
    let listened = world.listened.lock().unwrap().clone();
    assert_eq!((listened[&1], listened[&2]), (1, 1));
    assert!(listened[&0] > 1);
}

#[test]
fn the_names_of_nvidia_gpu_exporter() {
    let world =
        world(&[gpu(&[(MemoryUsed, 5e8), (SmClock, 345.0), (GpuUtilization, 98.0), (ClockReasons, 4.0)])]);
    let mut collector = collector(&world, &Fixture::new(), &[(NVIDIA_SMI, "true")]);
    let text = samples(&mut *collector, &["nvidia_smi_"]);
    for line in [
        r#"nvidia_smi_memory_used_bytes{uuid="0000"} 500000000"#,
        r#"nvidia_smi_clocks_current_sm_clock_hz{uuid="0000"} 345000000"#,
        r#"nvidia_smi_utilization_gpu_ratio{uuid="0000"} 0.98"#,
        r#"nvidia_smi_clocks_event_reasons_sw_power_cap{uuid="0000"} 1"#,
        r#"nvidia_smi_clocks_event_reasons_gpu_idle{uuid="0000"} 0"#,
        r#"nvidia_smi_index{uuid="0000"} 0"#,
        r#"nvidia_smi_gpu_info{driver_version="580.1",name="NVIDIA Test",uuid="0000",vbios_version=""} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn without_signs_of_a_driver_nothing_is_loaded() {
    let fixture = Fixture::new();
    let (text, result) = run(&mut *fixture.collector("gpu"));
    assert_eq!(text, "outrigger_gpu_available 0\n");
    assert!(result.unwrap_err().to_string().contains("no NVIDIA driver"));
    let fixture = Fixture::new().option(LIBRARY, "/does/not/exist.so");
    let (text, result) = run(&mut *fixture.collector("gpu"));
    assert_eq!(text, "outrigger_gpu_available 0\n");
    assert!(result.unwrap_err().to_string().contains("/does/not/exist.so"));
    let no_library = Fixture::new().file("x.so", "no library");
    let path = no_library.path().join("x.so").display().to_string();
    let (_, result) = run(&mut *no_library.option(LIBRARY, &path).collector("gpu"));
    assert!(result.unwrap_err().to_string().contains("x.so"));
    assert!(Fixture::new().option(FIELDS, "x").refused("gpu").contains("--collector.gpu.fields"));
}
