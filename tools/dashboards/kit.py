"""What dashboards are made of: panels with their questions, rows that lay them out, boards that link to one another.

A board is data (boards_*.py); this turns it into Grafana's classic model by Grafana's own builders. Thresholds come out
of rules/, so that a panel changes colour where its alert fires. In expressions `<sel>` stands for the variables job and
instance, `<job>` for job alone.
"""

import glob
import os
import re
from dataclasses import dataclass, field

import yaml
from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as model

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUNBOOK = "https://github.com/outrigger-dev/outrigger/blob/main/docs/runbooks/%s.md"
# Okabe and Ito's colours, told apart with any kind of colour vision; queries take them in this order.
SERIES = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"]
GOOD = "#009E73"
SEVERITY = {"critical": "#D55E00", "high": "#E69F00", "medium": "#F0E442", "low": "#56B4E9"}
RANK = ["low", "medium", "high", "critical"]
DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
NUMBER = r"[0-9][0-9.]*(?:e[0-9]+)?"


def load_rules():
    """Every alert of rules/: {name: (expression, severity)}; an SLO's by its page."""
    alerts = {}
    for path in sorted(glob.glob(os.path.join(ROOT, "rules", "*.rules.yml"))):
        with open(path, encoding="utf-8") as file:
            for group in yaml.safe_load(file)["groups"]:
                for rule in group["rules"]:
                    if "alert" in rule:
                        alerts[rule["alert"]] = (rule["expr"], rule["labels"]["severity"])
    for path in sorted(glob.glob(os.path.join(ROOT, "rules", "slo", "*.yml"))):
        with open(path, encoding="utf-8") as file:
            for slo in yaml.safe_load(file)["slos"]:
                alerts[slo["alerting"]["name"]] = ("", slo["alerting"]["page_alert"]["labels"]["severity"])
    return alerts


RULES = load_rules()


@dataclass
class Limit:
    """Where an alert fires: its nth comparison with a number, times `scale`, and 1 minus it if inverted."""

    alert: str
    nth: int = 0
    scale: float = 1
    inverted: bool = False

    def value(self):
        """(value, whether above it is bad)."""
        expression = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', "", RULES[self.alert][0])
        found = re.findall(rf"(>=?|<=?|==)\s*(?:bool\s+)?({NUMBER}(?:\s*\*\s*{NUMBER})*)", expression)
        if len(found) <= self.nth:
            raise SystemExit(f"{self.alert}: no comparison {self.nth} in {expression}")
        operator, product = found[self.nth]
        value = 1.0
        for factor in product.split("*"):
            value *= float(factor)
        value *= self.scale
        above = operator.startswith(">")
        value, above = (1 - value, not above) if self.inverted else (value, above)
        return round(value, 9), above

    def color(self):
        return SEVERITY[RULES[self.alert][1]]


@dataclass
class Panel:
    kind: str
    title: str
    say: str
    queries: list
    unit: str = "short"
    limits: list = field(default_factory=list)
    alerts: list = field(default_factory=list)
    width: int = 12
    height: int = 8
    low: float | None = None
    high: float | None = None
    stacked: bool = False
    decimals: int | None = None
    mappings: list = field(default_factory=list)
    hide: list = field(default_factory=list)
    rename: dict = field(default_factory=dict)
    steps: list = field(default_factory=list)
    legend: bool = True

    def of(self):
        """Alerts that this panel is about."""
        return list(dict.fromkeys([limit.alert for limit in self.limits] + self.alerts))


def graph(title, say, queries, unit, *limits, **more):
    return Panel("graph", title, say, queries, unit, [as_limit(l) for l in limits], **more)


def number(title, say, query, unit, *limits, **more):
    queries = query if isinstance(query, list) else [(query, "")]
    return Panel("number", title, say, queries, unit, [as_limit(l) for l in limits], **{"width": 4, "height": 4, **more})


def bars(title, say, queries, unit, *limits, **more):
    return Panel("bars", title, say, queries, unit, [as_limit(l) for l in limits], **more)


def rows(title, say, query, unit="short", *limits, **more):
    return Panel("rows", title, say, [(query, "")], unit, [as_limit(l) for l in limits], **more)


def timeline(title, say, queries, **more):
    return Panel("timeline", title, say, queries, "none", **more)


