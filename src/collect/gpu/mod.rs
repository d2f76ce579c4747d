//! NVIDIA GPUs under dcgm-exporter's names. Sources: NVIDIA's NVML API reference, dcgm-exporter's default
//! counters.
//!
//! The driver's library is loaded at run time, when there are signs of a driver; where there are none, a pass
//! costs three questions for a file. Each GPU is asked on a thread that may hang ([`Prober`]): one that is lost
//! or hangs costs only its own samples. What the driver makes wait - critical errors, PCIe throughput - has
//! threads of its own, one a GPU ([`asides`]). Invariant: the collector itself calls the driver only to open it
//! and to count GPUs.

mod asides;
mod backend;
mod counters;
mod families;
mod fields;
mod kept;
mod nvidia_smi;
mod nvml;
mod reading;
mod slow;
#[cfg(test)]
mod tests;
mod text;
mod usage;
mod write;
mod xid;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use self::asides::Alive;
use self::backend::{GpuBackend, GpuDevice, GpuError, OpenBackend, Questions};
use self::fields::Selection;
use self::kept::Kept;
use self::reading::Quantity::{ClockReasons, PcieReceived, PcieSent};
use self::reading::{Identity, Reading};
use self::slow::PcieSampler;
use self::write::Labels;
use self::xid::Watchers;
use super::prober::{Prober, Question, Threads};
use super::{BuildError, CollectError, Collector, Flag, FlagKind, Host, Options, Pass, Spec};
use crate::model::{Batch, OncePerState};

const LIBRARY: &str = "gpu.nvml-library";
const FIELDS: &str = "gpu.fields";
const TIMEOUT: &str = "gpu.device-timeout";
const HOSTNAME: &str = "gpu.hostname";
const PROCESSES: &str = "gpu.processes";
const NVIDIA_SMI: &str = "gpu.nvidia-smi-names";

pub(super) static SPEC: Spec = Spec {
    name: "gpu",
    on_by_default: true,
    help: "NVIDIA GPUs, under dcgm-exporter's names; costs nothing where there is no driver.",
    flags: &[
        Flag::new(
            TIMEOUT,
            FlagKind::Duration("2s"),
            "How long a GPU may take to answer before it is shown as not up and left alone until it does.",
        ),
        Flag::new(
            FIELDS,
            FlagKind::Text(""),
            "Fields of DCGM to expose: names separated by commas, among them `default` and `all`, or the path of \
             a file of counters as dcgm-exporter reads it. Default: dcgm-exporter's default counters.",
        ),
        Flag::new(
            HOSTNAME,
            FlagKind::Text(""),
            "Value of the label Hostname. Default: the machine's name, which in a pod is the pod's.",
        ),
        Flag::new(
            NVIDIA_SMI,
            FlagKind::Switch(false),
            "Also expose GPUs under nvidia_gpu_exporter's names, nvidia_smi_*.",
        ),
        Flag::new(
            LIBRARY,
            FlagKind::Text(""),
            "Path of libnvidia-ml.so. Default: the usual places, if there are signs of a driver.",
        ),
        Flag::new(
            PROCESSES,
            FlagKind::Switch(true),
            "Expose the memory and activity of each process on a GPU, with its container.",
        ),
    ],
    build: |host, options| {
        let (paths, library) = (host.paths.clone(), options.text(LIBRARY).to_owned());
        let open = move || nvml::open(&paths, &library);
        build(host, options, Box::new(open), KEPT.get_or_init(Kept::default).clone())
    },
};

static KEPT: OnceLock<Kept> = OnceLock::new();

/// The file that says which fields are wanted, if one was given.
pub(super) fn file_of_fields(options: &Options) -> Option<&str> {
    Some(options.text(FIELDS)).filter(|fields| fields::is_file(fields))
}

/// Threads that ask GPUs.
static THREADS: Threads = Threads::named("gpu");

