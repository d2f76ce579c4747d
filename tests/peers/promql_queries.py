"""Queries for the comparison with Prometheus: made up from a grammar with a seed, and written by hand."""

from history import BASE, END

SELECTORS = [
    "http_requests_total", 'http_requests_total{job="api"}', 'http_requests_total{code=~"4..|5.."}',
    'http_requests_total{instance!="host-1:80",path!~".*/0"}', "cpu_seconds_total", 'cpu_seconds_total{mode!="idle"}',
    "never_total", "memory_bytes", 'memory_bytes{instance=~"host-[12]:80"}', "temperature", 'temperature{room="Küche"}',
    'temperature{room=~"日.+|sal.*"}', "extreme", 'level{name!~"a.*"}', "level", "rpc_seconds",
    'rpc_seconds{quantile="0.9"}', "flapping", 'flapping{name=~"late|twice"}', "build_info",
    "request_duration_seconds_sum", "request_duration_seconds_count", 'request_duration_seconds_bucket{le="0.5"}',
    '{__name__=~"level|build_info"}', '{job="api",__name__!~"http.*|request.*"}', "nothing_here",
]
COUNTERS = SELECTORS[:7] + ["request_duration_seconds_count", "rpc_seconds_count"]
RANGES = ["45s", "1m", "2m30s", "5m", "17m", "1h", "90m"]
OVER_TIME = [
    "avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "stddev_over_time",
    "stdvar_over_time", "last_over_time", "present_over_time", "changes", "delta", "deriv", "idelta", "resets",
    "absent_over_time",
]
OF_COUNTERS = ["rate", "increase", "irate", "resets", "changes"]
ELEMENTWISE = [
    "abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sgn", "deg", "rad", "sin", "cos", "tan", "asin",
    "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "round", "timestamp", "minute", "hour",
    "month", "year", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "sort", "sort_desc", "absent",
]
AGGREGATIONS = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
LABELS = ["job", "instance", "code", "path", "name", "le", "room", "mode", "cpu", "service", "version"]
ARITHMETIC = ["+", "-", "*", "/", "%", "^", "atan2"]
COMPARISONS = ["==", "!=", "<", ">", "<=", ">="]
NUMBERS = ["0", "1", "-1", "2", "0.5", "-2.5", "1e3", "Inf", "-Inf", "NaN", "0x1F", "100", "time()", "pi()"]


