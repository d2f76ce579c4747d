//! Types and help texts for the receivers of remote write: what targets say, and the machine's own metrics.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::app::clock;
use crate::collect::{Engine, Selection};
use crate::model::ColdSort;
use crate::remote_write::{Metadata, MetadataMap, MetadataSource};
use crate::scrape::TargetManager;
use crate::tasks;

/// How long the machine's own metrics may take to be gathered for their metadata.
const GATHER_BUDGET: Duration = Duration::from_secs(5);

/// Most metrics of which metadata is sent; beyond, which ones is not defined.
const MOST_METRICS: usize = 50_000;

/// Asks all who know.
pub(super) fn source(targets: Arc<TargetManager>, engine: Arc<ArcSwap<Engine>>) -> MetadataSource {
    Arc::new(move || {
        let (targets, engine) = (Arc::clone(&targets), engine.load_full());
        Box::pin(async move {
            let snapshot = engine.gather(clock::now(), &Selection::All, GATHER_BUDGET).await;
            let own: Vec<Metadata> = snapshot
                .families()
                .map(|family| Metadata {
                    name: family.name().to_owned(),
                    kind: family.kind(),
                    help: family.help().to_owned(),
                    unit: family.unit().to_owned(),
                })
                .collect();
            drop(snapshot);
            let all = tasks::blocking(move || merged(own, &targets)).await;
            all.unwrap_or_default()
        })
    })
}

/// Each metric once; what the first of its targets says counts.
fn merged(own: Vec<Metadata>, targets: &TargetManager) -> Vec<Metadata> {
    let mut all: MetadataMap = own.into_iter().map(|one| (one.name.clone(), one)).collect();
    for found in targets.metadata(|_| true, None) {
        if all.len() >= MOST_METRICS {
            break;
        }
        let (name, metadata) = (found.metric, found.metadata);
        all.entry(name).or_insert_with_key(|name| Metadata {
            name: name.clone(),
            kind: metadata.kind,
            help: metadata.help,
            unit: metadata.unit,
        });
    }
    let mut all: Vec<Metadata> = all.into_values().collect();
    all.cold_sort_by(|a, b| a.name.cmp(&b.name));
    all
}
