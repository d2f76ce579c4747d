//! Files of unit tests: what passes, what fails and how it is told, what is refused.

use super::*;

struct Folder(tempfile::TempDir);

const RULES: &str = r#"
groups:
- name: g
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 2m
    labels: {severity: page}
    annotations: {summary: "{{ $labels.instance }} down, {{ $externalLabels.region }}", empty: "{{ $labels.nope }}"}
"#;

impl Folder {
    fn new(tests: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("r.yml", RULES);
        folder.write("t.yml", tests);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).expect("written");
    }

    fn run(&self, options: &UnitTestOptions) -> FileReport {
        run_file(&self.0.path().join("t.yml"), options)
    }
}

/// Everything that is wrong, without the folder's name.
fn failures(tests: &str) -> String {
    let folder = Folder::new(tests);
    let report = folder.run(&UnitTestOptions::default());
    let failures = report.cases.iter().flat_map(|case| case.failures.clone());
    let all: Vec<String> = report.error.clone().into_iter().chain(failures).collect();
    assert_eq!(report.failed(), !all.is_empty());
    all.join("\n").replace(&format!("{}/", folder.0.path().display()), "")
}

const INPUT: &str = r#"
rule_files: [r.yml]
evaluation_interval: 1m
tests:
- name: one
  interval: 1m
  external_labels: {region: eu}
  input_series:
  - {series: 'up{job="a", instance="x"}', values: '1 0x10'}
  - {series: 'up{job="a", instance="y"}', values: '1x3 _x3 1 stale'}
"#;

#[test]
fn what_is_as_expected_passes() {
    let tests = r#"
  alert_rule_test:
  - {eval_time: 2m59s999ms, alertname: Down}
  - eval_time: 3m
    alertname: Down
    exp_alerts: [{exp_labels: {job: a, instance: x, severity: page}, exp_annotations: {summary: "x down, eu", empty: ""}}]
  - {eval_time: 5m, alertname: Nope, exp_alerts: []}
  promql_expr_test:
  - {expr: 'job:up:sum', eval_time: 0m, exp_samples: [{labels: 'job:up:sum{job="a"}', value: 2}]}
  - {expr: 'up{instance="x"} * 0.1 + 0.2', eval_time: 0, exp_samples: [{labels: '{instance="x", job="a"}', value: 0.30000000000000004}]}
  - {expr: 'ALERTS{alertstate="pending"}', eval_time: 2m, exp_samples: [{labels: 'ALERTS{alertname="Down", alertstate="pending", instance="x", job="a", severity="page"}', value: 1}]}
  - {expr: '1 / 0', eval_time: 0, exp_samples: [{value: .inf}]}
  - {expr: '0 / 0', eval_time: 0, exp_samples: [{value: .NaN}]}
  - {expr: 'up{instance="y"}', eval_time: 8m, exp_samples: []}
"#;
    assert_eq!(failures(&format!("{INPUT}{tests}")), "");
}

#[test]
fn what_is_not_is_told_as_promtool_does() {
    let tests = r#"
  alert_rule_test:
  - {eval_time: 3m, alertname: Down, exp_alerts: [{exp_labels: {job: a}}]}
  - {eval_time: 5m, alertname: Nope, exp_alerts: [{}]}
  promql_expr_test:
  - {expr: 'job:up:sum', eval_time: 0m, exp_samples: [{labels: 'job:up:sum{job="a"}', value: 3}]}
  - {expr: 'up > 5', eval_time: 90s, exp_samples: [{labels: 'up', value: 3}]}
  - {expr: 'up(', eval_time: 0}
"#;
    let expected = r#"    name: one,
    alertname: Down, time: 3m, 
        exp:[
            0:
              Labels:{alertname="Down", job="a"}
              Annotations:{}
            ], 
        got:[
            0:
              Labels:{alertname="Down", instance="x", job="a", severity="page"}
              Annotations:{empty="", summary="x down, eu"}
            ]
    name: one,
    alertname: Nope, time: 5m, 
        exp:[
            0:
              Labels:{alertname="Nope"}
              Annotations:{}
            ], 
        got:[]
    expr: "job:up:sum", time: 0s,
        exp: {__name__="job:up:sum", job="a"} 3E+00
        got: {__name__="job:up:sum", job="a"} 2E+00
    expr: "up > 5", time: 1m30s,
        exp: {__name__="up"} 3E+00
        got: nil
    expr: "up(", time: 0s, err: 1:4: parse error: unclosed left parenthesis"#;
    assert_eq!(failures(&format!("{INPUT}{tests}")), expected);
}