class Maker:
    """Makes expressions; `dice` decides everything."""

    def __init__(self, dice):
        self.dice = dice

    def one(self, of):
        return self.dice.choice(of)

    def labels(self):
        return ", ".join(self.dice.sample(LABELS, self.dice.randrange(4)))

    def shift(self):
        """`offset` and `@`, mostly neither."""
        roll = self.dice.random()
        if roll < 0.12:
            return " offset " + self.one(["1m", "7m", "-3m", "1h", "-30s"])
        if roll < 0.2:
            return " @ " + self.one(["start()", "end()", f"{BASE + 5000}.5", f"{END - 700}.5", f"{BASE - 9}.5"])
        if roll < 0.23:
            return f" @ {BASE + 7200}.5 offset 5m"
        return ""

    def scalar(self):
        if self.dice.random() < 0.1:
            return f"scalar({self.one(['never_total', 'memory_bytes', 'sum(level)'])})"
        return self.one(NUMBERS)

    def matrix(self, selectors, depth):
        if depth > 0 and self.dice.random() < 0.25:
            window = self.one(["3m", "10m", "30m", "1h"])
            return f"({self.vector(depth - 1)})[{window}:{self.one(['', '15s', '1m', '7m'])}]{self.shift()}"
        return f"{self.one(selectors)}[{self.one(RANGES)}]{self.shift()}"

    def vector(self, depth):
        if depth <= 0 or self.dice.random() < 0.1:
            return self.one(SELECTORS) + self.shift()
        makers = [
            (4, self.counted), (4, self.over_time), (3, self.elementwise), (4, self.aggregated), (3, self.with_number),
            (3, self.with_vector), (2, self.ranked), (1, self.relabelled), (1, self.quantile), (1, self.clamped),
            (1, self.set_operation),
        ]
        make = self.dice.choices([m for _, m in makers], [w for w, _ in makers])[0]
        return make(depth - 1)

    def counted(self, depth):
        return f"{self.one(OF_COUNTERS)}({self.matrix(COUNTERS, depth)})"

    def over_time(self, depth):
        roll = self.dice.random()
        if roll < 0.1:
            return f"quantile_over_time({self.one(['0', '0.5', '0.99', '1', '2', '-1'])}, {self.matrix(SELECTORS, depth)})"
        if roll < 0.2:
            return f"predict_linear({self.matrix(SELECTORS, depth)}, {self.one(['60', '-600', '3600'])})"
        return f"{self.one(OVER_TIME)}({self.matrix(SELECTORS, depth)})"

    def elementwise(self, depth):
        return f"{self.one(ELEMENTWISE)}({self.vector(depth)})"

    def aggregated(self, depth):
        grouping = self.one(["", f" by ({self.labels()})", f" without ({self.labels()})"])
        return f"{self.one(AGGREGATIONS)}{grouping} ({self.vector(depth)})"

    def ranked(self, depth):
        roll, inner = self.dice.random(), self.vector(depth)
        grouping = self.one(["", f" by ({self.labels()})"])
        if roll < 0.3:
            return f"quantile{grouping} ({self.one(['0.5', '0.9', '0', '1', '1.5'])}, {inner})"
        if roll < 0.5:
            # The last bit of a value would make another label.
            return f'count_values{grouping} ("value", round({inner}, 0.0001))'
        # Only the count: of equal values either may be in.
        return f"scalar(count({self.one(['topk', 'bottomk'])}({self.one(['1', '3', '100', '0'])}, {inner}))) + {self.one(SELECTORS)}"

    def with_number(self, depth):
        op = self.one(ARITHMETIC + COMPARISONS)
        bool_ = " bool" if op in COMPARISONS and self.dice.random() < 0.4 else ""
        sides = [self.vector(depth), self.scalar()]
        self.dice.shuffle(sides)
        return f"({sides[0]} {op}{bool_} {sides[1]})"

    def with_vector(self, depth):
        op = self.one(ARITHMETIC + COMPARISONS)
        bool_ = " bool" if op in COMPARISONS and self.dice.random() < 0.4 else ""
        if self.dice.random() < 0.5:
            same = self.vector(depth)
            return f"({same} {op}{bool_} {self.one(['', 'on(instance, name, room, job, code, mode, cpu, service, quantile, path) '])}{same})"
        matching = self.one(["on(instance)", "on(job, instance)", "ignoring(code, path, version)", "on()"])
        group = self.one(["", " group_left()", " group_right()", " group_left(version)"])
        return f"({self.vector(depth)} {op}{bool_} {matching}{group} {self.one(['build_info', 'memory_bytes', self.vector(depth)])})"

    def set_operation(self, depth):
        matching = self.one(["", "on(instance)", "ignoring(name)", "on()"])
        return f"({self.vector(depth)} {self.one(['and', 'or', 'unless'])} {matching} {self.vector(depth)})"

    def relabelled(self, depth):
        inner = self.vector(depth)
        if self.dice.random() < 0.4:
            return f'label_join({inner}, "joined", "-", "job", "instance", "none")'
        pattern = self.one(["(.*)", "host-(.).*", "(?P<x>.).*", "nope", ""])
        return f'label_replace({inner}, "{self.one(["new", "instance", "job"])}", "{self.one(["$1", "<$1-$x>", "", "k"])}", "instance", "{pattern}")'

    def quantile(self, depth):
        q = self.one(["0.5", "0.9", "0.99", "0", "1", "-1", "2"])
        inner = self.one(["rate(request_duration_seconds_bucket[5m])", "request_duration_seconds_bucket",
                          "sum by (le) (rate(request_duration_seconds_bucket[17m]))", "level"])
        return f"histogram_quantile({q}, {inner})"

    def clamped(self, depth):
        inner, a, b = self.vector(depth), self.one(["0", "-5", "1", "NaN"]), self.one(["10", "1e9", "-10"])
        return self.one([f"clamp({inner}, {a}, {b})", f"clamp_min({inner}, {a})", f"clamp_max({inner}, {b})",
                         f"round({inner}, {self.one(['0.1', '5', '-3', '0'])})", f"-{inner}", f"vector({self.scalar()})"])


