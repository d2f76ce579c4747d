//! What runtimes say of a container in JSON: Docker's and Podman's API and Docker's own state file, the Open Container
//! Initiative's `config.json`, and the list that CRI-O and Podman keep of their containers.
//!
//! Invariant: no panic on any input; nesting is bounded by `serde_json`, size by who reads.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Health, Named};

type Map = BTreeMap<String, Option<String>>;

/// An element of `GET /containers/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    names: Option<Vec<String>>,
    image: Option<String>,
    labels: Option<Map>,
    status: Option<String>,
}

/// `GET /containers/ID/json`, and `config.v2.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    name: Option<String>,
    restart_count: Option<u64>,
    state: Option<InspectedState>,
    config: Option<InspectedConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    #[serde(alias = "Healthcheck")]
    health: Option<InspectedHealth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedHealth {
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    image: Option<String>,
    labels: Option<Map>,
}

/// A bundle's `config.json`.
#[derive(Deserialize)]
struct Bundle {
    annotations: Option<Map>,
}

/// An element of `overlay-containers/containers.json`.
#[derive(Deserialize)]
struct Stored {
    id: String,
    names: Option<Vec<String>>,
    metadata: Option<String>,
}

/// JSON within [`Stored::metadata`].
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct StoredMetadata {
    image_name: Option<String>,
    name: Option<String>,
}

/// The runtime's list: ids with what it says of them.
pub(super) fn list(text: &[u8]) -> Result<Vec<(String, Named)>, String> {
    let listed: Vec<Listed> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(listed.into_iter().map(|entry| (entry.id.clone(), entry.named())).collect())
}

impl Listed {
    fn named(self) -> Named {
        let names = self.names.unwrap_or_default();
        // Another's link to it looks like `/other/alias`.
        let own = names.iter().map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
        let mut named = Named { name: own.unwrap_or_default().to_owned(), ..Named::default() };
        named.image = self.image.unwrap_or_default();
        named.take_labels(self.labels);
        let status = self.status.unwrap_or_default();
        let health = status.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        named.health = health.and_then(|text| health_of(text.strip_prefix("health: ").unwrap_or(text)));
        named
    }
}

/// What the runtime says of one container.
pub(super) fn inspected(text: &[u8]) -> Result<Named, String> {
    let inspected: Inspected = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let name = inspected.name.unwrap_or_default();
    let mut named = Named { name: name.trim_start_matches('/').to_owned(), ..Named::default() };
    named.restarts = inspected.restart_count;
    if let Some(config) = inspected.config {
        named.image = config.image.unwrap_or_default();
        named.take_labels(config.labels);
    }
    let health = inspected.state.and_then(|state| state.health).and_then(|health| health.status);
    named.health = health.as_deref().and_then(health_of);
    Ok(named)
}

/// The names that Docker gives; `none` and the empty one stand for no check.
fn health_of(status: &str) -> Option<Health> {
    match status {
        "healthy" => Some(Health::Healthy),
        "unhealthy" | "starting" => Some(Health::NotHealthy),
        _ => None,
    }
}

/// A bundle's annotations, as containerd, CRI-O and nerdctl write them. CRI-O has the labels among them; of containerd,
/// which keeps labels elsewhere, the annotations stand for them. Podman has neither.
pub(super) fn bundle(text: &[u8]) -> Result<Named, String> {
    let bundle: Bundle = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let annotations = bundle.annotations.unwrap_or_default();
    let first = |names: &[&str]| {
        let found = names
            .iter()
            .filter_map(|name| annotations.get(*name)?.as_deref())
            .find(|value| !value.is_empty());
        found.unwrap_or_default().to_owned()
    };
    let mut named = Named {
        name: first(&["io.kubernetes.cri-o.Name", "nerdctl/name"]),
        image: first(&[
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri.podsandbox.image-name",
            "io.kubernetes.cri-o.ImageName",
            "io.kubernetes.cri-o.Image",
        ]),
        container: first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]),
        pod: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        namespace: first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
        ..Named::default()
    };
    if first(&["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]) == "sandbox" {
        named.container.clear();
    }
    let is_containerds = !annotations.contains_key("io.container.manager");
    if let Some(labels) = annotations.get("io.kubernetes.cri-o.Labels").and_then(Option::as_deref) {
        let labels: Map = serde_json::from_str(labels).unwrap_or_default();
        named.labels = labels.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    } else if is_containerds {
        named.labels = annotations.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    }
    Ok(named)
}

/// The list that CRI-O and Podman keep on disk.
pub(super) fn stored(text: &[u8]) -> Result<Vec<(String, Named)>, String> {
    let stored: Vec<Stored> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let named = stored.into_iter().map(|entry| {
        let metadata = entry.metadata.as_deref().unwrap_or("{}");
        let metadata: StoredMetadata = serde_json::from_str(metadata).unwrap_or_default();
        let first = entry.names.unwrap_or_default().into_iter().next();
        let name = metadata.name.or(first).unwrap_or_default();
        (entry.id, Named { name, image: metadata.image_name.unwrap_or_default(), ..Named::default() })
    });
    Ok(named.collect())
}

