//! Rule files: what is read, and every kind of mistake with its place.

use std::time::Duration;

use super::*;
use crate::model::Labels;
use crate::promql::ParseOptions;

fn parsed(text: &str) -> Result<Vec<GroupSpec>, String> {
    parse_file("r.yml", text, &FileOptions::default()).map_err(|error| error.to_string())
}

/// The first lines of the errors of a group's rules, without the file's name.
fn mistakes(rules: &str) -> Vec<String> {
    let text = format!("groups:\n- name: g\n  rules:\n{rules}");
    let errors = parsed(&text).expect_err(rules);
    let first = |line: &str| line.strip_prefix("r.yml:").map(str::to_owned);
    errors.lines().filter_map(first).collect()
}

#[test]
fn everything_of_a_file_is_read() {
    let groups = parsed(
        r#"
groups:
- name: g
  interval: 15s
  query_offset: 5s
  limit: 7
  labels: {team: a, severity: low}
  rules:
  - record: job:up:sum
    expr: sum by(job)(up)
  - alert: Down
    expr: |
      up == 0
    for: 5m
    keep_firing_for: 10m
    resolve_when: up == 1
    labels: {severity: page, port: 80}
    annotations: {summary: "${HOME} is down", none: ""}
- name: empty
"#,
    )
    .unwrap();
    let [group, empty] = groups.as_slice() else { panic!("{groups:?}") };
    assert_eq!(
        (group.interval, group.query_offset),
        (Some(Duration::from_secs(15)), Some(Duration::from_secs(5)))
    );
    assert_eq!((group.limit, group.key().as_str()), (7, "r.yml;g"));
    assert_eq!((empty.interval, empty.limit, empty.rules.len()), (None, 0, 0));
    let [record, alert] = group.rules.as_slice() else { panic!("two rules") };
    assert_eq!((record.query.as_str(), record.kind == RuleKind::Recording), ("sum by (job) (up)", true));
    assert_eq!(record.labels, Labels::from_pairs([("team", "a"), ("severity", "low")]));
    assert_eq!((record.line, alert.line), (9, 11));
    assert_eq!(alert.labels, Labels::from_pairs([("team", "a"), ("severity", "page"), ("port", "80")]));
    let only = alert.alert().unwrap();
    assert_eq!((only.hold.as_secs(), only.keep_firing.as_secs()), (300, 600));
    assert_eq!(only.annotations, Labels::texts([("summary", "${HOME} is down"), ("none", "")]));
    assert_eq!(alert.selectors().len(), 2);
}

#[test]
fn later_documents_and_empty_files_are_as_prometheus_reads_them() {
    assert_eq!(parsed("groups:\n- name: g\n---\ngroups: 5\n").unwrap().len(), 1);
    for text in ["", "\n", "groups:\n", "# nothing\n"] {
        assert!(parsed(text).unwrap().is_empty(), "{text:?}");
    }
}

