#!/usr/bin/env python3
"""Makes the archive of a release: tools/archive.py BINARY FOLDER; prints its path.

In it, below one folder: the binary, its bill of materials, completions, manual page, unit, rules, alerts, dashboards,
Grafana's files, examples, docs. The same input gives the same bytes: sorted, of nobody, dated by SOURCE_DATE_EPOCH or the last
commit. Needs cargo for the bill of materials.
"""

import gzip
import io
import json
import os
import sys
import tarfile

import deb
import sbom

WHOLE = ["rules", "alerts", "dashboards", "grafana", "examples", "docs"]
MADE = {"outrigger.bash": "completions", "outrigger.zsh": "completions", "outrigger.fish": "completions", "outrigger.1.gz": "man"}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def files(binary, target):
    """{path below the folder: (mode, bytes)}."""
    found = {"outrigger": (0o755, read(binary)), "outrigger.cdx.json": (0o644, (json.dumps(sbom.bill(target, binary), indent=1) + "\n").encode())}
    found |= {name: (0o644, read(os.path.join(deb.ROOT, name))) for name in ("LICENSE", "README.md", "CHANGELOG.md")}
    found |= {f"{folder}/{name}": (0o644, read(os.path.join(deb.MADE, name))) for name, folder in MADE.items()}
    for top in WHOLE:
        for place, folders, names in os.walk(os.path.join(deb.ROOT, top)):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                path = os.path.join(place, name)
                found[os.path.relpath(path, deb.ROOT)] = (0o755 if os.access(path, os.X_OK) else 0o644, read(path))
    return found


def archive(binary, folder):
    target, when = sbom.host(), deb.epoch()
    name = f"outrigger-{deb.package()['version']}-{target}"
    deb.prepare(binary)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, (mode, content) in sorted(files(binary, target).items()):
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mode, entry.mtime = len(content), mode, when
            tar.addfile(entry, io.BytesIO(content))
    os.makedirs(folder, exist_ok=True)
    made = os.path.join(folder, f"{name}.tar.gz")
    with open(made, "wb") as file:
        # No name and no date of its own in the header.
        file.write(gzip.compress(packed.getvalue(), mtime=0))
    return made


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    print(archive(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])))


if __name__ == "__main__":
    main()
