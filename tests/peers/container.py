#!/usr/bin/env python3
"""The image, built from the Dockerfile and run as an operator would run it.

A Docker daemon of our own (data, socket and state in a temporary folder, no bridge, no iptables) builds the
Dockerfile unchanged, offline: the runtime base is a root made of this machine's glibc and nothing else, the builder
base is busybox with a stand-in for `cargo` that checks its arguments and hands over the binary under test. So what
is exercised is every line of the Dockerfile but the compilation itself, which `cargo build` outside did.

It runs read-only, as nobody, without capabilities, with the host mounted read-only; it must report the host - the
same series as the binary run directly on it - and become healthy.
"""

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile

import peers
from peers import Failed

BUILDER = "docker.io/library/rust:1.95.0-slim-bookworm"
RUNTIME = "gcr.io/distroless/cc-debian12:nonroot"
CARGO = """#!/bin/sh
[ "$*" = "build --locked --profile dist --bin outrigger" ] || { echo "unexpected: cargo $*"; exit 1; }
[ -f Cargo.lock ] && [ -f src/main.rs ] || { echo "the build context lacks sources"; exit 1; }
mkdir -p target/dist && cp /outrigger target/dist/outrigger
"""
HOST_FLAGS = ["--path.rootfs=/host", "--path.procfs=/host/proc", "--path.sysfs=/host/sys",
              "--path.udev.data=/host/run/udev/data"]
# The daemon's own mounts lie in a folder that only root may enter.
ALIKE = ["--collector.filesystem.mount-points-exclude=^/(dev|proc|run|sys|tmp)($|/)"]
# Families that must hold the very same series inside and outside.
SAME = [
    "node_uname_info", "node_os_info", "node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_boot_time_seconds",
    "node_filesystem_size_bytes", "node_network_receive_bytes_total", "node_network_info", "node_disk_info",
    "node_disk_reads_completed_total", "node_load1", "node_filefd_maximum", "node_sockstat_sockets_used",
    "node_netstat_Tcp_ActiveOpens", "node_vmstat_pgfault", "node_pressure_cpu_waiting_seconds_total",
    "node_schedstat_running_seconds_total", "node_softnet_processed_total", "node_timex_tick_seconds",
]
SAME_VALUE = ["node_uname_info", "node_os_info", "node_memory_MemTotal_bytes", "node_boot_time_seconds",
              "node_filesystem_size_bytes", "node_filefd_maximum", "node_disk_info"]


class Docker:
    """A daemon of our own; `run` calls its client."""

    def __init__(self, folder):
        self.socket = f"unix://{folder}/docker.sock"
        # A client of the legacy builder asks for no plugin and no frontend image.
        self.environment = {**os.environ, "DOCKER_HOST": self.socket, "DOCKER_BUILDKIT": "0",
                            "DOCKER_CONFIG": folder}
        self.daemon = peers.Process(
            ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", f"--host={self.socket}",
             f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"],
        )
        try:
            peers.wait_for(lambda: self.call("info").returncode == 0, "start of dockerd", 60, self.daemon)
        except Failed:
            self.daemon.stop()
            raise

    def call(self, *arguments, **options):
        return subprocess.run(["docker", *arguments], env=self.environment, capture_output=True, check=False, **options)

    def run(self, *arguments, **options):
        """Output of a client command; a failure is the check's."""
        done = self.call(*arguments, **options)
        if done.returncode != 0:
            raise Failed(f"docker {' '.join(arguments)}: {done.returncode}\n"
                         f"{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}")
        return done.stdout.decode().strip()

    def stop(self):
        ids = self.call("ps", "--all", "--quiet").stdout.decode().split()
        if ids:
            self.call("rm", "--force", *ids)
        self.daemon.stop(30)


