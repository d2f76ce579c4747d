//! The scenario file: sections of keys and values.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

pub(crate) const INVALID_ARGUMENT: u32 = 2;
pub(crate) const NOT_SUPPORTED: u32 = 3;

/// One section: values by key; a key may stand several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section(Vec<(String, String)>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Gpu {
    pub(crate) section: Section,
    pub(crate) instances: Vec<Section>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Scenario {
    pub(crate) driver: Section,
    pub(crate) gpus: Vec<Gpu>,
}

impl Scenario {
    pub(crate) fn parse(text: &str) -> Self {
        let mut scenario = Self::default();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            match line {
                "[gpu]" => scenario.gpus.push(Gpu::default()),
                "[instance]" => {
                    scenario
                        .gpus
                        .last_mut()
                        .into_iter()
                        .for_each(|gpu| gpu.instances.push(Section::default()));
                }
                line => {
                    let (key, value) = line.split_once(' ').unwrap_or((line, ""));
                    scenario.section().0.push((key.to_owned(), value.trim().to_owned()));
                }
            }
        }
        scenario
    }

    /// The one that began last.
    fn section(&mut self) -> &mut Section {
        match self.gpus.last_mut() {
            None => &mut self.driver,
            Some(gpu) => gpu.instances.last_mut().unwrap_or(&mut gpu.section),
        }
    }
}

impl Section {
    pub(crate) fn all<'a, 'k: 'a>(&'a self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Whether a key begins so.
    pub(crate) fn has_any(&self, prefix: &str) -> bool {
        self.0.iter().any(|(key, _)| key.starts_with(prefix))
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str, u32> {
        let value = self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
        let value = value.ok_or(NOT_SUPPORTED)?;
        match value.strip_prefix("error ") {
            Some(code) => Err(code.parse().unwrap_or(INVALID_ARGUMENT)),
            None => Ok(value),
        }
    }

    /// Numbers separated by spaces; `of` names the section, so that counters move on their own.
    pub(crate) fn numbers(&self, key: &str, of: usize) -> Result<Vec<f64>, u32> {
        let step = |word: &str| match word.split_once('+') {
            Some((start, by)) => Some(start.parse::<f64>().ok()? + by.parse::<f64>().ok()? * asked(of, key)),
            None => word.parse().ok(),
        };
        self.text(key)?.split_whitespace().map(|word| step(word).ok_or(INVALID_ARGUMENT)).collect()
    }
}

/// How often a moving counter was asked before.
fn asked(of: usize, key: &str) -> f64 {
    static ASKED: Mutex<BTreeMap<(usize, String), u32>> = Mutex::new(BTreeMap::new());
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    let count = asked.entry((of, key.to_owned())).or_default();
    *count += 1;
    f64::from(*count - 1)
}

/// The scenario as it is now.
pub(crate) fn now() -> Scenario {
    type Read = Option<(SystemTime, u64, Scenario)>;
    static LAST: Mutex<Read> = Mutex::new(None);
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| std::env::var_os("FAKE_NVML").map(PathBuf::from).unwrap_or_default());
    let Ok(metadata) = std::fs::metadata(path) else { return Scenario::default() };
    let stamp = (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match &*last {
        Some((time, length, scenario)) if (*time, *length) == stamp => scenario.clone(),
        _ => {
            let scenario = Scenario::parse(&std::fs::read_to_string(path).unwrap_or_default());
            *last = Some((stamp.0, stamp.1, scenario.clone()));
            scenario
        }
    }
}

/// A moment, for what waits for the scenario to change.
pub(crate) fn moment() {
    std::thread::park_timeout(Duration::from_millis(5));
}
