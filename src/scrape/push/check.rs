//! Whether a push fits what all groups hold: one type a name, no series twice, no name that another one's parts have.
//!
//! Invariant: what is held is consistent, so one exposition of it all can be written. Only the pushed families
//! are looked at.
//!
//! Source: what a Pushgateway 1.5 refuses, in its words. It names whichever of two metrics in conflict comes second
//! in a random order; here that is the pushed one.

use std::collections::HashSet;
use std::fmt::Write;

use super::family::{Family, Metric, Value};
use crate::expose::push_float;
use crate::model::{Kind, Quoted};

/// Conflicts listed in one message.
const MOST_LISTED: usize = 10;

/// What else is held, as far as the check asks.
pub(super) trait Held {
    /// The type of the families of this name, outside the families being replaced.
    fn kind(&self, name: &str) -> Option<Kind>;

    /// The metrics of the families of this name, outside those being replaced.
    fn metrics(&self, name: &str) -> impl Iterator<Item = &Metric>;
}

/// Everything that is wrong, in the Pushgateway's words; `None`: nothing.
pub(super) fn conflicts(pushed: &[Family], held: &impl Held) -> Option<String> {
    let mut found = Conflicts::default();
    for family in pushed {
        collisions(family, pushed, held, &mut found);
        if let Some(kind) = held.kind(&family.name).filter(|kind| *kind != family.kind) {
            for metric in &family.metrics {
                found.add(|| {
                    let shown = shown(&family.name, family.kind, metric);
                    format!("{shown} is not a {}", type_name(kind))
                });
            }
            continue;
        }
        let mut there: HashSet<_> = held.metrics(&family.name).map(|metric| &metric.labels).collect();
        for metric in &family.metrics {
            if !there.insert(&metric.labels) {
                found.add(|| {
                    let shown = shown(&family.name, family.kind, metric);
                    format!("{shown} was collected before with the same name and label values")
                });
            }
        }
    }
    found.message()
}

#[derive(Default)]
struct Conflicts {
    listed: Vec<String>,
    count: usize,
}

impl Conflicts {
    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.listed.len() < MOST_LISTED {
            self.listed.push(text());
        }
    }

    fn message(self) -> Option<String> {
        if self.count <= 1 {
            return self.listed.into_iter().next();
        }
        let mut message = format!("{} error(s) occurred:", self.count);
        for text in &self.listed {
            message.push_str("\n* ");
            message.push_str(text);
        }
        if self.count > self.listed.len() {
            message.push_str("\n* ...");
        }
        Some(message)
    }
}

/// Suffixes of the series that families of this type have beside their own name.
const fn suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Summary => &["_sum", "_count"],
        Kind::Histogram | Kind::GaugeHistogram => &["_bucket", "_sum", "_count"],
        _ => &[],
    }
}

fn collisions(family: &Family, pushed: &[Family], held: &impl Held, found: &mut Conflicts) {
    let among_pushed = |name: &str| pushed.iter().find(|other| other.name == name).map(|other| other.kind);
    let kind_of = |name: &str| among_pushed(name).or_else(|| held.kind(name));
    for suffix in ["_bucket", "_sum", "_count"] {
        let Some(stem) = family.name.strip_suffix(suffix) else { continue };
        if let Some(kind) = kind_of(stem).filter(|kind| suffixes(*kind).contains(&suffix)) {
            let (name, word) =
                (Quoted(&family.name), if kind == Kind::Summary { "summary" } else { "histogram" });
            found.add(|| {
                format!(
                    "collected metric named {name} collides with previously collected {word} named {}",
                    Quoted(stem)
                )
            });
        }
    }
    for suffix in suffixes(family.kind) {
        let taken = format!("{}{suffix}", family.name);
        // If both are pushed, the other one says so.
        if among_pushed(&taken).is_none() && held.kind(&taken).is_some() {
            let word = if *suffix == "_bucket" { "histogram" } else { "histogram or summary" };
            let (name, taken) = (Quoted(&family.name), Quoted(&taken));
            found.add(|| {
                format!(
                    "collected {word} named {name} collides with previously collected metric named {taken}"
                )
            });
        }
    }
}

/// The type's name in `metrics.proto`.
pub(super) const fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "COUNTER",
        Kind::Gauge | Kind::Info | Kind::StateSet => "GAUGE",
        Kind::Histogram => "HISTOGRAM",
        Kind::GaugeHistogram => "GAUGE_HISTOGRAM",
        Kind::Summary => "SUMMARY",
        Kind::Untyped => "UNTYPED",
    }
}

/// A metric as Go's client names it in errors: protobuf's text form on one line.
fn shown(name: &str, kind: Kind, metric: &Metric) -> String {
    let mut text = format!("collected metric {} {{ ", Quoted(name));
    for (name, value) in &metric.labels {
        // Writing to a String cannot fail.
        let _ = write!(text, "label:<name:{} value:{} > ", Quoted(name), Quoted(value));
    }
    let word = type_name(kind).to_ascii_lowercase();
    match &metric.value {
        Value::Plain(value) => {
            let _ = write!(text, "{word}:<value:{} > ", number(*value));
        }
        Value::Composed { bounds, sum, count } => {
            let _ = write!(text, "{}:<", if kind == Kind::Summary { "summary" } else { "histogram" });
            if let Some(count) = count {
                let _ = write!(text, "sample_count:{} ", number(*count));
            }
            if let Some(sum) = sum {
                let _ = write!(text, "sample_sum:{} ", number(*sum));
            }
            for (bound, value) in bounds {
                let _ = match kind {
                    Kind::Summary => {
                        write!(text, "quantile:<quantile:{} value:{} > ", number(*bound), number(*value))
                    }
                    _ => write!(
                        text,
                        "bucket:<cumulative_count:{} upper_bound:{} > ",
                        number(*value),
                        number(*bound)
                    ),
                };
            }
            text.push_str("> ");
        }
    }
    text.push('}');
    text
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let mut text = Vec::with_capacity(24);
    push_float(&mut text, value);
    String::from_utf8(text).unwrap_or_default().to_ascii_lowercase()
}
