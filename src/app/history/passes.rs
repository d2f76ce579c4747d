//! The machine's own metrics into history: a pass every interval, its samples as rows.
//!
//! Rows carry `job` and `instance` as if a Prometheus had scraped this program, so that rules and dashboards made
//! for scraped metrics fit. A label of the sample's own of one of these names becomes `exported_...`, as in a scrape.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustc_hash::{FxBuildHasher, FxHashMap};
use tokio::time::MissedTickBehavior;

use super::writer::Writer;
use crate::app::clock;
use crate::collect::{Engine, Selection};
use crate::model::{Labels, METRIC_NAME, Row, SampleView, Snapshot};
use crate::scrape::push::PushGateway;
use crate::tasks;

/// Name of the source in the store.
const SOURCE: &str = "collect";

/// What every row carries, and how often there is one.
#[derive(Clone, Debug)]
pub(super) struct PassSettings {
    pub(super) interval: Duration,
    pub(super) job: String,
    pub(super) instance: String,
}

/// Gathers and hands over until aborted.
pub(super) async fn run(engine: Arc<ArcSwap<Engine>>, writer: Writer, settings: PassSettings) {
    let source: Arc<str> = SOURCE.into();
    let mut rows = RowMaker::new(&settings.job, &settings.instance);
    let mut ticks = tokio::time::interval(settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let begun = std::time::Instant::now();
        let engine = engine.load_full();
        let snapshot = engine.gather(clock::now(), &Selection::All, settings.interval).await;
        let at = snapshot.at();
        let made = rows.rows(&snapshot, begun.elapsed());
        drop(snapshot);
        writer.tick(&source, at, made);
    }
}

/// Pushed metrics into history, until aborted. They carry the labels that they were pushed under.
pub(super) async fn run_pushes(pushes: Arc<PushGateway>, writer: Writer, interval: Duration) {
    let source: Arc<str> = "push".into();
    let mut ticks = tokio::time::interval(if interval.is_zero() { PUSH_INTERVAL } else { interval });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut had_some = true;
    loop {
        ticks.tick().await;
        let now = clock::now();
        // It may write what has expired, or wait for a push that is being written.
        let gateway = Arc::clone(&pushes);
        let Ok(rows) = tasks::blocking(move || gateway.rows(now)).await else { continue };
        let has_some = !rows.is_empty();
        match has_some {
            true => writer.tick(&source, now, rows),
            // The last groups are gone.
            false if had_some => writer.end(&source, now),
            false => {}
        }
        had_some = has_some;
    }
}

/// How often pushed metrics are kept where the machine's own are not.
const PUSH_INTERVAL: Duration = Duration::from_secs(15);

/// What these say is about their label `target`, which stands as `instance` as if blackbox_exporter had been scraped.
const PROBE_FAMILIES: &str = "probe_";

