//! What rules know of themselves, under Prometheus's names where they mean the same; read from the groups when asked.
//!
//! Where Prometheus has summaries with quantiles, these are histograms: `_sum` and `_count` are the same.
//!
//! Invariant: labels are groups and rules of the files; a group that is gone takes its series with it. Of at most
//! [`MOST_RULES`] rules of files there are metrics of their own; of how many there are not is one as well. Rules that ship
//! with the program have none, and their groups are counted as one: a scrape should not carry what nobody has written.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::group::Group;
use super::spec::RuleSpec;
use crate::model::Timestamp;

/// Rules with metrics of their own: each has four series, which a scrape carries.
const MOST_RULES: usize = 1_000;

/// Seconds; a simple rule takes some microseconds.
const BUCKETS: [f64; 6] = [0.000_1, 0.001, 0.01, 0.1, 1.0, 10.0];

/// What all groups that ship with the program are called here; no group of a file is, for those have a `;`.
const BUILTIN: &str = "builtin";

/// The metrics; clones share the values.
#[derive(Clone, Debug)]
pub struct RuleMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    groups: ArcSwap<Vec<Arc<Group>>>,
    evaluations: Family<GroupLabel, Counter>,
    evaluation_failures: Family<GroupLabel, Counter>,
    iterations: Family<GroupLabel, Counter>,
    iterations_missed: Family<GroupLabel, Counter>,
    evaluation_duration: Histogram,
    group_duration: Histogram,
    write_failures: Counter,
    samples_refused: Counter,
    expansions: Counter,
    expansion_failures: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabel {
    rule_group: String,
}

impl GroupLabel {
    fn of(group: &Group) -> Self {
        Self { rule_group: shown(group).to_owned() }
    }
}

/// What a group is called in the metrics.
fn shown(group: &Group) -> &str {
    if group.is_builtin() { BUILTIN } else { group.key() }
}

impl Default for RuleMetrics {
    fn default() -> Self {
        Self(Arc::new(Inner {
            groups: ArcSwap::default(),
            evaluations: Family::default(),
            evaluation_failures: Family::default(),
            iterations: Family::default(),
            iterations_missed: Family::default(),
            evaluation_duration: Histogram::new(BUCKETS),
            group_duration: Histogram::new(BUCKETS),
            write_failures: Counter::default(),
            samples_refused: Counter::default(),
            expansions: Counter::default(),
            expansion_failures: Counter::default(),
        }))
    }
}

impl RuleMetrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let inner = &*self.0;
        for (name, help, family) in [
            ("prometheus_rule_evaluations", "Evaluations of rules", &inner.evaluations),
            (
                "prometheus_rule_evaluation_failures",
                "Evaluations of rules that failed",
                &inner.evaluation_failures,
            ),
            (
                "prometheus_rule_group_iterations",
                "Evaluations of groups that were due, missed ones included",
                &inner.iterations,
            ),
            (
                "prometheus_rule_group_iterations_missed",
                "Evaluations of groups that were missed because the one before took too long",
                &inner.iterations_missed,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "prometheus_rule_evaluation_duration_seconds",
            "How long rules took to evaluate",
            inner.evaluation_duration.clone(),
        );
        registry.register(
            "prometheus_rule_group_duration_seconds",
            "How long groups took to evaluate",
            inner.group_duration.clone(),
        );
        registry.register(
            "outrigger_rule_write_failures",
            "Evaluations of groups whose results could not be kept",
            inner.write_failures.clone(),
        );
        registry.register(
            "outrigger_rule_samples_refused",
            "Results of rules that the store refused",
            inner.samples_refused.clone(),
        );
        registry.register(
            "prometheus_template_text_expansions",
            "Labels and annotations of alerts that were expanded",
            inner.expansions.clone(),
        );
        registry.register(
            "prometheus_template_text_expansion_failures",
            "Labels and annotations of alerts that could not be expanded",
            inner.expansion_failures.clone(),
        );
        registry.register_collector(Box::new(Figures(Arc::downgrade(&self.0))));
    }

    /// These groups are in force.
    pub(super) fn set_groups(&self, groups: Vec<Arc<Group>>) {
        let gone = self.0.groups.swap(Arc::new(groups));
        let now = self.0.groups.load();
        for group in gone.iter().filter(|old| !now.iter().any(|new| shown(new) == shown(old))) {
            let label = GroupLabel::of(group);
            let inner = &*self.0;
            for family in
                [&inner.evaluations, &inner.evaluation_failures, &inner.iterations, &inner.iterations_missed]
            {
                family.remove(&label);
            }
        }
        for group in now.iter() {
            let label = GroupLabel::of(group);
            let inner = &*self.0;
            for family in
                [&inner.evaluations, &inner.evaluation_failures, &inner.iterations, &inner.iterations_missed]
            {
                drop(family.get_or_create(&label));
            }
        }
    }

    pub(super) fn rule_evaluated(&self, took: Duration) {
        self.0.evaluation_duration.observe(took.as_secs_f64());
    }

    pub(super) fn group_evaluated(&self, group: &Group, took: Duration, rules: u64, failed: u64) {
        let label = GroupLabel::of(group);
        self.0.evaluations.get_or_create(&label).inc_by(rules);
        self.0.evaluation_failures.get_or_create(&label).inc_by(failed);
        self.0.group_duration.observe(took.as_secs_f64());
    }

    pub(super) fn due(&self, group: &Group, missed: u64) {
        let label = GroupLabel::of(group);
        self.0.iterations.get_or_create(&label).inc_by(missed + 1);
        self.0.iterations_missed.get_or_create(&label).inc_by(missed);
    }

    pub(super) fn template_expanded(&self, well: bool) {
        self.0.expansions.inc();
        self.0.expansion_failures.inc_by(u64::from(!well));
    }

    pub(super) fn write_failed(&self) {
        self.0.write_failures.inc();
    }

    pub(super) fn samples_refused(&self, samples: u64) {
        self.0.samples_refused.inc_by(samples);
    }
}

