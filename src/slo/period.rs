//! Over how long an objective is to hold: the last so many days, or the running week, month or quarter of a calendar.
//!
//! Invariant: calendar periods lie side by side without gaps, through changes of the clock; time is an argument.
//!
//! Source: OpenSLO v1, `timeWindow`; the lengths of days are the time zone database's.

use std::time::Duration;

use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};

use crate::model::{PromDuration, Timestamp};

/// Longest and shortest rolling period.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(366 * 86_400);
/// See [`LONGEST_PERIOD`].
pub const SHORTEST_PERIOD: Duration = Duration::from_secs(86_400);

/// Over how long an objective is to hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Period {
    /// The last so long.
    Rolling(Duration),
    /// What a calendar says.
    Calendar(Calendar),
}

/// Periods of a calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    unit: CalendarUnit,
    /// How many units a period has.
    count: u32,
    /// Where one of the periods begins, by the clocks of the zone.
    anchor: DateTime,
    zone: TimeZone,
    zone_name: String,
}

/// Units of a calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarUnit {
    /// From midnight to midnight.
    Day,
    /// From Monday on.
    Week,
    /// From the first on.
    Month,
    /// From the first of January, April, July, October on.
    Quarter,
    /// From the first of January on.
    Year,
}

impl CalendarUnit {
    /// Those that a file may name.
    pub const NAMES: [(&'static str, Self); 3] =
        [("month", Self::Month), ("quarter", Self::Quarter), ("week", Self::Week)];

    const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    const fn days(self) -> u64 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 30,
            Self::Quarter => 90,
            Self::Year => 365,
        }
    }

    /// About how long so many of them are.
    pub(super) fn length(self, count: u32) -> Duration {
        Duration::from_secs(self.days() * u64::from(count) * 86_400)
    }

    /// Months or days of one unit; the other is 0.
    const fn months_and_days(self) -> (i64, i64) {
        match self {
            Self::Day => (0, 1),
            Self::Week => (0, 7),
            Self::Month => (1, 0),
            Self::Quarter => (3, 0),
            Self::Year => (12, 0),
        }
    }
}

impl Calendar {
    /// Periods of one unit, beginning where the unit does.
    ///
    /// # Errors
    /// There is no such time zone: the message.
    pub fn new(unit: CalendarUnit, zone: &str) -> Result<Self, String> {
        // The first of January 2001 was a Monday.
        Self::anchored(unit, 1, date(2001, 1, 1).at(0, 0, 0, 0), zone)
    }

    /// Periods of some units, one of which begins at `anchor`.
    ///
    /// # Errors
    /// There is no such time zone: the message.
    pub fn anchored(unit: CalendarUnit, count: u32, anchor: DateTime, zone: &str) -> Result<Self, String> {
        let time_zone = time_zone(zone)?;
        Ok(Self { unit, count: count.max(1), anchor, zone: time_zone, zone_name: zone.to_owned() })
    }

    /// The period in which an instant lies, the end excluded; `None` beyond the years that calendars know.
    pub fn bounds(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let instant = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
        let local = self.zone.to_datetime(instant);
        let (months, days) = self.unit.months_and_days();
        let (months, days) = (months * i64::from(self.count), days * i64::from(self.count));
        let guess = if months > 0 {
            let between = i64::from(local.year()) * 12 + i64::from(local.month())
                - i64::from(self.anchor.year()) * 12
                - i64::from(self.anchor.month());
            between.div_euclid(months)
        } else {
            let between = local.date().since(self.anchor.date()).ok()?.get_days();
            i64::from(between).div_euclid(days)
        };
        // The day of the month and the time of day may put it one period earlier; a change of the clock one later.
        (guess - 1..=guess + 1).find_map(|index| {
            let begin = self.begin(index * months, index * days)?;
            let end = self.begin((index + 1) * months, (index + 1) * days)?;
            (begin <= at && at < end).then_some((begin, end))
        })
    }

    fn begin(&self, months: i64, days: i64) -> Option<Timestamp> {
        let span: Span = 0.days().try_months(months).ok()?.try_days(days).ok()?;
        let local = self.anchor.checked_add(span).ok()?;
        let zoned = self.zone.to_zoned(local).ok()?;
        Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
    }
}

impl Period {
    /// Its length; of a calendar's periods about.
    pub fn length(&self) -> Duration {
        match self {
            Self::Rolling(length) => *length,
            Self::Calendar(calendar) => calendar.unit.length(calendar.count),
        }
    }