/// Most GPUs of a machine; the largest have 16.
const MOST_GPUS: u32 = 128;

/// Part of the pass's time that is left to write the samples when a GPU does not answer.
const RESERVED: u32 = 20;

/// What fails, as a driver that does not open, is tried again after this, doubled each time up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

fn build(
    host: &Host,
    options: &Options,
    open: Box<OpenBackend>,
    kept: Kept,
) -> Result<Box<dyn Collector>, BuildError> {
    let selection = Selection::read(options.text(FIELDS))?;
    let nvidia_smi = options.switch(NVIDIA_SMI);
    let mut wanted = selection.wanted();
    wanted.add(ClockReasons);
    if nvidia_smi {
        nvidia_smi::want(&mut wanted);
    }
    let hostname = match options.text(HOSTNAME) {
        "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        given => given.to_owned(),
    };
    let questions = Questions { wanted, processes: options.switch(PROCESSES) };
    Ok(Box::new(Gpu {
        open,
        host: host.clone(),
        selection,
        questions: Arc::new(questions),
        nvidia_smi,
        hostname,
        prober: Prober::new(1, options.duration(TIMEOUT), Box::new(ask), &THREADS),
        driver: None,
        retry: None,
        available: OncePerState::starting_at(None),
        watchers: kept.watchers(options.text(LIBRARY)),
        kept,
    }))
}

struct Gpu {
    open: Box<OpenBackend>,
    host: Host,
    selection: Selection,
    questions: Arc<Questions>,
    nvidia_smi: bool,
    hostname: String,
    prober: Prober<Asked>,
    driver: Option<Driver>,
    /// When a driver that did not open is tried again, and how long was waited for that.
    retry: Option<(Instant, Duration)>,
    /// Whether there is a driver, and why not; told when it changes.
    available: OncePerState<Option<Result<(), String>>>,
    watchers: Arc<Watchers>,
    kept: Kept,
}

/// A driver that is there.
struct Driver {
    backend: Arc<dyn GpuBackend>,
    versions: [String; 2],
    gpus: Vec<Known>,
    pcie: Option<PcieSampler>,
}

/// A GPU, answering or not.
struct Known {
    asked: Asked,
    health: OncePerState<Result<(), String>>,
}

/// A GPU to ask; opened by the thread that asks it, because that may hang, too.
#[derive(Clone)]
struct Asked {
    gpu: u32,
    backend: Arc<dyn GpuBackend>,
    device: Arc<Mutex<Option<Opened>>>,
    questions: Arc<Questions>,
    alive: Alive,
}

/// An open GPU and what it is called, which belongs to each of its answers: the one for which it was opened may come too
/// late to be heard.
struct Opened {
    device: Box<dyn GpuDevice>,
    identity: Arc<Identity>,
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.device, &other.device)
    }
}

impl Question for Asked {
    type Answer = Result<(Arc<Identity>, Reading), GpuError>;
    type Group = u32;

    fn group(&self) -> u32 {
        self.gpu
    }
}

/// The reading. A GPU that fails is opened anew the next time.
fn ask(asked: &Asked) -> <Asked as Question>::Answer {
    // After a reload, or when the driver was opened anew, this question is another one to the prober.
    let Some(_room) = asked.alive.room(("gpu", asked.gpu)) else {
        return Err(GpuError::Device("earlier questions have not returned from the driver".to_owned()));
    };
    // Only one thread at a time asks a GPU: what is open is not asked again.
    let mut kept = asked.device.lock().unwrap_or_else(PoisonError::into_inner);
    let mut opened = match kept.take() {
        Some(opened) if opened.identity.is_whole => opened,
        Some(opened) => Opened { identity: Arc::new(opened.device.identity()), ..opened },
        None => {
            let device = asked.backend.open(asked.gpu)?;
            Opened { identity: Arc::new(device.identity()), device }
        }
    };
    let reading = opened.device.read(&asked.questions)?;
    Ok((Arc::clone(&kept.insert(opened).identity), reading))
}

