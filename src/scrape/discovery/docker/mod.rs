//! `docker_sd_configs`: containers, as the Docker Engine lists them; and `docker_label_sd_configs`, which takes
//! only containers that ask for it.
//!
//! Two requests over the Engine's socket with the client that scrapes: bollard would bring the whole API, its own
//! HTTP stack and a build-time schema for these two lists.
//!
//! A container asks with the label `prometheus.io/scrape: "true"` or `outrigger.port: "9000"`; `prometheus.io/port`,
//! `/path` and `/scheme` (or `outrigger.path`, `outrigger.scheme`) say the rest. Such a target gets the label
//! `container` with the container's name.
//!
//! Source: the Engine's API (`GET /containers/json`, `GET /networks`); Prometheus's documentation of
//! `docker_sd_config` for `__meta_docker_*` and for which ports become targets.

mod engine;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hyper::header::HeaderMap;
use hyper::{StatusCode, Uri};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use self::engine::{Container, Endpoint, Network};
use crate::http_client::HttpClient;
use crate::model::{ColdSort, Labels, LabelsBuilder};
use crate::scrape::settings::{DockerSettings, TargetGroup};

/// Largest answer of the Engine.
const MOST_BYTES: usize = 16 << 20;

/// How long the Engine may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks one Engine.
pub(super) struct DockerProvider {
    settings: DockerSettings,
    client: HttpClient,
    /// Scheme and host of every URL.
    base: String,
}

impl DockerProvider {
    pub(super) fn new(settings: &DockerSettings) -> Self {
        let (client, base) = match settings.host.strip_prefix("unix://") {
            Some(path) => {
                (HttpClient::over_socket(&settings.client, Path::new(path)), "http://docker".to_owned())
            }
            None => {
                let base = settings.host.trim_end_matches('/').replacen("tcp://", "http://", 1);
                (HttpClient::new(&settings.client), base)
            }
        };
        Self { settings: settings.clone(), client, base }
    }

    pub(super) const fn interval(&self) -> Duration {
        self.settings.refresh_interval
    }

    pub(super) async fn look(&mut self) -> Result<Vec<TargetGroup>, String> {
        let filters = match self.settings.filters.is_empty() {
            true => String::new(),
            false => {
                let json =
                    serde_json::to_string(&self.settings.filters).map_err(|error| error.to_string())?;
                format!("?filters={}", escaped(&json))
            }
        };
        let containers: Vec<Container> = self
            .ask(&format!("/containers/json{filters}"))
            .await
            .map_err(|error| format!("error while listing containers: {error}"))?;
        let networks: Vec<Network> = self
            .ask("/networks")
            .await
            .map_err(|error| format!("error while computing network labels: {error}"))?;
        let networks =
            networks.iter().map(|network| (network.id.as_str(), network_labels(network))).collect();
        let targets = targets(&self.settings, &containers, &networks);
        Ok(vec![TargetGroup { targets, labels: Labels::empty(), source: "Docker".to_owned() }])
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, String> {
        let url: Uri = format!("{}{path}", self.base).parse().map_err(|error| format!("{error}"))?;
        let deadline = Instant::now() + PATIENCE;
        let response = self.client.get(&url, HeaderMap::new(), deadline).await.map_err(|e| e.to_string())?;
        let status = (response.status() != StatusCode::OK).then(|| response.status_text());
        let body = response.read_within(MOST_BYTES).await.map_err(|error| error.to_string())?;
        match status {
            Some(status) => Err(format!("the Docker Engine answers {status}")),
            None => serde_json::from_slice::<Option<Vec<T>>>(&body)
                .map(Option::unwrap_or_default)
                .map_err(|error| format!("the Docker Engine's answer is not understood: {error}")),
        }
    }
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |out, byte| match byte {
        byte if byte.is_ascii_alphanumeric() => out + char::from(byte).encode_utf8(&mut [0; 4]),
        byte => out + &format!("%{byte:02X}"),
    })
}

/// Characters that a classic label name cannot have become `_`.
fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn network_labels(network: &Network) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new();
    labels.set("__meta_docker_network_id", network.id.as_str());
    labels.set("__meta_docker_network_name", network.name.as_str());
    labels.set("__meta_docker_network_scope", network.scope.as_str());
    labels.set("__meta_docker_network_internal", network.internal.to_string());
    labels.set("__meta_docker_network_ingress", network.ingress.to_string());
    for (name, value) in network.labels.iter().flatten() {
        labels.set(&format!("__meta_docker_network_label_{}", sanitized(name)), value.as_str());
    }
    labels
}

type NetworkLabels<'n> = BTreeMap<&'n str, LabelsBuilder>;

