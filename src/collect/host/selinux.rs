//! SELinux state. Source: selinuxfs (`/sys/fs/selinux`), `/etc/selinux/config`, `/proc/self/attr/current`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "selinux",
    on_by_default: true,
    help: "Whether SELinux is enabled, its configured and its current mode.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Selinux {
            enforce: host.paths.sys("fs/selinux/enforce"),
            label: host.paths.proc("self/attr/current"),
            config: host.paths.root("etc/selinux/config"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Selinux {
    enforce: PathBuf,
    label: PathBuf,
    config: PathBuf,
    files: Files,
}

const DISABLED: f64 = -1.0;

impl Collector for Selinux {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let current = self.files.read_once(&self.enforce).ok().map(|text| parse::number(text.trim_ascii()));
        // A policy is loaded once processes have a label other than the kernel's own.
        let enabled = current.is_some() && self.has_label();
        let help = "Whether SELinux is enabled.";
        out.gauge("node_selinux_enabled", help, &[], f64::from(u8::from(enabled)));
        if enabled {
            let help = "Configured mode: 1 enforcing, 0 permissive, -1 disabled.";
            out.gauge("node_selinux_config_mode", help, &[], self.configured_mode());
            let help = "Current mode: 1 enforcing, 0 permissive, -1 unknown.";
            out.gauge("node_selinux_current_mode", help, &[], current.flatten().unwrap_or(DISABLED));
        }
        Ok(())
    }
}

impl Selinux {
    fn has_label(&mut self) -> bool {
        let label = self.files.read_once(&self.label).unwrap_or_default();
        let label = label.split(|b| *b == 0).next().unwrap_or_default().trim_ascii();
        !label.is_empty() && label != b"kernel"
    }

    fn configured_mode(&mut self) -> f64 {
        let Ok(text) = self.files.read_once(&self.config) else { return DISABLED };
        let mode = parse::lines(text)
            .filter_map(|line| parse::split_once(line.trim_ascii(), b'='))
            .find(|(key, _)| key.trim_ascii() == b"SELINUX")
            .map(|(_, mode)| mode.trim_ascii());
        match mode {
            Some(b"enforcing") => 1.0,
            Some(b"permissive") => 0.0,
            _ => DISABLED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn without_selinuxfs_it_is_disabled() {
        Fixture::new().expect("selinux", "node_selinux_enabled 0");
    }

    #[test]
    fn enabled_with_both_modes() {
        Fixture::new()
            .files(&[
                ("sys/fs/selinux/enforce", "0"),
                ("proc/self/attr/current", "system_u:system_r:init_t:s0\0"),
                ("root/etc/selinux/config", "# comment\nSELINUX=enforcing\nSELINUXTYPE=targeted\n"),
            ])
            .expect(
                "selinux",
                "node_selinux_config_mode 1\nnode_selinux_current_mode 0\nnode_selinux_enabled 1",
            );
    }

    #[test]
    fn no_policy_loaded_yet() {
        Fixture::new()
            .files(&[("sys/fs/selinux/enforce", "0"), ("proc/self/attr/current", "kernel\0")])
            .expect("selinux", "node_selinux_enabled 0");
    }
}
