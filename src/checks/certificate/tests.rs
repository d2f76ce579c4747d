//! Sources as they are: chains, kubeconfigs, what cannot be read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, Issuer, KeyPair, SerialNumber, date_time_ymd};

use super::super::sample;
use super::*;
use crate::model::{Batch, Snapshot};

/// 2025-06-15.
const NOW: Timestamp = Timestamp::from_millis(1_749_945_600_000);

fn named(name: &str, serial: u8, last_year: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "O");
    params.serial_number = Some(SerialNumber::from_slice(&[serial]));
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    params
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A certificate and the authority that signed it, in PEM.
fn chain() -> String {
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let authority = named("ca", 1, 2040);
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let leaf = named("leaf", 200, 2026).signed_by(&key, &issuer).unwrap();
    let (leaf, root) = (pem("CERTIFICATE", leaf.der()), pem("CERTIFICATE", root.der()));
    format!("{leaf}{}{root}{root}", pem("PRIVATE KEY", &key.serialize_der()))
}

fn settings(files: Vec<PathBuf>, kubeconfigs: Vec<PathBuf>) -> CertificateSettings {
    CertificateSettings {
        name: "tls".to_owned(),
        files,
        kubeconfigs,
        endpoints: Vec::new(),
        interval: Duration::from_secs(300),
        timeout: Duration::from_secs(10),
    }
}

/// Samples as text, the folder of the test taken out.
fn shown(settings: &CertificateSettings, dir: &Path) -> Vec<String> {
    let looked = write(settings, &read_files(settings), NOW);
    let mut out = Batch::new();
    sample::write(FAMILIES, std::iter::once(looked.samples.as_slice()), NOW, &mut out);
    let snapshot = Snapshot::assemble(NOW, vec![("certificate", out)]);
    assert_eq!(snapshot.duplicates(), 0);
    let mut lines = Vec::new();
    for family in snapshot.families() {
        for sample in family.samples() {
            let labels: Vec<_> =
                sample.labels().iter().map(|(name, value)| format!("{name}={value}")).collect();
            let line = format!("{}{{{}}} {}", family.name(), labels.join(","), sample.value());
            lines.push(line.replace(&*dir.to_string_lossy(), ""));
        }
    }
    lines
}

#[test]
fn chains_and_what_is_no_certificate() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.pem"), chain()).unwrap();
    std::fs::write(dir.path().join("b.pem"), "no PEM").unwrap();
    let lines =
        shown(&settings(vec![dir.path().join("*.pem"), dir.path().join("c.crt")], vec![]), dir.path());
    let leaf = "filename=a.pem,filepath=/a.pem,issuer_CN=ca,issuer_O=O,serial_number=200,subject_CN=leaf,subject_O=O";
    let root =
        "filename=a.pem,filepath=/a.pem,issuer_CN=ca,issuer_O=O,serial_number=1,subject_CN=ca,subject_O=O";
    let want = [
        "outrigger_certificates_left_out{source_name=tls,source_type=file} 0".to_owned(),
        "x509_cert_error{filename=a.pem,filepath=/a.pem} 0".to_owned(),
        "x509_cert_error{filename=b.pem,filepath=/b.pem} 1".to_owned(),
        "x509_cert_error{filename=c.crt,filepath=/c.crt} 1".to_owned(),
        format!("x509_cert_expired{{{leaf}}} 0"),
        format!("x509_cert_expired{{{root}}} 0"),
        format!("x509_cert_not_after{{{leaf}}} 1767225600"),
        format!("x509_cert_not_after{{{root}}} 2208988800"),
        format!("x509_cert_not_before{{{leaf}}} 1735689600"),
        format!("x509_cert_not_before{{{root}}} 1735689600"),
        "x509_read_errors{source_name=tls,source_type=file} 2".to_owned(),
        "x509_source_up{source_name=tls,source_type=file} 0".to_owned(),
    ];
    assert_eq!(lines, want);
}

