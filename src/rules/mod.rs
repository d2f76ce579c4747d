//! Recording and alerting rules: read from files, evaluated in groups, their state kept.
//!
//! Invariants: what a rule file means is what it means to Prometheus 3, where Prometheus has it; time is an argument;
//! one rule that fails costs only its own results.
//!
//! Source: Prometheus documentation, "Recording rules", "Alerting rules", "HTTP API"; what its server shows and writes.

mod acknowledge;
#[cfg(test)]
mod acknowledge_tests;
mod alert;
#[cfg(test)]
mod alert_tests;
pub mod backtest;
mod builtin;
mod context;
mod file;
#[cfg(test)]
mod file_tests;
mod group;
#[cfg(test)]
mod group_tests;
mod lint;
mod manager;
#[cfg(test)]
mod manager_tests;
mod metrics;
mod rule;
mod saved;
mod schedule;
mod settings;
mod short;
mod sink;
mod spec;
mod template;
pub mod test_file;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod time_travel_tests;
mod view;

pub use acknowledge::{Acknowledgement, AlertChoice};
pub use alert::{Alert, AlertError, AlertState, Alerts, Candidate, Step};
pub use builtin::BuiltinRules;
pub use context::{AlertTiming, MOST_ALERTS, Notify, RuleContext};
pub use file::{FileOptions, load_file, parse_file};
pub use group::Group;
pub use lint::{duplicate_rules, duplicates_message};
pub use manager::RuleManager;
pub use metrics::RuleMetrics;
pub use rule::{Evaluation, Health, Rule, RuleStatus};
pub use schedule::Slots;
pub use settings::{RuleFileErrors, RuleSettings};
pub use sink::{RuleMemory, RuleStorage, Written};
pub use spec::{AlertSpec, GroupSpec, RuleKind, RuleSpec};
pub use template::{Template, TemplateData, TemplateError, TemplateQuery};
