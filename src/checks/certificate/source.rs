//! Where certificates come from: PEM files, and what kubeconfigs embed or name.
//!
//! Invariant: opening never waits (a FIFO is refused); files, certificates and bytes are bounded.
//!
//! Source: RFC 7468; Kubernetes' documentation of kubeconfig files.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::der::{self, Certificate};
use crate::checks::paths;
use crate::config::{Document, Documents, Environment, Limits, Section, read_bounded};
use crate::model::{ByteSize, ColdSort};

/// A bundle of all public authorities has 250 kB.
const LARGEST_FILE: ByteSize = ByteSize::new(4 << 20);

/// Most files of one source, and most certificates.
pub(super) const MOST_FILES: usize = 1_000;
pub(super) const MOST_CERTIFICATES: usize = 2_000;

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

/// The certificates at one place, or why there are none.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) embedded: Option<Embedded>,
    pub(super) certificates: Result<Vec<Certificate>, String>,
}

/// The files that patterns name.
pub(super) fn files(patterns: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for pattern in patterns {
        paths::search(pattern, &mut |path| {
            let named = !paths::has_wildcard(pattern);
            if files.len() <= MOST_FILES && (named || !path.is_dir()) {
                files.push(path);
            }
        })
        .map_err(|error| error.to_string())?;
    }
    if files.len() > MOST_FILES {
        return Err(format!("more than {MOST_FILES} files; split the source"));
    }
    files.cold_sort();
    files.dedup();
    Ok(files)
}

pub(super) fn pem_file(path: PathBuf) -> Found {
    let certificates = read_pem_file(&path);
    Found { path, embedded: None, certificates }
}

fn read_pem_file(path: &Path) -> Result<Vec<Certificate>, String> {
    let bytes = read_bounded(path, LARGEST_FILE).map_err(|error| error.to_string())?;
    read_pem(&bytes)
}

/// All certificates of a text; other sections, such as a key beside them, are passed over.
pub(super) fn read_pem(bytes: &[u8]) -> Result<Vec<Certificate>, String> {
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(bytes) {
        let der = der.map_err(|error| format!("not PEM: {error}"))?;
        let certificate = der::read(&der).ok_or("a section that is no certificate of X.509")?;
        if certificates.len() >= MOST_CERTIFICATES {
            return Err(format!("more than {MOST_CERTIFICATES} certificates"));
        }
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(certificates)
}

/// The certificates of clusters and users of a kubeconfig.
pub(super) fn kubeconfig(path: PathBuf) -> Vec<Found> {
    let read = |path: &Path| {
        let document = Document::load(path, &KUBECONFIG).map_err(|error| first_line(&error))?;
        read_kubeconfig(&document, path)
    };
    match read(&path) {
        Ok(found) => found,
        Err(why) => vec![Found { path, embedded: None, certificates: Err(why) }],
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

struct Place {
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

fn found(place: Place, kubeconfig: &Path) -> Found {
    match place.held {
        Held::File(file) => Found { embedded: Some(place.embedded), ..pem_file(file) },
        Held::Data(text) => {
            let compact: String = text.split_ascii_whitespace().collect();
            let bytes = STANDARD.decode(compact).map_err(|_| "not base64".to_owned());
            let certificates = bytes.and_then(|bytes| read_pem(&bytes));
            Found { path: kubeconfig.to_owned(), embedded: Some(place.embedded), certificates }
        }
    }
}

fn places(top: &mut Section<'_>) -> Vec<Place> {
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
                    places.push(Place { embedded: embedded(), held: Held::Data(data) });
                } else if let Some(file) = inner.take_path(key) {
                    places.push(Place { embedded: embedded(), held: Held::File(file) });
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
