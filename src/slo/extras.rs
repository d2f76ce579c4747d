//! `outrigger:` of an objective: what the formats have no word for.
//!
//! Source: our own; the names of `alert_windows` are those of Sloth's `AlertWindows`.

use std::time::Duration;

use super::exclude::{Exclusion, WEEKDAYS, minute_of_day};
use super::fields::part;
use super::period::{Calendar, CalendarUnit, Period, check_rolling, time_zone};
use super::spec::{Absent, CompositeMethod, PolicyStep, Severity};
use super::windows::BurnWindow;
use crate::config::{Section, Value};
use crate::model::{NameScheme, PromDuration, Timestamp};

/// Most entries of a list here. Each becomes a part of an expression, and a list of a thousand is a mistake.
const MOST_ENTRIES: usize = 100;

/// What the key holds; where it is silent, the format's own words count.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) window: Option<Period>,
    pub(super) min_events: f64,
    pub(super) absent: Option<Absent>,
    pub(super) group_by: Vec<String>,
    pub(super) composite: Option<Composite>,
    pub(super) exclude: Vec<Exclusion>,
    pub(super) policy: Vec<PolicyStep>,
    pub(super) alert_windows: Option<Vec<BurnWindow>>,
}

/// `composite`
#[derive(Debug)]
pub(super) struct Composite {
    /// Names as they were written, with their weights.
    pub(super) members: Vec<(String, f64)>,
    pub(super) method: CompositeMethod,
}

/// Names of severities.
pub(super) const SEVERITIES: [(&str, Severity); 2] = [("page", Severity::Page), ("ticket", Severity::Ticket)];

/// Reads `outrigger:` of an objective.
pub(super) fn take_extras(section: &mut Section<'_>) -> Extras {
    let Some(mut inner) = section.take_section("outrigger") else { return Extras::default() };
    let choices = [
        ("page", Absent::Alert(Severity::Page)),
        ("ticket", Absent::Alert(Severity::Ticket)),
        ("ignore", Absent::Ignore),
    ];
    let min_events = inner.take("min_events").and_then(|value| {
        value.parse_with("a number of events", |text| {
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            number.ok_or_else(|| format!("expected a number of events, found {text:?}"))
        })
    });
    Extras {
        window: inner.take("window").and_then(|value| read_window(&value)),
        min_events: min_events.unwrap_or_default(),
        absent: inner.take_choice("absent", &choices),
        group_by: take_group_by(&mut inner),
        composite: inner.take_section("composite").and_then(|mut composite| read_composite(&mut composite)),
        exclude: take_each(&mut inner, "exclude", read_exclusion),
        policy: take_each(&mut inner, "policy", read_policy_step),
        alert_windows: inner.take_section("alert_windows").map(|mut windows| read_windows(&mut windows)),
    }
}

