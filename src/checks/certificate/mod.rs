//! Certificates of files, kubeconfigs and endpoints: how long they are valid, and which cannot be read.
//!
//! Names and labels are x509-certificate-exporter's; endpoints, which that has not, have a label `endpoint`. A chain
//! is shown whether it is trusted or not: the question is when it ends.

pub(super) mod der;
mod endpoint;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::der::{Certificate, decimal};
pub(super) use self::endpoint::{Answer, Endpoint};
use self::source::{Embedded, MOST_CERTIFICATES};
use super::failing::Outcome;
use super::paths;
use super::sample::{Family, Sample, Samples};
use super::settings::{check_name, positive, read_named};
use crate::config::Section;
use crate::model::Timestamp;

/// A source of certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateSettings {
    /// Label `source_name`.
    pub name: String,
    /// PEM files and patterns of them.
    pub files: Vec<PathBuf>,
    /// kubeconfigs and patterns of them.
    pub kubeconfigs: Vec<PathBuf>,
    /// Endpoints that speak TLS.
    pub endpoints: Vec<Endpoint>,
    /// How often to look.
    pub interval: Duration,
    /// How long looking may take.
    pub timeout: Duration,
}

impl CertificateSettings {
    pub(super) fn read_all(section: &mut Section<'_>) -> Vec<Self> {
        read_named(section, "certificates", "source", Self::read, |read| &read.name)
    }

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = check_name(section);
        let files = patterns(section, "files");
        let kubeconfigs = patterns(section, "kubeconfigs");
        let endpoints = Endpoint::read_all(section);
        if !["files", "kubeconfigs", "endpoints"].iter().any(|key| section.has(key)) {
            section.error_here("name", "nothing to look at; give files, kubeconfigs or endpoints");
        }
        let interval = positive(section, "interval").unwrap_or(Duration::from_secs(300));
        let timeout = positive(section, "timeout").unwrap_or(Duration::from_secs(10));
        Some(Self { name: name?, files, kubeconfigs, endpoints, interval, timeout })
    }
}

fn patterns(section: &mut Section<'_>, key: &str) -> Vec<PathBuf> {
    let mut read = Vec::new();
    for item in section.take_list(key).unwrap_or_default() {
        let Some(path) = item.path_buf() else { continue };
        match paths::check(&path) {
            Ok(()) => read.push(path),
            Err(why) => item.error(why),
        }
    }
    read
}

const NOT_BEFORE: &str = "x509_cert_not_before";
const NOT_AFTER: &str = "x509_cert_not_after";
const EXPIRED: &str = "x509_cert_expired";
const ERROR: &str = "x509_cert_error";
const READ_ERRORS: &str = "x509_read_errors";
const SOURCE_UP: &str = "x509_source_up";
pub(super) const SOURCE_ERRORS: &str = "x509_source_errors_total";
const VERIFIED: &str = "outrigger_certificate_verified";
const LEFT_OUT: &str = "outrigger_certificates_left_out";

pub(super) static FAMILIES: &[Family] = &[
    Family::gauge(NOT_BEFORE, "When the certificate's validity begins, in seconds since 1970."),
    Family::gauge(NOT_AFTER, "When it ends."),
    Family::gauge(EXPIRED, "Whether it had ended, or not begun, when it was last looked at."),
    Family::gauge(
        ERROR,
        "Whether a file or endpoint gave no certificate that can be read, or refused to talk after it.",
    ),
    Family::gauge(READ_ERRORS, "Files and endpoints of the source that could not be read."),
    Family::gauge(SOURCE_UP, "Whether all of the source could be read."),
    Family::counter(
        SOURCE_ERRORS,
        "Files and endpoints of the source that could not be read, over all looks.",
    ),
    Family::gauge(VERIFIED, "Whether the endpoint's chain is one that this machine trusts for that name."),
    Family::gauge(
        LEFT_OUT,
        "Certificates of the source that are not shown because there are more than 2,000.",
    ),
];

/// What came of one look.
pub(super) struct Looked {
    pub(super) samples: Vec<Sample>,
    pub(super) errors: u64,
}

/// What is at one place.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) certificates: Vec<Certificate>,
    /// Whether this machine trusts the chain of an endpoint for its name.
    pub(super) trusted: Option<bool>,
    /// What failed; an endpoint may have shown its certificates before.
    pub(super) problem: Option<String>,
}

impl Found {
    /// Nothing, for a reason.
    pub(super) const fn nothing(path: PathBuf, why: String) -> Self {
        Self { place: Place::File(path, None), certificates: Vec::new(), trusted: None, problem: Some(why) }
    }

    pub(super) fn outcome(self) -> Outcome {
        (self.place.shown(), self.problem)
    }
}

/// What files and kubeconfigs hold; blocks.
pub(super) fn read_files(settings: &CertificateSettings) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    let (files, failed) = source::files(&settings.files);
    all.extend(files.into_iter().map(source::pem_file).chain(failed));
    let (kubeconfigs, failed) = source::files(&settings.kubeconfigs);
    all.extend(kubeconfigs.into_iter().flat_map(source::kubeconfig).chain(failed));
    all
}

