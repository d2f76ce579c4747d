#!/usr/bin/env python3
"""Makes a Debian package of a built binary: tools/deb.py BINARY FOLDER; or tools/deb.py --prepare BINARY, for cargo-deb.

What is in it, and what it says of itself, stands in Cargo.toml, [package.metadata.deb], where `cargo deb --no-build` reads
it, too; both packages have the same files. `--prepare` makes those that are made of something else, in target/deb:
completions, a manual page, the unit of examples/systemd with the package's places. The same input gives the same bytes
(SOURCE_DATE_EPOCH, by default the last commit's). Needs dpkg-deb, nothing else.
"""

import glob
import gzip
import os
import re
import subprocess
import sys
import tempfile
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MADE = os.path.join(ROOT, "target", "deb")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def package():
    """[package] of Cargo.toml, [package.metadata.deb] with it."""
    return tomllib.loads(read("Cargo.toml"))["package"]


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
    # Where it listens and keeps its history is for outrigger.yml to say: a flag would be stronger than that.
    wanted = "ExecStart=/usr/bin/outrigger run --config.file=/etc/outrigger/outrigger.yml $OUTRIGGER_ARGS"
    return text.replace(start, f"EnvironmentFile=-/etc/default/outrigger\n{wanted}")


def prepare(binary):
    """Writes to target/deb what is made of something else."""
    version = package()["version"]
    made = {
        "outrigger.service": unit(), "outrigger.1.gz": gzip.compress(manual(binary, version).encode(), mtime=0),
        "changelog.gz": gzip.compress(read("CHANGELOG.md").encode(), mtime=0), "copyright": f"Outrigger, {version}\n\n{read('LICENSE')}",
        **{f"outrigger.{shell}": ask(binary, "completions", shell) for shell in ("bash", "zsh", "fish")},
    }
    os.makedirs(MADE, exist_ok=True)
    for name, content in made.items():
        with open(os.path.join(MADE, name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())


def libc(binary):
    """The oldest glibc that has every symbol that the binary asks for."""
    with open(binary, "rb") as file:
        return max(tuple(int(part) for part in found.split(b".")) for found in re.findall(rb"GLIBC_(2\.[0-9]+)", file.read()))


def tree(binary, about):
    """{path: (mode, bytes)} of what is installed: the assets, as cargo-deb understands them."""
    files = {}
    for source, target, mode in about["assets"]:
        base = source.split("*")[0]
        paths = [binary] if target == "usr/bin/outrigger" else sorted(filter(os.path.isfile, glob.glob(os.path.join(ROOT, source), recursive=True)))
        if not paths:
            sys.exit(f"Cargo.toml: [package.metadata.deb]: {source} is not there")
        for path in paths:
            inner = os.path.relpath(path, os.path.join(ROOT, base)) if base != source else ""
            with open(path, "rb") as file:
                files[os.path.join(target, inner) if inner else target] = (int(mode, 8), file.read())
    return files


def control(binary, about, version, files):
    size = sum(len(content) for _, content in files.values()) // 1024
    major, minor = libc(binary)
    description = "\n ".join(about["extended-description"].strip().splitlines())
    return (f"Package: outrigger\nVersion: {version}\nArchitecture: {ARCHITECTURES[os.uname().machine]}\nMaintainer: {about['maintainer']}\n"
            f"Installed-Size: {size}\nDepends: {about['depends'].replace('$auto', f'libc6 (>= {major}.{minor}), libgcc-s1')}\nSuggests: {about['suggests']}\n"
            f"Section: {about['section']}\nPriority: {about['priority']}\nHomepage: {package()['homepage']}\nDescription: {package()['description']}\n {description}\n")


def epoch():
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    done = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def build(binary, folder):
    about, version = package()["metadata"]["deb"], package()["version"]
    files = tree(binary, about)
    files |= {"DEBIAN/control": (0o644, control(binary, about, version, files).encode()), "DEBIAN/conffiles": (0o644, "".join(f"{path}\n" for path in about["conf-files"]).encode())}
    files |= {f"DEBIAN/{name}": (0o755, read(about["maintainer-scripts"], name).encode()) for name in ("postinst", "prerm", "postrm")}
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        for path, (mode, content) in files.items():
            target = os.path.join(root, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content)
            os.chmod(target, mode)
        made = os.path.join(folder, f"outrigger_{version}_{ARCHITECTURES[os.uname().machine]}.deb")
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", "-Zxz", "-z1", root, made], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch())})
    return made


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    if sys.argv[1] == "--prepare":
        prepare(os.path.abspath(sys.argv[2]))
    else:
        binary = os.path.abspath(sys.argv[1])
        prepare(binary)
        print(build(binary, os.path.abspath(sys.argv[2])))


if __name__ == "__main__":
    main()
