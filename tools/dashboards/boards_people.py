"""What people ask: executives, operations, engineering; and the objectives that they agreed upon."""

from kit import GOOD, SEVERITY, Board, Limit, Variable, bars, graph, number, rows, timeline

FS = 'fstype!~"tmpfs|ramfs|devtmpfs|squashfs|erofs|cramfs|iso9660|udf|overlay|fuse.lxcfs|fuse.snapfuse"'
# Part of the budget that is left: overdrawn, nearly gone, well.
BUDGET = [(None, SEVERITY["critical"]), (0, SEVERITY["high"]), (0.25, GOOD)]
SCORE = [(None, SEVERITY["critical"]), (0.5, SEVERITY["high"]), (0.8, GOOD)]
# The factors of the burn rates that page and open tickets: rules/README.md.
PAGE, SLOW_PAGE, TICKET, SLOW_TICKET = 14.4, 6, 3, 1
BURN = [(None, GOOD), (TICKET, SEVERITY["medium"]), (SLOW_PAGE, SEVERITY["high"]), (PAGE, SEVERITY["critical"])]
SLO_ALERTS = ["SloAvailabilityBurn", "SloLatencyBurn", "SloResponseTimeBurn"]
ID = 'sloth_id=~"$slo", <sel>'

EXECUTIVE = Board(
    "outrigger-executive", "Executive", "Are we keeping what we promised: the scorecard, the error budgets, availability, cost, and what is wrong now.",
    "outrigger_slo_objective_ratio", alerts="Slo.*", span="now-30d", rows=[
    ("Scorecard", [
        number("Grade", "The mean of the pillars' scores as a grade. Its reasons: `outrigger scorecard`, and the bars beside.", [("outrigger_scorecard_grade{<sel>}", "{{grade}}")], "none", width=4, height=6),
        number("Overall score", "0 is the worst that was agreed upon, 1 every target met.", "outrigger_scorecard_overall_score{<sel>}", "percentunit", steps=SCORE, width=4, height=6),
        bars("Pillars", "Score of each pillar; 1 is its target or better. The shortest bar is where to work next.", [("outrigger_scorecard_score{<sel>}", "{{pillar}}")], "percentunit", steps=SCORE, low=0, high=1, width=8, height=6),
        rows("Current values", "What each pillar's formula gives now, in its own unit; `outrigger scorecard` has the targets beside them.", "outrigger_scorecard_current{<sel>}", hide=["__name__", "instance", "job"], rename={"Value": "Current"}, width=8, height=6),
    ]),
    ("Promises", [
        bars("Error budgets, worst first", "Part of the budget that is left in its period. Below 0 it is overdrawn: only fixes are released until it recovers.",
             [("sort(outrigger_slo_error_budget_remaining_ratio{<sel>})", "{{sloth_service}} {{sloth_slo}}")], "percentunit", steps=BUDGET, alerts=SLO_ALERTS, width=12),
        bars("Availability in the period", "Good events over all events of each objective's period, 30 days unless it says otherwise.",
             [("1 - outrigger_slo_period_bad_events{<sel>} / (outrigger_slo_period_events{<sel>} > 0)", "{{sloth_service}} {{sloth_slo}}")], "percentunit", steps=[(None, GOOD)], alerts=["SloAvailabilityBurn"], decimals=3, width=12),
    ]),
    ("Trouble and cost", [
        graph("Alerts by severity", "Alerts that fire. A level that never returns to 0 is an alert nobody answers.", [('count by (severity) (ALERTS{alertstate="firing", alertname!="Watchdog"}) or 0 * count by (severity) (ALERTS{alertname="Watchdog"})', "{{severity}}")], "short", low=0, stacked=True, width=8),
        graph("Cost pillar", "What the cost pillar gives, and its target; `outrigger scorecard` says which side is good. See the Capacity and GPU boards for what stands idle.",
              [('outrigger_scorecard_current{pillar="cost", <sel>}', "now"), ('outrigger_scorecard_target{pillar="cost", <sel>}', "target")], "short", low=0, width=8),
        graph("Deployments of 7 days", "By outcome. Few: changes pile up; many failures: see Engineering.", [("sum by (outcome) (increase(outrigger_delivery_deployments_total[7d]))", "{{outcome}}")], "short", alerts=["DeliveryDeploymentsStalled", "DeliveryChangeFailureRateHigh"], low=0, width=8),
    ]),
])

