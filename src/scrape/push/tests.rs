//! The rules of pushes, one after the other, and what becomes of what is kept.

use std::fs;

use super::*;
use crate::expose::{Escaping, Format, encode};
use crate::model::Snapshot;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn gateway(settings: PushSettings) -> PushGateway {
    PushGateway::open(settings, None).unwrap()
}

fn grouping(path: &str) -> Grouping {
    Grouping::from_path(&format!("/metrics/job/{path}")).unwrap()
}

fn text(body: &str) -> (PushFormat, &[u8]) {
    (PushFormat::Text(Syntax::Text004), body.as_bytes())
}

fn try_push(
    gateway: &PushGateway,
    mode: PushMode,
    path: &str,
    (format, body): (PushFormat, &[u8]),
    ttl: Option<u64>,
    now: Timestamp,
) -> Result<(), String> {
    let ttl = ttl.map(Duration::from_secs);
    let push = Push { grouping: &grouping(path), mode, body, format, ttl };
    gateway.push(&push, now).map_err(|error| error.to_string())
}

fn put(gateway: &PushGateway, path: &str, body: &str, now: i64) -> Result<(), String> {
    try_push(gateway, PushMode::ReplaceGroup, path, text(body), None, at(now))
}

fn post(gateway: &PushGateway, path: &str, body: &str, now: i64) -> Result<(), String> {
    try_push(gateway, PushMode::ReplaceFamilies, path, text(body), None, at(now))
}

/// The exposition without the families about the pushes.
fn shown(gateway: &PushGateway, now: i64) -> String {
    let text = shown_all(gateway, now);
    text.lines().filter(|line| !line.contains("push_")).map(|line| format!("{line}\n")).collect()
}

