//! Bodies in, rows and reports out.

use super::*;
use crate::config::{Document, Environment, Limits};
use crate::model::is_stale;
use crate::scrape::ScrapeSettings;

fn job(keys: &str) -> Arc<JobSettings> {
    let text = format!("scrape_configs:\n- job_name: j\n{keys}");
    let document = Document::parse("p.yml", text, &Limits::default()).unwrap();
    let settings = document.read(&Environment::off(), ScrapeSettings::read).unwrap();
    Arc::clone(&settings.jobs[0])
}

fn pipeline(keys: &str) -> Pipeline {
    let labels = Labels::from_pairs([("job", "j"), ("instance", "i")]);
    Pipeline::new(job(keys), labels, Metadata::default(), 1_000)
}

const AT: Timestamp = Timestamp::from_millis(1_000_000);

fn shown(rows: &[Row]) -> Vec<String> {
    let row = |row: &Row| {
        let value = if is_stale(row.value) { "stale".to_owned() } else { row.value.to_string() };
        let at = row.timestamp.map_or_else(String::new, |t| format!(" @{}", t.as_millis()));
        format!("{} {value}{at}", row.labels)
    };
    rows.iter().map(row).collect()
}

fn append(pipeline: &mut Pipeline, body: &str) -> Appended {
    pipeline.append(body.as_bytes(), BodyFormat::Text, AT)
}

fn check(keys: &str, body: &str, expected: &[&str]) {
    let mut pipeline = pipeline(keys);
    for _ in 0..2 {
        let appended = append(&mut pipeline, body);
        assert_eq!(
            (appended.error, shown(&appended.rows)),
            (None, expected.iter().map(|s| (*s).to_owned()).collect())
        );
    }
}

