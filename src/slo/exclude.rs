//! Times that do not count: maintenance, once or every week.
//!
//! Invariant: a slot of the budget that such a time touches is left out whole; time is an argument.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::model::Timestamp;

/// A time that does not count.
#[derive(Clone, Debug, PartialEq)]
pub enum Exclusion {
    /// From an instant to another, which is no longer part of it.
    Once {
        /// When it begins.
        from: Timestamp,
        /// When it ends.
        to: Timestamp,
    },
    /// Every week.
    Weekly {
        /// On which days.
        days: Vec<Weekday>,
        /// Minutes after midnight.
        from_minute: u16,
        /// Minutes after midnight, at most 1,440.
        to_minute: u16,
        /// Whose midnight.
        zone: TimeZone,
    },
}

/// Days as files name them.
pub(super) const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// Minutes after midnight of `02:30`; `24:00` is the end of the day.
pub(super) fn minute_of_day(text: &str) -> Result<u16, String> {
    let wrong = || format!("expected a time of day such as 02:30, found {text:?}");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let number = |part: &str| match part.len() {
        2 if part.bytes().all(|b| b.is_ascii_digit()) => part.parse::<u16>().ok(),
        _ => None,
    };
    let (hours, minutes) = (number(hours).ok_or_else(wrong)?, number(minutes).ok_or_else(wrong)?);
    let minute = hours * 60 + minutes;
    if minutes < 60 && minute <= 1_440 { Ok(minute) } else { Err(wrong()) }
}

impl Exclusion {
    /// Whether any of the time from `start` on, `length` long and at most a day, is part of it.
    pub fn touches(&self, start: Timestamp, length: Duration) -> bool {
        let end = start.plus(length);
        match self {
            Self::Once { from, to } => *from < end && start < *to,
            Self::Weekly { days, from_minute, to_minute, zone } => {
                let on_day_of = |instant: Timestamp| {
                    let (from, to) = (i64::from(*from_minute), i64::from(*to_minute));
                    let weekly = weekly_on_day_of(instant, days, (from, to), zone);
                    weekly.is_some_and(|(from, to)| from < end && start < to)
                };
                on_day_of(start) || on_day_of(end)
            }
        }
    }

    /// The condition under which it is now, as PromQL; `None` where PromQL cannot tell: it has no time zones.
    pub fn condition(&self) -> Option<String> {
        match self {
            Self::Once { from, to } => {
                Some(format!("vector(time()) >= {} < {}", from.as_seconds_f64(), to.as_seconds_f64()))
            }
            Self::Weekly { days, from_minute, to_minute, zone } => {
                if *zone != TimeZone::UTC {
                    return None;
                }
                let mut on_days = String::new();
                for day in days {
                    let or = if on_days.is_empty() { "" } else { " or " };
                    let _ = write!(on_days, "{or}day_of_week() == {}", day.to_sunday_zero_offset());
                }
                Some(format!("(hour() * 60 + minute()) >= {from_minute} < {to_minute} and on () ({on_days})"))
            }
        }
    }
}

/// The weekly time on the day on which an instant lies.
fn weekly_on_day_of(
    instant: Timestamp,
    days: &[Weekday],
    (from_minute, to_minute): (i64, i64),
    zone: &TimeZone,
) -> Option<(Timestamp, Timestamp)> {
    let instant = jiff::Timestamp::from_millisecond(instant.as_millis()).ok()?;
    let date = zone.to_datetime(instant).date();
    if !days.contains(&date.weekday()) {
        return None;
    }
    let at = |minute: i64| {
        let span = jiff::Span::new().try_minutes(minute).ok()?;
        let local = date.at(0, 0, 0, 0).checked_add(span).ok()?;
        let zoned = zone.to_zoned(local).ok()?;
        Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
    };
    Some((at(from_minute)?, at(to_minute)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Duration = Duration::from_secs(300);

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().expect(text);
        Timestamp::from_millis(instant.as_millisecond())
    }

    #[test]
    fn slots_that_are_touched_are_left_out() {
        let once = Exclusion::Once { from: at("2026-01-01T02:01:00Z"), to: at("2026-01-01T03:00:00Z") };
        for (start, touched) in [
            ("2026-01-01T01:55:00Z", false),
            ("2026-01-01T02:00:00Z", true),
            ("2026-01-01T02:55:00Z", true),
            ("2026-01-01T03:00:00Z", false),
        ] {
            assert_eq!(once.touches(at(start), SLOT), touched, "{start}");
        }
    }

    #[test]
    fn weekly_times_follow_their_zone() {
        let weekly = Exclusion::Weekly {
            days: vec![Weekday::Sunday],
            from_minute: minute_of_day("01:00").expect("valid"),
            to_minute: minute_of_day("24:00").expect("valid"),
            zone: super::super::period::time_zone("Europe/Berlin").expect("known zone"),
        };
        for (start, touched) in [
            // Saturday, 23:55 UTC, is Sunday, 00:55.
            ("2026-01-03T23:50:00Z", false),
            ("2026-01-04T00:00:00Z", true),
            ("2026-01-04T22:55:00Z", true),
            ("2026-01-04T23:00:00Z", false),
            // In summer an hour earlier.
            ("2026-07-04T22:55:00Z", false),
            ("2026-07-04T23:00:00Z", true),
        ] {
            assert_eq!(weekly.touches(at(start), SLOT), touched, "{start}");
        }
        assert_eq!(weekly.condition(), None);
    }

    #[test]
    fn times_of_day_are_read() {
        for (text, minute) in [("00:00", 0), ("02:30", 150), ("24:00", 1_440)] {
            assert_eq!(minute_of_day(text), Ok(minute));
        }
        for text in ["", "2:30", "24:01", "25:00", "12:60", "1230", "+1:30"] {
            assert!(minute_of_day(text).is_err(), "{text}");
        }
    }
}
