//! The container that this program is in, where it sees no other: a sidecar without access to the host. Sources:
//! cgroup_namespaces(7), the mounts that runtimes make in containers.
//!
//! Invariant: what cannot be told is left out; there is always some name.

use super::super::HostPaths;
use super::names::Named;
use super::path;

/// What is known of it: the runtime's id, or else the host's name, which in a container is the container's or the
/// pod's; and the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnContainer {
    pub(super) id: String,
    pub(super) named: Named,
}

impl OwnContainer {
    /// Looks at this process.
    pub(super) fn find(paths: &HostPaths) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let hostname = read(paths.proc("sys/kernel/hostname")).trim().to_owned();
        let groups = read(paths.proc("self/cgroup"));
        let mounts = read(paths.proc("self/mountinfo"));
        let namespace =
            read(paths.root("var/run/secrets/kubernetes.io/serviceaccount/namespace")).trim().to_owned();
        let id = id_in_groups(&groups).or_else(|| id_in_mounts(&mounts)).map(str::to_owned);
        let mut named = Named::default();
        if !namespace.is_empty() {
            named.pod.clone_from(&hostname);
        }
        named.namespace = namespace;
        Self { id: id.unwrap_or(hostname), named }
    }
}

/// In a namespace of its own a process sees `/` here.
fn id_in_groups(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| {
        let (_, group) = path::membership(line)?;
        let name = group.rsplit('/').next()?;
        path::id_in(name)
    })
}

/// Runtimes mount `/etc/hostname` from a folder that is named by the id: `/var/lib/docker/containers/<id>/hostname`.
fn id_in_mounts(mounts: &str) -> Option<&str> {
    let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/etc/hostname"))?;
    line.split(' ').nth(3)?.split('/').rev().find_map(path::id_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::host::testing::Fixture;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn find(fixture: &Fixture) -> OwnContainer {
        let below = |part: &str| fixture.path().join(part);
        OwnContainer::find(&HostPaths {
            procfs: below("proc"),
            rootfs: below("root"),
            ..HostPaths::default()
        })
    }

    #[test]
    fn ids_and_pods() {
        let bare = Fixture::new().file("proc/sys/kernel/hostname", "web-1\n");
        assert_eq!(find(&bare), OwnContainer { id: "web-1".to_owned(), named: Named::default() });
        let mounted = format!(
            "1 2 8:1 / / rw - ext4 /dev/sda rw\n3 4 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/sda rw\n"
        );
        let docker = bare.file("proc/self/mountinfo", mounted).file("proc/self/cgroup", "0::/\n");
        assert_eq!(find(&docker).id, ID);
        let other = ID.replace('0', "f");
        let version_1 = docker.file("proc/self/cgroup", format!("1:memory:/docker/{other}\n"));
        assert_eq!(find(&version_1).id, other);
        let pod = version_1.file("root/var/run/secrets/kubernetes.io/serviceaccount/namespace", "prod");
        let found = find(&pod);
        assert_eq!((&*found.named.pod, &*found.named.namespace), ("web-1", "prod"));
        assert_eq!(find(&Fixture::new()), OwnContainer::default());
    }
}
