//! Files in, rules out: against the SRE workbook's tables, Sloth's rules, and files with mistakes of every kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::promql::{ParseOptions, parse};

const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn read(text: &str) -> SloFile {
    parse_file("f.yml", text, &FileOptions::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> String {
    parse_file("f.yml", text, &FileOptions::default()).expect_err(text).to_string()
}

fn groups(slo: &Slo) -> Vec<GeneratedGroup> {
    generate(slo, &GenerateOptions { version: "test".to_owned() })
}

fn rules(slo: &Slo) -> Vec<GeneratedRule> {
    groups(slo).into_iter().flat_map(|group| group.rules).collect()
}

fn find<'r>(rules: &'r [GeneratedRule], name: &str) -> &'r GeneratedRule {
    rules.iter().find(|rule| rule.name == name).unwrap_or_else(|| panic!("no rule {name}"))
}

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/slo");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(super) const SLOTH: &str = r#"
version: prometheus/v1
service: svc
labels: {owner: team}
slos:
- name: availability
  objective: 99.9
  labels: {tier: "2"}
  sli:
    events:
      error_query: sum(rate(http_requests_total{code=~"5.."}[{{.window}}]))
      total_query: sum(rate(http_requests_total[{{.window}}]))
  alerting:
    name: HighErrorRate
    labels: {category: availability}
    annotations: {runbook: "https://x"}
    page_alert: {labels: {severity: pageteam}}
    ticket_alert: {labels: {severity: slack}}
"#;

/// The SRE workbook's table for 99.9 % over 30 days, by hand, and the two rows that Sloth adds: burn rate, error ratio.
const WORKBOOK: [(Severity, u64, u64, f64, f64); 4] = [
    (Severity::Page, 60, 5, 14.4, 0.0144),
    (Severity::Page, 360, 30, 6.0, 0.006),
    (Severity::Ticket, 1_440, 120, 3.0, 0.003),
    (Severity::Ticket, 4_320, 360, 1.0, 0.001),
];

#[test]
fn alerts_are_those_of_the_workbook() {
    let slo = &read(SLOTH).slos[0];
    for (pair, (severity, long, short, factor, ratio)) in slo.alerting.windows.iter().zip(WORKBOOK) {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        assert_eq!((pair.severity, pair.long, pair.short), (severity, minutes(long), minutes(short)));
        assert_eq!(pair.factor(slo.period.length()), factor);
        assert!((pair.threshold(slo.period.length(), slo.objective) - ratio).abs() < 1e-15);
    }
    let s = r#"{sloth_id="svc-availability", sloth_service="svc", sloth_slo="availability"}"#;
    let expected = |pairs: [(&str, &str, &str); 2]| {
        let pair = |(short, long, factor): (&str, &str, &str)| {
            format!(
                "(\n    max(slo:sli_error:ratio_rate{short}{s} > ({factor} * 0.001)) without (sloth_window)\n    and\n    max(slo:sli_error:ratio_rate{long}{s} > ({factor} * 0.001)) without (sloth_window)\n)"
            )
        };
        pairs.map(pair).join("\nor\n")
    };
    let rules = rules(slo);
    let alerts: Vec<&GeneratedRule> = rules.iter().filter(|rule| rule.name == "HighErrorRate").collect();
    let [page, ticket] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert_eq!(page.expr, expected([("5m", "1h", "14.4"), ("30m", "6h", "6")]));
    assert_eq!(ticket.expr, expected([("2h", "1d", "3"), ("6h", "3d", "1")]));
    for (alert, severity, own) in [(page, "page", "pageteam"), (ticket, "ticket", "slack")] {
        let expected = [("category", "availability"), ("severity", own), ("sloth_severity", severity)];
        assert!(
            alert.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected),
            "{:?}",
            alert.labels
        );
        let GeneratedKind::Alert { hold, annotations, .. } = &alert.kind else { panic!("{alert:?}") };
        assert!(
            hold.is_zero() && annotations.contains_key("summary") && annotations["runbook"] == "https://x"
        );
    }
}

