#!/usr/bin/env python3
"""Prometheus's HTTP API: the same requests to a real Prometheus over the same history, and clients that must not notice.

- Every endpoint with good and bad parameters, as GET and as form: HTTP status, content type and the whole JSON are
  compared. What differs because one of the two is another program or version is said in EXCEPTIONS.
- What Grafana's Prometheus data source (10 and 11) sends: health check, suggestions, queries.
- promtool query instant|range|series|labels: the same output and exit code against both.
- The Python client prometheus-api-client from PyPI: the same values through it. It is installed into a virtual
  environment below target/tools on the first run.
"""

import argparse
import gzip
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse

import history
import peers
from history import BASE, END
from peers import Failed

CLIENT = "prometheus-api-client==0.7.2"
AT = BASE + 7200 + 13.5
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# What Prometheus takes for the beginning and the end of time.
MIN, MAX = "-292273086-05-16T16:47:06Z", "292277025-08-18T07:12:54.999999999Z"
# Within these there is nothing but the history: Outrigger also keeps samples about itself, of now.
SPAN = [("start", BASE), ("end", END)]
LONG = "x" * 3000


def call(port, method, path, parameters=(), headers=None):
    """(status, headers, body) of a request; the parameters go into the URL, or into a form if it is a POST."""
    form = urllib.parse.urlencode(list(parameters))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        if method == "POST":
            connection.request(method, path, form, {**FORM, **(headers or {})})
        else:
            connection.request(method, path + ("?" + form if form else ""), headers=headers or {})
        response = connection.getresponse()
        body = response.read()
        names = {name.lower(): value for name, value in response.getheaders()}
        if names.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return response.status, names, body
    finally:
        connection.close()


def api(path):
    return "/api/v1/" + path


