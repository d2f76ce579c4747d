//! What a service level objective is, whatever format it was written in.
//!
//! Invariant: what stands here was checked: queries parse, the objective leaves a budget, names fit labels.
//!
//! Source: Sloth `prometheus/v1`, OpenSLO v1 and Pyrra `pyrra.dev/v1alpha1`, whose common ground this is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::exclude::Exclusion;
use super::period::Period;
use super::query::Query;
use super::windows::BurnWindow;

/// Labels or annotations by name.
pub type Texts = BTreeMap<String, String>;

/// One service level objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// Whose.
    pub service: String,
    /// Its name, unique in the service.
    pub name: String,
    /// What is promised.
    pub objective: Objective,
    /// In the author's words; may be empty.
    pub description: String,
    /// Labels of everything that is recorded for it.
    pub labels: Texts,
    /// How well it is kept.
    pub indicator: Indicator,
    /// What one unit of the budget is.
    pub budgeting: Budgeting,
    /// Over how long.
    pub period: Period,
    /// Who hears of it.
    pub alerting: Alerting,
    /// Fewest events of a long window for which its alerts fire; 0: any number.
    pub min_events: f64,
    /// What happens when its series vanish.
    pub absent: Absent,
    /// Labels of which each set of values has a budget of its own.
    pub group_by: Vec<String>,
    /// Times that do not count.
    pub exclude: Vec<Exclusion>,
    /// Alerts on what is left of the budget.
    pub policy: Vec<PolicyStep>,
    /// The format it was written in.
    pub format: Format,
    /// Line of the file on which it begins, from 1.
    pub line: usize,
}

impl Slo {
    /// `service-name`, as Sloth identifies it.
    pub fn id(&self) -> String {
        format!("{}-{}", self.service, self.name)
    }
}

/// Formats of SLO files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Sloth `prometheus/v1`.
    Sloth,
    /// `openslo/v1`.
    OpenSlo,
    /// `pyrra.dev/v1alpha1`.
    Pyrra,
}

impl Format {
    /// As the files name it; the value of `sloth_spec`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sloth => "prometheus/v1",
            Self::OpenSlo => "openslo/v1",
            Self::Pyrra => "pyrra.dev/v1alpha1",
        }
    }
}

/// Which part of the events is to be good. Kept as decimal digits, so that what is left over is exact: 99.9 % leaves
/// 0.001, not 0.0009999999999999432.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// The ratio times 10^`decimals`.
    digits: u64,
    decimals: u32,
}

/// Most digits behind the point of a percentage.
const MOST_DECIMALS: usize = 12;

impl Objective {
    /// Stands in for one that is wrong, until all mistakes of the file are found.
    pub(super) const HALF: Self = Self { digits: 5, decimals: 1 };

    /// Reads a percentage: `99.9`.
    ///
    /// # Errors
    /// It is no plain number, or not between 0 and 100.
    pub fn percent(text: &str) -> Result<Self, String> {
        Self::read(text, 2, "99.9", "100")
    }

    /// Reads a ratio: `0.999`.
    ///
    /// # Errors
    /// It is no plain number, or not between 0 and 1.
    pub fn ratio_text(text: &str) -> Result<Self, String> {
        Self::read(text, 0, "0.999", "1")
    }

    fn read(text: &str, shift: u32, example: &str, whole: &str) -> Result<Self, String> {
        let wrong = || format!("expected a number such as {example}, found {text:?}");
        let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > MOST_DECIMALS {
            return Err(format!("an objective has at most {MOST_DECIMALS} decimals"));
        }
        let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if integer.is_empty() || integer.len() > 3 || !is_number(integer) || !is_number(fraction) {
            return Err(wrong());
        }
        let digits: u64 = format!("{integer}{fraction}").parse().map_err(|_| wrong())?;
        let decimals = u32::try_from(fraction.len()).unwrap_or_default() + shift;
        let objective = Self { digits, decimals };
        if digits == 0 {
            return Err("an objective of 0 promises nothing; it must be above 0".to_owned());
        }
        if digits >= objective.one() {
            return Err(format!(
                "an objective of {whole} leaves no budget to burn; it must be below {whole}, as {example}"
            ));
        }
        Ok(objective)
    }

    const fn one(self) -> u64 {
        10_u64.pow(self.decimals)
    }

    /// The part of the events that is to be good, between 0 and 1.
    pub fn ratio(self) -> f64 {
        quotient(self.digits, self.one())
    }

    /// The part that may be bad, between 0 and 1.
    pub fn budget(self) -> f64 {
        quotient(self.one() - self.digits, self.one())
    }
}

