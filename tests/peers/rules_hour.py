"""The long form of rules.py: many rules beside a real Prometheus for as long as it is told, over reloads and kills.

Input comes in three kinds. Series that flap, each with a period of its own: what is seen of a change depends on when a
scrape falls, so that both may differ within one evaluation around it. Series with instants of their own, looked at some
seconds later (`offset`), so that both have the same samples when they evaluate: alerts and values must be the same to the
last bit. Series that come and go, and a target that fails for a while.

Meanwhile the rules are changed and both reload while alerts are pending, and both are killed with SIGKILL, twice, while
alerts are pending, firing, kept firing and just resolved. Each has an Alertmanager of its own that notes what it is told.

Where Prometheus forgets or shifts at a restart what Outrigger keeps, the difference is counted under its reason; a
difference without a reason is a failure.
"""

import collections
import http.server
import json
import math
import os
import re
import signal
import threading
import time

import peers
from peers import Failed
from rules import api, text_without_times

STEP = 5
# Alerts on series that come and go; a reload exchanges the one rule for the other.
COMES = ("Before", "After")
# The alert whose `for` a reload makes longer.
LONGER_FOR = "Flap35"
GRACE = 4 * STEP
# Half the period of each flapping series, seconds; between them lie the `for`s of the alerts over it.
HALVES = [20, 50, 75, 200, 390, 900]
HOLDS = [0, 35, 120, 300, 600]
KEEPS = [35, 120]


def plain_rules(longer):
    """Alerts over what flaps; `longer`: after the reload, which makes one `for` longer, takes one rule and adds one."""
    lines = []
    for hold in HOLDS:
        wait = 120 if longer and hold == 35 else hold
        lines.append(f"  - {{alert: Flap{hold}, expr: flap > 4, for: {wait}s, labels: {{severity: page, job: ''}}, "
                     f"annotations: {{summary: 'half {{{{ $labels.half }}}} is at {{{{ $value }}}}'}}}}")
        lines.append(f"  - {{alert: Gone{hold}, expr: 'absent(comes{{half=\"75\"}})', for: {hold}s}}")
    for keep in KEEPS:
        lines.append(f"  - {{alert: Kept{keep}, expr: flap > 4, keep_firing_for: {keep}s, labels: {{kept: 'yes'}}}}")
        lines.append(f"  - {{alert: Late{keep}, expr: flap > 4, for: 35s, keep_firing_for: {keep}s, labels: {{kept: 'yes'}}}}")
    lines.append("  - {alert: Down, expr: up == 0, for: 10s}")
    lines.append(f"  - {{alert: {'After' if longer else 'Before'}, expr: comes > 0, for: 10s}}")
    return lines


EXACT = "exact offset 8s"
RECORDED = {
    "r:now": EXACT,
    "r:sum": f"sum({EXACT})",
    "r:by": f"sum by (parity) ({EXACT})",
    "r:avg": "avg_over_time(exact[1m] offset 8s)",
    "r:max": "max_over_time(exact[2m] offset 8s)",
    "r:stddev": "stddev_over_time(exact[1m] offset 8s)",
    "r:quantile": f"quantile(0.7, {EXACT})",
    "r:rate": "rate(exact_total[1m] offset 8s)",
    "r:increase": "increase(exact_total[2m] offset 8s)",
    "r:changes": "changes(exact[2m] offset 8s)",
    "r:deriv": "deriv(exact[1m] offset 8s)",
    "r:predict": "predict_linear(exact[1m] offset 8s, 3600)",
    "r:top": f"topk(2, {EXACT})",
    "r:ratio": f"{EXACT} / on() group_left() sum({EXACT})",
    "r:chain": "r:sum * 2 + scalar(r:quantile)",
    "r:label": f"label_replace({EXACT}, 'copy', '$1', 'i', '(.*)')",
}


