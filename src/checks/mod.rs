//! Checks that operators would otherwise do by hand: are endpoints well, do certificates last, did backups finish.
//!
//! Each check runs on an interval of its own; a pass of the collectors hands out what it found last. Nobody outside
//! can start one. Invariants: nothing here runs on the way of a scrape; each check ends at its deadline; so many run
//! at once; one that hangs in a dead file system holds one thread and is not started again until that has returned.

mod backup;
mod certificate;
mod failing;
mod net;
mod paths;
mod probe;
mod runner;
mod sample;
mod settings;
#[cfg(test)]
mod tests;

pub use backup::BackupSettings;
pub use certificate::CertificateSettings;
pub use probe::ProbeSettings;
pub use runner::{Checks, Kind};
pub use settings::ChecksSettings;

/// Reads bytes as everything that checks read from others: certificates, kubeconfigs, modules, answers; for fuzzing.
pub fn survives(bytes: &[u8]) {
    certificate::survives(bytes);
    probe::survives(bytes);
}
