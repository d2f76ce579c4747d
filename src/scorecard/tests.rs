//! Cards read from files, judged by evidence that is written down.

use std::collections::BTreeSet;

use super::evaluate::{Evidence, RuleStanding, evaluate};
use super::settings::fits;
use super::*;
use crate::config::{Document, Environment, Limits};
use crate::model::Timestamp;
use crate::promql::ParseOptions;
use crate::slo::BudgetReport;

fn read(text: &str) -> Result<ScorecardSettings, String> {
    let document = Document::parse("o.yml", text, &Limits::default()).expect("YAML");
    document.read(&Environment::off(), ScorecardSettings::read).map_err(|error| error.to_string())
}

fn card(text: &str, slos: &[&str], alerts: &[&str]) -> Result<Option<std::sync::Arc<Card>>, String> {
    let known = Known {
        slos: slos.to_vec(),
        alerts: alerts.iter().copied().collect::<BTreeSet<_>>(),
        parse: &ParseOptions::default(),
    };
    read(text)?.card(&known).map_err(|errors| errors.join("\n"))
}

fn budget(id: &str, remaining: f64, events: f64) -> BudgetReport {
    BudgetReport {
        id: id.to_owned(),
        budget_remaining: remaining,
        budget_consumed: 1.0 - remaining,
        total_events: events,
        sli: (events > 0.0).then_some(0.999),
        ..BudgetReport::default()
    }
}

fn rule(name: &str, severity: &str, measured: bool, firing: bool) -> RuleStanding {
    RuleStanding { name: name.to_owned(), severity: severity.to_owned(), measured, firing }
}

const FILE: &str = "
scorecard:
  pillars:
    reliability:
      target: 50
      weight: 2
      unit: '%'
      values: {orders: {slo: 'shop-*'}}
      formula: 100 * orders.remaining
    performance:
      target: 0.2
      worst: 1
      values: {p95: {query: 'latency > 0'}}
    quality:
      target: 1
      near: 0.8
      values: {tests: {rules: ['Workflow*']}, bugs: {query: bugs, default: 0}}
      formula: if(bugs > 3, 0, tests.health)
";

fn judged(
    rules: &[RuleStanding],
    budgets: &[BudgetReport],
    latency: Result<Option<f64>, String>,
) -> ScorecardReport {
    let card = card(FILE, &["shop-a"], &["WorkflowJobFailed"]).expect("right").expect("there");
    let mut query = |expr: &crate::promql::ast::Expr| match expr.to_string().as_str() {
        "bugs" => Ok(None),
        _ => latency.clone(),
    };
    evaluate(&card, Timestamp::from_millis(0), &mut Evidence { rules, budgets, query: &mut query })
}

fn told(report: &ScorecardReport) -> String {
    let pillar = |pillar: &PillarReport| {
        format!(
            "{} {} {:?} {:?} {:?}",
            pillar.pillar,
            pillar.status.as_str(),
            pillar.current,
            pillar.score,
            pillar.reason.as_deref().unwrap_or_default()
        )
    };
    let pillars: Vec<String> = report.pillars.iter().map(pillar).collect();
    format!("{:?} {:?}\n{}", report.grade, report.score, pillars.join("\n"))
}

#[test]
fn pillars_are_judged_by_their_formulas() {
    let budgets = [budget("shop-a", 0.75, 10.0), budget("shop-b", 0.25, 10.0), budget("shop-c", -3.0, 0.0)];
    let rules = [
        rule("WorkflowJobFailed", "medium", true, true),
        rule("WorkflowRunTooLong", "critical", false, false),
        rule("Other", "critical", true, true),
    ];
    let report = judged(&rules, &budgets, Ok(Some(0.6)));
    assert_eq!(
        told(&report),
        "Some(\"D\") Some(0.6)
reliability near Some(25.0) Some(0.5) \"\"
performance near Some(0.6) Some(0.5) \"\"
quality near Some(0.9) Some(0.9) \"\""
    );
    assert!(report.configured && report.time == "1970-01-01T00:00:00Z");
    assert_eq!(report.pillars[0].values["orders.consumed"], Some(0.75));

    let fine = [rule("WorkflowJobFailed", "medium", true, false)];
    let report = judged(&fine, &budgets[..1], Ok(Some(0.1)));
    assert_eq!((report.grade.as_deref(), report.score), (Some("A"), Some(1.0)));
    assert!(report.pillars.iter().all(|pillar| pillar.status == PillarStatus::Met));
}