def rules(longer):
    """The rule file."""
    lines = ["groups:", "- name: plain", "  rules:", *plain_rules(longer), "- name: exact", "  rules:"]
    lines += [f"  - {{record: '{name}', expr: \"{expression}\", labels: {{kind: exact}}}}" for name, expression in RECORDED.items()]
    for hold in (0, 20, 60):
        lines.append(f"  - {{alert: Exact{hold}, expr: \"{EXACT} > 90\", for: {hold}s, labels: {{kind: exact}}}}")
    lines.append(f"  - {{alert: ExactRate, expr: \"r:rate > 40\", for: 15s, labels: {{kind: exact, level: '{{{{ $labels.i }}}}'}}}}")
    if not longer:
        lines += ["- name: leaves", "  rules:", f"  - {{record: 'r:leaves', expr: \"{EXACT}\"}}"]
    return "\n".join(lines) + "\n"


class Target:
    """Serves the series of an instant; after `end` all is quiet."""

    def __init__(self, end):
        self.began, self.end = time.time(), end
        target = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = target.body(self.path).encode()
                # The shaky one fails for half a minute in each five.
                broken = self.path == "/shaky" and 100 < target.age() % 300 < 130 and not target.is_quiet()
                self.send_response(500 if broken else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def age(self):
        return time.time() - self.began

    def is_quiet(self):
        return time.time() >= self.end

    def is_on(self, half):
        return self.was_on(half, time.time())

    def was_on(self, half, at):
        """Whether the series with this half period was up at an instant."""
        return at < self.end and int((at - self.began) // half) % 2 == 1

    def body(self, path):
        if path == "/shaky":
            return "shaky 1\n"
        lines = []
        for half in HALVES:
            on = self.is_on(half)
            lines.append(f'flap{{half="{half}"}} {5 if on else 0}')
            if on:
                lines.append(f'comes{{half="{half}"}} 1')
        # Of two seconds each, so that every scrape interval of one second sees each at least once.
        slot = int(time.time() // 2)
        at_ms = slot * 2000
        quiet = at_ms >= self.end * 1000
        for i in range(8):
            wave = 0 if quiet else 50 + 50 * math.sin(slot / (5 + 3 * i)) + (slot * 7919 * (i + 1)) % 13 / 13
            lines.append(f'exact{{i="{i}",parity="{i % 2}"}} {wave!r} {at_ms}')
            # Counters that are reset now and then.
            lines.append(f'exact_total{{i="{i}"}} {slot * (i + 1) * 10 % (4000 + i * 777)} {at_ms}')
        return "\n".join(lines) + "\n"


class Told:
    """An Alertmanager that notes what it is told: {labels: [(startsAt, resolved)]}, each state once."""

    def __init__(self):
        self.alerts, self.lock = collections.defaultdict(list), threading.Lock()
        told = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                told.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def take(self, alerts):
        now = time.time()
        with self.lock:
            for alert in alerts:
                state = (parsed(alert["startsAt"]), parsed(alert["endsAt"]) <= now)
                known = self.alerts[tuple(sorted(alert["labels"].items()))]
                if not known or known[-1] != state:
                    known.append(state)


def parsed(text):
    """An RFC 3339 instant in UTC as seconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = time.mktime(time.strptime(whole + " UTC", "%Y-%m-%dT%H:%M:%S %Z")) - time.timezone
    return seconds + float(f"0.{fraction or 0}")


class Pair:
    """Both programs, each in a folder of its own, with one rule file."""

    def __init__(self, binary, folder, target):
        self.binary, self.folder, self.rules = binary, folder, os.path.join(folder, "hour.yml")
        self.told = [Told(), Told()]
        self.ports = [peers.free_port(), peers.free_port()]
        self.write(rules(longer=False))
        jobs = "".join(f"- {{job_name: {job}, metrics_path: /{job}, static_configs: [{{targets: ['127.0.0.1:{target.port}']}}]}}\n"
                       for job in ("steady", "shaky"))
        for name, told, more in zip(("prometheus", "outrigger"), self.told,
                                    ("", f"builtin_rules: {{enabled: false}}\nstorage: {{path: '{folder}/hour-store'}}\n")):
            with open(os.path.join(folder, f"hour-{name}.yml"), "w", encoding="utf-8") as f:
                f.write(f"global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: {STEP}s}}\n"
                        f"rule_files: ['{self.rules}']\nscrape_configs:\n{jobs}"
                        f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{told.port}']}}]}}]}}\n{more}")
        self.running = [None, None]
        self.logs = ["", ""]
        self.start()

    def write(self, text):
        with open(f"{self.rules}.new", "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(f"{self.rules}.new", self.rules)

    def start(self):
        folder = self.folder
        commands = [
            ["prometheus", f"--config.file={folder}/hour-prometheus.yml", f"--storage.tsdb.path={folder}/hour-tsdb",
             # Else it forgets the age of all alerts whose `for` is less than 10 minutes.
             "--rules.alert.for-grace-period=0s"],
            [self.binary, f"--config.file={folder}/hour-outrigger.yml", "--collector.disable-defaults"],
        ]
        for who, command in enumerate(commands):
            command = [*command, f"--web.listen-address=127.0.0.1:{self.ports[who]}"]
            self.running[who] = peers.Exporter(command, self.ports[who], "/-/ready")

    def kill(self):
        """Both at once; answers when they were gone and when they were back."""
        down = time.time()
        for process in self.running:
            process.child.send_signal(signal.SIGKILL)
        for who, process in enumerate(self.running):
            process.child.wait()
            self.logs[who] += process.log(1 << 20)
        self.start()
        return down, time.time()

    def reload(self, text):
        self.write(text)
        for process in self.running:
            process.child.send_signal(signal.SIGHUP)
        return time.time()

    def stop(self):
        for process in filter(None, self.running):
            process.stop()


def series(port, name, seconds, now):
    """{labels: {instant in ms: value}} of the last `seconds`."""
    found = api(port, "query", query=f"{name}[{int(seconds)}s]", time=now)["result"]
    return {tuple(sorted(s["metric"].items())): {round(float(t) * 1000): float(v) for t, v in s["values"]} for s in found}


class Comparison:
    """What is the same, what differs for a reason, and what differs without one."""

    def __init__(self, target, kills, reloads, window, missed):
        self.target, self.kills, self.reloads, self.window = target, kills, reloads, window
        # Instants of samples that only one has scraped.
        self.missed = missed
        self.same, self.reasons, self.findings = collections.Counter(), collections.Counter(), []
        self.examples = {}

    def is_disturbed(self, at_ms):
        """Within an outage, or within an evaluation of a reload."""
        at = at_ms / 1000
        return any(down - STEP <= at <= up + GRACE for down, up in self.kills) or \
            any(abs(at - reloaded) <= 2 * STEP for reloaded in self.reloads)

    def is_within(self, at_ms):
        return self.window[0] <= at_ms / 1000 <= self.window[1] and not self.is_disturbed(at_ms)

    def went_while_down(self, labels, at):
        """Whether at this instant Prometheus may still see the series of `comes` that the alert is about, because it went
        between the last scrape before a kill and the first after it. Once it has come and gone again there is a marker."""
        if labels["alertname"] not in COMES and not labels["alertname"].startswith("Gone"):
            return False
        half, was_on = int(labels["half"]), self.target.was_on
        for down, up in self.kills:
            # Scrapes are a second apart, and begin up to a second after both answer.
            if not any(was_on(half, down - 2 + tenth / 10) for tenth in range(int((up - down + 2) * 10))):
                continue
            if was_on(half, up + 2):
                continue
            marked = min((t for t in range(int(up) + 3, int(up) + 300) if was_on(half, t - 1) and not was_on(half, t)),
                         default=up + 300)
            if up < at <= marked + 2 * STEP:
                return True
        return False

    def because(self, reason, shown):
        self.reasons[reason] += 1
        self.examples.setdefault(reason, shown)

    def began_with_a_missed_one(self, labels, since):
        """Whether one has an alert over exact input earlier because only one has the sample that it began with: the newest
        that is 8 seconds old, of one each 2 seconds."""
        if labels.get("kind") != "exact" or None in since:
            return False
        first, last = sorted(since)
        return any((first - 10) * 1000 <= m <= (last - 8) * 1000 for m in self.missed)

    def exact(self, name, theirs, ours):
        """Recorded samples: the same instants, the same bits."""
        evaluated = [{t for samples in found.values() for t in samples} for found in (theirs, ours)]
        reach = 8 + max((int(n) * 60 for n in re.findall(r"\[(\d+)m\]", RECORDED[name])), default=4)
        for labels in sorted(theirs.keys() | ours.keys()):
            a, b = theirs.get(labels, {}), ours.get(labels, {})
            for t in filter(self.is_within, sorted(a.keys() | b.keys())):
                x, y = a.get(t), b.get(t)
                shown = f"{name}{dict(labels)} at {t}: {x} there, {y} here"
                if x == y or (x is not None and y is not None and math.isnan(x) and math.isnan(y)):
                    self.same[name] += 1
                elif any(down <= t / 1000 <= up + 140 for down, up in self.kills) or \
                        any(t - reach * 1000 <= m <= t - 8000 for m in self.missed):
                    self.because(MISSED, shown)
                elif any(t not in instants for instants in evaluated):
                    self.because(LATE, shown)
                elif x is not None and y is not None and math.isclose(x, y, rel_tol=1e-12):
                    self.because(KAHAN, shown)
                else:
                    self.findings.append(shown)

    def alerts(self, theirs, ours, since_theirs, since_ours):
        """States: {labels with alertstate: {instant: 1}}; and since when: {labels: {instant: seconds}}."""
        def by_alert(found):
            all_ = collections.defaultdict(dict)
            for labels, samples in found.items():
                state = dict(labels)["alertstate"]
                key = tuple(pair for pair in labels if pair[0] not in ("alertstate", "__name__"))
                for t in samples:
                    all_[key][t] = state
            return all_
        bare = lambda found: {tuple(p for p in labels if p[0] != "__name__"): s for labels, s in found.items()}
        states, since = (by_alert(theirs), by_alert(ours)), (bare(since_theirs), bare(since_ours))
        for key in sorted(states[0].keys() | states[1].keys()):
            self.alert(key, [s.get(key, {}) for s in states], [s.get(key, {}) for s in since], states)

    def alert(self, key, states, since, all_states):
        a, b = states
        labels = dict(key)
        tolerance = 0 if labels.get("kind") == "exact" else 1
        for t in filter(self.is_within, sorted(a.keys() | b.keys())):
            shown = f"ALERTS{labels} at {t}: {a.get(t)} there, {b.get(t)} here"
            near = [t + STEP * 1000 * d for d in range(-tolerance, tolerance + 1)]
            if a.get(t) == b.get(t):
                self.same["ALERTS"] += 1
                self.since(labels, t, since, tolerance)
            elif any(self.is_disturbed(n) for n in near) or \
                    (any(b.get(n) == a.get(t) for n in near) and any(a.get(n) == b.get(t) for n in near)):
                self.same["ALERTS, within an evaluation of a change"] += 1
            elif any(not any(t in found for found in who.values()) for who in all_states if labels.get("kind") != "exact"):
                self.because(LATE, shown)
            elif reason := self.restart_reason(labels, t, states, since):
                self.because(reason, shown)
            else:
                self.findings.append(shown)

    def since(self, labels, t, since, tolerance):
        there, here = since[0].get(t), since[1].get(t)
        shown = f"ALERTS_FOR_STATE{labels} at {t}: {there} there, {here} here"
        if there is None or here is None:
            self.findings.append(shown)
        elif abs(there - here) <= tolerance * STEP:
            self.same["ALERTS_FOR_STATE"] += 1
        elif any(here <= down and t / 1000 > up for down, up in self.kills):
            self.because(SHIFTED, shown)
        elif self.began_with_a_missed_one(labels, (there, here)):
            self.because(MISSED, shown)
        elif self.went_while_down(labels, t / 1000):
            self.because(GONE, shown)
        else:
            self.findings.append(shown)

    def restart_reason(self, labels, t, states, since):
        """Why an alert that was there when both were killed differs afterwards; or one whose `for` became longer."""
        became_longer = any(0 <= t / 1000 - reloaded <= 120 + 2 * STEP for reloaded in self.reloads)
        if labels["alertname"] == LONGER_FOR and became_longer and states[1].get(t) == "pending":
            return LONGER
        if self.went_while_down(labels, t / 1000):
            return GONE
        if self.began_with_a_missed_one(labels, [s.get(t) for s in since]):
            return MISSED
        for down, up in self.kills:
            if t / 1000 <= up:
                continue
            last = max((x for x in states[1] if x / 1000 <= down), default=None)
            if last is None or down - last / 1000 > 2 * STEP:
                continue
            here = since[1].get(t)
            if here is not None and here <= down:
                if states[0].get(t) is None and labels.get("kept"):
                    return KEEP_LOST
                if (states[0].get(t), states[1].get(t)) == ("pending", "firing"):
                    return SHIFTED
        return None


MISSED = "a range reaches to samples that only one has scraped: an outage, or a scrape that was late"
LATE = "one was late and missed the evaluation"
KAHAN = "the last digits: Prometheus adds with compensation since 3.0, Debian's 2.42 does not"
SHIFTED = "Prometheus counts an outage out of a pending alert's age, Outrigger counts it in"
LONGER = "a longer `for` sends a firing alert back to pending since 3.0, in Debian's 2.42 not yet"
GONE = "a series went while both were down: Prometheus sees it until the lookback has passed, Outrigger until the first scrape"
KEEP_LOST = "Prometheus forgets at a restart that an alert is kept firing"


def scraped_by_one(*pairs):
    """Instants of samples that are not with both; `pairs`: theirs, ours, theirs, ours."""
    missed = set()
    for theirs, ours in zip(pairs[::2], pairs[1::2]):
        sets = [{t for samples in found.values() for t in samples} for found in (theirs, ours)]
        missed |= sets[0] ^ sets[1]
    return missed


def compare_told(pair, kills, reloads, findings):
    """What each told its Alertmanager: the same alerts, and none of ours announced twice."""
    theirs, ours = (dict(told.alerts) for told in pair.told)
    announced = lambda told: {labels: sorted({start for start, _ in states}) for labels, states in told.items()}
    a, b = announced(theirs), announced(ours)
    for labels in sorted(a.keys() ^ b.keys()):
        findings.append(f"told about {dict(labels)}: {a.get(labels)} there, {b.get(labels)} here")
    for labels, states in ours.items():
        for (before, resolved), (after, _) in zip(states, states[1:]):
            # What a reload took away while it fired, or sent back to pending, was not resolved, as in Prometheus 3.
            if after != before and not resolved and dict(labels)["alertname"] not in (*COMES, LONGER_FOR):
                findings.append(f"{dict(labels)} is announced anew at {after} though {before} was not resolved")
    def anew(told):
        kept = (states for labels, states in told.items() if dict(labels)["alertname"] not in (*COMES, LONGER_FOR))
        pairs = ((x, y) for states in kept for x, y in zip(states, states[1:]))
        return sum(after != before and not resolved for (before, resolved), (after, _) in pairs)
    shifted = 0
    for who, told, other in (("there", a, b), ("here", b, a)):
        for labels, starts in told.items():
            lone = [s for s in starts if not any(abs(s - o) <= 2 * STEP for o in other.get(labels, []))]
            # Until what was pending or kept at a kill has ended, the one has it earlier than the other, or once more.
            explained = {s for s in lone if any(up <= s <= up + 900 for _, up in kills)}
            if dict(labels)["alertname"] == LONGER_FOR and who == "here":
                # Sent back to pending by a reload, it fires once more when the longer `for` has passed.
                explained |= {s for s in lone if any(0 <= s - reloaded <= 120 + 2 * STEP for reloaded in reloads)}
            shifted += len(explained)
            if len(explained) < len(set(lone)):
                findings.append(f"told about {dict(labels)} at {sorted(set(lone) - explained)} only {who}")
    print(f"told to Alertmanagers: {sum(map(len, a.values()))} announcements of {len(a)} alerts there, "
          f"{sum(map(len, b.values()))} of {len(b)} here; of an alert that fired already: {anew(theirs)} there, {anew(ours)} here; "
          f"at another time, after a kill: {shifted}")


def compare_texts(pair, when):
    """/api/v1/rules and /alerts but for times, once no change is under way."""
    for path in ("rules", "alerts"):
        last = [None]

        def same():
            last[0] = [text_without_times(port, path) for port in pair.ports]
            return last[0][0] == last[0][1]
        try:
            peers.wait_for(same, path, 40)
            print(f"{when}: /api/v1/{path}: {len(last[0][0])} bytes, the same but for times", flush=True)
        except Failed:
            x, y = last[0]
            at = next((i for i, (c, d) in enumerate(zip(x, y)) if c != d), min(len(x), len(y)))
            yield f"{when}: /api/v1/{path}:\n    there ...{x[max(0, at - 100):at + 200]}\n    here  ...{y[max(0, at - 100):at + 200]}"


def sleep_until(at):
    while time.time() < at:
        time.sleep(min(1.0, max(0.01, at - time.time())))


def run(binary, folder, minutes):
    """Runs for so many minutes, the last tenth of them quiet, and compares."""
    seconds = minutes * 60
    began = time.time()
    target = Target(began + 0.88 * seconds)
    pair = Pair(binary, folder, target)
    moment = lambda share: began + share * seconds
    kills, reloads, findings = [], [], []
    try:
        sleep_until(moment(0.15))
        findings += compare_texts(pair, "before anything")
        sleep_until(moment(0.25))
        reloads.append(pair.reload(rules(longer=True)))
        sleep_until(moment(0.33))
        findings += compare_texts(pair, "after the first reload")
        for share in (0.4, 0.65):
            sleep_until(moment(share))
            kills.append(pair.kill())
            print(f"down for {kills[-1][1] - kills[-1][0]:.1f} s after SIGKILL of both", flush=True)
            sleep_until(moment(share + 0.12))
            reloads.append(pair.reload(rules(longer=len(kills) == 2)))
        sleep_until(moment(1))
        findings += compare_texts(pair, "at the end, when all is quiet")
        now = time.time()
        read = lambda name: [series(port, name, now - began, now) for port in pair.ports]
        missed = scraped_by_one(*read("exact{i='0'}"), *read("exact_total{i='0'}"))
        comparison = Comparison(target, kills, reloads, (began + 150, now - 2 * STEP), missed)
        for name in RECORDED:
            comparison.exact(name, *read(name))
        comparison.alerts(*read("ALERTS"), *read("ALERTS_FOR_STATE"))
        for name, count in sorted(comparison.same.items()):
            print(f"{name}: {count} the same")
        for reason, count in comparison.reasons.items():
            print(f"{count} differ because: {reason}\n    first: {comparison.examples[reason]}")
        findings += comparison.findings
        if min(comparison.same[name] for name in (*RECORDED, "ALERTS", "ALERTS_FOR_STATE")) == 0:
            findings.append(f"nothing to compare: {comparison.same}")
        compare_told(pair, kills, reloads, findings)
        log = pair.logs[1] + pair.running[1].log(1 << 20)
        findings += [line for line in log.splitlines() if "panicked" in line or "level=error" in line]
    finally:
        pair.stop()
    if findings:
        raise Failed("\n  ".join(findings[:40]) + f"\n  {len(findings)} findings")