fn take_each<T>(
    section: &mut Section<'_>,
    key: &str,
    read: impl Fn(&mut Section<'_>) -> Option<T>,
) -> Vec<T> {
    let items = section.take_list(key).unwrap_or_default();
    if items.len() > MOST_ENTRIES {
        section.error(key, format!("more than {MOST_ENTRIES} entries"));
        return Vec::new();
    }
    items.iter().filter_map(|item| read(&mut item.section()?)).collect()
}

/// `30d`, `month`, `{calendar: month, time_zone: Europe/Berlin}`.
fn read_window(value: &Value<'_>) -> Option<Period> {
    const EXPECTED: &str = "a duration such as 30d, or one of month, quarter, week";
    if value.is_scalar() {
        return value.parse_with(EXPECTED, |text| {
            match CalendarUnit::NAMES.iter().find(|(name, _)| *name == text) {
                Some((_, unit)) => Calendar::new(*unit, "UTC").map(Period::Calendar),
                None => rolling(text).map_err(|message| format!("expected {EXPECTED}: {message}")),
            }
        });
    }
    let mut section = value.section()?;
    section.require("calendar");
    let unit = section.take_choice("calendar", &CalendarUnit::NAMES);
    let zone = section.take_str("time_zone").unwrap_or_else(|| "UTC".to_owned());
    let calendar = Calendar::new(unit?, &zone).map_err(|message| section.error("time_zone", message));
    calendar.ok().map(Period::Calendar)
}

/// A rolling period.
pub(super) fn rolling(text: &str) -> Result<Period, String> {
    let length = text.parse::<PromDuration>().map_err(|error| error.to_string())?.get();
    check_rolling(length).map(|()| Period::Rolling(length))
}

fn take_group_by(section: &mut Section<'_>) -> Vec<String> {
    let mut labels = Vec::new();
    for item in section.take_list("group_by").unwrap_or_default() {
        let label = item.parse_with("a label name", |text| {
            let allowed = NameScheme::Legacy.allows_label(text) && !text.starts_with("sloth_");
            if allowed { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a valid label name")) }
        });
        labels.extend(label.filter(|label| !labels.contains(label)));
    }
    labels
}

fn read_composite(section: &mut Section<'_>) -> Option<Composite> {
    let methods = [("any", CompositeMethod::Any), ("weighted", CompositeMethod::Weighted)];
    let method = section.take_choice("method", &methods).unwrap_or(CompositeMethod::Any);
    section.require("slos");
    let items = section.take_list("slos")?;
    if items.is_empty() || items.len() > MOST_ENTRIES {
        section.error("slos", format!("a composite is made of 1 to {MOST_ENTRIES} SLOs"));
    }
    let member = |item: &Value<'_>| {
        if item.is_scalar() {
            return Some((item.str()?, 1.0));
        }
        let mut inner = item.section()?;
        inner.require("slo");
        let weight = inner.take("weight").and_then(|value| {
            value.parse_with("a weight above 0", |text| {
                let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
                number.ok_or_else(|| format!("expected a weight above 0, found {text:?}"))
            })
        });
        Some((inner.take_str("slo")?, weight.unwrap_or(1.0)))
    };
    Some(Composite { members: items.iter().filter_map(member).collect(), method })
}

fn read_exclusion(section: &mut Section<'_>) -> Option<Exclusion> {
    section.take_str("reason");
    section.require("from");
    section.require("to");
    let (from, to) = (section.take("from"), section.take("to"));
    let is_weekly = section.has("days");
    let days: Vec<_> = section
        .take_list("days")
        .unwrap_or_default()
        .iter()
        .filter_map(|item| item.choice(&WEEKDAYS))
        .collect();
    let zone = section.take_str("time_zone");
    let exclusion = if is_weekly {
        let zone =
            time_zone(zone.as_deref().unwrap_or("UTC")).map_err(|m| section.error("time_zone", m)).ok();
        let minute = |value: Value<'_>| value.parse_with("a time of day such as 02:30", minute_of_day);
        let (from_minute, to_minute) = (from.and_then(minute)?, to.and_then(minute)?);
        if from_minute >= to_minute {
            section.error("to", "must be later than from, on the same day; write two entries for a night");
        }
        Exclusion::Weekly { days, from_minute, to_minute, zone: zone? }
    } else {
        if zone.is_some() {
            section.error(
                "time_zone",
                "is for weekly entries; instants have their offset: 2026-01-01T02:00:00+01:00",
            );
        }
        let (from, to) = (from.and_then(instant)?, to.and_then(instant)?);
        if from >= to {
            section.error("to", "must be later than from");
        }
        Exclusion::Once { from, to }
    };
    Some(exclusion)
}

fn instant(value: Value<'_>) -> Option<Timestamp> {
    value.parse_with("an instant such as 2026-01-01T02:00:00Z", |text| {
        let instant = text.parse::<jiff::Timestamp>().map_err(|_| {
            format!("expected an instant such as 2026-01-01T02:00:00Z (with days: a time such as 02:30), found {text:?}")
        });
        instant.map(|instant| Timestamp::from_millis(instant.as_millisecond()))
    })
}

fn read_policy_step(section: &mut Section<'_>) -> Option<PolicyStep> {
    section.require("remaining_below");
    section.require("action");
    let remaining_below = section.take("remaining_below").and_then(|value| part(&value));
    let severity = section.take_choice("severity", &SEVERITIES).unwrap_or(Severity::Ticket);
    let action = section.take_str("action");
    Some(PolicyStep { remaining_below: remaining_below?, severity, action: action? })
}

fn read_windows(section: &mut Section<'_>) -> Vec<BurnWindow> {
    let mut windows = Vec::new();
    for (name, severity) in SEVERITIES {
        section.require(name);
        let Some(mut inner) = section.take_section(name) else { continue };
        for speed in ["quick", "slow"] {
            inner.require(speed);
            windows.extend(inner.take_section(speed).and_then(|mut pair| read_pair(&mut pair, severity)));
        }
    }
    windows
}

fn read_pair(section: &mut Section<'_>, severity: Severity) -> Option<BurnWindow> {
    for key in ["errorBudgetPercent", "shortWindow", "longWindow"] {
        section.require(key);
    }
    let percent = section.take("errorBudgetPercent").and_then(|value| {
        value.parse_with("a percentage of the budget", |text| {
            let number = text.parse::<f64>().ok().filter(|n| *n > 0.0 && *n <= 100.0);
            number.ok_or_else(|| format!("expected a percentage above 0 and at most 100, found {text:?}"))
        })
    });
    let (short, long) = (section.take_duration("shortWindow"), section.take_duration("longWindow"));
    let (short, long) = (short?, long?);
    if short < Duration::from_secs(60) {
        section.error("shortWindow", "must be at least 1m");
    }
    if short >= long {
        section.error("longWindow", "must be longer than shortWindow");
    }
    Some(BurnWindow { severity, budget_percent: percent?, short, long })
}
