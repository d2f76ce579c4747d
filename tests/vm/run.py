#!/usr/bin/env python3
"""Containers on a real kernel with control groups of version 2 alone, compared with what its own files say.

A manual check, for machines that have no such kernel: Debian's cloud kernel boots under qemu, with a file system of busybox and
the binary; `init.sh` makes the groups. Needs qemu-system-x86, busybox-static and apt's sources of Debian; the kernel's package
is unpacked below target/vm, not installed. The processor is emulated, so that it runs anywhere; that takes a minute.
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "peers"))
import peers  # noqa: E402
from peers import Failed  # noqa: E402

# A block device in memory: what is read from it and written to it counts like that of any other.
DEVICE, MODULE = "1:0", "brd"
USEC = 1e-6
# The container in which nothing happens.
IDLE = "cri-containerd-"
LINES = "lines"
# Family, labels that are not the container's, file, key in it (None: all of it is one number), factor.
SAME = [
    ("container_cpu_usage_seconds_total", {"cpu": "total"}, "cpu.stat", "usage_usec", USEC),
    ("container_cpu_user_seconds_total", {}, "cpu.stat", "user_usec", USEC),
    ("container_cpu_system_seconds_total", {}, "cpu.stat", "system_usec", USEC),
    ("container_cpu_cfs_periods_total", {}, "cpu.stat", "nr_periods", 1),
    ("container_cpu_cfs_throttled_periods_total", {}, "cpu.stat", "nr_throttled", 1),
    ("container_cpu_cfs_throttled_seconds_total", {}, "cpu.stat", "throttled_usec", USEC),
    ("container_cpu_cfs_burst_periods_total", {}, "cpu.stat", "nr_bursts", 1),
    ("container_cpu_cfs_burst_seconds_total", {}, "cpu.stat", "burst_usec", USEC),
    ("container_memory_usage_bytes", {}, "memory.current", None, 1),
    ("container_memory_max_usage_bytes", {}, "memory.peak", None, 1),
    ("container_memory_swap", {}, "memory.swap.current", None, 1),
    ("container_memory_rss", {}, "memory.stat", "anon", 1),
    ("container_memory_cache", {}, "memory.stat", "file", 1),
    ("container_memory_kernel_usage", {}, "memory.stat", "kernel", 1),
    ("container_memory_mapped_file", {}, "memory.stat", "file_mapped", 1),
    ("container_memory_file_dirty_bytes", {}, "memory.stat", "file_dirty", 1),
    ("container_memory_file_writeback_bytes", {}, "memory.stat", "file_writeback", 1),
    ("container_memory_total_active_file_bytes", {}, "memory.stat", "active_file", 1),
    ("container_memory_total_inactive_file_bytes", {}, "memory.stat", "inactive_file", 1),
    ("container_memory_failures_total", {"failure_type": "pgfault", "scope": "container"}, "memory.stat", "pgfault", 1),
    ("container_memory_failures_total", {"failure_type": "pgmajfault", "scope": "hierarchy"}, "memory.stat", "pgmajfault", 1),
    ("container_memory_pgscan_total", {}, "memory.stat", "pgscan", 1),
    ("container_memory_pgsteal_total", {}, "memory.stat", "pgsteal", 1),
    ("container_memory_workingset_refault_anon_total", {}, "memory.stat", "workingset_refault_anon", 1),
    ("container_memory_workingset_refault_file_total", {}, "memory.stat", "workingset_refault_file", 1),
    ("container_memory_failcnt", {}, "memory.events", "max", 1),
    ("container_memory_events_high_total", {}, "memory.events", "high", 1),
    ("container_memory_events_max_total", {}, "memory.events", "max", 1),
    ("container_oom_events_total", {}, "memory.events", "oom_kill", 1),
    ("container_threads", {}, "pids.current", None, 1),
    ("container_processes", {}, "cgroup.procs", LINES, 1),
    ("container_spec_memory_limit_bytes", {}, "memory.max", None, 1),
    ("container_spec_memory_reservation_limit_bytes", {}, "memory.low", None, 1),
    ("container_spec_memory_swap_limit_bytes", {}, "memory.swap.max", None, 1),
    ("container_threads_max", {}, "pids.max", None, 1),
    *((f"container_pressure_{of}_{called}_seconds_total", {}, f"{of}.pressure", f"{line} total", USEC)
      for of in ("cpu", "memory", "io") for called, line in (("waiting", "some"), ("stalled", "full"))),
    *((f"container_fs_{called}_total", {"device": "/dev/ram0"}, "io.stat", f"{DEVICE} {key}", 1) for called, key in
      (("reads_bytes", "rbytes"), ("writes_bytes", "wbytes"), ("reads", "rios"), ("writes", "wios"))),
]


def kernel(folder):
    """(image, modules' folder) of Debian's cloud kernel, downloaded once."""
    if not glob.glob(f"{folder}/kernel/boot/vmlinuz-*"):
        os.makedirs(folder, exist_ok=True)
        depends = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True, check=True)
        package = re.search(r"Depends: (linux-image-\S+)", depends.stdout)
        if not package:
            raise Failed(f"apt knows no linux-image-cloud-amd64:\n{depends.stdout}")
        subprocess.run(["apt-get", "download", "--quiet", package[1]], cwd=folder, check=True)
        [deb] = glob.glob(f"{folder}/*.deb")
        subprocess.run(["dpkg-deb", "--extract", deb, f"{folder}/kernel"], check=True)
        os.remove(deb)
    return glob.glob(f"{folder}/kernel/boot/vmlinuz-*")[0], f"{folder}/kernel/lib/modules"


def entry(name, mode, content=b""):
    """One member of an archive as the kernel unpacks it (its `early-userspace/buffer-format`)."""
    name = name.encode() + b"\0"
    fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


def archive(binary, modules):
    """The first file system: busybox, the binary and its libraries, a module, init."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Failed("busybox (package busybox-static) is not installed")
    files = {"init": os.path.join(HERE, "init.sh"), "bin/busybox": busybox, "bin/outrigger": binary}
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    files.update((path.lstrip("/"), path) for path in re.findall(r"(/\S+\.so\S*)", linked))
    found = glob.glob(f"{modules}/*/kernel/drivers/block/{MODULE}.ko")
    if not found:
        raise Failed(f"the kernel's package has no {MODULE}.ko")
    files[f"modules/{MODULE}.ko"] = found[0]
    folders = {""}
    for path in files:
        while path := os.path.dirname(path):
            folders.add(path)
    out = [entry(folder, 0o040755) for folder in sorted(folders) if folder]
    for path, source in files.items():
        with open(source, "rb") as f:
            out.append(entry(path, 0o100755, f.read()))
    return b"".join([*out, entry("TRAILER!!!", 0)])


def boot(image, initrd, seconds):
    """What the machine wrote to its console until it switched itself off."""
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "512", "-nodefaults",
               "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", image, "-initrd", initrd,
               "-append", "console=ttyS0 loglevel=1 panic=-1 psi=1"]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"the machine did not end within {seconds} s:\n{(error.stdout or b'')[-3000:].decode(errors='replace')}") from error
    text = done.stdout.decode(errors="replace").replace("\r", "")
    if "\n@end" not in text:
        raise Failed(f"the machine ended early ({done.returncode}):\n{text[-3000:]}{done.stderr.decode(errors='replace')}")
    return text


