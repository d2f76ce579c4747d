//! Service level objectives: files of Sloth, OpenSLO and Pyrra in; rules, burn rates and budgets out.
//!
//! Invariants: no clock; no IO but the reading of files and, in [`Books`], the store's; what one file says gives the same
//! rules every time. All formats become one model ([`Slo`]), and everything behind it sees only that.
//!
//! Source: the three formats' documentation; Google's SRE workbook, "Alerting on SLOs".

mod alerts;
mod books;
mod budget;
mod exclude;
mod extras;
mod fields;
mod file;
mod generate;
mod ledger;
mod openslo;
mod period;
mod pyrra;
mod query;
mod rule_yaml;
mod settings;
mod simulate;
mod sloth;
mod slots;
mod spec;
#[cfg(test)]
mod tests;
mod warning;
mod windows;

pub use books::{Books, BudgetReport};
pub use budget::{BudgetStatus, budget_status, burn_rate, write_metrics};
pub use exclude::Exclusion;
pub use file::{FileOptions, SloFile, load_file, parse_file};
pub use generate::{GenerateOptions, GeneratedGroup, GeneratedKind, GeneratedRule, generate};
pub use ledger::{Answer, Ledger, LedgerError, Outcome};
pub use period::{Calendar, CalendarUnit, LONGEST_PERIOD, Period, SHORTEST_PERIOD, check_rolling};
pub use query::{Counts, Query};
pub use rule_yaml::{to_mimir, to_prometheus_rule, to_rule_file};
pub use settings::{LoadedSlos, SloIds, SloSettings, SloSource};
pub use simulate::{Outage, SimulatedAlert, SimulatedOutcome, Simulation, simulate};
pub use slots::{ChunkError, Events, SlotSum, Slots};
pub use spec::{
    Absent, AlertTexts, Alerting, Budgeting, BurnCondition, CompositeMethod, Format, Indicator, Objective,
    PolicyStep, Severity, Slo, Texts,
};
pub use warning::Warning;
pub use windows::{BurnWindow, catalogue};
