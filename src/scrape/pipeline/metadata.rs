//! What a target says about its metrics: type, help, unit.
//!
//! Invariant: of a metric that is gone the metadata is kept for ten scrapes, as in Prometheus, and then forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Kind;

/// How many scrapes metadata outlives its metric.
const KEPT_SCRAPES: u64 = 10;

/// What a target says about one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricMetadata {
    /// Its type.
    pub kind: Kind,
    /// Its help text, unescaped.
    pub help: String,
    /// Its unit; "" where there is none.
    pub unit: String,
}

#[derive(Debug)]
struct Kept {
    metadata: MetricMetadata,
    seen: u64,
}

#[derive(Debug, Default)]
struct Inner {
    metrics: BTreeMap<String, Kept>,
    scrape: u64,
    bytes: usize,
}

/// The metadata of one target; clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::scrape) struct Metadata(Arc<Mutex<Inner>>);

/// One line of metadata.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said<'a> {
    Help(&'a str),
    Type(Kind),
    Unit(&'a str),
}

impl Metadata {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, metric: &str, said: Said<'_>) {
        let mut inner = self.lock();
        let Inner { metrics, scrape, bytes } = &mut *inner;
        if !metrics.contains_key(metric) {
            let metadata = MetricMetadata { kind: Kind::Untyped, help: String::new(), unit: String::new() };
            *bytes += metric.len();
            metrics.insert(metric.to_owned(), Kept { metadata, seen: *scrape });
        }
        let Some(kept) = metrics.get_mut(metric) else { return };
        kept.seen = *scrape;
        let replace = |old: &mut String, new: &str| {
            if old != new {
                *bytes = (*bytes + new.len()).saturating_sub(old.len());
                new.clone_into(old);
            }
        };
        let mut replace = replace;
        match said {
            Said::Help(help) => replace(&mut kept.metadata.help, help),
            Said::Unit(unit) => replace(&mut kept.metadata.unit, unit),
            Said::Type(kind) => kept.metadata.kind = kind,
        }
    }

    pub(super) fn end_scrape(&self, succeeded: bool) {
        let mut inner = self.lock();
        let Inner { metrics, scrape, bytes } = &mut *inner;
        if !succeeded {
            return;
        }
        metrics.retain(|name, kept| {
            let stays = scrape.saturating_sub(kept.seen) <= KEPT_SCRAPES;
            if !stays {
                *bytes =
                    bytes.saturating_sub(name.len() + kept.metadata.help.len() + kept.metadata.unit.len());
            }
            stays
        });
        *scrape += 1;
    }

    /// Number of metrics and bytes of text.
    pub(in crate::scrape) fn size(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.metrics.len(), inner.bytes)
    }

    /// All of it, by metric.
    pub(in crate::scrape) fn all(&self) -> Vec<(String, MetricMetadata)> {
        self.lock().metrics.iter().map(|(name, kept)| (name.clone(), kept.metadata.clone())).collect()
    }

    /// What is said about one metric.
    pub(in crate::scrape) fn of(&self, metric: &str) -> Option<MetricMetadata> {
        self.lock().metrics.get(metric).map(|kept| kept.metadata.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_outlives_its_metric_by_ten_scrapes() {
        let metadata = Metadata::default();
        metadata.say("a", Said::Help("x"));
        metadata.say("a", Said::Type(Kind::Counter));
        metadata.say("a", Said::Unit("s"));
        metadata.say("a", Said::Help("xyz"));
        let expected = MetricMetadata { kind: Kind::Counter, help: "xyz".into(), unit: "s".into() };
        assert_eq!((metadata.of("a"), metadata.size()), (Some(expected), (1, 5)));
        for _ in 0..11 {
            metadata.end_scrape(true);
            metadata.end_scrape(false);
        }
        assert_eq!(metadata.all().len(), 1);
        metadata.end_scrape(true);
        assert_eq!((metadata.all().len(), metadata.size()), (0, (0, 0)));
    }
}