/// Where a certificate was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf, Option<Embedded>),
    /// Its address, and the name that it is asked for where that is another.
    Endpoint(String, Option<String>),
}

impl Place {
    fn labels(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Endpoint(endpoint, name) => {
                let name = name.iter().map(|name| ("server_name", name.clone()));
                std::iter::once(("endpoint", endpoint.clone())).chain(name).collect()
            }
            Self::File(path, embedded) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let mut labels = vec![("filename", name), ("filepath", shown(path))];
                if let Some(Embedded { kind, key }) = embedded {
                    labels.extend([("embedded_kind", (*kind).to_owned()), ("embedded_key", key.clone())]);
                }
                labels
            }
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Endpoint(endpoint, None) => endpoint.clone(),
            Self::Endpoint(endpoint, Some(name)) => format!("{endpoint} ({name})"),
            Self::File(path, None) => shown(path),
            Self::File(path, Some(Embedded { kind, key })) => format!("{} ({kind} {key})", shown(path)),
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// What was found, as samples.
pub(super) fn write(settings: &CertificateSettings, found: &[Found], now: Timestamp) -> Looked {
    let mut samples = Samples::new(Vec::new());
    let (mut errors, mut room, mut left_out) = (0, MOST_CERTIFICATES, 0_usize);
    let mut shown = BTreeSet::new();
    for Found { place, certificates, trusted, problem: failed } in found {
        let labels = place.labels();
        if let Some(trusted) = trusted {
            let mut labels = borrowed(&labels);
            labels.push(("source_name", &settings.name));
            samples.with(VERIFIED, &labels, f64::from(u8::from(*trusted)));
        }
        samples.with(ERROR, &borrowed(&labels), f64::from(u8::from(failed.is_some())));
        errors += u64::from(failed.is_some());
        for certificate in certificates {
            let labels = certificate_labels(&labels, certificate);
            // Two of one name and number can be told apart by nobody; the first stands.
            if !shown.insert(labels.clone()) {
                continue;
            }
            let Some(left) = room.checked_sub(1) else {
                left_out += 1;
                continue;
            };
            room = left;
            write_one(&mut samples, &borrowed(&labels), certificate, now);
        }
    }
    let source = [("source_name", settings.name.as_str()), ("source_type", source_type(settings))];
    samples.with(SOURCE_UP, &source, f64::from(u8::from(errors == 0)));
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    {
        samples.with(READ_ERRORS, &source, errors as f64);
        samples.with(LEFT_OUT, &source, left_out as f64);
    }
    Looked { samples: samples.finish(), errors }
}

#[expect(clippy::cast_precision_loss, reason = "seconds, far below 2^53")]
fn write_one(samples: &mut Samples, labels: &[(&str, &str)], certificate: &Certificate, now: Timestamp) {
    let seconds = now.as_seconds_f64();
    let (from, to) = (certificate.not_before as f64, certificate.not_after as f64);
    samples.with(NOT_BEFORE, labels, from);
    samples.with(NOT_AFTER, labels, to);
    samples.with(EXPIRED, labels, f64::from(u8::from(seconds < from || seconds > to)));
}

pub(super) fn source_type(settings: &CertificateSettings) -> &'static str {
    let kinds = [settings.files.is_empty(), settings.kubeconfigs.is_empty(), settings.endpoints.is_empty()];
    match kinds {
        [false, true, true] => "file",
        [true, false, true] => "kubeconfig",
        [true, true, false] => "endpoint",
        _ => "mixed",
    }
}

fn certificate_labels(
    place: &[(&'static str, String)],
    certificate: &Certificate,
) -> Vec<(&'static str, String)> {
    let mut labels = place.to_vec();
    labels.push(("serial_number", decimal(&certificate.serial)));
    for (name, issuer) in [(&certificate.issuer, true), (&certificate.subject, false)] {
        for (short, value) in name {
            let Some(label) = name_label(short, issuer) else { continue };
            match labels.iter_mut().find(|(name, _)| *name == label) {
                // Several of a kind, such as two units.
                Some((_, before)) => *before = format!("{before},{value}"),
                None => labels.push((label, value.clone())),
            }
        }
    }
    labels
}

fn name_label(short: &str, issuer: bool) -> Option<&'static str> {
    Some(match (short, issuer) {
        ("CN", true) => "issuer_CN",
        ("C", true) => "issuer_C",
        ("ST", true) => "issuer_ST",
        ("L", true) => "issuer_L",
        ("O", true) => "issuer_O",
        ("OU", true) => "issuer_OU",
        ("CN", false) => "subject_CN",
        ("C", false) => "subject_C",
        ("ST", false) => "subject_ST",
        ("L", false) => "subject_L",
        ("O", false) => "subject_O",
        ("OU", false) => "subject_OU",
        _ => return None,
    })
}

fn borrowed<'a>(labels: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    labels.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Reads bytes as a certificate, a PEM file and a kubeconfig; for fuzzing.
pub(super) fn survives(bytes: &[u8]) {
    if let Some(certificate) = der::read(bytes) {
        let _ = certificate_labels(&[], &certificate);
    }
    let _ = source::read_pem(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = source::kubeconfig_text(text);
    }
}

#[cfg(test)]
mod tests;
