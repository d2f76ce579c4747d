//! Tables of what is read and what is refused; then properties against the encoder and on any bytes.

use proptest::prelude::*;

use super::*;
use crate::expose::{Escaping, Format, encode};
use crate::model::Snapshot;

fn read(text: &[u8], syntax: Syntax) -> Result<(Batch, ParseStats), ParseError> {
    let mut batch = Batch::new();
    let stats = parse(text, syntax, Limits::default(), &mut batch)?;
    Ok((batch, stats))
}

/// Families and samples, one a line, in an order of their own.
fn shown_batch(batch: &Batch) -> Vec<String> {
    let mut out = Vec::new();
    for family in batch.families() {
        out.push(format!("{} {:?} {:?}", family.name(), family.kind(), family.help()));
        for s in family.samples() {
            let labels: Vec<_> = s.labels().iter().map(|(n, v)| format!("{n}={v}")).collect();
            let at = s.timestamp().map(|t| format!(" @{}", t.as_millis())).unwrap_or_default();
            out.push(format!("  {:?}{{{}}} {}{at}", s.suffix(), labels.join(","), s.value()));
        }
    }
    out
}

fn reads(syntax: Syntax, text: &str, expected: &[&str]) {
    match read(text.as_bytes(), syntax) {
        Ok((batch, _)) => assert_eq!(shown_batch(&batch), expected, "{text}"),
        Err(e) => panic!("{e}\n{text}"),
    }
}

#[test]
fn text_of_every_shape() {
    for (text, expected) in [
        ("", &[] as &[&str]),
        ("\n \t\n# a comment\n#\n# EOF\n# UNIT a b\n", &[]),
        ("a 1\n", &["a Untyped \"\"", "  None{} 1"]),
        ("a 1 \n", &["a Untyped \"\"", "  None{} 1"]),
        (" \ta\t-1e3\t1500\t\n", &["a Untyped \"\"", "  None{} -1000 @1500"]),
        ("a{} NaN\n", &["a Untyped \"\"", "  None{} NaN"]),
        ("a{b=\"c\"}+Inf -5\n", &["a Untyped \"\"", "  None{b=c} inf @-5"]),
        (
            "a { z = \"\\\\ \\\" \\n é\" , y=\"{},=\" , } 0x\n".replace("0x", "0").leak(),
            &["a Untyped \"\"", "  None{y={},=,z=\\ \" \n é} 0"],
        ),
        ("{\"a b\"} 1\n", &["a b Untyped \"\"", "  None{} 1"]),
        ("{\"a.b\", \"l\\\"m\" = \"v\", n=\"w\"} 1\n", &["a.b Untyped \"\"", "  None{l\"m=v,n=w} 1"]),
        ("{n=\"w\",\"a.b\",} 1\n", &["a.b Untyped \"\"", "  None{n=w} 1"]),
        (
            "# HELP a One\\\\ \\n two \"q\"\n#TYPE a Counter \na 1\n",
            &["a Counter \"One\\\\ \\n two \\\"q\\\"\"", "  None{} 1"],
        ),
        ("# HELP \"a.b\" H\n# TYPE \"a.b\" gauge\n{\"a.b\"} 1\n", &["a.b Gauge \"H\"", "  None{} 1"]),
        ("# HELP a\n# TYPE a gauge\na 1\n", &["a Gauge \"\"", "  None{} 1"]),
        ("# HELP\n# TYPE \n# TYPE a\n# HELP a\t\n# HELP a A\na 1\n", &["a Untyped \"A\"", "  None{} 1"]),
        // HELP alone may follow samples, and families may be apart.
        (
            "a 1\nb 2\n# HELP a H\na{x=\"\"} 3\n",
            &["a Untyped \"\"", "  None{} 1", "  None{x=} 3", "b Untyped \"\"", "  None{} 2"],
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\nh_created 4\n",
            &[
                "h Histogram \"\"",
                "  Bucket{le=1} 1",
                "  Bucket{le=+Inf} 2",
                "  Sum{} 3",
                "  Count{} 2",
                "h_created Untyped \"\"",
                "  None{} 4",
            ],
        ),
        (
            "# TYPE s summary\n# TYPE x gauge\ns{quantile=\"0.5\"} 1\ns_sum 3\nx 0\ns_count 2\ns_bucket 1\n",
            &[
                "s Summary \"\"",
                "  None{quantile=0.5} 1",
                "  Sum{} 3",
                "  Count{} 2",
                "x Gauge \"\"",
                "  None{} 0",
                "s_bucket Untyped \"\"",
                "  None{} 1",
            ],
        ),
        // A name of its own beats being part of another family, unless that one is being read.
        (
            "# TYPE s_count gauge\ns_count 1\n# TYPE s summary\ns_count 2\n# TYPE t gauge\nt 0\ns_count{a=\"\"} 3\n",
            &[
                "s_count Gauge \"\"",
                "  None{} 1",
                "  None{a=} 3",
                "s Summary \"\"",
                "  Count{} 2",
                "t Gauge \"\"",
                "  None{} 0",
            ],
        ),
    ] {
        reads(Syntax::Text004, text, expected);
    }
}

