//! From the path of a control group to the container that it is. Sources: systemd's "Control Group APIs and
//! Delegation", the kubelet's, Docker's, containerd's, CRI-O's and Podman's naming of groups, as found on machines.
//!
//! Invariant: pure, no allocation but for a decoded name, no panic on any input. A group below a container's (Podman's
//! `container`, systemd's `init.scope`) is not one itself; a container in a container is.

use std::borrow::Cow;

/// Length of the ids that runtimes of the Open Container Initiative give.
const ID_LENGTH: usize = 64;

/// Whose way of naming groups it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Runtime {
    Docker,
    Podman,
    Containerd,
    CriO,
    Lxc,
    /// systemd-nspawn and virtual machines that systemd-machined knows.
    Machine,
    /// A bare id tells no more.
    Unknown,
    /// What this program is in, without a sight of others.
    Own,
}

impl Runtime {
    /// Whether its containers have names besides what is in their path.
    pub(super) const fn names_containers(self) -> bool {
        !matches!(self, Self::Lxc | Self::Machine | Self::Own)
    }
}

/// A container, as its group's path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    pub(super) runtime: Runtime,
    /// The runtime's id; of [`Runtime::Lxc`] and [`Runtime::Machine`] the name.
    pub(super) id: Cow<'a, str>,
    /// The uid of the Kubernetes pod that it is in, with dashes where it has them.
    pub(super) pod_uid: Option<Cow<'a, str>>,
}

/// The container whose group has this path, below the root of the hierarchy; `None` if it is none.
pub(super) fn identify(path: &str) -> Option<Identity<'_>> {
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    if let Some((runtime, id)) = by_id(parents, name) {
        return Some(Identity { runtime, id: Cow::Borrowed(id), pod_uid: pod_uid(path) });
    }
    let (runtime, id) = by_name(parents, name)?;
    Some(Identity { runtime, id, pod_uid: None })
}

/// A runtime's id in the last part: `<id>`, `docker-<id>.scope`, `...pod<uid>:cri-containerd:<id>`. A unit of systemd of
/// another kind is none, whatever its name: Podman has slices for its pods, services and timers for its health checks.
fn by_id<'a>(parents: &str, name: &'a str) -> Option<(Runtime, &'a str)> {
    let id = id_in(name)?;
    let (prefix, suffix) = name.split_once(id)?;
    let is_scope = suffix == ".scope";
    if !is_scope && !suffix.is_empty() {
        return None;
    }
    if prefix.is_empty() {
        return Some((by_parents(parents)?, id));
    }
    let named = prefix.strip_suffix(['-', ':', '_'])?;
    let runtime = match named.rsplit(':').next().unwrap_or(named) {
        "docker" => Runtime::Docker,
        "libpod" | "libpod-payload" => Runtime::Podman,
        "cri-containerd" | "nerdctl" | "containerd" => Runtime::Containerd,
        "crio" | "crio-payload" => Runtime::CriO,
        "kata" => Runtime::Unknown,
        // What looks after a container, beside it.
        other if other.ends_with("conmon") => return None,
        // Of systemd's units, scopes alone hold what others than it have started.
        _ if is_scope || prefix.ends_with(':') => Runtime::Unknown,
        _ => return None,
    };
    Some((runtime, id))
}

/// The first 64 lowercase hexadecimal digits that are not part of more.
pub(super) fn id_in(name: &str) -> Option<&str> {
    let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let bytes = name.as_bytes();
    let mut start = 0;
    while start + ID_LENGTH <= bytes.len() {
        let run = bytes.get(start..)?.iter().take_while(|b| is_digit(b)).count();
        if run == ID_LENGTH {
            return name.get(start..start + ID_LENGTH);
        }
        start += run + 1;
    }
    None
}

/// Whose group with a bare id it is; `None` for those that are no containers.
fn by_parents(parents: &str) -> Option<Runtime> {
    match parents.rsplit('/').next() {
        Some("docker") => Some(Runtime::Docker),
        // Podman's pods; their containers, below, are `libpod-<id>`. What Kata needs beside its virtual machines.
        Some("libpod_parent" | "kata_overhead") => None,
        _ => Some(Runtime::Unknown),
    }
}

/// The id of the innermost container that a path leads to or through.
pub(super) fn innermost_id(path: &str) -> Option<&str> {
    let mut at = path;
    loop {
        let (parents, name) = at.rsplit_once('/').unwrap_or(("", at));
        if let Some((_, id)) = by_id(parents, name) {
            return Some(id);
        }
        if parents.is_empty() {
            return None;
        }
        at = parents;
    }
}

