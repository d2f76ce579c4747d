"""A large machine's /proc and /sys in a folder: what this machine has, with many CPUs, disks and interfaces.

The small files are copies of this machine's; the large ones are made up in the shapes that the kernel's
documentation gives (Documentation/filesystems/proc.rst, admin-guide/iostats.rst, admin-guide/pm/cpufreq.rst).
"""

import os

CPUS = 256
# The others are there and offline. No holes below: for those node_exporter 1.5 exposes CPUs that do not exist, and
# would be charged for its mistake.
ONLINE = range(64)
DISKS = 10
INTERFACES = 12

COPIED = """
loadavg meminfo vmstat uptime mounts filesystems swaps cpuinfo
sys/fs/file-nr sys/kernel/random/entropy_avail sys/kernel/random/poolsize sys/kernel/hostname sys/kernel/osrelease
sys/net/netfilter/nf_conntrack_count sys/net/netfilter/nf_conntrack_max
net/arp net/netstat net/snmp net/snmp6 net/sockstat net/sockstat6 net/udp net/udp6
pressure/cpu pressure/memory pressure/io pressure/irq 1/mounts 1/mountinfo self/mounts self/mountinfo
""".split()


def put(root, path, text):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8") as f:
        f.write(text)


def build(root):
    """Fills root/proc and root/sys; returns the flags that make an exporter read them."""
    for path in COPIED:
        try:
            with open(f"/proc/{path}", encoding="utf-8") as f:
                put(root, f"proc/{path}", f.read())
        except OSError:
            pass
    cpus(root)
    disks(root)
    interfaces(root)
    return [f"--path.procfs={root}/proc", f"--path.sysfs={root}/sys", f"--path.udev.data={root}/udev",
            "--no-collector.netdev.netlink"]


def cpus(root):
    ticks = "".join(f"cpu{n} {1000 + n} 20 {3000 + n} 900000 40 5 6 7 8 9\n" for n in ONLINE)
    put(root, "proc/stat", f"cpu  256000 5120 768000 230400000 10240 1280 1536 1792 2048 2304\n{ticks}"
        "intr 987654321 1 2 3\nctxt 123456789\nbtime 1700000000\nprocesses 4242\nprocs_running 3\nprocs_blocked 0\n"
        "softirq 300 10 20 30 40 50 60 70 80 90 100\n")
    put(root, "proc/schedstat", "version 15\ntimestamp 4300000000\n" + "".join(
        f"cpu{n} 0 0 0 0 0 0 {10**9 + n} {10**8 + n} {10**6 + n}\n" for n in ONLINE))
    put(root, "proc/net/softnet_stat", "".join(
        f"{n + 4096:08x} 00000000 {n:08x} 00000000 00000000 00000000 00000000 00000000 00000000 00000000 "
        f"00000000 00000000 {n:08x} 00000000 00000000\n" for n in ONLINE))
    put(root, "sys/devices/system/cpu/online", f"0-{ONLINE[-1]}\n")
    put(root, "sys/devices/system/cpu/isolated", "\n")
    for n in range(CPUS):
        base = f"sys/devices/system/cpu/cpu{n}"
        put(root, f"{base}/online", f"{int(n in ONLINE)}\n")
        if n not in ONLINE:
            continue
        put(root, f"{base}/topology/core_id", f"{n // 2}\n")
        put(root, f"{base}/topology/physical_package_id", f"{n // 32}\n")
        put(root, f"{base}/thermal_throttle/core_throttle_count", f"{n}\n")
        put(root, f"{base}/thermal_throttle/package_throttle_count", f"{n // 32}\n")
        for name, value in {"cpuinfo_cur_freq": 2400000 + n, "cpuinfo_min_freq": 800000, "cpuinfo_max_freq": 3900000,
                            "scaling_cur_freq": 2400000 + n, "scaling_min_freq": 800000, "scaling_max_freq": 3900000,
                            "scaling_governor": "schedutil", "scaling_available_governors": "performance schedutil",
                            "scaling_driver": "acpi-cpufreq", "scaling_setspeed": "<unsupported>",
                            "cpuinfo_transition_latency": 10000, "related_cpus": n}.items():
            put(root, f"{base}/cpufreq/{name}", f"{value}\n")


def disks(root):
    rows = []
    for n in range(DISKS):
        rows.append(f"{259:4} {n:7} nvme{n}n1 {1000 + n} 5 80000 300 2000 7 160000 900 0 1200 1300 1 0 8 2 10 20\n")
        base = f"sys/block/nvme{n}n1"
        for name, value in {"queue/rotational": 0, "queue/logical_block_size": 512, "device/model": "A large disk",
                            "device/wwid": f"eui.{n:016x}", "size": 1 << 31}.items():
            put(root, f"{base}/{name}", f"{value}\n")
    put(root, "proc/diskstats", "".join(rows))


def interfaces(root):
    head = ("Inter-|   Receive                                                |  Transmit\n"
            " face |bytes    packets errs drop fifo frame compressed multicast|"
            "bytes    packets errs drop fifo colls carrier compressed\n")
    put(root, "proc/net/dev", head + "".join(
        f"{'eth' + str(n):>6}: {10**9 + n} {10**6 + n} 0 {n} 0 0 0 12 {10**8 + n} {10**5 + n} 0 0 0 0 0 0\n"
        for n in range(INTERFACES)))
    for n in range(INTERFACES):
        base = f"sys/class/net/eth{n}"
        for name, value in {"addr_assign_type": 0, "address": f"02:00:00:00:00:{n:02x}", "addr_len": 6, "carrier": 1,
                            "broadcast": "ff:ff:ff:ff:ff:ff", "carrier_changes": 2, "carrier_up_count": 1,
                            "carrier_down_count": 1, "dev_id": "0x0", "dormant": 0, "duplex": "full",
                            "flags": "0x1003", "ifalias": "", "ifindex": n + 2, "iflink": n + 2, "link_mode": 0,
                            "mtu": 9000, "name_assign_type": 4, "netdev_group": 0, "operstate": "up", "speed": 100000,
                            "tx_queue_len": 1000, "type": 1}.items():
            put(root, f"{base}/{name}", f"{value}\n")