#[test]
fn recordings_have_sloths_names_labels_and_expressions() {
    let slo = &read(SLOTH).slos[0];
    let groups = groups(slo);
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "sloth-slo-sli-recordings-svc-availability",
            "sloth-slo-meta-recordings-svc-availability",
            "sloth-slo-alerts-svc-availability"
        ]
    );
    let s = r#"{sloth_id="svc-availability", sloth_service="svc", sloth_slo="availability"}"#;
    for window in ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"] {
        let rule = find(&groups[0].rules, &format!("slo:sli_error:ratio_rate{window}"));
        let labels: Vec<(&str, &str)> = rule.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected = [
            ("owner", "team"),
            ("sloth_id", "svc-availability"),
            ("sloth_service", "svc"),
            ("sloth_slo", "availability"),
            ("sloth_window", window),
            ("tier", "2"),
        ];
        assert_eq!(labels, expected);
        let events = format!(
            "(sum(rate(http_requests_total{{code=~\"5..\"}}[{window}])))\n/\n(sum(rate(http_requests_total[{window}])))"
        );
        let period = format!(
            "sum_over_time(slo:sli_error:ratio_rate5m{s}[30d])\n/ ignoring (sloth_window)\ncount_over_time(slo:sli_error:ratio_rate5m{s}[30d])"
        );
        assert_eq!(rule.expr, if window == "30d" { period } else { events });
    }
    assert_eq!(groups[0].rules.len(), 8);
    let meta: Vec<(&str, &str)> =
        groups[1].rules.iter().map(|rule| (rule.name.as_str(), rule.expr.as_str())).collect();
    let on = "/ on(sloth_id, sloth_slo, sloth_service) group_left";
    let current = format!("slo:sli_error:ratio_rate5m{s}\n{on}\nslo:error_budget:ratio{s}");
    let period = format!("slo:sli_error:ratio_rate30d{s}\n{on}\nslo:error_budget:ratio{s}");
    let remaining = format!("1 - slo:period_burn_rate:ratio{s}");
    assert_eq!(
        meta,
        [
            ("slo:objective:ratio", "vector(0.999)"),
            ("slo:error_budget:ratio", "vector(0.001)"),
            ("slo:time_period:days", "vector(30)"),
            ("slo:current_burn_rate:ratio", current.as_str()),
            ("slo:period_burn_rate:ratio", period.as_str()),
            ("slo:period_error_budget_remaining:ratio", remaining.as_str()),
            ("sloth_slo_info", "vector(1)"),
        ]
    );
    let info = find(&groups[1].rules, "sloth_slo_info");
    for (name, value) in
        [("sloth_objective", "99.9"), ("sloth_spec", "prometheus/v1"), ("sloth_version", "test")]
    {
        assert_eq!(info.labels[name], value);
    }
}

#[test]
fn four_weeks_are_named_as_prometheus_prints_them() {
    let text = SLOTH.replace("  sli:", "  outrigger: {window: 28d}\n  sli:");
    let rules = rules(&read(&text).slos[0]);
    let period = find(&rules, "slo:sli_error:ratio_rate4w");
    assert_eq!(period.labels["sloth_window"], "4w");
    let page = find(&rules, "HighErrorRate");
    assert!(page.expr.contains("(13.44 * 0.001)") && page.expr.contains("(5.6 * 0.001)"), "{}", page.expr);
}