fn shown_all(gateway: &PushGateway, now: i64) -> String {
    let mut batch = Batch::new();
    gateway.expose(at(now), |_, _| true, &mut batch);
    assert_eq!(batch.conflicts(), 0);
    let snapshot = Snapshot::assemble(at(now), vec![("push", batch)]);
    assert_eq!(snapshot.duplicates(), 0);
    let mut out = Vec::new();
    let format = Format { syntax: Syntax::Text004, escaping: Escaping::AllowUtf8 };
    encode(&snapshot, format, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn put_replaces_the_group_and_post_the_families() {
    let g = gateway(PushSettings::default());
    put(&g, "j/l/x", "# TYPE a gauge\n# HELP a A.\na{job=\"other\",l=\"y\",m=\"z\"} 1\nb 2\n", 1).unwrap();
    put(&g, "j", "a 3\n", 1).unwrap_err();
    put(&g, "j/l/x", "b 4\n", 2).unwrap();
    post(&g, "j/l/x", "c{instance=\"i\"} 5\n", 3).unwrap();
    post(&g, "j/l/x", "b{m=\"1\"} 6\n", 4).unwrap();
    assert_eq!(
        shown_all(&g, 5),
        "# TYPE b untyped\nb{instance=\"\",job=\"j\",l=\"x\",m=\"1\"} 6\n\
         # TYPE c untyped\nc{instance=\"i\",job=\"j\",l=\"x\"} 5\n\
         # HELP push_failure_time_seconds Last Unix time when changing this group in the Pushgateway failed.\n\
         # TYPE push_failure_time_seconds gauge\n\
         push_failure_time_seconds{instance=\"\",job=\"j\"} 1\n\
         push_failure_time_seconds{instance=\"\",job=\"j\",l=\"x\"} 0\n\
         # HELP push_time_seconds Last Unix time when changing this group in the Pushgateway succeeded.\n\
         # TYPE push_time_seconds gauge\n\
         push_time_seconds{instance=\"\",job=\"j\"} 0\n\
         push_time_seconds{instance=\"\",job=\"j\",l=\"x\"} 4\n"
    );
    g.delete(&grouping("j/l/x"));
    g.delete(&grouping("nobody"));
    assert_eq!((shown(&g, 5).as_str(), g.is_empty()), ("", false));
    g.wipe();
    assert!(g.is_empty() && g.rows(at(5)).is_empty());
}

#[test]
fn rows_are_what_a_scraper_that_honours_labels_stores() {
    let g = gateway(PushSettings::default());
    let body =
        "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_count 3\n# TYPE s summary\ns{quantile=\"0.5\"} 4\n";
    put(&g, "j", body, 7).unwrap();
    let rows: Vec<String> = g.rows(at(9)).iter().map(|row| format!("{} {}", row.labels, row.value)).collect();
    assert_eq!(
        rows,
        [
            r#"{__name__="h_bucket", job="j", le="1.0"} 2"#,
            r#"{__name__="h_bucket", job="j", le="+Inf"} 3"#,
            r#"{__name__="h_sum", job="j"} 0"#,
            r#"{__name__="h_count", job="j"} 3"#,
            r#"{__name__="s", job="j", quantile="0.5"} 4"#,
            r#"{__name__="s_sum", job="j"} 0"#,
            r#"{__name__="s_count", job="j"} 0"#,
            r#"{__name__="push_time_seconds", job="j"} 7"#,
            r#"{__name__="push_failure_time_seconds", job="j"} 0"#,
        ]
    );
}

#[test]
fn what_does_not_fit_is_refused_in_the_words_of_a_pushgateway() {
    let g = gateway(PushSettings::default());
    put(
        &g,
        "j",
        "# TYPE h histogram\nh_sum 1\n# TYPE s summary\ns_sum 1\n# TYPE g gauge\ng{l=\"x\"} 1\nx_count 1\n",
        1,
    )
    .unwrap();
    let before = shown(&g, 2);
    for (path, body, expected) in [
        ("k", "c 1 5\n", "pushed metrics must not have timestamps"),
        (
            "k",
            "a 1\na 2\n",
            r#"collected metric "a" { label:<name:"instance" value:"" > label:<name:"job" value:"k" > untyped:<value:2 > } was collected before with the same name and label values"#,
        ),
        (
            "j/l/x",
            "# TYPE g gauge\ng 1e6\n",
            r#"collected metric "g" { label:<name:"instance" value:"" > label:<name:"job" value:"j" > label:<name:"l" value:"x" > gauge:<value:1e+06 > } was collected before with the same name and label values"#,
        ),
        (
            "k",
            "g +Inf\n",
            r#"collected metric "g" { label:<name:"instance" value:"" > label:<name:"job" value:"k" > untyped:<value:inf > } is not a GAUGE"#,
        ),
        (
            "k",
            "# TYPE g histogram\ng_bucket{le=\"+Inf\"} 2\ng_sum 3\n",
            r#"collected metric "g" { label:<name:"instance" value:"" > label:<name:"job" value:"k" > histogram:<sample_sum:3 bucket:<cumulative_count:2 upper_bound:inf > > } is not a GAUGE"#,
        ),
        (
            "k",
            "# TYPE g summary\ng{quantile=\"0.5\"} 3\ng_count 1\n",
            r#"collected metric "g" { label:<name:"instance" value:"" > label:<name:"job" value:"k" > summary:<sample_count:1 quantile:<quantile:0.5 value:3 > > } is not a GAUGE"#,
        ),
        (
            "k",
            "h_count 3\n",
            r#"collected metric named "h_count" collides with previously collected histogram named "h""#,
        ),
        (
            "k",
            "s_sum 3\n",
            r#"collected metric named "s_sum" collides with previously collected summary named "s""#,
        ),
        (
            "k",
            "# TYPE x histogram\nx_sum 3\n",
            r#"collected histogram or summary named "x" collides with previously collected metric named "x_count""#,
        ),
        (
            "k",
            "a_sum 1\na_sum 1\n# TYPE a summary\na{quantile=\"1\"} 1\n",
            "2 error(s) occurred:\n* collected metric named \"a_sum\" collides with previously collected summary named \"a\"\n* collected metric \"a_sum\" { label:<name:\"instance\" value:\"\" > label:<name:\"job\" value:\"k\" > untyped:<value:1 > } was collected before with the same name and label values",
        ),
    ] {
        let error = put(&g, path, body, 2).unwrap_err();
        let expected =
            format!("pushed metrics are invalid or inconsistent with existing metrics: {expected}");
        assert_eq!(error, expected, "{body}");
    }
    assert_eq!(shown(&g, 2), before, "nothing has changed");
    assert!(shown_all(&g, 2).contains("push_failure_time_seconds{instance=\"\",job=\"k\"} 2\n"));
    let many = (0..100).map(|_| "a 1\n").collect::<String>();
    let error = put(&g, "k", &many, 2).unwrap_err();
    assert!(
        error.contains("99 error(s) occurred:") && error.ends_with("\n* ...") && error.len() < 3_000,
        "{error}"
    );
    // These only look like conflicts.
    put(&g, "k", "s_bucket 1\ng_sum 2\n", 3).unwrap();
    put(&g, "j", "# TYPE h counter\nh 1\nh_count 2\n", 3).unwrap();
}

#[test]
fn bodies_that_cannot_be_read_leave_no_trace() {
    let g = gateway(PushSettings::default());
    assert_eq!(
        put(&g, "j", "a 1\nb x\n", 1).unwrap_err(),
        "text format parsing error in line 2: expected a number, got \"x\" (column 3)"
    );
    let protobuf = (PushFormat::Protobuf, &[2_u8, 10, 9] as &[u8]);
    let error = try_push(&g, PushMode::ReplaceGroup, "j", protobuf, None, at(1)).unwrap_err();
    assert_eq!(error, "protobuf format parsing error: byte 2: the message is cut off");
    assert!(g.is_empty());
}

#[test]
fn other_formats_are_read_by_their_content_type() {
    let g = gateway(PushSettings::default());
    let of = PushFormat::from_content_type;
    assert_eq!(of("text/html"), PushFormat::Text(Syntax::Text004));
    let open_metrics = of("application/openmetrics-text; version=1.0.0");
    let body = b"# TYPE a counter\na_total 1\na_created 5\n# TYPE b info\nb_info{v=\"1\"} 1\n# EOF\n";
    try_push(&g, PushMode::ReplaceGroup, "j", (open_metrics, body), None, at(1)).unwrap();
    let protobuf =
        of("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited");
    let mut writer = crate::wire::protobuf::Writer::new();
    writer.delimited(|w| {
        w.text(1, "c");
        w.unsigned(3, 1);
        w.message(4, |w| w.message(2, |w| w.double(1, 3.0)));
    });
    try_push(&g, PushMode::ReplaceFamilies, "j", (protobuf, writer.bytes()), None, at(1)).unwrap();
    assert_eq!(
        shown(&g, 1),
        "# TYPE a_total counter\na_total{instance=\"\",job=\"j\"} 1\n\
         # TYPE b_info gauge\nb_info{instance=\"\",job=\"j\",v=\"1\"} 1\n\
         # TYPE c gauge\nc{instance=\"\",job=\"j\"} 3\n"
    );
}

#[test]
fn bounds_hold() {
    let g = gateway(PushSettings { max_groups: 2, max_series: 5, ..PushSettings::default() });
    put(&g, "a", "x 1\ny 1\n", 1).unwrap();
    put(&g, "b", "x 1\ny 1\n", 1).unwrap();
    assert_eq!(put(&g, "c", "x 1\n", 1).unwrap_err(), "limit of groups reached (push.max_groups: 2)");
    assert_eq!(
        put(&g, "b", "x 1\ny 1\nz 1\nw 1\n", 2).unwrap_err(),
        "limit of pushed series reached (push.max_series: 5)"
    );
    put(&g, "b", "x 1\ny 1\nz 1\n", 3).unwrap();
    post(&g, "b", "z 2\n", 3).unwrap();
    assert!(post(&g, "b", "w 2\n", 3).is_err());
    let six = put(&g, "c", "a 1\nb 1\nc 1\nd 1\ne 1\nf 1\n", 1).unwrap_err();
    assert_eq!(six, "limit of pushed series reached (push.max_series: 5)");
    g.delete(&grouping("a"));
    put(&g, "c", "x 1\n", 4).unwrap();
}

#[test]
fn a_group_vanishes_when_no_push_comes_in_time() {
    let g = gateway(PushSettings { ttl: Duration::from_secs(100), ..PushSettings::default() });
    let push = |path, ttl, now| {
        try_push(&g, PushMode::ReplaceGroup, path, text("a 1\n"), ttl, at(now)).unwrap();
    };
    push("default", None, 0);
    push("short", Some(10), 0);
    push("ever", Some(0), 0);
    let held = |now| -> Vec<String> {
        let rows = g.rows(at(now));
        rows.iter()
            .filter(|row| row.labels.metric_name() == "a")
            .map(|row| row.labels.value("job").to_owned())
            .collect()
    };
    assert_eq!(held(9), ["default", "ever", "short"]);
    push("short", Some(10), 9);
    assert_eq!(held(18), ["default", "ever", "short"]);
    // A refused push does not prolong it.
    put(&g, "short", "a 1 5\n", 18).unwrap_err();
    assert!(!shown(&g, 19).contains("short"), "not shown even before a tick takes it away");
    assert_eq!(held(19), ["default", "ever"]);
    assert_eq!(held(100), ["ever"]);
}

#[test]
fn groups_are_shown_as_json() {
    let g = gateway(PushSettings::default());
    let body = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 4\nh_count 2\n# TYPE s summary\ns{quantile=\"0.5\"} 1\n";
    put(&g, "j/l/x", body, 1).unwrap();
    let labels = r#"{"instance":"","job":"j","l":"x"}"#;
    let pushed = r#""time_stamp":"1970-01-01T00:00:01Z""#;
    let expected = [
        r#"[{"h":{"help":"H.","metrics":[{"buckets":{"1":"2"},"count":"2","labels":LABELS,"sum":"4"}],PUSHED,"type":"HISTOGRAM"},"#,
        r#""labels":{"job":"j","l":"x"},"last_push_successful":true,"#,
        r#""push_failure_time_seconds":{"help":"Last Unix time when changing this group in the Pushgateway failed.","metrics":[{"labels":LABELS,"value":"0"}],"time_stamp":"1970-01-01T00:00:02Z","type":"GAUGE"},"#,
        r#""push_time_seconds":{"help":"Last Unix time when changing this group in the Pushgateway succeeded.","metrics":[{"labels":LABELS,"value":"1"}],PUSHED,"type":"GAUGE"},"#,
        r#""s":{"metrics":[{"count":"0","labels":LABELS,"quantiles":{"0.5":"1"},"sum":"0"}],PUSHED,"type":"SUMMARY"}}]"#,
    ]
    .concat()
    .replace("LABELS", labels)
    .replace("PUSHED", pushed);
    let shown: serde_json::Value = serde_json::from_str(&expected).unwrap();
    assert_eq!(g.groups(at(2)), shown);
}

#[test]
fn what_was_taken_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let folder = PushFolder::open(dir.path()).unwrap();
        PushGateway::open(PushSettings::default(), Some(Box::new(folder))).unwrap()
    };
    let g = open();
    let body = "# HELP h H.\n# TYPE h histogram\nh_bucket{a=\"é\\n\",le=\"0.1\"} 2\nh_bucket{a=\"é\\n\",le=\"+Inf\"} 2.5\nh_sum{a=\"é\\n\"} NaN\nh_count{a=\"é\\n\"} 2.5\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum -1e-300\ns_count 7\n# TYPE c counter\nc 1\nu 5\n";
    put(&g, "j/l@base64/=", body, 1).unwrap();
    put(&g, "gone", "a 1\n", 1).unwrap();
    put(&g, "failed", "a 1 1\n", 4).unwrap_err();
    try_push(&g, PushMode::ReplaceGroup, "short", text("a 1\n"), Some(10), at(5)).unwrap();
    g.delete(&grouping("gone"));
    let (before, json) = (shown_all(&g, 6), g.groups(at(6)));
    drop(g);
    let g = open();
    assert_eq!(shown_all(&g, 6), before);
    assert_eq!(g.groups(at(6)), json);
    assert!(!g.rows(at(15)).iter().any(|row| row.labels.value("job") == "short"));
    assert!(
        shown_all(&open(), 6) == shown_all(&g, 6) && g.state().groups.len() == 2,
        "forgotten on disk too"
    );
}

