//! Rules of an objective: what is recorded of it, and its alerts.
//!
//! Invariants: names, labels and meaning are Sloth's, so that its dashboards work; what goes beyond stands in rules of
//! its own, whose names begin with `outrigger:`, and in conditions added to Sloth's. The same objective gives the same
//! rules, in the same order.
//!
//! Source: the rules that Sloth writes for `prometheus/v1`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::alerts::alert_rules;
use super::query::Counts;
use super::spec::{Budgeting, CompositeMethod, Indicator, Slo, Texts};
use crate::model::{PromDuration, Quoted};

/// The window of which the average over the period is made.
pub(super) const BASE_WINDOW: Duration = Duration::from_secs(300);

/// What says which error ratio of a window is recorded.
const RATIO: &str = "slo:sli_error:ratio_rate";
/// Events of a window.
pub(super) const EVENTS: &str = "outrigger:slo_events:increase";
/// What one evaluation of a threshold, or one slice, adds to the bad part.
const SLICE: &str = "outrigger:slo_slice_error:ratio";

/// A group of rules, as a rule file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedGroup {
    /// Its name.
    pub name: String,
    /// How often it is evaluated; `None`: as all are.
    pub interval: Option<Duration>,
    /// How long before the instant its expressions are evaluated; `None`: as all are.
    pub query_offset: Option<Duration>,
    /// Most alerts or series of a rule; 0: any number.
    pub limit: usize,
    /// Its rules.
    pub rules: Vec<GeneratedRule>,
}

/// A rule, as a rule file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedRule {
    /// What becomes of the result.
    pub kind: GeneratedKind,
    /// Name of the series or the alert.
    pub name: String,
    /// The expression.
    pub expr: String,
    /// Labels.
    pub labels: Texts,
}

/// What becomes of a rule's result.
#[derive(Clone, Debug, PartialEq)]
pub enum GeneratedKind {
    /// Series.
    Record,
    /// Alerts.
    Alert {
        /// `for`
        hold: Duration,
        /// `keep_firing_for`
        keep_firing: Duration,
        /// Annotations.
        annotations: Texts,
    },
}

/// What does not depend on the objective.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Version of the generator, for the label `sloth_version`.
    pub version: String,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { version: concat!("outrigger-", env!("CARGO_PKG_VERSION")).to_owned() }
    }
}

/// The groups of an objective; those without rules are left out.
pub fn generate(slo: &Slo, options: &GenerateOptions) -> Vec<GeneratedGroup> {
    let generator = Generator { slo, id: slo.id() };
    let group = |kind: &str, interval, rules| GeneratedGroup {
        name: format!("sloth-slo-{kind}-{}", generator.id),
        interval,
        query_offset: None,
        limit: 0,
        rules,
    };
    let (slice_interval, slice_rules) = generator.slice_rules();
    let groups = [
        group("slices", slice_interval, slice_rules),
        group("sli-recordings", None, generator.sli_rules()),
        group("meta-recordings", None, generator.meta_rules(&options.version)),
        group("alerts", None, alert_rules(&generator)),
    ];
    groups.into_iter().filter(|group| !group.rules.is_empty()).collect()
}

pub(super) struct Generator<'a> {
    pub(super) slo: &'a Slo,
    pub(super) id: String,
}

