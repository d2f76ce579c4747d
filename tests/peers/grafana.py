#!/usr/bin/env python3
"""grafana/provisioning: well-formed, complete, and saying what alerts/alertmanager.yml says.

Grafana itself is in no package here, so its files are held to the keys that its documentation gives them. The alerting
files are what tools/grafana/make.py makes of Alertmanager's; apart from that both are asked, for alerts of every severity
and team and for every quarter of an hour of a week, who is told.
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

import yaml

import peers
from peers import Failed
from shipped_rules import load, read

FOLDER = os.path.join(peers.ROOT, "grafana", "provisioning")
ALERTS = os.path.join(peers.ROOT, "alerts", "alertmanager.yml")
DATASOURCE = {"name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData"}
JSON_DATA = {"prometheus": {"httpMethod", "timeInterval", "prometheusType", "prometheusVersion", "cacheLevel", "incrementalQuerying",
                            "incrementalQueryOverlapWindow", "manageAlerts", "alertmanagerUid"},
             "alertmanager": {"implementation", "handleGrafanaManagedAlerts"}}
PROVIDER = {"name", "orgId", "folder", "folderUid", "type", "disableDeletion", "allowUiUpdates", "updateIntervalSeconds", "options"}
SETTINGS = {"pagerduty": {"integrationKey", "severity"}, "opsgenie": {"apiKey", "responders"}, "slack": {"url", "recipient"},
            "email": {"addresses", "singleEmail"},
            "webhook": {"url", "httpMethod", "maxAlerts", "authorization_scheme", "authorization_credentials"}}
POLICY = {"orgId", "receiver", "object_matchers", "group_by", "group_wait", "group_interval", "repeat_interval", "continue",
          "mute_time_intervals", "routes"}
SECRET = re.compile(r"^\$__file\{/etc/grafana/secrets/[a-z-]+\}$")
SECRET_KEYS = {"integrationKey", "apiKey", "authorization_credentials"}
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def unknown(where, mapping, keys):
    return [f"{where}: unknown key {key}" for key in mapping.keys() - keys]


def source_findings():
    findings, sources = [], load(os.path.join(FOLDER, "datasources", "outrigger.yml"))["datasources"]
    for source in sources:
        findings += unknown(source["name"], source, DATASOURCE) + unknown(source["name"], source["jsonData"], JSON_DATA[source["type"]])
    uids = {source["uid"]: source for source in sources}
    if set(uids) != {"outrigger", "prometheus", "alertmanager"} or sum(bool(s.get("isDefault")) for s in sources) != 1:
        findings.append(f"data sources: {sorted(uids)}, or not one default")
    findings += [f"{s['name']}: its Alertmanager is no source" for s in sources if s["jsonData"].get("alertmanagerUid", "alertmanager") not in uids]
    (provider,) = load(os.path.join(FOLDER, "dashboards", "outrigger.yml"))["providers"]
    findings += unknown("provider", provider, PROVIDER)
    if provider["options"]["path"] not in read(os.path.join(peers.ROOT, "grafana", "README.md")):
        findings.append("README.md copies the boards to another place than the provider reads")
    return findings


def current_findings(folder):
    subprocess.run([sys.executable, os.path.join(peers.ROOT, "tools", "grafana", "make.py"), folder], check=True, timeout=60)
    names = {os.path.basename(path) for path in glob.glob(f"{folder}/*") + glob.glob(f"{FOLDER}/alerting/*")}
    both = lambda name: [read(os.path.join(where, name)) if os.path.exists(os.path.join(where, name)) else None for where in (folder, os.path.join(FOLDER, "alerting"))]
    return [f"grafana/provisioning/alerting/{name}: is not what tools/grafana/make.py makes (`just made`)" for name in sorted(names) if len(set(both(name))) > 1]


def point_findings(points, config):
    findings = []
    if [p["name"] for p in points] != [r["name"] for r in config["receivers"]]:
        findings.append("contact points and receivers differ")
    uids = [one["uid"] for point in points for one in point["receivers"]]
    if len(uids) != len(set(uids)) or any(len(uid) > 40 for uid in uids):
        findings.append(f"uids of contact points: {uids}")
    for point in points:
        if not point["receivers"]:
            findings.append(f"{point['name']}: tells nobody")
        for one in point["receivers"]:
            findings += unknown(one["uid"], one["settings"], SETTINGS[one["type"]])
            secrets = [value for key, value in one["settings"].items() if key in SECRET_KEYS or (one["type"], key) == ("slack", "url")]
            findings += [f"{one['uid']}: {value} is not read from a file" for value in secrets if not SECRET.match(value)]
    return findings


def fits(value, operator, wanted):
    return {"=": value == wanted, "!=": value != wanted, "=~": bool(re.fullmatch(wanted, value)), "!~": not re.fullmatch(wanted, value)}[operator]


def routed(route, labels):
    """Routes that an alert comes to, as in Alertmanager; None when this one does not fit."""
    matchers = route.get("object_matchers") or [re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', m).groups() for m in route.get("matchers", [])]
    if not all(fits(labels.get(name, ""), operator, wanted) for name, operator, wanted in matchers):
        return None
    found = []
    for inner in route.get("routes", []):
        deeper = routed({**{k: v for k, v in route.items() if k in ("group_wait", "group_interval", "repeat_interval", "group_by")}, **inner}, labels)
        if deeper:
            found += deeper
            if not inner.get("continue"):
                break
    return found or [route]


def minutes(text):
    hours, rest = text.split(":")
    return int(hours) * 60 + int(rest)


def within(intervals, day, minute):
    """Whether a minute of a day of the week is in one of the intervals; days of months and months are not looked at."""
    def one(interval):
        days = [d.split(":") for d in interval.get("weekdays", ["monday:sunday"])]
        of_day = any(DAYS.index(d[0]) <= day <= DAYS.index(d[-1]) for d in days)
        times = interval.get("times")
        return of_day and (not times or any(minutes(t["start_time"]) <= minute < minutes(t["end_time"]) for t in times))
    return any(one(interval) for interval in intervals)


def told(route, times, day, minute):
    active, silent = route.get("active_time_intervals"), route.get("mute_time_intervals", [])
    silent = [name for name in silent if name != "maintenance"]
    return (not active or any(within(times[name], day, minute) for name in active)) and not any(within(times[name], day, minute) for name in silent)


def policy_findings(policies, mutes, config):
    findings = []

    def walk(policy):
        findings.extend(unknown(f"policy of {policy['receiver']}", policy, POLICY))
        for inner in policy.get("routes", []):
            walk(inner)

    walk(policies)
    theirs = {i["name"]: i["time_intervals"] for i in config["time_intervals"]}
    ours = {i["name"]: i["time_intervals"] for i in mutes}
    asked = 0
    for severity in ("critical", "high", "medium", "low", ""):
        for team in ("data", "web", ""):
            for name in ("Any", "Watchdog"):
                labels = {"alertname": name, "severity": severity, "team": team}
                a, b = routed(config["route"], labels), routed(policies, labels)
                shown = lambda routes: [(r["receiver"], r.get("group_wait"), r.get("group_interval"), r.get("repeat_interval"), r.get("group_by")) for r in routes]
                if shown(a) != shown(b):
                    findings.append(f"{labels}: {shown(a)} by Alertmanager, {shown(b)} by Grafana")
                for day in range(7):
                    for minute in range(0, 1440, 15):
                        asked += 1
                        if [told(r, theirs, day, minute) for r in a] != [told(r, ours, day, minute) for r in b]:
                            findings.append(f"{labels}, {DAYS[day]} {minute // 60}:{minute % 60:02}: told by one and not by the other")
    return findings, asked


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", help="not needed")
    options.parse_args()
    config = load(ALERTS)
    findings = source_findings()
    with tempfile.TemporaryDirectory() as folder:
        findings += current_findings(folder)
    alerting = {name: load(os.path.join(FOLDER, "alerting", f"{name}.yml")) for name in ("contact-points", "policies", "mute-timings")}
    findings += [f"{path}: no apiVersion 1" for path in glob.glob(f"{FOLDER}/*/*.yml") if yaml.safe_load(read(path)).get("apiVersion") != 1]
    findings += point_findings(alerting["contact-points"]["contactPoints"], config)
    found, asked = policy_findings(alerting["policies"]["policies"][0], alerting["mute-timings"]["muteTimes"], config)
    findings += found
    if findings:
        raise Failed("\n".join(findings[:30]))
    print(f"{len(alerting['contact-points']['contactPoints'])} contact points; {asked} questions of who is told and when: as Alertmanager")


if __name__ == "__main__":
    peers.main(check)
