//! The gpu collector over a management library without a GPU, loaded by the running program.
//!
//! The library is the example `fake_nvml`, which `cargo test` builds; its scenarios are in `tests/gpu`.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Program, outrigger};

/// The library beside the program that is tested.
fn library() -> PathBuf {
    let library = Path::new(env!("CARGO_BIN_EXE_outrigger")).with_file_name("examples/libfake_nvml.so");
    assert!(library.exists(), "not built: cargo build --example fake_nvml");
    library
}

const TWO_GPUS: &str = include_str!("../gpu/two_gpus.scenario");

/// A program with a driver of these lines, and where to change them.
struct Driven {
    program: Program,
    scenario: PathBuf,
    _dir: tempfile::TempDir,
}

impl Driven {
    fn start(scenario: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scenario");
        std::fs::write(&path, scenario).unwrap();
        let mut command: Command = outrigger();
        command
            .env("FAKE_NVML", &path)
            .arg("--web.listen-address=127.0.0.1:0")
            .args(["--collector.disable-defaults", "--collector.gpu", "--collector.min-interval=0s"])
            .args(["--collector.gpu.hostname=host", "--collector.gpu.nvml-library"])
            .arg(library())
            .args(arguments);
        Self { program: Program::spawn(&mut command), scenario: path, _dir: dir }
    }

    /// Replaces the lines in one step, so that no call sees half of them.
    fn becomes(&self, scenario: &str) {
        let new = self.scenario.with_extension("new");
        std::fs::write(&new, scenario).unwrap();
        std::fs::rename(&new, &self.scenario).unwrap();
    }

    /// Lines of a scrape that begin with one of these.
    fn samples(&self, prefixes: &[&str]) -> String {
        let answer = self.program.ask("GET", "/metrics");
        let chosen = answer.lines().filter(|line| prefixes.iter().any(|p| line.starts_with(p)));
        chosen.fold(String::new(), |mut all, line| {
            writeln!(all, "{line}").unwrap();
            all
        })
    }

    /// Scrapes until the lines that begin with `prefix` are so.
    fn until(&self, prefix: &str, done: impl Fn(&str) -> bool) -> String {
        for _ in 0..10_000 {
            let samples = self.samples(&[prefix]);
            if done(&samples) {
                return samples;
            }
        }
        panic!("not within 10,000 scrapes; the last one:\n{}", self.samples(&[prefix]));
    }
}

#[test]
fn two_gpus_look_as_they_should() {
    let driven = Driven::start(TWO_GPUS, &["--collector.gpu.fields=all", "--collector.gpu.nvidia-smi-names"]);
    // Activity needs a second pass, PCIe throughput its own thread.
    driven.until("DCGM_FI_PROF_GR", |text| text.lines().count() == 2);
    driven.until("DCGM_FI_DEV_PCIE_RX_THROUGHPUT", |text| text.contains(" 2048\n"));
    let prefixes = ["DCGM_", "outrigger_gpu_", "nvidia_smi_", "# TYPE DCGM_"];
    let got = driven.samples(&prefixes);
    let moving = got.lines().filter(|l| l.contains("ENERGY_CONSUMPTION{") && l.contains("gpu=\"1\""));
    assert_eq!(moving.count(), 1);
    let got: String = got.lines().filter(|l| !(l.contains("ENERGY") && l.contains("gpu=\"1\""))).fold(
        String::new(),
        |mut all, line| {
            writeln!(all, "{line}").unwrap();
            all
        },
    );
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu/two_gpus.prom");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &got).unwrap();
    }
    let want = std::fs::read_to_string(golden).unwrap_or_default();
    let missing: Vec<_> = want.lines().filter(|l| !got.lines().any(|g| g == *l)).collect();
    let surplus: Vec<_> = got.lines().filter(|l| !want.lines().any(|w| w == *l)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:#?}\nnot wanted: {surplus:#?}");
}

