//! What events add up to, as metrics: the measures that the rules on delivery read.

use std::collections::BTreeMap;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::event::Outcome;
use super::log::{EventLog, Pair, State};
use super::tally::{Distribution, LEAD_BUCKETS, RECOVERY_BUCKETS};
use crate::model::Timestamp;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Figures(pub(super) EventLog);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        // Held for as long as this takes, which no disk can lengthen.
        let (state, now) = (self.0.state(), (self.0.0.clock)());
        let events = ConstGauge::new(i64::try_from(state.events.len()).unwrap_or(i64::MAX));
        let (name, help) = ("outrigger_events", "Events that are kept");
        events.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        for (name, help, value) in [
            ("outrigger_events_evicted", "Events forgotten because there were too many", state.evicted),
            ("outrigger_events_posts_refused", "Posts of events refused", state.refused),
            ("outrigger_events_unreadable", "Events of before that could not be read", state.unreadable),
        ] {
            ConstCounter::new(value).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        if state.tallies.is_empty() {
            return Ok(());
        }
        deployments(&state, now, &mut encoder)?;
        histogram(
            &mut encoder,
            "outrigger_delivery_lead_time_seconds",
            "From the commit of a change to its deployment",
            &LEAD_BUCKETS,
            state.tallies.iter().map(|(pair, tally)| (pair, tally.lead_time(now))),
        )?;
        histogram(
            &mut encoder,
            "outrigger_delivery_recovery_time_seconds",
            "From the begin of an incident to its end",
            &RECOVERY_BUCKETS,
            state.tallies.iter().map(|(pair, tally)| (pair, tally.recovery_time(now))),
        )?;
        incidents(&state, &mut encoder)
    }
}

fn labels(pair: &Pair) -> Vec<(&'static str, &str)> {
    pair_labels(&pair.0, &pair.1)
}

/// Without an environment there is no such label.
fn pair_labels<'a>(service: &'a str, environment: &'a str) -> Vec<(&'static str, &'a str)> {
    let environment = Some(("environment", environment)).filter(|(_, text)| !text.is_empty());
    std::iter::once(("service", service)).chain(environment).collect()
}

fn deployments(state: &State, now: Timestamp, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
    let (name, help) = ("outrigger_delivery_deployments", "Deployments by outcome");
    let mut out = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (pair, tally) in state.tallies.iter().filter(|(_, tally)| tally.has_deployed()) {
        for outcome in [Outcome::Success, Outcome::Failure] {
            let mut labels = labels(pair);
            labels.push(("outcome", outcome.as_str()));
            ConstCounter::new(tally.deployments(outcome, now)).encode(out.encode_family(&labels)?)?;
        }
    }
    let name = "outrigger_delivery_last_deployment_timestamp_seconds";
    let mut out =
        encoder.encode_descriptor(name, "When the newest deployment was", None, MetricType::Gauge)?;
    for (pair, tally) in &state.tallies {
        let Some(last_ms) = tally.last_deployment_ms else { continue };
        let at = Timestamp::from_millis(last_ms).as_seconds_f64();
        ConstGauge::new(at).encode(out.encode_family(&labels(pair))?)?;
    }
    Ok(())
}

fn histogram<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    ends: &[f64],
    all: impl Iterator<Item = (&'a Pair, Distribution)>,
) -> std::fmt::Result {
    let mut out = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (pair, distribution) in all {
        let mut before = 0.0;
        // The encoder adds up by itself.
        let counts = ends.iter().copied().chain([f64::INFINITY]).zip(&distribution.cumulative);
        let buckets: Vec<(f64, u64)> = counts
            .map(|(end, count)| {
                let own = (count - before).max(0.0);
                before = *count;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                (end, own as u64)
            })
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let labels = labels(pair);
        let mut metric = out.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(distribution.sum, count, &buckets, None)?;
    }
    Ok(())
}

/// Of each service and environment the oldest incident that goes on.
fn incidents(state: &State, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
    let mut open: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for event in state.events.values().filter(|event| event.is_open()) {
        let oldest = open.entry((&event.service, &event.environment)).or_insert(event.at_ms);
        *oldest = event.at_ms.min(*oldest);
    }
    let name = "outrigger_delivery_incident_start_timestamp_seconds";
    let help = "When the oldest incident that goes on began";
    let mut out = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for ((service, environment), at_ms) in open {
        let at = Timestamp::from_millis(at_ms).as_seconds_f64();
        ConstGauge::new(at).encode(out.encode_family(&pair_labels(service, environment))?)?;
    }
    Ok(())
}
