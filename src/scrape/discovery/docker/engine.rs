//! What of the Docker Engine's answers is looked at. Fields that are absent or null are empty.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One container of `GET /containers/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) names: Option<Vec<String>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    ports: Option<Vec<Port>>,
    host_config: Option<HostConfig>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Port {
    #[serde(rename = "IP")]
    pub(super) address: Option<String>,
    #[serde(rename = "PrivatePort")]
    pub(super) private: u16,
    #[serde(rename = "PublicPort", default)]
    pub(super) public: u16,
    #[serde(rename = "Type", default)]
    kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
}

/// A container's place in a network.
#[derive(Debug, Deserialize)]
pub(super) struct Endpoint {
    #[serde(rename = "NetworkID", default)]
    pub(super) network_id: String,
    #[serde(rename = "IPAddress", default)]
    pub(super) address: String,
}

/// One network of `GET /networks`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Network {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) scope: String,
    #[serde(default)]
    pub(super) internal: bool,
    #[serde(default)]
    pub(super) ingress: bool,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

impl Container {
    /// `bridge`, `host`, `container:ID`, the name of a network.
    pub(super) fn network_mode(&self) -> &str {
        self.host_config.as_ref().map_or("", |config| config.network_mode.as_str())
    }

    /// Its networks, by name.
    pub(super) fn endpoints(&self) -> Vec<&Endpoint> {
        let networks = self.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        networks.into_iter().flat_map(BTreeMap::values).flatten().collect()
    }

    /// Ports that speak TCP.
    pub(super) fn tcp_ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().flatten().filter(|port| port.kind == "tcp")
    }
}