#[test]
fn all_examples_give_rules_that_are_promql_and_read_back() {
    let files = examples();
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let file = load_file(&path, &FileOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert!(!file.slos.is_empty(), "{}", path.display());
        assert_eq!(file.warnings, [], "{}", path.display());
        let all: Vec<GeneratedGroup> = file.slos.iter().flat_map(groups).collect();
        for rule in all.iter().flat_map(|group| &group.rules) {
            parse(&rule.expr, &ParseOptions::default())
                .unwrap_or_else(|error| panic!("{}: {error}\n{}", rule.name, rule.expr));
        }
        let yaml = to_rule_file(&all);
        let document = crate::config::Document::parse("rules", yaml, &crate::config::Limits::default());
        let read = document.unwrap_or_else(|error| panic!("{error}")).read(
            &crate::config::Environment::off(),
            |top| {
                let mut exprs = Vec::new();
                for group in top.take_list("groups").unwrap_or_default() {
                    let mut group = group.section().unwrap();
                    for rule in group.take_list("rules").unwrap_or_default() {
                        let mut rule = rule.section().unwrap();
                        exprs.extend(rule.take_literal("expr"));
                        rule.take_rest();
                    }
                    group.take_rest();
                }
                exprs
            },
        );
        let written: Vec<String> =
            all.iter().flat_map(|group| &group.rules).map(|rule| rule.expr.clone()).collect();
        assert_eq!(read.unwrap_or_else(|error| panic!("{error}")), written);
    }
}

#[test]
fn the_shipped_objectives_are_right_and_nothing_about_them_is_odd() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/slo");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = load_file(&path, &FileOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert!(!file.slos.is_empty() && file.warnings.is_empty(), "{}: {:?}", path.display(), file.warnings);
    }
}

#[test]
fn what_goes_beyond_sloth_is_added() {
    let file = load_file(&examples()[0], &FileOptions::default()).unwrap();
    let latency = file.slos.iter().find(|slo| slo.name == "requests-latency").unwrap();
    let rules = rules(latency);
    let day = find(&rules, "outrigger:slo_events:increase1d");
    assert_eq!(day.expr, "(sum(rate(http_request_duration_seconds_count{job=\"api\"}[1d]))) * 86400");
    let ticket = find(&rules, "ApiLatency");
    for part in [
        "outrigger:slo_events:increase1d",
        ">= 100) without (sloth_window)",
        "unless on ()",
        "vector(time()) >= 1768006800 < 1768014000",
        "(hour() * 60 + minute()) >= 180 < 240 and on () (day_of_week() == 0)",
    ] {
        assert!(ticket.expr.contains(part), "{part}: {}", ticket.expr);
    }
    let absent = find(&rules, "ApiLatencyAbsent");
    assert!(
        absent.expr.contains("absent(slo:sli_error:ratio_rate5m{")
            && absent.labels["sloth_severity"] == "ticket"
    );
    let policy = find(&rules, "ApiLatencyBudget");
    assert!(
        policy.expr.contains("slo:period_error_budget_remaining:ratio{") && policy.expr.contains("< 0.25")
    );
    assert!(rules.iter().all(|rule| !(rule.name == "ApiLatency" && rule.labels["sloth_severity"] == "page")));
    let grouped = file.slos.iter().find(|slo| slo.name == "requests-by-handler").unwrap();
    let rule = self::rules(grouped);
    let expr = &find(&rule, "slo:sli_error:ratio_rate5m").expr;
    assert!(expr.contains("sum by (handler)"), "{expr}");
    let overall = file.slos.iter().find(|slo| slo.name == "overall").unwrap();
    let rule = self::rules(overall);
    assert_eq!(
        find(&rule, "slo:sli_error:ratio_rate1h").expr,
        "max(slo:sli_error:ratio_rate1h{sloth_id=~\"api-requests-availability|api-requests-latency\"} / on (sloth_id, sloth_slo, sloth_service) group_left slo:error_budget:ratio{sloth_id=~\"api-requests-availability|api-requests-latency\"})\n* 0.005"
    );
}

