//! OpenSLO's durations and time windows.

use std::time::Duration;

use jiff::civil::DateTime;

use crate::config::Section;
use crate::model::PromDuration;
use crate::slo::extras::rolling;
use crate::slo::period::{Calendar, CalendarUnit, LONGEST_PERIOD, Period};

/// Units that only a calendar has the length of.
const CALENDAR_UNITS: [(char, CalendarUnit); 5] = [
    ('d', CalendarUnit::Day),
    ('w', CalendarUnit::Week),
    ('M', CalendarUnit::Month),
    ('Q', CalendarUnit::Quarter),
    ('Y', CalendarUnit::Year),
];

/// A duration: `5m`, `1h`, `30d`, `4w`.
pub(super) fn shorthand(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<PromDuration>().map(PromDuration::get);
    duration.map_err(|_| format!("expected a duration such as 5m, 1h or 30d, found {text:?}"))
}

/// `timeWindow`: a list of one.
pub(super) fn take_window(spec: &mut Section<'_>) -> Option<Period> {
    let items = spec.take_list("timeWindow")?;
    let [item] = items.as_slice() else {
        spec.error("timeWindow", "a list of exactly one window");
        return None;
    };
    let mut section = item.section()?;
    section.require("duration");
    let duration = section.take("duration");
    let is_rolling = section.take_bool("isRolling");
    let Some(mut calendar) = section.take_section("calendar") else {
        if is_rolling == Some(false) {
            section.error("isRolling", "a window that does not roll needs a calendar");
        }
        return duration?.parse_with("a duration such as 30d", |text| match text.chars().last() {
            Some('M' | 'Q' | 'Y') => {
                Err(format!("a rolling window lasts so many d or w; {text:?} is for a calendar"))
            }
            _ => rolling(text),
        });
    };
    if is_rolling == Some(true) {
        section.error("isRolling", "a window with a calendar does not roll");
    }
    calendar.require("startTime");
    let start = calendar.take("startTime").and_then(|value| {
        value.parse_with("an instant such as 2026-01-01 00:00:00", |text| {
            let wrong = || format!("expected a time such as 2026-01-01 00:00:00, found {text:?}");
            text.parse::<DateTime>().map_err(|_| wrong())
        })
    });
    let zone = calendar.take_str("timeZone").unwrap_or_else(|| "UTC".to_owned());
    let (count, unit) = duration?.parse_with("a duration such as 1M", units)?;
    let period = Calendar::anchored(unit, count, start?, &zone);
    period.map_err(|message| calendar.error("timeZone", message)).ok().map(Period::Calendar)
}

/// `1M`, `2w`
fn units(text: &str) -> Result<(u32, CalendarUnit), String> {
    let wrong =
        || format!("expected a number of d, w, M, Q or Y, at most a year, such as 1M, found {text:?}");
    let unit = CALENDAR_UNITS.iter().find(|(letter, _)| text.ends_with(*letter)).ok_or_else(wrong)?;
    let count = text.strip_suffix(unit.0).unwrap_or_default().parse::<u32>().map_err(|_| wrong())?;
    if count == 0 || count > 366 || unit.1.length(count) > LONGEST_PERIOD {
        return Err(wrong());
    }
    Ok((count, unit.1))
}
