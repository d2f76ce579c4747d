//! What containers are called, for collectors that come by their ids: written by the container collector, read by
//! others in the same or the next pass.

use rustc_hash::FxHashMap;

/// Labels of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ContainerName {
    /// On Kubernetes as in the pod, else as the runtime calls it.
    pub(super) container: String,
    pub(super) pod: String,
    pub(super) namespace: String,
}

/// Those that are there, by the runtime's id.
#[derive(Debug, Default)]
pub(super) struct ContainerNames(FxHashMap<String, ContainerName>);

impl ContainerNames {
    /// These are all now.
    pub(super) fn set(&mut self, names: impl Iterator<Item = (String, ContainerName)>) {
        self.0.clear();
        self.0.extend(names);
    }

    /// The labels that are known of a container, sorted.
    pub(super) fn labels(&self, id: &str) -> Vec<(&'static str, &str)> {
        let Some(name) = self.0.get(id) else { return Vec::new() };
        let mut labels =
            vec![("container", &*name.container), ("namespace", &*name.namespace), ("pod", &*name.pod)];
        labels.retain(|(_, value)| !value.is_empty());
        labels
    }
}
