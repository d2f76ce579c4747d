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
    bonding,
    buddyinfo,
    cgroups,
    conntrack,
    diskstats,
    filesystem,
    ipvs,
    ksmd,
    lnstat,
    loadavg,
    netclass,
    netdev,
    netstat,
    pcidevice,
    powersupplyclass,
    rapl,
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
    xfrm,
    zoneinfo,
}

#[cfg(test)]
pub(crate) mod testing;
