//! `global` and `scrape_configs`: every key of Prometheus, read strictly.
//!
//! Invariant: a key is read, or refused with its place; none is ignored. Checks and messages are Prometheus's.

mod discovery;
mod global;
mod job;
mod protocol;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Document, Limits, Section};

pub(super) use discovery::read_group;
pub use discovery::{
    Discovery, DnsRecord, DnsSettings, DockerSettings, FileSettings, HttpSdSettings, TargetGroup,
    read_discovery, refuse_other_discovery,
};
pub use global::{GlobalSettings, SampleLimits};
pub use job::JobSettings;
pub use protocol::ScrapeProtocol;

/// What `global` and `scrape_configs` say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScrapeSettings {
    /// `global`.
    pub global: GlobalSettings,
    /// `scrape_configs`, in the order of the file; names are unique.
    pub jobs: Vec<Arc<JobSettings>>,
}

impl ScrapeSettings {
    /// Reads both keys from the top level of a file. Mistakes are noted in it.
    pub fn read(top: &mut Section<'_>) -> Self {
        let global = GlobalSettings::read(top);
        let mut jobs = Jobs::default();
        jobs.read(top, &global, "");
        for item in top.take_list("scrape_config_files").unwrap_or_default() {
            let Some(pattern) = item.path_buf() else { continue };
            for path in matching(&pattern) {
                let read = Document::load(&path, &Limits::default()).and_then(|document| {
                    let file = format!("{}: ", path.display());
                    Ok(document.read(item.environment(), |top| jobs.read(top, &global, &file))?)
                });
                if let Err(error) = read {
                    item.error(error.to_string());
                }
            }
        }
        Self { global, jobs: jobs.read }
    }
}

/// Jobs read so far.
#[derive(Default)]
struct Jobs {
    read: Vec<Arc<JobSettings>>,
    /// Where each name came first.
    first_of: BTreeMap<String, String>,
}

impl Jobs {
    fn read(&mut self, top: &mut Section<'_>, global: &GlobalSettings, file: &str) {
        for item in top.take_list("scrape_configs").unwrap_or_default() {
            let Some(mut section) = item.section() else { continue };
            let Some(job) = JobSettings::read(&mut section, global) else { continue };
            if let Some(first) = self.first_of.get(&job.name) {
                let name = &job.name;
                section.error(
                    "job_name",
                    format!("found multiple scrape configs with job name {name:?}; the first is {first}"),
                );
                continue;
            }
            self.first_of.insert(job.name.clone(), format!("{file}{}", item.path()));
            self.read.push(Arc::new(job));
        }
    }
}

/// Most files that a pattern of `scrape_config_files` may name.
const MOST_FILES: usize = 1_000;

/// The files that a pattern names, in order. A plain path that is not there is an error of its reading; a pattern
/// that matches nothing is none.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let text = pattern.to_string_lossy();
    if !text.contains(['*', '?', '[']) {
        return vec![pattern.to_owned()];
    }
    glob::glob(&text).map(|paths| paths.filter_map(Result::ok).take(MOST_FILES).collect()).unwrap_or_default()
}