def files_of(text):
    """{(group, file): text}"""
    found = {}
    for part in re.split(r"^@file ", text, flags=re.M)[1:]:
        head, _, content = part.partition("\n")
        group, name = head.split(" ")
        found[group, name] = content
    return found


def number(text, key):
    """A number of a file: all of it, `key 1`, `some avg10=0 total=1` or `8:0 rbytes=1`; None where there is none."""
    if key == LINES:
        return float(len(text.splitlines()))
    if key is None:
        return 0.0 if text.strip() == "max" else float(text) if text.strip() else None
    line, _, name = key.rpartition(" ")
    pattern = rf"^{line} .*\b{name}=(\d+)" if line else rf"^{name} (\d+)$"
    found = re.search(pattern, text, flags=re.M)
    return float(found[1]) if found else None


def same(families, before, after, group):
    """Compares a group's values with what was read before and after them; (findings, how many, of these the very same)."""
    wrong, compared, exact = [], 0, 0
    has_quota = not before[group, "cpu.max"].startswith("max")
    for family, labels, file, key, factor in SAME:
        texts = [of[group, file] for of in (before, after) if (group, file) in of]
        bounds = [number(text, key) for text in texts]
        want = {("id", group), *labels.items()}
        got = [value for (_, of), value in families.get(family, ("", {}))[1].items() if want <= set(of)]
        if not bounds or None in bounds or (family.startswith("container_cpu_cfs_") and not has_quota):
            if got:
                wrong.append(f"{family}{labels} of {group}: {got}, of which {file} says nothing")
            continue
        low, high = min(bounds) * factor, max(bounds) * factor
        compared, exact = compared + 1, exact + (got == [low] == [high])
        # What goes up and down may have done both meanwhile, but for the group where nothing happens.
        slack = 0 if family.endswith("_total") or IDLE in group else 16 << 20
        rounded = 1e-9 * high
        if len(got) != 1 or not low - slack - rounded <= got[0] <= high + slack + rounded:
            wrong.append(f"{family}{labels} of {group}: {got}, {file} says {low} to {high}")
    return wrong, compared, exact