#[test]
fn counters_move_and_errors_are_counted() {
    let driven = Driven::start(TWO_GPUS, &["--collector.gpu.device-timeout=100ms"]);
    let energy = |text: &str| -> f64 {
        let line = text.lines().find(|l| l.contains("gpu=\"1\"")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let first = energy(&driven.samples(&["DCGM_FI_DEV_TOTAL_ENERGY"]));
    assert_eq!(energy(&driven.samples(&["DCGM_FI_DEV_TOTAL_ENERGY"])), first + 10.0);

    driven.becomes(&format!("xid 1 79\nxid 1 48\nxid 1 79\n{TWO_GPUS}"));
    let xids = driven.until("outrigger_gpu_xid_errors_total", |text| text.contains("xid=\"79\"} 2\n"));
    assert!(xids.contains("xid=\"48\"} 1\n"), "{xids}");
    let last = driven.samples(&["DCGM_FI_DEV_XID_ERRORS{"]);
    let last: Vec<_> = last.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(last, ["0", "79"]);
    driven.program.logged("A GPU reported a critical error");
}

#[test]
fn a_lost_and_a_hung_gpu_cost_only_themselves() {
    let driven = Driven::start(TWO_GPUS, &["--collector.gpu.device-timeout=100ms"]);
    let up = |text: &str| text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect::<String>();
    assert_eq!(up(&driven.samples(&["outrigger_gpu_up"])), "11");
    for (change, said) in [
        ("error 15", "the GPU is lost: it has fallen off the bus or does not answer (NVML error 15)"),
        ("hang", "it did not answer in time"),
    ] {
        driven.becomes(&TWO_GPUS.replacen("[gpu]", &format!("[gpu]\n{change}"), 1));
        driven.until("outrigger_gpu_up", |text| up(text) == "01");
        driven.program.logged(said);
        let text =
            driven.samples(&["DCGM_FI_DEV_GPU_TEMP{", "outrigger_gpu_up", "node_scrape_collector_success"]);
        assert!(text.contains("gpu=\"1\"") && text.contains("success{collector=\"gpu\"} 1\n"), "{text}");
        assert!(
            !text.contains("TEMP{DCGM_FI_DRIVER_VERSION=\"580.95.05\",Hostname=\"host\",UUID=\"GPU-1"),
            "{text}"
        );
        driven.becomes(TWO_GPUS);
        driven.until("outrigger_gpu_up", |text| up(text) == "11");
        driven.program.logged("GPU answers again");
    }
}

#[test]
fn a_driver_that_comes_later_is_found_and_one_that_goes_is_let_go() {
    let driven = Driven::start("init error 9\n", &[]);
    assert_eq!(driven.samples(&["outrigger_gpu_"]), "outrigger_gpu_available 0\n");
    driven.becomes(TWO_GPUS);
    driven.until("outrigger_gpu_available", |text| text == "outrigger_gpu_available 1\n");
    driven.program.logged("NVIDIA driver opened");
    driven.becomes(&TWO_GPUS.replace("driver 580.95.05", "driver error 18"));
    driven.until("outrigger_gpu_available", |text| text == "outrigger_gpu_available 0\n");
    driven.program.logged("the driver and its library have different versions");
    driven.becomes(TWO_GPUS);
    driven.until("outrigger_gpu_up", |text| text.lines().count() == 2);
}

/// Threads that called into the library outlive a session and then run the library's own destructors.
#[test]
fn a_driver_may_come_and_go_while_threads_wait_in_it() {
    let fields = "--collector.gpu.fields=default,DCGM_FI_DEV_PCIE_TX_THROUGHPUT";
    let driven = Driven::start(TWO_GPUS, &[fields]);
    let gone = TWO_GPUS.replace("driver 580.95.05\n", "");
    let tasks = format!("/proc/{}/task", driven.program.pid());
    let waits = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
        ["gpu-xid\n", "gpu-pcie\n"].contains(&&*name)
    };
    for _ in 0..3 {
        driven.becomes(TWO_GPUS);
        driven.until("outrigger_gpu_available", |text| text == "outrigger_gpu_available 1\n");
        driven.until("DCGM_FI_DEV_PCIE_TX_THROUGHPUT{", |text| text.contains("gpu=\"1\""));
        driven.becomes(&gone);
        driven.until("outrigger_gpu_available", |text| {
            let ended = !std::fs::read_dir(&tasks).unwrap().any(waits);
            text == "outrigger_gpu_available 0\n" && ended
        });
    }
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", driven.program.pid())).unwrap();
    let loaded = maps.lines().filter(|l| l.ends_with("libfake_nvml.so") && l.contains("r-xp"));
    assert_eq!(loaded.count(), 1, "one copy of the library, however often it was opened:\n{maps}");
}

#[test]
fn a_library_that_is_replaced_is_loaded_beside_the_one_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let (path, new) = (dir.path().join("libnvidia-ml.so.1"), dir.path().join("new"));
    std::fs::copy(library(), &path).unwrap();
    let flag = format!("--collector.gpu.nvml-library={}", path.display());
    let driven = Driven::start(TWO_GPUS, &[&flag]);
    driven.until("outrigger_gpu_up", |text| text.lines().count() == 2);
    std::fs::copy(library(), &new).unwrap();
    std::fs::rename(&new, &path).unwrap();
    driven.becomes(&TWO_GPUS.replace("driver 580.95.05", "driver error 18"));
    driven.until("outrigger_gpu_available", |text| text == "outrigger_gpu_available 0\n");
    driven.becomes(TWO_GPUS);
    driven.until("outrigger_gpu_up", |text| text.lines().count() == 2);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", driven.program.pid())).unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino().to_string();
    assert!(maps.lines().any(|l| l.split_whitespace().nth(4) == Some(&inode)), "{maps}");
}

