//! The host: one file a collector, under node_exporter's names, labels, types and units.

use super::Spec;

/// Declares the modules and the table of their specs; keep the list sorted by name.
macro_rules! collectors {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        pub(super) static SPECS: &[&Spec] = &[$(&$name::SPEC),*];
    };
}

collectors! {
    arp,
    buddyinfo,
    cgroups,
    conntrack,
    diskstats,
    filesystem,
    ksmd,
    loadavg,
    netclass,
    netdev,
    netstat,
    pcidevice,
    powersupplyclass,
    selinux,
    slabinfo,
    sockstat,
    softnet,
    stat,
    swap,
    sysctl,
    textfile,
    thermal_zone,
    udp_queues,
    watchdog,
    zoneinfo,
}

#[cfg(test)]
pub(crate) mod testing;
