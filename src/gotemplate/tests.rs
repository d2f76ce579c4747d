//! What templates of rules do not reach: types with methods, limits, any text at all.
//!
//! What they do reach is listed in `src/rules/template/golden.txt`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Lists of alerts and sets of labels as Alertmanager's messages have them.
static ALERTS: Type = Type {
    name: "template.Alerts",
    missing: Missing::Nothing,
    methods: &[Method {
        function: Function { name: "Firing", params: &[], rest: None },
        body: |alerts, _| match alerts {
            Value::List(list) => {
                let is_firing = |alert: &&Value| match alert {
                    Value::Struct(alert) => alert.get("Status").and_then(Value::as_str) == Some("firing"),
                    _ => false,
                };
                let firing: Vec<Value> = list.items().iter().filter(is_firing).cloned().collect();
                Ok(Value::List(List::new(list.of, firing)))
            }
            _ => Err("no list".to_owned()),
        },
    }],
};
static ALERT: Type = Type { name: "template.Alert", missing: Missing::Nothing, methods: &[] };
static LABELS: Type = Type {
    name: "template.KV",
    missing: Missing::EmptyString,
    methods: &[Method {
        function: Function { name: "Without", params: &[Param::Of(&STRING_LIST)], rest: None },
        body: |labels, args| match (labels, args) {
            (Value::Map(labels), [Value::List(names)]) => {
                let mut left = labels.entries().clone();
                for name in names.items().iter().filter_map(Value::as_str) {
                    left.remove(name);
                }
                Ok(Value::Map(Map::new(labels.of, left)))
            }
            _ => Err("no labels".to_owned()),
        },
    }],
};

static FUNCTIONS: &[Function] = &[
    Function { name: "list", params: &[], rest: Some(Param::String) },
    Function { name: "half", params: &[Param::Float], rest: None },
    Function { name: "fails", params: &[], rest: None },
];

struct Given;

impl Functions for Given {
    fn call(&self, name: &'static str, args: &[Value]) -> Result<Value, String> {
        match (name, args) {
            ("list", args) => Ok(Value::List(List::new(&STRING_LIST, args.to_vec()))),
            ("half", [Value::Float(number)]) => Ok(Value::Float(number / 2.0)),
            _ => Err("out of order".to_owned()),
        }
    }
}

fn message() -> Value {
    let labels = |job: &str| {
        let entries =
            [("job", job), ("zone", "a")].map(|(name, value)| (Arc::from(name), Value::from(value)));
        Value::Map(Map::new(&LABELS, BTreeMap::from(entries)))
    };
    let alert = |status: &str, job: &str| {
        let starts = Value::Time(Time::utc(1_435_065_584_000_000_000));
        let fields = [("Status", Value::from(status)), ("Labels", labels(job)), ("StartsAt", starts)];
        Value::Struct(Struct::new(&ALERT, fields))
    };
    let alerts = vec![alert("firing", "a"), alert("resolved", "b"), alert("firing", "c")];
    let fields = [("Status", Value::from("firing")), ("Alerts", Value::List(List::new(&ALERTS, alerts)))];
    static DATA: Type = Type { name: "*template.Data", missing: Missing::Nothing, methods: &[] };
    Value::Struct(Struct::new(&DATA, fields))
}

fn expanded(text: &str) -> Result<String, String> {
    let template = Template::parse("t", text, FUNCTIONS).map_err(|error| error.to_string())?;
    template.expand(&message(), &Given, Limits::default())
}

#[test]
fn methods_and_functions_of_others() {
    for (template, text) in [
        ("{{ .Alerts.Firing | len }} of {{ len .Alerts }}", "2 of 3"),
        ("{{ range .Alerts.Firing }}{{ .Labels.job }}{{ .Labels.nope }};{{ end }}", "a;c;"),
        ("{{ range .Alerts }}{{ .Labels.Without (list \"job\") }}{{ break }}{{ end }}", "map[zone:a]"),
        ("{{ with index .Alerts 0 }}{{ list \"zone\" | .Labels.Without }}{{ end }}", "map[job:a]"),
        ("{{ (index .Alerts 1).StartsAt.Format \"Jan 2\" }} {{ half 5 }} {{ 1.5 | half }}", "Jun 23 0.75"),
        ("{{ list \"a\" \"b\" | printf \"%q %v\" | len }}", "26"),
    ] {
        let text = text.replace("Jun 23 0.75", "Jun 23 2.5 0.75").replace("26", &expanded_length());
        assert_eq!(expanded(template).as_deref(), Ok(text.as_str()), "{template}");
    }
}

/// Of `["a" "b"] %!v(MISSING)`.
fn expanded_length() -> String {
    "[\"a\" \"b\"] %!v(MISSING)".len().to_string()
}

