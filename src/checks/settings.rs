//! `checks` of outrigger.yml: what is looked at, and how often.
//!
//! Invariant: a key is read, or refused with its place; none is ignored. What is wrong with one entry does not hide
//! what is wrong with the next.

use std::time::Duration;

use super::backup::BackupSettings;
use super::certificate::CertificateSettings;
use super::probe::ProbeSettings;
use crate::config::Section;

/// Most entries of a list, and most targets of all probes.
pub(super) const MOST_CHECKS: usize = 1_000;

/// The shortest interval: what is looked at more often is not looked at but loaded.
const SHORTEST: Duration = Duration::from_secs(1);

/// `checks`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChecksSettings {
    /// `checks.certificates`.
    pub certificates: Vec<CertificateSettings>,
    /// `checks.backups`.
    pub backups: Vec<BackupSettings>,
    /// `checks.probes`, one for each target.
    pub probes: Vec<ProbeSettings>,
}

impl ChecksSettings {
    /// Reads the key `checks` of the top level. Mistakes are noted in it.
    pub fn read(top: &mut Section<'_>) -> Self {
        let Some(mut section) = top.take_section("checks") else { return Self::default() };
        Self {
            certificates: CertificateSettings::read_all(&mut section),
            backups: BackupSettings::read_all(&mut section),
            probes: ProbeSettings::read_all(&mut section),
        }
    }
}

/// The entries of the list `key`, of which no two have the same name; `what` is one of them in messages.
pub(super) fn read_named<T>(
    section: &mut Section<'_>,
    key: &str,
    what: &str,
    read: impl Fn(&mut Section<'_>) -> Option<T>,
    name: impl Fn(&T) -> &str,
) -> Vec<T> {
    let items = section.take_list(key).unwrap_or_default();
    if items.len() > MOST_CHECKS {
        section.error(key, format!("more than {MOST_CHECKS} {what}s"));
        return Vec::new();
    }
    let mut all: Vec<T> = Vec::new();
    for item in items {
        let Some(mut section) = item.section() else { continue };
        let Some(entry) = read(&mut section) else { continue };
        if all.iter().any(|other| name(other) == name(&entry)) {
            section.error("name", format!("there is another {what} named {:?}", name(&entry)));
        }
        all.push(entry);
    }
    all
}

/// `name`, which becomes a label.
pub(super) fn check_name(section: &mut Section<'_>) -> Option<String> {
    section.require("name");
    section.take("name")?.parse_with("a name", |text| match text.len() {
        0 => Err("expected a name, found nothing".to_owned()),
        1..=200 => Ok(text.to_owned()),
        _ => Err("a name of more than 200 bytes".to_owned()),
    })
}

/// A duration of at least a second.
pub(super) fn positive(section: &mut Section<'_>, key: &str) -> Option<Duration> {
    let duration = section.take_duration(key)?;
    if duration < SHORTEST {
        section.error(key, "expected at least 1s");
        return None;
    }
    Some(duration)
}