#[test]
fn open_metrics_of_every_shape() {
    for (text, expected) in [
        ("# EOF", &[] as &[&str]),
        ("# EOF\n", &[]),
        ("a 1\n# EOF\n", &["a Untyped \"\"", "  None{} 1"]),
        (
            "# HELP a_seconds It \\\"is\\\" \\d\\n\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
             a_seconds_total{b=\"\\a\"} 1.0 1.5\na_seconds_created 1.5e9\n# EOF\n",
            &[
                "a_seconds_total Counter \"It \\\"is\\\" \\\\d\\n\"",
                "  None{b=\\a} 1 @1500",
                "  Created{} 1500000000",
            ],
        ),
        ("# TYPE a info\na_info{v=\"1\"} 1\n# EOF\n", &["a_info Info \"\"", "  None{v=1} 1"]),
        ("# TYPE a stateset\na{a=\"on\"} 1\n# EOF\n", &["a StateSet \"\"", "  None{a=on} 1"]),
        (
            "# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1\na_gcount 1\na_gsum 2\n# EOF\n",
            &["a GaugeHistogram \"\"", "  Bucket{le=+Inf} 1", "  GaugeCount{} 1", "  GaugeSum{} 2"],
        ),
        (
            "# TYPE a histogram\na_bucket{le=\"1.0\"} 1 # {trace=\"x\"} 0.5 1.5\na_bucket{le=\"+Inf\"} 1 9 # {} 2\n# EOF\n",
            &["a Histogram \"\"", "  Bucket{le=1} 1", "  Bucket{le=+Inf} 1 @9000"],
        ),
        (
            "# TYPE \"a b\" counter\n{\"a b_total\",c=\"d\"} 1\n# EOF\n",
            &["a b_total Counter \"\"", "  None{c=d} 1"],
        ),
        ("# HELP a\n# TYPE a unknown\n# UNIT a \na 1\n# EOF\n", &["a Untyped \"\"", "  None{} 1"]),
    ] {
        reads(Syntax::OpenMetrics100, text, expected);
    }
}

#[test]
fn two_spellings_of_a_bound_are_one_series() {
    let text = b"# TYPE h histogram\nh_bucket{le=\"+inf\"} 1\nh_bucket{le=\"+Inf\"} 2\n\
                 # TYPE s summary\ns{quantile=\"0.50\"} 3\ns{quantile=\"5e-1\"} 4\n";
    let (batch, _) = read(text, Syntax::Text004).expect("valid");
    let snapshot = Snapshot::assemble(Timestamp::default(), vec![("test", batch)]);
    assert_eq!((snapshot.series(), snapshot.duplicates()), (2, 2));
}

#[test]
fn what_an_exposition_had_is_counted() {
    let text = b"# TYPE a counter\na_total{b=\"1\"} 1 2 # {} 3\na_total{b=\"2\"} 1 # {} 3\n# EOF\n";
    let (batch, stats) = read(text, Syntax::OpenMetrics100).expect("valid");
    assert_eq!(stats, ParseStats { samples: 2, timestamps: 1, exemplars: 2 });
    assert_eq!(batch.len(), 2);
}

fn refuses(syntax: Syntax, text: &[u8], expected: &str) {
    match read(text, syntax) {
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(text)),
        Err(e) => assert_eq!(e.to_string(), expected, "{}", String::from_utf8_lossy(text)),
    }
}