#[test]
fn openslo_documents_find_each_other() {
    let file = load_file(&examples()[1], &FileOptions::default()).unwrap();
    let [checkout, queue] = file.slos.as_slice() else { panic!("{:?}", file.slos) };
    assert_eq!((checkout.id().as_str(), checkout.objective.to_string().as_str()), ("shop-checkout", "99.9"));
    let rules = rules(checkout);
    assert_eq!(
        find(&rules, "slo:sli_error:ratio_rate1h").expr,
        "((sum(rate(checkout_requests_total[1h]))) - (sum(rate(checkout_requests_total{result=\"ok\"}[1h]))))\n/\n(sum(rate(checkout_requests_total[1h])))"
    );
    let alert = find(&rules, "ErrorBudgetBurn");
    assert!(
        alert.expr.contains("ratio_rate1h{") && alert.expr.contains(">= (14.4 * 0.001)"),
        "{}",
        alert.expr
    );
    assert!(matches!(&alert.kind, GeneratedKind::Alert { hold, .. } if hold.as_secs() == 300));
    assert_eq!(find(&rules, "ErrorBudgetBurnAbsent").labels["sloth_severity"], "page");
    let groups = groups(queue);
    assert_eq!(
        (groups[0].name.as_str(), groups[0].interval),
        ("sloth-slo-slices-shop-queue", Some(HOUR / 12))
    );
    assert_eq!(
        groups[0].rules[0].expr,
        "avg_over_time(((max(order_queue_oldest_seconds)) > bool 30)[5m:1m]) > bool 0.05"
    );
    let all = self::rules(queue);
    assert!(
        find(&all, "slo:sli_error:ratio_rate6h")
            .expr
            .starts_with("avg_over_time(outrigger:slo_slice_error:ratio{")
    );
}

#[test]
fn several_objectives_become_a_composite_beside() {
    let text = r"
apiVersion: openslo/v1
kind: SLO
metadata: {name: page}
spec:
  service: web
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  objectives:
  - target: 0.99
    compositeWeight: 3
    indicator: &a
      spec:
        ratioMetric:
          raw: {metricSource: {type: prometheus, spec: {query: avg(up)}}}
          rawType: success
  - {target: 0.999, indicator: *a, compositeWeight: 1}
";
    let slos = read(text).slos;
    let ids: Vec<String> = slos.iter().map(Slo::id).collect();
    assert_eq!(ids, ["web-page-0", "web-page-1", "web-page"]);
    let expr = &find(&rules(&slos[0]), "slo:sli_error:ratio_rate5m").expr.clone();
    assert_eq!(expr, "(1 - (avg(avg_over_time(up[5m]))))");
    let composite = find(&rules(&slos[2]), "slo:sli_error:ratio_rate5m").expr.clone();
    assert!(composite.contains("* 3\n+\n") && composite.ends_with("/ 4 * 0.001"), "{composite}");
}

#[test]
fn pyrra_objectives_become_the_same_rules() {
    let file = load_file(&examples()[2], &FileOptions::default()).unwrap();
    let [errors, latency, probe] = file.slos.as_slice() else { panic!("{:?}", file.slos) };
    assert_eq!((errors.id().as_str(), errors.labels["team"].as_str()), ("edge-gateway-errors", "platform"));
    assert_eq!((errors.absent, latency.absent), (Absent::Ignore, Absent::Alert(Severity::Page)));
    assert_eq!(
        find(&rules(errors), "slo:sli_error:ratio_rate5m").expr,
        "(sum by (route) (rate(gateway_requests_total{code=~\"5..\"}[5m])))\n/\n(sum by (route) (rate(gateway_requests_total[5m])))"
    );
    let expr = find(&rules(latency), "slo:sli_error:ratio_rate5m").expr.clone();
    assert!(
        expr.starts_with("(sum (rate(gateway_request_duration_seconds_count[5m])) - sum (rate("),
        "{expr}"
    );
    let expr = find(&rules(probe), "slo:sli_error:ratio_rate5m").expr.clone();
    assert!(expr.contains("sum_over_time(probe_success{job=\"gateway\"}[5m])"), "{expr}");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let text = r#"version: prometheus/v1
service: -svc
slos:
- name: a
  objective: 100
  sli: {events: {error_query: 'sum(rate(x[5m]))', total_query: 'sum(rate(x[{{.window}}])'}}
  alerting: {page_alert: {disable: false}}
- name: b
  objective: 99
  sli: {plugin: {id: sloth-common/x}}
  alerting: {name: B}
- name: c
  objektive: 99
  sli:
    events: {error_query: 'x[{{.window}}]', total_query: 'rate(x[{{.win}}])'}
    raw: {error_ratio_query: '1'}
  labels: {sloth_id: x, '9': y}
  outrigger: {window: 1h, absent: maybe, group_by: [a-b], exclude: [{from: x, to: y}], policy: [{action: a}]}
- name: d
  objective: 99
  outrigger: {composite: {slos: [none]}}
"#;
    let errors = errors(text);
    for part in [
        "f.yml:2:10: service: expected a name",
        "f.yml:5:14: slos[0].objective: an objective of 100 leaves no budget",
        "slos[0].sli.events.error_query: the query must hold {{.window}}",
        "slos[0].sli.events.total_query: not a query (with 5m as window): 1:",
        "slos[0].alerting.name: alerts need a name",
        "slos[1].sli.plugin: SLI plugins of Sloth are Go code",
        "slos[2].objektive: unknown key; did you mean \"objective\"?",
        "slos[2]: the key \"objective\" is missing",
        "slos[2].sli.raw: both events and raw are set",
        "gives a range vector",
        "\"{{.win\" is not known here",
        "slos[2].labels.sloth_id: labels that begin with sloth_",
        "slos[2].labels.9: \"9\" is not a valid label name",
        "the period of an SLO lasts from 1d to 366d",
        "absent: expected one of page, ticket, ignore",
        "group_by[0]: \"a-b\" is not a valid label name",
        "exclude[0].from: expected an instant",
        "policy[0]: the key \"remaining_below\" is missing",
        "the composite names the SLO \"-none\"",
    ] {
        assert!(errors.contains(part), "{part}\n\n{errors}");
    }
}

