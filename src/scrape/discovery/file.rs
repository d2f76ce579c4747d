//! `file_sd_configs`: files of targets, watched.
//!
//! Files are looked at every few seconds by their identity (a `stat` each), which sees a rename and a rewrite alike
//! and works on every filesystem; inotify sees neither on network filesystems nor through swapped links.
//!
//! Source: Prometheus's documentation of `file_sd_config`: YAML or JSON, a broken file keeps its last targets, one
//! that is gone takes them along.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::Outcome;
use crate::config::{Document, Environment, Limits, WatchedFiles};
use crate::model::{Labels, LabelsBuilder};
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::settings::{FileSettings, TargetGroup, read_group};
use crate::tasks;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// Most files that the patterns of one configuration may name.
const MOST_FILES: usize = 1_000;

/// Watches the files of one configuration.
pub(super) struct FileProvider {
    settings: FileSettings,
    metrics: ScrapeMetrics,
    files: BTreeMap<PathBuf, Known>,
    read_all: Option<Instant>,
}

/// A file that was read.
#[derive(Default)]
struct Known {
    watched: WatchedFiles,
    groups: Vec<TargetGroup>,
    error: Option<String>,
}

impl FileProvider {
    /// `known`: groups of files as they were found before.
    pub(super) fn new(settings: &FileSettings, known: Vec<TargetGroup>, metrics: ScrapeMetrics) -> Self {
        let mut files = BTreeMap::<PathBuf, Known>::new();
        for group in known {
            if let Some((path, _)) = group.source.rsplit_once(':') {
                files.entry(PathBuf::from(path)).or_default().groups.push(group);
            }
        }
        Self { settings: settings.clone(), metrics, files, read_all: None }
    }

    pub(super) const fn interval(&self) -> Duration {
        if self.settings.refresh_interval.as_millis() < LOOK.as_millis() {
            self.settings.refresh_interval
        } else {
            LOOK
        }
    }

    pub(super) async fn look(&mut self) -> Outcome {
        let due = self.read_all.is_none_or(|last| last.elapsed() >= self.settings.refresh_interval);
        if due {
            self.read_all = Some(Instant::now());
        }
        let (settings, files) = (self.settings.clone(), std::mem::take(&mut self.files));
        let looked = tasks::blocking(move || look(&settings, files, due)).await;
        let Ok(looked) = looked else {
            return Outcome { groups: None, error: Some("reading files of targets failed".to_owned()) };
        };
        self.files = looked.files;
        let errors: Vec<&str> = self.files.values().filter_map(|known| known.error.as_deref()).collect();
        self.metrics.get().file_errors.inc_by(looked.errors);
        let groups = self.files.values().flat_map(|known| known.groups.iter().cloned()).collect();
        Outcome { groups: Some(groups), error: (!errors.is_empty()).then(|| errors.join("\n")) }
    }
}

struct Looked {
    files: BTreeMap<PathBuf, Known>,
    errors: u64,
}

fn look(settings: &FileSettings, mut known: BTreeMap<PathBuf, Known>, read_all: bool) -> Looked {
    let mut looked = Looked { files: BTreeMap::new(), errors: 0 };
    for path in settings.files.iter().flat_map(|pattern| matching(pattern)).take(MOST_FILES) {
        let before = match known.remove(&path) {
            Some(before) if !read_all && !before.watched.have_changed() => {
                looked.files.insert(path, before);
                continue;
            }
            before => before.map(|before| before.groups),
        };
        let mut watched = WatchedFiles::default();
        let read = watched.read(&path).map_err(|error| format!("{}: {error}", path.display()));
        let (groups, error) = match read.and_then(|bytes| read_groups(&path, &bytes)) {
            Ok(groups) => (groups, None),
            Err(error) => {
                looked.errors += 1;
                (before.unwrap_or_default(), Some(error))
            }
        };
        looked.files.insert(path, Known { watched, groups, error });
    }
    looked
}

/// The files that a path with at most one `*` names, in order.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let text = pattern.to_string_lossy();
    if !text.contains('*') {
        return if pattern.exists() { vec![pattern.to_owned()] } else { Vec::new() };
    }
    glob::glob(&text).map(|paths| paths.filter_map(Result::ok).take(MOST_FILES).collect()).unwrap_or_default()
}

/// The groups of one file, with `__meta_filepath`.
fn read_groups(path: &Path, bytes: &[u8]) -> Result<Vec<TargetGroup>, String> {
    let name = path.display().to_string();
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{name}: not UTF-8"))?;
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let mut groups = match is_json {
        true => json_groups(text).map_err(|error| format!("{name}: {error}"))?,
        false => yaml_groups(&name, text)?,
    };
    for (index, group) in groups.iter_mut().enumerate() {
        group.source = format!("{name}:{index}");
        group.labels = group.labels.with("__meta_filepath", &name);
    }
    Ok(groups)
}

fn yaml_groups(name: &str, text: &str) -> Result<Vec<TargetGroup>, String> {
    let document = Document::parse(name, text, &Limits::default()).map_err(|error| error.to_string())?;
    let read = document.read_value(&Environment::off(), |root| {
        let items = root.and_then(|root| root.list()).unwrap_or_default();
        items.iter().filter_map(|item| Some(read_group(item)?.0)).collect()
    });
    read.map_err(|error| error.to_string())
}

