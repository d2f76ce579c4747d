//! The registry: one [`Spec`] per collector, and the [`Options`] that flags and config set.
//!
//! The command line, the config file and the reference documentation are generated from this table,
//! so a flag's name, default and help are written once: beside the collector.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::{BuildError, Collector, Host, OptionError, container, gpu, handed, host, process};
use crate::config::read_bounded;
use crate::model::{ByteSize, PromDuration};

/// A collector's row in the registry.
#[derive(Debug)]
pub struct Spec {
    /// Name as in `--collector.NAME` and in the label `collector`.
    pub name: &'static str,
    /// Whether it runs unless `--no-collector.NAME` is given.
    pub on_by_default: bool,
    /// One line on what it exposes.
    pub help: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// Makes it.
    pub build: Build,
}

/// A collector's constructor.
pub type Build = fn(&Host, &Options) -> Result<Box<dyn Collector>, BuildError>;

/// A flag of a collector.
#[derive(Debug)]
pub struct Flag {
    /// Name without the prefix `collector.`: `filesystem.mount-points-exclude`.
    pub name: &'static str,
    /// Type and default.
    pub kind: FlagKind,
    /// One line for `--help`.
    pub help: &'static str,
    /// A deprecated spelling: accepted, not shown.
    pub hidden: bool,
}

impl Flag {
    /// A flag that `--help` shows.
    pub const fn new(name: &'static str, kind: FlagKind, help: &'static str) -> Self {
        Self { name, kind, help, hidden: false }
    }

    /// A former spelling of another flag with a pattern.
    pub const fn former_regex(name: &'static str) -> Self {
        Self { name, kind: FlagKind::Regex(""), help: "Former spelling.", hidden: true }
    }
}

/// Type and default of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// `--name` and `--no-name`.
    Switch(bool),
    /// Free text.
    Text(&'static str),
    /// A path, empty by default; a relative one in a configuration file starts at the folder of that.
    Path,
    /// Text that may be given several times; empty by default.
    List,
    /// A Prometheus duration.
    Duration(&'static str),
    /// A whole number.
    Number(i64),
    /// A regular expression (RE2 syntax, not anchored); "" means none.
    Regex(&'static str),
}

/// All collectors of this build, sorted by name.
pub fn specs() -> &'static [&'static Spec] {
    static ALL: LazyLock<Vec<&'static Spec>> = LazyLock::new(|| {
        let mut all = [
            host::SPECS,
            &[
                &container::SPEC,
                &gpu::SPEC,
                &handed::BACKUP,
                &handed::CERTIFICATE,
                &handed::PROBE,
                &process::SPEC,
            ],
        ]
        .concat();
        all.sort_unstable_by_key(|spec| spec.name);
        all
    });
    &ALL
}

fn digest(path: &str) -> Option<u64> {
    // What is no file its collector refuses.
    let bytes = read_bounded(Path::new(path), LARGEST_FILE).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Some(hasher.finish())
}

fn find_flag(name: &str) -> Option<&'static Flag> {
    specs().iter().flat_map(|s| s.flags).find(|f| f.name == name)
}

/// Values given for flags of collectors; everything else has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    given: BTreeMap<&'static str, Vec<String>>,
    /// Collectors that run, where one's families depend on another; `None`: those on by default.
    enabled: Option<BTreeSet<&'static str>>,
    /// Digests of the files that the values name, as [`Self::look_at_files`] found them; `None` of one that it did not.
    files: Vec<Option<u64>>,
}

/// As much as is looked at of a file that an option names; above what any collector reads of one.
const LARGEST_FILE: ByteSize = ByteSize::new(4 << 20);

