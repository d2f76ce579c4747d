"""A live Outrigger with everything on, which the checks of the dashboards and of the metrics reference share.

What it sees is made here and is real to it: a machine of files (swap, RAID, connection tracking, a disk and a network that
work, a file system that fills), a fake NVML with three GPUs, Docker with a container that is held back, the demo's
application in trouble, a training run and a build that push, probes, certificates, backups, deployments, groups of
processes, receivers that do not answer. Rules are those that ship, due every 2 s and without patience, since nobody waits
15 minutes for an alert.
"""

import base64
import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request

import yaml

import checks
import container
import containers
import peers
from peers import Failed
from shipped_rules import RULES, read

EXAMPLES = os.path.join(peers.ROOT, "examples")
SCENARIO = [os.path.join(peers.ROOT, "tests", "gpu", "two_gpus.scenario"), os.path.join(peers.HERE, "live", "third_gpu.scenario")]
NOBODY = "127.0.0.1:1"
# It computes all the time, writes and reads past the cache, and takes more memory for files than it may have.
WORK = "while :; do dd if=/dev/zero of=/tmp/x bs=1M count=60 conv=fsync; dd if=/tmp/x of=/dev/null bs=1M iflag=direct; done 2>/dev/null"
BUILD = """# TYPE workflow_tests gauge
workflow_tests{workflow="suite",result="passed"} 97
workflow_tests{workflow="suite",result="failed"} 3
# TYPE workflow_run_duration_seconds gauge
workflow_run_duration_seconds{workflow="suite"} 120
# TYPE workflow_last_run_success gauge
workflow_last_run_success{workflow="suite"} 0
# TYPE workflow_last_success_timestamp_seconds gauge
workflow_last_success_timestamp_seconds{workflow="suite"} %d
"""
# What is off by default.
OFF = re.findall(r"^\| `collect\.collectors\.(\w+)` \| `false`", read(os.path.join(peers.ROOT, "docs", "reference", "configuration.md")), re.M)
FURTHER = ["--collector.cpu.info", "--collector.gpu.nvidia-smi-names", "--collector.gpu.fields=all", "--collector.container.processes"]
# The collectors that read the machine of files; the one beside it reads this machine.
OF_FILES = ["--collector.disable-defaults", "--collector.meminfo", "--collector.mdadm", "--collector.conntrack", "--collector.diskstats",
            "--collector.netdev", "--no-collector.netdev.netlink", "--collector.filesystem", "--collector.hwmon", "--collector.thermal_zone",
            "--collector.cpu", "--collector.cpufreq", "--collector.powersupplyclass", "--collector.pressure", "--collector.schedstat"]
# One of two disks is gone.
MDSTAT = """Personalities : [raid1]
md0 : active raid1 sdb1[1] sda1[0](F)
      1048576 blocks super 1.2 [2/1] [_U]

unused devices: <none>
"""


def fake_nvml():
    for profile in ("debug", "release"):
        path = os.path.join(peers.ROOT, "target", profile, "examples", "libfake_nvml.so")
        if os.path.exists(path):
            return path
    raise Failed("no target/*/examples/libfake_nvml.so: cargo build --example fake_nvml")


def quick(source, target):
    """Rule files with each group due every 2 s, and alerts that wait no longer."""
    os.makedirs(target, exist_ok=True)
    for path in source:
        rules = yaml.safe_load(read(path))
        for group in rules["groups"]:
            group["interval"] = "2s"
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "2s"
        with open(os.path.join(target, os.path.basename(path)), "w", encoding="utf-8") as file:
            yaml.safe_dump(rules, file)
    return target


def quick_rules(folder):
    shipped = glob.glob(os.path.join(RULES, "*.rules.yml"))
    return quick([*shipped, os.path.join(EXAMPLES, "process", "process.rules.yml")], os.path.join(folder, "rules"))