def requests():
    """(method, path, parameters) of everything that is compared."""
    query = lambda text, *more: [("query", text), *more]
    at, over = ("time", AT), [("start", BASE + 600.5), ("end", END - 600.5), ("step", 120)]
    both = [
        # query
        ("query", query("memory_bytes", at)), ("query", query("1+1", at)), ("query", query('"a<b"', at)),
        ("query", query("memory_bytes[1m]", at)), ("query", query("temperature", at)), ("query", query("nothing", at)),
        ("query", query("extreme", at)), ("query", []), ("query", query("")), ("query", query("sum(", at)),
        ("query", query("up", ("time", "foo"))), ("query", query("up", ("time", "NaN"))),
        ("query", query("up", ("time", "Inf"))), ("query", query("up", ("time", "1e300"))),
        ("query", query("up", ("time", "-1"))), ("query", query("vector(1)", ("time", "-1.5"))),
        ("query", query("vector(1)", ("time", "0"))), ("query", query("vector(1)", ("time", "1e10"))),
        ("query", query("vector(1)", ("time", "2025-06-15T18:00:00Z"))),
        ("query", query("vector(1)", ("time", "2025-06-15T18:00:00.123456+02:00"))),
        ("query", query("vector(1)", ("time", "2025-06-15"))), ("query", query("vector(1)", ("time", MIN))),
        ("query", query("vector(1)", ("time", MAX))), ("query", query("vector(1)", ("time", " 1"))),
        ("query", query("vector(1)", at, ("timeout", "5s"))), ("query", query("vector(1)", at, ("timeout", "5"))),
        ("query", query("vector(1)", at, ("timeout", "x"))), ("query", query("vector(1)", at, ("timeout", "-5s"))),
        ("query", query("memory_bytes", at, ("lookback_delta", "1s"))),
        ("query", query("memory_bytes", at, ("lookback_delta", "1h"))),
        ("query", query("memory_bytes", at, ("lookback_delta", "x"))),
        ("query", query("memory_bytes * on(job) build_info", at)), ("query", query(LONG, at)),
        ("query", query("label_replace(level, 'name', 'x', '', '')", at)),
        ("query", [("query", "1"), ("query", "2"), at]),
        # query_range
        ("query_range", query("memory_bytes", *over)), ("query_range", query("1", *over)),
        ("query_range", query("max by (job) (rate(http_requests_total[5m]))", *over)),
        ("query_range", query("nothing", *over)), ("query_range", []), ("query_range", query("up")),
        ("query_range", query("up", ("start", 1))), ("query_range", query("up", ("start", 1), ("end", 2))),
        ("query_range", query("up", ("start", "x"), ("end", 2), ("step", 1))),
        ("query_range", query("up", ("start", 1), ("end", "x"), ("step", 1))),
        ("query_range", query("up", ("start", 2), ("end", 1), ("step", 1))),
        ("query_range", query("up", ("start", 1), ("end", 2), ("step", 0))),
        ("query_range", query("up", ("start", 1), ("end", 2), ("step", "0s"))),
        ("query_range", query("up", ("start", 1), ("end", 2), ("step", -1))),
        ("query_range", query("up", ("start", 1), ("end", 2), ("step", "x"))),
        ("query_range", query("up", ("start", 1), ("end", 2), ("step", "1e300"))),
        ("query_range", query("up", ("start", 1), ("end", 2), ("step", "NaN"))),
        ("query_range", query("up", ("start", 0), ("end", 11000), ("step", 1))),
        ("query_range", query("up", ("start", 0), ("end", 11001), ("step", 1))),
        ("query_range", query("vector(1)", ("start", 0), ("end", 0), ("step", 1))),
        ("query_range", query("vector(1)", ("start", 0), ("end", 1), ("step", "0.5"))),
        ("query_range", query("vector(1)", ("start", 0), ("end", 1), ("step", "1h30m"))),
        ("query_range", query("memory_bytes[1m]", *over)), ("query_range", query('"x"', *over)),
        ("query_range", query("memory_bytes", *over, ("timeout", "x"))),
        ("query_range", query("memory_bytes", *over, ("lookback_delta", "10s"))),
        # labels, series
        ("labels", SPAN), ("labels", [*SPAN, ("match[]", "level")]),
        ("labels", [*SPAN, ("match[]", "level"), ("match[]", '{room=~".+"}')]), ("labels", [*SPAN, ("match[]", "nothing")]),
        ("labels", [("start", "x")]), ("labels", [("end", "x")]), ("labels", [("match[]", "{")]),
        ("labels", [("match[]", "{}")]), ("labels", [("match[]", '{a=~".*"}')]), ("labels", [("match[]", "sum(up)")]),
        ("labels", [("start", 5), ("end", 1)]), ("labels", [("start", MIN), ("end", "2025-06-15T17:00:00Z")]),
        ("series", [*SPAN, ("match[]", "level")]), ("series", [*SPAN, ("match[]", "level"), ("match[]", "memory_bytes")]),
        ("series", [*SPAN, ("match[]", 'temperature{room=~"日.*|a.*"}')]), ("series", [*SPAN, ("match[]", "nothing")]),
        ("series", [*SPAN, ("match[]", "level"), ("match[]", "{__name__=\"level\"}")]),
        ("series", []), ("series", SPAN), ("series", [("match[]", "level["), *SPAN]), ("series", [("match[]", "{}")]),
        ("series", [("match[]", "level"), ("start", "x")]), ("series", [("match[]", "level"), ("end", "x")]),
        ("series", [("match[]", "level"), ("start", 5), ("end", 1)]),
        ("series", [("match[]", 'flapping'), ("start", BASE + 9100), ("end", BASE + 9200)]),
        # exemplars
        ("query_exemplars", query("up", *SPAN)), ("query_exemplars", query("rate(x_bucket[5m])", *SPAN)),
        ("query_exemplars", query("sum(", *SPAN)), ("query_exemplars", query("up", ("start", "x"), ("end", 1))),
        ("query_exemplars", query("up", ("start", 1), ("end", "x"))), ("query_exemplars", []),
        ("query_exemplars", query("up", ("start", 5), ("end", 1))), ("query_exemplars", query("up")),
        # format
        ("format_query", query("sum(rate(a[5m]))by(b)")), ("format_query", query("foo/bar")), ("format_query", query("a<b>c")),
        ("format_query", query("sum(")), ("format_query", []),
        ("format_query", query("sum by (aaaaaaaaaaaaaaaaaaaa) (rate(bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb[5m])) / on(aaaaaaaaaaaaaaaaaaaa) ccccccccccccccccccccccccccccc")),
    ]
    for path, parameters in both:
        yield "GET", api(path), parameters
        yield "POST", api(path), parameters
    for path, parameters in [
        ("label/name/values", SPAN), ("label/__name__/values", SPAN), ("label/nothing/values", SPAN),
        ("label/room/values", SPAN), ("label/name/values", [*SPAN, ("match[]", "flapping")]),
        ("label/name/values", [*SPAN, ("match[]", "flapping"), ("match[]", 'level{name="b"}')]),
        ("label/name/values", [("start", "x")]), ("label/name/values", [("end", "x")]),
        ("label/name/values", [("match[]", "{")]), ("label/name/values", [("match[]", "{}")]),
        ("label/name/values", [("start", BASE + 9100), ("end", BASE + 9200)]), ("label/name", []), ("label", []),
        ("rules", []), ("alerts", []), ("alertmanagers", []), ("targets", []), ("targets", [("state", "active")]),
        ("targets", [("state", "dropped")]), ("targets/metadata", []), ("targets/metadata", [("metric", "up")]),
        ("targets/metadata", [("match_target", "{")]), ("targets/metadata", [("limit", "x")]),
        ("metadata", [("metric", "nothing")]), ("metadata", [("limit", "x")]),
        ("status/walreplay", []), ("status/tsdb", [("limit", "x")]), ("status/nothing", []),
        ("", []), ("nothing", []), ("query/nothing", []), ("admin/tsdb/snapshot", []),
    ]:
        yield "GET", api(path), parameters
    for path in ["admin/tsdb/snapshot", "admin/tsdb/delete_series", "admin/tsdb/clean_tombstones"]:
        yield "POST", api(path), []
        yield "PUT", api(path), []
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]:
        for path in ["query", "labels", "label/name/values", "series", "status/config", "nothing"]:
            yield method, api(path), []