#[test]
fn errors_of_calls() {
    for (template, why) in [
        ("{{ fails }}", "template: t:1:3: executing \"t\" at <fails>: error calling fails: out of order"),
        ("{{ half \"x\" }}", "template: t:1:8: executing \"t\" at <\"x\">: expected float; found \"x\""),
        (
            "{{ .Alerts.Firing 1 }}",
            "template: t:1:10: executing \"t\" at <.Alerts.Firing>: wrong number of args for Firing: want 0 got 1",
        ),
        (
            "\n {{ .Alerts.Nope }}",
            "template: t:2:11: executing \"t\" at <.Alerts.Nope>: can't evaluate field Nope in type template.Alerts",
        ),
        (
            "{{ (index .Alerts 0).Labels.Without \"x\" }}",
            "template: t:1:36: executing \"t\" at <\"x\">: can't handle \"x\" for arg of type []string",
        ),
        ("{{ list 1 }}", "template: t:1:8: executing \"t\" at <1>: expected string; found 1"),
    ] {
        assert_eq!(expanded(template), Err(why.to_owned()), "{template}");
    }
}

#[test]
fn nesting_is_bounded_and_needs_little_stack() {
    let nested = |levels: usize, open: &str, close: &str| {
        expanded(&format!("{}{}", open.repeat(levels), close.repeat(levels)))
    };
    assert_eq!(nested(90, "{{ if 1 }}", "{{ end }}"), Ok(String::new()));
    let error = nested(10_000, "{{ if 1 }}", "{{ end }}").expect_err("too deep");
    assert_eq!(error, "template: t:1: nested deeper than 100 levels");
    let parens =
        |levels: usize| expanded(&format!("{{{{ {}1{} }}}}", "(".repeat(levels), ")".repeat(levels)));
    assert_eq!(parens(40).as_deref(), Ok("1"));
    assert!(parens(10_000).is_err());
    // The deepest that runs: a template that calls itself from within all that nests.
    let body = format!(
        "{{{{ with 1 }}}}{{{{ if {}1{} }}}}{{{{ template \"r\" }}}}{{{{ end }}}}{{{{ end }}}}",
        "(".repeat(20),
        ")".repeat(20)
    );
    let error =
        expanded(&format!("{{{{ define \"r\" }}}}{body}{{{{ end }}}}{body}")).expect_err("never ends");
    assert!(error.contains("exceeded maximum template depth (200)"), "{error}");
}

#[test]
fn other_bounds() {
    let many = (0..2_000).map(|i| format!("{{{{ $v{i} := 1 }}}}")).collect::<String>();
    assert_eq!(expanded(&many), Err("template: t:1: more than 1000 variables".to_owned()));
    let long = "x".repeat((1 << 20) + 1);
    assert_eq!(expanded(&long), Err("template: t:1: longer than 1048576 bytes".to_owned()));
    assert_eq!(expanded(&"{{/* */}}".repeat(100_000)), Ok(String::new()));
    assert!(expanded("{{ printf \"%999999d|%99999999d\" 1 1 | len }}").is_ok());
}

/// Pieces of templates, in any order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "{{",
        "}}",
        "{{- ",
        " -}}",
        " ",
        "\n",
        ".",
        ".Alerts",
        ".x",
        "$",
        "$x",
        ":=",
        "=",
        ",",
        "|",
        "(",
        ")",
        "if ",
        "else ",
        "end ",
        "range ",
        "with ",
        "define ",
        "template ",
        "block ",
        "break ",
        "nil ",
        "true ",
        "\"a\"",
        "`b`",
        "'c'",
        "1",
        "-2.5",
        "0x",
        "1e3",
        "printf ",
        "\"%d %5.2[1]f%*s\" ",
        "index ",
        "slice ",
        "len ",
        "eq ",
        "and ",
        "print ",
        "list ",
        "half ",
        "/*",
        "*/",
        "é",
        "\\",
        "{{ .Status }}",
        "{{ end }}",
        "{{ range .Alerts }}",
        "{{ $x := 1 }}",
        "{{ if $x }}",
        "{{ else }}",
    ]);
    proptest::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

fn survives(text: &str) {
    let Ok(template) = Template::parse("t", text, FUNCTIONS) else { return };
    let limits = Limits { output_bytes: 10_000, steps: 10_000, ..Limits::default() };
    if let Ok(text) = template.expand(&message(), &Given, limits) {
        assert!(text.len() <= 10_000);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        survives(&text);
        survives(&format!("{{{{ {text} }}}}"));
    }

    #[test]
    fn any_pieces_are_read_or_refused(text in soup()) {
        survives(&text);
    }

    #[test]
    fn any_format_prints(format in any::<String>(), verbs in "(%[-+# 0]{0,3}[0-9]{0,3}(\\.[0-9]{0,3})?[a-zA-Z%!*\\[])*", number in any::<f64>(), int in any::<i64>()) {
        let args = [Value::Float(number), Value::Int(int), message(), Value::Nil, Value::from("aé\0")];
        for format in [&format, &verbs] {
            for i in 0..args.len() {
                let printed = sprintf(format, args.get(i..).unwrap_or_default(), 10_000);
                assert!(printed.len() < 100_000);
            }
        }
    }

    #[test]
    fn the_shortest_form_reads_back(number in any::<f64>()) {
        let text = sprintf("%v", &[Value::Float(number)], 100);
        let again = parse_float(&text).expect("a number");
        prop_assert!(again == number || (again.is_nan() && number.is_nan()), "{text}");
        let hexadecimal = sprintf("%x", &[Value::Float(number)], 100);
        let again = parse_float(&hexadecimal).expect("a number");
        prop_assert!(again == number || (again.is_nan() && number.is_nan()), "{hexadecimal}");
    }
}
