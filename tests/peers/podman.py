#!/usr/bin/env python3
"""Containers of a real podman, compared with `podman inspect` and the kernel's files.

Storage, state and the socket are our own (a temporary folder); no systemd, no network. Its health checks, which podman has
systemd run by a timer, are run here.
"""

import argparse
import contextlib
import json
import os
import subprocess
import tempfile

import peers
from containers import Scrape, counted, image_tar, seconds_of, wait_for_names
from peers import Failed

IMAGE = "localhost/box:1"


class Podman:
    """`run` calls the client; `serve` is what answers on the socket."""

    def __init__(self, folder):
        self.socket = f"{folder}/podman.sock"
        self.command = [
            "podman", f"--root={folder}/root", f"--runroot={folder}/run", f"--tmpdir={folder}/tmp", "--storage-driver=vfs",
            # crun refuses machines on which both versions of control groups have controllers.
            "--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime=runc",
        ]

    def call(self, *arguments, **options):
        return subprocess.run([*self.command, *arguments], capture_output=True, check=False, timeout=60, **options)

    def run(self, *arguments, **options):
        done = self.call(*arguments, **options)
        if done.returncode != 0:
            raise Failed(f"podman {' '.join(arguments)}: {done.returncode}\n"
                         f"{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}")
        return done.stdout.decode().strip()

    def serve(self):
        return peers.Process([*self.command, "system", "service", "--time=0", f"unix://{self.socket}"])

    def image(self, folder):
        with open(f"{folder}/image.tar", "wb") as f:
            f.write(image_tar())
        self.run("import", "--change", "ENV PATH=/bin", "--change", "LABEL team=check", f"{folder}/image.tar", IMAGE)

    def start(self, name, script, *flags):
        # Limits that need no privilege beyond what this check has.
        return self.run("run", "--detach", f"--name={name}", "--network=none", "--ulimit=nofile=1024:1024",
                        "--ulimit=nproc=1024:1024", *flags, IMAGE, "sh", "-c", script)

    def inspect(self, name):
        return json.loads(self.run("inspect", name))[0]

    def stop(self):
        self.call("rm", "--force", "--all", "--time=0")


def same_as_podman(podman, exporter, names):
    wrong = []

    def check(what, mine, theirs, by=0.0):
        if abs(mine - theirs) > by:
            wrong.append(f"{what}: {mine}, not {theirs} (by {by})")

    for name in names:
        facts = podman.inspect(name)
        pid = facts["State"]["Pid"]
        before = counted(pid)
        scrape = Scrape(exporter)
        after = counted(pid)
        usage = scrape.one("container_cpu_usage_seconds_total", name, cpu="total")
        if not before[0] <= usage <= after[0]:
            wrong.append(f"CPU of {name}: {usage}, the kernel says {before[0]} before and {after[0]} after")
        check(f"memory of {name}", scrape.one("container_memory_usage_bytes", name), before[1], 4 << 20)
        check(f"start of {name}", scrape.one("container_start_time_seconds", name),
              seconds_of(facts["State"]["StartedAt"]), 2)
        check(f"memory limit of {name}", scrape.one("container_spec_memory_limit_bytes", name), facts["HostConfig"]["Memory"])
        check(f"restarts of {name}", scrape.one("outrigger_container_restarts_total", name), facts["RestartCount"])
        labels = dict(next(iter(scrape.all("container_last_seen", name=name))))
        if (labels["image"], labels.get("container_label_team")) != (facts["ImageName"], facts["Config"]["Labels"]["team"]):
            wrong.append(f"labels of {name}: {labels}")
        if facts["Id"] not in labels["id"]:
            wrong.append(f"id of {name}: {labels['id']}")
    if wrong:
        raise Failed("not as podman says:\n  " + "\n  ".join(wrong))
    print(f"{len(names)} containers as podman inspect and the kernel say")


def healthy(podman, exporter):
    """What podman says of its checks, also when it changes."""
    for name, code in (("healthy", 0), ("sick", 1)):
        ran = podman.call("healthcheck", "run", name)
        if ran.returncode != code:
            raise Failed(f"podman healthcheck run {name}: {ran.returncode}, want {code}: {ran.stderr.decode()}")
    want = {"healthy": 1.0, "sick": -1.0, "plain": 0.0}
    for name, value in want.items():
        status = (podman.inspect(name)["State"].get("Health") or {}).get("Status")
        peers.wait_for(lambda n=name, v=value: Scrape(exporter).one("container_health_state", n) == v,
                       f"the health of {name}, {status} by podman inspect", 60)
    print("health as podman inspect says: healthy, unhealthy, no check")


def compare(binary):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        podman = Podman(folder)
        podman.image(folder)
        stack.callback(podman.stop)
        check = ["--health-interval=disable", "--health-retries=1"]
        podman.start("healthy", "sleep 1000", "--health-cmd=true", *check)
        podman.start("sick", "sleep 1000", "--health-cmd=false", *check)
        podman.start("plain", "while :; do sleep 1; done", "--memory=64m")
        service = stack.enter_context(podman.serve())
        peers.wait_for(lambda: os.path.exists(podman.socket), "podman's socket", 60, service)
        flags = ["--collector.disable-defaults", "--collector.container", "--collector.container.docker-socket=",
                 f"--collector.container.podman-socket={podman.socket}", "--collector.container.label=team"]
        exporter = stack.enter_context(peers.start_outrigger(binary, flags))
        names = {"healthy", "sick", "plain"}
        wait_for_names(exporter, *names)
        same_as_podman(podman, exporter, sorted(names))
        healthy(podman, exporter)
        podman.run("rm", "--force", "--time=0", "sick")
        if "sick" in Scrape(exporter).text:
            raise Failed("a container that was removed is still there")
        service.stop()
        podman.start("late", "sleep 1000")
        if not {"healthy", "plain"} <= Scrape(exporter).names():
            raise Failed(f"without the service: {Scrape(exporter).names()}")
        stack.enter_context(podman.serve())
        wait_for_names(exporter, "late")
        print("a removed one is gone; names stay without the service, and new ones come when it is back")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    compare(os.path.abspath(options.parse_args().outrigger))


if __name__ == "__main__":
    peers.main(check)
