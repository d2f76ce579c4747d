//! Parts of a date in UTC for any number of seconds, however large: Gregorian calendar without end.
//!
//! Invariant: numbers that are no instant (NaN, infinities, beyond 64 bits) become the instant that Go makes of them
//! on x86-64: the most negative one.

const SECONDS_PER_DAY: u64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const DAYS_PER_ERA: u64 = 146_097;
const YEARS_PER_ERA: i64 = 400;
/// Years before year 0 from where seconds are counted so that none is negative.
const YEARS_BEFORE: i64 = 292_277_022_400;
/// Days from 1 March of year 0 to the Unix epoch.
const DAYS_TO_UNIX: u64 = 719_468;
const SECONDS_TO_UNIX: u64 =
    (YEARS_BEFORE as u64 / YEARS_PER_ERA as u64 * DAYS_PER_ERA + DAYS_TO_UNIX) * SECONDS_PER_DAY;

/// An instant, as seconds since 1 March of a year far back.
#[derive(Clone, Copy)]
pub(super) struct Instant(u64);

/// A day of the calendar.
struct Day {
    year: i64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
}

impl Instant {
    /// From seconds since the Unix epoch, fractions cut off.
    pub(super) fn from_seconds(seconds: f64) -> Self {
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        #[expect(clippy::cast_possible_truncation, reason = "cut off on purpose")]
        let whole = if seconds > -LIMIT && seconds < LIMIT { seconds as i64 } else { i64::MIN };
        Self(whole.cast_unsigned().wrapping_add(SECONDS_TO_UNIX))
    }

    const fn days(self) -> u64 {
        self.0 / SECONDS_PER_DAY
    }

    fn date(self) -> Day {
        let (era, day_of_era) = (self.days() / DAYS_PER_ERA, self.days() % DAYS_PER_ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March on: their lengths repeat every five months.
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let january_or_february = month >= 10;
        let year = (era.cast_signed() * YEARS_PER_ERA + year_of_era.cast_signed()) - YEARS_BEFORE
            + i64::from(january_or_february);
        Day { year, month: if january_or_february { month - 9 } else { month + 3 }, day }
    }

    #[expect(clippy::cast_precision_loss, reason = "years beyond 2^53 do not occur")]
    pub(super) fn year(self) -> f64 {
        self.date().year as f64
    }

    pub(super) fn month(self) -> f64 {
        small(self.date().month)
    }

    pub(super) fn day_of_month(self) -> f64 {
        small(self.date().day)
    }

    /// Sunday is 0. The first day of all was a Wednesday.
    pub(super) fn day_of_week(self) -> f64 {
        small((self.days() + 3) % 7)
    }

    /// 1 January is 1.
    pub(super) fn day_of_year(self) -> f64 {
        let Day { year, month, day } = self.date();
        let before: u64 = (1..month).map(|m| days_in(year, m)).sum();
        small(before + day)
    }

    pub(super) fn days_in_month(self) -> f64 {
        let Day { year, month, .. } = self.date();
        small(days_in(year, month))
    }

    pub(super) fn hour(self) -> f64 {
        small(self.0 % SECONDS_PER_DAY / 3_600)
    }

    pub(super) fn minute(self) -> f64 {
        small(self.0 % 3_600 / 60)
    }
}

const fn days_in(year: i64, month: u64) -> u64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + leap as u64,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[expect(clippy::cast_precision_loss, reason = "below 400")]
const fn small(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_gregorian_calendar() {
        for (seconds, year, month, day, weekday, yearday, length, hour, minute) in [
            (0.0, 1970, 1, 1, 4, 1, 31, 0, 0),
            (1_136_239_445.0, 2006, 1, 2, 1, 2, 31, 22, 4),
            (951_782_399.9, 2000, 2, 28, 1, 59, 29, 23, 59),
            (951_868_800.0, 2000, 3, 1, 3, 61, 31, 0, 0),
            (1_735_603_200.0, 2024, 12, 31, 2, 366, 31, 0, 0),
            (-1.0, 1969, 12, 31, 3, 365, 31, 23, 59),
            (-62_135_596_800.0, 1, 1, 1, 1, 1, 31, 0, 0),
            (4_107_542_400.0, 2100, 3, 1, 1, 60, 31, 0, 0),
        ] {
            let at = Instant::from_seconds(seconds);
            let got = [
                at.year(),
                at.month(),
                at.day_of_month(),
                at.day_of_week(),
                at.day_of_year(),
                at.days_in_month(),
                at.hour(),
                at.minute(),
            ];
            let expected = [year, month, day, weekday, yearday, length, hour, minute].map(f64::from);
            assert_eq!(got, expected, "{seconds}");
        }
    }

    #[test]
    fn what_is_no_instant_is_the_most_negative_one() {
        let nan = Instant::from_seconds(f64::NAN).0;
        assert!([f64::INFINITY, -f64::INFINITY, 1e19].map(|v| Instant::from_seconds(v).0) == [nan; 3]);
    }
}