#[test]
fn refused_text() {
    for (text, expected) in [
        ("a 1", "1:4: the last line does not end in a line feed"),
        ("a 1\nbé 1\n", "2:2: expected a blank or '{' after the metric name"),
        ("1a 1\n", "1:1: expected a metric name"),
        ("é 1\n", "1:1: expected a metric name"),
        ("a\n", "1:2: expected a blank or '{' after the metric name"),
        ("a \n", "1:3: expected a number, got \"\""),
        ("a one\n", "1:3: expected a number, got \"one\""),
        ("a 1\r\n", "1:3: expected a number, got \"1\\r\""),
        ("a 0x1p1\n", "1:3: expected a number, got \"0x1p1\""),
        ("a 1 2.5\n", "1:5: expected a timestamp in milliseconds, got \"2.5\""),
        (
            "a 1 99999999999999999999\n",
            "1:5: expected a timestamp in milliseconds, got \"99999999999999999999\"",
        ),
        ("a 1 2 3\n", "1:7: unexpected \"3\" after the sample"),
        ("a 1 # {} 1\n", "1:5: expected a timestamp in milliseconds, got \"#\""),
        ("a{b} 1\n", "1:4: expected '=' after the label name"),
        ("a{b=c} 1\n", "1:5: expected '\"'"),
        ("a{b=\"c} 1\n", "1:5: this quote is not closed on its line"),
        ("a{b=\"c\nd\"} 1\n", "1:5: this quote is not closed on its line"),
        ("a{b=\"\\x\"} 1\n", "1:6: invalid escape sequence; a backslash is written as \"\\\\\""),
        ("a{b=\"c\" d=\"e\"} 1\n", "1:9: expected ',' or '}' after the label"),
        ("a{,} 1\n", "1:3: expected a label name"),
        ("a{b=\"c\",,} 1\n", "1:9: expected a label name"),
        ("a{b:c=\"d\"} 1\n", "1:4: expected '=' after the label name"),
        ("a{b=\"1\",b=\"2\"} 1\n", "1:9: label \"b\" is there twice"),
        ("a{__name__=\"b\"} 1\n", "1:3: label name \"__name__\" is reserved"),
        ("a{\"b\"} 1\n", "1:1: the sample has two metric names"),
        ("{\"a\",\"b\"} 1\n", "1:6: the sample has two metric names"),
        ("{} 1\n", "1:1: the sample has no metric name"),
        ("{\"\"} 1\n", "1:2: a name cannot be empty"),
        ("a{\"\"=\"b\"} 1\n", "1:3: a name cannot be empty"),
        ("a{b=\"c\"\n", "1:8: expected ',' or '}' after the label"),
        ("# TYPE a apple\n", "1:10: unknown metric type \"apple\""),
        ("# TYPE a info\n", "1:10: unknown metric type \"info\""),
        ("# TYPE a gauge\n# TYPE a gauge\n", "2:8: second TYPE for \"a\""),
        ("# HELP a x\n# HELP a x\n", "2:8: second HELP for \"a\""),
        ("# HELP a \\x\n", "1:10: invalid escape sequence; a backslash is written as \"\\\\\""),
        ("# HELP é x\n", "1:8: expected a metric name"),
        ("# HELP a{} x\n", "1:9: expected a blank after the metric name"),
        ("a 1\n# TYPE a gauge\n", "2:8: TYPE for \"a\" comes after its samples"),
        ("# TYPE a histogram\na_bucket 1\n", "2:1: the sample needs label \"le\" with a number"),
        ("# TYPE a histogram\na_bucket{le=\"x\"} 1\n", "2:1: the sample needs label \"le\" with a number"),
        ("# TYPE a summary\na{quantile=\"x\"} 1\n", "2:1: the sample needs label \"quantile\" with a number"),
    ] {
        refuses(Syntax::Text004, text.as_bytes(), expected);
    }
    refuses(Syntax::Text004, b"a 1\n\xc3\xa9\xff\n", "2:2: not valid UTF-8");
}

