//! Where targets come from: `static_configs` and the `*_sd_configs` of a job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

use crate::config::{Section, Value, read_labels};
use crate::http_client::HttpClientSettings;
use crate::model::{Labels, NameScheme};

use super::global::read_interval;

/// One source of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// `static_configs`.
    Static(Vec<TargetGroup>),
    /// `file_sd_configs`.
    File(FileSettings),
    /// `http_sd_configs`.
    Http(Box<HttpSdSettings>),
    /// `dns_sd_configs`.
    Dns(DnsSettings),
    /// `docker_sd_configs` and `docker_label_sd_configs`.
    Docker(Box<DockerSettings>),
}

/// Targets that share labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Labels of each target; `__address__` is one of them.
    pub targets: Vec<Labels>,
    /// Labels of all; a target's own win.
    pub labels: Labels,
    /// What tells this group from the others of its provider.
    pub source: String,
}

/// `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// Files; the last part may hold `*`.
    pub files: Vec<PathBuf>,
    /// How often files are read again even if they look unchanged.
    pub refresh_interval: Duration,
}

/// `http_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSdSettings {
    /// Who is asked.
    pub url: Uri,
    /// How often.
    pub refresh_interval: Duration,
    /// How.
    pub client: HttpClientSettings,
}

/// `dns_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Names to look up.
    pub names: Vec<String>,
    /// What is looked up.
    pub record: DnsRecord,
    /// Port of the targets; unused for [`DnsRecord::Srv`].
    pub port: u16,
    /// How often.
    pub refresh_interval: Duration,
}

/// Records that name targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecord {
    /// Addresses, IPv4.
    A,
    /// Addresses, IPv6.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Name servers.
    Ns,
    /// Services.
    Srv,
}

/// `docker_sd_configs`, and our own `docker_label_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerSettings {
    /// `unix:///var/run/docker.sock`, `tcp://host:2375`, `http://...`.
    pub host: String,
    /// How often.
    pub refresh_interval: Duration,
    /// Port of containers that expose none.
    pub port: u16,
    /// Filters as the Engine's API has them.
    pub filters: BTreeMap<String, Vec<String>>,
    /// Host of containers in the host's network.
    pub host_networking_host: String,
    /// Whether only the first of a container's networks counts.
    pub match_first_network: bool,
    /// Whether only containers count that ask for it with a label, which also says port, path and scheme.
    pub by_label: bool,
    /// How the Engine is called.
    pub client: HttpClientSettings,
}

