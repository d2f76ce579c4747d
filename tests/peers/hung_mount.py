#!/usr/bin/env python3
"""A mount that never answers must not stall a scrape.

The check mounts a FUSE file system and answers nothing, not even its INIT: every `statfs` on it hangs, as on a dead
NFS server. Every scrape must answer in time, show `node_filesystem_device_error` 1 for this mount and leave the
other mounts alone; hung threads must stay few; and once the connection is aborted the mount must be normal again.
"""

import argparse
import ctypes
import os
import re
import tempfile
import threading
import time

import peers
from peers import Failed

SCRAPES = 20
COLLECTOR_TIMEOUT = 1.0
# The deadline, and room for a slow machine that is not a hang.
ANSWER_WITHIN = COLLECTOR_TIMEOUT + 4.0
MORE_THREADS_AT_MOST = 8

libc = ctypes.CDLL(None, use_errno=True)


class HungMount:
    """A FUSE mount below `folder` whose server is silent until `answer_errors`."""

    def __init__(self, folder):
        self.point = os.path.join(folder, "hung")
        os.mkdir(self.point)
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"hung", self.point.encode(), b"fuse.hung", 0, options) != 0:
            error = ctypes.get_errno()
            os.close(self.device)
            raise Failed(f"mount of a FUSE file system: {os.strerror(error)}")

    def abort(self):
        """Closes the device: the kernel fails every waiting and every later request."""
        if self.device is not None:
            os.close(self.device)
            self.device = None

    def unmount(self):
        self.abort()
        libc.umount2(self.point.encode(), 2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unmount()


def hangs(path):
    """Whether `statfs` on the path is still waiting after half a second; the thread is left behind."""
    waiting = threading.Thread(target=lambda: _ignore(os.statvfs, path), daemon=True)
    waiting.start()
    waiting.join(0.5)
    return waiting.is_alive()


def _ignore(function, *arguments):
    try:
        function(*arguments)
    except OSError:
        pass


def device_errors(families):
    """{mount point: node_filesystem_device_error}."""
    samples = families.get("node_filesystem_device_error", ("", {}))[1]
    return {dict(labels)["mountpoint"]: (value, dict(labels)) for (_, labels), value in samples.items()}


def timed_scrape(exporter):
    began = time.monotonic()
    try:
        families = peers.parse(exporter.scrape(timeout=30))
    except TimeoutError as error:
        raise Failed("a scrape was not answered in 30 s") from error
    return families, time.monotonic() - began


def compare(binary):
    flags = [
        f"--collector.timeout={COLLECTOR_TIMEOUT:.0f}s",
        # Debian's and node_exporter's defaults hide /tmp's kind of mounts nowhere, but a container's /run may.
        "--collector.filesystem.mount-points-exclude=^/(dev|proc|sys)($|/)",
        "--collector.filesystem.fs-types-exclude=^(autofs|cgroup2?|proc|sysfs|nsfs)$",
    ]
    with tempfile.TemporaryDirectory() as folder, peers.start_outrigger(binary, flags) as ours:
        healthy, _ = timed_scrape(ours)
        others = {p for p, (value, _) in device_errors(healthy).items() if value == 0}
        for _ in range(3):
            timed_scrape(ours)
        threads_before, memory_before = ours.status("Threads"), ours.status("VmRSS")
        with HungMount(folder) as mount:
            if not hangs(mount.point):
                raise Failed("the FUSE mount answers; this check shows nothing")
            slowest = 0.0
            for number in range(SCRAPES):
                families, seconds = timed_scrape(ours)
                slowest = max(slowest, seconds)
                if seconds > ANSWER_WITHIN:
                    raise Failed(f"scrape {number + 1} took {seconds:.1f} s with a hung mount")
                check_hung(families, mount.point, others, number)
            threads, memory = ours.status("Threads"), ours.status("VmRSS")
            if threads > threads_before + MORE_THREADS_AT_MOST:
                raise Failed(f"threads grew from {threads_before} to {threads} in {SCRAPES} scrapes")
            print(f"{SCRAPES} scrapes beside a hung mount: slowest {slowest:.2f} s, threads {threads_before} -> "
                  f"{threads}, RSS {memory_before} -> {memory} kB")
            mount.abort()
            labels = peers.wait_for(lambda: answered(ours, mount.point), "recovery after the abort", 30, ours)
            print(f"after the abort: device_error{labels}")
        peers.wait_for(
            lambda: mount.point not in device_errors(timed_scrape(ours)[0]), "the mount's series to end", 30, ours
        )
        threads = peers.wait_for(
            lambda: timed_scrape(ours) and ours.status("Threads") <= threads_before + 2 and ours.status("Threads"),
            "the hung threads to end", 30, ours,
        )
        print(f"after the unmount: {threads} threads")


def check_hung(families, point, others, number):
    errors = device_errors(families)
    if errors.get(point, (0, {}))[0] != 1:
        raise Failed(f"scrape {number + 1}: no node_filesystem_device_error 1 for {point}: {errors}")
    if re.search("timeout", errors[point][1].get("device_error", "timeout")) is None:
        raise Failed(f"scrape {number + 1}: device_error is {errors[point][1]}")
    lost = {p for p in others if errors.get(p, (1, {}))[0] != 0}
    if lost:
        raise Failed(f"scrape {number + 1}: healthy mounts lost: {sorted(lost)}")
    for family in ("node_memory_MemTotal_bytes", "node_cpu_seconds_total", "node_load1"):
        if family not in families:
            raise Failed(f"scrape {number + 1}: {family} is gone")


def answered(exporter, point):
    """Labels of the mount once the error is no longer a timeout (a dead FUSE says ENOTCONN), else None."""
    value, labels = device_errors(timed_scrape(exporter)[0]).get(point, (0, {}))
    return labels or "gone" if value == 0 or "timeout" not in labels.get("device_error", "timeout") else None


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    compare(options.parse_args().outrigger)


if __name__ == "__main__":
    peers.main(check)