#[test]
fn refused_open_metrics() {
    for (text, expected) in [
        ("", "1:1: no \"# EOF\" at the end"),
        ("a 1\n", "2:1: no \"# EOF\" at the end"),
        ("a 1\n# EO", "2:5: the last line does not end in a line feed"),
        ("# EOF\n\n", "2:1: nothing may come after \"# EOF\""),
        ("# EOF\na 1\n", "2:1: nothing may come after \"# EOF\""),
        ("\n# EOF\n", "1:1: empty line"),
        ("# comment\n", "1:1: expected \"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\""),
        ("#HELP a b\n", "1:1: expected \"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\""),
        ("# HELP  a b\n", "1:8: expected a metric name"),
        (" a 1\n", "1:1: expected a metric name"),
        ("a  1\n", "1:3: expected a number, got \"\""),
        ("a\t1\n", "1:2: expected a space before the value"),
        ("a {} 1\n", "1:3: expected a number, got \"{}\""),
        ("a{b=\"c\",} 1\n", "1:9: expected a label name"),
        ("a{b=\"c\", d=\"e\"} 1\n", "1:9: expected a label name"),
        ("a{b=\"c\"}1\n", "1:9: expected a space before the value"),
        ("a 1 \n", "1:5: expected a timestamp in seconds, got \"\""),
        ("a 1 nan\n", "1:5: expected a timestamp in seconds, got \"nan\""),
        ("a 1 1e300\n", "1:5: expected a timestamp in seconds, got \"1e300\""),
        ("a 1 2 \n", "1:7: expected the end of the line or an exemplar"),
        ("a 1 2 3\n", "1:7: expected the end of the line or an exemplar"),
        ("# TYPE a untyped\n", "1:10: unknown metric type \"untyped\""),
        ("# TYPE a Gauge\n", "1:10: unknown metric type \"Gauge\""),
        ("# TYPE a gauge \n", "1:10: unknown metric type \"gauge \""),
        ("# UNIT a seconds\n", "1:10: unit \"seconds\" is not how \"a\" ends"),
        ("# UNIT seconds seconds\n", "1:16: unit \"seconds\" is not how \"seconds\" ends"),
        ("# TYPE a counter\na 1\n", "2:1: sample \"a\" has not the suffix that its type asks for"),
        ("# TYPE a histogram\na 1\n", "2:1: sample \"a\" has not the suffix that its type asks for"),
        ("# TYPE a summary\na 1\n", "2:1: the sample needs label \"quantile\" with a number"),
        ("# TYPE a gauge\na 1\nb 1\na{c=\"d\"} 1\n", "4:1: the lines of \"a\" are not together"),
        ("a 1\nb 1\n# HELP a x\n", "3:8: the lines of \"a\" are not together"),
        ("# TYPE a counter\nb 1\na_total 1\n", "3:1: the lines of \"a_total\" are not together"),
        ("a 1\n# HELP a x\n", "2:8: HELP for \"a\" comes after its samples"),
        ("# UNIT a_b b\n# UNIT a_b b\n", "2:8: second UNIT for \"a_b\""),
        ("# TYPE a gauge\na 1 # {} 1\n", "2:5: exemplars are for counters and buckets only"),
        ("# TYPE a counter\na_total 1 #{} 1\n", "2:12: expected a space after '#'"),
        ("# TYPE a counter\na_total 1 # {\"x\"} 1\n", "2:17: expected '=' after the label name"),
        ("# TYPE a counter\na_total 1 # {} x\n", "2:16: expected a number, got \"x\""),
        ("# TYPE a counter\na_total 1 # {} 1 2 3\n", "2:19: unexpected \" 3\" after the sample"),
    ] {
        refuses(Syntax::OpenMetrics100, text.as_bytes(), expected);
    }
    let long = format!("# TYPE a counter\na_total 1 # {{b=\"{}\"}} 1\n", "é".repeat(128));
    refuses(
        Syntax::OpenMetrics100,
        long.as_bytes(),
        "2:13: the exemplar's labels have more than 128 characters",
    );
}

