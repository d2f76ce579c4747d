//! Expositions in, entries or Prometheus's messages out.

use proptest::prelude::*;

use super::*;

/// Renders each entry on a line.
fn scan(input: &[u8], open_metrics: bool) -> Result<Vec<String>, String> {
    let mut scanner = Scanner::new(input, open_metrics);
    let (mut lines, mut labels) = (Vec::new(), Vec::new());
    while let Some(entry) = scanner.step().map_err(|e| e.to_string())? {
        lines.push(match entry {
            Entry::Help(name, text) => format!("HELP {name} {text}"),
            Entry::Type(name, kind) => format!("TYPE {name} {kind:?}"),
            Entry::Unit(name, unit) => format!("UNIT {name} {unit}"),
            Entry::Sample(value, at) => {
                scanner.labels(&mut labels).map_err(|e| e.to_string())?;
                let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
                let at = at.map_or_else(String::new, |t| format!(" @{}", t.as_millis()));
                format!("{} {value}{at}", pairs.join(","))
            }
        });
    }
    Ok(lines)
}

fn check(open_metrics: bool, input: &str, expected: &[&str]) {
    assert_eq!(scan(input.as_bytes(), open_metrics).unwrap(), expected, "{input}");
}

fn refused(open_metrics: bool, input: &[u8], expected: &str) {
    let error = scan(input, open_metrics).unwrap_err();
    assert_eq!(error, expected, "{:?}", String::from_utf8_lossy(input));
}

#[test]
fn text_is_read_as_leniently_as_prometheus_reads_it() {
    check(
        false,
        "\n# HELP a Some\\nhelp \\\\ \"x\".\n# TYPE a counter\n#comment\n# other comment\n  a{x=\"1\", y = \"q\\\"\\\\\\n\\t\",} 1 1000\na\t2\n",
        &[
            "HELP a Some\nhelp \\ \"x\".",
            "TYPE a Counter",
            "__name__=\"a\",x=\"1\",y=\"q\\\"\\\\\\n\\\\t\" 1 @1000",
            "__name__=\"a\" 2",
        ],
    );
    // No line feed at the end; metadata after samples, and twice.
    check(
        false,
        "a 1\n# TYPE a gauge\n# TYPE a counter\nb 2",
        &["__name__=\"a\" 1", "TYPE a Gauge", "TYPE a Counter", "__name__=\"b\" 2"],
    );
    check(false, "a 1 5", &["__name__=\"a\" 1 @5"]);
    check(
        false,
        "a{} NaN\nb{}+Inf\nc -0x\n".replace("c -0x\n", "").as_str(),
        &["__name__=\"a\" NaN", "__name__=\"b\" inf"],
    );
    check(false, "# HELP a\n# HELP b \n# nothing", &["HELP a ", "HELP b "]);
    check(false, "", &[]);
    check(
        false,
        "{\"m.x\",\"l y\"=\"v\"} 1\n{a=\"b\", 'x'}".split('\n').next().unwrap(),
        &["__name__=\"m.x\",l y=\"v\" 1"],
    );
    check(
        false,
        "# TYPE \"m.x\" gauge\n{a=\"line\nfeed\",\"m.x\"} 1\n",
        &["TYPE m.x Gauge", "__name__=\"m.x\",a=\"line\\nfeed\" 1"],
    );
}

#[test]
fn bounds_are_spelled_as_in_prometheus_3() {
    check(
        false,
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\",quantile=\"1\"} 1\nh_bucket{le=\"1e6\"} 1\nh_bucket{le=\"x\"} 1\n# TYPE s summary\ns{quantile=\"0.50\"} 1\n# TYPE g gauge\ng{le=\"1\"} 1\n",
        &[
            "TYPE h Histogram",
            "__name__=\"h_bucket\",le=\"1.0\" 1",
            "__name__=\"h_bucket\",le=\"+Inf\",quantile=\"1\" 1",
            "__name__=\"h_bucket\",le=\"1e+06\" 1",
            "__name__=\"h_bucket\",le=\"x\" 1",
            "TYPE s Summary",
            "__name__=\"s\",quantile=\"0.5\" 1",
            "TYPE g Gauge",
            "__name__=\"g\",le=\"1\" 1",
        ],
    );
}

#[test]
fn open_metrics_is_read_as_leniently_as_prometheus_reads_it() {
    check(
        true,
        "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds x\na_seconds_total{b=\"c\"} 1 1.5 # {t=\"x\"} 0.5 9\na_seconds_created 5\n# TYPE i info\ni{x=\"y\"} 1\na_seconds 2 # {} 1\n# EOF\n",
        &[
            "TYPE a_seconds Counter",
            "UNIT a_seconds seconds",
            "HELP a_seconds x",
            "__name__=\"a_seconds_total\",b=\"c\" 1 @1500",
            "__name__=\"a_seconds_created\" 5",
            "TYPE i Info",
            "__name__=\"i\",x=\"y\" 1",
            "__name__=\"a_seconds\" 2",
        ],
    );
    check(true, "# EOF", &[]);
}