impl Generator<'_> {
    /// `{sloth_id="...", sloth_service="...", sloth_slo="..."}`
    pub(super) fn selector(&self) -> String {
        let (id, service, name) = (Quoted(&self.id), Quoted(&self.slo.service), Quoted(&self.slo.name));
        format!("{{sloth_id={id}, sloth_service={service}, sloth_slo={name}}}")
    }

    /// `slo:sli_error:ratio_rate1h{...}`
    pub(super) fn ratio(&self, window: Duration) -> String {
        format!("{}{}", ratio_name(window), self.selector())
    }

    fn labels(&self) -> Texts {
        let mut labels = self.slo.labels.clone();
        let own =
            [("sloth_id", &self.id), ("sloth_service", &self.slo.service), ("sloth_slo", &self.slo.name)];
        labels.extend(own.map(|(name, value)| (name.to_owned(), value.clone())));
        labels
    }

    fn record(&self, name: impl Into<String>, expr: String, window: Option<Duration>) -> GeneratedRule {
        let mut labels = self.labels();
        if let Some(window) = window {
            labels.insert("sloth_window".to_owned(), PromDuration::new(window).to_string());
        }
        GeneratedRule { kind: GeneratedKind::Record, name: name.into(), expr, labels }
    }

    /// Windows over which the error ratio is recorded, the period aside.
    pub(super) fn windows(&self) -> BTreeSet<Duration> {
        let alerting = &self.slo.alerting;
        let pairs = alerting.windows.iter().flat_map(|pair| [pair.short, pair.long]);
        let conditions = alerting.conditions.iter().map(|condition| condition.lookback);
        let mut windows: BTreeSet<Duration> = pairs.chain(conditions).collect();
        windows.insert(BASE_WINDOW);
        windows.remove(&self.slo.period.length());
        windows
    }

    /// What is recorded once a slice, or of a threshold at each evaluation, and how often.
    fn slice_rules(&self) -> (Option<Duration>, Vec<GeneratedRule>) {
        let slo = self.slo;
        let expr = match (&slo.indicator, slo.budgeting) {
            (Indicator::Threshold { value, bad, bound }, Budgeting::Occurrences) => {
                return (
                    None,
                    vec![self.record(SLICE, format!("({}) {bad} bool {bound}", value.at(BASE_WINDOW)), None)],
                );
            }
            (_, Budgeting::Occurrences) => return (None, Vec::new()),
            (Indicator::Threshold { value, bad, bound }, Budgeting::Timeslices { slice, target }) => {
                let share = format!(
                    "avg_over_time((({}) {bad} bool {bound})[{}:1m])",
                    value.at(slice),
                    PromDuration::new(slice)
                );
                format!("{share} > bool {}", round_off(1.0 - target))
            }
            (Indicator::Threshold { value, bad, bound }, Budgeting::RatioTimeslices { slice }) => {
                format!(
                    "avg_over_time((({}) {bad} bool {bound})[{}:1m])",
                    value.at(slice),
                    PromDuration::new(slice)
                )
            }
            (_, Budgeting::Timeslices { slice, target }) => {
                format!("({}) > bool {}", self.error_ratio(slice), round_off(1.0 - target))
            }
            (_, Budgeting::RatioTimeslices { slice }) => self.error_ratio(slice),
        };
        let slice = match slo.budgeting {
            Budgeting::Timeslices { slice, .. } | Budgeting::RatioTimeslices { slice } => Some(slice),
            Budgeting::Occurrences => None,
        };
        (slice, vec![self.record(SLICE, expr, None)])
    }

    /// The error ratio of a window, as its rule computes it.
    fn window_ratio(&self, window: Duration) -> String {
        match (&self.slo.indicator, self.slo.budgeting) {
            (Indicator::Threshold { .. }, Budgeting::Occurrences) => {
                format!("avg_over_time({SLICE}{}[{}])", self.selector(), PromDuration::new(window))
            }
            (_, Budgeting::Timeslices { slice, .. } | Budgeting::RatioTimeslices { slice }) => {
                // A window shorter than a slice still sees one.
                let window = PromDuration::new(window.max(slice));
                format!("avg_over_time({SLICE}{}[{window}])", self.selector())
            }
            (_, Budgeting::Occurrences) => self.error_ratio(window),
        }
    }

    /// Bad over all events, from the queries themselves.
    pub(super) fn error_ratio(&self, window: Duration) -> String {
        match &self.slo.indicator {
            Indicator::Events { error, total } => {
                format!("({})\n/\n({})", error.at(window), total.at(window))
            }
            Indicator::Ratio(ratio) => format!("({})", ratio.at(window)),
            Indicator::Threshold { value, bad, bound } => {
                format!(
                    "avg_over_time((({}) {bad} bool {bound})[{}:1m])",
                    value.at(window),
                    PromDuration::new(window)
                )
            }
            Indicator::Composite { members, method } => self.composite_ratio(window, members, *method),
        }
    }

    fn composite_ratio(
        &self,
        window: Duration,
        members: &[(String, f64)],
        method: CompositeMethod,
    ) -> String {
        let name = ratio_name(window);
        // Each member burns its own budget; the composite's burns as fast.
        let burn = |matcher: &str| {
            format!(
                "{name}{{{matcher}}} / on (sloth_id, sloth_slo, sloth_service) group_left slo:error_budget:ratio{{{matcher}}}"
            )
        };
        let budget = self.slo.objective.budget();
        match method {
            CompositeMethod::Any => {
                let ids: Vec<String> = members.iter().map(|(id, _)| id.replace('.', "\\.")).collect();
                let matcher = format!("sloth_id=~{}", Quoted(&ids.join("|")));
                format!("max({})\n* {budget}", burn(&matcher))
            }
            CompositeMethod::Weighted => {
                let sum: f64 = members.iter().map(|(_, weight)| weight).sum();
                let part = |(id, weight): &(String, f64)| {
                    format!("max({}) * {weight}", burn(&format!("sloth_id={}", Quoted(id))))
                };
                let parts: Vec<String> = members.iter().map(part).collect();
                format!("(\n{}\n)\n/ {sum} * {budget}", parts.join("\n+\n"))
            }
        }
    }

    fn sli_rules(&self) -> Vec<GeneratedRule> {
        let mut rules = Vec::new();
        for window in self.windows() {
            rules.push(self.record(ratio_name(window), self.window_ratio(window), Some(window)));
        }
        let (period, base) = (self.slo.period.length(), self.ratio(BASE_WINDOW));
        let length = PromDuration::new(period);
        let expr = format!(
            "sum_over_time({base}[{length}])\n/ ignoring (sloth_window)\ncount_over_time({base}[{length}])"
        );
        rules.push(self.record(ratio_name(period), expr, Some(period)));
        if self.slo.min_events > 0.0 {
            let long: BTreeSet<Duration> = self.slo.alerting.windows.iter().map(|pair| pair.long).collect();
            rules.extend(long.into_iter().filter_map(|window| self.events_rule(window)));
        }
        rules
    }

    /// How many events a window has.
    fn events_rule(&self, window: Duration) -> Option<GeneratedRule> {
        let Indicator::Events { total, .. } = &self.slo.indicator else { return None };
        let expr = match total.counts()? {
            Counts::PerWindow => total.at(window),
            Counts::PerSecond => format!("({}) * {}", total.at(window), window.as_secs()),
        };
        Some(self.record(format!("{EVENTS}{}", PromDuration::new(window)), expr, Some(window)))
    }

    fn meta_rules(&self, version: &str) -> Vec<GeneratedRule> {
        let (slo, selector) = (self.slo, self.selector());
        let (objective, period) = (slo.objective.ratio(), slo.period.length());
        let burn = |window| {
            format!(
                "{}\n/ on(sloth_id, sloth_slo, sloth_service) group_left\nslo:error_budget:ratio{selector}",
                self.ratio(window)
            )
        };
        let mut info = self.record("sloth_slo_info", "vector(1)".to_owned(), None);
        let objective_percent = slo.objective.to_string();
        let facts = [
            ("sloth_mode", "cli-gen-prom"),
            ("sloth_objective", &objective_percent),
            ("sloth_spec", slo.format.as_str()),
            ("sloth_version", version),
        ];
        info.labels.extend(facts.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let days = period.as_secs_f64() / 86_400.0;
        vec![
            self.record("slo:objective:ratio", format!("vector({objective})"), None),
            self.record("slo:error_budget:ratio", format!("vector({})", slo.objective.budget()), None),
            self.record("slo:time_period:days", format!("vector({days})"), None),
            self.record("slo:current_burn_rate:ratio", burn(BASE_WINDOW), None),
            self.record("slo:period_burn_rate:ratio", burn(period), None),
            self.record(
                "slo:period_error_budget_remaining:ratio",
                format!("1 - slo:period_burn_rate:ratio{selector}"),
                None,
            ),
            info,
        ]
    }
}

/// `slo:sli_error:ratio_rate1h`
pub(super) fn ratio_name(window: Duration) -> String {
    format!("{RATIO}{}", PromDuration::new(window))
}

/// What a difference of decimal texts is, without the dust of the last binary digits.
pub(super) fn round_off(number: f64) -> f64 {
    (number * 1e12).round() / 1e12
}

/// All labels of several maps; later ones win.
pub(super) fn merged<'t>(maps: impl IntoIterator<Item = &'t Texts>) -> Texts {
    let mut all = BTreeMap::new();
    for map in maps {
        all.extend(map.iter().map(|(name, text)| (name.clone(), text.clone())));
    }
    all
}