# Request, difference, reason: regular expressions on "METHOD path?parameters" and on what differs.
EXCEPTIONS = [
    (r"^HEAD", "status (200|400), Prometheus 405", "we answer HEAD where we answer GET, as RFC 9110 wants it"),
    (r"^DELETE .*series", "not implemented", "what is not implemented we do not have at all"),
    (r"query_range", "invalid parameter .{,2}query", "the parameter is named since 3.0"),
    (r"targets", "droppedTargetCounts", "counted since 2.46"),
    (r"time=(NaN|Inf|1e300)", "status 400, Prometheus 200", "an instant that is no number is refused, not taken for another one"),
    (r"time=(1e10|-?29227)", "Prometheus", "instants beyond the year 2262 are not taken for others"),
    (r"lookback_delta=", "Prometheus", "lookback_delta is read since 2.44"),
    (r"status/tsdb", "limit", "limit is read since 2.45"),
    (r"room%3D~", "a..b", "the dot matches line feeds since 3.0"),
    (r"=1750012300", "early", "after a restart a series may be shown for as long as the block it was in"),
]


def shown(method, path, parameters):
    return f"{method} {path}?{urllib.parse.urlencode(list(parameters))[:200]}"


def normalized(body):
    """JSON without an order where Prometheus has none: that of the series of an instant query."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    data = answer.get("data") if isinstance(answer, dict) else None
    if isinstance(data, dict) and data.get("resultType") == "vector":
        data["result"].sort(key=lambda row: sorted(row["metric"].items()))
    return answer


def differs(ours, theirs):
    """What differs between two answers, if anything."""
    if ours[0] != theirs[0]:
        return f"status {ours[0]}, Prometheus {theirs[0]}: {ours[2][:200]!r}, Prometheus {theirs[2][:200]!r}"
    kinds = [answer[1].get("content-type", "") for answer in (ours, theirs)]
    if kinds[0] != kinds[1]:
        return f"content type {kinds[0]!r}, Prometheus {kinds[1]!r}"
    our_body, their_body = normalized(ours[2]), normalized(theirs[2])
    if our_body != their_body:
        return f"{json.dumps(our_body, ensure_ascii=False)[:400]}, Prometheus {json.dumps(their_body, ensure_ascii=False)[:400]}"
    return None


class Tally:
    """Counts and collects."""

    def __init__(self):
        self.asked, self.explained, self.findings = 0, {}, []

    def compare(self, request, ours, theirs):
        self.asked += 1
        what = differs(ours, theirs)
        if what is None:
            return
        for pattern, found, reason in EXCEPTIONS:
            if re.search(pattern, request) and re.search(found, what):
                self.explained[reason] = self.explained.get(reason, 0) + 1
                return
        self.findings.append(f"{request}\n      {what}")


def compare_endpoints(ours, theirs, tally):
    for method, path, parameters in requests():
        answers = [call(server.port, method, path, parameters) for server in (ours, theirs)]
        tally.compare(shown(method, path, parameters), *answers)


def grafana(ours, theirs, tally):
    """Requests as Grafana's data source makes them, with its headers."""
    headers = {"User-Agent": "Grafana/11.2.0", "Accept-Encoding": "gzip", "X-Grafana-Org-Id": "1", "Accept": "*/*",
               "X-Datasource-Uid": "p1", "X-Grafana-Referer": "http://grafana/d/x", "Cookie": ""}
    span = [("start", str(BASE)), ("end", str(END))]
    # Panels ask to the millisecond. Sums are not among them: Prometheus 3 adds more exactly.
    millis = [("end", f"{END}.123"), ("start", f"{BASE + 600}.123"), ("step", "15")]
    sent = [
        # Health check, and what version this is.
        ("POST", "query", [("query", "1+1"), ("time", f"{AT}")]),
        ("GET", "rules", []),
        ("GET", "alerts", []),
        # Suggestions of the query editor.
        ("POST", "labels", span), ("GET", "labels", [*span, ("match[]", '{__name__="level"}')]),
        ("POST", "labels", [*span, ("match[]", '{__name__="level",name=~"a.*"}')]),
        ("GET", "label/__name__/values", [*span, ("limit", "40000")]),
        ("GET", "label/job/values", [*span, ("match[]", '{__name__="http_requests_total"}'), ("limit", "40000")]),
        ("GET", "label/name/values", [*span, ("match[]", 'level{le="x"}')]),
        ("GET", "series", [*span, ("match[]", "level"), ("limit", "40000")]),
        ("POST", "series", [*span, ("match[]", '{__name__=~"level|flapping"}'), ("limit", "40000")]),
        # Panels: Go's client sends a form, the numbers as floats.
        ("POST", "query_range", [("query", "max(rate(http_requests_total[1m0s])) by (job)"), *millis]),
        ("POST", "query_range", [("query", "histogram_quantile(0.95, max by(le) (rate(request_duration_seconds_bucket[1m0s])))"), *millis]),
        ("POST", "query_range", [("query", 'memory_bytes{instance=~"(host-1:80|host-2:80)"}'), *millis]),
        ("POST", "query", [("query", "topk(1, memory_bytes)"), ("time", f"{AT}")]),
        ("POST", "query_exemplars", [("query", "rate(http_requests_total[1m])"), *span]),
        ("GET", "query_exemplars", [("query", "request_duration_seconds_bucket"), *span]),
        # An alert rule of Grafana, and an error that a panel shows.
        ("POST", "query_range", [("query", "up{"), *millis]),
        ("POST", "query", [("query", "rate(memory_bytes)"), ("time", f"{AT}")]),
    ]
    for method, path, parameters in sent:
        answers = [call(server.port, method, api(path), parameters, headers) for server in (ours, theirs)]
        tally.compare("Grafana: " + shown(method, api(path), parameters), *answers)
    for path, keys in [
        ("status/buildinfo", {"version", "revision", "branch", "buildUser", "buildDate", "goVersion"}),
        ("status/flags", {"query.timeout", "query.lookback-delta"}),
        ("status/runtimeinfo", {"startTime", "storageRetention", "reloadConfigSuccess"}),
        ("status/config", {"yaml"}),
        ("status/tsdb", {"headStats", "seriesCountByMetricName", "labelValueCountByLabelName",
                         "memoryInBytesByLabelName", "seriesCountByLabelValuePair"}),
    ]:
        for server in (ours, theirs):
            answer = json.loads(call(server.port, "GET", api(path), (), headers)[2])
            if answer["status"] != "success" or not keys <= answer["data"].keys():
                tally.findings.append(f"{path}: {answer} lacks some of {keys}")
        tally.asked += 1
    # Of metadata both have another program's; the shape counts.
    answer = json.loads(call(ours.port, "GET", api("metadata"), [("limit", "2"), ("limit_per_metric", "1")], headers)[2])
    if len(answer["data"]) != 2 or any(
        len(rows) != 1 or rows[0].keys() != {"type", "help", "unit"} for rows in answer["data"].values()
    ):
        tally.findings.append(f"metadata: {answer}")
    tally.asked += 1