def disk_below(folder):
    """Number of the disk that a folder is on; None where it is on none, as in memory."""
    number = os.stat(folder).st_dev
    about = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
    if os.path.exists(f"{about}/partition"):
        about = os.path.dirname(os.path.realpath(about))
    return read(f"{about}/dev").strip() if os.path.exists(f"{about}/dev") else None


def count_disk(pid, disk):
    """With groups of version 1 a kernel counts a disk's bytes only for a group that has a limit of them."""
    for what in ("read", "write"):
        limit = os.path.join(containers.cgroup(pid, "blkio"), f"blkio.throttle.{what}_bps_device")
        if os.path.exists(limit):
            with open(limit, "w", encoding="utf-8") as file:
                file.write(f"{disk} 1000000000")


# Sensors, cooling, clock rates, power, stalls: what a virtual machine lacks.
HARDWARE = {
    "sys/class/hwmon/hwmon0/name": "coretemp", "sys/class/hwmon/hwmon0/temp1_input": "51000", "sys/class/hwmon/hwmon0/temp1_max": "80000",
    "sys/class/hwmon/hwmon0/temp1_crit": "100000", "sys/class/hwmon/hwmon0/temp1_crit_alarm": "0", "sys/class/hwmon/hwmon0/temp1_crit_hyst": "95000",
    "sys/class/hwmon/hwmon0/fan1_input": "1200", "sys/class/thermal/cooling_device0/type": "Processor", "sys/class/thermal/cooling_device0/cur_state": "0",
    "sys/class/thermal/cooling_device0/max_state": "10", "sys/class/thermal/thermal_zone0/type": "acpitz", "sys/class/thermal/thermal_zone0/temp": "48000",
    "sys/class/power_supply/AC/type": "Mains", "sys/class/power_supply/AC/online": "1",
    **{f"sys/devices/system/cpu/cpu0/cpufreq/{name}": value for name, value in {
        "cpuinfo_max_freq": "4000000", "cpuinfo_min_freq": "800000", "cpuinfo_cur_freq": "2000000", "scaling_cur_freq": "2000000", "scaling_max_freq": "4000000",
        "scaling_min_freq": "800000", "scaling_governor": "powersave", "scaling_available_governors": "performance powersave"}.items()},
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3", "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "3",
    "sys/devices/system/cpu/cpu0/topology/core_id": "0", "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0",
    "proc/stat": "cpu  10 0 10 100 0 0 0 0 0 0\ncpu0 10 0 10 100 0 0 0 0 0 0\n",
    "proc/schedstat": "version 15\ntimestamp 1\ncpu0 0 0 0 0 0 0 1000000 2000000 30\n",
    **{f"proc/pressure/{what}": "some avg10=0.00 avg60=0.00 avg300=0.00 total=10\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=10\n" for what in ("cpu", "io", "memory", "irq")},
}


