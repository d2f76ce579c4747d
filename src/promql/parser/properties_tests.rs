//! Properties: what is printed reads back as the same tree; no text makes the parser panic, and errors lie within it.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;

use super::super::pretty;
use super::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_:][a-zA-Z0-9_:]{0,6}".prop_filter("keywords have their own line", |word| {
            !["on", "bool", "inf", "nan", "ignoring"].contains(&word.as_str())
        }),
        1 => select(vec!["sum", "by", "offset", "and", "start", "step", "FILL", "smoothed", "Max"]).prop_map(str::to_owned),
    ]
}

fn quoted() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z.|*]{0,5}".prop_map(|text| format!("'{text}'")),
        any::<String>().prop_map(|text| crate::model::Quoted(&text).to_string()),
        Just(r#""\xff\t\u200b""#.to_owned()),
        "[^`\r]{0,6}".prop_map(|text| format!("`{text}`")),
    ]
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z_][a-z0-9_]{0,4}",
        1 => select(vec!["by", "on", "sum", "bool", "\"a b\"", "\"é\"", "\"without\"", "\"nan\""]).prop_map(str::to_owned),
    ]
}

fn labels() -> impl Strategy<Value = String> {
    prop::collection::vec(label(), 0..3).prop_map(|labels| format!("({})", labels.join(", ")))
}

fn selector() -> impl Strategy<Value = String> {
    let matcher = prop_oneof![
        ("[a-z_][a-z0-9_]{0,4}", select(vec!["=", "!="]), quoted())
            .prop_map(|(l, op, v)| format!("{l}{op}{v}")),
        ("[a-z]{1,4}", select(vec!["=~", "!~"]), "[a-z.+|]{0,1}[a-z]{1,4}")
            .prop_map(|(l, op, v)| format!("\"{l} x\" {op} 'x{v}'")),
    ];
    let matchers = prop::collection::vec(matcher, 0..3).prop_map(|m| m.join(" , "));
    prop_oneof![
        name(),
        (name(), matchers.clone()).prop_map(|(name, matchers)| format!("{name}{{{matchers}}}")),
        (quoted(), matchers).prop_map(|(name, matchers)| format!("{{'q', a!={name}, {matchers}}}")),
    ]
}

fn duration() -> impl Strategy<Value = String> {
    let simple = prop_oneof![
        3 => (1..5000_u32, select(vec!["ms", "s", "m", "h", "d", "w"])).prop_map(|(n, unit)| format!("{n}{unit}")),
        1 => (1..1_000_000_u32).prop_map(|n| format!("{}", f64::from(n) / 8.0)),
        1 => select(vec!["step()", "range()", "0x10", "1_0"]).prop_map(str::to_owned),
    ];
    simple.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), select(vec!["+", "-", "*", "/", "%", "^"]), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (select(vec!["min", "max"]), inner.clone(), inner).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
        ]
    })
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        1 => select(vec![" @ start()", " @ end()", " @ -1.5", " @ 1e9", " @ 0"]).prop_map(str::to_owned),
        1 => duration().prop_map(|d| format!(" offset ({d})")),
        1 => duration().prop_map(|d| format!(" offset -({d}) @ 1.0625")),
        1 => (1..100_u8).prop_map(|n| format!(" @ 5 offset -{n}m")),
    ]
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_map(|v| format!("{v}").replace("inf", "Inf")),
        (0..100_000_u32).prop_map(|v| v.to_string()),
        select(vec![
            "5m", "1h30m", "0x1F", "0755", ".5", "1_000", "Inf", "-inf", "NaN", "time()", "1e-9", "-0"
        ])
        .prop_map(str::to_owned),
    ]
}

