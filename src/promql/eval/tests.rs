//! The evaluator from outside: queries over series in memory, and what must hold for any query.

use std::time::Duration;

use proptest::prelude::*;

use super::testing::{TestStorage, instant, page, pages_read, parsed, range, samples};
use crate::model::{STALE_NAN, Segment, Timestamp};
use crate::promql::{Engine, EngineOptions, QueryOptions, Value};

fn engine() -> Engine {
    Engine::new(EngineOptions::default())
}

fn delayed() -> Engine {
    Engine::new(EngineOptions { delayed_name_removal: true, ..EngineOptions::default() })
}

/// Two counters of two instances, every 10 s, from 0 to 100 s.
fn requests() -> TestStorage {
    TestStorage::default().load(
        10_000,
        &[
            r#"requests_total{i="1",job="a"}: 0 10 20 30 40 50 60 70 80 90 100"#,
            r#"requests_total{i="2",job="a"}: 0 20 40 60 80 100 120 140 160 180 200"#,
            r#"errors_total{i="1",job="a"}: 0 1 2 3 4 5 6 7 8 9 10"#,
            r#"limit{job="a",kind="soft"}: 50 50 50 50 50 50 50 50 50 50 50"#,
            r#"gaps: 1 _ 3 stale _ 6 _ _ _ _ 10"#,
        ],
    )
}

