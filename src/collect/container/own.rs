//! The container that this program is in, where it sees no other: a sidecar without access to the host. Sources:
//! cgroup_namespaces(7), the mounts that runtimes make in containers.
//!
//! Invariant: what cannot be told is left out; there is always some name.

use super::super::HostPaths;
use super::names::Named;
use super::{path, process};

/// What is known of it: the runtime's id, or else the host's name, which in a container is the container's or the
/// pod's; and in a pod what Kubernetes calls it.
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
        let container = container_in_mounts(&mounts).unwrap_or_default().to_owned();
        let in_pod = !(namespace.is_empty() && container.is_empty());
        // In a pod, `/etc/hostname` is the pod's, and so is the id in its place.
        let in_mounts = || id_in_mounts(&mounts).filter(|_| !in_pod);
        let id = id_in_groups(&groups).or_else(in_mounts).map(str::to_owned);
        // On the machine's network the host's name is the machine's.
        let pod = if in_pod && !process::sees_host_network(&paths.procfs) { &*hostname } else { "" };
        let named = Named { container, pod: pod.to_owned(), namespace, ..Named::default() };
        Self { id: id.unwrap_or(hostname), named }
    }
}

/// In a namespace of its own a process sees `/` here.
fn id_in_groups(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| path::innermost_id(path::membership(line)?.1))
}

/// What is mounted at a place, below the root of its file system. Source: proc_pid_mountinfo(5).
fn mounted<'a>(mounts: &'a str, at: &str) -> Option<&'a str> {
    let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(at))?;
    line.split(' ').nth(3)
}

/// Runtimes mount `/etc/hostname` from a folder that is named by the id: `/var/lib/docker/containers/<id>/hostname`.
fn id_in_mounts(mounts: &str) -> Option<&str> {
    mounted(mounts, "/etc/hostname")?.split('/').rev().find_map(path::id_in)
}

/// The kubelet mounts `/dev/termination-log` from `.../pods/<uid>/containers/<name>/<number>`.
fn container_in_mounts(mounts: &str) -> Option<&str> {
    let mut parts = mounted(mounts, "/dev/termination-log")?.rsplit('/').skip(1);
    let (name, containers, _uid, pods) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (containers == "containers" && pods == "pods").then_some(name)
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

    #[test]
    fn a_container_of_a_pod() {
        let mounts = format!(
            "3 4 8:1 /lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/hostname /etc/hostname rw - ext4 /dev/sda rw\n\
             5 4 8:1 /lib/kubelet/pods/0c5f4b3a-9d21-4a7e-8f10-1234567890ab/containers/web/0a1b2c3d /dev/termination-log rw - ext4 /dev/sda rw\n"
        );
        let pod = Fixture::new()
            .file("proc/sys/kernel/hostname", "web-1\n")
            .file("proc/self/cgroup", "0::/\n")
            .file("proc/self/mountinfo", mounts);
        let found = find(&pod);
        assert_eq!(&*found.id, "web-1", "the id is the pod's");
        assert_eq!((&*found.named.container, &*found.named.pod), ("web", "web-1"));
        let on_host = pod.file("proc/sys/net/core/netdev_max_backlog", "1000\n");
        let found = find(&on_host);
        assert_eq!((&*found.named.container, &*found.named.pod), ("web", ""));
    }
}