fn targets(settings: &DockerSettings, containers: &[Container], networks: &NetworkLabels<'_>) -> Vec<Labels> {
    let by_id: BTreeMap<&str, &Container> = containers.iter().map(|c| (c.id.as_str(), c)).collect();
    let mut found = Vec::new();
    for container in containers {
        let Some(name) = container.names.as_ref().and_then(|names| names.first()) else { continue };
        let asked = asked_for(container);
        if settings.by_label && asked.is_none() {
            continue;
        }
        let mut common = LabelsBuilder::new();
        common.set("__meta_docker_container_id", container.id.as_str());
        common.set("__meta_docker_container_name", name.as_str());
        common.set("__meta_docker_container_network_mode", container.network_mode());
        for (label, value) in container.labels.iter().flatten() {
            let label = format!("__meta_docker_container_label_{}", sanitized(label));
            common.set(&label, value.as_str());
        }
        let mut endpoints = endpoints_of(container, &by_id);
        if (settings.match_first_network || settings.by_label) && endpoints.len() > 1 {
            endpoints.truncate(1);
        }
        for endpoint in endpoints {
            let mut labels = common.clone();
            for (name, value) in
                networks.get(endpoint.network_id.as_str()).into_iter().flat_map(LabelsBuilder::iter)
            {
                labels.set(name, value);
            }
            labels.set("__meta_docker_network_ip", endpoint.address.as_str());
            match asked.as_ref().filter(|_| settings.by_label) {
                Some(asked) => found.push(asked_target(settings, container, endpoint, asked, labels)),
                None => found.extend(port_targets(settings, container, endpoint, &labels)),
            }
        }
    }
    found.cold_sort();
    found
}

/// The networks of a container by name, or those of the container whose network it shares.
fn endpoints_of<'c>(container: &'c Container, by_id: &BTreeMap<&str, &'c Container>) -> Vec<&'c Endpoint> {
    let mut current = container;
    // As many steps as there are containers: a circle ends.
    for _ in 0..=by_id.len() {
        let endpoints = current.endpoints();
        if !endpoints.is_empty() {
            return endpoints;
        }
        let shared = current.network_mode().strip_prefix("container:").and_then(|id| by_id.get(id));
        match shared {
            Some(other) => current = other,
            None => break,
        }
    }
    Vec::new()
}

/// A target for each TCP port, or one on the default port.
fn port_targets(
    settings: &DockerSettings,
    container: &Container,
    endpoint: &Endpoint,
    common: &LabelsBuilder,
) -> Vec<Labels> {
    let ports = container.tcp_ports().map(|port| {
        let mut labels = common.clone();
        labels.set("__meta_docker_port_private", port.private.to_string());
        if port.public > 0 {
            labels.set("__meta_docker_port_public", port.public.to_string());
            labels.set("__meta_docker_port_public_ip", port.address.as_deref().unwrap_or_default());
        }
        labels.set("__address__", join(&endpoint.address, &port.private.to_string()));
        labels.build()
    });
    let targets: Vec<Labels> = ports.collect();
    if !targets.is_empty() {
        return targets;
    }
    let mut labels = common.clone();
    let address = match container.network_mode() {
        "host" => settings.host_networking_host.clone(),
        _ => join(&endpoint.address, &settings.port.to_string()),
    };
    labels.set("__address__", address);
    vec![labels.build()]
}

/// What a container asks for with its labels.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    port: Option<String>,
    path: Option<String>,
    scheme: Option<String>,
}

fn asked_for(container: &Container) -> Option<Asked> {
    let labels = container.labels.as_ref()?;
    let own = labels.contains_key("outrigger.port");
    let common = labels.get("prometheus.io/scrape").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let of = |key: &str| {
        let names = [format!("outrigger.{key}"), format!("prometheus.io/{key}")];
        names.iter().find_map(|name| labels.get(name)).filter(|value| !value.is_empty()).cloned()
    };
    (own || common).then(|| Asked { port: of("port"), path: of("path"), scheme: of("scheme") })
}

fn asked_target(
    settings: &DockerSettings,
    container: &Container,
    endpoint: &Endpoint,
    asked: &Asked,
    mut labels: LabelsBuilder,
) -> Labels {
    let exposed = || container.tcp_ports().map(|port| port.private).min().unwrap_or(settings.port);
    let port = asked.port.clone().unwrap_or_else(|| exposed().to_string());
    let host =
        if container.network_mode() == "host" { &settings.host_networking_host } else { &endpoint.address };
    labels.set("__address__", join(host, &port));
    labels.set("__metrics_path__", asked.path.as_deref().unwrap_or_default());
    labels.set("__scheme__", asked.scheme.as_deref().unwrap_or_default());
    let name = labels.get("__meta_docker_container_name").trim_start_matches('/').to_owned();
    labels.set("container", name);
    labels.build()
}

fn join(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