#[test]
fn limits_hold() {
    let limits = Limits { line_bytes: 40, labels: 2, ..Limits::default() };
    let mut batch = Batch::new();
    batch.set_limit(2);
    let text = b"a 1\na{b=\"\"} 2\na{b=\"\",c=\"\"} 3\n";
    let stats = parse(text, Syntax::Text004, limits, &mut batch).expect("within limits");
    assert_eq!((stats.samples, batch.len(), batch.over_limit()), (3, 2, 1));
    for (text, expected) in [
        ("a{b=\"\",c=\"\",d=\"\"} 1\n".to_owned(), "1:13: more than 2 labels"),
        (format!("a 1\n#{}\n", "x".repeat(40)), "2:1: line is longer than 40 bytes"),
    ] {
        let error = parse(text.as_bytes(), Syntax::Text004, limits, &mut batch).expect_err("beyond limits");
        assert_eq!(error.to_string(), expected);
    }
    let many: Vec<String> = (0..100).map(|i| format!("l{i}=\"{i}\"")).collect();
    let (batch, _) = read(format!("a{{{}}} 1\n", many.join(",")).as_bytes(), Syntax::Text004).expect("valid");
    let labels = batch.families().next().and_then(|f| f.samples().next()).map(|s| s.labels().iter().count());
    assert_eq!(labels, Some(100));
}

// Arbitrary batches.

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c](_(total|info|sum|count|bucket|created|seconds)){0,2}",
        1 => "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}",
        1 => "\\PC{1,5}",
        1 => any::<String>().prop_filter("a name", |s| !s.is_empty()),
    ]
}

fn label_set() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof!["[a-z0-9/]{0,6}", "[\\\\\"\n,={} é]{0,6}", any::<String>()];
    let reserved = ["__name__", "le", "quantile"];
    proptest::collection::btree_map(name(), value, 0..4).prop_map(move |labels| {
        labels.into_iter().filter(|(name, _)| !reserved.contains(&name.as_str())).collect()
    })
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), (-9_999_i32..9_999).prop_map(f64::from), Just(f64::NAN), Just(f64::INFINITY)]
}

const KINDS: [Kind; 8] = [
    Kind::Counter,
    Kind::Gauge,
    Kind::Histogram,
    Kind::GaugeHistogram,
    Kind::Summary,
    Kind::Info,
    Kind::StateSet,
    Kind::Untyped,
];

const fn suffixes(kind: Kind) -> &'static [Suffix] {
    match kind {
        Kind::Counter => &[Suffix::None, Suffix::Created],
        Kind::Histogram => &[Suffix::Bucket, Suffix::Sum, Suffix::Count, Suffix::Created],
        Kind::GaugeHistogram => &[Suffix::Bucket, Suffix::GaugeSum, Suffix::GaugeCount],
        Kind::Summary => &[Suffix::None, Suffix::Sum, Suffix::Count, Suffix::Created],
        _ => &[Suffix::None],
    }
}