def compare(text):
    release = re.search(r"^@kernel (.*)$", text, flags=re.M)[1]
    parts = dict(part.split("\n", 1) for part in re.split(r"^@part ", text.split("\n@end")[0], flags=re.M)[1:])
    before, after = files_of(parts["before"]), files_of(parts["after"])
    families = peers.parse(parts["scraped"])
    groups = sorted({group for group, _ in before})
    shown = sorted({dict(labels)["id"] for _, labels in families["container_last_seen"][1]})
    wrong = [] if shown == groups else [f"containers: {shown}, not {groups}"]
    compared = exact = 0
    for group in groups:
        found = same(families, before, after, group)
        wrong, compared, exact = wrong + found[0], compared + found[1], exact + found[2]
    # Else it would have been compared with nothing.
    for family, least in (("container_oom_events_total", 1), ("container_cpu_cfs_throttled_periods_total", 10),
                          ("container_memory_events_high_total", 1), ("container_fs_writes_bytes_total", 1 << 20),
                          ("container_pressure_cpu_waiting_seconds_total", 1e-3)):
        most = max(families.get(family, ("", {}))[1].values(), default=0)
        if most < least:
            wrong.append(f"{family}: {most} at most; the machine made at least {least}")
    if wrong:
        raise Failed(f"Linux {release}: not as the kernel says:\n  " + "\n  ".join(wrong))
    print(f"Linux {release}, control groups of version 2: {len(groups)} containers, {compared} values as the kernel says, "
          f"{exact} of them the very same before and after")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    options.add_argument("--seconds", type=int, default=900, help="most that the machine may take")
    options.add_argument("--keep", help="file to write the console's text to")
    arguments = options.parse_args()
    folder = os.path.join(peers.ROOT, "target", "vm")
    image, modules = kernel(folder)
    initrd = f"{folder}/initrd"
    with open(initrd, "wb") as f:
        f.write(archive(os.path.abspath(arguments.outrigger), modules))
    text = boot(image, initrd, arguments.seconds)
    if arguments.keep:
        with open(arguments.keep, "w", encoding="utf-8") as f:
            f.write(text)
    compare(text)


if __name__ == "__main__":
    peers.main(check)