OPERATIONS = Board(
    "outrigger-operations", "Operations", "What is wrong now, what feels it, and whether anybody is told.",
    "up", alerts="Service.*|Outrigger.*", rows=[
    ("Verdict", [
        number("Targets down", "Targets that cannot be scraped. Each is a service that may be gone: see the list below.", 'count(up{<sel>} == 0) or vector(0)', "short", steps=[(None, GOOD), (1, SEVERITY["critical"])], alerts=["ServiceTargetDown"]),
        number("Collectors that fail", "See the collectors' table on Outrigger itself.", "count(increase(outrigger_collector_errors_total{<sel>}[10m]) > 0) or vector(0)", "short", steps=[(None, GOOD), (1, SEVERITY["medium"])], alerts=["OutriggerCollectorFailing"]),
        number("Rules that fail", "Evaluations that failed or were missed in 10 minutes.", "sum(increase(prometheus_rule_evaluation_failures_total{<sel>}[10m])) + sum(increase(prometheus_rule_group_iterations_missed_total{<sel>}[10m]))", "short", "OutriggerRuleFailing", decimals=0),
        number("Deliveries that fail", "Alerts that could not be handed to an Alertmanager in 10 minutes. Not 0: nobody may know of what is wrong.", "sum(increase(prometheus_notifications_errors_total{<sel>}[10m])) or vector(0)", "short", Limit("OutriggerNotificationFailing"), decimals=0),
        number("Firing", "Alerts that fire, without the Watchdog.", 'count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)', "short", steps=[(None, GOOD), (1, SEVERITY["high"])]),
        number("Watchdog", "1: the chain of rules works. No data: nothing is judged at all.", 'count(ALERTS{alertname="Watchdog", alertstate="firing"})', "short", steps=[(None, SEVERITY["critical"]), (1, GOOD)], alerts=["Watchdog"]),
    ]),
    ("Alerts", [
        rows("Firing and pending, by age", "How long each has been so. Open its runbook; silence it only for what you are working on.",
             "sort_desc((time() - last_over_time(ALERTS_FOR_STATE[5m])) * ignoring (alertstate) group_right () ALERTS)", "s", hide=["__name__"], rename={"Value": "Age"}, width=24),
    ]),
    ("Services", [
        graph("p95 of the response time", "Above the line: which handler, and is the machine short of something.", [("histogram_quantile(0.95, sum by (job, le) (service:request_duration_seconds_bucket:rate5m{<job>}))", "{{job}}")], "s", "ServiceLatencyP95High", alerts=["ServiceLatencyP50High", "ServiceLatencyP99High"], low=0, width=8),
        graph("Error rate", "Share of requests that fail by the server's fault. Above the line: the newest deployment first.", [("sum by (job) (service:request_errors:rate5m{<job>}) / sum by (job) (service:requests:rate5m{<job>})", "{{job}}")], "percentunit", "ServiceErrorRatioHigh", alerts=["ServiceErrorRateHigh"], low=0, width=8),
        graph("Requests", "A sudden fall: nobody reaches us any more.", [("sum by (job) (service:requests:rate5m{<job>})", "{{job}}")], "reqps", alerts=["ServiceTrafficDrop"], low=0, width=8),
    ]),
    ("Saturation", [
        graph("CPU, memory, load", "The machine's three, as shares.", [('1 - avg by (instance) (sum without (mode) (rate(node_cpu_seconds_total{mode=~"idle|iowait", <sel>}[$__rate_interval])))', "CPU {{instance}}"), ("1 - node_memory_MemAvailable_bytes{<sel>} / node_memory_MemTotal_bytes{<sel>}", "memory {{instance}}"), ('node_load15{<sel>} / count without (cpu, mode) (node_cpu_seconds_total{mode="idle", <sel>})', "load per CPU {{instance}}")], "percentunit", "HostCpuHigh", alerts=["HostMemoryHigh", "HostLoadHigh"], low=0, width=8),
        bars("File systems", "Used share. See the Host board.", [(f"1 - node_filesystem_avail_bytes{{{FS}, <sel>}} / (node_filesystem_size_bytes - node_filesystem_free_bytes + node_filesystem_avail_bytes)", "{{instance}} {{mountpoint}}")], "percentunit", "HostDiskUsageHigh", Limit("HostDiskAlmostFull", inverted=True), low=0, high=1, width=8),
        graph("Pressure", "Share of time in which tasks waited for CPU, memory, storage.", [("rate(node_pressure_cpu_waiting_seconds_total{<sel>}[$__rate_interval])", "CPU {{instance}}"), ("rate(node_pressure_memory_waiting_seconds_total{<sel>}[$__rate_interval])", "memory {{instance}}"), ("rate(node_pressure_io_waiting_seconds_total{<sel>}[$__rate_interval])", "storage {{instance}}")], "percentunit", alerts=["HostCpuPressure", "HostMemoryPressure", "HostIoPressure"], low=0, width=8),
    ]),
    ("Sources and delivery", [
        timeline("Targets", "Blue-green: answers. Red: does not. A striped one flaps: its timeout is too short, or it restarts.", [("up{<sel>}", "{{job}} {{instance}}")], steps=[(None, SEVERITY["critical"]), (1, GOOD)], alerts=["ServiceTargetDown", "OutriggerTargetLost"]),
        graph("Scrape duration", "Near the timeout: the target is slow, or gives too much.", [("scrape_duration_seconds{<sel>}", "{{job}} {{instance}}")], "s", low=0),
        graph("Alerts handed on", "To Alertmanagers; errors beside.", [("rate(prometheus_notifications_sent_total{<sel>}[$__rate_interval])", "sent {{alertmanager}}"), ("rate(prometheus_notifications_errors_total{<sel>}[$__rate_interval])", "errors {{alertmanager}}")], "short", alerts=["OutriggerNotificationFailing"], low=0),
        graph("Waiting for delivery", "Alerts in the queues. Growing: an Alertmanager does not answer.", [("prometheus_notifications_queue_length{<sel>}", "{{alertmanager}}")], "short", alerts=["OutriggerNotificationFailing"], low=0),
    ]),
])

