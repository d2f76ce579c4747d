//! Budgets as metrics, in the program's own registry.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Shared;
use super::book::Counts;
use crate::model::Batch;

/// Where a count is found.
type Get = fn(&Counts) -> u64;

/// What is counted of an objective: name, help, where it is found.
const COUNTED: [(&str, &str, Get); 3] = [
    (
        "outrigger_slo_groups_dropped",
        "Slots of sets of labels that were not recorded because an SLO has too many sets.",
        Counts::groups_dropped,
    ),
    (
        "outrigger_slo_query_failures",
        "Queries for slots that failed and are asked again.",
        Counts::query_failures,
    ),
    (
        "outrigger_slo_save_failures",
        "Slots that could not be kept at once and are tried again.",
        Counts::save_failures,
    ),
];

/// Shows the budgets of the books.
#[derive(Debug)]
pub(super) struct Figures(pub(super) Arc<Shared>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let books = self.0.books.load_full();
        let mut batch = Batch::new();
        books.iter().for_each(|book| book.write_metrics(&mut batch));
        for family in batch.families() {
            let mut out = encoder.encode_descriptor(family.name(), family.help(), None, MetricType::Gauge)?;
            for sample in family.samples() {
                let labels: Vec<(&str, &str)> = sample.labels().iter().collect();
                ConstGauge::new(sample.value()).encode(out.encode_family(&labels)?)?;
            }
        }
        if books.is_empty() {
            return Ok(());
        }
        for (name, help, get) in COUNTED {
            let mut out = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for book in books.iter() {
                let id = book.source().slo.id();
                ConstCounter::new(get(book.counts()))
                    .encode(out.encode_family(&[("sloth_id", id.as_str())])?)?;
            }
        }
        Ok(())
    }
}