def tar_of(files):
    """A tar of {path: (mode, bytes or link target)}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, (mode, content) in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.mode = mode
            if content is None:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def runtime_root(binary):
    """What distroless/cc holds that the binary can see: its shared libraries and a passwd; no shell."""
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"(/\S+\.so\S*)", linked)
    if not any("libc.so" in path for path in libraries):
        raise Failed(f"{binary} is not linked to glibc, which NVML needs:\n{linked}")
    files = {"/etc/passwd": (0o644, b"nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"), "/tmp": (0o1777, None),
             "/host": (0o755, None), "/proc": (0o555, None), "/sys": (0o555, None), "/dev": (0o755, None)}
    for path in libraries:
        files[path] = (0o755, read(path))
    return tar_of(files)


def builder_root(binary):
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Failed("busybox (package busybox-static) is not installed")
    files = {"/bin/busybox": (0o755, read(busybox)), "/outrigger": (0o755, read(binary)),
             "/usr/local/cargo/bin/cargo": (0o755, CARGO.encode()), "/tmp": (0o1777, None)}
    for applet in ("sh", "mkdir", "cp", "echo", "[", "find", "touch"):
        files[f"/bin/{applet}"] = (0o777, "busybox")
    return tar_of(files)


def build(docker, binary):
    """Imports the bases and builds the Dockerfile as it is; returns the image's configuration."""
    docker.run("import", "--change", "USER 65532", "-", RUNTIME, input=runtime_root(binary))
    docker.run("import", "--change", "ENV PATH=/usr/local/cargo/bin:/bin", "-", BUILDER, input=builder_root(binary))
    layers = []
    for _ in range(2):
        docker.run("build", "--no-cache", "--network", "none", "--tag", "outrigger:check", "--build-arg", "REVISION=0123abc",
                   "--build-arg", "SOURCE_DATE_EPOCH=1700000000", peers.ROOT)
        image = json.loads(docker.run("inspect", "outrigger:check"))[0]
        layers.append(image["RootFS"]["Layers"])
    if layers[0] != layers[1]:
        raise Failed(f"two builds of the image differ: {layers}")
    config = image["Config"]
    labels = config.get("Labels") or {}
    wrong = [
        what for what, right in {
            "the user is not numeric and unprivileged": re.fullmatch(r"[1-9]\d+:[1-9]\d+", config["User"]),
            "the healthcheck needs a shell": config["Healthcheck"]["Test"][0] == "CMD",
            "the entrypoint is not the binary": config["Entrypoint"] == ["/usr/local/bin/outrigger"],
            "the revision label is wrong": labels.get("org.opencontainers.image.revision") == "0123abc",
            "the licence label is missing": labels.get("org.opencontainers.image.licenses") == "Apache-2.0",
        }.items() if not right
    ]
    if wrong:
        raise Failed(f"the image: {'; '.join(wrong)}: {config}")
    print("image built twice with the same layers; configuration as it should be")


UNPRIVILEGED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]


def run_image(docker, port):
    """Starts it on the host's network as README and examples/ say; returns its id."""
    return docker.run(
        "run", "--detach", *UNPRIVILEGED, "--network=host", "--pid=host", "--volume=/:/host:ro",
        "outrigger:check", *HOST_FLAGS, *ALIKE, f"--web.listen-address=127.0.0.1:{port}",
    )


def series(families, name):
    """{series: value} of a family; a mount that this user may not look into is no difference."""
    return families.get(name, ("", {}))[1]


def reports_the_host(inside, outside):
    findings = []
    present = [name for name in SAME if series(outside, name)]
    if len(present) < 12:
        raise Failed(f"the binary on the host has only {present}")
    for name in present:
        mine, hosts = series(inside, name), series(outside, name)
        if mine.keys() != hosts.keys():
            lost, new = hosts.keys() - mine.keys(), mine.keys() - hosts.keys()
            findings.append(f"{name}: lost {sorted(map(peers.show, lost))}, new {sorted(map(peers.show, new))}")
        elif name in SAME_VALUE and mine != hosts:
            findings.append(f"{name}: {mine}, on the host {hosts}")
    nodename = dict(next(iter(series(inside, "node_uname_info")), ("", ()))[1]).get("nodename")
    if nodename != os.uname().nodename:
        findings.append(f"nodename {nodename}, the host is {os.uname().nodename}")
    if findings:
        raise Failed("the container does not report the host:\n  " + "\n  ".join(findings))
    print(f"{len(present)} families with the very series of the host, nodename {nodename}")


def state(docker, container):
    return json.loads(docker.run("inspect", container))[0]["State"]


def compare(binary):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        docker = Docker(folder)
        stack.callback(docker.stop)
        build(docker, binary)
        port = peers.free_port()
        container = run_image(docker, port)

        def scraped():
            if not state(docker, container)["Running"]:
                raise Failed(f"the container ended:\n{docker.call('logs', container).stderr.decode()}")
            return peers.get(port, "/metrics", {"Accept": peers.TEXT})[2].decode()

        inside = peers.parse(peers.wait_for(scraped, "a scrape of the container", 30))
        with peers.start_outrigger(binary, ALIKE) as outside:
            reports_the_host(inside, peers.parse(outside.scrape()))
        docker.run("stop", "--time=15", container)
        if state(docker, container)["ExitCode"] != 0:
            raise Failed(f"SIGTERM: exit code {state(docker, container)['ExitCode']}")
        print("drained on SIGTERM")
        becomes_healthy(docker)


def becomes_healthy(docker):
    """The image's own HEALTHCHECK on the default port, in a network namespace of its own."""
    container = docker.run("run", "--detach", *UNPRIVILEGED, "--network=none", "outrigger:check")
    peers.wait_for(lambda: state(docker, container)["Health"]["Status"] == "healthy", "HEALTHCHECK healthy", 60)
    lone = docker.call("run", "--rm", *UNPRIVILEGED, "--network=none", "outrigger:check", "healthcheck")
    if lone.returncode != 1:
        raise Failed(f"healthcheck without an instance: {lone.returncode}, want 1: {lone.stderr.decode()}")
    print("healthy through `outrigger healthcheck`, which fails where nothing listens")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    compare(os.path.abspath(options.parse_args().outrigger))


if __name__ == "__main__":
    peers.main(check)