/// Containers that have a name instead.
fn by_name<'a>(parents: &str, name: &'a str) -> Option<(Runtime, Cow<'a, str>)> {
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return (!name.is_empty()).then_some((Runtime::Lxc, Cow::Borrowed(name)));
    }
    if parents.rsplit('/').next() == Some("lxc") && !name.is_empty() {
        return Some((Runtime::Lxc, Cow::Borrowed(name)));
    }
    if let Some(machine) = name.strip_prefix("machine-").and_then(|name| name.strip_suffix(".scope")) {
        return (!machine.is_empty()).then(|| (Runtime::Machine, unescaped(machine)));
    }
    let machine = name.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service"))?;
    (!machine.is_empty()).then(|| (Runtime::Machine, unescaped(machine)))
}

/// systemd's `\x2d` for `-` and the like; anything else stays as it is, and so does `\x2f`: no machine's name has a slash.
fn unescaped(name: &str) -> Cow<'_, str> {
    if !name.contains("\\x") {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        out.push_str(before);
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.filter(|c| c.is_ascii() && !c.is_ascii_control() && *c != b'/') {
            Some(code) => {
                out.push(char::from(code));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push_str("\\x");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The uid of the pod that a path leads through: `/kubepods/burstable/pod<uid>/...` or, where systemd keeps the
/// groups, `...-pod<uid with _ for ->.slice`. Pods that a file declares have a uid without dashes.
pub(super) fn pod_uid(path: &str) -> Option<Cow<'_, str>> {
    path.split('/').rev().find_map(|part| {
        let part = part.split(':').next().unwrap_or(part);
        let (slice, escaped) = match part.strip_suffix(".slice") {
            Some(slice) => (slice, true),
            None => (part, false),
        };
        let uid = if escaped || slice.starts_with("kubepods") {
            slice.rsplit_once("-pod").map(|(_, uid)| uid)?
        } else {
            slice.strip_prefix("pod")?
        };
        let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
        let dashes = uid.bytes().filter(|b| matches!(b, b'-' | b'_')).count();
        let is_uid = digits == 32 && digits + dashes == uid.len();
        is_uid.then(|| if uid.contains('_') { Cow::Owned(uid.replace('_', "-")) } else { Cow::Borrowed(uid) })
    })
}

/// The group's path out of a line of `/proc/PID/cgroup` - `4:memory:/docker/1`, `0::/system.slice` - and the
/// controllers of its hierarchy. Source: cgroups(7).
pub(super) fn membership(line: &str) -> Option<(&str, &str)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    path.starts_with('/').then_some((controllers, path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "0c5f4b3a-9d21-4a7e-8f10-1234567890ab";

    #[track_caller]
    fn check(path: &str, want: Option<(Runtime, &str, Option<&str>)>) {
        let uid_with_lines = UID.replace('-', "_");
        let path = path.replace("<id>", ID).replace("<uid_>", &uid_with_lines).replace("<uid>", UID);
        let got = identify(&path);
        let got = got.as_ref().map(|i| (i.runtime, &*i.id, i.pod_uid.as_deref()));
        assert_eq!(got, want, "{path}");
    }

    #[test]
    fn containers() {
        for (path, runtime) in [
            ("/docker/<id>", Runtime::Docker),
            ("/system.slice/docker-<id>.scope", Runtime::Docker),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-<id>.scope", Runtime::Docker),
            ("/docker/<id>/docker/<id>", Runtime::Docker),
            ("/machine.slice/libpod-<id>.scope", Runtime::Podman),
            ("/libpod_parent/libpod-<id>", Runtime::Podman),
            ("/user.slice/user-1.slice/user@1.service/user.slice/libpod-<id>.scope", Runtime::Podman),
            ("/system.slice/web.service/libpod-payload-<id>", Runtime::Podman),
            ("/system.slice/nerdctl-<id>.scope", Runtime::Containerd),
            ("/default/<id>", Runtime::Unknown),
            ("/ecs/0123456789abcdef0123456789abcdef/<id>", Runtime::Unknown),
            ("/<id>", Runtime::Unknown),
            ("/libpod_parent/<id>/libpod-<id>", Runtime::Podman),
            ("/machine.slice/machine-libpod_pod_<id>.slice/libpod-<id>.scope", Runtime::Podman),
            ("/system.slice/runc-<id>.scope", Runtime::Unknown),
        ] {
            check(path, Some((runtime, ID, None)));
        }
    }

    #[test]
    fn containers_of_pods() {
        for (path, runtime) in [
            ("/kubepods/burstable/pod<uid>/<id>", Runtime::Unknown),
            ("/kubepods/pod<uid>/<id>", Runtime::Unknown),
            ("/kubepods/burstable/pod<uid>/kata_<id>", Runtime::Unknown),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope",
                Runtime::Containerd,
            ),
            ("/kubepods.slice/kubepods-pod<uid_>.slice/crio-<id>.scope", Runtime::CriO),
            ("/kubepods.slice/kubepods-pod<uid_>.slice/docker-<id>.scope", Runtime::Docker),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<uid_>.slice/cri-containerd-<id>.scope",
                Runtime::Containerd,
            ),
            ("/kubepods-besteffort-pod<uid_>.slice:cri-containerd:<id>", Runtime::Containerd),
            (
                "/system.slice/containerd.service/kubepods-burstable-pod<uid_>.slice:cri-containerd:<id>",
                Runtime::Containerd,
            ),
        ] {
            check(path, Some((runtime, ID, Some(UID))));
        }
        let of_a_file = "5a1c0d9e8b7f6a5b4c3d2e1f0a9b8c7d";
        let path = format!("/kubepods/burstable/pod{of_a_file}/<id>");
        check(&path, Some((Runtime::Unknown, ID, Some(of_a_file))));
    }

    #[test]
    fn containers_by_name() {
        check("/lxc.payload.web", Some((Runtime::Lxc, "web", None)));
        check("/lxc/web", Some((Runtime::Lxc, "web", None)));
        check("/machine.slice/machine-my\\x2dbox.scope", Some((Runtime::Machine, "my-box", None)));
        check("/machine.slice/systemd-nspawn@box.service", Some((Runtime::Machine, "box", None)));
        let nowhere = "..\\x2f..\\x2fevil";
        check(&format!("/user.slice/machine-{nowhere}.scope"), Some((Runtime::Machine, nowhere, None)));
    }

    #[test]
    fn no_containers() {
        for path in [
            "/",
            "",
            "/system.slice/docker.service",
            "/system.slice/var-lib-docker-<id>.mount",
            "/machine.slice/libpod-conmon-<id>.scope",
            "/kubepods.slice/kubepods-pod<uid_>.slice/crio-conmon-<id>.scope",
            "/machine.slice/libpod-<id>.scope/container",
            "/system.slice/docker-<id>.scope/init.scope",
            "/kubepods/burstable/pod<uid>",
            "/docker/<id>0",
            "/docker/0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
            "/lxc.payload.",
            "/lxc/",
            // Podman's pods and health checks, a helper of Kata's, and whatever has such digits in its name.
            "/libpod_parent/<id>",
            "/libpod_parent/<id>/conmon",
            "/machine.slice/machine-libpod_pod_<id>.slice",
            "/user.slice/user-1.slice/user@1.service/user.slice/user-libpod_pod_<id>.slice",
            "/system.slice/<id>-3f1c9a0b2d4e5f60.service",
            "/system.slice/<id>.service",
            "/system.slice/<id>.timer",
            "/system.slice/docker-<id>.service",
            "/system.slice/system-backup.slice/backup@<id>.service",
            "/system.slice/system-x<id>.slice",
            "/kata_overhead/<id>",
            "/system.slice/backup-<id>",
            "/system.slice/x<id>.scope",
        ] {
            check(path, None);
            assert_eq!(innermost_id(&path.replace("<id>", ID)).is_some(), path.contains(".scope/"), "{path}");
        }
    }

    #[test]
    fn pods() {
        for (path, want) in [
            ("/kubepods/burstable/pod0c5f4b3a-9d21-4a7e-8f10-1234567890ab", Some(UID)),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0c5f4b3a_9d21_4a7e_8f10_1234567890ab.slice",
                Some(UID),
            ),
            ("/kubepods/burstable", None),
            ("/system.slice/podman.service", None),
            ("/podium", None),
        ] {
            assert_eq!(pod_uid(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn memberships() {
        assert_eq!(membership("4:memory:/docker/1"), Some(("memory", "/docker/1")));
        assert_eq!(membership("2:cpu,cpuacct:/"), Some(("cpu,cpuacct", "/")));
        assert_eq!(membership("0::/a:b"), Some(("", "/a:b")));
        assert_eq!((membership("0:"), membership(""), membership("0::x")), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_text_survives(path in "\\PC{0,200}") {
            let _ = (identify(&path), pod_uid(&path), membership(&path), innermost_id(&path));
        }

        #[test]
        fn what_is_found_stands_in_the_path(
            parent in "(/[a-z.]{1,9}){0,3}",
            prefix in "(docker-|libpod-|crio-|cri-containerd-|)",
            id in "[0-9a-f]{60,68}",
            suffix in "(\\.scope|)",
        ) {
            let path = format!("{parent}/{prefix}{id}{suffix}");
            let found = identify(&path);
            prop_assert_eq!(found.is_some(), id.len() == 64);
            prop_assert!(found.is_none_or(|found| found.id == id));
        }
    }
}