class MachineOfFiles:
    """procfs and sysfs of a machine that has what the one beneath may not have; `advance` lets time pass on it."""

    def __init__(self, folder, stack):
        self.top, self.turn = os.path.join(folder, "machine"), 0
        self.proc, self.sys, self.root = (os.path.join(self.top, name) for name in ("proc", "sys", "root"))
        self.filled = os.path.join(self.root, "data", "file")
        os.makedirs(os.path.join(self.root, "data"))
        # A file system of this check alone, which may be filled; in the table of mounts it is one of a disk.
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "outrigger", os.path.dirname(self.filled)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"mount: {done.stderr}")
        stack.callback(subprocess.run, ["umount", "--lazy", os.path.dirname(self.filled)], check=False)
        memory = [line for line in read("/proc/meminfo").splitlines() if not line.startswith(("Swap", "HardwareCorrupted"))]
        self.write("meminfo", "\n".join([*memory, "SwapCached: 0 kB", "SwapTotal: 2000000 kB", "SwapFree: 100000 kB", "HardwareCorrupted: 0 kB"]) + "\n")
        for path, text in HARDWARE.items():
            self.write(os.path.join("..", path), text + "\n")
        self.write("mdstat", MDSTAT)
        self.write("sys/net/netfilter/nf_conntrack_count", "95\n")
        self.write("sys/net/netfilter/nf_conntrack_max", "100\n")
        self.write("net/stat/nf_conntrack", "entries " * 17 + "\n" + "00000001 " * 17 + "\n")
        self.write("1/mountinfo", "30 1 254:16 / /data rw,relatime - ext4 /dev/vdb rw\n")
        with open(self.filled, "wb") as file:
            file.write(bytes(56 << 20))
        self.advance()

    def write(self, path, text):
        """Whole or not at all, as a reader sees it."""
        target = os.path.join(self.proc, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.exists(target):
            with open(target, "r+", encoding="utf-8") as file:
                file.write(text)
                file.truncate()
        else:
            with open(target, "w", encoding="utf-8") as file:
                file.write(text)

    def advance(self):
        self.turn += 1
        n = 1000 + self.turn
        self.write("diskstats", f" 254 16 vdb {n} 1 {8 * n} {n} {n} 1 {8 * n} {n} 0 {n} {2 * n}\n")
        self.write("net/dev", f"Inter-|   Receive |  Transmit\n face |bytes\n  eth0: {1000 * n} {10 * n} {n} {n} 0 0 0 0 {1000 * n} {10 * n} {n} {n} 0 0 0 0\n")
        with open(self.filled, "ab") as file:
            if file.tell() < 63 << 20:
                file.write(bytes(64 << 10))


def files_of_checks(folder):
    """Certificates, one of which ends soon and one in a kubeconfig, and backups that shrank; the section `checks` that watches them."""
    with open(os.path.join(folder, "soon.cnf"), "w", encoding="utf-8") as file:
        file.write("[req]\ndistinguished_name=n\n[n]\n")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "soon.key", "-out", "soon.pem", "-days", "3", "-subj", "/CN=soon", "-config", "soon.cnf"],
                   cwd=folder, check=True, capture_output=True)
    backups, now = os.path.join(folder, "backups"), time.time()
    os.makedirs(backups)
    for name, size, age in (("a.dump", 9000, 5 * 86400), ("b.dump", 9000, 4 * 86400), ("c.dump", 100, 3 * 86400), (".restored", 0, 200 * 86400)):
        path = os.path.join(backups, name)
        with open(path, "wb") as file:
            file.write(b"x" * size)
        os.utime(path, (now - age, now - age))
    job = {"name": "db", "path": f"{backups}/*.dump", "period": "1d", "interval": "1s", "restore_test": {"period": "90d", "path": f"{backups}/.restored"}}
    certificates = {"name": "files", "files": [f"{folder}/soon.pem", f"{folder}/leaf.pem", f"{folder}/soon.cnf"], "interval": "2s"}
    authority = base64.b64encode(read(f"{folder}/ca.pem").encode()).decode()
    with open(os.path.join(folder, "admin.conf"), "w", encoding="utf-8") as file:
        yaml.safe_dump({"kind": "Config", "clusters": [{"name": "prod", "cluster": {"certificate-authority-data": authority}}]}, file)
    cluster = {"name": "cluster", "kubeconfigs": [f"{folder}/admin.conf"], "interval": "2s"}
    return {"backups": [job], "certificates": [certificates, cluster]}


