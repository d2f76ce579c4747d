//! The rules that ship with the program: the files of `rules/`, in the binary.
//!
//! Invariant: each of them reads without a mistake, whatever the settings of the queries, as a test shows.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::file::{FileOptions, parse_file};
use super::spec::GroupSpec;
use crate::config::{Section, closest};

/// What stands before the names of these files where groups are shown.
const FOLDER: &str = "builtin/";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../rules/", $name, ".rules.yml")))),*]
    };
}

/// Names and texts.
const FILES: [(&str, &str); 12] = files![
    "backups",
    "capacity",
    "certificates",
    "container",
    "delivery",
    "gpu",
    "host",
    "mapping",
    "ml",
    "self",
    "service",
    "workflow",
];

/// Parsed once; reloads share them.
static GROUPS: LazyLock<Result<Vec<GroupSpec>, String>> = LazyLock::new(|| {
    let mut groups = Vec::new();
    for (name, text) in FILES {
        let read = parse_file(&format!("{FOLDER}{name}.rules.yml"), text, &FileOptions::default());
        groups.append(&mut read.map_err(|errors| errors.to_string())?);
    }
    Ok(groups)
});

/// The key `builtin_rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltinRules {
    /// Whether there are any.
    pub enabled: bool,
    /// Files (`host`) and rules (`HostSwapHigh`) that are left out.
    pub exclude: BTreeSet<String>,
}

impl Default for BuiltinRules {
    fn default() -> Self {
        Self { enabled: true, exclude: BTreeSet::new() }
    }
}

impl BuiltinRules {
    /// Reads the key from the top level of a file. Mistakes are noted in it.
    pub(super) fn read(top: &mut Section<'_>) -> Self {
        let mut settings = Self::default();
        let Some(mut section) = top.take_section("builtin_rules") else { return settings };
        settings.enabled = section.take_bool("enabled").unwrap_or(true);
        let names = names();
        for item in section.take_list("exclude").unwrap_or_default() {
            let Some(name) = item.str() else { continue };
            if !names.contains(name.as_str()) {
                let hint = closest(&name, names.iter().copied());
                let hint = hint.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
                item.error(format!("no built-in file or rule is called {name:?}{hint}"));
            }
            settings.exclude.insert(name);
        }
        settings
    }

    /// The groups, but for files and rules that are left out, and files whose name (`host.rules.yml`) is `replaced`.
    ///
    /// # Errors
    /// None, as a test shows.
    pub(super) fn groups(&self, replaced: &BTreeSet<String>) -> Result<Vec<GroupSpec>, String> {
        if !self.enabled {
            return Ok(Vec::new());
        }
        let all = GROUPS.as_ref().map_err(Clone::clone)?;
        let kept = |group: &&GroupSpec| {
            let file = group.file.strip_prefix(FOLDER).unwrap_or_default();
            let name = file.strip_suffix(".rules.yml").unwrap_or(file);
            !replaced.contains(file) && !self.exclude.contains(name)
        };
        let groups = all.iter().filter(kept).map(|group| {
            let mut group = group.clone();
            group.rules.retain(|rule| !self.exclude.contains(&*rule.name));
            group
        });
        Ok(groups.filter(|group| !group.rules.is_empty()).collect())
    }
}

/// Whether this is how one of the files is called.
pub(super) fn is_builtin(file: &str) -> bool {
    let name = file.strip_prefix(FOLDER).and_then(|file| file.strip_suffix(".rules.yml"));
    name.is_some_and(|name| FILES.iter().any(|(file, _)| *file == name))
}

/// What can be left out.
fn names() -> BTreeSet<&'static str> {
    let groups = GROUPS.as_deref().unwrap_or_default();
    let rules = groups.iter().flat_map(|group| group.rules.iter().map(|rule| &*rule.name));
    FILES.iter().map(|(name, _)| *name).chain(rules).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn read(text: &str) -> Result<BuiltinRules, String> {
        let document = Document::parse("o.yml", text, &Limits::default()).expect("parsed");
        document.read(&Environment::off(), BuiltinRules::read).map_err(|error| error.to_string())
    }

    fn shown(settings: &BuiltinRules, replaced: &[&str]) -> String {
        let replaced = replaced.iter().map(|name| (*name).to_owned()).collect();
        let groups = settings.groups(&replaced).expect("built in");
        let keys = groups.iter().map(|group| format!("{} {}", group.key(), group.rules.len()));
        keys.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_file_of_the_folder_is_there() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
        let names = std::fs::read_dir(folder).expect("read").filter_map(|entry| {
            let name = entry.expect("entry").file_name().into_string().expect("text");
            name.strip_suffix(".rules.yml").map(ToOwned::to_owned)
        });
        let names: BTreeSet<String> = names.collect();
        assert_eq!(names, FILES.iter().map(|(name, _)| (*name).to_owned()).collect());
        assert!(GROUPS.as_ref().expect("read").iter().all(GroupSpec::is_builtin));
    }

    #[test]
    fn files_and_rules_can_be_left_out_and_replaced() {
        let all = shown(&read("").expect("read"), &[]);
        for part in ["builtin/host.rules.yml;host-cpu-memory", "builtin/gpu.rules.yml;gpu"] {
            assert!(all.contains(part), "{all}");
        }
        assert_eq!(shown(&read("builtin_rules: {enabled: false}").expect("read"), &[]), "");
        let some = read("builtin_rules: {exclude: [gpu, Watchdog]}").expect("read");
        let left = shown(&some, &["host.rules.yml"]);
        for part in ["builtin/gpu", "builtin/host"] {
            assert!(!left.contains(part), "{left}");
        }
        let groups = some.groups(&BTreeSet::new()).expect("built in");
        assert!(!groups.iter().flat_map(|group| &group.rules).any(|rule| &*rule.name == "Watchdog"));
        let error = read("builtin_rules: {exclude: [hosts]}").expect_err("unknown");
        let expected = "o.yml:1:27: builtin_rules.exclude[0]: no built-in file or rule is called \"hosts\"; did you mean \"host\"?";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn only_what_is_looked_at_after_days_is_kept_for_long() {
        let groups = BuiltinRules::default().groups(&BTreeSet::new()).expect("built in");
        let far: BTreeSet<String> = groups
            .iter()
            .flat_map(GroupSpec::selectors_to_keep)
            .flatten()
            .filter(|matcher| matcher.name() == "__name__")
            .map(|matcher| matcher.pattern().to_owned())
            .collect();
        assert!(far.contains("instance:node_cpu_busy:ratio_rate5m"), "{far:?}");
        assert!(!far.iter().any(|name| name.starts_with("node_")), "{far:?}");
    }
}