/// Reads all sources of targets of a section. `plain` says that no rule rewrites addresses, so that they must be right as they are.
pub fn read_discovery(section: &mut Section<'_>, plain: bool) -> Vec<Discovery> {
    let mut found = Vec::new();
    if let Some(groups) = section.take_list("static_configs") {
        let group = |(index, item): (usize, &Value<'_>)| read_static(item, index, plain);
        found.push(Discovery::Static(groups.iter().enumerate().filter_map(group).collect()));
    }
    each(section, "file_sd_configs", &mut found, |s| Some(Discovery::File(read_file(s))));
    each(section, "http_sd_configs", &mut found, |s| Some(Discovery::Http(Box::new(read_http(s)?))));
    each(section, "dns_sd_configs", &mut found, |s| Some(Discovery::Dns(read_dns(s))));
    let docker = |s: &mut Section<'_>, by_label| Some(Discovery::Docker(Box::new(read_docker(s, by_label))));
    each(section, "docker_sd_configs", &mut found, |s| docker(s, false));
    each(section, "docker_label_sd_configs", &mut found, |s| docker(s, true));
    found
}

/// Notes sources of targets that Prometheus has and this program has not.
pub fn refuse_other_discovery(section: &mut Section<'_>) {
    let providers = section.keys_ending_with("_sd_configs");
    let known = [
        "file_sd_configs",
        "http_sd_configs",
        "dns_sd_configs",
        "docker_sd_configs",
        "docker_label_sd_configs",
    ];
    for key in providers.into_iter().filter(|key| !known.contains(key)) {
        section.refuse(
            key,
            format!("{key} is not supported; file_sd_configs and http_sd_configs take targets from anywhere"),
        );
    }
}

fn each(
    section: &mut Section<'_>,
    key: &str,
    found: &mut Vec<Discovery>,
    read: impl Fn(&mut Section<'_>) -> Option<Discovery>,
) {
    for item in section.take_list(key).unwrap_or_default() {
        found.extend(item.section().and_then(|mut inner| read(&mut inner)));
    }
}

fn read_static(item: &Value<'_>, index: usize, plain: bool) -> Option<TargetGroup> {
    let mut group = read_group(item)?;
    group.0.source = index.to_string();
    if plain {
        for (address, value) in &group.1 {
            if address.contains('/') {
                value.error(format!("{address:?} is not a valid hostname"));
            }
        }
    }
    Some(group.0)
}

/// A group as static configurations and files of targets have it; also each address with its place.
pub(in crate::scrape) fn read_group<'d>(item: &Value<'d>) -> Option<(TargetGroup, Vec<(String, Value<'d>)>)> {
    let mut section = item.section()?;
    let targets = section.take_list("targets").unwrap_or_default();
    let addresses: Vec<(String, Value<'d>)> =
        targets.into_iter().filter_map(|value| Some((value.str()?, value))).collect();
    let labels = read_labels(&mut section, "labels", NameScheme::Utf8);
    let address = |(address, _): &(String, Value<'_>)| Labels::from_pairs([("__address__", address)]);
    let group =
        TargetGroup { targets: addresses.iter().map(address).collect(), labels, source: String::new() };
    Some((group, addresses))
}

fn read_file(section: &mut Section<'_>) -> FileSettings {
    let items = section.take_list("files").unwrap_or_default();
    if items.is_empty() {
        section.error("files", "file service discovery config must contain at least one path name");
    }
    let file = |item: &Value<'_>| {
        let path = item.path_buf()?;
        if !is_target_file(&path.to_string_lossy()) {
            item.error(format!(
                "path name {:?} is not valid for file discovery; it ends in .json, .yml or .yaml, and has at most one \"*\", after the last \"/\"",
                path.display().to_string()
            ));
        }
        Some(path)
    };
    FileSettings {
        files: items.iter().filter_map(file).collect(),
        refresh_interval: read_interval(section, "refresh_interval", Duration::from_secs(300)),
    }
}

/// At most one `*`, in the last part, and an ending that says what the file is.
fn is_target_file(path: &str) -> bool {
    let ending = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"].iter().any(|e| path.ends_with(e));
    let after_star = path.split_once('*').map_or("", |(_, after)| after);
    ending && !after_star.contains(['*', '/'])
}

fn read_http(section: &mut Section<'_>) -> Option<HttpSdSettings> {
    let refresh_interval = read_interval(section, "refresh_interval", Duration::from_secs(60));
    let client = HttpClientSettings::read(section);
    let url = section.take("url");
    let Some(url) = url else {
        section.error("url", "URL is missing");
        return None;
    };
    // May hold a password.
    let text = url.secret()?.reveal().ok()?;
    let uri: Uri = url.parse_with("a URL", |_| text.parse().map_err(|e| format!("not a URL: {e}")))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => {}
        Some("http" | "https") => url.error("host is missing in URL"),
        _ => url.error("URL scheme must be 'http' or 'https'"),
    }
    Some(HttpSdSettings { url: uri, refresh_interval, client })
}

fn read_dns(section: &mut Section<'_>) -> DnsSettings {
    let names = section.take_strings("names").unwrap_or_default();
    if names.is_empty() {
        section.error("names", "DNS-SD config must contain at least one SRV record name");
    }
    let records = [
        ("SRV", DnsRecord::Srv),
        ("A", DnsRecord::A),
        ("AAAA", DnsRecord::Aaaa),
        ("MX", DnsRecord::Mx),
        ("NS", DnsRecord::Ns),
    ];
    let record = section.take("type").and_then(|value| {
        value.parse_with("a type of DNS records", |text| {
            let found = records.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            found.map(|(_, record)| *record).ok_or_else(|| format!("invalid DNS-SD records type {text}"))
        })
    });
    let record = record.unwrap_or(DnsRecord::Srv);
    let port = section.take_integer("port", 0..=65_535).and_then(|port| u16::try_from(port).ok());
    if record != DnsRecord::Srv && port.unwrap_or_default() == 0 {
        section.error("port", "a port is required in DNS-SD configs for all record types except SRV");
    }
    DnsSettings {
        names,
        record,
        port: port.unwrap_or_default(),
        refresh_interval: read_interval(section, "refresh_interval", Duration::from_secs(30)),
    }
}

/// Where Docker listens unless told otherwise.
const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";

fn read_docker(section: &mut Section<'_>, by_label: bool) -> DockerSettings {
    let host = section.take_str("host");
    if host.is_none() && !by_label {
        section.error("host", "host missing");
    }
    let host = host.unwrap_or_else(|| DOCKER_SOCKET.to_owned());
    let schemes = ["unix://", "tcp://", "http://", "https://"];
    if !schemes.iter().any(|scheme| host.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
        section.error(
            "host",
            format!("unable to parse docker host {host:?}; write for example {DOCKER_SOCKET:?}"),
        );
    }
    let mut filters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for item in section.take_list("filters").unwrap_or_default() {
        let Some(mut filter) = item.section() else { continue };
        filter.require("name");
        let name = filter.take_str("name").unwrap_or_default();
        filters.entry(name).or_default().extend(filter.take_strings("values").unwrap_or_default());
    }
    let port = section.take_integer("port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    DockerSettings {
        host,
        refresh_interval: read_interval(section, "refresh_interval", Duration::from_secs(60)),
        port: port.unwrap_or(80),
        filters,
        host_networking_host: section
            .take_str("host_networking_host")
            .unwrap_or_else(|| "localhost".to_owned()),
        match_first_network: section.take_bool("match_first_network").unwrap_or(true),
        by_label,
        client: HttpClientSettings::read(section),
    }
}
