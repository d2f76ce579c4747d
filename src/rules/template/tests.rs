//! Expansions listed in `golden.txt`, which `tests/peers/templates.py` holds against `promtool`.

use super::*;
use crate::model::Labels;
use crate::promql::{Engine, EngineOptions, Memory, ParseOptions, QueryOptions, Value as QueryValue, parse};

/// What `golden.txt` takes for granted.
struct World(Memory);

fn world() -> World {
    let mut memory = Memory::new();
    for (host, n, value) in [("a", "10", 2.0), ("b", "9", 1.0), ("c", "2", 3.0)] {
        let labels = Labels::from_pairs([("__name__", "q"), ("host", host), ("n", n)]);
        memory.append(&labels, 0, value).expect("in order");
    }
    World(memory)
}

impl TemplateQuery for World {
    fn query(&self, expr: &str, at: Timestamp) -> Result<Vec<(Labels, f64)>, String> {
        let parsed = parse(expr, &ParseOptions::all()).map_err(|error| error.to_string())?;
        let engine = Engine::new(EngineOptions::default());
        let result = engine.instant(&self.0, &parsed, at, &QueryOptions::default());
        match result.map_err(|error| error.to_string())?.value {
            QueryValue::Vector(samples) => {
                Ok(samples.into_iter().map(|sample| (sample.labels, sample.value)).collect())
            }
            QueryValue::Scalar { value, .. } => Ok(vec![(Labels::empty(), value)]),
            _ => Err("rule result is not a vector or scalar".to_owned()),
        }
    }
}

/// A template of the list, and what it expands to, as Go quotes it; of one that is refused, the error behind `!`.
struct Case<'a> {
    value: f64,
    template: &'a str,
    expected: &'a str,
}

fn cases(list: &str) -> Vec<Case<'_>> {
    let (mut cases, mut value, mut template) = (Vec::new(), f64::NAN, None);
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        match (line.strip_prefix("@value "), line.strip_prefix("    ")) {
            (Some(number), _) => value = number.parse().expect(number),
            (None, Some(expected)) => {
                cases.push(Case { value, template: template.take().expect(line), expected });
            }
            (None, None) => template = Some(line),
        }
    }
    cases
}

fn expanded(world: &World, case: &Case<'_>) -> String {
    let labels =
        Labels::from_pairs([("__name__", "m"), ("instance", "web-1.example.com:9100"), ("job", "node")]);
    let external_labels = Labels::from_pairs([("region", "eu")]);
    let data = TemplateData {
        labels: &labels,
        external_labels: &external_labels,
        external_url: "http://prom.example.com:9090/prom/x",
        value: case.value,
    };
    match Template::parse_for("T", &case.template.replace('␤', "\n")) {
        Err(error) => format!("! {error}"),
        Ok(template) => {
            let text = template.expand(&data, Timestamp::from_millis(0), world);
            let text = text.unwrap_or_else(|error| format!("<error expanding template: {error}>"));
            crate::model::Quoted(&text).to_string()
        }
    }
}

fn check(list: &str) {
    let world = world();
    let cases = cases(list);
    assert!(cases.len() > 10);
    let wrong = cases.iter().filter_map(|case| {
        let text = expanded(&world, case);
        (text != case.expected).then(|| format!("{}\n    {text}\n    {}", case.template, case.expected))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "template, ours, expected:\n{}", wrong.join("\n"));
}

#[test]
fn as_promtool_expands_them() {
    check(include_str!("golden.txt"));
}

#[test]
fn as_newer_versions_than_debians_expand_them() {
    check(include_str!("golden_newer.txt"));
}

#[test]
fn what_opens_no_action_is_handed_out_as_it_is() {
    let template = Template::parse("a }} { {b").expect("plain");
    assert!(matches!(template.body, Body::Plain(_)));
}

/// Templates that would never end, or not soon, end with an error.
#[test]
fn what_explodes_is_an_error() {
    let world = world();
    let doubling = format!("{}{}", "{{ $a := args 1 }}", "{{ $a = args $a $a }}".repeat(60));
    let cases = [
        ("{{ range 9000000000 }}{{ end }}", "more than 1000000 steps"),
        ("{{ range 300000 }}x{{ end }}", "output of more than 262144 bytes"),
        ("{{ range 200 }}{{ $q := query \"q\" }}{{ end }}", "more than 100 queries in one template"),
        (
            "{{ range $i := 200 }}{{ $m := match (printf \"a%d\" .) \"b\" }}{{ end }}",
            "more than 50 regular expressions",
        ),
        (
            "{{ reReplaceAll \"x\" (printf \"%100000d\" 1) (printf \"%0100000d\" 0 | reReplaceAll \"0\" \"x\") }}",
            "is longer than",
        ),
        (
            "{{ define \"r\" }}{{ template \"r\" }}{{ end }}{{ template \"r\" }}",
            "exceeded maximum template depth",
        ),
        (
            "{{ define \"r\" }}{{ if . }}{{ template \"r\" (slice . 1) }}{{ template \"r\" (slice . 1) }}{{ end }}{{ end }}\
             {{ template \"r\" \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" }}",
            "more than 1000000 steps",
        ),
        (&format!("{doubling}{{{{ $a }}}}"), "output of more than 262144 bytes"),
        (
            "{{ $a := args 1 }}{{ range 1000 }}{{ $a = args $a }}{{ end }}",
            "a value nests deeper than 64 levels",
        ),
        (
            "{{ $a := printf \"%1000000d\" 1 }}{{ range 500000 }}{{ if eq $a $a }}{{ end }}{{ end }}",
            "more than 1000000 steps",
        ),
        (
            "{{ range 100 }}{{ $a := printf \"%1000000d\" 1 }}{{ end }}",
            "texts of more than 4194304 bytes made",
        ),
    ];
    for (template, why) in cases {
        let case = Case { value: 1.0, template, expected: "" };
        let text = expanded(&world, &case);
        assert!(text.contains(why), "{template}: {text}");
    }
}
