//! Settings with their mistakes, and checks that run: over reloads, against file systems and endpoints that hang.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::{Checks, ChecksSettings, Kind, runner};
use crate::config::{Document, Environment, Limits};
use crate::http_client::testing::{tls_peer, version_1, wrong_key};
use crate::model::{Batch, Snapshot, Timestamp};

fn read(text: &str) -> Result<ChecksSettings, String> {
    let document = Document::parse("o.yml", text, &Limits::default()).map_err(|e| e.to_string())?;
    document.read(&Environment::off(), ChecksSettings::read).map_err(|e| e.to_string())
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_750_000_000_000)
}

/// Samples of a kind by series.
fn samples(checks: &Checks, kind: Kind) -> BTreeMap<String, f64> {
    let mut out = Batch::new();
    checks.write(kind, now(), &mut out);
    let snapshot = Snapshot::assemble(now(), vec![("checks", out)]);
    assert_eq!(snapshot.duplicates(), 0);
    let mut all = BTreeMap::new();
    for family in snapshot.families() {
        assert!(!family.help().is_empty());
        for sample in family.samples() {
            let labels: Vec<_> =
                sample.labels().iter().map(|(name, value)| format!("{name}={value}")).collect();
            all.insert(format!("{}{{{}}}", family.name(), labels.join(",")), sample.value());
        }
    }
    all
}

async fn all_known(checks: &Checks) {
    while !checks.all_known() {
        tokio::task::yield_now().await;
        // Threads and sockets are at work.
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
    }
}