#[test]
fn target_labels_are_added_and_conflicts_resolved() {
    check("", "a{x=\"1\"} 2\n", &[r#"{__name__="a", instance="i", job="j", x="1"} 2"#]);
    check(
        "",
        "a{job=\"own\",exported_job=\"e\"} 2\nb{job=\"\"} 1\n",
        &[
            r#"{__name__="a", exported_exported_job="own", exported_job="e", instance="i", job="j"} 2"#,
            r#"{__name__="b", instance="i", job="j"} 1"#,
        ],
    );
    check(
        "  honor_labels: true\n",
        "a{job=\"own\"} 2\nb{job=\"\"} 1\n",
        &[r#"{__name__="a", instance="i", job="own"} 2"#, r#"{__name__="b", instance="i"} 1"#],
    );
}

#[test]
fn timestamps_are_kept_or_not_as_the_job_says() {
    let body = "a 1 999000\nb 2\nc 3 1700000\n";
    let mut with = pipeline("");
    let appended = append(&mut with, body);
    assert_eq!(
        shown(&appended.rows),
        [r#"{__name__="a", instance="i", job="j"} 1 @999000"#, r#"{__name__="b", instance="i", job="j"} 2"#]
    );
    assert_eq!(appended.out_of_bounds, 1);
    let appended = append(&mut pipeline("  honor_timestamps: false\n"), body);
    assert!(appended.rows.len() == 3 && appended.rows.iter().all(|row| row.timestamp.is_none()));
    let mut tracked = pipeline("  track_timestamps_staleness: true\n");
    append(&mut tracked, "a 1 999000\nb 2\n");
    for (body, expected) in [
        (
            "b 2\n",
            vec![
                r#"{__name__="b", instance="i", job="j"} 2"#,
                r#"{__name__="a", instance="i", job="j"} stale @1000000"#,
            ],
        ),
        ("b 2\n", vec![r#"{__name__="b", instance="i", job="j"} 2"#]),
    ] {
        assert_eq!(shown(&append(&mut tracked, body).rows), expected);
    }
}

#[test]
fn samples_are_relabelled_dropped_and_counted() {
    let keys = "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: 'go_.*', action: drop}\n  - {action: labeldrop, regex: x}\n  - {source_labels: [y], regex: (.+), target_label: z, replacement: 'is-$1'}\n";
    let body = "go_x 1\na{x=\"1\",y=\"2\"} 1\na{x=\"2\",y=\"2\"} 2\nb 1\n";
    let mut pipeline = pipeline(keys);
    for new_series in [2, 0] {
        let appended = append(&mut pipeline, body);
        assert_eq!(
            shown(&appended.rows),
            [
                r#"{__name__="a", instance="i", job="j", y="2", z="is-2"} 1"#,
                r#"{__name__="b", instance="i", job="j"} 1"#
            ]
        );
        assert_eq!(
            (appended.scraped, appended.kept, appended.new_series, appended.duplicates),
            (4, 3, new_series, 1)
        );
    }
    assert_eq!(pipeline.known_series(), 4);
    let appended = append(&mut pipeline, "b 1\nc 1\n");
    assert_eq!((appended.new_series, pipeline.known_series()), (1, 2));
}

#[test]
fn a_limit_refuses_the_whole_scrape() {
    for (keys, body, scraped, expected) in [
        ("  sample_limit: 2\n", "a 1\nb 1\nc 1\nd 1\n", 4, "sample limit exceeded"),
        (
            "  label_limit: 3\n",
            "a 1\nbcd{x=\"1\"} 1\n",
            2,
            "label_limit exceeded (metric: bcd, number of labels: 4, limit: 3)",
        ),
        (
            "  label_name_length_limit: 8\n",
            "a{x23456789=\"1\"} 1\n",
            1,
            "label_name_length_limit exceeded (metric: a, label name: x23456789, length: 9, limit: 8)",
        ),
        (
            "  label_value_length_limit: 2\n",
            "a{x=\"123\"} 1\n",
            1,
            "label_value_length_limit exceeded (metric: a, label name: x, value: \"123\", length: 3, limit: 2)",
        ),
        (
            "",
            "a 1\n<html>\n",
            1,
            "expected a valid start token, got \"<\" (\"INVALID\") while parsing: \"<\"",
        ),
        (
            "  metric_name_validation_scheme: legacy\n",
            "{\"a.b\"} 1\n",
            1,
            r#"invalid metric name or label names: {__name__="a.b", instance="i", job="j"}"#,
        ),
        (
            "  metric_relabel_configs: [{action: labeldrop, regex: __name__}]\n",
            "a 1\n",
            1,
            "missing metric name (__name__ label)",
        ),
    ] {
        let mut pipeline = pipeline(keys);
        let appended = append(&mut pipeline, body);
        assert_eq!(appended.error.map(|e| e.to_string()).as_deref(), Some(expected));
        assert_eq!((appended.rows.len(), appended.scraped), (0, scraped), "{keys}");
    }
    let enough = "a 1\nb 1\n";
    assert_eq!(append(&mut pipeline("  sample_limit: 2\n"), enough).rows.len(), 2);
}

#[test]
fn a_million_series_stop_at_our_own_limit() {
    let body: String = (0..5_000).map(|n| format!("m{{n=\"{n}\"}} 1\n")).collect();
    let mut pipeline = pipeline("");
    let appended = append(&mut pipeline, &body);
    assert_eq!(appended.error, Some(AppendError::SampleLimit));
    assert_eq!((appended.scraped, appended.kept), (5_000, 5_000));
    assert!(pipeline.known_series() <= 1_001, "{}", pipeline.known_series());
}

#[test]
fn reports_say_how_the_scrape_went() {
    let report = Report {
        up: true,
        duration: Duration::from_millis(1500),
        scraped: 4,
        kept: 3,
        new_series: 2,
        timeout: Duration::from_secs(10),
        body_bytes: None,
    };
    let mut rows = Vec::new();
    pipeline("").report(report, &mut rows);
    assert_eq!(rows.len(), 5);
    rows.clear();
    pipeline("  extra_scrape_metrics: true\n  sample_limit: 7\n").report(report, &mut rows);
    let shown: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row.labels.metric_name(), row.value)).collect();
    assert_eq!(
        shown,
        [
            "up 1",
            "scrape_duration_seconds 1.5",
            "scrape_samples_scraped 4",
            "scrape_samples_post_metric_relabeling 3",
            "scrape_series_added 2",
            "scrape_timeout_seconds 10",
            "scrape_sample_limit 7",
            "scrape_body_size_bytes -1",
        ]
    );
    assert_eq!(rows[0].labels, Labels::from_pairs([("__name__", "up"), ("job", "j"), ("instance", "i")]));
}

#[test]
fn a_failed_scrape_does_not_make_its_series_new_again() {
    let mut pipeline = pipeline("");
    assert_eq!(append(&mut pipeline, "a 1\n").new_series, 1);
    assert!(pipeline.append_nothing(AT).rows.is_empty());
    assert!(append(&mut pipeline, "a x\n").error.is_some());
    assert_eq!(append(&mut pipeline, "a 1\n").new_series, 0);
}

#[test]
fn open_metrics_and_metadata_are_read() {
    let mut pipeline = pipeline("");
    let body = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds Help.\na_seconds_total 1 1000.5\n# EOF\n";
    let appended = pipeline.append(body.as_bytes(), BodyFormat::OpenMetrics, AT);
    assert_eq!(shown(&appended.rows), [r#"{__name__="a_seconds_total", instance="i", job="j"} 1 @1000500"#]);
    let metadata = pipeline.metadata.of("a_seconds").unwrap();
    assert_eq!(
        (metadata.kind, metadata.help.as_str(), metadata.unit.as_str()),
        (Kind::Counter, "Help.", "seconds")
    );
    assert!(pipeline.append(b"a 1\n", BodyFormat::OpenMetrics, AT).error.is_some());
}

#[test]
fn protobuf_gives_the_same_series_as_text() {
    // One histogram `h{l="v"}` with a bucket of bound 1, sum 2.5 and count 3.
    let bucket = [&[0x08, 3, 0x11][..], &1.0_f64.to_le_bytes()].concat();
    let histogram =
        [&[0x08, 3, 0x11][..], &2.5_f64.to_le_bytes(), &[0x1a, bucket.len() as u8], &bucket].concat();
    let label = [&[0x0a, 1][..], b"l", &[0x12, 1], b"v"].concat();
    let metric =
        [&[0x0a, label.len() as u8][..], &label, &[0x3a, histogram.len() as u8], &histogram].concat();
    let family =
        [&[0x0a, 1][..], b"h", &[0x12, 2], b"H.", &[0x18, 4, 0x22, metric.len() as u8], &metric].concat();
    let body = [&[family.len() as u8][..], &family].concat();
    let mut pipeline = pipeline("");
    for new_series in [4, 0] {
        let appended = pipeline.append(&body, BodyFormat::Protobuf, AT);
        assert_eq!((appended.error, appended.new_series), (None, new_series));
        let mut rows = shown(&appended.rows);
        rows.sort();
        assert_eq!(
            rows,
            [
                r#"{__name__="h_bucket", instance="i", job="j", l="v", le="+Inf"} 3"#,
                r#"{__name__="h_bucket", instance="i", job="j", l="v", le="1.0"} 3"#,
                r#"{__name__="h_count", instance="i", job="j", l="v"} 3"#,
                r#"{__name__="h_sum", instance="i", job="j", l="v"} 2.5"#,
            ]
        );
    }
    let error = pipeline.append(&[5, 1, 2], BodyFormat::Protobuf, AT).error.unwrap();
    assert!(matches!(error, AppendError::Protobuf(_)), "{error}");
}