def made(dice, count):
    """So many (expression, is it a range query), half of each."""
    maker, out = Maker(dice), []
    while len(out) < count:
        text = maker.vector(dice.choice([1, 2, 2, 3]))
        if len(text) < 400 and text not in [t for t, _ in out]:
            out.append((text, len(out) % 2 == 1))
    return out


# What one writes every day, and what is at the edges.
WRITTEN = """
1
-1
1 + 2 * 3 ^ 2 ^ 0.5
1 - 2 - 3
7 % -3
-7 % 3
1 / 0
-1 / 0
0 / 0
2 ^ 0.5
1 == bool 1
NaN == bool NaN
1 < bool Inf
1 atan2 -1
1e1000
0x7f
.5e-3
1_000
time()
pi()
vector(1)
vector(NaN)
scalar(vector(3))
scalar(level)
-vector(2)
+level
--level
"text"
'tex\\'t'
`raw \\n`
up
sum(up)
count({__name__=~".+"}) by (__name__)
topk(2, memory_bytes)
bottomk(2, memory_bytes)
sort(memory_bytes)
sort_desc(memory_bytes)
sum by (job) (rate(http_requests_total[5m]))
sum without (instance, path) (rate(http_requests_total[5m]))
sum(rate(http_requests_total{code=~"5.."}[5m])) / sum(rate(http_requests_total[5m]))
histogram_quantile(0.95, sum by (le, job) (rate(request_duration_seconds_bucket[5m])))
rate(request_duration_seconds_sum[5m]) / rate(request_duration_seconds_count[5m])
max_over_time(rate(http_requests_total[1m])[30m:1m])
avg_over_time((memory_bytes / 1024)[10m:])
memory_bytes * on(instance, job) group_left(version) build_info
http_requests_total * on(instance) group_left(version) build_info
build_info * on(instance) group_right(version) memory_bytes
memory_bytes and on(instance) build_info{version="1.1"}
memory_bytes unless on(instance) build_info{version="1.1"}
flapping or memory_bytes
predict_linear(memory_bytes[1h], 4 * 3600)
deriv(temperature[17m])
changes(build_info[2h])
resets(http_requests_total[3h])
increase(http_requests_total[3h])
delta(memory_bytes[3h])
absent(nothing_here)
absent(nothing_here{job="a",x=~"b"})
absent(level)
absent(sum(nothing_here))
absent_over_time(nothing_here{a="b"}[5m])
count_values("v", level)
quantile(0.5, level)
stddev(level)
group by (name) (level)
time() - timestamp(memory_bytes)
day_of_week()
hour(vector(0))
month(vector(-1))
year(vector(1e12))
day_of_month(vector(NaN))
days_in_month(vector(1709164800))
day_of_year(vector(1709164800))
minute(vector(1e300))
label_replace(level, "x", "$1$1", "name", "(a)(.)")
label_replace(level, "__name__", "renamed", "", "")
label_replace(level, "name", "", "name", "b")
label_join(level, "x", "", "name", "le")
label_join(level, "name", ",")
round(temperature, 0.5)
clamp(temperature, 5, 1)
temperature > bool 3
temperature == temperature
temperature != temperature
3 < temperature
extreme * 10
extreme / 3
sum(extreme)
avg(extreme)
avg_over_time(extreme[1h])
sum_over_time(extreme[1h])
stdvar_over_time(extreme[1h])
ln(extreme)
exp(temperature)
histogram_quantile(0.5, level)
histogram_quantile(NaN, request_duration_seconds_bucket)
quantile_over_time(NaN, memory_bytes[5m])
quantile(-1, level)
topk(NaN, level)
topk(1e300, level)
topk(-1, level)
topk(0.9, level)
level[5m]
level[30s] offset 1m
level[30s] @ 1750008000.5
(level > 1)[2m:30s]
level offset 5m @ 1750008000.5
level @ start()
level @ end() offset -1m
sum(level @ 1750008000.5) + sum(level)
min_over_time(sum(level)[10m:1m] @ 1750008000.5)
sum_over_time(vector(1)[10m:7s])
last_over_time(flapping[17m])
present_over_time(flapping[17m])
rate(flapping[5m])
irate(http_requests_total[1m])
idelta(memory_bytes[1m])
rate(never_total[15s])
increase(http_requests_total[20s])
rate(http_requests_total[5m] offset -1h)
level + on(name) level
level + ignoring(le) level
level * 0 + on(name, le) group_left level
level / on(name) group_right level
level and level
level or on(name) level
count(level) by (name) == 1
sum(count by (name) (level)) > 3
{room="Küche"}
{__name__="temperature", room=~"(?i)kÜ.*"}
{__name__=~"mem.*|lev.*", instance!=""}
memory_bytes{nope=""}
memory_bytes{instance=~""}
memory_bytes{instance=~"host-(0|1):80"}
memory_bytes{instance=~".*-2.*"}
memory_bytes{instance!~"host-[0-2].*"}
temperature{room="a\\\\b\\nc"}
sgn(temperature)
abs(-temperature)
sqrt(temperature)
atan2
max(level) by (name) > max(level) by (name) offset 5m
sum(level) + 1 > 3 and vector(1)
2 * sum(level) ^ 2
-2 ^ 2
-level ^ 2
level % 2 == 1
(level)
((((level))))
sum(level,)
level # with a comment
sum(never_total * -0)
stddev(vector(NaN))
stdvar by (room) (temperature)
acosh(extreme)
asinh(extreme)
sinh(temperature * 30)
cosh(temperature * 30)
predict_linear(memory_bytes[5m] @ 1750008000.5, 60)
timestamp(memory_bytes @ 1750008000.5 offset 5m)
memory_bytes * on(job) build_info
build_info * on(job) memory_bytes
build_info * memory_bytes
memory_bytes * ignoring(instance) build_info
level * ignoring(name, le) level
count_over_time(level[1m] @ 1750008000.007)
sum_over_time(level[1m:15s] @ 1750008000)
level @ 1750008000.006
flapping{name="once"} @ 1750009500.007
"""