#[test]
fn files_that_are_wrong_are_refused_with_all_their_mistakes() {
    let tests = r#"
evaluation_intervall: 1m
group_eval_order: [a, a]
tests:
- input_series:
  - {series: 'x{a="1"', values: '1'}
  - {series: 'x', values: '1 2 oops'}
  - {series: 'h', values: '{{count:1}}'}
  alert_rule_test: [{eval_time: 1m}]
  promql_expr_test:
  - {expr: up, eval_time: 100y}
  - {expr: up, exp_samples: [{labels: 'x 1', value: many}]}
"#;
    let errors = failures(tests);
    for part in [
        "t.yml:2:1: evaluation_intervall: unknown key",
        "group name repeated in evaluation order: a",
        "t.yml:6:14: tests[0].input_series[0]: expected \",\" or \"}\" (at character 8)",
        "expected a value, got \"oops\" (at character 5)",
        "native histograms are not supported",
        "an item under alert_rule_test misses required attribute alertname at eval_time 1m",
        "more than 1000000 evaluations until then",
        "expected nothing behind the labels",
        "expected a number",
    ] {
        assert!(errors.contains(part), "{part}\n{errors}");
    }
    assert!(failures("tests: [{name: a}]\nrule_files: [wrong.yml]").is_empty());
}

#[test]
fn rules_that_fail_end_the_test() {
    let folder = Folder::new(
        "rule_files: [bad.yml, none*.yml]\ntests: [{input_series: [{series: 'x{a=\"1\"}', values: 1}, {series: 'x{a=\"2\"}', values: 1}]}]",
    );
    folder.write(
        "bad.yml",
        "groups: [{name: g, rules: [{record: z, expr: 'label_replace(x, \"a\", \"\", \"\", \"\")'}]}]",
    );
    let report = folder.run(&UnitTestOptions::default());
    assert_eq!(report.warnings, ["no file match pattern none*.yml"]);
    let case = report.cases.first().expect("a case");
    assert_eq!(case.name, "unnamed#0");
    assert_eq!(
        case.failures,
        ["    rule: z, time: 0s, err: vector cannot contain metrics with the same labelset"]
    );
    folder.write("bad.yml", "groups: [{name: g, rules: [{record: z, expr: 'up('}]}]");
    let error = folder.run(&UnitTestOptions::default()).error.expect("an error");
    assert!(
        error.contains("bad.yml:1:46: group \"g\", rule 1, \"z\": could not parse expression: 1:4"),
        "{error}"
    );
}

#[test]
fn tests_are_chosen_shown_and_compared_as_asked() {
    let tests = r#"
  alert_rule_test: [{eval_time: 3m, alertname: Down, exp_alerts: [{exp_labels: {job: a, instance: x}}]}]
- name: two
  start_timestamp: 2026-01-01T00:00:00Z
  input_series: [{series: m, values: '0.5'}]
  promql_expr_test: [{expr: 'timestamp(m)', exp_samples: [{value: 1767225600}]}]
"#;
    let folder = Folder::new(&format!("{INPUT}{tests}"));
    let run = crate::model::search_regex("^tw").ok();
    let report = folder.run(&UnitTestOptions { run, debug: true, ..UnitTestOptions::default() });
    assert_eq!(report.cases.len(), 1);
    let case = report.cases.first().expect("a case");
    assert_eq!(case.failures, [""; 0]);
    assert_eq!(
        case.dump.as_deref(),
        Some("Dump of all data (input_series and rules) at 0s:\n{__name__=\"m\"} =>\n0.5 @[1767225600]")
    );
    let report = folder.run(&UnitTestOptions { diff: true, ..UnitTestOptions::default() });
    let failures = &report.cases.first().expect("a case").failures;
    let diff = r#"        diff:
              [
              0:
            -   Labels:{alertname="Down", instance="x", job="a"}
            -   Annotations:{}
            +   Labels:{alertname="Down", instance="x", job="a", severity="page"}
            +   Annotations:{empty="", summary="x down, eu"}
              ]"#;
    assert!(failures.first().is_some_and(|failure| failure.ends_with(diff)), "{failures:?}");
}

#[test]
fn neighbours_are_equal_if_asked_for() {
    let exprs = "tests: [{promql_expr_test: [{expr: '0.1 + 0.2', exp_samples: [{value: 0.3}]}]}]";
    assert!(failures(exprs).contains("exp: {} 3E-01\n        got: {} 3.0000000000000004E-01"));
    assert_eq!(failures(&format!("fuzzy_compare: true\n{exprs}")), "");
}

#[test]
fn groups_come_in_the_order_asked_for() {
    let rules =
        "groups: [{name: a, rules: [{record: x, expr: y + 1}]}, {name: b, rules: [{record: y, expr: m}]}]";
    let tests = "rule_files: [ab.yml]\ntests: [{input_series: [{series: m, values: 1}], promql_expr_test: [{expr: x, exp_samples: [{labels: x, value: 2}]}]}]\n";
    for (order, passes) in [("", false), ("group_eval_order: [b, a]\n", true)] {
        let folder = Folder::new(&format!("{order}{tests}"));
        folder.write("ab.yml", rules);
        assert_eq!(!folder.run(&UnitTestOptions::default()).failed(), passes, "{order}");
    }
}
