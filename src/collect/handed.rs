//! Results that other parts of the program keep: handed out by a pass as if a collector had read them.
//!
//! What takes time - a probe, a directory of backups - runs elsewhere, on its own clock; a pass only copies what came
//! of it. Invariant: a writer neither blocks nor waits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{CollectError, Collector, Pass, Spec};
use crate::model::{Batch, Timestamp};

/// Writes what is known at an instant.
pub type WriteResults = dyn Fn(Timestamp, &mut Batch) + Send + Sync;

/// Who writes the results of which collector. It outlives engines.
#[derive(Default)]
pub struct Handed(Mutex<BTreeMap<&'static str, Arc<WriteResults>>>);

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handed")
    }
}

impl Handed {
    /// From now on this writes the collector's results.
    pub fn put(&self, collector: &'static str, write: Arc<WriteResults>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(collector, write);
    }

    fn of(&self, collector: &str) -> Option<Arc<WriteResults>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(collector).map(Arc::clone)
    }
}

macro_rules! handed_spec {
    ($spec:ident, $name:expr, $help:expr) => {
        pub(super) static $spec: Spec = Spec {
            name: $name,
            on_by_default: true,
            help: $help,
            flags: &[],
            build: |host, _| Ok(Box::new(Results { name: $name, handed: Arc::clone(&host.handed) })),
        };
    };
}

handed_spec!(BACKUP, "backup", "Backups that `checks.backups` names; nothing where there are none.");
handed_spec!(
    CERTIFICATE,
    "certificate",
    "Certificates that `checks.certificates` names, under x509-certificate-exporter's names; nothing where there are none."
);
handed_spec!(
    PROBE,
    "probe",
    "Probes that `checks.probes` names, under blackbox_exporter's names; nothing where there are none."
);

struct Results {
    name: &'static str,
    handed: Arc<Handed>,
}

impl Collector for Results {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        if let Some(write) = self.handed.of(self.name) {
            write(pass.now, out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::collect::{Engine, EngineConfig, Own, Selection};
    use std::time::Duration;

    #[tokio::test]
    async fn a_pass_hands_out_what_is_known_over_reloads() {
        let own = Arc::<Own>::default();
        let value = Arc::new(Mutex::new(1.0));
        let written = Arc::clone(&value);
        own.handed().put(
            "backup",
            Arc::new(move |now, out| {
                let value = *written.lock().unwrap();
                out.gauge("outrigger_backup_files", "F.", &[], value + now.as_seconds_f64());
            }),
        );
        for expected in [1.0, 2.0] {
            *value.lock().unwrap() = expected;
            let enabled = ["backup", "probe"].into();
            let config = EngineConfig { enabled, own: Arc::clone(&own), ..EngineConfig::default() };
            let engine = Engine::new(config).unwrap();
            let snapshot =
                engine.gather(Timestamp::default(), &Selection::All, Duration::from_secs(30)).await;
            let family =
                snapshot.families().find(|family| family.name() == "outrigger_backup_files").unwrap();
            assert_eq!(family.samples().next().map(|sample| sample.value()), Some(expected));
        }
        let pass = Pass { now: Timestamp::default(), deadline: Instant::now() };
        let mut nobody = Results { name: "probe", handed: Arc::default() };
        let mut out = Batch::new();
        assert!(nobody.collect(&pass, &mut out).is_ok() && out.is_empty());
    }
}