impl Named {
    /// Labels, and what Kubernetes says in them.
    fn take_labels(&mut self, labels: Option<Map>) {
        for (name, value) in labels.unwrap_or_default() {
            let value = value.unwrap_or_default();
            match &*name {
                "io.kubernetes.container.name" if value == "POD" => {}
                "io.kubernetes.container.name" => self.container.clone_from(&value),
                "io.kubernetes.pod.name" => self.pod.clone_from(&value),
                "io.kubernetes.pod.namespace" => self.namespace.clone_from(&value),
                _ => {}
            }
            self.labels.push((name, value));
        }
    }
}

/// Every reader of this file; for fuzzing.
pub(in crate::collect::container) fn survives(bytes: &[u8]) {
    let _ = (list(bytes), inspected(bytes), bundle(bytes), stored(bytes), super::http::split(bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list() {
        let text = br#"[{"Id":"1","Names":["/other/link","/web"],"Image":"nginx:1","Labels":{"a":"b"},
            "State":"running","Status":"Up 3 minutes (healthy)","Unknown":{"x":[1]}},
            {"Id":"2","Names":null,"Labels":null,"Status":"Up 1 second (health: starting)"},{"Id":"3","Status":"Up (Paused)"}]"#;
        let list = list(text).unwrap();
        let [(id, web), (_, starting), (_, paused)] = &*list else { panic!("{list:?}") };
        assert_eq!((&**id, &*web.name, &*web.image), ("1", "web", "nginx:1"));
        assert_eq!(web.labels, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(
            (web.health, starting.health, paused.health),
            (Some(Health::Healthy), Some(Health::NotHealthy), None)
        );
    }

    #[test]
    fn one_container() {
        let text = br#"{"Id":"1","Name":"/k8s_web","RestartCount":3,"State":{"Health":{"Status":"unhealthy"}},
            "Config":{"Image":"nginx","Labels":{"io.kubernetes.pod.name":"p","io.kubernetes.pod.namespace":"n",
            "io.kubernetes.container.name":"c"}}}"#;
        let named = inspected(text).unwrap();
        assert_eq!(
            (&*named.name, named.restarts, named.health),
            ("k8s_web", Some(3), Some(Health::NotHealthy))
        );
        assert_eq!((&*named.pod, &*named.namespace, &*named.container), ("p", "n", "c"));
        assert_eq!(inspected(b"{}").unwrap(), Named::default());
        assert!(inspected(b"[]").is_err());
    }

    #[test]
    fn bundles() {
        let containerd = br#"{"annotations":{"io.kubernetes.cri.container-type":"container",
            "io.kubernetes.cri.container-name":"c","io.kubernetes.cri.sandbox-name":"p",
            "io.kubernetes.cri.sandbox-namespace":"n","io.kubernetes.cri.image-name":"docker.io/x:1"}}"#;
        let named = bundle(containerd).unwrap();
        assert_eq!((&*named.container, &*named.pod, &*named.image), ("c", "p", "docker.io/x:1"));
        let image = ("io.kubernetes.cri.image-name".to_owned(), "docker.io/x:1".to_owned());
        assert!(named.labels.len() == 5 && named.labels.contains(&image), "{:?}", named.labels);
        let crio =
            br#"{"annotations":{"io.kubernetes.cri-o.ContainerType":"sandbox","io.kubernetes.pod.name":"p",
            "io.kubernetes.container.name":"POD","io.kubernetes.cri-o.Name":"k8s_POD_p",
            "io.kubernetes.cri-o.Labels":"{\"app\":\"web\"}","io.container.manager":"cri-o"}}"#;
        let named = bundle(crio).unwrap();
        assert_eq!((&*named.container, &*named.pod, &*named.name), ("", "p", "k8s_POD_p"));
        assert_eq!(named.labels, [("app".to_owned(), "web".to_owned())]);
        let podman =
            br#"{"annotations":{"io.container.manager":"libpod","io.podman.annotations.init":"FALSE"}}"#;
        assert_eq!(bundle(podman).unwrap(), Named::default(), "its labels are told over the socket");
    }

    #[test]
    fn the_store() {
        let text = br#"[{"id":"1","names":["web"],"metadata":"{\"image-name\":\"docker.io/x\",\"name\":\"web\"}"},{"id":"2"}]"#;
        let stored = stored(text).unwrap();
        assert_eq!((&*stored[0].1.name, &*stored[0].1.image, &*stored[1].1.name), ("web", "docker.io/x", ""));
    }

    #[test]
    fn nesting_without_end_is_refused() {
        for key in ["Unknown", "Labels", "Names"] {
            let deep = format!("[{{\"Id\":\"1\",\"{key}\":{}", "[".repeat(1 << 20));
            assert!(list(deep.as_bytes()).is_err(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            survives(&bytes);
        }
    }
}