def only_here(ours, tally):
    """What Debian's Prometheus does not have yet: limits, statistics, parse_query."""
    def ask(path, *parameters):
        return json.loads(call(ours.port, "GET", api(path), parameters)[2])

    truncated = ["results truncated due to limit"]
    for path, parameters, count in [
        ("query", [("query", "level"), ("time", AT)], lambda data: len(data["result"])),
        ("query_range", [("query", "level"), ("start", BASE), ("end", END), ("step", 60)], lambda data: len(data["result"])),
        ("series", [*SPAN, ("match[]", "level")], len), ("labels", SPAN, len), ("label/name/values", SPAN, len),
    ]:
        whole = count(ask(path, *parameters)["data"])
        for limit, expected in [(0, whole), (3, 3), (whole, whole), (whole + 1, whole)]:
            answer = ask(path, *parameters, ("limit", limit))
            if count(answer["data"]) != expected or (answer.get("warnings") == truncated) != (expected < whole):
                tally.findings.append(f"{path} with limit {limit}: {count(answer['data'])}, {answer.get('warnings')}")
            tally.asked += 1
        for wrong in ("-1", "x", "1.5"):
            answer = ask(path, *parameters, ("limit", wrong))
            if answer.get("errorType") != "bad_data" or not answer["error"].startswith('invalid parameter "limit"'):
                tally.findings.append(f"{path} with limit {wrong}: {answer}")
            tally.asked += 1
    for level in ("all", "true"):
        stats = ask("query", ("query", "sum(level)"), ("time", AT), ("stats", level))["data"]["stats"]
        if set(stats["timings"]) != {"evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime",
                                     "execQueueTime", "execTotalTime"} or stats["samples"]["totalQueryableSamples"] != 7:
            tally.findings.append(f"stats={level}: {stats}")
        tally.asked += 1


