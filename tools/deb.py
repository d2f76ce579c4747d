#!/usr/bin/env python3
"""Makes a Debian package of a built binary: tools/deb.py BINARY FOLDER.

In it: the binary, the hardened unit of examples/systemd, /etc/outrigger/outrigger.yml and /etc/default/outrigger (both
conffiles), completions, a manual page, rules, dashboards, Alertmanager's and Grafana's files. The same input gives the
same bytes (SOURCE_DATE_EPOCH, by default the last commit's). Needs dpkg-deb, nothing else.
"""

import gzip
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
DEFAULT = """# Arguments of the service, beside those in outrigger.service: see `outrigger --help`.
#OUTRIGGER_ARGS="--web.listen-address=127.0.0.1:9780 --collector.systemd"
OUTRIGGER_ARGS=""
"""
CONFIG = """# Outrigger's configuration; /usr/share/doc/outrigger/examples/configs has more, `outrigger check config` checks it.
# Everything has a default. `systemctl reload outrigger` reads it again.

# scrape_configs:
#   - job_name: application
#     static_configs: [{ targets: ["localhost:8080"] }]

# alerting:
#   alertmanagers:
#     - static_configs: [{ targets: ["localhost:9093"] }]

builtin_rules:
  enabled: true
"""
# DPKG_ROOT is set while a system is put together in a folder: then there is no systemd to tell.
POSTINST = """#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ "$1" = configure ]; then
        if [ -z "$2" ]; then systemctl enable --now outrigger.service; else systemctl try-restart outrigger.service; fi
    fi
fi
"""
PRERM = """#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now outrigger.service
fi
"""
POSTRM = """#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
# The history of a DynamicUser= service lies in /var/lib/private.
if [ "$1" = purge ]; then rm -rf "$DPKG_ROOT/var/lib/private/outrigger" "$DPKG_ROOT/var/lib/outrigger"; fi
"""


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def ask(binary, *arguments):
    return subprocess.run([binary, *arguments], capture_output=True, text=True, check=True, timeout=60).stdout


def manual(binary, version):
    """A page made of what the program says about itself."""
    escape = lambda text: re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"), flags=re.M)
    return (f'.TH OUTRIGGER 1 "" "outrigger {version}"\n.SH NAME\noutrigger \\- metrics, history, alerts and SLOs beside a workload\n'
            f".SH DESCRIPTION\n.nf\n{escape(ask(binary, '--help'))}.fi\n"
            ".SH FILES\n.TP\n.I /etc/outrigger/outrigger.yml\nThe configuration.\n.TP\n.I /etc/default/outrigger\nArguments of the service.\n"
            ".SH SEE ALSO\n/usr/share/doc/outrigger\n")


def unit():
    text = read("examples", "systemd", "outrigger.service").replace("# /etc/systemd/system/outrigger.service\n", "")
    start = re.search(r"^ExecStart=.*$", text, re.M)[0]
    wanted = start.replace("/usr/local/bin/outrigger run", "/usr/bin/outrigger run --config.file=/etc/outrigger/outrigger.yml") + " $OUTRIGGER_ARGS"
    return text.replace(start, f"EnvironmentFile=-/etc/default/outrigger\n{wanted}")


def libc(binary):
    """The oldest glibc that has every symbol that the binary asks for."""
    with open(binary, "rb") as file:
        return max(tuple(int(part) for part in found.split(b".")) for found in re.findall(rb"GLIBC_(2\.[0-9]+)", file.read()))


def tree(binary, version):
    """{path: (mode, bytes)} of what is installed."""
    files = {}

    def put(path, content, mode=0o644):
        files[path] = (mode, content if isinstance(content, bytes) else content.encode())

    with open(binary, "rb") as file:
        put("usr/bin/outrigger", file.read(), 0o755)
    put("lib/systemd/system/outrigger.service", unit())
    put("etc/outrigger/outrigger.yml", CONFIG)
    put("etc/default/outrigger", DEFAULT)
    put("usr/share/bash-completion/completions/outrigger", ask(binary, "completions", "bash"))
    put("usr/share/zsh/vendor-completions/_outrigger", ask(binary, "completions", "zsh"))
    put("usr/share/fish/vendor_completions.d/outrigger.fish", ask(binary, "completions", "fish"))
    put("usr/share/man/man1/outrigger.1.gz", gzip.compress(manual(binary, version).encode(), mtime=0))
    put("usr/share/doc/outrigger/changelog.gz", gzip.compress(read("CHANGELOG.md").encode(), mtime=0))
    put("usr/share/doc/outrigger/copyright", f"Outrigger, {version}\n\n{read('LICENSE')}")
    for folder, target in (("rules", "share/outrigger/rules"), ("alerts", "share/outrigger/alerts"), ("dashboards", "share/outrigger/dashboards"),
                           ("grafana", "share/outrigger/grafana"), ("examples/configs", "share/doc/outrigger/examples/configs"), ("docs", "share/doc/outrigger/docs")):
        for place, _, names in sorted(os.walk(os.path.join(ROOT, folder))):
            for name in sorted(names):
                inner = os.path.relpath(os.path.join(place, name), os.path.join(ROOT, folder))
                put(f"usr/{target}/{inner}", read(folder, inner))
    return files


def control(binary, version, files):
    size = sum(len(content) for _, content in files.values()) // 1024
    major, minor = libc(binary)
    return (f"Package: outrigger\nVersion: {version}\nArchitecture: {ARCHITECTURES[os.uname().machine]}\nMaintainer: Outrigger <outrigger@example.com>\n"
            f"Installed-Size: {size}\nDepends: libc6 (>= {major}.{minor}), libgcc-s1\nSuggests: prometheus, prometheus-alertmanager, grafana\n"
            "Section: net\nPriority: optional\nHomepage: https://github.com/outrigger-dev/outrigger\n"
            "Description: metrics, history, alerts and SLOs beside a workload\n"
            " One small process exports the machine and its GPUs in Prometheus's formats, reads\n"
            " the application beside it, keeps a bounded history, answers PromQL, evaluates\n"
            " alert rules and SLOs, and tells Alertmanagers and webhooks.\n")


def epoch():
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    done = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    binary, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    version = re.search(r'^version = "([^"]+)"', read("Cargo.toml"), re.M)[1]
    files = tree(binary, version)
    conffiles = "".join(f"/{path}\n" for path in files if path.startswith("etc/"))
    files |= {"DEBIAN/control": (0o644, control(binary, version, files).encode()), "DEBIAN/conffiles": (0o644, conffiles.encode()),
              "DEBIAN/postinst": (0o755, POSTINST.encode()), "DEBIAN/prerm": (0o755, PRERM.encode()), "DEBIAN/postrm": (0o755, POSTRM.encode())}
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        when = epoch()
        for path, (mode, content) in files.items():
            target = os.path.join(root, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content)
            os.chmod(target, mode)
        package = os.path.join(folder, f"outrigger_{version}_{ARCHITECTURES[os.uname().machine]}.deb")
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", "-Zxz", "-z1", root, package], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "SOURCE_DATE_EPOCH": str(when)})
    print(package)


if __name__ == "__main__":
    main()