#[test]
fn selectors_look_back_and_stop_at_markers() {
    let storage = requests();
    for (query, at_ms, expected) in [
        ("gaps", 19_999, vec![r#"{__name__="gaps"} => 1"#]),
        ("gaps", 20_000, vec![r#"{__name__="gaps"} => 3"#]),
        ("gaps", 30_000, vec![]),
        ("gaps", 49_999, vec![]),
        ("gaps", 399_999, vec![r#"{__name__="gaps"} => 10"#]),
        ("gaps", 400_000, vec![]),
        ("gaps offset 10s", 30_000, vec![r#"{__name__="gaps"} => 3"#]),
        ("gaps offset -10s", 40_000, vec![r#"{__name__="gaps"} => 6"#]),
        ("gaps @ 20", 0, vec![r#"{__name__="gaps"} => 3"#]),
        ("gaps @ end() offset 1s", 100_000, vec![r#"{__name__="gaps"} => 6"#]),
        ("timestamp(gaps)", 59_000, vec!["{} => 50"]),
        ("timestamp(abs(gaps))", 59_000, vec!["{} => 59"]),
        ("count_over_time(gaps[1m])", 60_000, vec!["{} => 2"]),
        ("count_over_time(gaps[1m1ms])", 60_000, vec!["{} => 3"]),
        ("gaps[40s]", 60_000, vec![r#"{__name__="gaps"} => 6@50000"#]),
        ("gaps[20s:10s]", 100_000, vec![r#"{__name__="gaps"} => 6@90000 10@100000"#]),
        ("absent(gaps)", 30_000, vec!["{} => 1"]),
        (r#"absent(gaps{a="b",c=~"d"})"#, 30_000, vec![r#"{a="b"} => 1"#]),
        ("absent_over_time(gaps[5s])", 30_000, vec!["{} => 1"]),
        ("gaps smoothed", 75_000, vec![r#"{__name__="gaps"} => 8"#]),
    ] {
        assert_eq!(instant(&engine(), &storage, query, at_ms), expected, "{query} at {at_ms}");
    }
    assert_eq!(
        range(&engine(), &storage, "gaps", (0, 60_000, 10_000)),
        [r#"{__name__="gaps"} => 1 1 3 _ _ 6 6"#]
    );
    assert_eq!(
        range(&engine(), &storage, "gaps @ 20", (0, 20_000, 10_000)),
        [r#"{__name__="gaps"} => 3 3 3"#]
    );
    assert_eq!(range(&engine(), &storage, "absent(gaps)", (0, 50_000, 10_000)), ["{} => _ _ _ 1 1 _"]);
    assert_eq!(
        range(&engine(), &storage, "absent_over_time(gaps[10s])", (0, 50_000, 10_000)),
        ["{} => _ 1 _ 1 1 _"]
    );
    assert_eq!(range(&engine(), &storage, "timestamp(gaps @ 29)", (0, 20_000, 10_000)), ["{} => 20 20 20"]);
}

#[test]
fn operators_match_series() {
    let storage = requests();
    for (query, expected) in [
        ("1 + 2 * 3 ^ 2 % 5", vec!["4"]),
        ("1 > bool 2", vec!["0"]),
        ("-gaps", vec!["{} => -10"]),
        ("requests_total > 150", vec![r#"{__name__="requests_total", i="2", job="a"} => 200"#]),
        ("150 < requests_total", vec![r#"{__name__="requests_total", i="2", job="a"} => 200"#]),
        ("requests_total > bool 150", vec![r#"{i="1", job="a"} => 0"#, r#"{i="2", job="a"} => 1"#]),
        ("errors_total / requests_total", vec![r#"{i="1", job="a"} => 0.1"#]),
        ("requests_total > errors_total", vec![r#"{__name__="requests_total", i="1", job="a"} => 100"#]),
        (
            "requests_total / on(job) group_left(kind) limit",
            vec![r#"{i="1", job="a", kind="soft"} => 2"#, r#"{i="2", job="a", kind="soft"} => 4"#],
        ),
        (
            "limit - ignoring(i, kind) group_right requests_total",
            vec![r#"{i="1", job="a"} => -50"#, r#"{i="2", job="a"} => -150"#],
        ),
        (
            "limit / on(job) requests_total",
            vec![
                r#"error: found duplicate series for the match group {job="a"} on the right hand-side of the operation: [{__name__="requests_total", i="2", job="a"}, {__name__="requests_total", i="1", job="a"}];many-to-many matching not allowed: matching labels must be unique on one side"#,
            ],
        ),
        (
            "requests_total / on(job) limit",
            vec![
                "error: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            ],
        ),
        (
            "requests_total / on(job) group_left(i) limit",
            vec!["error: multiple matches for labels: grouping labels must ensure unique matches"],
        ),
        (
            r#"label_replace(requests_total, "i", "", "", "") / on(job) group_left limit"#,
            vec!["error: vector cannot contain metrics with the same labelset"],
        ),
        (
            "requests_total and on(i) errors_total",
            vec![r#"{__name__="requests_total", i="1", job="a"} => 100"#],
        ),
        ("requests_total unless errors_total", vec![r#"{__name__="requests_total", i="2", job="a"} => 200"#]),
        (
            "errors_total or requests_total",
            vec![
                r#"{__name__="errors_total", i="1", job="a"} => 10"#,
                r#"{__name__="requests_total", i="2", job="a"} => 200"#,
            ],
        ),
        (
            "errors_total + fill(0) requests_total",
            vec![r#"{i="1", job="a"} => 110"#, r#"{i="2", job="a"} => 200"#],
        ),
        (
            "requests_total - fill_right(1) errors_total",
            vec![r#"{i="1", job="a"} => 90"#, r#"{i="2", job="a"} => 199"#],
        ),
        (
            r#"{__name__=~"requests_total|errors_total"} * 2"#,
            vec!["error: vector cannot contain metrics with the same labelset"],
        ),
    ] {
        assert_eq!(instant(&engine(), &storage, query, 100_000), expected, "{query}");
    }
}

#[test]
fn conflicts_count_only_at_steps_with_both_sides() {
    let storage = TestStorage::default().load(
        10_000,
        &[
            r#"left{j="a"}: _ _ _ 1 2"#,
            r#"right{j="a",x="1"}: 1 1 stale _ _"#,
            r#"right{j="a",x="2"}: 2 stale _ 2 2"#,
        ],
    );
    assert_eq!(
        range(&engine(), &storage, "left * on(j) right", (0, 40_000, 10_000)),
        [r#"{j="a"} => _ _ _ 2 4"#]
    );
    let left_too = storage.load(10_000, &[r#"left{j="b"}: 1 1 1 1 1"#]);
    assert!(
        range(&engine(), &left_too, "left * on(j) right", (0, 40_000, 10_000))[0]
            .starts_with("error: found duplicate series for the match group {j=\"a\"}")
    );
}

#[test]
fn aggregations_group_and_choose() {
    let storage = requests();
    for (query, expected) in [
        ("sum by (job) (requests_total)", vec![r#"{job="a"} => 300"#]),
        ("sum without (i) (requests_total)", vec![r#"{job="a"} => 300"#]),
        ("avg(requests_total)", vec!["{} => 150"]),
        ("stddev(requests_total)", vec!["{} => 50"]),
        ("count(requests_total) + group(requests_total)", vec!["{} => 3"]),
        ("quantile(0.5, requests_total)", vec!["{} => 150"]),
        ("topk(1, requests_total)", vec![r#"{__name__="requests_total", i="2", job="a"} => 200"#]),
        (
            r#"count_values("v", {job="a"})"#,
            vec![r#"{v="10"} => 1"#, r#"{v="50"} => 1"#, r#"{v="100"} => 1"#, r#"{v="200"} => 1"#],
        ),
        ("topk(NaN, nothing)", vec!["error: Parameter value is NaN"]),
        ("topk(1e30, nothing)", vec!["error: Scalar value 1e+30 overflows int64"]),
        ("limitk(1, requests_total)", vec![r#"{__name__="requests_total", i="1", job="a"} => 100"#]),
        ("count(limit_ratio(0.4, requests_total) or limit_ratio(-0.6, requests_total))", vec!["{} => 2"]),
        (
            "sort_desc(requests_total)",
            vec![
                r#"{__name__="requests_total", i="2", job="a"} => 200"#,
                r#"{__name__="requests_total", i="1", job="a"} => 100"#,
            ],
        ),
        ("scalar(sum(requests_total)) + scalar(requests_total)", vec!["NaN"]),
        (r#"count_values("a\xc5z", gaps)"#, vec![r#"error: invalid label name "a\xc5z""#]),
    ] {
        assert_eq!(instant(&engine(), &storage, query, 100_000), expected, "{query}");
    }
    assert_eq!(
        range(&engine(), &storage, r#"count_values by (job) ("v", {i="1"})"#, (0, 10_000, 10_000)),
        [r#"{job="a", v="0"} => 2 _"#, r#"{job="a", v="1"} => _ 1"#, r#"{job="a", v="10"} => _ 1"#]
    );
    assert_eq!(
        range(&engine(), &storage, "topk(scalar(gaps @ 0), requests_total)", (0, 20_000, 10_000)),
        [
            r#"{__name__="requests_total", i="1", job="a"} => 0 _ _"#,
            r#"{__name__="requests_total", i="2", job="a"} => _ 20 40"#
        ]
    );
}

#[test]
fn names_go_at_once_or_at_the_end() {
    let storage = requests();
    let relabelled = r#"label_replace(rate(requests_total[20s]), "__name__", "r_$1", "__name__", "(.+)")"#;
    assert_eq!(
        instant(&delayed(), &storage, relabelled, 50_000),
        [
            r#"{__name__="r_requests_total", i="1", job="a"} => 1"#,
            r#"{__name__="r_requests_total", i="2", job="a"} => 2"#
        ]
    );
    let by_name = "sum by (__name__) (-{job=\"a\"})";
    assert_eq!(
        instant(&engine(), &storage, by_name, 50_000),
        ["error: vector cannot contain metrics with the same labelset"]
    );
    assert_eq!(
        instant(&delayed(), &storage, by_name, 50_000),
        ["error: vector cannot contain metrics with the same labelset"]
    );
    assert_eq!(instant(&delayed(), &storage, "last_over_time(abs(gaps)[1m:])", 100_000), ["{} => 6"]);
    let apart = TestStorage::default().load(600_000, &["a: 1", "b: _ 4"]);
    assert_eq!(range(&delayed(), &apart, "-a or -b", (0, 1_200_000, 600_000)), ["{} => -1 -4 _"]);
}

#[test]
fn subqueries_and_step_invariant_parts() {
    let storage = requests();
    assert_eq!(
        instant(&engine(), &storage, "max_over_time(rate(requests_total[20s])[40s:10s])", 100_000),
        [r#"{i="1", job="a"} => 1"#, r#"{i="2", job="a"} => 2"#]
    );
    assert_eq!(
        range(&engine(), &storage, "sum_over_time(gaps[1m] @ 100) + 0 * time()", (0, 10_000, 10_000)),
        ["{} => 16 16"]
    );
    assert_eq!(
        range(&engine(), &storage, "quantile_over_time(scalar(gaps) - 1, gaps[2m] @ 100)", (0, 0, 1_000)),
        ["{} => 1"]
    );
    assert_eq!(
        range(&engine(), &storage, "vector(step()) + range()", (0, 20_000, 10_000)),
        ["{} => 30 30 30"]
    );
    let chain = vec!["gaps"; 1_000].join(" + ");
    assert_eq!(instant(&engine(), &storage, &chain, 100_000), ["{} => 10000"]);
    let nested = format!("{}gaps{}", "abs(-(".repeat(60), "))".repeat(60));
    assert_eq!(instant(&engine(), &storage, &nested, 100_000), ["{} => 10"]);
    assert_eq!(range(&engine(), &storage, &nested, (0, 20_000, 20_000)), ["{} => 1 3"]);
}

#[test]
fn limits_end_a_query() {
    let storage = requests();
    let small = Engine::new(EngineOptions { max_samples: 10, ..EngineOptions::default() });
    assert_eq!(
        instant(&small, &storage, "requests_total[2m]", 100_000),
        ["error: query processing would load too many samples into memory in query execution"]
    );
    assert_eq!(instant(&small, &storage, "sum(requests_total)", 100_000), ["{} => 300"]);
    assert_eq!(
        instant(&small, &storage, "sum_over_time(vector(1)[100y:1ms])", 100_000),
        ["error: query processing would load too many samples into memory in query execution"]
    );
    let options = QueryOptions { timeout: Some(Duration::ZERO), ..QueryOptions::default() };
    let timed_out = small.instant(&storage, &parsed("gaps"), Timestamp::from_millis(0), &options);
    assert_eq!(timed_out.expect_err("late").to_string(), "query timed out in expression evaluation");
    let options = QueryOptions::default();
    options.cancel.cancel();
    let gone = small.instant(&storage, &parsed("gaps"), Timestamp::from_millis(0), &options);
    assert_eq!(gone.expect_err("cancelled").error_type(), "canceled");
    let text = small.range(
        &storage,
        &parsed("gaps[1m]"),
        (Timestamp::from_millis(0), Timestamp::from_millis(1)),
        Duration::from_secs(1),
        &QueryOptions::default(),
    );
    assert_eq!(
        text.expect_err("a range").to_string(),
        "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"
    );
}

#[test]
fn annotations_name_their_place() {
    let storage = requests();
    let says = |query: &str, type_labels: bool| {
        let engine =
            Engine::new(EngineOptions { type_and_unit_labels: type_labels, ..EngineOptions::default() });
        let at = Timestamp::from_millis(100_000);
        let result =
            engine.instant(&storage, &parsed(query), at, &QueryOptions::default()).expect("evaluated");
        [result.annotations.warnings(query, 0), result.annotations.infos(query, 0)].concat()
    };
    assert_eq!(
        says("sum(rate(limit[1m]))", false),
        [
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"limit\" (1:10)"
        ]
    );
    assert!(says("sum(rate(requests_total[1m]))", false).is_empty());
    assert_eq!(
        says("increase(requests_total[1m])", true),
        [
            "PromQL info: metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got \"\": \"requests_total\" (1:10)"
        ]
    );
    assert_eq!(
        says("quantile(scalar(gaps), requests_total)", false),
        ["PromQL warning: quantile value should be between 0 and 1, got 10 (1:10)"]
    );
    assert_eq!(
        says("limit_ratio(-1.5, limit)", false),
        ["PromQL warning: ratio value should be between -1 and 1, got -1.5, capping to -1 (1:13)"]
    );
    assert_eq!(
        says("gaps >/ 3", false),
        [
            "PromQL info: incompatible sample types encountered for binary operator \">/\": float >/ float (1:1)"
        ]
    );
}

#[test]
fn long_windows_read_only_the_pages_at_their_edges() {
    let pages: Vec<Segment> = (0..100)
        .map(|p| {
            page(&(0..60).map(|s| ((p * 60 + s) * 1_000, ((p * 60 + s) * 7) as f64)).collect::<Vec<_>>())
        })
        .collect();
    let storage = TestStorage::default().with_segments("errors_total", pages);
    pages_read();
    assert_eq!(instant(&engine(), &storage, "increase(errors_total[90m])", 5_999_500), ["{} => 37800"]);
    assert!(pages_read() <= 2);
    let spread = "last_over_time(errors_total[1m1s]) - quantile_over_time(0, errors_total[1m1s])";
    assert_eq!(instant(&engine(), &storage, spread, 119_000), ["{} => 420"]);
    assert!(pages_read() >= 2);
}

const QUERIES: [&str; 22] = [
    "m",
    "m offset 13s",
    "timestamp(m)",
    "rate(m[1m])",
    "rate(m[10m])",
    "increase(m[15m] offset 30s)",
    "delta(m[12m])",
    "sum_over_time(m[8m])",
    "avg_over_time(m[9m])",
    "min_over_time(m[9m]) + max_over_time(m[11m])",
    "count_over_time(m[20m]) + present_over_time(m[1m])",
    "changes(m[20m]) + resets(m[20m])",
    "last_over_time(m[6m]) - first_over_time(m[6m])",
    "stddev_over_time(m[10m])",
    "quantile_over_time(0.3, m[5m])",
    "sum(rate(m[10m] @ 600))",
    "sum by (s) (m) or absent(m)",
    "max_over_time(rate(m[3m])[10m:45s])",
    "topk(1, m)",
    "m > 20",
    "m and on(s) (m > 20)",
    "irate(m[3m])",
];

fn series() -> impl Strategy<Value = Vec<(u8, f64)>> {
    let value = prop_oneof![
        6 => (0..40_i32).prop_map(f64::from),
        1 => (0..1_000_i32).prop_map(|n| f64::from(n) / 7.0),
        1 => Just(STALE_NAN),
        1 => Just(f64::NAN),
    ];
    prop::collection::vec((1..40_u8, value), 1..80)
}

/// Instants from distances, in seconds.
fn timed(series: &[(u8, f64)]) -> Vec<(i64, f64)> {
    let mut at_ms = 0;
    series
        .iter()
        .map(|(distance, value)| {
            at_ms += i64::from(*distance) * 1_000;
            (at_ms, *value)
        })
        .collect()
}

fn cut_up(pairs: &[(i64, f64)], cuts: &[(usize, bool)]) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut rest = pairs;
    for (length, is_page) in cuts {
        let (head, tail) = rest.split_at((*length).min(rest.len()));
        rest = tail;
        if !head.is_empty() {
            segments.push(match is_page {
                true => page(head),
                false => Segment::Samples(std::sync::Arc::new(samples(head))),
            });
        }
    }
    if !rest.is_empty() {
        segments.push(Segment::Samples(std::sync::Arc::new(samples(rest))));
    }
    segments
}

/// A result with the bits of its values, NaN being NaN.
fn bits(value: Value) -> Vec<(String, Vec<(i64, u64)>)> {
    let number = |v: f64| if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() };
    let mut found: Vec<_> = match value {
        Value::Matrix(series) => series
            .iter()
            .map(|s| (s.labels.to_string(), s.samples.iter().map(|(t, v)| (t, number(v))).collect()))
            .collect(),
        Value::Vector(vector) => {
            vector.iter().map(|s| (s.labels.to_string(), vec![(s.at_ms, number(s.value))])).collect()
        }
        other => panic!("{other:?}"),
    };
    found.sort();
    found
}

proptest! {
    #[test]
    fn pages_change_no_result(
        a in series(),
        b in series(),
        cuts in prop::collection::vec((1..12_usize, prop::bool::weighted(0.8)), 20),
        (start, step) in (0..1_500_i64, 1..400_u64),
    ) {
        let (a, b) = (timed(&a), timed(&b));
        let plain = TestStorage::default().with(r#"m{s="a"}"#, &a).with(r#"m{s="b"}"#, &b);
        let paged = TestStorage::default()
            .with_segments(r#"m{s="a"}"#, cut_up(&a, &cuts))
            .with_segments(r#"m{s="b"}"#, cut_up(&b, &cuts));
        let bounds = (Timestamp::from_millis(start * 1_000), Timestamp::from_millis((start + 1_500) * 1_000));
        for query in QUERIES {
            let run = |storage: &TestStorage| {
                let step = Duration::from_secs(step);
                engine().range(storage, &parsed(query), bounds, step, &QueryOptions::default()).expect(query)
            };
            prop_assert_eq!(bits(run(&plain).value), bits(run(&paged).value), "{}", query);
        }
    }

    #[test]
    fn a_range_is_a_sequence_of_instants(
        a in series(),
        b in series(),
        (start, step) in (0..1_500_i64, 1..400_i64),
    ) {
        let storage = TestStorage::default().with(r#"m{s="a"}"#, &timed(&a)).with(r#"m{s="b"}"#, &timed(&b));
        let end = start + 4 * step;
        for query in QUERIES {
            let expr = parsed(query);
            let bounds = (Timestamp::from_millis(start * 1_000), Timestamp::from_millis(end * 1_000));
            let of_step = Duration::from_secs(step.unsigned_abs());
            let whole = engine().range(&storage, &expr, bounds, of_step, &QueryOptions::default()).expect(query);
            let whole = bits(whole.value);
            for n in 0..=4 {
                let at_ms = (start + n * step) * 1_000;
                let at = Timestamp::from_millis(at_ms);
                let one = engine().instant(&storage, &expr, at, &QueryOptions::default()).expect(query);
                let of_range: Vec<_> = whole
                    .iter()
                    .filter_map(|(labels, samples)| {
                        let sample = samples.iter().find(|(t, _)| *t == at_ms)?;
                        Some((labels.clone(), vec![*sample]))
                    })
                    .collect();
                prop_assert_eq!(bits(one.value), of_range, "{} at {}", query, at_ms);
            }
        }
    }
}
