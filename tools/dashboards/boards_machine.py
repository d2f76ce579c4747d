"""Machines and what runs on them: hosts, containers, GPUs, processes, capacity."""

from kit import Board, Limit, Variable, bars, graph, number, rows, timeline

FS = 'fstype!~"tmpfs|ramfs|devtmpfs|squashfs|erofs|cramfs|iso9660|udf|overlay|fuse.lxcfs|fuse.snapfuse"'
BUSY = '1 - avg by (instance) (sum without (mode) (rate(node_cpu_seconds_total{mode=~"idle|iowait", <sel>}[$__rate_interval])))'
NET = 'device!~"lo|veth.*|docker.*|br-.*", <sel>'
DISK = 'device!~"(loop|ram).*", <sel>'
UP_DOWN = [(1, "yes", "#009E73"), (0, "no", "#D55E00")]

HOST = Board(
    "outrigger-host", "Host", "One machine or many: utilisation, saturation and errors first, then each resource in detail.",
    "node_uname_info", alerts="Host.*", variables=[Variable("device", "device", "node_disk_io_time_seconds_total{<sel>}", "Disk")], rows=[
    ("Utilisation, saturation, errors", [
        number("CPU busy", "Share of CPU time that is neither idle nor waiting for a disk. High for long: find the process on the Processes board.", BUSY, "percentunit", "HostCpuHigh"),
        number("Memory in use", "Memory that cannot be freed at once. High: look for the largest process before the kernel does.",
               "1 - node_memory_MemAvailable_bytes{<sel>} / node_memory_MemTotal_bytes{<sel>}", "percentunit", "HostMemoryHigh"),
        number("Load per CPU", "15-minute load over the number of CPUs. Above 1, work queues; with idle CPUs it is the disk that is waited for.",
               'node_load15{<sel>} / count without (cpu, mode) (node_cpu_seconds_total{mode="idle", <sel>})', "short", "HostLoadHigh", decimals=2),
        number("Fullest file system", "Used share of the fullest file system. Make room, or make it larger, before it is full.",
               f"max by (instance) (1 - node_filesystem_avail_bytes{{{FS}, <sel>}} / (node_filesystem_size_bytes - node_filesystem_free_bytes + node_filesystem_avail_bytes))", "percentunit", "HostDiskUsageHigh", Limit("HostDiskAlmostFull", inverted=True)),
        number("Memory stalls", "Time in which every task waited for memory. Anything above a few percent is felt: free memory or move work.",
               "rate(node_pressure_memory_stalled_seconds_total{<sel>}[$__rate_interval])", "percentunit", "HostMemoryPressure"),
        number("OOM kills, 1 h", "Processes killed for lack of memory. More than 0: see who was killed in the kernel's log, and give it a limit or more memory.",
               "increase(node_vmstat_oom_kill{<sel>}[1h])", "short", "HostOomKill", decimals=0),
    ]),
    ("CPU", [
        graph("CPU time by mode", "Where CPU time goes. Much iowait: look at the disks; much steal: the hypervisor is short of CPU; much softirq: the network.",
              [('sum by (mode) (rate(node_cpu_seconds_total{mode!="idle", <sel>}[$__rate_interval]))', "{{mode}}")], "short", stacked=True, low=0),
        graph("CPU busy by instance", "Compare machines: one that stands out has work that the others do not.", [(BUSY, "{{instance}}")], "percentunit", "HostCpuHigh", low=0, high=1),
        graph("Load", "Runnable and uninterruptible tasks over 1, 5 and 15 minutes. Rising together: the machine is not keeping up.",
              [("node_load1{<sel>}", "1 min {{instance}}"), ("node_load5{<sel>}", "5 min {{instance}}"), ("node_load15{<sel>}", "15 min {{instance}}")], "short", alerts=["HostLoadHigh"], low=0),
        graph("CPU pressure", "Share of time in which some task had no CPU. Above the line: spread the work or add CPUs.",
              [("rate(node_pressure_cpu_waiting_seconds_total{<sel>}[$__rate_interval])", "{{instance}}")], "percentunit", "HostCpuPressure", low=0, high=1),
        graph("Context switches and forks", "Very many switches: too many threads for the CPUs. Very many forks: something starts processes in a loop.",
              [("rate(node_context_switches_total{<sel>}[$__rate_interval])", "switches {{instance}}"), ("rate(node_forks_total{<sel>}[$__rate_interval])", "forks {{instance}}")], "ops", low=0),
        graph("Run queue", "Tasks that can run, and tasks blocked in the kernel. Many blocked ones: a disk or a network file system hangs.",
              [("node_procs_running{<sel>}", "running {{instance}}"), ("node_procs_blocked{<sel>}", "blocked {{instance}}")], "short", low=0),
    ]),
    ("Memory", [
        graph("Memory", "What memory is used for. Available is what a new program can get.",
              [("node_memory_MemTotal_bytes{<sel>} - node_memory_MemAvailable_bytes{<sel>}", "in use {{instance}}"), ("node_memory_MemAvailable_bytes{<sel>}", "available {{instance}}")], "bytes", alerts=["HostMemoryHigh"], stacked=True, low=0),
        graph("Cache, buffers and slab", "Memory that the kernel gives back when it is asked for. Falling while nothing else grows: look for a leak in the kernel.",
              [("node_memory_Cached_bytes{<sel>}", "cached {{instance}}"), ("node_memory_Buffers_bytes{<sel>}", "buffers {{instance}}"), ("node_memory_Slab_bytes{<sel>}", "slab {{instance}}"), ("node_memory_Dirty_bytes{<sel>}", "dirty {{instance}}")], "bytes", low=0),
        graph("Memory pressure", "Time in which some, or all, tasks waited for memory. Above the line the machine crawls: free memory now.",
              [("rate(node_pressure_memory_stalled_seconds_total{<sel>}[$__rate_interval])", "all {{instance}}"), ("rate(node_pressure_memory_waiting_seconds_total{<sel>}[$__rate_interval])", "some {{instance}}")], "percentunit", "HostMemoryPressure", low=0),
        graph("Page faults and swapping", "Major faults and swapped pages are waits for a disk. Steady ones: working sets do not fit into memory.",
              [("rate(node_vmstat_pgmajfault{<sel>}[$__rate_interval])", "major faults {{instance}}"), ("rate(node_vmstat_pswpin{<sel>}[$__rate_interval])", "swapped in {{instance}}"), ("rate(node_vmstat_pswpout{<sel>}[$__rate_interval])", "swapped out {{instance}}")], "ops", low=0),
        graph("Swap used", "Used share of swap. High and still swapping: add memory; high and quiet: harmless.",
              [("1 - node_memory_SwapFree_bytes{<sel>} / (node_memory_SwapTotal_bytes{<sel>} > 0)", "{{instance}}")], "percentunit", Limit("HostSwapHigh", nth=1), low=0, high=1),
        graph("OOM kills", "Processes killed for lack of memory within 10 minutes.",
              [("increase(node_vmstat_oom_kill{<sel>}[10m])", "{{instance}}")], "short", "HostOomKill", low=0),
    ]),
    ("Storage", [
        bars("File systems", "Used share of each. Yellow: plan; red: make room now.",
             [(f"1 - node_filesystem_avail_bytes{{{FS}, <sel>}} / (node_filesystem_size_bytes - node_filesystem_free_bytes + node_filesystem_avail_bytes)", "{{instance}} {{mountpoint}}")], "percentunit", "HostDiskUsageHigh", Limit("HostDiskAlmostFull", inverted=True), low=0, high=1),
        graph("Space available in 24 hours", "At the pace of 6 hours. Below 0 the file system is full within a day: find what grows.",
              [(f"predict_linear(node_filesystem_avail_bytes{{{FS}, <sel>}}[6h], 24 * 3600)", "{{instance}} {{mountpoint}}")], "bytes", Limit("HostDiskFillsWithin24h")),
        graph("Inodes free", "Share of inodes left. Low with space to spare: very many small files; find and remove them.",
              [(f"node_filesystem_files_free{{{FS}, <sel>}} / node_filesystem_files", "{{instance}} {{mountpoint}}")], "percentunit", "HostInodesLow", low=0, high=1),
        graph("Disk busy", "Share of time with a request in flight. Near 1 with growing latency: the disk is saturated.",
              [('rate(node_disk_io_time_seconds_total{device=~"$device", <sel>}[$__rate_interval])', "{{instance}} {{device}}")], "percentunit", low=0),
        graph("Disk latency", "Mean time of a request. Solid state: below a few ms; more means queues or a failing disk.",
              [('rate(node_disk_read_time_seconds_total{device=~"$device", <sel>}[$__rate_interval]) / (rate(node_disk_reads_completed_total{device=~"$device", <sel>}[$__rate_interval]) > 0)', "read {{instance}} {{device}}"),
               ('rate(node_disk_write_time_seconds_total{device=~"$device", <sel>}[$__rate_interval]) / (rate(node_disk_writes_completed_total{device=~"$device", <sel>}[$__rate_interval]) > 0)', "write {{instance}} {{device}}")], "s", low=0),
        graph("Disk throughput", "Bytes read and written. Compare with what the disk can do before blaming it.",
              [('rate(node_disk_read_bytes_total{device=~"$device", <sel>}[$__rate_interval])', "read {{instance}} {{device}}"), ('rate(node_disk_written_bytes_total{device=~"$device", <sel>}[$__rate_interval])', "write {{instance}} {{device}}")], "Bps", low=0),
        graph("I/O pressure", "Share of time in which every task waited for storage. Above the line: find who reads or writes.",
              [("rate(node_pressure_io_stalled_seconds_total{<sel>}[$__rate_interval])", "all {{instance}}"), ("rate(node_pressure_io_waiting_seconds_total{<sel>}[$__rate_interval])", "some {{instance}}")], "percentunit", "HostIoPressure", low=0),
        graph("Read-only file systems and RAID", "Not 0: a file system has become read-only, or an array lacks disks. Read the kernel's log before anything else.",
              [(f"sum by (instance, mountpoint) (node_filesystem_readonly{{{FS}, <sel>}})", "read-only {{instance}} {{mountpoint}}"), ('node_md_disks_required{<sel>} - ignoring (state) node_md_disks{state="active", <sel>}', "missing disks {{instance}} {{device}}")], "short", alerts=["HostFilesystemReadOnly", "HostRaidDegraded"], low=0),
    ]),
    ("Network", [
        graph("Traffic", "Bytes in and out. Compare with the speed of the link.",
              [(f"rate(node_network_receive_bytes_total{{{NET}}}[$__rate_interval]) * 8", "in {{instance}} {{device}}"), (f"rate(node_network_transmit_bytes_total{{{NET}}}[$__rate_interval]) * 8", "out {{instance}} {{device}}")], "bps", low=0),
        graph("Errors and drops", "Share of packets with errors, and drops. Errors: cable, transceiver or driver; drops: the machine is too slow to take packets.",
              [(f"(rate(node_network_receive_errs_total{{{NET}}}[$__rate_interval]) + rate(node_network_transmit_errs_total{{{NET}}}[$__rate_interval])) / (rate(node_network_receive_packets_total{{{NET}}}[$__rate_interval]) + rate(node_network_transmit_packets_total{{{NET}}}[$__rate_interval]) > 0)", "errors {{instance}} {{device}}"),
               (f"rate(node_network_receive_drop_total{{{NET}}}[$__rate_interval]) / (rate(node_network_receive_packets_total{{{NET}}}[$__rate_interval]) > 0)", "drops {{instance}} {{device}}")], "percentunit", "HostNetworkErrors", low=0),
        graph("TCP", "Connections and segments sent again. Many retransmissions: a bad path or a full queue on it.",
              [("node_netstat_Tcp_CurrEstab{<sel>}", "established {{instance}}"), ("rate(node_netstat_Tcp_RetransSegs{<sel>}[$__rate_interval])", "retransmitted a second {{instance}}"), ("rate(node_netstat_TcpExt_ListenOverflows{<sel>}[$__rate_interval])", "listen overflows a second {{instance}}")], "short", low=0),
        graph("Connection tracking", "Used share of the table. Full, new connections are dropped: raise nf_conntrack_max.",
              [("node_nf_conntrack_entries{<sel>} / node_nf_conntrack_entries_limit{<sel>}", "{{instance}}")], "percentunit", "HostConntrackLow", low=0, high=1),
    ]),
    ("Kernel", [
        graph("File descriptors", "Used share of all that the machine may open. High: find who leaks them.",
              [("node_filefd_allocated{<sel>} / node_filefd_maximum{<sel>}", "{{instance}}")], "percentunit", "HostFileDescriptorsLow", low=0, height=7, width=8),
        graph("Clock offset", "How far the clock is from its source. Above the line: look at chrony or ntpd; certificates and traces go wrong.",
              [("abs(node_timex_offset_seconds{<sel>})", "{{instance}}")], "s", "HostClockSkew", alerts=["HostClockNotSynchronised"], low=0, height=7, width=8),
        graph("Uptime", "A step down is a reboot. Unexpected: read the log of the boot before.",
              [("node_time_seconds{<sel>} - node_boot_time_seconds{<sel>}", "{{instance}}")], "s", alerts=["HostRebooted"], low=0, height=7, width=8),
    ]),
])

