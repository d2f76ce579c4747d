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
    bcache,
    bcachefs,
    bonding,
    btrfs,
    buddyinfo,
    cgroups,
    conntrack,
    cpu,
    cpu_vulnerabilities,
    cpufreq,
    diskstats,
    dmi,
    dmmultipath,
    drbd,
    edac,
    entropy,
    fibrechannel,
    filefd,
    filesystem,
    hwmon,
    infiniband,
    interrupts,
    ipvs,
    kernel_hung,
    ksmd,
    lnstat,
    loadavg,
    logind,
    mdadm,
    meminfo,
    meminfo_numa,
    mountstats,
    netclass,
    netdev,
    netstat,
    network_route,
    nfs,
    nfsd,
    nvme,
    nvmesubsystem,
    os,
    pcidevice,
    powersupplyclass,
    pressure,
    processes,
    qdisc,
    rapl,
    schedstat,
    selinux,
    slabinfo,
    sockstat,
    softirqs,
    softnet,
    stat,
    swap,
    sysctl,
    systemd,
    tapestats,
    tcpstat,
    textfile,
    thermal_zone,
    time,
    timex,
    udp_queues,
    uname,
    vmstat,
    watchdog,
    xfrm,
    xfs,
    zfs,
    zoneinfo,
}

#[cfg(test)]
pub(crate) mod testing;