type SampleSpec = (Vec<(String, String)>, f64, Option<i64>, usize);
type FamilySpec = (String, usize, Vec<SampleSpec>);

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let millis = proptest::option::of(-(1_i64 << 50)..1 << 50);
    let sample = (label_set(), value(), millis, 0..4_usize);
    let family = (any::<String>(), 0..KINDS.len(), proptest::collection::vec(sample, 1..5));
    proptest::collection::btree_map(name(), family, 0..8).prop_map(|families| {
        let mut batch = Batch::new();
        for (name, family) in families {
            fill(&mut batch, &name, family);
        }
        Snapshot::assemble(Timestamp::default(), vec![("test", batch)])
    })
}

fn fill(batch: &mut Batch, name: &str, (help, kind, samples): FamilySpec) {
    let kind = KINDS[kind];
    let id = batch.family(name, &help, kind);
    batch.set_unit(id, "seconds");
    for (labels, value, millis, suffix) in samples {
        let suffix = suffixes(kind)[suffix % suffixes(kind).len()];
        let mut labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        match (kind, suffix) {
            (_, Suffix::Bucket) => labels.push(("le", ["1e3", "+Inf", "1", "1.0", "inf"][name.len() % 5])),
            (Kind::Summary, Suffix::None) => labels.push(("quantile", "0.50")),
            _ => {}
        }
        batch.sample_full(id, suffix, &labels, value, millis.map(Timestamp::from_millis));
    }
}

fn encoded(snapshot: &Snapshot, syntax: Syntax) -> Vec<u8> {
    let mut out = Vec::new();
    encode(snapshot, Format { syntax, escaping: Escaping::AllowUtf8 }, &mut out);
    out
}

fn any_syntax() -> impl Strategy<Value = Syntax> {
    prop_oneof![Just(Syntax::Text004), Just(Syntax::OpenMetrics100)]
}

/// Reads whatever it is; what is accepted must survive being written and read again.
fn survives(bytes: &[u8], syntax: Syntax) {
    let Ok((batch, _)) = read(bytes, syntax) else { return };
    let once = encoded(&Snapshot::assemble(Timestamp::default(), vec![("test", batch)]), syntax);
    let (batch, _) =
        read(&once, syntax).unwrap_or_else(|e| panic!("{e}\n{}", String::from_utf8_lossy(&once)));
    let twice = encoded(&Snapshot::assemble(Timestamp::default(), vec![("test", batch)]), syntax);
    assert_eq!(String::from_utf8_lossy(&once), String::from_utf8_lossy(&twice));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(snapshot in snapshot(), syntax in any_syntax()) {
        let first = encoded(&snapshot, syntax);
        let (batch, stats) = read(&first, syntax)
            .unwrap_or_else(|e| panic!("{e}\n{}", String::from_utf8_lossy(&first)));
        prop_assert_eq!(batch.conflicts(), 0);
        let again = Snapshot::assemble(Timestamp::default(), vec![("test", batch)]);
        prop_assert_eq!(again.duplicates(), 0);
        if syntax.is_open_metrics() {
            prop_assert!(stats.samples <= snapshot.series());
        }
        let second = encoded(&again, syntax);
        prop_assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), syntax in any_syntax()) {
        survives(&bytes, syntax);
    }

    #[test]
    fn no_text_of_its_alphabet_makes_it_panic(
        text in "([# \t\n{}=,\"\\\\a_:1+.e-]|# TYPE a |# HELP a |# UNIT a_b |counter|histogram|summary|le=|a_bucket|# EOF\n|é){0,40}",
        syntax in any_syntax(),
    ) {
        survives(text.as_bytes(), syntax);
        survives(format!("{text}\n# EOF\n").as_bytes(), syntax);
    }

    #[test]
    fn no_mutation_of_valid_input_makes_it_panic(
        snapshot in snapshot(),
        syntax in any_syntax(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        let mut bytes = encoded(&snapshot, syntax);
        for (at, byte, edit) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\n\"\\{} #"[usize::from(byte) % 7]),
                _ => bytes.truncate(at),
            }
        }
        survives(&bytes, syntax);
    }
}
