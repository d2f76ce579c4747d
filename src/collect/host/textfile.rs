//! Metrics that other programs leave in files: `*.prom` in the directories given, text 0.0.4.
//!
//! Source: node_exporter's textfile collector. A broken file costs its own metrics only, and sets
//! `node_textfile_scrape_error`: one that cannot be read or parsed, that is no regular file (opening
//! never blocks, so a FIFO does no harm), that has client-side timestamps, or that is beyond the
//! limits. As there, series of one family and file get all label names of that family, empty where
//! absent. Of one family in several files the first help and type count; a differing help is an error
//! that drops nothing, a differing type drops the later file's samples.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::collect::{CollectError, Collector, Flag, FlagKind, Options, Pass, Spec};
use crate::expose::{Limits, ParseError, Syntax, parse};
use crate::model::{ColdSort, Batch, FamilyId, FamilyView, Kind, SampleView, Suffix, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "textfile",
    on_by_default: true,
    help: "Metrics from *.prom files in the directories given.",
    flags: &[
        Flag {
            name: "textfile.directory",
            kind: FlagKind::List,
            help: "Directory of *.prom files; may be given several times, and may be a glob pattern.",
            hidden: false,
        },
        Flag {
            name: "textfile.max-bytes",
            kind: FlagKind::Number(32 << 20),
            help: "Bytes read from all files in one pass; files beyond that are errors.",
            hidden: false,
        },
    ],
    build: |_, options| Ok(Box::new(TextFiles::new(options))),
};

/// Files read in one pass.
const MAX_FILES: usize = 10_000;

/// Samples of one file.
const MAX_SAMPLES: usize = 100_000;

/// Capacity that the buffer for file contents keeps between passes.
const KEPT_BYTES: usize = 1 << 20;

/// Why a file or directory gave nothing, or not all.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    #[error("not a regular file")]
    NotRegular,
    #[error("the files of this pass have more than {0} bytes (--collector.textfile.max-bytes)")]
    TooLarge(u64),
    #[error("more than {MAX_FILES} files")]
    TooManyFiles,
    #[error("more than {MAX_SAMPLES} samples")]
    TooManySamples,
    #[error("{0}")]
    Parse(#[from] ParseError),
    #[error("client-side timestamps are not supported; the whole file is left out")]
    Timestamps,
    #[error("the help of {0} differs from that in another file, which is used")]
    Help(String),
    #[error("the type of {0} differs from that in another file; its samples here are left out")]
    Kind(String),
    #[error("no time left in this pass")]
    OutOfTime,
}

struct TextFiles {
    patterns: Vec<String>,
    max_bytes: u64,
    bytes: Vec<u8>,
    /// Batches of earlier passes, to be filled again.
    spare: Vec<Batch>,
    /// What was last logged about which path.
    said: BTreeMap<PathBuf, String>,
}

/// A file that was read and understood.
struct Parsed {
    path: PathBuf,
    modified_seconds: f64,
    batch: Batch,
}

type Errors = BTreeMap<PathBuf, FileError>;

impl TextFiles {
    fn new(options: &Options) -> Self {
        let patterns = options.list("textfile.directory").iter().filter(|p| !p.is_empty());
        Self {
            patterns: patterns.cloned().collect(),
            max_bytes: u64::try_from(options.number("textfile.max-bytes")).unwrap_or(0),
            bytes: Vec::new(),
            spare: Vec::new(),
            said: BTreeMap::new(),
        }
    }

