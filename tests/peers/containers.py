#!/usr/bin/env python3
"""Containers of a real Docker daemon, compared with `docker stats`, `docker inspect` and the kernel's files; and
runtimes that do not behave.

The daemon is our own (data, socket and state in a temporary folder, no bridge, no iptables). Its containers are
throttled, killed for lack of memory, checked for health, on the host's network and on one of their own.
"""

import argparse
import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import peers
from container import Docker, tar_of, read
from peers import Failed

ONLY = ["--collector.disable-defaults", "--collector.container"]
BURN = "while :; do :; done"
# The child is killed, the shell lives on.
HUNGRY = "while :; do tail /dev/zero; sleep 1; done"


def image_tar():
    """A root of busybox and nothing else."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Failed("busybox (package busybox-static) is not installed")
    files = {"/bin/busybox": (0o755, read(busybox)), "/tmp": (0o1777, None)}
    for applet in ("sh", "sleep", "tail", "true", "false", "dd"):
        files[f"/bin/{applet}"] = (0o777, "busybox")
    return tar_of(files)


def image(docker):
    docker.run("import", "--change", "ENV PATH=/bin", "--change", "LABEL team=check", "-", "box:1", input=image_tar())


def start(docker, name, script, *flags):
    return docker.run("run", "--detach", "--name", name, *flags, "box:1", "sh", "-c", script)


class Scrape:
    """One scrape, by family and name of the container."""

    def __init__(self, exporter):
        self.text = exporter.scrape()
        self.families = peers.parse(self.text)

    def all(self, family, **labels):
        """{labels: value} of a family where the labels given are as given."""
        samples = self.families.get(family, ("", {}))[1]
        return {
            key[1]: value for key, value in samples.items() if all(dict(key[1]).get(k) == v for k, v in labels.items())
        }

    def one(self, family, name, **labels):
        found = self.all(family, name=name, **labels)
        if len(found) != 1:
            raise Failed(f"{family} of {name}: {len(found)} series instead of one: {found}")
        return next(iter(found.values()))

    def names(self):
        return {dict(labels).get("name", "") for labels in self.all("container_last_seen")}


def wait_for_names(exporter, *names):
    """A container's name may come a pass or two after it."""
    peers.wait_for(lambda: set(names) <= Scrape(exporter).names(), f"the names of {', '.join(names)}", 30)