#[test]
fn kubeconfigs_and_what_they_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), chain()).unwrap();
    let data = STANDARD.encode(chain());
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters:\n- name: prod\n  cluster: {{server: 'https://x', certificate-authority-data: {data}}}\n- name: test\n  cluster: {{certificate-authority: ca.pem}}\n- name: none\n  cluster: {{server: 'https://y'}}\nusers:\n- name: admin\n  user: {{client-certificate-data: '!', client-key-data: hunter2}}\n- name: token\n  user: {{token: hunter2}}\n"
    );
    std::fs::write(dir.path().join("admin.conf"), text).unwrap();
    std::fs::write(dir.path().join("broken.conf"), "users:\n- name: a\n  user: [token: hunter2").unwrap();
    let source = settings(vec![], vec![dir.path().join("*.conf")]);
    let lines = shown(&source, dir.path());
    let errors: Vec<&str> =
        lines.iter().filter(|line| line.starts_with("x509_cert_error")).map(String::as_str).collect();
    assert_eq!(
        errors,
        [
            "x509_cert_error{embedded_key=prod,embedded_kind=cluster,filename=admin.conf,filepath=/admin.conf} 0",
            "x509_cert_error{embedded_key=test,embedded_kind=cluster,filename=ca.pem,filepath=/ca.pem} 0",
            "x509_cert_error{embedded_key=admin,embedded_kind=user,filename=admin.conf,filepath=/admin.conf} 1",
            "x509_cert_error{filename=broken.conf,filepath=/broken.conf} 1",
        ]
    );
    assert_eq!(lines.iter().filter(|line| line.starts_with("x509_cert_not_after")).count(), 4);
    let outcomes: Vec<(String, bool)> = read_files(&source)
        .into_iter()
        .map(Found::outcome)
        .map(|(place, problem)| {
            assert!(!problem.as_deref().unwrap_or_default().contains("hunter2"));
            (place.replace(&*dir.path().to_string_lossy(), ""), problem.is_some())
        })
        .collect();
    let want = [
        ("/admin.conf (cluster prod)", false),
        ("/ca.pem (cluster test)", false),
        ("/admin.conf (user admin)", true),
        ("/broken.conf", true),
    ];
    assert_eq!(outcomes, want.map(|(place, fails)| (place.to_owned(), fails)));
}

#[test]
fn sections_that_are_no_certificates_hide_none() {
    let certificate =
        |serial| named("leaf", serial, 2026).self_signed(&KeyPair::generate().unwrap()).unwrap();
    let (one, two) = (certificate(1), certificate(2));
    let first = pem("CERTIFICATE", one.der());
    let of = |label: &str| pem(label, two.der());
    let key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\nAAAA\nA=A\n-----END RSA PRIVATE KEY-----\n";
    let trusted = pem("TRUSTED CERTIFICATE", &[two.der().as_ref(), &[0x30, 0x00]].concat());
    let shut = |text: &str| text.replace("-----END CERTIFICATE-----", "");
    for (text, count, want) in [
        (format!("{key}{first}{key}"), 1, None),
        (format!("{first}Bag Attributes: <Empty Attributes>\n{}", of("X509 CERTIFICATE")), 2, None),
        (format!("{first}{trusted}"), 2, None),
        (format!("{first}{first}"), 1, None),
        (first.replace('\n', "\r\n"), 1, None),
        (first.replace('\n', "\r"), 1, None),
        (first.replace('\n', " \n\n "), 0, Some("line 1: a certificate without its END line")),
        (
            format!(
                "{key}{first}-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n{}",
                of("CERTIFICATE")
            ),
            2,
            Some("not base64"),
        ),
        (
            format!("\n{}{}", shut(&first), of("CERTIFICATE")),
            1,
            Some("line 2: a certificate without its END line"),
        ),
        (shut(&first), 0, Some("line 1: a certificate without its END line")),
        (
            format!("{}{first}", pem("CERTIFICATE", b"\x30\x00")),
            1,
            Some("line 1: a section that is no certificate"),
        ),
        (of("CERTIFICATE REQUEST"), 0, Some("no certificate in it")),
    ] {
        let (certificates, problem) = source::read_pem(text.as_bytes());
        assert_eq!(certificates.len(), count, "{text}");
        match want {
            None => assert_eq!(problem, None, "{text}"),
            Some(part) => {
                assert!(problem.as_ref().is_some_and(|why| why.contains(part)), "{problem:?}: {text}")
            }
        }
    }
}