#[test]
fn every_mistake_has_its_place() {
    let text = "checks:
  certificates:
    - files: [/a/**/b.pem]
      intervall: 5m
    - {name: empty}
    - {name: e, endpoints: ['a:b', {tls_config: {ca: x}}, a, {address: 'a:443', tls_config: {server_name: b}}, 'a:443']}
    - {name: e, files: [/a]}
  backups:
    - {name: db, path: /b/*, period: 0s}
    - {name: db, path: /b/*, period: 1d, exclude: ['[']}
    - {path: /b, period: 1d}
  modules:
    x: {prober: https}
    y: {prober: http, http: {method: 'a b', valid_status_codes: [2], fail_if_body_matches_regexp: ['('], compression: lzw}}
    z: {prober: dns}
    w: {prober: dns, dns: {query_type: Q, dns_over_tls: true}, tcp: {query_respons: []}}
  probes:
    - {name: a, module: nope, targets: [x]}
    - {name: b, module: tcp_connect, targets: [x, 'x:1'], interval: 5s, timeout: 6s, labels: {target: x}}
    - {name: c, targets: ['ftp://x', 'http://x', 'http://x']}
  other: 1
";
    let errors = read(text).unwrap_err();
    let places: Vec<&str> = errors.lines().filter(|line| line.starts_with("o.yml:")).collect();
    for want in [
        "o.yml:3:7: checks.certificates[0]: the key \"name\" is missing",
        "o.yml:3:15: checks.certificates[0].files[0]: \"**\" would search a whole tree",
        "o.yml:4:7: checks.certificates[0].intervall: unknown key; did you mean \"interval\"?",
        "o.yml:5:14: checks.certificates[1]: nothing to look at; give files, kubeconfigs or endpoints",
        "o.yml:6:29: checks.certificates[2].endpoints[0]: \"b\" is not a port",
        "o.yml:6:36: checks.certificates[2].endpoints[1]: the key \"address\" is missing",
        "o.yml:6:112: checks.certificates[2].endpoints[4]: the endpoint \"a:443\" stands here twice; give each a server_name",
        "o.yml:9:38: checks.backups[0].period: expected at least 1s",
        "o.yml:10:51: checks.backups[1].exclude: \"[\" is not a pattern of a name",
        "o.yml:11:7: checks.backups[2]: the key \"name\" is missing",
        "o.yml:13:17: checks.modules.x.prober: expected one of http, tcp, dns, icmp, grpc, found \"https\"",
        "o.yml:14:38: checks.modules.y.http.method: \"a b\" is not a method",
        "o.yml:14:66: checks.modules.y.http.valid_status_codes[0]: expected a whole number from 100 to 999",
        "o.yml:14:100: checks.modules.y.http.fail_if_body_matches_regexp[0]: error parsing regexp: missing closing )",
        "o.yml:14:119: checks.modules.y.http.compression: \"lzw\" is not supported; known are br, deflate, gzip and identity",
        "o.yml:15:8: checks.modules.z.dns: a dns module needs dns.query_name",
        "o.yml:16:27: checks.modules.w.dns: the key \"query_name\" is missing",
        "o.yml:16:40: checks.modules.w.dns.query_type: \"Q\" is not a type of records",
        "o.yml:16:57: checks.modules.w.dns.dns_over_tls: DNS over TLS needs transport_protocol: tcp",
        "o.yml:16:70: checks.modules.w.tcp.query_respons: unknown key; did you mean \"query_response\"?",
        "o.yml:18:25: checks.probes[0].module: there is no module \"nope\"; there are grpc, grpc_tls, http_2xx,",
        "o.yml:19:48: checks.probes[1].targets[0]: \"x\" has no port; write HOST:PORT",
        "o.yml:19:82: checks.probes[1].timeout: 6s is longer than the interval, 5s",
        "o.yml:19:103: checks.probes[1]: \"target\" is set by the probe itself",
        "o.yml:20:27: checks.probes[2].targets[0]: \"ftp://x\" is not a URL of http or https",
        "o.yml:20:50: checks.probes[2].targets[2]: the target \"http://x\" stands here twice",
        "o.yml:21:3: checks.other: unknown key",
    ] {
        assert!(places.iter().any(|place| place.starts_with(want)), "missing: {want}\n{errors}");
    }
}

#[test]
fn defaults_and_files_of_modules() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("blackbox.yml");
    let shipped = "modules:\n  ssh:\n    prober: tcp\n    timeout: 3s\n    tcp:\n      query_response:\n      - expect: '^SSH-2.0-'\n      - send: 'PONG ${1}'\n";
    std::fs::write(&file, shipped).unwrap();
    let text = |file: &Path| {
        format!(
            "checks: {{modules_file: {}, probes: [{{name: a, module: ssh, targets: ['x:22']}}, {{name: b, targets: [x, y]}}]}}",
            file.display()
        )
    };
    let settings = read(&text(&file)).unwrap();
    let probes: Vec<_> =
        settings.probes.iter().map(|p| (&*p.name, &*p.target, p.timeout, p.interval)).collect();
    let seconds = Duration::from_secs;
    assert_eq!(
        probes,
        [
            ("a", "x:22", seconds(3), seconds(60)),
            ("b", "x", seconds(10), seconds(60)),
            ("b", "y", seconds(10), seconds(60))
        ]
    );
    assert_eq!(settings, read(&text(&file)).unwrap());
    std::fs::write(&file, "modules: {a: {prober: x}}\nfoo: 1\n").unwrap();
    let errors = read(&text(&file)).unwrap_err();
    assert!(errors.contains("blackbox.yml:1:23: modules.a.prober: expected one of"), "{errors}");
    assert!(errors.contains("blackbox.yml:2:1: foo: unknown key"), "{errors}");
    assert!(!errors.contains("there is no module"), "{errors}");
    let targets: Vec<String> = (0..1_001).map(|n| format!("h{n}")).collect();
    let many = format!("checks: {{probes: [{{name: a, targets: [{}]}}]}}", targets.join(", "));
    assert!(read(&many).unwrap_err().contains("more than 1000 targets"));
}

#[tokio::test]
async fn checks_run_and_a_reload_keeps_what_is_known() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("1.dump"), "backup").unwrap();
    let written = std::time::UNIX_EPOCH + Duration::from_secs(1_749_999_000);
    std::fs::File::open(dir.path().join("1.dump")).unwrap().set_modified(written).unwrap();
    let path = dir.path().display();
    let settings = |extra: &str| {
        read(&format!("checks:\n  backups:\n    - {{name: db, path: {path}/*.dump, period: 1d, settle: 0s, interval: 1h{extra}}}\n  certificates:\n    - {{name: none, files: [{path}/none.pem]}}\n")).unwrap()
    };
    let checks = Checks::new(now);
    checks.apply(&settings(""));
    all_known(&checks).await;
    let backups = samples(&checks, Kind::Backup);
    assert_eq!(backups["outrigger_backup_size_bytes{backup=db}"], 6.0);
    assert_eq!(backups["outrigger_checks{kind=backup}"], 1.0);
    let certificates = samples(&checks, Kind::Certificate);
    assert_eq!(certificates["x509_source_up{source_name=none,source_type=file}"], 0.0);
    assert_eq!(certificates["x509_source_errors_total{source_name=none,source_type=file}"], 1.0);
    assert_eq!(certificates["outrigger_check_failures_total{kind=certificate}"], 1.0);

    // The same settings: nothing is run again. Other ones: what was known stays until it is known anew.
    checks.apply(&settings(""));
    assert_eq!(samples(&checks, Kind::Backup)["outrigger_check_runs_total{kind=backup}"], 1.0);
    std::fs::remove_dir_all(dir.path()).unwrap();
    checks.apply(&settings(", timeout: 5s"));
    while samples(&checks, Kind::Backup)["outrigger_check_runs_total{kind=backup}"] < 2.0 {
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
    }
    let backups = samples(&checks, Kind::Backup);
    assert_eq!(backups["outrigger_backup_readable{backup=db}"], 0.0);
    assert!(backups.contains_key("outrigger_backup_age_seconds{backup=db}"), "{backups:?}");
    checks.apply(&ChecksSettings::default());
    assert!(samples(&checks, Kind::Backup).is_empty() && samples(&checks, Kind::Certificate).is_empty());
}

/// Whoever clears the folder, or writes the same file again, has not made a backup.
#[tokio::test]
async fn the_last_backup_grows_older_when_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("1.dump");
    std::fs::write(&file, "backup").unwrap();
    let dated = |seconds: u64| {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        std::fs::File::open(&file).unwrap().set_modified(time).unwrap();
    };
    dated(1_749_000_000);
    let checks = Checks::new(now);
    let (mut runs, steps) = (0.0, ["written", "overwritten", "gone"]);
    for (timeout, step) in (5..).zip(steps) {
        match step {
            "overwritten" => dated(1_749_999_990),
            "gone" => std::fs::remove_file(&file).unwrap(),
            _ => {}
        }
        let path = dir.path().display();
        let entry =
            format!("{{name: db, path: {path}/*.dump, period: 1d, interval: 1h, timeout: {timeout}s}}");
        checks.apply(&read(&format!("checks: {{backups: [{entry}]}}")).unwrap());
        runs += 1.0;
        while samples(&checks, Kind::Backup)["outrigger_check_runs_total{kind=backup}"] < runs {
            tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
        }
        let of = |family: &str| {
            samples(&checks, Kind::Backup).get(&format!("outrigger_backup_{family}{{backup=db}}")).copied()
        };
        assert_eq!(of("last_success_timestamp_seconds"), Some(1_749_000_000.0), "{step}");
        assert_eq!((of("age_seconds"), of("readable")), (Some(1_000_000.0), Some(1.0)), "{step}");
        assert_eq!(of("unfinished_files"), Some(f64::from(u8::from(step == "overwritten"))), "{step}");
        assert_eq!(of("size_bytes").is_some(), step == "written", "{step}");
    }
}

/// The page is made of a live run, in which no check may be missing.
#[test]
fn every_family_is_on_the_page_of_metrics() {
    let page = include_str!("../../docs/reference/metrics.md");
    for family in runner::all_families() {
        let kind = format!("{:?}", family.kind).to_lowercase();
        let row = format!("| `{}` | {kind} |", family.name);
        let line = page.lines().find(|line| line.starts_with(&row));
        let told = line.is_some_and(|line| line.ends_with(&format!("| {} |", family.help)));
        assert!(told, "docs/reference/metrics.md: no row for {} ({}): {line:?}", family.name, family.help);
    }
}

#[tokio::test]
async fn a_probe_without_a_turn_has_failed() {
    let settings = read("checks: {modules: {m: {prober: tcp, timeout: 1ms}}, probes: [{name: a, module: m, targets: ['127.0.0.1:1']}]}").unwrap();
    let checks = Checks::with_probe_turns(now, 0);
    checks.apply(&settings);
    all_known(&checks).await;
    let probes = samples(&checks, Kind::Probe);
    for (series, want) in [
        ("probe_success{module=m,probe=a,target=127.0.0.1:1}", 0.0),
        ("probe_ip_protocol{module=m,probe=a,target=127.0.0.1:1}", 0.0),
        ("outrigger_check_late_runs_total{kind=probe}", 1.0),
        ("outrigger_check_failures_total{kind=probe}", 1.0),
    ] {
        assert_eq!(probes.get(series), Some(&want), "{series} {probes:?}");
    }
}

#[test]
fn braces_are_refused_where_they_stand() {
    let text = "checks:
  certificates: [{name: a, files: ['/a/*.{pem,crt}']}]
  backups: [{name: db, path: '/b/*.{dump,sql}', period: 1d}, {name: e, path: /b/*, period: 1d, exclude: ['*.{a,b}']}]
";
    let errors = read(text).unwrap_err();
    for want in [
        "o.yml:2:36: checks.certificates[0].files[0]: \"/a/*.{pem,crt}\": braces are no part of a pattern; give an entry",
        "o.yml:3:30: checks.backups[0].path: \"/b/*.{dump,sql}\": braces are no part of a pattern; give an entry",
        "o.yml:3:105: checks.backups[1].exclude: \"*.{a,b}\": braces are no part of a pattern; give an entry",
    ] {
        assert!(errors.contains(want), "missing: {want}\n{errors}");
    }
}

/// A key for `localhost`, and a file of the authority that it is itself.
fn localhost(dir: &Path) -> (CertifiedKey, PathBuf) {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (der, ca) = (issued.cert.der().clone(), dir.join("ca.pem"));
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
    std::fs::write(&ca, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    (CertifiedKey::new(vec![der], key), ca)
}

/// Two names of one address, as behind one load balancer: each has its own verdict.
#[tokio::test]
async fn endpoints_with_one_address_are_told_apart_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (key, ca) = localhost(dir.path());
    let peer = tls_peer(key, None).await;
    let of = |name: &str| {
        let tls = format!("{{ca_file: {}, server_name: {name}}}", ca.display());
        format!("{{address: '127.0.0.1:{peer}', tls_config: {tls}}}")
    };
    let endpoints = ["localhost", "other"].map(of).join(", ");
    let checks = Checks::new(now);
    checks
        .apply(&read(&format!("checks: {{certificates: [{{name: a, endpoints: [{endpoints}]}}]}}")).unwrap());
    all_known(&checks).await;
    let samples = samples(&checks, Kind::Certificate);
    for (name, trusted) in [("localhost", 1.0), ("other", 0.0)] {
        let place = format!("endpoint=127.0.0.1:{peer},server_name={name}");
        let verified = format!("outrigger_certificate_verified{{{place},source_name=a}}");
        assert_eq!(samples.get(&verified), Some(&trusted), "{samples:?}");
        assert_eq!(samples.get(&format!("x509_cert_error{{{place}}}")), Some(&0.0), "{samples:?}");
        let after = samples.keys().filter(|series| series.starts_with("x509_cert_not_after{"));
        assert_eq!(after.filter(|series| series.contains(&format!("server_name={name}"))).count(), 1);
    }
}

/// Chains nobody trusts, keys that cannot be checked, and a server that wants a certificate after it has shown its own.
#[tokio::test]
async fn chains_are_shown_whether_they_are_trusted_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (right, ca) = localhost(dir.path());
    let der = right.cert[0].to_vec();
    let mut clients = rustls::RootCertStore::empty();
    clients.add(right.cert[0].clone()).unwrap();
    let wrong = |scheme| wrong_key(der.clone(), scheme);
    let none = ca.with_extension("none");
    for (key, clients, ca, trusted, fails) in [
        (right.clone(), None, &ca, 1.0, 0.0),
        (right.clone(), None, &none, 0.0, 1.0),
        (wrong(SignatureScheme::ECDSA_NISTP256_SHA256), None, &ca, 0.0, 0.0),
        (wrong(SignatureScheme::RSA_PSS_SHA256), None, &ca, 0.0, 0.0),
        (wrong(SignatureScheme::ECDSA_NISTP521_SHA512), None, &ca, 0.0, 0.0),
        (wrong_key(version_1(&der), SignatureScheme::ECDSA_NISTP256_SHA256), None, &ca, 0.0, 0.0),
        (right, Some(clients), &ca, 1.0, 1.0),
    ] {
        let case = format!("{key:?}");
        let endpoint = format!("127.0.0.1:{}", tls_peer(key, clients).await);
        let tls = format!("{{ca_file: {}, server_name: localhost}}", ca.display());
        let settings = read(&format!(
            "checks: {{certificates: [{{name: a, endpoints: [{{address: '{endpoint}', tls_config: {tls}}}]}}]}}"
        ));
        let checks = Checks::new(now);
        checks.apply(&settings.unwrap());
        all_known(&checks).await;
        let samples = samples(&checks, Kind::Certificate);
        let of = |family: &str| {
            let found = samples
                .iter()
                .find(|(series, _)| series.starts_with(&format!("{family}{{")) && series.contains(&endpoint));
            found.map(|(_, value)| *value)
        };
        assert_eq!(of("x509_cert_not_after"), Some(67_090_118_400.0), "{case} {samples:?}");
        assert_eq!(of("outrigger_certificate_verified"), Some(trusted), "{case}");
        assert_eq!(of("x509_cert_error"), Some(fails), "{case}");
    }
}