impl Options {
    /// Sets a flag from text; a [`FlagKind::List`] grows, any other flag takes the last value.
    ///
    /// # Errors
    /// An unknown flag, or a value that does not fit its kind.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        let flag = find_flag(name).ok_or_else(|| OptionError::Unknown(name.to_owned()))?;
        if let Err(why) = fits(flag.kind, value) {
            return Err(OptionError::Invalid { flag: flag.name, value: value.to_owned(), why });
        }
        let values = self.given.entry(flag.name).or_default();
        if flag.kind != FlagKind::List {
            values.clear();
        }
        values.push(value.to_owned());
        Ok(())
    }

    /// Forgets what was given for a flag: a higher source replaces a lower one's whole list.
    pub fn unset(&mut self, name: &str) {
        self.given.remove(name);
    }

    /// Notes what the files hold that the values name: the same names with other contents are other options.
    pub fn look_at_files(&mut self) {
        let flags = specs().iter().flat_map(|spec| spec.flags);
        let paths = flags.filter(|flag| flag.kind == FlagKind::Path).map(|flag| self.text(flag.name));
        let paths = paths.filter(|path| !path.is_empty()).chain(gpu::file_of_fields(self));
        self.files = paths.map(digest).collect();
    }

    /// Tells which collectors run.
    pub fn set_enabled(&mut self, collectors: BTreeSet<&'static str>) {
        self.enabled = Some(collectors);
    }

    /// Whether the collector of this name runs.
    pub fn is_enabled(&self, collector: &str) -> bool {
        self.enabled.as_ref().map_or_else(
            || specs().iter().any(|s| s.name == collector && s.on_by_default),
            |names| names.contains(collector),
        )
    }

    /// Whether a value was given.
    pub fn is_set(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.given.get(name)?.last().map(String::as_str)
    }

    fn kind(name: &str) -> FlagKind {
        let flag = find_flag(name);
        debug_assert!(flag.is_some(), "collector asks for a flag it did not declare: {name}");
        flag.map_or(FlagKind::Text(""), |f| f.kind)
    }

    /// The value of a [`FlagKind::Switch`].
    pub fn switch(&self, name: &str) -> bool {
        match (self.last(name), Self::kind(name)) {
            (Some(given), _) => given == "true",
            (None, FlagKind::Switch(default)) => default,
            _ => false,
        }
    }

    /// The value of a [`FlagKind::Text`] or [`FlagKind::Path`].
    pub fn text(&self, name: &str) -> &str {
        match (self.last(name), Self::kind(name)) {
            (Some(given), _) => given,
            (None, FlagKind::Text(default) | FlagKind::Regex(default)) => default,
            _ => "",
        }
    }

    /// The values of a [`FlagKind::List`].
    pub fn list(&self, name: &str) -> &[String] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of a [`FlagKind::Duration`].
    pub fn duration(&self, name: &str) -> Duration {
        let text = match (self.last(name), Self::kind(name)) {
            (Some(given), _) => given,
            (None, FlagKind::Duration(default)) => default,
            _ => "0",
        };
        text.parse::<PromDuration>().map(PromDuration::get).unwrap_or_default()
    }

    /// The value of a [`FlagKind::Number`].
    pub fn number(&self, name: &str) -> i64 {
        match (self.last(name), Self::kind(name)) {
            (Some(given), _) => given.parse().unwrap_or_default(),
            (None, FlagKind::Number(default)) => default,
            _ => 0,
        }
    }

    /// The value of a [`FlagKind::Regex`]; `None` for the empty one.
    pub fn regex(&self, name: &str) -> Option<Regex> {
        let text = self.text(name);
        if text.is_empty() { None } else { pattern(text).ok() }
    }
}

fn fits(kind: FlagKind, value: &str) -> Result<(), String> {
    match kind {
        FlagKind::Switch(_) => match value {
            "true" | "false" => Ok(()),
            _ => Err("expected true or false".to_owned()),
        },
        FlagKind::Text(_) | FlagKind::Path | FlagKind::List => Ok(()),
        FlagKind::Duration(_) => value.parse::<PromDuration>().map(drop).map_err(|e| e.to_string()),
        FlagKind::Number(_) => {
            value.parse::<i64>().map(drop).map_err(|_| "expected a whole number".to_owned())
        }
        FlagKind::Regex(_) => pattern(value).map(drop),
    }
}

/// Longest regular expression: one that lists hundreds of names is shorter.
const LONGEST_PATTERN_BYTES: usize = 8 << 10;

/// Largest compiled one; bounds the time that compiling takes.
const LARGEST_REGEX_BYTES: usize = 2 << 20;

fn pattern(text: &str) -> Result<Regex, String> {
    if text.len() > LONGEST_PATTERN_BYTES {
        return Err(format!("a regular expression of more than {LONGEST_PATTERN_BYTES} bytes"));
    }
    RegexBuilder::new(text).size_limit(LARGEST_REGEX_BYTES).build().map_err(|e| e.to_string())
}

/// An include/exclude pair of regular expressions over names, as many collectors have.
///
/// Both may be set at once only where node_exporter allows it; [`NameFilter::exclusive`] refuses it.
#[derive(Debug, Default)]
pub struct NameFilter {
    include: Option<Regex>,
    exclude: Option<Regex>,
}