#[test]
fn odd_files_are_errors_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo.pem");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::fs::create_dir(dir.path().join("dir")).unwrap();
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(dir.path().join("garbage.pem"), garbage).unwrap();
    for (file, part) in [
        ("fifo.pem", "not a regular file but a pipe"),
        ("dir", "not a regular file but a directory"),
        ("empty.pem", "no certificate in it"),
        ("garbage.pem", "no certificate of X.509"),
        ("missing.pem", "No such file"),
        ("none/*.pem", "cannot list"),
        ("x*.pem", "no file fits"),
    ] {
        let source = settings(vec![dir.path().join(file)], vec![]);
        let found = read_files(&source);
        let why = found[0].problem.as_ref().unwrap();
        assert!(found.len() == 1 && why.contains(part), "{file}: {why}");
        let looked = write(&source, &found, NOW);
        assert_eq!(looked.errors, 1, "{file}");
    }
}

#[test]
fn a_pattern_fails_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["ok.pem", "live/a/cert.pem", "live/b/cert.pem"] {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), chain()).unwrap();
    }
    // No folder, and nothing below it; a link to nowhere; a folder that cannot be listed.
    std::fs::write(path("live/README"), "").unwrap();
    std::os::unix::fs::symlink("gone", path("live/b/lost.pem")).unwrap();
    std::fs::create_dir(path("deep")).unwrap();
    std::fs::create_dir(path("deep/a")).unwrap();
    std::fs::write(path("deep/a/1.pem"), chain()).unwrap();
    std::os::unix::fs::symlink("loop", path("deep/loop")).unwrap();
    let patterns = [
        "ok.pem",
        "missing/*.pem",
        "missing/*.pem",
        "live/*/cert.pem",
        "live/b/l*",
        "deep/*/*.pem",
        "live/*.pem",
    ];
    let source = settings(patterns.map(path).to_vec(), vec![path("none/*.conf")]);
    let lines = shown(&source, dir.path());
    let mut errors: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("x509_cert_error")).collect();
    errors.sort_unstable();
    assert_eq!(
        errors,
        [
            "{filename=*.conf,filepath=/none/*.conf} 1",
            "{filename=*.pem,filepath=/deep/*/*.pem} 1",
            "{filename=*.pem,filepath=/live/*.pem} 1",
            "{filename=*.pem,filepath=/missing/*.pem} 1",
            "{filename=1.pem,filepath=/deep/a/1.pem} 0",
            "{filename=cert.pem,filepath=/live/a/cert.pem} 0",
            "{filename=cert.pem,filepath=/live/b/cert.pem} 0",
            "{filename=lost.pem,filepath=/live/b/lost.pem} 1",
            "{filename=ok.pem,filepath=/ok.pem} 0",
        ]
    );
    assert_eq!(lines.iter().filter(|line| line.starts_with("x509_cert_not_after")).count(), 8);
    let problems: Vec<String> = read_files(&source).into_iter().filter_map(|found| found.problem).collect();
    let cannot_list = |name: &str| format!("cannot list {}: ", path(name).display());
    let cannot = ["missing", "deep/loop", "none"].map(cannot_list);
    for (problem, want) in problems.iter().skip(1).zip([&cannot[0], &cannot[1], "no file fits", &cannot[2]]) {
        assert!(problem.starts_with(want), "{problem}");
    }
}