#[test]
fn what_is_no_objective_is_refused() {
    for (text, part) in [
        ("a: 1", "not a known SLO format"),
        ("version: prometheus/v2\nservice: a", "not a known SLO format"),
        ("apiVersion: openslo/v1alpha\nkind: SLO", "apiVersion: not a known SLO format"),
        ("- a", "expected keys and values"),
        ("version: prometheus/v1\nservice: a", "the key \"slos\" is missing"),
        ("version: prometheus/v1\nservice: a\nslos: []", "at least one SLO"),
        ("apiVersion: openslo/v1\nkind: Thing\nmetadata: {name: a}\nspec: {}", "expected one of SLO, SLI"),
        (
            "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: {name: a}\nspec: {target: '99', indicator: {latencyNative: {latency: 1s}}}",
            "needs native histograms",
        ),
    ] {
        let errors = errors(text);
        assert!(errors.contains(part), "{text}: {errors}");
    }
    let twice = format!("{SLOTH}---{SLOTH}");
    assert!(
        errors(&twice).contains("the id \"svc-availability\" is used twice; first in line 6"),
        "{}",
        errors(&twice)
    );
    assert_eq!(read("").slos, []);
    let environment = SLOTH.replace("\"2\"", "\"${HOME}\"");
    assert_eq!(read(&environment).slos[0].labels["tier"], "${HOME}");
}

#[test]
fn openslo_mistakes_are_told() {
    let text = r"
apiVersion: openslo/v1
kind: SLO
metadata: {name: a}
spec:
  service: s
  indicatorRef: none
  budgetingMethod: Timeslices
  timeWindow: [{duration: 1M, isRolling: true}]
  alertPolicies: [nobody]
  objectives: [{target: 99.9}]
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: b}
spec:
  ratioMetric: {counter: true, total: {metricSource: {type: Datadog, spec: {query: 'x offset 5m'}}}}
";
    let errors = errors(text);
    for part in [
        "there is no SLI \"none\" in this file",
        "\"1M\" is for a calendar",
        "there is no AlertPolicy \"nobody\"",
        "below 1, as 0.999",
        "the key \"timeSliceWindow\" is missing",
        "only sources of type Prometheus",
        "a query with offset, @ or a subquery needs {{.window}}",
        "exactly one of good and bad is needed",
    ] {
        assert!(errors.contains(part), "{part}\n\n{errors}");
    }
}