/// Makes rows of snapshots; what a series is called is worked out once.
struct RowMaker {
    target: [(&'static str, String); 2],
    known: FxHashMap<u64, Labels>,
    reports: [Labels; 3],
}

/// Series remembered beyond twice those in use.
const IDLE_SERIES: usize = 1_024;

impl RowMaker {
    fn new(job: &str, instance: &str) -> Self {
        let report = |name| Labels::from_pairs([(METRIC_NAME, name), ("job", job), ("instance", instance)]);
        Self {
            target: [("instance", instance.to_owned()), ("job", job.to_owned())],
            known: FxHashMap::default(),
            reports: ["up", "scrape_duration_seconds", "scrape_samples_scraped"].map(report),
        }
    }

    fn rows(&mut self, snapshot: &Snapshot, took: Duration) -> Vec<Row> {
        let mut rows = Vec::with_capacity(snapshot.series() + self.reports.len());
        for family in snapshot.families() {
            let family_hash = FxBuildHasher.hash_one(family.name());
            for sample in family.samples() {
                let labels = self.labels(family_hash ^ sample.hash(), family.name(), &sample);
                rows.push(Row { labels, value: sample.value(), timestamp: sample.timestamp() });
            }
        }
        if self.known.len() > 2 * rows.len() + IDLE_SERIES {
            self.known.clear();
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let values = [1.0, took.as_secs_f64(), rows.len() as f64];
        let reports = self.reports.iter().zip(values);
        rows.extend(reports.map(|(labels, value)| Row { labels: labels.clone(), value, timestamp: None }));
        rows
    }

    fn labels(&mut self, key: u64, family: &str, sample: &SampleView<'_>) -> Labels {
        if let Some(labels) = self.known.get(&key)
            && self.is(labels, family, sample)
        {
            return labels.clone();
        }
        let made = self.make(family, sample);
        self.known.insert(key, made.clone());
        made
    }

    /// Whether these are the sample's labels: hashes may collide.
    fn is(&self, labels: &Labels, family: &str, sample: &SampleView<'_>) -> bool {
        let name = labels.metric_name();
        let suffix = sample.suffix().as_str();
        let own = sample.labels();
        name.strip_suffix(suffix) == Some(family)
            && own
                .iter()
                .all(|(label, value)| labels.value(exported(label).as_deref().unwrap_or(label)) == value)
            && labels.len()
                == own.iter().filter(|(_, value)| !value.is_empty()).count() + 1 + self.target.len()
    }

    fn make(&self, family: &str, sample: &SampleView<'_>) -> Labels {
        let own = sample.labels();
        let probed = own.iter().find(|(label, _)| *label == "target" && family.starts_with(PROBE_FAMILIES));
        let renamed: Vec<(String, &str)> = own
            .iter()
            .map(|(label, value)| (exported(label).unwrap_or_else(|| label.to_owned()), value))
            .collect();
        let name = format!("{family}{}", sample.suffix().as_str());
        let target = self.target.iter().map(|(label, value)| match (*label, probed) {
            ("instance", Some((_, target))) => (*label, target),
            _ => (*label, value.as_str()),
        });
        let own = renamed.iter().map(|(label, value)| (label.as_str(), *value));
        Labels::from_pairs(std::iter::once((METRIC_NAME, name.as_str())).chain(own).chain(target))
    }
}

/// The name of a label that the target's own hide.
fn exported(label: &str) -> Option<String> {
    matches!(label, "job" | "instance").then(|| format!("exported_{label}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::model::{Batch, Kind, Suffix, Timestamp};
    use crate::scrape::push::{Grouping, Persist, Push, PushFormat, PushMode, PushSettings};

    fn snapshot(value: f64, device: &str) -> Snapshot {
        let mut batch = Batch::new();
        batch.gauge("node_a", "A.", &[("device", device), ("job", "own"), ("none", "")], value);
        let histogram = batch.family("h", "H.", Kind::Histogram);
        batch.sample_full(histogram, Suffix::Sum, &[], 2.0, Some(Timestamp::from_millis(7)));
        Snapshot::assemble(Timestamp::from_millis(1), vec![("one", batch)])
    }

    /// A place that keeps nothing, and takes its time.
    #[derive(Debug)]
    struct SlowDisk {
        begun: mpsc::SyncSender<()>,
        go_on: Mutex<mpsc::Receiver<()>>,
    }

    impl Persist for SlowDisk {
        fn load(&self) -> std::io::Result<Vec<(String, Vec<u8>)>> {
            Ok(Vec::new())
        }

        fn put(&self, _: &str, _: &[u8]) -> std::io::Result<()> {
            self.begun.send(()).expect("waited for");
            // Whoever waits for this on the thread that is to say "go on" waits for as long as this.
            let told = self.go_on.lock().expect("one push").recv_timeout(Duration::from_secs(20));
            told.expect("told before that");
            Ok(())
        }

        fn remove(&self, _: &str) -> std::io::Result<()> {
            Ok(())
        }

        fn set_aside(&self, _: &str) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_push_that_is_being_written_holds_up_no_async_thread() {
        let (begun, has_begun) = mpsc::sync_channel(1);
        let (go_on, told) = mpsc::sync_channel(1);
        let disk = SlowDisk { begun, go_on: Mutex::new(told) };
        let gateway =
            Arc::new(PushGateway::open(PushSettings::default(), Some(Box::new(disk))).expect("opens"));
        let pushing = {
            let gateway = Arc::clone(&gateway);
            std::thread::spawn(move || {
                let grouping = Grouping::from_path("/metrics/job/j").expect("a path");
                let format = PushFormat::from_content_type("");
                let mode = PushMode::ReplaceGroup;
                let push = Push { grouping: &grouping, mode, body: b"a 1\n", format, ttl: None };
                gateway.push(&push, clock::now()).expect("taken");
            })
        };
        has_begun.recv().expect("it is being written");
        let (writer, mut queue) = Writer::new(Counter::default());
        let task = tokio::spawn(run_pushes(gateway, writer, Duration::from_secs(3_600)));
        // It runs up to where it waits; this thread goes on, and tells the disk so.
        tokio::task::yield_now().await;
        go_on.send(()).expect("the disk still waits");
        pushing.join().expect("pushed");
        assert!(queue.tick().await.iter().any(|row| row.labels.metric_name() == "a"));
        task.abort();
    }

    #[test]
    fn what_a_probe_says_is_about_its_target() {
        let mut batch = Batch::new();
        batch.gauge("probe_success", "A.", &[("target", "https://x")], 1.0);
        batch.gauge("probed", "B.", &[("target", "https://x")], 1.0);
        let snapshot = Snapshot::assemble(Timestamp::from_millis(1), vec![("probe", batch)]);
        let mut maker = RowMaker::new("node", "host");
        for _ in 0..2 {
            let rows = maker.rows(&snapshot, Duration::ZERO);
            let instances: Vec<&str> = rows.iter().take(2).map(|row| row.labels.value("instance")).collect();
            assert_eq!(instances, ["https://x", "host"]);
        }
    }

    #[test]
    fn rows_carry_the_target_and_are_made_once() {
        let mut maker = RowMaker::new("node", "host");
        let rows = maker.rows(&snapshot(1.0, "a"), Duration::from_millis(500));
        let shown: Vec<String> = rows.iter().map(|row| format!("{} {}", row.labels, row.value)).collect();
        assert_eq!(
            shown,
            [
                r#"{__name__="h_sum", instance="host", job="node"} 2"#,
                r#"{__name__="node_a", device="a", exported_job="own", instance="host", job="node"} 1"#,
                r#"{__name__="up", instance="host", job="node"} 1"#,
                r#"{__name__="scrape_duration_seconds", instance="host", job="node"} 0.5"#,
                r#"{__name__="scrape_samples_scraped", instance="host", job="node"} 2"#,
            ]
        );
        assert_eq!(rows[0].timestamp, Some(Timestamp::from_millis(7)));
        for (value, device) in [(2.0, "a"), (3.0, "b"), (4.0, "a")] {
            let rows = maker.rows(&snapshot(value, device), Duration::ZERO);
            assert_eq!((rows[1].labels.value("device"), rows[1].value), (device, value));
        }
    }
}