ENGINEERING = Board(
    "outrigger-engineering", "Engineering", "Quality of what we build and how it gets out: tests, errors, models, deployments.",
    "workflow:last_run:success", alerts="Workflow.*|Delivery.*|Ml.*", span="now-7d", instance=False, rows=[
    ("Tests and jobs", [
        graph("Failed tests", "Share of tests that failed. Above the line: nobody trusts the suite any more; fix or remove.", [("workflow:tests_failed:ratio{<job>}", "{{workflow}}")], "percentunit", "WorkflowTestFailuresHigh", low=0),
        graph("Duration of runs", "Of the run under way, or the last one.", [("workflow:run_duration:seconds{<job>}", "{{workflow}}"), ("workflow:run_limit:seconds{<job>}", "limit {{workflow}}")], "s", alerts=["WorkflowRunTooLong"], low=0),
        timeline("Last run", "Green: went well. Red: failed; see its log.", [("workflow:last_run:success{<job>}", "{{workflow}}")], steps=[(None, SEVERITY["high"]), (1, GOOD)], alerts=["WorkflowJobFailed"]),
        rows("Since the last good run", "Seconds. Longer than one and a half periods: it does not run any more.", "sort_desc(time() - workflow:last_success:timestamp_seconds{<job>})", "s", alerts=["WorkflowJobNotRun"], hide=["__name__"], rename={"Value": "Ago"}),
    ]),
    ("What users get", [
        graph("Error ratio", "Share of requests that fail.", [("sum by (job) (service:request_errors:rate5m{<job>}) / sum by (job) (service:requests:rate5m{<job>})", "{{job}}")], "percentunit", "ServiceErrorRatioHigh", low=0, width=8),
        graph("Confidence", "Share of predictions with a confidence above 0.8. Falling: new data is not like the old.", [("ml:confident_predictions:ratio{<job>}", "{{model}}")], "percentunit", "MlConfidenceLow", low=0, high=1, width=8),
        graph("Review rate", "Share of predictions that a person has to look at.", [("ml:reviewed_predictions:ratio{<job>}", "{{model}}")], "percentunit", "MlReviewRateHigh", low=0, width=8),
        graph("Accuracy kept", "Of the reference model's.", [("ml:accuracy_preservation:ratio{<job>}", "{{model}}")], "percentunit", "MlAccuracyNotPreserved", decimals=2, width=8),
        graph("Cache hits", "Share of lookups that hit.", [("ml:cache_hits:ratio{<job>}", "{{model}}")], "percentunit", "MlCacheHitsLow", low=0, high=1, width=8),
        bars("Distribution of confidence", "Predictions of an hour up to each confidence.", [("sum by (le) (increase(ml_prediction_confidence_bucket{<job>}[1h]))", "up to {{le}}")], "short", low=0, width=8),
    ]),
    ("Delivery", [
        graph("Deployments of a day", "By service and outcome.", [("sum by (service, outcome) (increase(outrigger_delivery_deployments_total[1d]))", "{{service}} {{outcome}}")], "short", alerts=["DeliveryDeploymentsStalled"], low=0),
        graph("Change failure rate", "Share of deployments of 7 days that failed or were taken back. Above the line: smaller changes, better tests.", [('sum by (service) (increase(outrigger_delivery_deployments_total{outcome="failure"}[7d])) / sum by (service) (increase(outrigger_delivery_deployments_total[7d]))', "{{service}}")], "percentunit", "DeliveryChangeFailureRateHigh", low=0, high=1),
        graph("Lead time", "Median from commit to deployment over 7 days.", [("histogram_quantile(0.5, sum by (service, le) (increase(outrigger_delivery_lead_time_seconds_bucket[7d])))", "{{service}}")], "s", "DeliveryLeadTimeLong", low=0),
        graph("Time to recovery", "Mean of 7 days.", [("sum by (service) (increase(outrigger_delivery_recovery_time_seconds_sum[7d])) / sum by (service) (increase(outrigger_delivery_recovery_time_seconds_count[7d]))", "{{service}}")], "s", "DeliveryRecoverySlow", low=0),
    ]),
])