NAME = 'name=~"$name", <sel>'
CONTAINERS = Board(
    "outrigger-containers", "Containers", "Every container: is it there, is it short of CPU or memory, does it restart. Metrics by cAdvisor's names.",
    "container_last_seen", alerts="Container.*", variables=[Variable("name", "name", 'container_last_seen{name!="", <sel>}', "Container")], rows=[
    ("Overview", [
        number("Containers", "How many are seen now. Fewer than you started: see which is gone.", 'count(container_last_seen{name!="", <sel>})', "short", alerts=["ContainerDown"], width=6),
        number("Restarts, 1 h", "Starts beyond the first within an hour. Not 0: read the container's log from before its end.",
               'sum(changes(container_start_time_seconds{name!="", <sel>}[1h]))', "short", "ContainerRestarting", width=6, decimals=0),
        number("Nearest to its memory limit", "Working set of the container that is nearest to its limit. High: raise the limit or find the leak.",
               'max(container_memory_working_set_bytes{name!="", <sel>} / (container_spec_memory_limit_bytes{name!="", <sel>} > 0))', "percentunit", Limit("ContainerMemoryNearLimit", nth=1), width=6),
        number("OOM kills, 1 h", "Processes killed because their container was out of memory.", 'sum(increase(container_oom_events_total{name!="", <sel>}[1h]))', "short", "ContainerOomKilled", width=6, decimals=0),
    ]),
    ("CPU", [
        graph("CPU", "CPUs used by each container.", [(f"sum by (instance, name) (rate(container_cpu_usage_seconds_total{{{NAME}}}[$__rate_interval]))", "{{name}}")], "short", low=0),
        graph("Throttled periods", "Share of the scheduler's periods in which the quota was used up. Above the line: raise the CPU limit.",
              [(f"rate(container_cpu_cfs_throttled_periods_total{{{NAME}}}[$__rate_interval]) / (rate(container_cpu_cfs_periods_total{{{NAME}}}[$__rate_interval]) > 0)", "{{name}}")], "percentunit", "ContainerThrottled", low=0, high=1),
        graph("CPU pressure", "Share of time in which some task of the container had no CPU.", [(f"rate(container_pressure_cpu_waiting_seconds_total{{{NAME}}}[$__rate_interval])", "{{name}}")], "percentunit", low=0),
        graph("Processes and threads", "Growing without end: something is not reaped. Set a limit of processes.", [(f"container_processes{{{NAME}}}", "processes {{name}}"), (f"container_threads{{{NAME}}}", "threads {{name}}")], "short", low=0),
    ]),
    ("Memory", [
        graph("Working set", "Memory that cannot simply be dropped: what counts against the limit.", [(f"container_memory_working_set_bytes{{{NAME}}}", "{{name}}")], "bytes", low=0),
        graph("Share of the limit", "Of containers that have a limit. At 1 the kernel kills.", [(f"container_memory_working_set_bytes{{{NAME}}} / (container_spec_memory_limit_bytes{{{NAME}}} > 0)", "{{name}}")], "percentunit", Limit("ContainerMemoryNearLimit", nth=1), low=0, high=1),
        graph("Resident, cache and swap", "What the memory is. Growing resident memory is a leak, growing cache is not.", [(f"container_memory_rss{{{NAME}}}", "resident {{name}}"), (f"container_memory_cache{{{NAME}}}", "cache {{name}}"), (f"container_memory_swap{{{NAME}}}", "swap {{name}}")], "bytes", low=0),
        graph("Memory events", "Times the limit was reached, and kills. Not 0: the limit is too low or there is a leak.", [(f"increase(container_memory_failcnt{{{NAME}}}[10m])", "limit reached {{name}}"), (f"increase(container_oom_events_total{{{NAME}}}[10m])", "killed {{name}}")], "short", "ContainerOomKilled", low=0),
    ]),
    ("Storage and network", [
        graph("Reads and writes", "Bytes to and from block devices.", [(f"sum by (instance, name) (rate(container_fs_reads_bytes_total{{{NAME}}}[$__rate_interval]))", "read {{name}}"), (f"sum by (instance, name) (rate(container_fs_writes_bytes_total{{{NAME}}}[$__rate_interval]))", "write {{name}}")], "Bps", low=0),
        graph("Network", "Bytes in and out. None for containers on the host's network.", [(f"sum by (instance, name) (rate(container_network_receive_bytes_total{{{NAME}}}[$__rate_interval])) * 8", "in {{name}}"), (f"sum by (instance, name) (rate(container_network_transmit_bytes_total{{{NAME}}}[$__rate_interval])) * 8", "out {{name}}")], "bps", low=0),
        graph("Age", "A step down is a restart.", [(f"time() - container_start_time_seconds{{{NAME}}}", "{{name}}")], "s", alerts=["ContainerRestarting"], low=0),
        graph("Last seen", "How long ago a container was seen. Above the line it is gone.", [(f"time() - container_last_seen{{{NAME}}}", "{{name}}")], "s", "ContainerDown", low=0),
    ]),
])

