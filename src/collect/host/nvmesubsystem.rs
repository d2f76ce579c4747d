//! NVMe subsystems and the controllers that lead to them. Source: kernel `drivers/nvme/host/sysfs.c`,
//! `/sys/class/nvme-subsystem`, `Documentation/admin-guide/nvme-multipath.rst`.

use crate::collect::directory::number_after;
use crate::collect::{CollectError, Collector, Pass, Spec, Tree, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "nvmesubsystem",
    on_by_default: false,
    help: "NVMe subsystems and the state of each path to them, from /sys/class/nvme-subsystem.",
    flags: &[],
    build: |host, _| {
        let class = Tree::new(host.paths.sys("class/nvme-subsystem"), host.descriptors.clone());
        Ok(Box::new(NvmeSubsystem { class }))
    },
};

struct NvmeSubsystem {
    class: Tree,
}

/// States of a controller (kernel `nvme_sysfs_show_state`).
const STATES: [&str; 7] =
    ["connecting", "dead", "deleting", "deleting (no IO)", "live", "new", "resetting"];

impl Collector for NvmeSubsystem {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.class.begin_pass();
        for subsystem in self.class.names_or_no_data(&[], |name| number_after(name, "nvme-subsys").is_some())? {
            self.subsystem(&subsystem, out)?;
        }
        Ok(())
    }
}

impl NvmeSubsystem {
    fn subsystem(&mut self, subsystem: &str, out: &mut Batch) -> Result<(), CollectError> {
        let nqn = valid_utf8(self.class.required(&[subsystem, "subsysnqn"])?).into_owned();
        let model = self.optional(&[subsystem, "model"]);
        let serial = self.optional(&[subsystem, "serial"]);
        let policy = self.optional(&[subsystem, "iopolicy"]);
        let labels = [
            ("subsystem", subsystem),
            ("nqn", &*nqn),
            ("model", &*model),
            ("serial", &*serial),
            ("iopolicy", &*policy),
        ];
        out.gauge("node_nvmesubsystem_info", "Facts about an NVMe subsystem; always 1.", &labels, 1.0);
        let controllers = self.class.names_if_any(&[subsystem], |name| number_after(name, "nvme").is_some())?;
        let mut live = 0;
        for controller in &controllers {
            let state = self.optional(&[subsystem, controller, "state"]);
            let transport = self.optional(&[subsystem, controller, "transport"]);
            live += u64::from(state == "live");
            let known = STATES.iter().copied().filter(|s| *s != state);
            for other in known.chain([&*state]) {
                let labels = [
                    ("subsystem", subsystem),
                    ("controller", &**controller),
                    ("transport", &*transport),
                    ("state", other),
                ];
                let help = "State of a path to an NVMe subsystem: 1 for the one it is in.";
                out.gauge("node_nvmesubsystem_path_state", help, &labels, f64::from(u8::from(other == state)));
            }
        }
        let labels = [("subsystem", subsystem)];
        let paths = parse::value(controllers.len() as u64);
        out.gauge("node_nvmesubsystem_paths", "Paths to an NVMe subsystem.", &labels, paths);
        let help = "Paths to an NVMe subsystem that are live.";
        out.gauge("node_nvmesubsystem_paths_live", help, &labels, parse::value(live));
        Ok(())
    }

    /// An attribute's text, or "" where this kernel or transport does not have it.
    fn optional(&mut self, below: &[&str]) -> String {
        self.class.attribute(below).map_or_else(|_| String::new(), |text| valid_utf8(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let text = Fixture::new()
            .files(&[
                ("sys/class/nvme-subsystem/nvme-subsys0/subsysnqn", "nqn.2014.org:a\n"),
                ("sys/class/nvme-subsystem/nvme-subsys0/model", "M\n"),
                ("sys/class/nvme-subsystem/nvme-subsys0/serial", "S\n"),
                ("sys/class/nvme-subsystem/nvme-subsys0/iopolicy", "round-robin\n"),
                ("sys/class/nvme-subsystem/nvme-subsys0/nvme0/state", "live\n"),
                ("sys/class/nvme-subsystem/nvme-subsys0/nvme0/transport", "fc\n"),
                ("sys/class/nvme-subsystem/nvme-subsys0/nvme1/state", "connecting\n"),
                ("sys/class/nvme-subsystem/nvme-subsys0/nvme0n1/size", "1\n"),
            ])
            .samples("nvmesubsystem");
        for want in [
            r#"node_nvmesubsystem_info{iopolicy="round-robin",model="M",nqn="nqn.2014.org:a",serial="S",subsystem="nvme-subsys0"} 1"#,
            r#"node_nvmesubsystem_path_state{controller="nvme0",state="live",subsystem="nvme-subsys0",transport="fc"} 1"#,
            r#"node_nvmesubsystem_path_state{controller="nvme0",state="dead",subsystem="nvme-subsys0",transport="fc"} 0"#,
            r#"node_nvmesubsystem_path_state{controller="nvme1",state="connecting",subsystem="nvme-subsys0",transport=""} 1"#,
            r#"node_nvmesubsystem_paths{subsystem="nvme-subsys0"} 2"#,
            r#"node_nvmesubsystem_paths_live{subsystem="nvme-subsys0"} 1"#,
        ] {
            assert!(text.contains(&format!("{want}\n")), "{want}\n{text}");
        }
        assert_eq!(text.lines().count(), 1 + 2 * 7 + 2);
        assert!(Fixture::new().error("nvmesubsystem").contains("no data"));
    }
}