def headers_of(ours, theirs, tally):
    """CORS and compression."""
    names = ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers",
             "access-control-expose-headers", "content-encoding"]
    for method, path, parameters, headers in [
        ("OPTIONS", "query", [], {"Origin": "http://a.example", "Access-Control-Request-Method": "POST"}),
        ("OPTIONS", "nothing", [], {"Origin": "http://a.example"}),
        ("GET", "query", [("query", "1")], {"Origin": "http://a.example"}),
        ("GET", "query", [("query", "(")], {"Origin": "http://a.example"}),
        ("GET", "query", [("query", "1")], {}),
        ("GET", "labels", [], {"Accept-Encoding": "gzip"}),
        ("GET", "query", [("query", "level"), ("time", 1)], {"Accept-Encoding": "gzip, deflate, br"}),
        ("GET", "query", [("query", "1"), ("time", 1)], {"Accept-Encoding": "identity"}),
    ]:
        found = [call(server.port, method, api(path), parameters, headers) for server in (ours, theirs)]
        (our_status, our_headers, _), (their_status, their_headers, _) = found
        for name in names:
            if our_headers.get(name) != their_headers.get(name) or our_status != their_status:
                tally.findings.append(f"{method} {path} {headers}: {name} is {our_headers.get(name)}, Prometheus "
                                      f"{their_headers.get(name)}; status {our_status}, Prometheus {their_status}")
        tally.asked += 1


def promtool(ours, theirs, tally):
    """The command-line client: what it prints, and how it ends."""
    span = ["--start", str(BASE), "--end", str(END)]
    for arguments in [
        ["instant", "--time", str(AT), None, "memory_bytes"], ["instant", "--time", str(AT), None, "1 + 1"],
        ["instant", "--time", str(AT), None, '"text"'], ["instant", "--time", str(AT), None, "level[30s]"],
        ["-o", "json", "instant", "--time", str(AT), None, "temperature"], ["instant", None, "sum("],
        ["instant", "--time", str(AT), None, "memory_bytes * on(job) build_info"], ["instant", "--time", str(AT), None, "nothing"],
        ["range", *span, "--step", "10m", None, "max by (job) (rate(http_requests_total[5m]))"],
        ["-o", "json", "range", *span, "--step", "30m", None, "memory_bytes"], ["range", *span, "--step", "1s", None, "sum(("],
        ["range", *span, "--step", "1h", None, "level[5m]"],
        ["series", *span, "--match", "level", None], ["series", *span, "--match", '{room!=""}', "--match", "build_info", None],
        ["series", *span, "--match", "level{", None], ["labels", *span, None, "name"], ["labels", *span, None, "room"],
        ["labels", *span, None, "nothing"],
    ]:
        outputs = []
        for server in (ours, theirs):
            url = f"http://127.0.0.1:{server.port}"
            command = ["promtool", "query", *[url if a is None else a for a in arguments]]
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            # The order of an instant vector is nobody's; JSON comes in one line.
            lines = (run.stdout + run.stderr).replace(url, "URL").replace(PARAMETER, "").splitlines()
            rows = [row for line in lines for row in re.split(r"(?<=\}),(?=\{)", line.strip("[]"))]
            outputs.append((run.returncode, sorted(rows)))
        tally.asked += 1
        if outputs[0] != outputs[1]:
            tally.findings.append(f"promtool query {arguments}:\n      {outputs[0]}\n      {outputs[1]}")


