//! Where certificates come from: PEM files, and what kubeconfigs embed or name.
//!
//! Invariant: opening never waits (a FIFO is refused); files, certificates and bytes are bounded.
//!
//! Source: RFC 7468; labels as OpenSSL reads them; Kubernetes' documentation of kubeconfig files.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::der::{self, Certificate};
use super::{Found, Place};
use crate::checks::paths;
use crate::config::{Document, Documents, Environment, Limits, Section, read_bounded};
use crate::model::{ByteSize, ColdSort};

/// A bundle of all public authorities has 250 kB.
const LARGEST_FILE: ByteSize = ByteSize::new(4 << 20);

/// Most files of one source, and most certificates.
pub(super) const MOST_FILES: usize = 1_000;
pub(super) const MOST_CERTIFICATES: usize = 2_000;

/// What stands in PEM under these is a certificate; in a trusted one, what it is trusted for follows it.
const LABELS: [&[u8]; 3] = [b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"];

/// A kubeconfig: a few certificates in base64.
const KUBECONFIG: Limits = Limits {
    size: ByteSize::new(4 << 20),
    depth: 32,
    nodes: 100_000,
    aliases: 100,
    errors: 10,
    documents: Documents::One,
};

/// What stands in a kubeconfig in place of a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checks) struct Embedded {
    /// `cluster` or `user`.
    pub(super) kind: &'static str,
    /// The name of that.
    pub(super) key: String,
}

/// The files that patterns name, each once, and the patterns that nothing fits or that could not be
/// searched to their end.
pub(super) fn files(patterns: &[PathBuf]) -> (Vec<PathBuf>, Vec<Found>) {
    let (mut files, mut failed) = (Vec::new(), Vec::new());
    for (index, pattern) in patterns.iter().enumerate() {
        if patterns.iter().take(index).any(|other| other == pattern) {
            continue;
        }
        let before = files.len();
        let mut add = |path: PathBuf| {
            if files.len() <= MOST_FILES && (!paths::has_wildcard(pattern) || is_candidate(&path)) {
                files.push(path);
            }
        };
        let searched = paths::search(pattern, &mut add).map_err(|error| error.to_string());
        let why = match files.len() {
            after if after > MOST_FILES => Some(format!("more than {MOST_FILES} files; split the source")),
            after if after == before => searched.err().or_else(|| Some("no file fits".to_owned())),
            _ => searched.err(),
        };
        failed.extend(why.map(|why| Found::nothing(pattern.clone(), why)));
        // Which of too many stand first is chance.
        if files.len() > MOST_FILES {
            files.truncate(before);
        }
    }
    files.cold_sort();
    files.dedup();
    (files, failed)
}

/// Whether a path that fits is to be read: not a folder, nor a name below something that is none. A link to nowhere is.
fn is_candidate(path: &Path) -> bool {
    match path.metadata() {
        Ok(metadata) => !metadata.is_dir(),
        Err(_) => !path.symlink_metadata().is_err_and(|error| paths::is_absent(&error)),
    }
}

pub(super) fn pem_file(path: PathBuf) -> Found {
    let bytes = read_file(&path);
    at(Place::File(path, None), bytes)
}

fn at(place: Place, pem: Result<Vec<u8>, String>) -> Found {
    let (certificates, problem) = match pem {
        Ok(bytes) => read_pem(&bytes),
        Err(why) => (Vec::new(), Some(why)),
    };
    Found { place, certificates, trusted: None, problem }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path, LARGEST_FILE).map_err(|error| error.to_string())
}

/// A certificate of which the end was not reached yet.
struct Open<'a> {
    /// Of its first line.
    number: usize,
    label: &'a [u8],
    base64: Vec<u8>,
}

impl Open<'_> {
    fn read(self) -> Result<Certificate, String> {
        let at = |what| format!("line {}: {what}", self.number);
        let der = STANDARD.decode(&self.base64).map_err(|_| at("a certificate that is not base64"))?;
        der::read(&der).ok_or_else(|| at("a section that is no certificate of X.509"))
    }

    fn without_end(self) -> String {
        format!("line {}: a certificate without its END line", self.number)
    }
}

