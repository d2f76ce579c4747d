#!/usr/bin/env python3
"""The Debian package (tools/deb.py): installed into a folder by dpkg, used, upgraded, removed, purged.

What it installs is there and runs: the binary from its place, the unit (`systemd-analyze verify`), the configuration
(`check config`), completions (read by bash), the manual page. A conffile that an administrator changed survives an upgrade and a
removal, and ends with a purge. Two builds give the same bytes. Where cargo-deb is (.ci/run installs it), its package of the
same binary has the same files, modes, conffiles, scripts and fields.
"""

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile

import peers
from peers import Failed

FILES = ["usr/bin/outrigger", "lib/systemd/system/outrigger.service", "etc/outrigger/outrigger.yml", "etc/default/outrigger",
         "usr/share/bash-completion/completions/outrigger", "usr/share/zsh/vendor-completions/_outrigger", "usr/share/man/man1/outrigger.1.gz",
         "usr/share/outrigger/rules/host.rules.yml", "usr/share/outrigger/dashboards/host.json", "usr/share/outrigger/alerts/alertmanager.yml",
         "usr/share/doc/outrigger/copyright", "usr/share/doc/outrigger/changelog.gz"]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def cargo_deb(binary, folder):
    """The package that cargo-deb makes of what deb.py has prepared; None without it, or for another binary than cargo's."""
    tool = shutil.which("cargo-deb", path=f"{peers.ROOT}/target/tools/bin:{os.environ['PATH']}")
    if tool is None or shutil.which("cargo") is None or binary != os.path.join(peers.ROOT, "target", "release", "outrigger"):
        return None
    made = os.path.join(folder, "cargo.deb")
    run(tool, "--no-build", "--no-strip", "--offline", "--fast", "--quiet", "--output", made, cwd=peers.ROOT)
    return made


def contents(package, folder):
    """{path: (mode, bytes)} of a package, its control files among them; without what two makers may say differently."""
    run("dpkg-deb", "--raw-extract", package, folder)
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = (oct(os.stat(path).st_mode), file.read())
    # Dependencies are guessed by each in its own way, descriptions wrapped.
    fields = found.pop("DEBIAN/control")[1].decode().split("\nDescription:")[0].splitlines()
    found["DEBIAN/control"] = sorted(line for line in fields if not re.match("Depends|Installed-Size", line))
    found.pop("DEBIAN/md5sums", None)
    return found


def cargo_findings(package, binary, folder):
    """What cargo-deb's package has otherwise; a word on whether there is one."""
    theirs = cargo_deb(binary, folder)
    if theirs is None:
        return [], "no cargo-deb to compare with"
    one, other = contents(package, os.path.join(folder, "one")), contents(theirs, os.path.join(folder, "other"))
    wrong = sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
    return [f"cargo-deb's package differs in {wrong[:20]}"] if wrong else [], f"{len(one)} files as cargo-deb has them"


class System:
    """A folder that dpkg takes for a system; scripts run outside of it and are told where it is."""

    def __init__(self, folder):
        self.root = folder
        for path in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"):
            os.makedirs(os.path.join(folder, path))
        open(os.path.join(folder, "var/lib/dpkg/status"), "w", encoding="utf-8").close()

    def dpkg(self, *arguments):
        # What it depends on is in the real system.
        run("dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-depends", "--force-confold", f"--log={self.root}/log", *arguments)

    def path(self, path):
        return os.path.join(self.root, path)

    def has(self, path):
        return os.path.exists(self.path(path))


def build(binary, folder):
    return run(sys.executable, os.path.join(peers.ROOT, "tools", "deb.py"), binary, folder).strip()


def installed_findings(system, folder):
    findings = [f"{path} is not there" for path in FILES if not system.has(path)]
    binary = system.path("usr/bin/outrigger")
    run(binary, "check", "config", system.path("etc/outrigger/outrigger.yml"))
    run("bash", "-n", system.path("usr/share/bash-completion/completions/outrigger"))
    with gzip.open(system.path("usr/share/man/man1/outrigger.1.gz"), "rt", encoding="utf-8") as file:
        page = file.read()
    if not page.startswith(".TH OUTRIGGER 1") or "\\-\\-config.file" not in page:
        findings.append(f"the manual page: {page[:200]}")
    with open(system.path("lib/systemd/system/outrigger.service"), encoding="utf-8") as file:
        unit = file.read()
    if "ExecStart=/usr/bin/outrigger run --config.file=/etc/outrigger/outrigger.yml" not in unit or "$OUTRIGGER_ARGS" not in unit:
        findings.append(f"the unit starts something else: {re.findall('ExecStart.*', unit)}")
    copy = os.path.join(folder, "outrigger.service")
    with open(copy, "w", encoding="utf-8") as file:
        file.write(unit.replace("/usr/bin/outrigger", binary))
    said = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    if said.returncode != 0 or "outrigger" in said.stderr:
        findings.append(f"systemd-analyze verify: {said.stderr}")
    # As the unit starts it, but for places that a check has no right to.
    with peers.start_outrigger(binary, [f"--config.file={system.path('etc/outrigger/outrigger.yml')}", f"--storage.path={folder}/history"]) as ours:
        if "outrigger_build_info" not in ours.scrape():
            findings.append("the installed binary shows no metrics of its own")
    return findings


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    binary = os.path.realpath(options.parse_args().outrigger)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as root:
        package, again = build(binary, os.path.join(folder, "a")), build(binary, os.path.join(folder, "b"))
        with open(package, "rb") as a, open(again, "rb") as b:
            same = a.read() == b.read()
        findings = [] if same else ["two builds differ"]
        size = os.path.getsize(package)
        found, said = cargo_findings(package, binary, folder)
        findings += found
        system = System(root)
        system.dpkg("--install", package)
        findings += installed_findings(system, folder)
        config = system.path("etc/outrigger/outrigger.yml")
        with open(config, "a", encoding="utf-8") as file:
            file.write("\n# an administrator's own line\n")
        mine = lambda: os.path.exists(config) and "administrator" in open(config, encoding="utf-8").read()
        system.dpkg("--install", again)
        if not mine():
            findings.append("an upgrade overwrites the configuration")
        system.dpkg("--remove", "outrigger")
        if system.has("usr/bin/outrigger") or not mine():
            findings.append("a removal leaves the binary, or takes the configuration")
        os.makedirs(system.path("var/lib/private/outrigger"))
        system.dpkg("--purge", "outrigger")
        left = [os.path.join(place, name) for place, _, names in os.walk(root) for name in names if "/var/lib/dpkg" not in place and name != "log"]
        if left or system.has("var/lib/private/outrigger"):
            findings.append(f"a purge leaves {left}")
    if findings:
        raise Failed("\n".join(findings))
    print(f"{size / 1e6:.1f} MB; installed, upgraded, removed, purged; two builds the same; {said}")


if __name__ == "__main__":
    peers.main(check)