#[test]
fn a_gpu_that_hangs_at_the_start_costs_the_others_neither_errors_nor_throughput() {
    let hangs = format!("xid 1 79\n{}", TWO_GPUS.replacen("[gpu]", "[gpu]\nhang", 1));
    let fields = "--collector.gpu.fields=DCGM_FI_DEV_XID_ERRORS,DCGM_FI_DEV_PCIE_TX_THROUGHPUT";
    let driven = Driven::start(&hangs, &[fields, "--collector.gpu.device-timeout=100ms"]);
    driven.until("outrigger_gpu_xid_errors_total", |text| text.contains("gpu=\"1\""));
    driven.until("DCGM_FI_DEV_PCIE_TX_THROUGHPUT{", |text| text.contains("gpu=\"1\""));
}

#[test]
fn errors_are_heard_of_a_gpu_that_was_lost_at_the_start() {
    let driven = Driven::start(&TWO_GPUS.replacen("[gpu]", "[gpu]\nerror 15", 1), &[]);
    driven.until("outrigger_gpu_up", |text| text.ends_with(" 1\n") && text.contains(" 0\n"));
    driven.program.logged_since_start("Critical errors of a GPU cannot be waited for");
    driven.becomes(&format!("xid 0 48\n{TWO_GPUS}"));
    driven.until("outrigger_gpu_xid_errors_total", |text| text.contains("xid=\"48\"} 1\n"));
}

#[test]
fn errors_are_heard_again_after_a_wait_that_failed() {
    let driven = Driven::start(TWO_GPUS, &[]);
    driven.until("outrigger_gpu_up", |text| text.lines().count() == 2);
    let lost = TWO_GPUS.replacen("[gpu]", "[gpu]\nwait error 15", 1);
    driven.becomes(&format!("xid 1 79\n{lost}"));
    driven.program.logged("the GPU is lost: it has fallen off the bus");
    driven.until("outrigger_gpu_xid_errors_total", |text| text.contains("xid=\"79\"} 1\n"));
    driven.becomes(&format!("xid 0 48\nxid 1 79\n{TWO_GPUS}"));
    driven.until("outrigger_gpu_xid_errors_total", |text| text.contains("xid=\"48\"} 1\n"));
}

#[test]
fn instances_come_and_go_with_their_mode() {
    let driven = Driven::start(TWO_GPUS, &[]);
    let used = driven.samples(&["DCGM_FI_DEV_FB_USED{"]);
    assert_eq!(used.matches("GPU_I_ID=").count(), 2, "{used}");
    let whole = TWO_GPUS.replace("nvmlDeviceGetMigMode 1 1", "nvmlDeviceGetMigMode 0 0");
    driven.becomes(&whole);
    let used = driven.until("DCGM_FI_DEV_FB_USED{", |text| !text.contains("GPU_I_ID="));
    assert_eq!(used.lines().count(), 2, "{used}");
    driven.until("DCGM_FI_PROF_GR_ENGINE_ACTIVE{", |text| text.contains(" 0.985\n"));
    driven.becomes(TWO_GPUS);
    driven.until("DCGM_FI_DEV_FB_USED{", |text| text.matches("GPU_I_ID=").count() == 2);
}