#[test]
fn what_is_not_known_is_neither_good_nor_bad() {
    let report = judged(&[], &[], Ok(None));
    assert_eq!(
        told(&report),
        "None None
reliability unknown None None \"not measured: orders.remaining\"
performance unknown None None \"not measured: p95\"
quality unknown None None \"not measured: tests.health\""
    );
    let report = judged(&[], &[budget("shop-a", 1.0, 5.0)], Err("query timed out".to_owned()));
    assert_eq!(report.score, Some(1.0), "of what is known");
    let performance = &report.pillars[1];
    assert_eq!((performance.failed, performance.reason.as_deref()), (true, Some("p95: query timed out")));
    assert!(!judged(&[], &[], Ok(Some(f64::NAN))).pillars[1].failed);
}

#[test]
fn the_built_in_card_reads_and_is_absent_where_it_could_say_nothing() {
    assert_eq!(card("", &[], &[]), Ok(None));
    assert_eq!(card("scorecard: {enabled: false}", &["a"], &["b"]), Ok(None));
    assert_eq!(card(&FILE.replace("pillars:", "enabled: false\n  pillars:"), &[], &[]), Ok(None));
    let built_in = card("", &[], &["Watchdog"]).expect("right").expect("there");
    let names: Vec<&str> = built_in.pillars.iter().map(|pillar| pillar.name.as_str()).collect();
    assert_eq!(names, ["reliability", "performance", "quality", "security", "cost"]);
    let mut query = |_: &crate::promql::ast::Expr| Ok(None);
    let rules = [rule("HostCpuHigh", "high", true, true), rule("HostRaidDegraded", "critical", true, false)];
    let mut evidence = Evidence { rules: &rules, budgets: &[], query: &mut query };
    let report = evaluate(&built_in, Timestamp::from_millis(0), &mut evidence);
    let current: Vec<Option<f64>> = report.pillars.iter().map(|pillar| pillar.current).collect();
    assert_eq!(current, [Some(100.0), Some(75.0), None, None, None]);
    assert!(!report.configured);
}

/// Rules that are renamed must not leave the built-in card in silence.
#[test]
fn the_built_in_card_names_rules_that_ship() {
    let groups =
        crate::rules::RuleSettings::default().load(&crate::rules::FileOptions::default()).expect("built in");
    let alerts: BTreeSet<&str> =
        groups.iter().flat_map(|group| &group.rules).map(|rule| &*rule.name).collect();
    let built_in = card("", &[], &["Watchdog"]).expect("right").expect("there");
    for named in built_in.pillars.iter().flat_map(|pillar| pillar.values.values()) {
        let settings::Source::Rules { patterns, .. } = &named.source else { continue };
        for pattern in patterns {
            assert!(alerts.iter().any(|alert| fits(pattern, alert)), "{pattern} is no rule that ships");
        }
    }
}