#[test]
fn a_broken_record_is_set_aside_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let folder = PushFolder::open(dir.path()).unwrap();
        PushGateway::open(PushSettings::default(), Some(Box::new(folder))).unwrap()
    };
    let g = open();
    put(&g, "a", "x 1\n", 1).unwrap();
    put(&g, "b", "x 1\n", 1).unwrap();
    let broken = dir.path().join(record::key_of(&grouping("a"))).with_extension("group");
    let whole = fs::read(&broken).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        assert_eq!(record::decode(&flipped).unwrap_err(), record::RecordError::Checksum, "byte {at}");
    }
    fs::write(&broken, &whole[..whole.len() - 1]).unwrap();
    fs::write(dir.path().join("half.new"), "half").unwrap();
    let g = open();
    assert_eq!(shown(&g, 2), "# TYPE x untyped\nx{instance=\"\",job=\"b\"} 1\n");
    assert_eq!(g.metrics.broken.get(), 1);
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort_by_key(|name| name.to_string_lossy().rsplit('.').next().map(str::to_owned));
    assert_eq!(names.len(), 2);
    assert!(
        names[0].to_string_lossy().ends_with(".broken") && names[1].to_string_lossy().ends_with(".group")
    );
}

/// A disk that is full while `full` is set.
#[derive(Clone, Debug, Default)]
struct Full {
    full: std::sync::Arc<std::sync::atomic::AtomicBool>,
    records: std::sync::Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Persist for Full {
    fn load(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        Ok(self.records.lock().unwrap().clone().into_iter().collect())
    }

    fn put(&self, key: &str, record: &[u8]) -> io::Result<()> {
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.records.lock().unwrap().insert(key.to_owned(), record.to_owned());
        Ok(())
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.records.lock().unwrap().remove(key);
        Ok(())
    }

    fn set_aside(&self, key: &str) -> io::Result<()> {
        self.remove(key)
    }
}

#[test]
fn a_full_disk_loses_nothing_once_there_is_room() {
    let disk = Full::default();
    let g = PushGateway::open(PushSettings::default(), Some(Box::new(disk.clone()))).unwrap();
    disk.full.store(true, std::sync::atomic::Ordering::SeqCst);
    put(&g, "a", "x 1\n", 1).unwrap();
    put(&g, "b", "x 1\n", 1).unwrap();
    assert_eq!((g.metrics.write_failures.get(), disk.records.lock().unwrap().len()), (2, 0));
    disk.full.store(false, std::sync::atomic::Ordering::SeqCst);
    g.rows(at(2));
    let again = PushGateway::open(PushSettings::default(), Some(Box::new(disk))).unwrap();
    assert_eq!(shown_all(&again, 3), shown_all(&g, 3));
}
