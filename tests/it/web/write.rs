//! Remote write from others over HTTP: statuses, texts, headers, bounds, and what is in the store afterwards.

use std::time::Duration;

use outrigger::model::{Labels, Queryable as _, Segment, Select, Timestamp};
use outrigger::remote_write::{MetadataMap, Protocol, TimeSeries, compress, encode};
use outrigger::store::{Store, StoreConfig};
use outrigger::web::{WebState, WriteApi, WriteMetrics};

use super::{Running, config, start, state};

/// The clock of these tests, in seconds: the fixture's own.
fn now_ms() -> i64 {
    (state().now)().as_millis()
}

fn receiving(store: &Store) -> WebState {
    let write = WriteApi {
        store: store.clone(),
        retention: Duration::from_secs(3_600),
        max_body_bytes: 10_000,
        metrics: WriteMetrics::default(),
    };
    WebState { write: Some(write), ..state() }
}

fn memory() -> Store {
    Store::open(StoreConfig::default(), Timestamp::from_millis(now_ms())).unwrap()
}

fn body(protocol: Protocol, series: &[(&str, Vec<(i64, f64)>)]) -> Vec<u8> {
    let one = |(name, samples): &(&str, Vec<(i64, f64)>)| TimeSeries {
        labels: Labels::from_pairs([("__name__", *name), ("a", "b")]),
        samples: samples.clone(),
    };
    let series: Vec<TimeSeries> = series.iter().map(one).collect();
    compress(&encode(protocol, &series, &MetadataMap::default()))
}

/// Status, body, and the header that says how many samples were taken.
async fn post(server: &Running, headers: &str, body: &[u8]) -> (u16, String, Option<String>) {
    let mut request = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let reply = server.send(&request).await;
    let written = reply.header("x-prometheus-remote-write-samples-written").map(str::to_owned);
    (reply.status, reply.text(), written)
}

fn stored(store: &Store) -> Vec<String> {
    let (from, to) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    let found = store.select(&Select { matchers: &[], from, to }).unwrap();
    let shown = found.iter().map(|series| {
        let samples = series.segments.iter().flat_map(|segment| match segment {
            Segment::Samples(samples) => samples.iter().collect::<Vec<_>>(),
            Segment::Page(page) => page.read().unwrap().iter().collect(),
        });
        let samples: Vec<String> = samples.map(|(at, value)| format!("{}={value}", at - now_ms())).collect();
        format!("{} {}", series.labels.metric_name(), samples.join(" "))
    });
    shown.collect()
}

const V1: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";
const V2: &str = "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\nContent-Encoding: snappy\r\n";

#[tokio::test]
async fn samples_are_taken_and_refused_as_prometheus_does() {
    let store = memory();
    let server = start(config(), receiving(&store)).await;
    let at = now_ms();
    let first = [("x", vec![(at - 2_000, 1.0), (at - 1_000, 2.0)]), ("y", vec![(at - 2_000, f64::NAN)])];
    assert_eq!(post(&server, V1, &body(Protocol::V1, &first)).await, (204, String::new(), None));
    // The same again is no fault, but what is older than the newest is.
    let newest = [("x", vec![(at - 1_000, 2.0)])];
    assert_eq!(post(&server, V1, &body(Protocol::V1, &newest)).await.0, 204);
    let (status, text, _) = post(&server, V1, &body(Protocol::V1, &first)).await;
    assert_eq!((status, text.as_str()), (400, "out of order sample (1 of 3 samples)\n"));
    let other = [("x", vec![(at - 1_000, 3.0), (at, 4.0)])];
    let (status, text, written) = post(&server, V2, &body(Protocol::V2, &other)).await;
    assert_eq!(
        (status, text.as_str(), written.as_deref()),
        (400, "duplicate sample for timestamp (1 of 2 samples)\n", Some("1"))
    );
    let bounds = [("z", vec![(at - 3_600_001, 1.0), (at + 600_000, 2.0), (at + 600_001, 3.0)])];
    let (status, text, written) = post(&server, V2, &body(Protocol::V2, &bounds)).await;
    assert_eq!(
        (status, text.as_str(), written.as_deref()),
        (400, "out of bounds (2 of 3 samples)\n", Some("1"))
    );
    let nothing = body(Protocol::V2, &[]);
    assert_eq!(post(&server, V2, &nothing).await, (204, String::new(), Some("0".to_owned())));
    assert_eq!(stored(&store), ["x -2000=1 -1000=2 0=4", "y -2000=NaN", "z 600000=2"]);
}

#[tokio::test]
async fn what_is_no_remote_write_is_refused() {
    let store = memory();
    let server = start(config(), receiving(&store)).await;
    let good = body(Protocol::V1, &[("x", vec![(now_ms(), 1.0)])]);
    let bomb = compress(&vec![0; 10_001]);
    let endless = vec![b'x'; 10_001];
    for (headers, body, status, expected) in [
        ("Content-Type: text/plain\r\n", good.as_slice(), 415, "expected application/x-protobuf"),
        ("Content-Type: application/x-protobuf;proto=z\r\n", &good, 415, "unknown type for remote write"),
        ("Content-Encoding: gzip\r\n", &good, 415, "gzip encoding (compression) is not accepted"),
        (V1, b"no snappy", 400, "snappy"),
        (V1, &compress(b"\x0a\xff"), 400, "cut off"),
        (V1, &bomb, 413, "larger than 10000 bytes"),
        (V1, &endless, 413, "Payload Too Large"),
        (V1, b"", 400, "snappy"),
    ] {
        let (found, text, _) = post(&server, headers, body).await;
        assert!(found == status && text.contains(expected), "{headers}: {found} {text}");
    }
    assert_eq!(server.get("/api/v1/write").await.status, 405);
    assert_eq!(stored(&store), [""; 0]);
    // Senders of the first years named neither type nor coding.
    assert_eq!(post(&server, "", &good).await.0, 204);
}

#[tokio::test]
async fn pages_of_other_origins_write_nothing() {
    let store = memory();
    let server = start(config(), receiving(&store)).await;
    let good = body(Protocol::V1, &[("x", vec![(now_ms(), 1.0)])]);
    for from in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let (status, text, _) = post(&server, &format!("{V1}{from}"), &good).await;
        assert_eq!(
            (status, text.as_str()),
            (403, "pages of other origins may change nothing here\n"),
            "{from}"
        );
        // Bodies without a type are taken, too: a page can send those without being asked.
        assert_eq!(post(&server, from, &good).await.0, 403, "{from}");
    }
    assert_eq!(stored(&store), [""; 0]);
    assert_eq!(post(&server, &format!("{V1}Origin: http://x\r\n"), &good).await.0, 204);
}

#[tokio::test]
async fn without_the_flag_it_says_how_to_switch_it_on() {
    let server = start(config(), state()).await;
    let (status, text, _) = post(&server, V1, b"").await;
    let expected = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n";
    assert_eq!((status, text.as_str()), (404, expected));
}