/// All certificates of a text, and the first thing among them that is none. What stands in other sections, such as a key
/// with its headers, is passed over as lines.
pub(super) fn read_pem(bytes: &[u8]) -> (Vec<Certificate>, Option<String>) {
    let (mut certificates, mut problem) = (Vec::new(), None);
    let mut open: Option<Open<'_>> = None;
    let numbered = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    let lines = numbered.flat_map(|(number, line)| {
        line.split(|byte| *byte == b'\r').map(move |line| (number, line.trim_ascii_end()))
    });
    for (number, line) in lines {
        if let Some(label) = marker(line, b"BEGIN ") {
            problem = problem.or(open.take().map(Open::without_end));
            let base64 = Vec::new();
            open = LABELS.contains(&label).then_some(Open { number, label, base64 });
        } else if let Some(section) = open.take_if(|open| marker(line, b"END ") == Some(open.label)) {
            match section.read() {
                Ok(certificate) if certificates.contains(&certificate) => {}
                Ok(_) if certificates.len() >= MOST_CERTIFICATES => {
                    return (certificates, Some(format!("more than {MOST_CERTIFICATES} certificates")));
                }
                Ok(certificate) => certificates.push(certificate),
                Err(why) => problem = problem.or(Some(why)),
            }
        } else if let Some(section) = &mut open {
            section.base64.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
    }
    problem = problem.or(open.map(Open::without_end));
    if certificates.is_empty() {
        problem = problem.or_else(|| Some("no certificate in it".to_owned()));
    }
    (certificates, problem)
}

/// The label in a line that begins or ends a section.
fn marker<'a>(line: &'a [u8], kind: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(b"-----")?.strip_prefix(kind)?.strip_suffix(b"-----")
}

/// The certificates of clusters and users of a kubeconfig.
pub(super) fn kubeconfig(path: PathBuf) -> Vec<Found> {
    let read = |path: &Path| {
        let document = Document::load(path, &KUBECONFIG).map_err(|error| first_line(&error))?;
        read_kubeconfig(&document, path)
    };
    match read(&path) {
        Ok(found) => found,
        Err(why) => vec![Found::nothing(path, why)],
    }
}

/// The same of a text, for fuzzing and tests; files that it names are not read.
pub(super) fn kubeconfig_text(text: &str) -> Result<usize, String> {
    let document = Document::parse("kubeconfig", text, &KUBECONFIG).map_err(|error| error.to_string())?;
    let places = document.read(&Environment::off(), places).map_err(|error| error.to_string())?;
    Ok(places.iter().filter(|place| matches!(place.held, Held::Data(_))).count())
}

enum Held {
    Data(String),
    File(PathBuf),
}

struct Named {
    embedded: Embedded,
    held: Held,
}

fn read_kubeconfig(document: &Document, path: &Path) -> Result<Vec<Found>, String> {
    let places = document.read(&Environment::off(), places).map_err(|error| first_line(&error))?;
    if places.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(places.into_iter().take(MOST_FILES).map(|place| found(place, path)).collect())
}

/// Without the line of the file, which may hold a key or a token.
fn first_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn found(named: Named, kubeconfig: &Path) -> Found {
    let embedded = Some(named.embedded);
    match named.held {
        Held::File(file) => {
            let bytes = read_file(&file);
            at(Place::File(file, embedded), bytes)
        }
        Held::Data(text) => {
            let compact: String = text.split_ascii_whitespace().collect();
            let bytes = STANDARD.decode(compact).map_err(|_| "not base64".to_owned());
            at(Place::File(kubeconfig.to_owned(), embedded), bytes)
        }
    }
}

fn places(top: &mut Section<'_>) -> Vec<Named> {
    let mut places = Vec::new();
    for (list, item, key, kind) in [
        ("clusters", "cluster", "certificate-authority", "cluster"),
        ("users", "user", "client-certificate", "user"),
    ] {
        for entry in top.take_list(list).unwrap_or_default().iter().take(MOST_FILES) {
            let Some(mut entry) = entry.section() else { continue };
            let name = entry.take_str("name").unwrap_or_default();
            if let Some(mut inner) = entry.take_section(item) {
                let embedded = || Embedded { kind, key: name.clone() };
                if let Some(data) = inner.take_str(&format!("{key}-data")) {
                    places.push(Named { embedded: embedded(), held: Held::Data(data) });
                } else if let Some(file) = inner.take_path(key) {
                    places.push(Named { embedded: embedded(), held: Held::File(file) });
                }
                // Everything else is others' business; tokens and keys are looked at by nobody.
                inner.take_rest();
            }
            entry.take_rest();
        }
    }
    top.take_rest();
    places
}