SLO_OVERVIEW = Board(
    "outrigger-slo-overview", "SLO overview", "Every objective: what is left of its budget, how fast it burns, when it is gone.",
    "outrigger_slo_objective_ratio", alerts="Slo.*", span="now-7d", rows=[
    ("Budgets", [
        bars("Budget left, worst first", "Part of the error budget that is left. Below 0: overdrawn.", [("sort(outrigger_slo_error_budget_remaining_ratio{<sel>})", "{{sloth_service}} {{sloth_slo}}")], "percentunit", steps=BUDGET, alerts=SLO_ALERTS),
        bars("Burn rate of the last hour, fastest first", "1: the budget lasts exactly its period. 14.4: 2 % of it in an hour; somebody is called.", [('sort_desc(outrigger_slo_burn_rate{window="1h", <sel>})', "{{sloth_service}} {{sloth_slo}}")], "short", steps=BURN, alerts=SLO_ALERTS),
        rows("Gone in", "At the last hour's burn rate; infinite: never. Click an objective on SLO detail.", "sort(outrigger_slo_time_to_exhaustion_seconds{<sel>})", "s", hide=["__name__", "instance", "job", "sloth_id"], rename={"Value": "Left"}),
        rows("Events that may still fail", "Below 0: too many have.", "sort(outrigger_slo_events_left{<sel>})", "short", hide=["__name__", "instance", "job", "sloth_id"], rename={"Value": "Events"}),
    ]),
    ("Over time", [
        graph("Budget left", "A steady slope is a steady fault, a step an incident.", [("outrigger_slo_error_budget_remaining_ratio{<sel>}", "{{sloth_service}} {{sloth_slo}}")], "percentunit", steps=BUDGET),
        graph("Burn rate of the last hour", "1: the budget lasts exactly its period. Above a line for long: somebody is called, or a ticket is opened.", [('outrigger_slo_burn_rate{window="1h", <sel>}', "{{sloth_service}} {{sloth_slo}}")], "short", steps=BURN, alerts=SLO_ALERTS, low=0),
    ]),
])