/// The double next to the quotient: both numbers are below 2^53 in all but texts of thirteen digits and more.
#[expect(clippy::cast_precision_loss, reason = "an objective of 16 digits may be off in the last")]
fn quotient(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

/// As a percentage without a sign: `99.9`.
impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = u128::from(self.digits) * 100;
        let one = u128::from(self.one());
        let width = usize::try_from(self.decimals).unwrap_or_default();
        let fraction = format!("{:0width$}", percent % one);
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{}", percent / one)?;
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

/// How one sees how well an objective is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Indicator {
    /// Events, and those of them that are bad.
    Events {
        /// The bad ones.
        error: Query,
        /// All of them.
        total: Query,
    },
    /// The part of bad events, computed elsewhere.
    Ratio(Query),
    /// A value that is bad beyond a bound; each evaluation is an event.
    Threshold {
        /// The value at an instant.
        value: Query,
        /// The comparison that holds for a bad value: `>`.
        bad: &'static str,
        /// What it is compared with.
        bound: f64,
    },
    /// Other objectives of the same file.
    Composite {
        /// Which, by id, and how much each counts.
        members: Vec<(String, f64)>,
        /// How they become one.
        method: CompositeMethod,
    },
}

/// How the parts of a composite become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompositeMethod {
    /// It burns as fast as the part that burns fastest.
    Any,
    /// It burns as its parts do on weighted average.
    Weighted,
}

/// What one unit of the budget is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budgeting {
    /// One event.
    Occurrences,
    /// One slice of time; it is bad when fewer than `target` of its events are good.
    Timeslices {
        /// Its length.
        slice: Duration,
        /// Between 0 and 1.
        target: f64,
    },
    /// One slice of time, as bad as the part of its events.
    RatioTimeslices {
        /// Its length.
        slice: Duration,
    },
}

/// Who hears of a budget that burns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alerting {
    /// Name of the alerts; empty where there are none.
    pub name: String,
    /// Labels of all of them.
    pub labels: Texts,
    /// Annotations of all of them.
    pub annotations: Texts,
    /// Who is woken; `None`: nobody.
    pub page: Option<AlertTexts>,
    /// Who is told; `None`: nobody.
    pub ticket: Option<AlertTexts>,
    /// How fast is too fast.
    pub windows: Vec<BurnWindow>,
    /// Conditions instead of these windows.
    pub conditions: Vec<BurnCondition>,
}

/// What alerts of one severity have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertTexts {
    /// Their labels.
    pub labels: Texts,
    /// Their annotations.
    pub annotations: Texts,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody is woken.
    Page,
    /// Somebody is told.
    Ticket,
}

impl Severity {
    /// The value of `sloth_severity`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

impl Alerting {
    /// What alerts of a severity have, if there are any.
    pub const fn texts(&self, severity: Severity) -> Option<&AlertTexts> {
        match severity {
            Severity::Page => self.page.as_ref(),
            Severity::Ticket => self.ticket.as_ref(),
        }
    }
}

/// An alert on one window, as OpenSLO's policies have it.
#[derive(Clone, Debug, PartialEq)]
pub struct BurnCondition {
    /// Name of the condition.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// The same in the author's word: the label `severity`.
    pub severity_label: String,
    /// `>`, `>=`, `<`, `<=`
    pub op: &'static str,
    /// Burn rate: 1 spends the budget exactly within the period.
    pub threshold: f64,
    /// The window.
    pub lookback: Duration,
    /// How long it must hold.
    pub hold: Duration,
}

/// What happens when no series tells how well an objective is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Nothing: idle is no fault.
    Ignore,
    /// An alert of this severity.
    Alert(Severity),
}

/// An alert on what is left of the budget.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyStep {
    /// Fires below this part of the budget; 0 is an exhausted one.
    pub remaining_below: f64,
    /// How bad.
    pub severity: Severity,
    /// What is to be done, in the author's words.
    pub action: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_exact() {
        for (text, ratio, budget, shown) in [
            ("99.9", 0.999, 0.001, "99.9"),
            ("99.90", 0.999, 0.001, "99.9"),
            ("99", 0.99, 0.01, "99"),
            ("99.99", 0.9999, 0.0001, "99.99"),
            ("99.999", 0.99999, 0.00001, "99.999"),
            ("50", 0.5, 0.5, "50"),
            ("5", 0.05, 0.95, "5"),
            ("0.1", 0.001, 0.999, "0.1"),
        ] {
            let objective = Objective::percent(text).expect(text);
            assert_eq!((objective.ratio(), objective.budget()), (ratio, budget), "{text}");
            assert_eq!(objective.to_string(), shown);
        }
        let objective = Objective::ratio_text("0.995").expect("valid");
        assert_eq!((objective.budget(), objective.to_string().as_str()), (0.005, "99.5"));
    }

    #[test]
    fn what_promises_nothing_or_leaves_nothing_is_refused() {
        for (text, part) in [
            ("100", "leaves no budget"),
            ("100.0", "leaves no budget"),
            ("999", "leaves no budget"),
            ("0", "promises nothing"),
            ("0.000", "promises nothing"),
            ("-1", "expected a number"),
            ("1e1", "expected a number"),
            ("", "expected a number"),
            ("99,9", "expected a number"),
            ("99.9 ", "expected a number"),
            ("99.12345678901234", "at most 12 decimals"),
        ] {
            let error = Objective::percent(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Objective::ratio_text("99.9").expect_err("not a ratio").contains("below 1"));
    }
}