/// What is read from the groups.
#[derive(Debug)]
struct Figures(Weak<Inner>);

struct GroupFigure {
    name: &'static str,
    help: &'static str,
    get: fn(&Group) -> f64,
    /// What two groups that are shown as one come to.
    both: fn(f64, f64) -> f64,
}

impl GroupFigure {
    /// Of all groups that ship with the program; `None` if there are none.
    fn of_builtin(&self, groups: &[Arc<Group>]) -> Option<f64> {
        groups.iter().filter(|group| group.is_builtin()).map(|group| (self.get)(group)).reduce(self.both)
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const GROUP_FIGURES: &[GroupFigure] = &[
    GroupFigure {
        name: "prometheus_rule_group_interval_seconds",
        help: "How often the group is evaluated",
        get: |group| group.interval().as_secs_f64(),
        both: f64::min,
    },
    GroupFigure {
        name: "prometheus_rule_group_last_duration_seconds",
        help: "How long the group's last evaluation took",
        get: |group| group.evaluation_time().as_secs_f64(),
        both: f64::max,
    },
    GroupFigure {
        name: "prometheus_rule_group_last_evaluation_timestamp_seconds",
        help: "When the group was evaluated last, in seconds since the Unix epoch",
        get: |group| group.last_evaluation().map_or(0.0, Timestamp::as_seconds_f64),
        both: f64::min,
    },
    GroupFigure {
        name: "prometheus_rule_group_last_evaluation_samples",
        help: "Samples that the group's last evaluation gave",
        get: |group| group.last_samples() as f64,
        both: std::ops::Add::add,
    },
    GroupFigure {
        name: "prometheus_rule_group_last_restore_duration_seconds",
        help: "How long it took to take over the group's alerts when the program started",
        get: |group| group.restore_time().as_secs_f64(),
        both: std::ops::Add::add,
    },
    GroupFigure {
        name: "prometheus_rule_group_last_rule_duration_sum_seconds",
        help: "How long the group's rules took in its last evaluation, together",
        get: |group| group.rules_time().as_secs_f64(),
        both: std::ops::Add::add,
    },
    GroupFigure {
        name: "prometheus_rule_group_rules",
        help: "Rules of the group",
        get: |group| group.rules().len() as f64,
        both: std::ops::Add::add,
    },
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(inner) = self.0.upgrade() else { return Ok(()) };
        let groups = inner.groups.load_full();
        if groups.is_empty() {
            return Ok(());
        }
        for figure in GROUP_FIGURES {
            let gauge = ConstGauge::new(0.0_f64);
            let mut metric =
                encoder.encode_descriptor(figure.name, figure.help, None, gauge.metric_type())?;
            let of_files = groups.iter().filter(|group| !group.is_builtin());
            let of_files = of_files.map(|group| (group.key(), (figure.get)(group)));
            let builtin = figure.of_builtin(&groups).map(|value| (BUILTIN, value));
            for (group, value) in of_files.chain(builtin) {
                ConstGauge::new(value).encode(metric.encode_family(&[("rule_group", group)])?)?;
            }
        }
        let rules = groups.iter().flat_map(|group| group.rules());
        let acknowledged: usize = rules.map(super::rule::Rule::acknowledged).sum();
        let gauge = ConstGauge::new(i64::try_from(acknowledged).unwrap_or(i64::MAX));
        let (name, help) = ("outrigger_alerts_acknowledged", "Alerts that somebody looks after");
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        encode_rules(&groups, &mut encoder)
    }
}

/// `alertname` or `record`, as the rule has it.
fn labels<'a>(group: &'a Group, rule: &'a RuleSpec) -> [(&'static str, &'a str); 2] {
    let kind = if rule.alert().is_some() { "alertname" } else { "record" };
    [("rule_group", group.key()), (kind, &*rule.name)]
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn encode_rules(groups: &[Arc<Group>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    // Rules of one name in a group are one series: what they saw and took together.
    let mut rules: std::collections::BTreeMap<_, (u64, f64, usize)> = std::collections::BTreeMap::new();
    let mut left_out = 0_i64;
    // Of those that ship most find nothing, and nobody has written them.
    for group in groups.iter().filter(|group| !group.is_builtin()) {
        for rule in group.rules() {
            let labels = labels(group, rule.spec());
            if rules.len() >= MOST_RULES && !rules.contains_key(&labels) {
                left_out += 1;
                continue;
            }
            let Some((seen, seconds, turns)) = rule.figures() else { continue };
            let all = rules.entry(labels).or_default();
            *all = (all.0 + seen, all.1 + seconds, all.2 + turns);
        }
    }
    let gauge = ConstGauge::new(0.0_f64);
    for (name, help, get) in [
        (
            "outrigger_rule_series_matched",
            "Series that the rule's selectors found at its last evaluation; 0: it can give nothing",
            (|figures| figures.0 as f64) as fn(&(u64, f64, usize)) -> f64,
        ),
        (
            "outrigger_rule_turns_last_hour",
            "How often an alert of the rule began to fire or was resolved within the last hour",
            |figures| figures.2 as f64,
        ),
    ] {
        let mut metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
        for (labels, figures) in &rules {
            ConstGauge::new(get(figures)).encode(metric.encode_family(labels)?)?;
        }
    }
    let counter = ConstCounter::new(0.0_f64);
    let help = "Time that evaluating the rule took";
    let name = "outrigger_rule_evaluation_seconds";
    let mut metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
    for (labels, figures) in &rules {
        ConstCounter::new(figures.1).encode(metric.encode_family(labels)?)?;
    }
    let gauge = ConstGauge::new(left_out);
    let help = "Rules that have no metrics of their own because there are too many";
    gauge.encode(encoder.encode_descriptor(
        "outrigger_rule_metrics_left_out",
        help,
        None,
        gauge.metric_type(),
    )?)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::super::BuiltinRules;
    use super::super::testing::{SECOND, groups};
    use super::*;

    #[test]
    fn groups_that_ship_with_the_program_are_shown_as_one() {
        let (metrics, mut registry) = (RuleMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let shown = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let of_groups = text.lines().filter(|line| line.contains("rule_group=")).map(ToOwned::to_owned);
            of_groups.collect::<Vec<_>>()
        };
        let builtin = BuiltinRules::default().groups(&Default::default()).unwrap();
        let own = groups("groups:\n- name: a\n  rules:\n  - {record: x, expr: m}\n");
        let make = |spec| Arc::new(Group::new(spec, 60 * SECOND, Duration::ZERO));
        let (builtin, own): (Vec<_>, Vec<_>) =
            (builtin.into_iter().map(make).collect(), own.into_iter().map(make).collect());
        let rules: usize = builtin.iter().map(|group| group.rules().len()).sum();

        metrics.set_groups(builtin.iter().chain(&own).cloned().collect());
        for (group, failed) in builtin.iter().zip([1, 2]) {
            metrics.due(group, 0);
            metrics.group_evaluated(group, SECOND, 3, failed);
        }
        let lines = shown();
        // Each of Prometheus's figures of a group, of a file's and of those that ship.
        for figure in GROUP_FIGURES {
            let of_figure = lines.iter().filter(|line| line.starts_with(&format!("{}{{", figure.name)));
            assert_eq!(of_figure.count(), 2, "{}: {lines:#?}", figure.name);
        }
        for line in [
            "prometheus_rule_group_iterations_total{rule_group=\"builtin\"} 2".to_owned(),
            "prometheus_rule_evaluations_total{rule_group=\"builtin\"} 6".to_owned(),
            "prometheus_rule_evaluation_failures_total{rule_group=\"builtin\"} 3".to_owned(),
            "prometheus_rule_evaluation_failures_total{rule_group=\"r.yml;a\"} 0".to_owned(),
            format!("prometheus_rule_group_rules{{rule_group=\"builtin\"}} {rules}.0"),
            "prometheus_rule_group_rules{rule_group=\"r.yml;a\"} 1.0".to_owned(),
        ] {
            assert!(lines.contains(&line), "{line} is not in {lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.contains("builtin/")), "{lines:#?}");

        // One of them goes: what they came to together stays.
        metrics.set_groups(builtin.iter().skip(1).cloned().collect());
        let lines = shown();
        assert!(lines.contains(&"prometheus_rule_evaluations_total{rule_group=\"builtin\"} 6".to_owned()));
        assert!(!lines.iter().any(|line| line.contains("r.yml")), "{lines:#?}");
        metrics.set_groups(own);
        assert!(!shown().iter().any(|line| line.contains("builtin")), "{:#?}", shown());
    }
}