    fn parse_all(&mut self, paths: Vec<PathBuf>, deadline: Instant, errors: &mut Errors) -> Vec<Parsed> {
        let mut parsed = Vec::new();
        let mut bytes_left = self.max_bytes;
        for path in paths {
            if Instant::now() >= deadline {
                errors.insert(path, FileError::OutOfTime);
                break;
            }
            let mut batch = self.spare.pop().unwrap_or_default();
            batch.clear();
            match self.parse_file(&path, &mut bytes_left, &mut batch) {
                Ok(modified_seconds) => parsed.push(Parsed { path, modified_seconds, batch }),
                Err(error) => {
                    self.spare.push(batch);
                    errors.insert(path, error);
                }
            }
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        parsed
    }

    /// Returns the file's modification time, in seconds since the epoch.
    fn parse_file(&mut self, path: &Path, bytes_left: &mut u64, batch: &mut Batch) -> Result<f64, FileError> {
        let mut file = open_regular(path)?;
        self.bytes.clear();
        let read = Read::by_ref(&mut file).take(bytes_left.saturating_add(1)).read_to_end(&mut self.bytes)? as u64;
        if read > *bytes_left {
            return Err(FileError::TooLarge(self.max_bytes));
        }
        *bytes_left -= read;
        batch.set_limit(MAX_SAMPLES);
        let stats = parse(&self.bytes, Syntax::Text004, Limits::default(), batch)?;
        if stats.timestamps > 0 {
            return Err(FileError::Timestamps);
        }
        if batch.over_limit() > 0 {
            return Err(FileError::TooManySamples);
        }
        // After reading, so that a file being replaced does not look fresher than what was read.
        // Whole seconds, as node_exporter shows.
        #[expect(clippy::cast_precision_loss, reason = "a float is what is exposed")]
        Ok(file.metadata()?.mtime() as f64)
    }

    /// Logs what is new among `errors`, and what is over.
    fn say(&mut self, errors: &Errors) {
        for (path, error) in errors {
            let error = error.to_string();
            if self.said.get(path) != Some(&error) {
                tracing::warn!(collector = "textfile", path = %path.display(), error, "textfile failed");
                self.said.insert(path.clone(), error);
            }
        }
        self.said.retain(|path, _| {
            let fails = errors.contains_key(path);
            if !fails {
                tracing::info!(collector = "textfile", path = %path.display(), "textfile works again");
            }
            fails
        });
    }
}

impl Collector for TextFiles {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let mut errors = Errors::new();
        let paths = find_files(&self.patterns, &mut errors);
        let parsed = self.parse_all(paths, pass.deadline, &mut errors);
        merge(&parsed, &mut errors, out);
        for file in &parsed {
            let path = shown(&file.path);
            let help = "Unix time at which a textfile that was read was last modified.";
            out.gauge("node_textfile_mtime_seconds", help, &[("file", &path)], file.modified_seconds);
        }
        let help = "1 if a textfile or its directory could not be read, 0 otherwise.";
        out.gauge("node_textfile_scrape_error", help, &[], if errors.is_empty() { 0.0 } else { 1.0 });
        self.spare.extend(parsed.into_iter().map(|file| file.batch));
        self.say(&errors);
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    valid_utf8(path.as_os_str().as_encoded_bytes()).into_owned()
}

/// The `*.prom` files of all directories, each once, sorted by name within a directory.
fn find_files(patterns: &[String], errors: &mut Errors) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for pattern in patterns {
        for directory in expand(pattern) {
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
    }
    let mut files = Vec::new();
    for directory in directories {
        match prom_files(&directory) {
            Ok(found) => files.extend(found),
            Err(error) => drop(errors.insert(directory, error.into())),
        }
    }
    if let Some(first_beyond) = files.get(MAX_FILES) {
        errors.insert(first_beyond.clone(), FileError::TooManyFiles);
        files.truncate(MAX_FILES);
    }
    files
}

/// What a pattern stands for; itself where that is nothing, so that a missing directory is seen.
fn expand(pattern: &str) -> Vec<PathBuf> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![pattern.into()];
    }
    // Go's patterns, unlike this crate's, have no "**" that walks whole trees.
    let mut flat = pattern.to_owned();
    while flat.contains("**") {
        flat = flat.replace("**", "*");
    }
    let found = glob::glob(&flat).into_iter().flatten().filter_map(Result::ok).take(MAX_FILES);
    let found: Vec<PathBuf> = found.collect();
    if found.is_empty() { vec![pattern.into()] } else { found }
}

fn prom_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name.as_encoded_bytes().ends_with(b".prom") {
            files.push(directory.join(name));
        }
    }
    files.cold_sort();
    Ok(files)
}

/// Opens without waiting: for a FIFO's writer, for a device.
fn open_regular(path: &Path) -> Result<File, FileError> {
    // Before opening, as opening some devices has effects of its own; and after, as the path may lead
    // elsewhere by then.
    if !std::fs::metadata(path)?.is_file() {
        return Err(FileError::NotRegular);
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(FileError::NotRegular) }
}

/// What all files together say about one family.
struct Merged<'a> {
    help: &'a str,
    kind: Kind,
    files: Vec<&'a Path>,
}