def cgroup(pid, controller):
    """The folder of a process's group in a hierarchy: of version 1, or of version 2."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as f:
        lines = [line.rstrip("\n").split(":", 2) for line in f]
    for _, controllers, path in lines:
        if controller in controllers.split(","):
            return f"/sys/fs/cgroup/{controller}{path}"
    return f"/sys/fs/cgroup{next(path for number, _, path in lines if number == '0')}"


def number(path):
    with open(path, encoding="utf-8") as f:
        return float(f.read().split()[0])


def counted(pid):
    """What the kernel says of CPU (seconds), memory, processes."""
    folder = cgroup(pid, "memory")
    if os.path.exists(f"{folder}/memory.current"):
        with open(f"{folder}/cpu.stat", encoding="utf-8") as f:
            cpu = float(f.readline().split()[1]) / 1e6
        return cpu, number(f"{folder}/memory.current")
    return number(f"{cgroup(pid, 'cpuacct')}/cpuacct.usage") / 1e9, number(f"{folder}/memory.usage_in_bytes")


def bytes_of(text):
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("kB", 1000), ("B", 1)):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor
    raise Failed(f"docker stats: {text!r} is no size")


def seconds_of(time_text):
    """RFC 3339 with nanoseconds."""
    whole, _, rest = time_text.partition(".")
    at = datetime.datetime.fromisoformat(whole.rstrip("Z")).replace(tzinfo=datetime.timezone.utc)
    return at.timestamp() + float("0." + rest.rstrip("Z") if rest else 0)


def inspect(docker, name):
    return json.loads(docker.run("inspect", name))[0]


def same_as_docker(docker, exporter, names):
    """Limits, times, states by `docker inspect`; memory and threads by `docker stats`; CPU by the kernel."""
    wrong = []

    def check(what, mine, theirs, by=0.0):
        if abs(mine - theirs) > by:
            wrong.append(f"{what}: {mine}, not {theirs} (by {by})")

    stats = docker.run("stats", "--no-stream", "--format", "{{json .}}")
    stats = {s["Name"]: s for s in map(json.loads, stats.splitlines())}
    for name in names:
        facts = inspect(docker, name)
        pid, host = facts["State"]["Pid"], facts["HostConfig"]
        before = counted(pid)
        scrape = Scrape(exporter)
        after = counted(pid)
        usage = scrape.one("container_cpu_usage_seconds_total", name, cpu="total")
        if not before[0] <= usage <= after[0]:
            wrong.append(f"CPU of {name}: {usage}, the kernel says {before[0]} before and {after[0]} after")
        check(f"memory of {name}", scrape.one("container_memory_usage_bytes", name), before[1], 4 << 20)
        check(f"working set of {name} by docker stats", scrape.one("container_memory_working_set_bytes", name),
              bytes_of(stats[name]["MemUsage"].split(" / ")[0]), 2 << 20)
        # A check of its health runs now and then in it.
        by = 10 if facts["State"].get("Health") else 0
        check(f"threads of {name}", scrape.one("container_threads", name), float(stats[name]["PIDs"]), by)
        check(f"start of {name}", scrape.one("container_start_time_seconds", name),
              seconds_of(facts["State"]["StartedAt"]), 2)
        check(f"memory limit of {name}", scrape.one("container_spec_memory_limit_bytes", name), host["Memory"])
        if host["NanoCpus"]:
            period = scrape.one("container_spec_cpu_period", name)
            check(f"quota of {name}", scrape.one("container_spec_cpu_quota", name), host["NanoCpus"] / 1e9 * period, 1)
        check(f"restarts of {name}", scrape.one("outrigger_container_restarts_total", name), facts["RestartCount"])
        state = {None: 0.0, "healthy": 1.0}.get((facts["State"].get("Health") or {}).get("Status"), -1.0)
        check(f"health of {name}", scrape.one("container_health_state", name), state)
        labels = dict(next(iter(scrape.all("container_last_seen", name=name))))
        if (labels["image"], labels.get("container_label_team")) != ("box:1", "check"):
            wrong.append(f"labels of {name}: {labels}")
        if facts["Id"] not in labels["id"]:
            wrong.append(f"id of {name}: {labels['id']}")
    if wrong:
        raise Failed("not as docker says:\n  " + "\n  ".join(wrong))
    print(f"{len(names)} containers as docker inspect, docker stats and the kernel say")


def throttled(exporter):
    first = Scrape(exporter)
    series = "container_cpu_cfs_throttled_periods_total"
    peers.wait_for(lambda: Scrape(exporter).one(series, "throttled") > first.one(series, "throttled"), "throttling")
    if first.all(series, name="host"):
        raise Failed(f"{series} of a container without a quota")
    print("throttled periods are counted")


def killed(docker, exporter):
    """One whose child is killed, and one that is killed itself: its count stays when it is gone."""
    series = "container_oom_events_total"
    wait_for_names(exporter, "hungry")
    peers.wait_for(lambda: Scrape(exporter).one(series, "hungry") >= 2, "kills for lack of memory", 60)
    start(docker, "killed", "sleep 5; exec tail /dev/zero", "--network=none", "--memory=16m", "--memory-swap=16m")
    wait_for_names(exporter, "killed")
    peers.wait_for(lambda: not inspect(docker, "killed")["State"]["Running"], "its end", 60)
    if not inspect(docker, "killed")["State"]["OOMKilled"]:
        raise Failed("docker says that it was not killed for lack of memory")
    scrape = Scrape(exporter)
    left = {family for family, (_, samples) in scrape.families.items() if any(("name", "killed") in k[1] for k in samples)}
    if left != {series} or scrape.one(series, "killed") != 1:
        raise Failed(f"after the kill there are {left} of it: {scrape.all(series, name='killed')}")
    print(f"kills are counted: {scrape.one(series, 'hungry'):.0f} of a child, 1 of a container that went with it")


def networks(docker, exporter):
    """The host's is nobody's; one of its own has its traffic."""
    pid = inspect(docker, "alone")["State"]["Pid"]
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
    # The other end is one of those that are left out.
    made = subprocess.run([*enter, "link", "add", "eth0", "type", "veth", "peer", "name", "veth0"], capture_output=True, check=False)
    if made.returncode != 0:
        raise Failed(f"cannot make an interface in the container: {made.stderr.decode()}")
    subprocess.run([*enter, "address", "add", "192.0.2.1/24", "broadcast", "+", "dev", "eth0"], check=True)
    for end in ("veth0", "eth0"):
        subprocess.run([*enter, "link", "set", end, "up"], check=True)
    send = ("import socket; s = socket.socket(2, 2); s.setsockopt(1, 6, 1); "
            "[s.sendto(b'x' * 1000, ('192.0.2.255', 9)) for _ in range(10)]")
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "/usr/bin/python3", "-c", send], check=True)
    with open(f"/proc/{pid}/net/dev", encoding="utf-8") as f:
        row = next(line for line in f if line.strip().startswith("eth0:"))
    numbers = [float(n) for n in row.split(":")[1].split()]
    scrape = Scrape(exporter)
    for family, want in (("transmit_bytes", numbers[8]), ("transmit_packets", numbers[9]), ("receive_bytes", numbers[0])):
        got = scrape.one(f"container_network_{family}_total", "alone", interface="eth0")
        if got < want or (family == "transmit_bytes" and want < 10_000):
            raise Failed(f"container_network_{family}_total: {got}, the kernel says {want}")
    if scrape.all("container_network_receive_bytes_total", interface="veth0"):
        raise Failed("the end of a pair that is none of the container's is shown")
    if scrape.all("container_network_receive_bytes_total", name="host"):
        raise Failed("a container on the host's network shows the host's traffic")
    print("traffic of a network of its own, none of the host's")


def come_and_go(docker, exporter):
    """Seen in the first scrape after it came, gone in the first after it went; while others scrape all the time.

    Its name may come a moment later: a pass waits 100 ms for it at most, and not while the runtime is still busy with
    the question of the pass before. Until then its name is empty.
    """
    stop, broken = threading.Event(), []

    def scrape_on():
        while not stop.is_set():
            try:
                Scrape(exporter)
            except (Failed, OSError) as error:
                broken.append(error)

    scraper = threading.Thread(target=scrape_on)
    scraper.start()
    named_at_once = 0
    try:
        for turn in range(5):
            name = f"turn-{turn}"
            identity = start(docker, name, "sleep 1000", "--network=none")
            seen = [dict(labels) for labels in Scrape(exporter).all("container_last_seen")]
            names = {labels.get("name", "") for labels in seen if identity in labels["id"]}
            if names not in ({name}, {""}):
                raise Failed(f"{name} in the first scrape: {names}, of {seen}")
            named_at_once += names == {name}
            wait_for_names(exporter, name)
            docker.run("rm", "--force", name)
            if name in Scrape(exporter).text:
                raise Failed(f"{name} is still there after it was removed")
    finally:
        stop.set()
        scraper.join()
    if broken:
        raise Failed(f"scrapes meanwhile: {broken[:3]}")
    print(f"5 containers came and went, each in the very next scrape; {named_at_once} had their names in it")


def frozen_daemon(docker, exporter):
    """A daemon that accepts and never answers costs nothing, not even the names that are known."""
    ours = {"throttled", "healthy", "sick", "host", "alone", "hungry"}
    wait_for_names(exporter, *ours)
    os.kill(docker.daemon.pid, signal.SIGSTOP)
    try:
        end = time.monotonic() + 12
        slowest = 0.0
        while time.monotonic() < end:
            began = time.monotonic()
            missing = ours - Scrape(exporter).names()
            slowest = max(slowest, time.monotonic() - began)
            if missing:
                raise Failed(f"while the daemon hangs the names of {missing} are gone")
    finally:
        os.kill(docker.daemon.pid, signal.SIGCONT)
    if slowest > 5:
        raise Failed(f"a scrape took {slowest:.2f} s while the daemon hung")
    start(docker, "after", "sleep 1000", "--network=none")
    wait_for_names(exporter, "after")
    print(f"a daemon that hangs: names stay, slowest scrape {slowest * 1000:.0f} ms; then new names come")


def late_daemon(binary, docker):
    """Containers before names: no name until the runtime answers, then its."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/later.sock"
        flags = [*ONLY, f"--collector.container.docker-socket={path}"]
        with peers.start_outrigger(binary, flags) as exporter:
            first = Scrape(exporter)
            if "throttled" in first.names() or not first.all("container_last_seen"):
                raise Failed(f"without a runtime: {first.names()}")
            os.symlink(docker.socket.removeprefix("unix://"), path)
            wait_for_names(exporter, "throttled")
    print("names of a runtime that came later came by themselves")