GPU_SEL = 'gpu=~"$gpu", <sel>'
GPU = Board(
    "outrigger-gpu", "GPU", "NVIDIA GPUs: are they busy, hot, short of memory, held back, or broken. Metrics by dcgm-exporter's names.",
    "DCGM_FI_DEV_GPU_TEMP", alerts="Gpu.*", variables=[Variable("gpu", "gpu", "DCGM_FI_DEV_GPU_TEMP{<sel>}", "GPU")], rows=[
    ("Overview", [
        number("GPUs", "How many answer. Fewer than the machine has: one is lost; see the kernel's log for its XID.", "count(DCGM_FI_DEV_GPU_TEMP{<sel>})", "short", alerts=["GpuLost"]),
        number("Mean utilisation", "Time in which a kernel ran. Low with much memory held: somebody pays for nothing.", "avg(DCGM_FI_DEV_GPU_UTIL{<sel>})", "percent", alerts=["GpuIdleWhileAllocated"]),
        number("Hottest", "Temperature of the hottest GPU. Above the line: fans, airflow, or its neighbours.", "max(DCGM_FI_DEV_GPU_TEMP{<sel>})", "celsius", "GpuTemperatureHigh"),
        number("Fullest memory", "Used share of the fullest GPU's memory. Near 1 the next allocation fails.", "max(DCGM_FI_DEV_FB_USED{<sel>} / (DCGM_FI_DEV_FB_USED{<sel>} + DCGM_FI_DEV_FB_FREE{<sel>}))", "percentunit", "GpuMemoryNearlyFull"),
        number("Power of all", "Of all GPUs together.", "sum(DCGM_FI_DEV_POWER_USAGE{<sel>})", "watt"),
        number("XID errors, 1 h", "Critical errors that the driver reported. Not 0: the runbook says what the number means.", "sum(increase(outrigger_gpu_xid_errors_total{<sel>}[1h])) or vector(0)", "short", Limit("GpuXidError", nth=2), decimals=0),
    ]),
    ("Work", [
        graph("Utilisation", "Time in which any kernel ran. Dips: the GPU waits for data; look at the input pipeline.", [(f"DCGM_FI_DEV_GPU_UTIL{{{GPU_SEL}}}", "GPU {{gpu}} {{GPU_I_ID}}")], "percent", alerts=["GpuIdleWhileAllocated"], low=0, high=100),
        graph("Memory", "Used memory of each GPU, in MiB.", [(f"DCGM_FI_DEV_FB_USED{{{GPU_SEL}}} * 1024 * 1024", "used {{gpu}} {{GPU_I_ID}}"), (f"DCGM_FI_DEV_FB_FREE{{{GPU_SEL}}} * 1024 * 1024", "free {{gpu}} {{GPU_I_ID}}")], "bytes", alerts=["GpuMemoryNearlyFull"], low=0),
        graph("Engines", "Activity of the graphics engine, tensor cores and memory. Tensor cores idle in training: wrong data type or shapes.",
              [(f"DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{GPU_SEL}}}", "engine {{gpu}} {{GPU_I_ID}}"), (f"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{GPU_SEL}}}", "tensor {{gpu}} {{GPU_I_ID}}"), (f"DCGM_FI_PROF_DRAM_ACTIVE{{{GPU_SEL}}}", "memory {{gpu}} {{GPU_I_ID}}")], "percentunit", low=0, high=1),
        graph("Clocks", "Clock of the cores and of memory. Below the usual under load: see what holds it back.", [(f"DCGM_FI_DEV_SM_CLOCK{{{GPU_SEL}}} * 1000000", "core {{gpu}}"), (f"DCGM_FI_DEV_MEM_CLOCK{{{GPU_SEL}}} * 1000000", "memory {{gpu}}")], "hertz", low=0),
        graph("Memory by process", "Who holds the memory, with its container.", [("outrigger_gpu_process_memory_bytes{<sel>}", "GPU {{gpu}} pid {{pid}}")], "bytes", low=0),
        graph("PCIe", "Bytes a second over PCIe. Near the bus's limit: keep data on the GPU, overlap copies with work.", [(f"DCGM_FI_PROF_PCIE_RX_BYTES{{{GPU_SEL}}}", "in {{gpu}}"), (f"DCGM_FI_PROF_PCIE_TX_BYTES{{{GPU_SEL}}}", "out {{gpu}}")], "Bps", low=0),
    ]),
    ("Health", [
        graph("Temperature", "Cores and memory. Above the line the GPU is about to slow itself down.", [(f"DCGM_FI_DEV_GPU_TEMP{{{GPU_SEL}}}", "core {{gpu}}"), (f"DCGM_FI_DEV_MEMORY_TEMP{{{GPU_SEL}}}", "memory {{gpu}}")], "celsius", "GpuTemperatureHigh"),
        graph("Power", "What each GPU draws.", [(f"DCGM_FI_DEV_POWER_USAGE{{{GPU_SEL}}}", "GPU {{gpu}}")], "watt", alerts=["GpuPowerCapped"], low=0),
        graph("Held back", "Share of time in which the GPU ran slower: by power, heat, board limits, for reliability. Heat: cooling; power: the limit is set low.",
              [(f"rate(DCGM_FI_DEV_POWER_VIOLATION{{{GPU_SEL}}}[$__rate_interval]) / 1e9", "power {{gpu}}"), (f"rate(DCGM_FI_DEV_THERMAL_VIOLATION{{{GPU_SEL}}}[$__rate_interval]) / 1e9", "heat {{gpu}}"), (f"rate(DCGM_FI_DEV_BOARD_LIMIT_VIOLATION{{{GPU_SEL}}}[$__rate_interval]) / 1e9", "board {{gpu}}"), (f"rate(DCGM_FI_DEV_RELIABILITY_VIOLATION{{{GPU_SEL}}}[$__rate_interval]) / 1e9", "reliability {{gpu}}")], "percentunit", "GpuThrottled", Limit("GpuPowerCapped"), low=0, high=1),
        graph("Why clocks are held back", "1 while a reason holds.", [("outrigger_gpu_clock_event_reason{<sel>}", "{{gpu}} {{reason}}")], "short", alerts=["GpuThrottled"], low=0),
        graph("Memory errors", "Uncorrectable errors and rows mapped away. More than 0: drain the GPU; rows that cannot be mapped away: replace it.",
              [(f"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{{GPU_SEL}}}", "uncorrectable {{gpu}}"), (f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{{{GPU_SEL}}}", "rows mapped away {{gpu}}"), (f"DCGM_FI_DEV_ROW_REMAP_FAILURE{{{GPU_SEL}}}", "mapping failed {{gpu}}")], "short", "GpuRowRemapFailed", alerts=["GpuEccUncorrectable"], low=0),
        graph("Links", "PCIe replays. Growing: reseat the card; a bad slot or riser.", [(f"rate(DCGM_FI_DEV_PCIE_REPLAY_COUNTER{{{GPU_SEL}}}[$__rate_interval])", "PCIe replays {{gpu}}")], "ops", low=0),
    ]),
])

GROUP = 'groupname=~"$groupname", <sel>'
PROCESSES = Board(
    "outrigger-processes", "Processes", "Groups of processes, by process-exporter's names: who uses CPU, memory, files, disks.",
    "namedprocess_namegroup_num_procs", alerts="Process.*", variables=[Variable("groupname", "groupname", "namedprocess_namegroup_num_procs{<sel>}", "Group")], rows=[
    ("Overview", [
        graph("Processes", "How many processes a group has. 0: it is gone.", [(f"namedprocess_namegroup_num_procs{{{GROUP}}}", "{{groupname}}")], "short", low=0),
        graph("CPU", "CPUs used, by user and system.", [(f"sum by (groupname) (rate(namedprocess_namegroup_cpu_seconds_total{{{GROUP}}}[$__rate_interval]))", "{{groupname}}")], "short", low=0),
        graph("Resident memory", "Growing without end is a leak.", [(f'namedprocess_namegroup_memory_bytes{{memtype="resident", {GROUP}}}', "{{groupname}}")], "bytes", low=0),
        graph("Swapped memory", "Of a process that matters this should be 0.", [(f'namedprocess_namegroup_memory_bytes{{memtype="swapped", {GROUP}}}', "{{groupname}}")], "bytes", low=0),
        graph("Reads and writes", "Bytes that reached a disk.", [(f"rate(namedprocess_namegroup_read_bytes_total{{{GROUP}}}[$__rate_interval])", "read {{groupname}}"), (f"rate(namedprocess_namegroup_write_bytes_total{{{GROUP}}}[$__rate_interval])", "write {{groupname}}")], "Bps", low=0),
        graph("Major page faults", "Waits for a disk to read memory.", [(f"rate(namedprocess_namegroup_major_page_faults_total{{{GROUP}}}[$__rate_interval])", "{{groupname}}")], "ops", low=0),
        graph("File descriptors", "The process nearest to its limit, as a share of it. Near 1: raise the limit or find the leak.", [(f"namedprocess_namegroup_worst_fd_ratio{{{GROUP}}}", "{{groupname}}")], "percentunit", low=0, high=1),
        graph("Threads", "Growing without end: threads are not ended.", [(f"namedprocess_namegroup_num_threads{{{GROUP}}}", "{{groupname}}")], "short", low=0),
        graph("Context switches", "Many involuntary ones: not enough CPU.", [(f"rate(namedprocess_namegroup_context_switches_total{{{GROUP}}}[$__rate_interval])", "{{groupname}} {{ctxswitchtype}}")], "ops", low=0),
        graph("Age of the oldest", "A step down is a restart.", [(f"time() - namedprocess_namegroup_oldest_start_time_seconds{{{GROUP}}}", "{{groupname}}")], "s", low=0),
    ]),
])

CAPACITY = Board(
    "outrigger-capacity", "Capacity", "Is the machine, or the service, too small for what is asked of it week by week; when is a disk full.",
    "instance:node_cpu_busy:ratio_rate5m", alerts="Capacity.*|HostDisk.*", span="now-30d", rows=[
    ("Now, against the limits", [
        bars("CPU, mean of a week", "Above the line: plan for more CPUs, or less work.", [("avg_over_time(instance:node_cpu_busy:ratio_rate5m{<sel>}[1w])", "{{instance}}")], "percentunit", "CapacityCpuHigh", low=0, high=1, width=8),
        bars("Memory, mean of a week", "Above the line: plan for more memory.", [("avg_over_time(instance:node_memory_used:ratio{<sel>}[1w])", "{{instance}}")], "percentunit", "CapacityMemoryHigh", low=0, high=1, width=8),
        rows("Days until full", "At the pace of the last week, for file systems that fill up. Under a month: order, or clean.",
             f"sort((node_filesystem_avail_bytes{{{FS}, <sel>}} / (-deriv(node_filesystem_avail_bytes{{{FS}, <sel>}}[1w]) > 0)) / 86400)", "d", alerts=["HostDiskFillsWithin24h"], width=8,
             hide=["job", "fstype", "device_error", "device"], rename={"Value": "Days"}),
    ]),
    ("Trend", [
        graph("CPU busy", "Recorded every 5 minutes, with the mean of a week.", [("instance:node_cpu_busy:ratio_rate5m{<sel>}", "{{instance}}"), ("avg_over_time(instance:node_cpu_busy:ratio_rate5m{<sel>}[1w])", "week {{instance}}")], "percentunit", "CapacityCpuHigh", low=0, high=1),
        graph("Memory in use", "With the mean of a week.", [("instance:node_memory_used:ratio{<sel>}", "{{instance}}"), ("avg_over_time(instance:node_memory_used:ratio{<sel>}[1w])", "week {{instance}}")], "percentunit", "CapacityMemoryHigh", low=0, high=1),
        graph("Space available", "With a straight line through the last week, 30 days ahead.", [(f"node_filesystem_avail_bytes{{{FS}, <sel>}}", "{{instance}} {{mountpoint}}"), (f"predict_linear(node_filesystem_avail_bytes{{{FS}, <sel>}}[1w], 30 * 86400)", "in 30 days {{instance}} {{mountpoint}}")], "bytes", alerts=["HostDiskFillsWithin24h"]),
        graph("Network, mean of a day", "Compare with the speed of the link.", [(f"rate(node_network_receive_bytes_total{{{NET}}}[1d]) * 8", "in {{instance}} {{device}}"), (f"rate(node_network_transmit_bytes_total{{{NET}}}[1d]) * 8", "out {{instance}} {{device}}")], "bps", low=0),
    ]),
    ("Services", [
        graph("Mean response time of a day", "Above the line users wait every day: make it faster, or run more of it.",
              [("sum by (job) (avg_over_time(service:request_duration_seconds_sum:rate5m[1d])) / sum by (job) (avg_over_time(service:request_duration_seconds_count:rate5m[1d]))", "{{job}}")], "s", "CapacityResponseTimeHigh", low=0, width=8),
        graph("Failed requests of a day", "Above the line: a steady fault, not an incident.",
              [("sum by (job) (avg_over_time(service:request_errors:rate5m[1d])) / sum by (job) (avg_over_time(service:requests:rate5m[1d]))", "{{job}}")], "percentunit", "CapacityErrorRateHigh", low=0, width=8),
        graph("Requests", "With the mean of a week: how demand grows.", [("sum by (job) (service:requests:rate5m)", "{{job}}"), ("sum by (job) (avg_over_time(service:requests:rate5m[1w]))", "week {{job}}")], "reqps", low=0, width=8),
    ]),
])

BOARDS = [HOST, CONTAINERS, GPU, PROCESSES, CAPACITY]