fn merge(parsed: &[Parsed], errors: &mut Errors, out: &mut Batch) {
    let mut merged: HashMap<&str, Merged<'_>> = HashMap::new();
    for file in parsed {
        for family in file.batch.families() {
            let (kind, help) = (family.kind(), family.help());
            let known = merged.entry(family.name()).or_insert(Merged { help, kind, files: Vec::new() });
            if known.kind != kind {
                errors.insert(file.path.clone(), FileError::Kind(family.name().to_owned()));
                continue;
            }
            known.files.push(&file.path);
            if known.help.is_empty() {
                known.help = help;
            } else if !help.is_empty() && known.help != help {
                errors.insert(file.path.clone(), FileError::Help(family.name().to_owned()));
            }
        }
    }
    for file in parsed {
        for family in file.batch.families() {
            if let Some(known) = merged.get(family.name()).filter(|known| known.kind == family.kind()) {
                copy(&family, known, out);
            }
        }
    }
}

fn copy(family: &FamilyView<'_>, merged: &Merged<'_>, out: &mut Batch) {
    let id = if merged.help.is_empty() {
        let files: Vec<String> = merged.files.iter().map(|path| shown(path)).collect();
        out.family(family.name(), &format!("Metric read from {}", files.join(", ")), merged.kind)
    } else {
        out.family(family.name(), merged.help, merged.kind)
    };
    let names: BTreeSet<&str> =
        family.samples().flat_map(|s| own_labels(family.kind(), s)).map(|(name, _)| name).collect();
    let mut labels = Vec::new();
    for sample in family.samples() {
        labels.clear();
        labels.extend(sample.labels().iter());
        let own = own_labels(family.kind(), sample).count();
        if own < names.len() {
            let absent = names.iter().filter(|name| own_labels(family.kind(), sample).all(|(n, _)| n != **name));
            labels.extend(absent.map(|name| (*name, "")));
        }
        out.sample_full(id, sample.suffix(), &labels, sample.value(), None);
    }
    if matches!(family.kind(), Kind::Histogram | Kind::Summary) {
        complete(family, &names, id, out);
    }
}

/// What of one histogram or summary was there.
#[derive(Default)]
struct Parts {
    count: Option<f64>,
    has_sum: bool,
    has_infinity: bool,
}

/// Adds what a histogram or summary lacks, as Go's client does when it writes one: the bucket without an
/// upper bound, which holds the count; a count and a sum of 0.
fn complete(family: &FamilyView<'_>, names: &BTreeSet<&str>, id: FamilyId, out: &mut Batch) {
    let mut all: BTreeMap<Vec<(&str, &str)>, Parts> = BTreeMap::new();
    for sample in family.samples() {
        let mut labels: Vec<_> = own_labels(family.kind(), sample).collect();
        labels.extend(names.iter().filter(|name| sample.labels().get(name).is_none()).map(|name| (*name, "")));
        labels.sort_unstable();
        let parts = all.entry(labels).or_default();
        match sample.suffix() {
            Suffix::Count => parts.count = Some(sample.value()),
            Suffix::Sum => parts.has_sum = true,
            Suffix::Bucket => parts.has_infinity |= sample.labels().get("le").is_some_and(is_infinity),
            _ => {}
        }
    }
    for (mut labels, parts) in all {
        let count = parts.count.unwrap_or_default();
        if parts.count.is_none() {
            out.sample_full(id, Suffix::Count, &labels, count, None);
        }
        if !parts.has_sum {
            out.sample_full(id, Suffix::Sum, &labels, 0.0, None);
        }
        if family.kind() == Kind::Histogram && !parts.has_infinity {
            labels.push(("le", "+Inf"));
            out.sample_full(id, Suffix::Bucket, &labels, count, None);
        }
    }
}

fn is_infinity(bound: &str) -> bool {
    bound.parse() == Ok(f64::INFINITY)
}

/// The labels of a sample without a bucket's bound or a quantile.
fn own_labels(kind: Kind, sample: SampleView<'_>) -> impl Iterator<Item = (&str, &str)> {
    let bound = match (kind, sample.suffix()) {
        (_, Suffix::Bucket) => "le",
        (Kind::Summary, Suffix::None) => "quantile",
        _ => "",
    };
    sample.labels().iter().filter(move |(name, _)| *name != bound)
}

#[cfg(test)]
#[path = "textfile_tests.rs"]
mod tests;