#[test]
fn what_is_wrong_is_said_in_prometheus_words() {
    for (input, expected) in [
        (b"<html>".as_slice(), "expected a valid start token, got \"<\" (\"INVALID\") while parsing: \"<\""),
        (b"\0\0\0", "expected a valid start token, got \"\\x00\" (\"INVALID\") while parsing: \"\\x00\""),
        (b"a\n", "expected value after metric, got \"\\n\" (\"INVALID\") while parsing: \"a\\n\""),
        (
            b"a{b=\"c\"\n",
            "expected label name, got \"\\n\" (\"INVALID\") while parsing: \"a{b=\\\"c\\\"\\n\"",
        ),
        (b"a{b='c'} 1\n", "expected label value, got \"'\" (\"INVALID\") while parsing: \"a{b='\""),
        (b"a{b} 1\n", "expected equal, got \"} \" (\"BCLOSE\") while parsing: \"a{b} \""),
        (b"a x\n", "strconv.ParseFloat: parsing \"x\": invalid syntax while parsing: \"a x\""),
        (b"a 1\r\n", "strconv.ParseFloat: parsing \"1\\r\": invalid syntax while parsing: \"a 1\\r\""),
        (b"a 1 x\n", "expected timestamp or new record, got \"x\" (\"INVALID\") while parsing: \"a 1 x\""),
        (
            b"a 1 2 3\n",
            "expected next entry after timestamp, got \"3\\n\" (\"TIMESTAMP\") while parsing: \"a 1 2 3\\n\"",
        ),
        (b"a 1_0\n", "unsupported character in float while parsing: \"a 1_0\""),
        (b"# TYPE a count\n", "invalid metric type \"count\""),
        (
            b"# TYPE 9 count\n",
            "expected metric name after TYPE, got \"9\" (\"INVALID\") while parsing: \"# TYPE 9\"",
        ),
        (b"a{b=\"\xff\"} 1\n", "invalid UTF-8 label value: \"\u{fffd}\""),
        (b"a{b=\"1\",b=\"2\"} 1\n", "label name \"b\" is not unique: invalid sample"),
        (b"{\"a\",\"b\"} 1\n", "metric name already set while parsing: \"{\\\"a\\\",\\\"b\\\"}\""),
    ] {
        refused(false, input, expected);
    }
    for (input, expected) in [
        (b"a 1\n".as_slice(), "data does not end with # EOF"),
        (b"a 1\n# EOF\na 1\n", "unexpected data after # EOF"),
        (b"a  1\n# EOF\n", "expected value after metric, got \" \" (\"INVALID\") while parsing: \"a \""),
        (b"\n# EOF\n", "expected a valid start token, got \"\\n#\" (\"LINEBREAK\") while parsing: \"\\n#\""),
        (b"# UNIT a seconds\n# EOF\n", "unit \"seconds\" not a suffix of metric \"a\""),
        (b"a 1 nan\n# EOF\n", "invalid timestamp \"nan\" while parsing: \"a 1 nan\""),
    ] {
        refused(true, input, expected);
    }
}

#[test]
fn a_series_of_one_spelling_has_one_raw_form() {
    let mut scanner = Scanner::new(b"a{b=\"c\"} 1\na{b=\"c\"}\t2\n a 3\n", false);
    let mut raw = Vec::new();
    while let Some(Entry::Sample(..)) = scanner.step().unwrap() {
        raw.push(String::from_utf8_lossy(scanner.raw()).into_owned());
    }
    assert_eq!(raw, ["a{b=\"c\"}", "a{b=\"c\"}", "a"]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), open_metrics: bool) {
        let _ = scan(&bytes, open_metrics);
    }

    #[test]
    fn any_likely_text_is_read_or_refused(text in "[a{}=\"\\\\,# \n\t1EOFHELPTYPU.x-]{0,80}", open_metrics: bool) {
        let _ = scan(text.as_bytes(), open_metrics);
    }

    /// What our own writer writes is what is read.
    #[test]
    fn what_is_written_is_read(values in proptest::collection::vec(("[a-z]{1,8}", "\\PC{0,12}", any::<f64>()), 1..8), open_metrics: bool) {
        let mut batch = crate::model::Batch::new();
        for (name, value, number) in &values {
            batch.gauge(name, "help \\ \n \"x\"", &[("l", value)], *number);
        }
        let snapshot = crate::model::Snapshot::assemble(Timestamp::from_millis(0), vec![("t", batch)]);
        let format = if open_metrics { crate::expose::Format::OPEN_METRICS } else { crate::expose::Format::TEXT };
        let mut out = Vec::new();
        crate::expose::encode(&snapshot, format, &mut out);
        let samples = scan(&out, open_metrics).unwrap().into_iter().filter(|line| line.starts_with("__name__")).count();
        assert_eq!(samples, snapshot.series());
    }
}