/// Operators with what may stand behind them between vectors.
fn operator() -> impl Strategy<Value = String> {
    let arithmetic = (
        select(vec!["+", "-", "*", "/", "%", "^", "atan2", "==", "!= bool", ">", ">= bool", "<", "</", ">/"]),
        prop_oneof![
            3 => Just(String::new()),
            2 => (select(vec!["on", "ignoring"]), labels()).prop_map(|(kind, labels)| format!("{kind} {labels}")),
            1 => (labels(), select(vec!["group_left", "group_right"])).prop_map(|(l, side)| format!("ignoring {l} {side}")),
            1 => select(vec!["on (a) group_left (b, \"c d\")", "fill (0)", "on () fill_left (-1) fill_right (Inf)"]).prop_map(str::to_owned),
        ],
    )
        .prop_map(|(op, matching)| format!("{op} {matching}"));
    let set = (select(vec!["and", "or", "unless", "OR"]), labels())
        .prop_map(|(op, labels)| format!("{op} on {labels}"));
    prop_oneof![4 => arithmetic, 1 => set]
}

/// A well-typed instant vector.
fn vector() -> impl Strategy<Value = String> {
    let leaf = (selector(), select(vec!["", "", "", " smoothed"]), time())
        .prop_map(|(s, e, t)| format!("{s}{e}{t}"));
    leaf.prop_recursive(5, 40, 3, |inner| {
        prop_oneof![
            (inner.clone(), operator(), inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (scalar(), select(vec!["+", "*", "^", ">", "-"]), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            (select(vec!["-", "+", "- -"]), inner.clone()).prop_map(|(op, a)| format!("{op}{a}")),
            (select(vec!["sum", "max by (a, \"b c\")", "COUNT without ()"]), inner.clone())
                .prop_map(|(f, a)| format!("{f} ({a})")),
            (inner.clone(), labels()).prop_map(|(a, labels)| format!("avg ({a}) by {labels}")),
            (scalar(), inner.clone()).prop_map(|(n, a)| format!("topk without (x) ({n}, {a})")),
            (quoted(), inner.clone()).prop_map(|(s, a)| format!("count_values({s}, {a})")),
            (inner.clone(), scalar()).prop_map(|(a, n)| format!("round(abs({a}), {n})")),
            (inner.clone(), quoted()).prop_map(|(a, s)| format!("label_join({a}, {s}, ',', 'b')")),
            (selector(), duration(), select(vec!["", " anchored"]), time())
                .prop_map(|(s, d, e, t)| format!("rate({s}[{d}]{e}{t})")),
            (inner, duration(), prop_oneof![Just(String::new()), duration()], time())
                .prop_map(|(a, d, step, t)| format!("max_over_time(({a})[{d}:{step}]{t})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_reads_back_as_the_same_tree(text in vector()) {
        // Some durations come to nothing, or to less: refused, rightly.
        if let Ok(expr) = parse(&text, &ParseOptions::all()) {
            for printed in [expr.to_string(), pretty(&expr)] {
                let again = parse(&printed, &ParseOptions::all());
                let again = again.unwrap_or_else(|e| panic!("{text}\n{printed}\n{e}"));
                prop_assert!(again.same_as(&expr), "{text}\n{printed}\n{:#?}\n{:#?}", expr, again);
                prop_assert_eq!(again.to_string(), expr.to_string());
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(
        words in prop::collection::vec(
            prop_oneof![vector(), any::<String>(), "[-+*/%^=!<>~(){}\\[\\],:@#\"'`\\\\ .0-9a-z]{0,4}", duration()],
            0..5,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut text = words.join(" ");
        let at = cut.index(text.len() + 1);
        if text.is_char_boundary(at) {
            text.truncate(at);
        }
        match parse(&text, &ParseOptions::all()) {
            Ok(expr) => prop_assert!(expr.span().end as usize <= text.len()),
            Err(errors) => {
                for error in errors.iter() {
                    prop_assert!(error.span.start <= error.span.end && error.span.end as usize <= text.len());
                    prop_assert!(error.place.line <= text.lines().count() + 1);
                }
                let _ = errors.snippet(&text);
            }
        }
        let _ = parse_selector(&text);
    }
}

#[test]
fn most_of_what_is_made_up_is_accepted() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = 0;
    for _ in 0..200 {
        let text = vector().new_tree(&mut runner).expect("a value").current();
        accepted += usize::from(parse(&text, &ParseOptions::all()).is_ok());
    }
    assert!(accepted > 120, "only {accepted} of 200");
}
