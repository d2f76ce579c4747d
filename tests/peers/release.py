#!/usr/bin/env python3
"""What a release has beside the binary: its bill of materials (tools/sbom.py) and its archive (tools/archive.py).

Every crate that the binary itself names, in the places that its panics would tell, is in the bill as linked; so is what Cargo.lock
has of it, with its checksum; nothing hangs in the air. Two bills and two archives of one binary are the same bytes, and the
archive's binary runs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib

import peers
from peers import Failed

sys.path.append(os.path.join(peers.ROOT, "tools"))
NEEDED = ["outrigger", "outrigger.cdx.json", "LICENSE", "README.md", "completions/outrigger.bash", "man/outrigger.1.gz", "rules/host.rules.yml",
          "alerts/alertmanager.yml", "dashboards/host.json", "examples/systemd/outrigger.service", "docs/getting-started.md"]


def tool(name, *arguments):
    done = subprocess.run([sys.executable, "-B", os.path.join(peers.ROOT, "tools", name), *arguments], capture_output=True, text=True, timeout=200)
    if done.returncode != 0:
        raise Failed(f"tools/{name}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def named_by(binary):
    """{(name, version)} of crates whose sources the binary has places of."""
    return {(row[1].decode(), row[2].decode()) for row in re.finditer(rb"registry/src/[^/]{1,80}/([A-Za-z0-9_-]+?)-(\d+\.\d+\.\d+[^/]{0,40})/", read(binary))}


def bill_findings(bill, binary):
    with open(os.path.join(peers.ROOT, "Cargo.lock"), "rb") as file:
        locked = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}
    parts = {(part["name"], part["version"]): part for part in bill["components"]}
    findings = [f"{part}: its checksum is not that of Cargo.lock" for part, said in parts.items() if said["hashes"][0]["content"] != locked.get(part)]
    named = named_by(binary)
    findings += [f"{crate} is in the binary and not in the bill as linked" for crate in sorted(named) if parts.get(crate, {}).get("scope") != "required"]
    if len(named) < 30:
        findings.append(f"the binary names only {len(named)} crates: is it stripped of their places?")
    refs = [part["bom-ref"] for part in bill["components"]] + [bill["metadata"]["component"]["bom-ref"]]
    findings += [] if len(refs) == len(set(refs)) else ["a reference twice"]
    findings += [f"{entry['ref']} depends on {on}, which is not there" for entry in bill["dependencies"] for on in entry["dependsOn"] if on not in refs]
    if {entry["ref"] for entry in bill["dependencies"]} != set(refs):
        findings.append("the graph has other nodes than the bill")
    if (bill["bomFormat"], bill["specVersion"]) != ("CycloneDX", "1.5") or not re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"]):
        findings.append("not CycloneDX 1.5")
    reached, todo = set(), [refs[-1]]
    graph = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    while todo:
        ref = todo.pop()
        if ref not in reached:
            reached.add(ref)
            todo += graph[ref]
    return findings + [f"nothing needs {ref}" for ref in sorted(set(refs) - reached)], len(named)


def archive_findings(path, folder, bill):
    with tarfile.open(path) as tar:
        entries = tar.getmembers()
        tar.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(folder)
    tops = {entry.name.split("/")[0] for entry in entries}
    if len(tops) != 1:
        return [f"the archive is not below one folder: {tops}"]
    top = os.path.join(folder, tops.pop())
    findings = [f"the archive lacks {name}" for name in NEEDED if not os.path.exists(os.path.join(top, name))]
    findings += [f"{entry.name}: of {entry.uid}:{entry.gid}" for entry in entries if (entry.uid, entry.gid, entry.uname) != (0, 0, "")]
    said = subprocess.run([os.path.join(top, "outrigger"), "check", "config", os.path.join(top, "examples", "configs", "outrigger-minimal.yml")], capture_output=True, text=True, timeout=60)
    if said.returncode != 0:
        findings.append(f"the archive's binary: {said.stderr}")
    if json.loads(read(os.path.join(top, "outrigger.cdx.json"))) != bill:
        findings.append("the archive has another bill of materials")
    return findings


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    binary = os.path.realpath(options.parse_args().outrigger)
    with tempfile.TemporaryDirectory() as folder:
        said = [tool("sbom.py", os.path.join(folder, name), "--binary", binary) for name in ("a.json", "b.json")]
        findings = [] if read(os.path.join(folder, "a.json")) == read(os.path.join(folder, "b.json")) else ["two bills differ"]
        bill = json.loads(read(os.path.join(folder, "a.json")))
        found, named = bill_findings(bill, binary)
        archives = [tool("archive.py", binary, os.path.join(folder, name)) for name in ("a", "b")]
        if read(archives[0]) != read(archives[1]):
            findings.append("two archives differ")
        findings += found + archive_findings(archives[0], os.path.join(folder, "unpacked"), bill)
        size = os.path.getsize(archives[0])
    if findings:
        raise Failed("\n".join(findings[:40]))
    print(f"{said[0]}; the binary names {named} of them; archive of {size / 1e6:.1f} MB, twice the same")


if __name__ == "__main__":
    peers.main(check)