    /// From when on what happened still counts at an instant, and when the period ends.
    pub fn bounds(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        let rolling = |length: Duration| {
            let ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
            (Timestamp::from_millis(at.as_millis().saturating_sub(ms)), at)
        };
        match self {
            Self::Rolling(length) => rolling(*length),
            Self::Calendar(calendar) => calendar.bounds(at).unwrap_or_else(|| rolling(self.length())),
        }
    }

    /// In words: `the last 30d`, `the calendar month (Europe/Berlin)`.
    pub fn words(&self) -> String {
        match self {
            Self::Rolling(length) => format!("the last {}", PromDuration::new(*length)),
            Self::Calendar(calendar) => {
                let many = if calendar.count == 1 { String::new() } else { format!("{} ", calendar.count) };
                format!("the calendar {many}{} ({})", calendar.unit.word(), calendar.zone_name)
            }
        }
    }
}

/// Whether a rolling period can be so long.
///
/// # Errors
/// It cannot: the message.
pub fn check_rolling(length: Duration) -> Result<(), String> {
    if (SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&length) && length.as_millis().is_multiple_of(300_000) {
        return Ok(());
    }
    let length = PromDuration::new(length);
    Err(format!("the period of an SLO lasts from 1d to 366d in whole 5 minutes, not {length}"))
}

/// A time zone by name.
///
/// # Errors
/// There is none of that name: the message.
pub(super) fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        let shown: String = name.chars().take(40).collect();
        format!("there is no time zone {shown:?}; write one such as UTC or Europe/Berlin")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().expect(text);
        Timestamp::from_millis(instant.as_millisecond())
    }

    fn bounds(calendar: &Calendar, instant: &str) -> (Timestamp, Timestamp) {
        calendar.bounds(at(instant)).expect("within the years of calendars")
    }

    #[test]
    fn calendar_periods_follow_the_zone() {
        let calendar = |unit, zone: &str| Calendar::new(unit, zone).expect("known zone");
        let month = calendar(CalendarUnit::Month, "Europe/Berlin");
        // Summer time begins within March, so that it ends an hour earlier in UTC.
        assert_eq!(
            bounds(&month, "2026-03-15T12:00:00Z"),
            (at("2026-02-28T23:00:00Z"), at("2026-03-31T22:00:00Z"))
        );
        assert_eq!(bounds(&month, "2026-02-28T23:00:00Z").0, at("2026-02-28T23:00:00Z"));
        assert_eq!(bounds(&month, "2026-02-28T22:59:59Z").0, at("2026-01-31T23:00:00Z"));
        let quarter = calendar(CalendarUnit::Quarter, "UTC");
        assert_eq!(
            bounds(&quarter, "2026-06-30T23:59:59Z"),
            (at("2026-04-01T00:00:00Z"), at("2026-07-01T00:00:00Z"))
        );
        let week = calendar(CalendarUnit::Week, "America/New_York");
        assert_eq!(
            bounds(&week, "2026-11-27T04:00:00Z"),
            (at("2026-11-23T05:00:00Z"), at("2026-11-30T05:00:00Z"))
        );
        assert_eq!(bounds(&week, "1999-12-31T04:00:00Z").0, at("1999-12-27T05:00:00Z"));
    }

    #[test]
    fn periods_may_begin_anywhere() {
        let anchor = date(2020, 1, 31).at(12, 30, 0, 0);
        let calendar = Calendar::anchored(CalendarUnit::Month, 1, anchor, "UTC").expect("known zone");
        assert_eq!(
            bounds(&calendar, "2021-03-01T00:00:00Z"),
            (at("2021-02-28T12:30:00Z"), at("2021-03-31T12:30:00Z"))
        );
    }

    #[test]
    fn unknown_zones_are_named() {
        let error = Calendar::new(CalendarUnit::Week, "Mars/Olympus").expect_err("no such zone");
        assert!(error.contains("Mars/Olympus"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn periods_lie_side_by_side(seconds in 0_i64..4_000_000_000, unit in 0_usize..5, zone in 0_usize..3) {
            let units = [
                CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month, CalendarUnit::Quarter, CalendarUnit::Year,
            ];
            let zones = ["UTC", "Europe/Berlin", "America/St_Johns"];
            let calendar = Calendar::new(units[unit], zones[zone]).expect("known zone");
            let instant = Timestamp::from_millis(seconds * 1_000);
            let (begin, end) = calendar.bounds(instant).expect("within the years");
            assert!(begin <= instant && instant < end);
            let (next, _) = calendar.bounds(end).expect("within the years");
            assert_eq!(next, end);
        }
    }
}