def as_limit(limit):
    return limit if isinstance(limit, Limit) else Limit(limit)


@dataclass
class Variable:
    """A choice beyond job and instance: `name` from the values of `label` in `of`."""

    name: str
    label: str
    of: str
    title: str


@dataclass
class Board:
    uid: str
    title: str
    say: str
    of: str  # the metric that says which jobs and instances there are
    rows: list  # (title, [panels])
    alerts: str = ".+"  # which alerts are marked on the graphs
    variables: list = field(default_factory=list)
    span: str = "now-3h"
    job: bool = True
    instance: bool = True


def fill(expression):
    return expression.replace("<sel>", 'job=~"$job", instance=~"$instance"').replace("<job>", 'job=~"$job"')


def target(number, expression, legend, instant=False, frame=False):
    query = prometheus.Dataquery().expr(fill(expression)).ref_id(chr(ord("A") + number)).datasource(DATASOURCE).legend_format(legend or "__auto")
    query = query.instant() if instant else query.range().exemplar("_bucket" in expression)
    if frame:
        query = query.format("table")
    return query


def thresholds(panel):
    """Colour steps; good where no alert fires, and the alert's severity beyond its limit."""
    if panel.steps:
        steps = [model.Threshold(value, color) for value, color in panel.steps]
        return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
    limits = [(limit.value(), limit.color()) for limit in panel.limits]
    rising = sorted((value, color) for (value, above), color in limits if above)
    falling = sorted(((value, color) for (value, above), color in limits if not above))
    steps = []
    if falling:
        # Below the lowest limit the worst colour, and so on up to good.
        steps.append(model.Threshold(None, falling[0][1]))
        for (value, _), (_, color) in zip(falling, falling[1:]):
            steps.append(model.Threshold(value, color))
        steps.append(model.Threshold(falling[-1][0], GOOD))
    else:
        steps.append(model.Threshold(None, GOOD))
    steps += [model.Threshold(value, color) for value, color in rising]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def links(panel):
    """The alert's state, and what to do about it."""
    made = []
    for name in panel.of():
        made.append(dashboard.DashboardLink(f"Alert {name}").type(model.DashboardLinkType.LINK).keep_time(True)
                    .url(f"/d/outrigger-rules?var-datasource=${{datasource}}&var-alertname={name}"))
        made.append(dashboard.DashboardLink(f"Runbook {name}").type(model.DashboardLinkType.LINK).target_blank(True).url(RUNBOOK % name))
    return made


def shades(color):
    """Every series of a query in a shade of one colour."""
    return [model.DynamicConfigValue("color", {"mode": "shades", "fixedColor": color})]


def build(panel):
    makers = {"graph": graph_of, "number": number_of, "bars": bars_of, "rows": rows_of, "timeline": timeline_of, "text": text_of}
    made = makers[panel.kind](panel)
    made = made.title(panel.title).description(panel.say).links(links(panel))
    if panel.kind == "text":
        return made
    made = made.datasource(DATASOURCE).unit(panel.unit).thresholds(thresholds(panel)).no_value("no data")
    if panel.low is not None:
        made = made.min(panel.low)
    if panel.high is not None:
        made = made.max(panel.high)
    if panel.decimals is not None:
        made = made.decimals(panel.decimals)
    if panel.mappings:
        made = made.mappings([value_map(panel.mappings)])
    for at, (expression, legend) in enumerate(panel.queries):
        instant = panel.kind in ("rows", "bars")
        made = made.with_target(target(at, expression, legend, instant, panel.kind == "rows"))
    return made


def value_map(pairs):
    results = {str(value): model.ValueMappingResult(text=text_, color=color, index=at) for at, (value, text_, color) in enumerate(pairs)}
    return model.ValueMap(options=results)


def graph_of(panel):
    legend = common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.TABLE).placement(kinds.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"]).show_legend(panel.legend)
    made = (timeseries.Panel().legend(legend).line_width(1).fill_opacity(25 if panel.stacked else 8).show_points(kinds.VisibilityMode.NEVER)
            .span_nulls(False).tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
            .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.SHADES).fixed_color(SERIES[0])))
    if panel.stacked:
        made = made.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    if panel.limits or panel.steps:
        made = made.thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED))
    for at in range(len(panel.queries)):
        made = made.override_by_query(chr(ord("A") + at), shades(SERIES[at % len(SERIES)]))
    return made


