//! Configurations in, settings or Prometheus's messages with their places out.

use std::time::Duration;

use super::*;
use crate::config::{Document, Environment, Limits};
use crate::model::{Labels, NameScheme};

fn read(text: &str) -> Result<ScrapeSettings, String> {
    let document = Document::parse("p.yml", text, &Limits::default()).map_err(|e| e.to_string())?;
    document
        .read(&Environment::fixed([("HOST", "example.org")]), ScrapeSettings::read)
        .map_err(|e| e.to_string())
}

fn job(text: &str) -> JobSettings {
    let settings = read(&format!("scrape_configs:\n- job_name: j\n{text}")).unwrap();
    JobSettings::clone(&settings.jobs[0])
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn defaults_are_prometheus_own() {
    let j = job("");
    assert_eq!((j.interval, j.timeout), (60 * SECOND, 10 * SECOND));
    assert_eq!((j.metrics_path.as_str(), j.scheme), ("/metrics", "http"));
    assert!(!j.honor_labels && j.honor_timestamps && !j.track_timestamps_staleness && j.enable_compression);
    assert_eq!((j.protocols.as_slice(), j.fallback_protocol), (ScrapeProtocol::DEFAULT.as_slice(), None));
    assert_eq!((j.limits, j.name_scheme), (SampleLimits::default(), NameScheme::Utf8));
    assert!(j.client.follow_redirects && j.client.enable_http2);
    assert_eq!(read("").unwrap(), ScrapeSettings::default());
}

#[test]
fn a_short_interval_shortens_the_timeout_that_is_not_given() {
    for (text, interval, timeout) in [
        ("global: {scrape_interval: 5s}\n", 5, 5),
        ("global: {scrape_interval: 15s, scrape_timeout: 7s}\n", 15, 7),
        ("global: {scrape_interval: 0s}\n", 60, 10),
    ] {
        let settings = read(&format!("{text}scrape_configs: [{{job_name: a}}]\n")).unwrap();
        assert_eq!(
            (settings.jobs[0].interval, settings.jobs[0].timeout),
            (interval * SECOND, timeout * SECOND)
        );
    }
    assert_eq!(job("  scrape_interval: 3s\n").timeout, 3 * SECOND);
}

#[test]
fn a_job_takes_what_global_says_and_its_own_wins() {
    let settings = read(
        "global:\n  evaluation_interval: 20s\n  external_labels: {host: \"${HOST}\", replica: a}\n  body_size_limit: 15MB\n  sample_limit: 1500\n  label_limit: 30\n  scrape_protocols: [PrometheusText0.0.4]\n  metric_name_validation_scheme: legacy\nscrape_configs:\n- job_name: a\n- {job_name: b, sample_limit: 7, body_size_limit: 1KB, scrape_protocols: [PrometheusProto], metric_name_validation_scheme: utf8}\n",
    )
    .unwrap();
    assert_eq!(
        settings.global.external_labels,
        Labels::from_pairs([("host", "example.org"), ("replica", "a")])
    );
    assert_eq!(settings.global.evaluation_interval, 20 * SECOND);
    let [a, b] = settings.jobs.as_slice() else { panic!() };
    assert_eq!((a.limits.samples, a.limits.labels, a.limits.body_size.bytes()), (1500, 30, 15 << 20));
    assert_eq!((b.limits.samples, b.limits.labels, b.limits.body_size.bytes()), (7, 30, 1024));
    assert_eq!((a.name_scheme, b.name_scheme), (NameScheme::Legacy, NameScheme::Utf8));
    assert_eq!(b.protocols, [ScrapeProtocol::PrometheusProto]);
}

#[test]
fn every_kind_of_discovery_is_read() {
    let j = job(
        "  params: {module: [http_2xx], 'match[]': [a, b]}\n  static_configs:\n  - targets: ['a:1', 'b:2']\n    labels: {env: x}\n  file_sd_configs:\n  - files: [t/*.yml, u.json]\n  http_sd_configs:\n  - {url: 'http://sd:1/x', refresh_interval: 5s}\n  dns_sd_configs:\n  - {names: [a.b], type: a, port: 9100}\n  docker_sd_configs:\n  - {host: 'unix:///var/run/docker.sock', filters: [{name: label, values: [a=b]}]}\n  docker_label_sd_configs:\n  - {}\n",
    );
    assert_eq!(j.params[1], ("module".to_owned(), vec!["http_2xx".to_owned()]));
    let [
        Discovery::Static(groups),
        Discovery::File(files),
        Discovery::Http(http),
        Discovery::Dns(dns),
        Discovery::Docker(docker),
        Discovery::Docker(own),
    ] = j.discovery.as_slice()
    else {
        panic!("{:?}", j.discovery)
    };
    assert_eq!(groups[0].targets[1], Labels::from_pairs([("__address__", "b:2")]));
    assert_eq!((files.files.len(), files.refresh_interval), (2, 300 * SECOND));
    assert_eq!((http.url.host(), http.refresh_interval), (Some("sd"), 5 * SECOND));
    assert_eq!((dns.record, dns.port, dns.refresh_interval), (DnsRecord::A, 9100, 30 * SECOND));
    assert_eq!(
        (docker.port, docker.by_label, docker.filters["label"].as_slice()),
        (80, false, ["a=b".to_owned()].as_slice())
    );
    assert!(own.by_label && own.host == "unix:///var/run/docker.sock");
}

#[test]
fn dollars_in_rules_are_groups() {
    let j = job(
        "  relabel_configs:\n  - {source_labels: [a], regex: '(.*)x$', target_label: b, replacement: '${1}:$$9'}\n",
    );
    assert_eq!(
        (j.relabel[0].text().replacement.as_str(), j.relabel[0].text().regex.as_str()),
        ("${1}:$$9", "(.*)x$")
    );
}

#[test]
fn mistakes_have_prometheus_words_and_our_places() {
    let in_job = |text: &str| format!("scrape_configs:\n- job_name: j\n  {text}\n");
    for (text, expected) in [
        (
            "global: {scrape_timeout: 2m}\n".to_owned(),
            "1:26: global.scrape_timeout: global scrape timeout greater than scrape interval",
        ),
        (
            "global: {scrape_intervall: 2m}\n".to_owned(),
            "1:10: global.scrape_intervall: unknown key; did you mean \"scrape_interval\"?",
        ),
        (
            "global: {external_labels: {a-b: c, __name__: d}}\n".to_owned(),
            "1:36: global.external_labels.__name__: \"__name__\" is not a valid label name",
        ),
        (
            "global: {query_log_file: /x}\n".to_owned(),
            "1:10: global.query_log_file: a query log is not supported",
        ),
        (
            "global: {scrape_protocols: []}\n".to_owned(),
            "1:28: global.scrape_protocols: scrape_protocols cannot be empty",
        ),
        (
            "global: {scrape_native_histograms: true}\n".to_owned(),
            "1:36: global.scrape_native_histograms: native histograms are not supported",
        ),
        ("scrape_configs: [{}]\n".to_owned(), "1:18: scrape_configs[0].job_name: job_name is empty"),
        (
            "scrape_configs:\n- job_name: a\n- job_name: a\n".to_owned(),
            "3:13: scrape_configs[1].job_name: found multiple scrape configs with job name \"a\"; the first is scrape_configs[0]",
        ),
        (
            in_job("scrape_timeout: 2m"),
            "3:19: scrape_configs[0].scrape_timeout: scrape timeout greater than scrape interval for scrape config with job name \"j\"",
        ),
        (in_job("scheme: ftp"), "3:11: scrape_configs[0].scheme: expected one of http, https, found \"ftp\""),
        (
            in_job("scrape_protocols: [PrometheusText0.0.4, PrometheusText0.0.4]"),
            "3:43: scrape_configs[0].scrape_protocols[1]: duplicated protocol in scrape_protocols",
        ),
        (
            in_job("fallback_scrape_protocol: text"),
            "3:29: scrape_configs[0].fallback_scrape_protocol: unknown scrape protocol text, supported: [",
        ),
        (
            in_job("static_configs: [{targets: ['http://a/']}]"),
            "3:31: scrape_configs[0].static_configs[0].targets[0]: \"http://a/\" is not a valid hostname",
        ),
        (
            in_job("static_configs: [{targets: [a], label: {}}]"),
            "3:35: scrape_configs[0].static_configs[0].label: unknown key; did you mean \"labels\"?",
        ),
        (
            in_job("file_sd_configs: [{files: ['*/a.yml', b.txt]}]"),
            "3:30: scrape_configs[0].file_sd_configs[0].files[0]: path name",
        ),
        (
            in_job("file_sd_configs: [{}]"),
            "3:21: scrape_configs[0].file_sd_configs[0].files: file service discovery config must",
        ),
        (
            in_job("http_sd_configs: [{url: 'ftp://a'}]"),
            "3:27: scrape_configs[0].http_sd_configs[0].url: URL scheme must be 'http' or 'https'",
        ),
        (
            in_job("dns_sd_configs: [{names: [a], type: MX}]"),
            "3:20: scrape_configs[0].dns_sd_configs[0].port: a port is required",
        ),
        (
            in_job("dns_sd_configs: [{names: [a], type: TXT}]"),
            "3:39: scrape_configs[0].dns_sd_configs[0].type: invalid DNS-SD records type TXT",
        ),
        (
            in_job("docker_sd_configs: [{host: nowhere}]"),
            "3:30: scrape_configs[0].docker_sd_configs[0].host: unable to parse docker host",
        ),
        (
            in_job("kubernetes_sd_configs: [{role: pod}]"),
            "3:3: scrape_configs[0].kubernetes_sd_configs: kubernetes_sd_configs is not supported",
        ),
        (
            in_job("metric_name_escaping_scheme: dots"),
            "3:32: scrape_configs[0].metric_name_escaping_scheme: only \"allow-utf-8\" is supported",
        ),
        (in_job("sample_limit: -1"), "3:17: scrape_configs[0].sample_limit: expected a whole number"),
        (
            in_job("honor_label: true"),
            "3:3: scrape_configs[0].honor_label: unknown key; did you mean \"honor_labels\"?",
        ),
        (
            in_job("metric_relabel_configs: [{action: drop, regex: '('}]"),
            "3:50: scrape_configs[0].metric_relabel_configs[0].regex: error parsing regexp",
        ),
    ] {
        let errors = read(&text).unwrap_err();
        assert!(errors.contains(&format!("p.yml:{expected}")), "{text}{errors}\n{expected}");
    }
}

#[test]
fn one_mistake_hides_no_other() {
    let errors = read(
        "scrape_configs:\n- scheme: ftp\n- job_name: b\n  fast: yes\n  relabel_configs: [{action: x}]\n",
    )
    .unwrap_err();
    assert_eq!(errors.lines().filter(|line| line.starts_with("p.yml:")).count(), 4, "{errors}");
}

#[test]
fn further_files_hold_further_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("main.yml", "scrape_config_files: [jobs/*.yml]\nscrape_configs: [{job_name: a}]\n");
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    write(
        "jobs/b.yml",
        "scrape_configs:\n- job_name: b\n  metrics_path: ${HOST}\n  file_sd_configs: [{files: [t.yml]}]\n",
    );
    let read = || {
        let document = Document::load(&dir.path().join("main.yml"), &Limits::default()).unwrap();
        document.read(&Environment::fixed([("HOST", "/h")]), ScrapeSettings::read).map_err(|e| e.to_string())
    };
    let settings = read().unwrap();
    let names: Vec<&str> = settings.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!((names, settings.jobs[1].metrics_path.as_str()), (vec!["a", "b"], "/h"));
    let Discovery::File(files) = &settings.jobs[1].discovery[0] else { panic!() };
    assert_eq!(files.files, [dir.path().join("jobs/t.yml")]);
    write("jobs/c.yml", "scrape_configs: [{job_name: a, fast: true}]\n");
    let errors = read().unwrap_err();
    for part in [
        "main.yml:1:23: scrape_config_files[0]: ",
        "c.yml:1:29: scrape_configs[0].job_name: found multiple",
        "c.yml:1:32: scrape_configs[0].fast: unknown key",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
}