def configuration(folder, rules, targets):
    """outrigger.yml; `targets`: job -> port."""
    of_checks = files_of_checks(folder)
    endpoint = {"address": f"127.0.0.1:{targets['tls']}", "tls_config": {"ca_file": f"{folder}/ca.pem", "server_name": "localhost"}}
    of_checks["certificates"].append({"name": "shop", "endpoints": [endpoint], "interval": "2s"})
    of_checks["modules"] = {"tls": {"prober": "http", "timeout": "1s", "http": {"tls_config": {"ca_file": f"{folder}/ca.pem"}}},
                            "plain": {"prober": "http", "timeout": "1s"},
                            "icmp": {"prober": "icmp", "timeout": "1s", "icmp": {"preferred_ip_protocol": "ip4"}},
                            "dns": {"prober": "dns", "timeout": "1s", "dns": {"query_name": "zone.example", "query_type": "SOA", "preferred_ip_protocol": "ip4"}},
                            "talk": {"prober": "tcp", "timeout": "1s", "tcp": {"query_response": [{"expect": r"^220 (\w+)", "send": "HELO ${1}", "labels": [{"name": "greets_as", "value": "${1}"}]}, {"expect_bytes": "250 HELO"}]}},
                            "health": {"prober": "grpc", "timeout": "1s", "grpc": {"preferred_ip_protocol": "ip4"}}}
    of_checks["probes"] = [{"name": "shop", "module": "tls", "targets": [f"https://localhost:{targets['tls']}/"], "interval": "1s"},
                           {"name": "web", "module": "plain", "targets": [f"http://127.0.0.1:{targets['web']}/missing"], "interval": "1s"},
                           {"name": "names", "module": "dns", "targets": [f"127.0.0.1:{targets['dns']}"], "interval": "1s", "timeout": "1s"},
                           {"name": "near", "module": "icmp", "targets": ["127.0.0.1"], "interval": "1s", "timeout": "1s"},
                           {"name": "port", "module": "talk", "targets": [f"127.0.0.1:{targets['talk']}"], "interval": "1s"},
                           {"name": "service", "module": "health", "targets": [f"127.0.0.1:{targets['web']}"], "interval": "1s"}]
    jobs = [{"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{targets[job]}"]}]} for job in ("demo", "machine")]
    path = os.path.join(folder, "outrigger.yml")
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"}, "storage": {"path": os.path.join(folder, "store")},
            "collect": {"history_interval": "1s"}, "rule_files": [f"{rules}/*.yml"], "slo_files": [os.path.join(RULES, "slo", "*.yml")],
            "scrape_configs": [*jobs, {"job_name": "gone", "static_configs": [{"targets": [NOBODY]}]}], "checks": of_checks,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [NOBODY]}]}], "webhooks": [{"name": "hook", "url": f"http://{NOBODY}/"}]},
            "remote_write": [{"name": "far", "url": f"http://{NOBODY}/api/v1/write"}]}, file)
    return path