@contextlib.contextmanager
def runtime(answer):
    """A socket where `answer(connection)` is all that happens."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/runtime.sock"
        listener.bind(path)
        listener.listen(8)
        listener.settimeout(0.2)
        stop = threading.Event()
        asked = []

        def serve():
            while not stop.is_set():
                try:
                    connection = listener.accept()[0]
                except TimeoutError:
                    continue
                asked.append(connection)
                with contextlib.suppress(OSError):
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path, asked
        finally:
            stop.set()
            thread.join()
            for connection in asked:
                connection.close()


def endless(connection):
    """100 MB of a list."""
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n[")
    entry = json.dumps({"Id": "0" * 64, "Names": ["/x" * 100], "Labels": {"a": "b" * 1000}}).encode() + b","
    for _ in range(100_000_000 // len(entry)):
        connection.sendall(entry)
    connection.close()


def deep(connection):
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 4_000_000)
    connection.close()


def hostile(binary):
    for what, answer in (("never answers", lambda c: None), ("sends 100 MB", endless), ("nests without end", deep)):
        with runtime(answer) as (path, asked):
            flags = [*ONLY, f"--collector.container.docker-socket={path}", "--collector.container.name-timeout=1s"]
            with peers.start_outrigger(binary, flags) as exporter:
                before = exporter.status("VmHWM")
                slowest = 0.0
                end = time.monotonic() + 4
                while time.monotonic() < end:
                    began = time.monotonic()
                    scrape = Scrape(exporter)
                    slowest = max(slowest, time.monotonic() - began)
                if not asked:
                    raise Failed(f"a runtime that {what} was not asked")
                up = scrape.all("outrigger_container_runtime_up", runtime="docker")
                if list(up.values()) != [0.0] or not scrape.all("container_last_seen"):
                    raise Failed(f"a runtime that {what}: up {up}")
                grown = (exporter.status("VmHWM") - before) / 1024
                if slowest > 5 or grown > 40:
                    raise Failed(f"a runtime that {what}: slowest scrape {slowest:.2f} s, {grown:.0f} MB more memory")
                print(f"a runtime that {what}: slowest scrape {slowest * 1000:.0f} ms, {grown:.1f} MB more memory at most")


def many(binary):
    """A tree of 10,000 containers."""
    with tempfile.TemporaryDirectory() as folder:
        root = f"{folder}/sys/fs/cgroup"
        os.makedirs(f"{root}/docker")
        with open(f"{root}/cgroup.controllers", "w", encoding="utf-8") as f:
            f.write("memory\n")
        for at in range(10_000):
            group = f"{root}/docker/{at:064x}"
            os.mkdir(group)
            with open(f"{group}/memory.current", "w", encoding="utf-8") as f:
                f.write("1\n")
        with peers.start_outrigger(binary, [*ONLY, f"--path.sysfs={folder}/sys"]) as exporter:
            Scrape(exporter)
            began = time.monotonic()
            scrape = Scrape(exporter)
            took = time.monotonic() - began
            shown, left = len(scrape.all("container_last_seen")), scrape.all("outrigger_containers_left_out")
            if shown != 500 or list(left.values()) != [9500.0] or took > 10:
                raise Failed(f"10,000 containers: {shown} shown, {left} left out, {took:.2f} s")
            print(f"10,000 containers: 500 shown, 9,500 counted, {took * 1000:.0f} ms a scrape, "
                  f"{exporter.status('VmRSS') / 1024:.0f} MB")


def compare(binary):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        docker = Docker(folder)
        stack.callback(docker.stop)
        image(docker)
        healthy = ["--health-cmd=true", "--health-interval=1s", "--network=none"]
        sick = ["--health-cmd=false", "--health-interval=1s", "--health-retries=1", "--network=none"]
        start(docker, "throttled", BURN, "--cpus=0.1", "--network=none")
        start(docker, "healthy", "sleep 1000", *healthy)
        start(docker, "sick", "sleep 1000", *sick)
        start(docker, "host", "sleep 1000", "--network=host")
        start(docker, "alone", "sleep 1000", "--network=none", "--memory=64m")
        for name, state in (("healthy", "healthy"), ("sick", "unhealthy")):
            peers.wait_for(lambda n=name, s=state: inspect(docker, n)["State"]["Health"]["Status"] == s, state, 60)
        path = docker.socket.removeprefix("unix://")
        flags = [*ONLY, f"--collector.container.docker-socket={path}", "--collector.container.label=team"]
        exporter = stack.enter_context(peers.start_outrigger(binary, flags))
        wait_for_names(exporter, "throttled", "healthy", "sick", "host", "alone")
        same_as_docker(docker, exporter, ["throttled", "healthy", "sick", "host", "alone"])
        throttled(exporter)
        start(docker, "hungry", HUNGRY, "--network=none", "--memory=16m", "--memory-swap=16m")
        killed(docker, exporter)
        networks(docker, exporter)
        come_and_go(docker, exporter)
        frozen_daemon(docker, exporter)
        late_daemon(binary, docker)
        hostile(binary)
    many(binary)


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    compare(os.path.abspath(options.parse_args().outrigger))


if __name__ == "__main__":
    peers.main(check)
