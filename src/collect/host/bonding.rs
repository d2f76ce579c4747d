//! Bonded interfaces. Source: kernel `Documentation/networking/bonding.rst`, sysfs.

use std::io;

use crate::collect::{CollectError, Collector, Pass, Spec, Tree, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "bonding",
    on_by_default: true,
    help: "Configured and active members of bonded interfaces.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Bonding { tree: Tree::new(host.paths.sys("class/net"), host.descriptors.clone()) }))
    },
};

struct Bonding {
    tree: Tree,
}

impl Collector for Bonding {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.tree.begin_pass();
        let configured = out.family("node_bonding_slaves", "Members of a bonded interface.", Kind::Gauge);
        let active = out.family("node_bonding_active", "Members of a bonded interface whose link is up.", Kind::Gauge);
        for master in self.words(&["bonding_masters"])? {
            let (mut members, mut up) = (0_u32, 0_u32);
            for member in self.words(&[&master, "bonding", "slaves"])? {
                members += 1;
                up += u32::from(self.is_up(&master, &member)?);
            }
            out.sample(configured, &[("master", &master)], f64::from(members));
            out.sample(active, &[("master", &master)], f64::from(up));
        }
        Ok(())
    }
}

impl Bonding {
    fn words(&mut self, below: &[&str]) -> Result<Vec<String>, CollectError> {
        match self.tree.text(below) {
            Ok(text) => Ok(parse::fields(text).map(|word| valid_utf8(word).into_owned()).collect()),
            Err(e) => Err(CollectError::reading(self.tree.path(below), e)),
        }
    }

    /// The link to a member is `lower_NAME`, and `slave_NAME` on older kernels.
    fn is_up(&mut self, master: &str, member: &str) -> Result<bool, CollectError> {
        for prefix in ["lower_", "slave_"] {
            let link = format!("{prefix}{member}");
            let below = [master, &link, "bonding_slave", "mii_status"];
            match self.tree.attribute(&below) {
                Ok(status) => return Ok(status == b"up"),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(CollectError::reading(self.tree.path(&below), e)),
            }
        }
        Err(CollectError::NoData(format!("{master}: the member {member} has no status")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden_of_both_generations_of_links() {
        Fixture::new()
            .files(&[
                ("sys/class/net/bonding_masters", "bond0 dmz int\n"),
                ("sys/class/net/bond0/bonding/slaves", "\n"),
                ("sys/class/net/dmz/bonding/slaves", "eth0 eth4\n"),
                ("sys/class/net/dmz/lower_eth0/bonding_slave/mii_status", "up\n"),
                ("sys/class/net/dmz/lower_eth4/bonding_slave/mii_status", "up\n"),
                ("sys/class/net/int/bonding/slaves", "eth5 eth1\n"),
                ("sys/class/net/int/slave_eth5/bonding_slave/mii_status", "going down\n"),
                ("sys/class/net/int/slave_eth1/bonding_slave/mii_status", "up\n"),
            ])
            .expect(
                "bonding",
                r#"node_bonding_active{master="bond0"} 0
                node_bonding_active{master="dmz"} 2
                node_bonding_active{master="int"} 1
                node_bonding_slaves{master="bond0"} 0
                node_bonding_slaves{master="dmz"} 2
                node_bonding_slaves{master="int"} 2"#,
            );
    }

    #[test]
    fn without_bonding_or_with_a_part_missing_there_is_no_data() {
        assert!(Fixture::new().error("bonding").contains("no data"));
        let fixture = Fixture::new().file("sys/class/net/bonding_masters", "b\n");
        assert!(fixture.error("bonding").contains("no data"));
        assert!(fixture.file("sys/class/net/b/bonding/slaves", "e").error("bonding").contains("no status"));
    }
}