impl NameFilter {
    /// From two flags; a name passes when it matches `include` (if set) and not `exclude` (if set).
    pub fn new(options: &Options, include: &str, exclude: &str) -> Self {
        Self { include: options.regex(include), exclude: options.regex(exclude) }
    }

    /// As [`Self::new`], refusing both at once.
    ///
    /// # Errors
    /// Both flags hold a pattern.
    pub fn exclusive(
        collector: &'static str,
        options: &Options,
        include: &str,
        exclude: &str,
    ) -> Result<Self, BuildError> {
        let filter = Self::new(options, include, exclude);
        if filter.include.is_some() && filter.exclude.is_some() {
            let what = format!("--collector.{include} and --collector.{exclude} are mutually exclusive");
            return Err(BuildError { collector, what });
        }
        Ok(filter)
    }

    /// As [`Self::exclusive`], with former spellings `(include, exclude)` that count where the
    /// present ones are not given.
    ///
    /// # Errors
    /// A flag given under both its spellings, or both an include and an exclude pattern.
    pub fn with_former(
        collector: &'static str,
        options: &Options,
        present: (&str, &str),
        former: (&str, &str),
    ) -> Result<Self, BuildError> {
        let choose = |present: &str, former: &str| match (options.regex(present), options.regex(former)) {
            (Some(_), Some(_)) if options.is_set(present) => Err(BuildError {
                collector,
                what: format!(
                    "--collector.{former} is the former spelling of --collector.{present}; give one"
                ),
            }),
            (_, Some(pattern)) => Ok(Some(pattern)),
            (pattern, None) => Ok(pattern),
        };
        let include = choose(present.0, former.0)?;
        let exclude = choose(present.1, former.1)?;
        if include.is_some() && exclude.is_some() {
            let what =
                format!("--collector.{} and --collector.{} are mutually exclusive", present.0, present.1);
            return Err(BuildError { collector, what });
        }
        Ok(Self { include, exclude })
    }

    /// As [`Self::exclusive`] for a pair whose `exclude` has a default and a deprecated spelling: the
    /// default gives way to an `include` that was asked for, and the old spelling stands for the new one.
    ///
    /// # Errors
    /// Both flags hold a pattern, or both spellings were given.
    pub fn with_default_exclude(
        collector: &'static str,
        options: &Options,
        include: &str,
        exclude: &str,
        deprecated_exclude: &str,
    ) -> Result<Self, BuildError> {
        let given = options.is_set(exclude);
        let old = options.regex(deprecated_exclude);
        if old.is_some() && given {
            let what =
                format!("--collector.{deprecated_exclude} and --collector.{exclude} are mutually exclusive");
            return Err(BuildError { collector, what });
        }
        if old.is_none() && !given && options.regex(include).is_some() {
            return Ok(Self { include: options.regex(include), exclude: None });
        }
        let mut filter = Self::exclusive(collector, options, include, exclude)?;
        filter.exclude = old.or(filter.exclude);
        Ok(filter)
    }

    /// Whether the name passes.
    pub fn passes(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|r| r.is_match(name))
            && !self.exclude.as_ref().is_some_and(|r| r.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_flags_are_unique_and_valid() {
        assert!(specs().windows(2).all(|w| matches!(w, [a, b] if a.name < b.name)), "sorted by name");
        let mut names: Vec<_> = specs().iter().flat_map(|s| s.flags).map(|f| f.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|w| matches!(w, [a, b] if a != b)), "{names:?}");
        for flag in specs().iter().flat_map(|s| s.flags) {
            let default = match flag.kind {
                FlagKind::Duration(d) | FlagKind::Regex(d) => d,
                _ => continue,
            };
            assert!(fits(flag.kind, default).is_ok(), "default of {}", flag.name);
        }
    }

    #[test]
    fn files_that_options_name_are_looked_at_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let (file, fifo) = (dir.path().join("file"), dir.path().join("fifo"));
        std::fs::write(&file, "a").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let look = |path: &Path| {
            let mut options = Options::default();
            options.set("process.config-path", path.to_str().unwrap()).unwrap();
            options.look_at_files();
            options
        };
        let before = look(&file);
        assert_eq!(before, look(&file));
        std::fs::write(&file, "b").unwrap();
        assert_ne!(before, look(&file));
        assert_eq!(look(&fifo).files, [None]);
        assert_eq!(look(&dir.path().join("absent")).files, [None]);
    }

    #[test]
    fn unknown_options_are_refused() {
        assert_eq!(Options::default().set("nope", "x"), Err(OptionError::Unknown("nope".to_owned())));
    }
}
