//! The kernel's names. Source: `uname(2)`.

use crate::collect::{CollectError, Collector, Pass, Spec};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "uname",
    on_by_default: true,
    help: "Kernel name, release and version, host and domain name.",
    flags: &[],
    build: |_, _| Ok(Box::new(Uname)),
};

struct Uname;

impl Collector for Uname {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let names = rustix::system::uname();
        let labels = [
            ("sysname", names.sysname()),
            ("release", names.release()),
            ("version", names.version()),
            ("machine", names.machine()),
            ("nodename", names.nodename()),
            ("domainname", names.domainname()),
        ]
        .map(|(label, value)| (label, valid_utf8(value.to_bytes())));
        let labels = labels.each_ref().map(|(label, value)| (*label, &**value));
        out.gauge("node_uname_info", "What uname(2) tells of this machine.", &labels, 1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn tells_this_machine() {
        let text = Fixture::new().samples("uname");
        let sysname = "sysname=\"Linux\"";
        assert!(text.starts_with("node_uname_info{domainname=") && text.contains(sysname), "{text}");
    }
}