def serve(kind, handler):
    """Port of a server of the checks' that has nothing to say about clients that leave."""
    server = kind(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None
    return checks.started(server)


class Steady(threading.Thread):
    """What goes on while somebody looks: the machine of files moves, the shop deploys; once: a build and a run push."""

    def __init__(self, machine, port):
        super().__init__(daemon=True)
        self.machine, self.port, self.end, self.error = machine, port, threading.Event(), None

    def run(self):
        try:
            while not self.end.wait(1):
                self.machine.advance()
                self.deploy()
        except OSError as error:
            self.error = error

    def send(self, method, path, body, kind):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body.encode(), {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()

    def deploy(self):
        now = int(time.time())
        events = [{"type": "deployment", "service": "shop", "environment": "prod", "commit_time": now - 3600},
                  {"type": "deployment", "service": "shop", "environment": "prod", "outcome": "failure", "commit_time": now - 7200},
                  {"type": "incident", "service": "shop", "environment": "prod", "time": now - 600, "end": now}]
        self.send("POST", "/api/v1/events", json.dumps(events), "application/json")

    def first(self, passing):
        peers.wait_for(lambda: b'groupname="passing"' in peers.get(self.port, "/metrics")[2], "the process that passes")
        passing.stop()
        self.send("PUT", "/metrics/job/ci", BUILD % (time.time() - 600), "text/plain")
        self.send("POST", "/api/v1/events", json.dumps({"id": "open", "type": "incident", "service": "shop", "environment": "prod", "time": int(time.time()) - 9000}), "application/json")
        done = subprocess.run([sys.executable, os.path.join(EXAMPLES, "training", "train.py"), f"--gateway=127.0.0.1:{self.port}", "--epochs=3"], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Failed(f"train.py: {done.stderr}")
        self.start()

    def stop(self):
        self.end.set()
        self.join()


class Everything:
    """`ours`: the program under test; `beside`: the one on the machine of files; `targets`: what else may be scraped, job -> port; `absent`: what cannot be here."""

    def __init__(self, binary, folder, stack):
        self.folder, self.rules = folder, quick_rules(folder)
        self.machine = MachineOfFiles(folder, stack)
        docker_flags = self.docker(folder, stack)
        checks.certificates(folder)
        self.targets = {"web": serve(checks.http.server.ThreadingHTTPServer, checks.Web), "tls": self.tls(),
                        "talk": serve(checks.Threaded, checks.Talk),
                        "dns": serve(checks.socketserver.ThreadingUDPServer, checks.DnsUdp)}
        self.beside = stack.enter_context(peers.start_outrigger(binary, [*OF_FILES, f"--path.procfs={self.machine.proc}", f"--path.sysfs={self.machine.sys}", f"--path.rootfs={self.machine.root}"]))
        port = peers.free_port()
        application = stack.enter_context(peers.Exporter([sys.executable, os.path.join(EXAMPLES, "demo", "app.py"), f"--port={port}"], port, "/metrics"))
        self.targets |= {"demo": application.port, "machine": self.beside.port}
        peers.get(application.port, "/trouble?errors=0.3&latency=0.1")
        config = configuration(folder, self.rules, self.targets)
        scenario = os.path.join(folder, "gpus.scenario")
        with open(scenario, "w", encoding="utf-8") as file:
            file.write("".join(read(path) for path in SCENARIO))
        self.flags = [f"--config.file={config}", f"--collector.gpu.nvml-library={fake_nvml()}", *docker_flags,
                      *[f"--collector.{name}" for name in OFF], *FURTHER, f"--collector.process.config-path={EXAMPLES}/process/process.yml"]
        # A group of processes that will have none.
        shutil.copy("/bin/sleep", os.path.join(folder, "passing"))
        passing = stack.enter_context(peers.Process([os.path.join(folder, "passing"), "600"]))
        self.ours = stack.enter_context(peers.start_outrigger(binary, self.flags, env={**os.environ, "FAKE_NVML": scenario}))
        self.steady = Steady(self.machine, self.ours.port)
        self.steady.first(passing)
        stack.callback(self.steady.stop)

    def tls(self):
        context = checks.ssl.SSLContext(checks.ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(self.folder, "leaf.pem"), os.path.join(self.folder, "key.pem"))
        server = checks.http.server.ThreadingHTTPServer(("127.0.0.1", 0), checks.Web)
        server.handle_error = lambda *_: None
        server.socket = context.wrap_socket(server.socket, server_side=True)
        return checks.started(server)

    def docker(self, folder, stack):
        """A container with limits, a disk, a network of its own; the flags that make its name known."""
        place = os.path.join(folder, "docker")
        os.makedirs(place)
        docker = container.Docker(place)
        stack.callback(docker.stop)
        containers.image(docker)
        containers.start(docker, "web", WORK, "--cpus=0.1", "--network=none", "--memory=64m")
        disk, pid = disk_below(folder), containers.inspect(docker, "web")["State"]["Pid"]
        self.absent = set() if disk else {"container_fs_reads_bytes_total", "container_fs_writes_bytes_total"}
        if disk:
            count_disk(pid, disk)
        enter = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "link"]
        for arguments in (["add", "eth0", "type", "veth", "peer", "name", "veth0"], ["set", "veth0", "up"], ["set", "eth0", "up"]):
            done = subprocess.run([*enter, *arguments], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Failed(f"an interface in the container: {done.stderr}")
        return [f"--collector.container.docker-socket={docker.socket.removeprefix('unix://')}"]