#[test]
fn a_failure_that_passes_changes_no_series() {
    let unnamed = TWO_GPUS.replacen("\nuuid ", "\nuuid error 999\nlater ", 1);
    let driven = Driven::start(&unnamed, &[]);
    driven.until("outrigger_gpu_up", |text| text.contains("UUID=\"\""));
    driven.becomes(TWO_GPUS);
    let before = driven.until("DCGM_FI_DEV_FB_USED{", |text| !text.contains("UUID=\"\""));
    assert_eq!((before.matches("GPU_I_ID=").count(), before.lines().count()), (2, 3), "{before}");
    let mig = "nvmlDeviceGetMigMode 1 1";
    for change in [
        TWO_GPUS.replace(mig, "nvmlDeviceGetMigMode error 999"),
        TWO_GPUS.replace(mig, "nvmlDeviceGetMigMode 1 1\nnvmlDeviceGetMaxMigDeviceCount error 999"),
        TWO_GPUS.replacen("\nuuid ", "\nuuid error 999\nlater ", 1),
    ] {
        driven.becomes(&change);
        assert_eq!(driven.samples(&["DCGM_FI_DEV_FB_USED{"]), before, "{change}");
    }
    driven.becomes(&TWO_GPUS.replace(mig, "nvmlDeviceGetMigMode error 15"));
    driven.until("outrigger_gpu_up", |text| text.contains(" 0\n") && text.contains(" 1\n"));
}

#[test]
fn all_processes_are_listed_or_counted() {
    let of = |lines: &str| TWO_GPUS.replacen("[gpu]", &format!("[gpu]\n{lines}"), 1);
    let many: String = (1..=3_000).fold("mps 4999101 5\n".to_owned(), |mut all, pid| {
        writeln!(all, "process {} 1000", 5_000_000 + pid).unwrap();
        all
    });
    let driven = Driven::start(&of("mps 4999101 5"), &[]);
    let memory = "outrigger_gpu_process_memory_bytes{";
    let before = driven.samples(&[memory]);
    assert!(before.contains("pid=\"4999101\"") && before.lines().count() > 1, "{before}");
    // What one list refuses is no reason not to show the others.
    driven.becomes(&of("mps 4999101 5\ngraphics error 3"));
    let less = driven.samples(&[memory]);
    assert!(less.contains("pid=\"4999101\"") && less.lines().count() > 1, "{less}");
    driven.becomes(&of("mps error 13"));
    let less = driven.samples(&[memory]);
    assert_eq!(less.lines().count() + 1, before.lines().count(), "{less}");
    driven.becomes(&of(&many));
    let text = driven.samples(&["outrigger_gpu_processes_left_out", memory]);
    assert!(text.contains("left_out 27") && text.lines().count() == 257, "{text}");
}

#[test]
fn a_file_of_dcgm_exporter_is_read_and_its_errors_have_places() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("counters.csv");
    std::fs::write(
        &file,
        "DCGM_FI_DEV_GPU_TEMP, gauge, Temperature, of the GPU.\nDCGM_FI_DEV_GPU_MAX_OP_TEMP, gauge, x\n",
    )
    .unwrap();
    let flag = format!("--collector.gpu.fields={}", file.display());
    let driven = Driven::start(TWO_GPUS, &[&flag]);
    let text = driven.samples(&["DCGM_", "# HELP DCGM_"]);
    assert!(text.starts_with("# HELP DCGM_FI_DEV_GPU_TEMP Temperature, of the GPU.\n"), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    std::fs::write(&file, "DCGM_FI_DEV_GPU_TEMP, gouge, x\n").unwrap();
    let output = outrigger().arg(&flag).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && stderr.contains("counters.csv:1:23: \"gouge\" is no type"),
        "{stderr}"
    );
}