WINDOWS = [("5m", "1h", PAGE, "critical", "2 % of a 30-day budget in an hour: answer now"), ("30m", "6h", SLOW_PAGE, "critical", "5 % in six hours: answer now"),
           ("2h", "1d", TICKET, "medium", "10 % in a day: look today"), ("6h", "3d", SLOW_TICKET, "medium", "10 % in three days: plan it")]
SLO_DETAIL = Board(
    "outrigger-slo-detail", "SLO detail", "One objective: burn rates of each pair of windows against the factor at which an alert fires, budget, events.",
    "outrigger_slo_objective_ratio", alerts="Slo.*", span="now-2d", variables=[Variable("slo", "sloth_id", "outrigger_slo_objective_ratio{<sel>}", "SLO")], rows=[
    ("State", [
        number("Objective", "What is promised.", f"outrigger_slo_objective_ratio{{{ID}}}", "percentunit", decimals=3, steps=[(None, GOOD)]),
        number("Left of the budget", "Part of the budget that is left in the period.", f"outrigger_slo_error_budget_remaining_ratio{{{ID}}}", "percentunit", steps=BUDGET, alerts=SLO_ALERTS),
        number("Gone in", "At the last hour's burn rate.", f"outrigger_slo_time_to_exhaustion_seconds{{{ID}}}", "s"),
        number("May still fail", "Events.", f"outrigger_slo_events_left{{{ID}}}", "short"),
        number("Events", "Of the period so far.", f"outrigger_slo_period_events{{{ID}}}", "short"),
        number("Failed", "Of the period so far.", f"outrigger_slo_period_bad_events{{{ID}}}", "short"),
    ]),
    ("Burn rates", [
        graph(f"{short} and {long}", f"Both above {factor:g}: {why}.",
              [(f'outrigger_slo_burn_rate{{window="{short}", {ID}}}', f"{short} {{{{sloth_id}}}}"), (f'outrigger_slo_burn_rate{{window="{long}", {ID}}}', f"{long} {{{{sloth_id}}}}")],
              "short", steps=[(None, GOOD), (factor, SEVERITY[severity])], alerts=SLO_ALERTS, low=0)
        for short, long, factor, severity, why in WINDOWS]),
    ("Budget and events", [
        graph("Budget left", "In the period.", [(f"outrigger_slo_error_budget_remaining_ratio{{{ID}}}", "{{sloth_id}}")], "percentunit", steps=BUDGET),
        graph("Error ratio", "Of 5 minutes and of an hour, as Sloth's rules record it.", [('slo:sli_error:ratio_rate5m{sloth_id=~"$slo"}', "5m {{sloth_id}}"), ('slo:sli_error:ratio_rate1h{sloth_id=~"$slo"}', "1h {{sloth_id}}")], "percentunit", low=0),
        graph("Bad events", "Counted in the period so far.", [(f"outrigger_slo_period_bad_events{{{ID}}}", "{{sloth_id}}")], "short", low=0),
        graph("Slots that do not count", "Of 5 minutes each: not measured, or in maintenance. Many: the objective is about less than you think.", [(f"outrigger_slo_slots_missing{{{ID}}}", "missing {{sloth_id}}"), (f"outrigger_slo_slots_excluded{{{ID}}}", "excluded {{sloth_id}}")], "short", low=0),
    ]),
])

BOARDS = [EXECUTIVE, OPERATIONS, ENGINEERING, SLO_OVERVIEW, SLO_DETAIL]