impl Gpu {
    /// Opens the driver if it is not open, and finds its GPUs.
    fn open(&mut self) -> Result<(), GpuError> {
        let count = match &self.driver {
            Some(driver) => driver.backend.count(),
            None => Ok(0),
        };
        if count.is_err() {
            self.close();
        }
        if self.driver.is_none() {
            if let Some((at, _)) = self.retry
                && Instant::now() < at
            {
                let Some(Err(why)) = self.available.state() else {
                    return Err(GpuError::NoDriver("the driver is tried again shortly".to_owned()));
                };
                return Err(GpuError::NoDriver(why.clone()));
            }
            let opened = self.begin();
            self.retry = match &opened {
                Ok(_) => None,
                Err(_) => {
                    // Those of a collector before this one may hold a driver that is gone.
                    self.watchers.close();
                    let wait = self.retry.map_or(FIRST_RETRY, |(_, wait)| LONGEST_RETRY.min(wait * 2));
                    Some((Instant::now() + wait, wait))
                }
            };
            self.driver = Some(opened?);
        }
        Ok(())
    }

    /// Lets the driver go.
    fn close(&mut self) {
        self.driver = None;
        self.watchers.close();
    }

    fn begin(&self) -> Result<Driver, GpuError> {
        let backend: Arc<dyn GpuBackend> = (self.open)()?.into();
        let count = backend.count()?.min(MOST_GPUS);
        let known = |gpu| Known {
            asked: Asked {
                gpu,
                backend: Arc::clone(&backend),
                device: Arc::default(),
                questions: Arc::clone(&self.questions),
                alive: self.kept.alive.clone(),
            },
            health: OncePerState::starting_at(Ok(())),
        };
        let wants_pcie = self.questions.wanted.any(&[PcieSent, PcieReceived]);
        Ok(Driver {
            versions: backend.versions(),
            gpus: (0..count).map(known).collect(),
            pcie: wants_pcie.then(|| PcieSampler::new(Arc::clone(&backend), count, &self.kept.alive)),
            backend,
        })
    }

    fn say(&mut self, now: Result<(), String>) {
        let said = now.clone();
        if self.available.observe(Some(now)).is_some() {
            match said {
                Ok(()) => {
                    let driver = self.driver.as_ref();
                    let gpus = driver.map_or(0, |d| d.gpus.len());
                    let version = driver.map_or("", |d| &d.versions[0]);
                    tracing::info!(gpus, version, "NVIDIA driver opened");
                }
                Err(why) => tracing::info!(why, "No GPU metrics for now"),
            }
        }
    }
}

impl Collector for Gpu {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let opened = self.open();
        let help = "Whether an NVIDIA driver is there and was opened.";
        out.gauge("outrigger_gpu_available", help, &[], f64::from(u8::from(opened.is_ok())));
        self.say(opened.clone().map_err(|error| error.to_string()));
        opened.map_err(|error| CollectError::NoData(error.to_string()))?;
        let Some(driver) = &mut self.driver else { return Ok(()) };

