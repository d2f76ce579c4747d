//! Names without asking anybody: what runtimes and the kubelet leave in files. Sources: the layouts of
//! `/var/lib/docker`, `/run/containerd`, containers/storage and `/var/log/containers`, as found on machines.
//!
//! Invariant: bounded reads, and none that waits; a place that is not there, or is none of ours to read, says nothing. Users
//! name groups of their own: only what is an id goes into a path.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::OFlags;

use super::super::path::id_in;
use super::{Named, Wanted, json};
use crate::collect::HostPaths;

/// Longest state file.
const MOST_BYTES: u64 = 4 << 20;

/// Most entries of a directory that are looked at.
const MOST_ENTRIES: usize = 20_000;

const DOCKER: &str = "var/lib/docker/containers";
/// Where containerd keeps its state: its own place, and those of distributions of Kubernetes - k3s and RKE2, k0s, MicroK8s.
const CONTAINERD: [&str; 4] =
    ["run/containerd", "run/k3s/containerd", "run/k0s/containerd", "var/snap/microk8s/common/run/containerd"];
/// Below these, a folder for each namespace.
const TASKS: &str = "io.containerd.runtime.v2.task";
const BUNDLES: &str = "run/containers/storage/overlay-containers";
const STORE: &str = "var/lib/containers/storage/overlay-containers/containers.json";
const LOGS: &str = "var/log/containers";
const POD_LOGS: &str = "var/log/pods";

/// What the files said, and when they were written.
#[derive(Debug, Default)]
pub(super) struct StateFiles {
    read: FxHashMap<PathBuf, (SystemTime, Option<Named>)>,
}

impl StateFiles {
    /// What files say of each; `Default` of those that no file knows.
    pub(super) fn look_up(&mut self, paths: &HostPaths, wanted: &[Wanted]) -> Vec<Named> {
        let tasks = CONTAINERD.iter().map(|state| paths.root(state).join(TASKS));
        let namespaces: Vec<_> =
            tasks.flat_map(|tasks| entries(&tasks).into_iter().map(move |space| tasks.join(space))).collect();
        let store = self.store(paths, wanted);
        let logs = Logs::list(paths, wanted);
        let mut used = FxHashSet::default();
        let names = wanted.iter().map(|container| {
            let id = &*container.id;
            let mut named = Named::default();
            if id_in(id) != Some(id) {
                return named;
            }
            let docker = paths.root(DOCKER).join(id).join("config.v2.json");
            let bundles = namespaces.iter().map(|space| space.join(id).join("config.json"));
            let bundles = bundles.chain([paths.root(BUNDLES).join(id).join("userdata/config.json")]);
            if let Some(found) = self.read(&docker, json::inspected) {
                named.fill(found);
                used.insert(docker);
            }
            for bundle in bundles {
                if let Some(found) = self.read(&bundle, json::bundle) {
                    named.fill(found);
                    used.insert(bundle);
                }
            }
            if let Some(found) = store.get(id) {
                named.fill(found.clone());
            }
            named.fill(logs.of(container));
            named
        });
        let names = names.collect();
        self.read.retain(|path, _| used.contains(path));
        names
    }

    /// A file through `parse`, again only when it was written since.
    fn read(&mut self, path: &Path, parse: fn(&[u8]) -> Result<Named, String>) -> Option<Named> {
        let written = regular(fs::symlink_metadata(path)).and_then(|meta| meta.modified()).ok()?;
        if let Some((at, named)) = self.read.get(path)
            && *at == written
        {
            return named.clone();
        }
        let named = read(path).ok().and_then(|text| parse(&text).ok());
        self.read.insert(path.to_owned(), (written, named.clone()));
        named
    }

    fn store(&self, paths: &HostPaths, wanted: &[Wanted]) -> BTreeMap<String, Named> {
        let Ok(text) = read(&paths.root(STORE)) else { return BTreeMap::new() };
        let wanted: FxHashSet<_> = wanted.iter().map(|container| &*container.id).collect();
        let stored = json::stored(&text).unwrap_or_default();
        stored.into_iter().filter(|(id, _)| wanted.contains(&**id)).collect()
    }
}

/// Runtimes write files, no links to others. A FIFO or a device would hold the thread for ever.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    regular(file.metadata())?;
    let mut text = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// What is known of a file, if it is one.
fn regular(meta: io::Result<fs::Metadata>) -> io::Result<fs::Metadata> {
    meta.and_then(|meta| if meta.is_file() { Ok(meta) } else { Err(io::ErrorKind::InvalidInput.into()) })
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.take(MOST_ENTRIES).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// What the names of the kubelet's log files say.
struct Logs {
    /// By id: pod, namespace, container.
    containers: FxHashMap<String, [String; 3]>,
    /// By uid: pod, namespace.
    pods: FxHashMap<String, [String; 2]>,
}

impl Logs {
    fn list(paths: &HostPaths, wanted: &[Wanted]) -> Self {
        let (mut containers, mut pods) = (FxHashMap::default(), FxHashMap::default());
        if wanted.iter().any(|container| container.pod_uid.is_some()) {
            let of_containers = entries(&paths.root(LOGS));
            containers.extend(of_containers.iter().filter_map(|name| {
                let (id, parts) = container_of_log(name)?;
                Some((id.to_owned(), parts.map(str::to_owned)))
            }));
            let of_pods = entries(&paths.root(POD_LOGS));
            pods.extend(of_pods.iter().filter_map(|name| {
                let mut parts = name.splitn(3, '_');
                let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
                Some((uid.to_owned(), [pod.to_owned(), namespace.to_owned()]))
            }));
        }
        Self { containers, pods }
    }

    fn of(&self, container: &Wanted) -> Named {
        let mut named = Named::default();
        if let Some([pod, namespace, name]) = self.containers.get(&container.id) {
            (named.pod, named.namespace, named.container) = (pod.clone(), namespace.clone(), name.clone());
        } else if let Some([pod, namespace]) = container.pod_uid.as_ref().and_then(|uid| self.pods.get(uid)) {
            (named.pod, named.namespace) = (pod.clone(), namespace.clone());
        }
        named
    }
}

/// `<pod>_<namespace>_<container>-<id>.log`: the id, and the other three.
pub(super) fn container_of_log(name: &str) -> Option<(&str, [&str; 3])> {
    let (rest, id) = name.strip_suffix(".log")?.rsplit_once('-')?;
    let mut parts = rest.splitn(3, '_');
    let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
    (id.len() == 64 && !pod.is_empty()).then_some((id, [pod, namespace, container]))
}