#[test]
fn every_mistake_of_a_rule_is_told_in_prometheus_s_words() {
    for (rules, expected) in [
        (
            "  - {record: a, alert: b, expr: up}\n",
            vec![r#"4:24: group "g", rule 1, "b": only one of 'record' and 'alert' must be set"#],
        ),
        (
            "  - expr: up\n  - {alert: x}\n",
            vec![
                r#"4:5: group "g", rule 1, "": one of 'record' or 'alert' must be set"#,
                r#"5:5: group "g", rule 2, "x": field 'expr' must be set in rule"#,
            ],
        ),
        (
            "  - {alert: x, expr: 'sum(up'}\n",
            vec![
                r#"4:22: group "g", rule 1, "x": could not parse expression: 1:7: parse error: unclosed left parenthesis"#,
            ],
        ),
        (
            "  - {alert: x, expr: 'up[5m]'}\n",
            vec![
                r#"4:22: group "g", rule 1, "x": rule result is not a vector or scalar: the expression gives a range vector"#,
            ],
        ),
        (
            "  - {record: 'a{b=\"c\"}', expr: up}\n",
            vec![
                r#"4:14: group "g", rule 1, "a{b=\"c\"}": braces present in the recording rule name; should it be in expr?: a{b="c"}"#,
            ],
        ),
        (
            "  - record: a\n    expr: up\n    for: 1m\n    keep_firing_for: 1m\n    resolve_when: up\n    annotations: {a: b}\n",
            vec![
                r#"6:10: group "g", rule 1, "a": invalid field 'for' in recording rule"#,
                r#"7:22: group "g", rule 1, "a": invalid field 'keep_firing_for' in recording rule"#,
                r#"8:19: group "g", rule 1, "a": invalid field 'resolve_when' in recording rule"#,
                r#"9:18: group "g", rule 1, "a": invalid field 'annotations' in recording rule"#,
            ],
        ),
        (
            "  - {alert: x, expr: up, labels: {__name__: a, '': b}, annotations: {'': c}}\n",
            vec![
                r#"4:35: group "g", rule 1, "x": invalid label name: __name__"#,
                r#"4:48: group "g", rule 1, "x": invalid label name: "#,
                r#"4:70: group "g", rule 1, "x": invalid annotation name: "#,
            ],
        ),
        (
            "  - {alert: x, expr: up, for: 5, keep_firing_for: -1m, exprr: up}\n",
            vec![
                r#"4:31: group "g", rule 1, "x": for: not a valid duration: "5"; write for example "30s", "5m" or "1h30m""#,
                r#"4:51: group "g", rule 1, "x": keep_firing_for: not a valid duration: "-1m"; write for example "30s", "5m" or "1h30m""#,
                r#"4:56: group "g", rule 1, "x": exprr: unknown key; did you mean "expr"?"#,
            ],
        ),
        ("  - [a]\n", vec![r#"4:5: group "g": rules[0]: expected keys and values, found a list"#]),
    ] {
        assert_eq!(mistakes(rules), expected, "{rules}");
    }
}

#[test]
fn names_may_be_narrowed() {
    let options = FileOptions { parse: ParseOptions::default(), names: crate::model::NameScheme::Legacy };
    let text = "groups:\n- name: g\n  rules:\n  - {record: a-b, expr: up, labels: {a-b: c}}\n";
    let error = parse_file("r.yml", text, &options).unwrap_err().to_string();
    assert!(
        error.contains("4:14: group \"g\", rule 1, \"a-b\": invalid recording rule name: a-b"),
        "{error}"
    );
    assert!(error.contains("4:38: group \"g\", rule 1, \"a-b\": invalid label name: a-b"), "{error}");
    assert!(parsed(text).is_ok());
}

#[test]
fn mistakes_of_groups_have_their_places() {
    let error = parsed(
        "groups:\n- name: g\n- name: g\n- name: ''\n- {name: h, interval: 5, limit: many, query_ofset: 1s, labels: {__name__: x}}\n- rules: []\nextra: 1\n",
    )
    .unwrap_err();
    let places: Vec<&str> = error.lines().filter(|line| line.starts_with("r.yml:")).collect();
    assert_eq!(
        places,
        [
            r#"r.yml:3:9: groups[1]: groupname: "g" is repeated in the same file"#,
            r#"r.yml:4:9: groups[2]: Groupname must not be empty"#,
            r#"r.yml:5:23: group "h": interval: not a valid duration: "5"; write for example "30s", "5m" or "1h30m""#,
            r#"r.yml:5:33: group "h": limit: expected a whole number from -9223372036854775808 to 9223372036854775807, found "many""#,
            r#"r.yml:5:39: group "h": query_ofset: unknown key; did you mean "query_offset"?"#,
            r#"r.yml:5:65: group "h": invalid label name: __name__"#,
            r#"r.yml:6:3: groups[4]: Groupname must not be empty"#,
            r#"r.yml:7:1: extra: unknown key; known here: groups"#,
        ],
        "{error}"
    );
}

#[test]
fn the_line_is_shown_with_a_caret() {
    let error = parsed("groups:\n- name: g\n  rules:\n  - alert: x\n    expr: up ==\n").unwrap_err();
    assert!(error.ends_with("  5 |     expr: up ==\n    |           ^^^^^"), "{error}");
}

#[test]
fn a_hostile_file_is_refused_at_a_limit() {
    for (text, part) in [
        (format!("groups: {}1", "[".repeat(100)), "nested"),
        (format!("groups: [{}]", "{name: x}, ".repeat(300_000)), "more than 400000 values"),
        ("x".repeat(17 << 20), "larger than 16MiB"),
        ("groups: &a [*a]".to_owned(), "alias"),
    ] {
        let error = parsed(&text).unwrap_err();
        assert!(error.contains(part), "{}", error.chars().take(300).collect::<String>());
    }
}

#[test]
fn rules_that_write_the_same_series_are_told() {
    let text = "groups:\n- name: g\n  rules:\n  - {record: a, expr: '1', labels: {x: '1'}}\n  - {record: a, expr: '2', labels: {x: '1'}}\n  - {record: a, expr: '3'}\n";
    assert_eq!(
        duplicates_message(&parsed(text).unwrap()).unwrap(),
        "1 duplicate rule(s) found.\nMetric: a\nLabel(s):\n\tx: 1\nMight cause inconsistency while recording expressions"
    );
    assert!(duplicates_message(&parsed("groups:\n").unwrap()).is_none());
}

/// What the fuzz target `rules` does, over texts made of the words of rule files.
fn survives(text: &str) {
    match parse_file("r.yml", text, &FileOptions::default()) {
        Ok(groups) => {
            let _ = duplicates_message(&groups);
            let rules = groups.iter().flat_map(|group| &group.rules);
            rules.for_each(|rule| assert!(!rule.name.is_empty() && rule.line > 0));
        }
        Err(errors) => assert!(errors.problems().iter().all(|p| p.line > 0 && p.column > 0)),
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in ".{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_arrangement_of_keys_is_survived(
        keys in proptest::collection::vec((0_usize..12, 0_usize..8, "[a-z0-9{}$:-]{0,6}"), 0..12),
    ) {
        const KEYS: [&str; 12] = [
            "record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations", "resolve_when", "limit",
            "interval", "name", "rules",
        ];
        let mut text = "groups:\n- name: g\n  rules:\n  - alert: a\n".to_owned();
        for (key, kind, word) in keys {
            let value = match kind {
                0 => format!("{{{word}: '{{{{ {word}'}}"),
                1 => "5m".to_owned(),
                2 => "up == 0".to_owned(),
                3 => format!("[{word}]"),
                4 => "null".to_owned(),
                _ => format!("'{word}'"),
            };
            text.push_str(&format!("    {}: {value}\n", KEYS[key]));
        }
        survives(&text);
    }
}
