#!/usr/bin/env python3
"""Makes a bill of materials, CycloneDX 1.5 as JSON: tools/sbom.py FILE [--target TRIPLE] [--binary PATH].

What is linked is what `cargo tree` says of the program without its tests, for one target; licences come from `cargo
metadata`, checksums from Cargo.lock. Procedural macros and what build scripts use are listed with the scope `excluded`: they
made the program and are not in it. The same sources give the same bytes (SOURCE_DATE_EPOCH, by default the last commit's).
Needs cargo and what it has fetched, nothing of the network.
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import subprocess
import tomllib
import uuid

import deb

ROOT = deb.ROOT
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/outrigger-dev/outrigger")


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments, "--locked", "--offline"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout


def host():
    return re.search(r"^host: (\S+)$", subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout, re.M)[1]


def crates(target, edges):
    """{(name, version): whether it is a procedural macro} of a tree."""
    said = cargo("tree", "--edges", edges, "--target", target, "--prefix", "none", "--format", "{p}")
    return {(row[1], row[2]): bool(row[3]) for row in re.finditer(r"^(\S+) v(\S+)( \(proc-macro\))?", said, re.M)}


def linked(target):
    """What is in the program: ordinary dependencies that are reached without passing a procedural macro."""
    lines = cargo("tree", "--edges", "normal", "--target", target, "--prefix", "depth", "--no-dedupe", "--format", " {p}").splitlines()
    found, behind = set(), None
    for line in lines:
        row = re.match(r"(\d+) (\S+) v(\S+)( \(proc-macro\))?", line)
        depth = int(row[1])
        if behind is not None and depth > behind:
            continue
        behind = depth if row[4] else None
        if behind is None:
            found.add((row[2], row[3]))
    return found


def reference(name, version):
    return f"pkg:cargo/{name}@{version}"


def component(crate, checksums, metadata, inside):
    name, version = crate
    about = metadata[crate]
    return {
        "type": "library", "bom-ref": reference(name, version), "name": name, "version": version, "scope": "required" if inside else "excluded",
        "hashes": [{"alg": "SHA-256", "content": checksums[crate]}],
        # Cargo once allowed a slash for "or".
        "licenses": [{"expression": re.sub(r" ?/ ?", " OR ", about["license"])}],
        "purl": reference(name, version),
        **({"externalReferences": [{"type": "vcs", "url": about["repository"]}]} if about.get("repository") else {}),
    }


def bill(target, binary=None):
    package = deb.package()
    root = (package["name"], package["version"])
    with open(os.path.join(ROOT, "Cargo.lock"), "rb") as file:
        checksums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", target))
    by_id = {p["id"]: (p["name"], p["version"]) for p in metadata["packages"]}
    about = {(p["name"], p["version"]): p for p in metadata["packages"]}
    every, inside = set(crates(target, "normal,build")) - {root}, linked(target) - {root}
    edges = {by_id[node["id"]]: sorted({by_id[d["pkg"]] for d in node["deps"] if any(kind["kind"] != "dev" for kind in d["dep_kinds"])}) for node in metadata["resolve"]["nodes"]}
    application = {"type": "application", "bom-ref": reference(*root), "name": root[0], "version": root[1], "description": package["description"],
                   "licenses": [{"expression": package["license"]}], "purl": reference(*root)}
    if binary:
        with open(binary, "rb") as file:
            application["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(file.read()).hexdigest()}]
    made = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"timestamp": datetime.datetime.fromtimestamp(deb.epoch(), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "component": application,
                     "properties": [{"name": "cargo:target", "value": target}]},
        "components": [component(crate, checksums, about, crate in inside) for crate in sorted(every)],
        "dependencies": [{"ref": reference(*crate), "dependsOn": [reference(*on) for on in edges[crate] if on in every]} for crate in [root, *sorted(every)]],
    }
    made["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, json.dumps(made, sort_keys=True))}"
    return made


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("file")
    options.add_argument("--target", default=None)
    options.add_argument("--binary", default=None)
    arguments = options.parse_args()
    made = bill(arguments.target or host(), arguments.binary)
    with open(arguments.file, "w", encoding="utf-8") as file:
        json.dump(made, file, indent=1)
        file.write("\n")
    inside = sum(part["scope"] == "required" for part in made["components"])
    print(f"{inside} crates are linked, {len(made['components']) - inside} helped to build it")


if __name__ == "__main__":
    main()