#[test]
fn alerts_that_can_never_fire_are_told() {
    let file = read(&SLOTH.replace("99.9", "90"));
    let [warning] = file.warnings.as_slice() else { panic!("{:?}", file.warnings) };
    assert_eq!((warning.line, warning.slo.as_str()), (6, "svc-availability"));
    assert!(
        warning.message.starts_with("the page alert over 1h and 5m can never fire: it needs an error ratio above 1.44 (14.4 times a budget of 0.1)"),
        "{}",
        warning.message
    );
    let custom = "  outrigger: {alert_windows: {page: {quick: {errorBudgetPercent: 1, shortWindow: 5m, longWindow: 1h}, slow: {errorBudgetPercent: 2, shortWindow: 30m, longWindow: 6h}}, ticket: {quick: {errorBudgetPercent: 5, shortWindow: 2h, longWindow: 1d}, slow: {errorBudgetPercent: 10, shortWindow: 6h, longWindow: 3d}}}}\n  sli:";
    let file = read(&SLOTH.replace("99.9", "90").replace("  sli:", custom));
    assert_eq!(file.warnings, []);
    assert!(find(&rules(&file.slos[0]), "HighErrorRate").expr.contains("(7.2 * 0.1)"));
}

#[test]
fn outages_are_played_through() {
    let slo = &read(SLOTH).slos[0];
    let seconds = |outcome: SimulatedOutcome| match outcome {
        SimulatedOutcome::Fires { after, .. } => Some(after.as_secs_f64().round() as u64),
        _ => None,
    };
    let fires = |error_rate: f64, lasts: Option<Duration>| -> Vec<Option<u64>> {
        let simulation = simulate(slo, &Outage { error_rate, lasts });
        simulation.alerts.iter().map(|alert| seconds(alert.outcome)).collect()
    };
    // Detection time = factor * budget * long window / error rate.
    assert_eq!(fires(1.0, None), [Some(52), Some(130), Some(259), Some(259)]);
    assert_eq!(fires(0.05, None), [Some(1_037), Some(2_592), Some(5_184), Some(5_184)]);
    assert_eq!(fires(0.01, None), [None, Some(12_960), Some(25_920), Some(25_920)]);
    assert_eq!(fires(0.05, Some(HOUR)), [Some(1_037), Some(2_592), None, None]);
    let hour = simulate(slo, &Outage { error_rate: 0.05, lasts: Some(HOUR) });
    assert!((hour.spent - 0.05 / 0.72).abs() < 1e-12);
    assert_eq!(hour.exhausted_after.unwrap().as_secs_f64().round(), 51_840.0);
    let SimulatedOutcome::Fires { spent, resolved_after_end, .. } = hour.alerts[0].outcome else { panic!() };
    // It fires when exactly 2 % are spent, and goes when less than 86.4 s of the outage are within 5 minutes.
    assert!((spent - 0.02).abs() < 1e-9);
    assert_eq!(resolved_after_end.unwrap().as_secs_f64().round(), 214.0);
}

/// What the fuzz target checks: every text gives objectives or errors, and objectives give rules that are PromQL.
fn survives(text: &str) {
    if let Ok(file) = parse_file("f", text, &FileOptions::default()) {
        for slo in &file.slos {
            let groups = groups(slo);
            for rule in groups.iter().flat_map(|group| &group.rules) {
                assert!(parse(&rule.expr, &ParseOptions::default()).is_ok(), "{}", rule.expr);
            }
            assert!(to_rule_file(&groups).starts_with("groups:\n"));
            let outage = Outage { error_rate: 0.01, lasts: Some(Duration::from_secs(60)) };
            assert!(simulate(slo, &outage).spent.is_finite());
            assert!(Ledger::new(slo).is_ok());
        }
    }
}

proptest::proptest! {
    #[test]
    fn files_with_changed_bytes_survive(at in 0_usize..4_000, put in "[ -~\n]{0,3}", example in 0_usize..3) {
        let mut text = fs::read_to_string(&examples()[example]).unwrap();
        let at = at.min(text.len());
        if text.is_char_boundary(at) {
            let end = (at + put.len()).min(text.len());
            if text.is_char_boundary(end) {
                text.replace_range(at..end, &put);
            }
        }
        survives(&text);
    }
}