def number_of(panel):
    mode = kinds.BigValueColorMode.VALUE if panel.limits or panel.mappings or panel.steps else kinds.BigValueColorMode.NONE
    return (stat.Panel().color_mode(mode).graph_mode(kinds.BigValueGraphMode.AREA if not panel.mappings else kinds.BigValueGraphMode.NONE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)))


def bars_of(panel):
    return (bargauge.Panel().orientation(kinds.VizOrientation.HORIZONTAL).display_mode(kinds.BarGaugeDisplayMode.BASIC)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)))


def rows_of(panel):
    made = table.Panel().show_header(True).with_transformation(model.DataTransformerConfig("organize", {
        "excludeByName": {name: True for name in ["Time", *panel.hide]}, "renameByName": panel.rename}))
    if panel.limits or panel.steps:
        name = panel.rename.get("Value", "Value")
        made = made.override_by_name(name, [model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"})])
    return made


def timeline_of(panel):
    return (statetimeline.Panel().merge_values(True).show_value(kinds.VisibilityMode.NEVER).row_height(0.8)
            .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)))


def text_of(panel):
    return text.Panel().content(panel.say)


def lay_out(board):
    """(row title or None, panel, position) from left to right, from top to bottom."""
    placed, top = [], 0
    for title, panels in board.rows:
        placed.append((title, None, model.GridPos(h=1, w=24, x=0, y=top)))
        top, left, tallest = top + 1, 0, 0
        for panel in panels:
            if left + panel.width > 24:
                top, left, tallest = top + tallest, 0, 0
            placed.append((None, panel, model.GridPos(h=panel.height, w=panel.width, x=left, y=top)))
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return placed


def query_variable(name, title, query):
    return (dashboard.QueryVariable(name).label(title).datasource(DATASOURCE).query({"query": query, "refId": f"variable-{name}"}).multi(True)
            .include_all(True).all_value(".+").refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
            .current(model.VariableOption(selected=True, text=["All"], value=["$__all"])))


def variables(board):
    made = [dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
            .current(model.VariableOption(selected=True, text="default", value="default"))]
    if board.job:
        made.append(query_variable("job", "Job", f"label_values({board.of}, job)"))
    if board.instance:
        made.append(query_variable("instance", "Instance", f'label_values({board.of}{{job=~"$job"}}, instance)'))
    for more in board.variables:
        inner = more.of.replace("<sel>", 'job=~"$job", instance=~"$instance"').replace("<job>", 'job=~"$job"')
        made.append(query_variable(more.name, more.title, f"label_values({inner}, {more.label})"))
    return made


def annotation(name, color, expression, title, text_, enable=True):
    query = dashboard.AnnotationQuery().name(name).datasource(DATASOURCE).enable(enable).icon_color(color).expr(expression)
    inner = query.build

    def complete():
        made = inner().to_json()
        made.update(titleFormat=title, textFormat=text_, step="60s", useValueForTime=False)
        return made

    return complete


def document(board):
    made = (dashboard.Dashboard(board.title).uid(board.uid).description(board.say).tags(["outrigger"]).readonly().version(1)
            .time(board.span, "now").refresh("30s").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR).variables(variables(board))
            .link(dashboard.DashboardLink("Outrigger").type(model.DashboardLinkType.DASHBOARDS).tags(["outrigger"]).as_dropdown(True)
                  .keep_time(True).include_vars(True)))
    built = made.build().to_json()
    built["schemaVersion"] = 42
    panels = []
    for number_, (title, panel, position) in enumerate(lay_out(board), 1):
        piece = dashboard.Row(title) if title else build(panel)
        inner = piece.id(number_).grid_pos(position).build().to_json()
        panels.append(inner)
    built["panels"] = panels
    built["annotations"] = {"list": [
        annotation("Alerts", SEVERITY["critical"], f'ALERTS{{alertstate="firing", alertname=~"{board.alerts}"}}', "{{alertname}}", "{{severity}} {{job}} {{instance}}")(),
        annotation("Deployments", SERIES[0], "changes(outrigger_delivery_last_deployment_timestamp_seconds[5m]) > 0", "Deployment", "{{service}} {{environment}}")(),
    ]}
    built.pop("id", None)
    return built
