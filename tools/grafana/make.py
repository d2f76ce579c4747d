#!/usr/bin/env python3
"""Writes grafana/provisioning/alerting/*.yml: Grafana's words for what alerts/alertmanager.yml says.

    python3 tools/grafana/make.py [FOLDER]

For those who let Grafana tell people: the same receivers, routes and times for alerts that Grafana itself manages.
Inhibition has no counterpart there. Grafana knows times in which a route is silent, so active times are turned round.
"""

import os
import re
import sys

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECRETS = "/etc/grafana/secrets"
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
HEAD = "# Made by tools/grafana/make.py from alerts/alertmanager.yml; Grafana reads secrets from their files itself.\n"


class Plain(yaml.SafeDumper):
    """No anchors, and times of day in quotes: some readers take 09:00 for a number."""

    def ignore_aliases(self, data):
        return True


Plain.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="'" if re.fullmatch(r"[0-9:]+", text) else None))


def secret(path):
    return f"$__file{{{SECRETS}/{os.path.basename(path)}}}"


def contact_point(receiver, config):
    """One receiver: each of its integrations in Grafana's terms."""
    found, name = [], receiver["name"]

    def add(kind, settings, resolved):
        found.append({"uid": f"outrigger-{name}-{kind}", "type": kind, "disableResolveMessage": not resolved, "settings": settings})

    for one in receiver.get("pagerduty_configs", []):
        add("pagerduty", {"integrationKey": secret(one["routing_key_file"]), "severity": "{{ .CommonLabels.severity }}"}, True)
    for one in receiver.get("opsgenie_configs", []):
        add("opsgenie", {"apiKey": secret(config["global"]["opsgenie_api_key_file"]), "responders": one["responders"]}, True)
    for one in receiver.get("slack_configs", []):
        add("slack", {"url": secret(config["global"]["slack_api_url_file"]), "recipient": one["channel"]}, one["send_resolved"])
    for one in receiver.get("email_configs", []):
        add("email", {"addresses": one["to"], "singleEmail": True}, one.get("send_resolved", False))
    for one in receiver.get("webhook_configs", []):
        settings = {"url": one["url"], "httpMethod": "POST", "maxAlerts": one["max_alerts"]}
        token = one.get("http_config", {}).get("authorization", {}).get("credentials_file")
        if token:
            settings.update(authorization_scheme="Bearer", authorization_credentials=secret(token))
        add("webhook", settings, one["send_resolved"])
    return {"orgId": 1, "name": name, "receivers": found}


def matcher(text):
    return list(re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', text).groups())


def policy(route):
    made = {"receiver": route["receiver"]}
    if "matchers" in route:
        made["object_matchers"] = [matcher(text) for text in route["matchers"]]
    for key in ("group_by", "group_wait", "group_interval", "repeat_interval", "continue"):
        if key in route:
            made[key] = route[key]
    silent = [f"outside-{name}" for name in route.get("active_time_intervals", [])] + route.get("mute_time_intervals", [])
    if silent:
        made["mute_time_intervals"] = silent
    if "routes" in route:
        made["routes"] = [policy(inner) for inner in route["routes"]]
    return made


def outside(intervals):
    """The week without these intervals, which are days and times of days."""
    (interval,) = intervals
    first, last = (DAYS.index(day) for day in interval["weekdays"][0].split(":"))
    (times,) = interval["times"]
    place = {"location": interval["location"]}
    days = [f"{DAYS[first]}:{DAYS[last]}"]
    return [
        {"weekdays": [f"{DAYS[last + 1]}:{DAYS[6]}"], **place},
        {"weekdays": days, "times": [{"start_time": "00:00", "end_time": times["start_time"]}], **place},
        {"weekdays": days, "times": [{"start_time": times["end_time"], "end_time": "24:00"}], **place},
    ]


def mute_times(config):
    used = set(re.findall(r"'(.*?)'", str([used for route in walk(config["route"]) for used in route.get("active_time_intervals", [])])))
    for interval in config["time_intervals"]:
        if interval["name"] in used:
            yield {"orgId": 1, "name": f"outside-{interval['name']}", "time_intervals": outside(interval["time_intervals"])}
        else:
            yield {"orgId": 1, "name": interval["name"], "time_intervals": interval["time_intervals"]}


def walk(route):
    yield route
    for inner in route.get("routes", []):
        yield from walk(inner)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "grafana", "provisioning", "alerting")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(ROOT, "alerts", "alertmanager.yml"), encoding="utf-8") as file:
        config = yaml.safe_load(file)
    documents = {
        "contact-points.yml": {"contactPoints": [contact_point(receiver, config) for receiver in config["receivers"]]},
        "policies.yml": {"policies": [{"orgId": 1, **policy(config["route"])}]},
        "mute-timings.yml": {"muteTimes": list(mute_times(config))},
    }
    for name, document in documents.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(HEAD + "apiVersion: 1\n")
            yaml.dump(document, file, Plain, sort_keys=False, default_flow_style=False, width=120)


if __name__ == "__main__":
    main()