        let gpus = u32::try_from(driver.gpus.len()).unwrap_or(MOST_GPUS);
        self.watchers.tend(&driver.backend, gpus);
        let left = pass.deadline.saturating_duration_since(Instant::now());
        let until = pass.deadline.checked_sub((left / RESERVED).max(Duration::from_millis(1)));
        let questions: Vec<_> = driver.gpus.iter().map(|known| known.asked.clone()).collect();
        let answers = self.prober.ask(&questions, until.unwrap_or(pass.deadline));
        let shown = Shown {
            selection: &self.selection,
            versions: &driver.versions,
            hostname: &self.hostname,
            host: &self.host,
            nvidia_smi: self.nvidia_smi,
            kept: &self.kept,
        };
        let (mut room, mut left_out, mut gone) = (write::MOST_PROCESSES, 0, None);
        for (known, answer) in driver.gpus.iter_mut().zip(answers) {
            if let Some(Err(GpuError::NoDriver(why))) = &answer {
                gone = Some(why.clone());
            }
            let pcie = driver.pcie.as_ref().and_then(|pcie| pcie.of(known.asked.gpu));
            let was_up = known.health.state().is_ok();
            left_out += shown.write(out, known, answer, pcie, &mut room);
            if !was_up && known.health.state().is_ok() {
                self.watchers.kick(known.asked.gpu);
            }
            if let Some(pcie) = &mut driver.pcie {
                pcie.kick(known.asked.gpu);
            }
        }
        let help = "Processes on GPUs that are not shown, because there are more than 256.";
        if self.questions.processes {
            #[allow(clippy::cast_precision_loss, reason = "a small number")]
            out.gauge("outrigger_gpu_processes_left_out", help, &[], left_out as f64);
        }
        if let Some(why) = gone {
            self.close();
            self.retry = Some((Instant::now() + FIRST_RETRY, FIRST_RETRY));
            self.say(Err(why));
        }
        Ok(())
    }
}

/// What all GPUs are written with.
struct Shown<'a> {
    selection: &'a Selection,
    versions: &'a [String; 2],
    hostname: &'a str,
    host: &'a Host,
    nvidia_smi: bool,
    kept: &'a Kept,
}

impl Shown<'_> {
    /// Writes one GPU; how many of its processes there was no room for.
    fn write(
        &self,
        out: &mut Batch,
        known: &mut Known,
        answer: Option<<Asked as Question>::Answer>,
        pcie: Option<[f64; 2]>,
        room: &mut usize,
    ) -> usize {
        let gpu = known.asked.gpu;
        let answer = answer.unwrap_or_else(|| Err(GpuError::Device("it did not answer in time".to_owned())));
        let Kept { identities, ledger, .. } = self.kept;
        let answer = answer.map(|(identity, reading)| {
            identities.told(gpu, identity);
            reading
        });
        let identity = identities.of(gpu);
        if let Some(change) = known.health.observe(answer.as_ref().map(|_| ()).map_err(GpuError::to_string)) {
            let uuid = &*identity.uuid;
            match &answer {
                Ok(_) => tracing::info!(gpu, uuid, failed_passes = change.repeats, "GPU answers again"),
                Err(error) => {
                    tracing::warn!(gpu, uuid, %error, "GPU does not answer; its metrics are absent")
                }
            }
        }
        let labels = Labels::new(gpu, &identity, self.hostname, self.versions, self.selection);
        write::up(out, &labels, answer.is_ok());
        write::xids(out, &labels, self.selection, &ledger.of(gpu, &identity.uuid));
        let Ok(mut reading) = answer else { return 0 };
        if let Some([sent, received]) = pcie {
            reading.values.set(PcieSent, sent);
            reading.values.set(PcieReceived, received);
        }
        write::reading(out, &labels, self.selection, &reading);
        if self.nvidia_smi {
            nvidia_smi::write(out, gpu, &identity, &self.versions[0], &reading.values);
        }
        let before = *room;
        write::processes(out, &labels, &reading.processes, self.host, room);
        reading.processes.len() - (before - *room)
    }
}

/// Reads bytes as everything that is read here from a driver, the kernel or a file; for fuzzing.
pub fn survives(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(text.contains(text::mig_profile(&text)));
    assert!(super::container::id_of_process(&text).is_none_or(|id| id.len() == 64 && text.contains(id)));
    match Selection::from_csv(&text) {
        Ok((selection, left_out)) => {
            let left_out = left_out.unknown.len() + left_out.numbers.len();
            assert!(selection.families.len() + left_out <= text.lines().count());
        }
        Err(error) => assert!(error.starts_with(|c: char| c.is_ascii_digit())),
    }
}