/// A group as JSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonGroup {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Groups of targets in JSON, as files and HTTP services have them.
pub(super) fn json_groups(text: &str) -> Result<Vec<TargetGroup>, String> {
    let groups: Option<Vec<JsonGroup>> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let group = |group: JsonGroup| {
        if let Some(name) = group.labels.keys().find(|name| name.is_empty() || *name == "__name__") {
            return Err(format!("{name:?} is not a valid label name"));
        }
        let address = |address: &String| Labels::from_pairs([("__address__", address)]);
        Ok(TargetGroup {
            targets: group.targets.iter().map(address).collect(),
            labels: group.labels.into_iter().collect::<LabelsBuilder>().build(),
            source: String::new(),
        })
    };
    groups.unwrap_or_default().into_iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shown(outcome: &Outcome) -> Vec<String> {
        let target = |group: &TargetGroup| {
            let addresses: Vec<&str> = group.targets.iter().map(|t| t.value("__address__")).collect();
            format!("{} {}", addresses.join(","), group.labels.filtered(|n| n != "__meta_filepath"))
        };
        outcome.groups.iter().flatten().map(target).collect()
    }

    #[tokio::test]
    async fn files_are_read_watched_and_kept_when_they_break() {
        let dir = tempfile::tempdir().unwrap();
        let (yaml, json) = (dir.path().join("a.yml"), dir.path().join("b.json"));
        fs::write(&yaml, "- targets: ['a:1', 'b:2']\n  labels: {x: y}\n- targets: [c]\n").unwrap();
        fs::write(&json, "[\n\t{\"targets\": [\"d:1\"]}]").unwrap();
        let settings = FileSettings {
            files: vec![dir.path().join("*.yml"), json.clone(), dir.path().join("none.json")],
            refresh_interval: Duration::from_secs(3_600),
        };
        let mut provider = FileProvider::new(&settings, Vec::new(), ScrapeMetrics::default());
        let first = provider.look().await;
        assert_eq!(shown(&first), ["a:1,b:2 {x=\"y\"}", "c {}", "d:1 {}"]);
        let group = &first.groups.as_ref().unwrap()[0];
        assert_eq!(group.labels.value("__meta_filepath"), yaml.display().to_string());

        fs::write(&yaml, "- targets: ['e:1']\n").unwrap();
        assert_eq!(shown(&provider.look().await), ["e:1 {}", "d:1 {}"]);
        fs::write(&yaml, "- targts: ['f:1']\n").unwrap();
        let broken = provider.look().await;
        assert_eq!(shown(&broken), ["e:1 {}", "d:1 {}"]);
        assert!(
            broken
                .error
                .as_ref()
                .unwrap()
                .contains("a.yml:1:3: [0].targts: unknown key; did you mean \"targets\"?"),
            "{broken:?}"
        );
        // Also when it is looked at again, and when another file changes.
        fs::write(&json, "{").unwrap();
        let broken = provider.look().await;
        assert_eq!(
            (shown(&broken).len(), broken.error.unwrap().lines().filter(|l| l.contains("b.json")).count()),
            (2, 1)
        );
        fs::remove_file(&yaml).unwrap();
        fs::write(&json, "null").unwrap();
        let empty = provider.look().await;
        assert_eq!((shown(&empty).len(), empty.error), (0, None));
    }

    #[tokio::test]
    async fn a_file_that_is_broken_at_the_first_look_keeps_what_was_known() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("a.json"), dir.path().join("b.json"));
        fs::write(&good, "[{\"targets\": [\"a:1\"]}]").unwrap();
        fs::write(&bad, "[{\"targets\": [\"b:1\"]}, {\"targets\": [\"c:1\"]}]").unwrap();
        let gone = dir.path().join("gone.json");
        fs::write(&gone, "[{\"targets\": [\"d:1\"]}]").unwrap();
        let settings = FileSettings {
            files: vec![good.clone(), bad.clone(), gone.clone()],
            refresh_interval: Duration::from_secs(3_600),
        };
        let before = FileProvider::new(&settings, Vec::new(), ScrapeMetrics::default()).look().await;
        let known = before.groups.unwrap();
        fs::write(&good, "[{\"targets\": [\"e:1\"]}]").unwrap();
        fs::write(&bad, "[{").unwrap();
        fs::remove_file(&gone).unwrap();
        let mut provider = FileProvider::new(&settings, known, ScrapeMetrics::default());
        for _ in 0..2 {
            let outcome = provider.look().await;
            assert_eq!(shown(&outcome), ["e:1 {}", "b:1 {}", "c:1 {}"]);
            assert!(outcome.error.is_some_and(|error| error.contains("b.json")));
        }
    }

    #[test]
    fn json_is_strict() {
        for bad in [
            "[{\"targets\": [1]}]",
            "[{\"labels\": {}}]",
            "[{\"targets\": [], \"x\": 1}]",
            "[{\"targets\": [], \"labels\": {\"__name__\": \"a\"}}]",
        ] {
            assert!(json_groups(bad).is_err(), "{bad}");
        }
    }
}