# Each is refused; status, type and text must be the same.
REFUSED = """
sum(
sum(level))
level{
level{name=
level{name="x
level{name="x"
level[5m
level[5x]
level[]
level[5m][5m]
level{}{}
rate(level)
rate(level[5m:])[1m]
sum(level[5m])
abs(1)
abs("x")
abs()
abs(level, level)
nope(level)
level + "x"
"x" + "y"
1 + level[5m]
1 and 2
1 == 2
level and 1
level == bool
level + on(name) group_left on(le) level
level + on(name) group_left * level
level + on(name) group_right ,
level + on(name) group_left
level + on(name) group_left )
level and on(name) group_left level
level + group_left level
{}
{name=~".*"}
{__name__=""}
level{__name__="x"}
level{name=~"("}
level{name=~"a{10000}"}
level{name="x",,}
offset 5m
level offset
level offset level
level @ level
level @ NaN
sum(level) offset 5m
1 offset 5m
level offset 5m offset 5m
level @ 5 @ 6
sum by (name level
sum by name (level)
sum(level) by (name) by (le)
topk(level)
topk(1)
topk("x", level)
count_values(level)
count_values(1, level)
count_values("a-b", level)
label_replace(level, "a b", "$1", "name", "(.*)")
label_replace(level, "x", "$1", "name", "(")
label_replace(level, "x")
label_join(level, "x")
label_join(level)
label_join(level, "~x", ",", "name")
round(level, 1, 2)
clamp(level)
histogram_quantile(level, 0.5)
quantile_over_time(level[5m], 0.5)
predict_linear(level, 5)
absent_over_time(level)
time(1)
vector(level)
scalar(1)
1 2
level level
level )
( level
& level
level & level
level | level
level =~ "x"
level !x
!level
5m
level[5m] + level[5m]
-"x"
-level[5m]
level > bool level[5m]
sum without (level)
by (x) level
1 +
+
*
* 2
level[5m:
level[5m:1m:1m]
level[5m:5x]
#
(
)
]
}
http_requests_total * build_info
http_requests_total * on(job) build_info
http_requests_total * on(job) group_left build_info
build_info + on(job) memory_bytes
memory_bytes + on() group_right build_info
label_replace(build_info, "instance", "same", "instance", ".*")
label_join(memory_bytes, "instance", "")
label_replace(level, "name", "", "name", ".*")
level == on() level
"""


def lines(text):
    """The expressions of a block of text."""
    return [line for line in text.strip("\n").split("\n") if line]