# Prometheus 2 does not name it for range queries.
PARAMETER = 'invalid parameter "query": '

PYTHON_CLIENT = """
import datetime, json, sys
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
url, base, end, at = sys.argv[1], *map(float, sys.argv[2:])
when = lambda seconds: datetime.datetime.fromtimestamp(seconds)
client = PrometheusConnect(url=url)
ordered = lambda rows: sorted(rows, key=lambda row: sorted(row["metric"].items()))
out = {
    "connected": client.check_prometheus_connection(),
    "names": [n for n in client.all_metrics(params={"start": base, "end": end})],
    "values": client.get_label_values("room", params={"start": base, "end": end}),
    "labels": client.get_label_names(params={"start": base, "end": end}),
    "query": ordered(client.custom_query("memory_bytes", params={"time": at})),
    "range": ordered(client.custom_query_range("level", when(base + 60), when(base + 3600), "60")),
    "current": ordered(client.get_current_metric_value("level", {"le": "x"}, params={"time": at})),
    "chunks": ordered(client.get_metric_range_data("never_total", {"job": "api"}, when(base + 60), when(base + 3600), datetime.timedelta(minutes=30))),
}
try:
    client.custom_query("sum(")
except PrometheusApiClientException as error:
    out["error"] = str(error)
print(json.dumps(out))
"""


def python_client(ours, theirs, tally):
    """prometheus-api-client: what it returns."""
    folder = os.path.join(peers.ROOT, "target", "tools", CLIENT.replace("==", "-"))
    python = os.path.join(folder, "bin", "python")
    marker = os.path.join(folder, "installed")
    if not os.path.exists(marker):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", CLIENT], check=True)
        open(marker, "w", encoding="utf-8").close()
    outputs = []
    for server in (ours, theirs):
        command = [python, "-c", PYTHON_CLIENT, f"http://127.0.0.1:{server.port}", str(BASE), str(END), str(AT)]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if run.returncode != 0:
            raise Failed(f"{CLIENT} against port {server.port}: {run.stderr}")
        outputs.append(json.loads(run.stdout))
    ours_said, theirs_said = outputs
    for what, answer in theirs_said.items():
        tally.asked += 1
        if answer in ([], {}, None) or ours_said.get(what) != answer:
            tally.findings.append(f"{CLIENT}: {what}: {str(ours_said.get(what))[:300]}, Prometheus {str(answer)[:300]}")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    arguments = options.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "history.om")
        with open(file, "w", encoding="utf-8") as f:
            f.write(history.openmetrics())
        with history.Outrigger(arguments.outrigger, folder, file) as ours, history.Prometheus(folder, file) as theirs:
            for part in (compare_endpoints, grafana, only_here, headers_of, promtool, python_client):
                asked, began = tally.asked, time.monotonic()
                part(*([ours] if part is only_here else [ours, theirs]), tally)
                print(f"{part.__name__}: {tally.asked - asked} requests, {time.monotonic() - began:.1f} s")
    print(f"{tally.asked} in all, {sum(tally.explained.values())} explained, {len(tally.findings)} different")
    for reason, count in tally.explained.items():
        print(f"  {count:4} {reason}")
    unused = [reason for _, _, reason in EXCEPTIONS if reason not in tally.explained]
    if unused:
        tally.findings.append(f"exceptions that explain nothing: {unused}")
    if tally.findings:
        raise Failed(f"{len(tally.findings)} differences\n  " + "\n  ".join(tally.findings))


if __name__ == "__main__":
    peers.main(check)