#[test]
fn every_mistake_has_its_place() {
    let error = read(
        "
scorecard:
  pillers: {}
  pillars:
    a b: {target: 1, values: {x: {query: up}}}
    b: {target: 1, worst: 1, values: {x: {query: 'up +'}, min: {query: up}}, formula: x}
    c: {target: 1, near: 2, values: {x: {query: 'up[5m]'}, y: {slo: a, query: up}, z: {}}, formula: x +}
    d: {weight: 0, values: {x: {slo: a}}, formula: 'x * 2'}
    e: {target: 1, values: {x: {slo: a}, y: {rules: []}}, formula: 'y.healt'}
    f: {target: 1, values: {x: {rules: [A]}}}
    g: {target: one, worst: 0, values: {x: {query: up, default: none}}, formula: 'x.y'}
",
    )
    .expect_err("wrong");
    let places: Vec<&str> = error.lines().filter(|line| line.starts_with("o.yml:")).collect();
    assert_eq!(
        places,
        [
            "o.yml:3:3: scorecard.pillers: unknown key; did you mean \"pillars\"?",
            "o.yml:5:10: scorecard.pillars.\"a b\": the name of a pillar has letters, digits and \"_\", at most 40",
            "o.yml:6:27: scorecard.pillars.b.worst: \"target\" and \"worst\" are both 1; \"worst\" says where the score is 0",
            "o.yml:6:50: scorecard.pillars.b.values.x.query: could not parse expression: 1:5: parse error: unexpected end of input",
            "o.yml:6:64: scorecard.pillars.b.values.min: the name of a value has letters, digits and \"_\", and is no number, function or truth of a formula",
            "o.yml:7:26: scorecard.pillars.c.near: expected a number between \"worst\" (0) and \"target\" (1)",
            "o.yml:7:49: scorecard.pillars.c.values.x.query: expected a scalar or an instant vector, found a range vector",
            "o.yml:7:63: scorecard.pillars.c.values.y: expected exactly one of \"query\", \"slo\", \"rules\"",
            "o.yml:7:87: scorecard.pillars.c.values.z: expected exactly one of \"query\", \"slo\", \"rules\"",
            "o.yml:7:101: scorecard.pillars.c.formula: a value is missing or too many",
            "o.yml:8:8: scorecard.pillars.d: the key \"target\" is missing",
            "o.yml:8:17: scorecard.pillars.d.weight: expected a number above 0, at most 1000",
            "o.yml:8:52: scorecard.pillars.d.formula: unknown name \"x\"; known here: x.burn_rate, x.consumed, x.events_left, x.objective, x.remaining, x.sli",
            "o.yml:9:53: scorecard.pillars.e.values.y.rules: expected names of alert rules, 1 to 100; \"*\" stands for any text",
            "o.yml:9:68: scorecard.pillars.e.formula: unknown name \"y.healt\"; did you mean \"y.health\"?",
            "o.yml:10:8: scorecard.pillars.f: the key \"formula\" is missing",
            "o.yml:11:17: scorecard.pillars.g.target: expected a number, found \"one\"",
            "o.yml:11:65: scorecard.pillars.g.values.x.default: expected a number, found \"none\"",
            "o.yml:11:82: scorecard.pillars.g.formula: unknown name \"x.y\"; did you mean \"x\"?",
        ],
        "{error}"
    );
}

#[test]
fn objectives_and_rules_that_are_not_there_are_told_with_their_places() {
    let error = card(FILE, &["store-a"], &["JobFailed"]).expect_err("no such rule");
    assert_eq!(
        error,
        "o.yml:17:32: scorecard.pillars.quality.values.tests.rules[0]: no alert rule is called \"Workflow*\""
    );
    let text = FILE
        .replace("'shop-*'", "shop-order")
        .replace("Workflow*", "WorkflowJobFaled")
        .replace("bugs,", "'limitk(1, bugs)',");
    let error = card(&text, &["shop-orders"], &["WorkflowJobFailed"]).expect_err("several");
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(
        lines[0].ends_with("no SLO of slo_files has the id \"shop-order\"; did you mean \"shop-orders\"?"),
        "{error}"
    );
    assert!(lines[1].starts_with("o.yml:17:") && lines[1].contains("could not parse expression"), "{error}");
    assert!(
        lines[2]
            .ends_with("no alert rule is called \"WorkflowJobFaled\"; did you mean \"WorkflowJobFailed\"?"),
        "{error}"
    );
}

#[test]
fn there_are_bounds() {
    let pillar = |n: usize| format!("    p{n}: {{target: 1, values: {{x: {{query: up}}}}}}\n");
    let many: String = (0..21).map(pillar).collect();
    assert!(
        read(&format!("scorecard:\n  pillars:\n{many}"))
            .is_err_and(|error| error.contains("more than 20 pillars"))
    );
    let values: Vec<String> = (0..21).map(|n| format!("x{n}: {{query: up}}")).collect();
    let text = format!(
        "scorecard: {{pillars: {{a: {{target: 1, values: {{{}}}, formula: x0}}}}}}",
        values.join(", ")
    );
    assert!(read(&text).is_err_and(|error| error.contains("more than 20 values")));
}

#[test]
fn patterns() {
    for (pattern, name, fit) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("a*", "ab", true),
        ("*b", "ab", true),
        ("a*c*e", "abcde", true),
        ("a*c*e", "ace", true),
        ("a*c*e", "aec", false),
        ("ab*b", "ab", false),
    ] {
        assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
    }
}
