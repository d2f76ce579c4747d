//! Instants and durations with Go's methods and printed forms.
//!
//! Invariant: an instant is within 64 bits of nanoseconds of 1970, about the years 1678 to 2262.
//!
//! Source: Go's `time` package: `Format`'s layouts, `Time.String`, `Duration.String`.

use std::sync::Arc;

use jiff::civil::DateTime;

use super::function::{Function, Method, Param};
use super::value::{Missing, Type, Value};

/// An instant, and the zone in which it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    /// Since 1970-01-01 UTC.
    pub unix_nanos: i64,
    /// By how much the zone's clocks are ahead of UTC.
    pub offset_seconds: i32,
    /// The zone's short name, such as `UTC` or `CET`.
    pub zone: Arc<str>,
    /// Whether it is the machine's own zone, which Go calls `Local`.
    pub is_local: bool,
}

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

static MONTH: Type = Type { name: "time.Month", missing: Missing::Nothing, methods: NAME_METHODS };
static WEEKDAY: Type = Type { name: "time.Weekday", missing: Missing::Nothing, methods: NAME_METHODS };
static LOCATION: Type = Type { name: "*time.Location", missing: Missing::Nothing, methods: NAME_METHODS };

/// What a month, a day of the week and a zone have.
static NAME_METHODS: &[Method] = &[method("String", &[], |value, _| match value {
    Value::Enum(_, _, name) => Ok(Value::from(*name)),
    Value::Named(_, name) => Ok(Value::String(Arc::clone(name))),
    other => Err(format!("{} has no name", other.type_name())),
})];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Time {
    /// An instant shown in UTC.
    pub fn utc(unix_nanos: i64) -> Self {
        Self { unix_nanos, offset_seconds: 0, zone: Arc::from("UTC"), is_local: false }
    }

    /// An instant shown in the machine's own zone.
    fn local(unix_nanos: i64) -> Self {
        Self::of_local(unix_nanos, |info| Self {
            unix_nanos,
            offset_seconds: info.offset().seconds(),
            zone: Arc::from(info.abbreviation()),
            is_local: true,
        })
    }

    /// What the machine's own zone says of an instant.
    fn of_local<T>(unix_nanos: i64, tell: impl FnOnce(jiff::tz::TimeZoneOffsetInfo<'_>) -> T) -> T {
        let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
        let instant = jiff::Timestamp::from_nanosecond(i128::from(unix_nanos));
        tell(zone.to_offset_info(instant.unwrap_or(jiff::Timestamp::UNIX_EPOCH)))
    }

    fn is_summer_time(&self) -> bool {
        self.is_local && Self::of_local(self.unix_nanos, |info| info.dst().is_dst())
    }

    /// Another instant in the same zone.
    fn at(&self, unix_nanos: i64) -> Self {
        if self.is_local { Self::local(unix_nanos) } else { Self { unix_nanos, ..self.clone() } }
    }

    /// As Go's `Time.AddDate`: what is too much for a month goes on into the next. `None`: out of range.
    fn add_date(&self, years: i64, months: i64, days: i64) -> Option<Self> {
        let civil = self.civil();
        let month = i64::from(civil.year()).checked_add(years)?.checked_mul(12)?;
        let month = month.checked_add(i64::from(civil.month()) - 1)?.checked_add(months)?;
        let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
        let first = DateTime::new(
            i16::try_from(year).ok()?,
            i8::try_from(month).ok()?,
            1,
            civil.hour(),
            civil.minute(),
            civil.second(),
            civil.subsec_nanosecond(),
        );
        let first = jiff::tz::Offset::UTC.to_timestamp(first.ok()?).ok()?.as_nanosecond();
        let days = i128::from(days) + i128::from(civil.day()) - 1;
        let shown = first + days * i128::from(86_400 * SECOND);
        let behind = |offset: i32| i64::try_from(shown - i128::from(offset) * i128::from(SECOND)).ok();
        // There the zone's clocks may be ahead by something else.
        let there = self.at(behind(self.offset_seconds)?);
        Some(self.at(behind(there.offset_seconds)?))
    }

    fn location(&self) -> &str {
        if self.is_local { "Local" } else { &self.zone }
    }

    /// As Go's `Time.GoString`.
    pub fn source(&self) -> String {
        let civil = self.civil();
        let month = name(&MONTHS, usize::try_from(civil.month() - 1).unwrap_or(0));
        let zone = match self.location() {
            zone @ ("Local" | "UTC") => format!("time.{zone}"),
            zone => format!("time.Location({})", crate::model::Quoted(zone)),
        };
        format!(
            "time.Date({}, time.{month}, {}, {}, {}, {}, {}, {zone})",
            civil.year(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second(),
            civil.subsec_nanosecond()
        )
    }

    /// What the zone's calendar and clocks show. The offset is within a day, so no 64-bit instant leaves jiff's years.
    fn civil(&self) -> DateTime {
        let offset = jiff::tz::Offset::from_seconds(self.offset_seconds).unwrap_or(jiff::tz::Offset::UTC);
        jiff::Timestamp::from_nanosecond(i128::from(self.unix_nanos))
            .map_or(DateTime::ZERO, |instant| offset.to_datetime(instant))
    }

    fn weekday(&self) -> usize {
        usize::try_from(self.civil().weekday().to_sunday_zero_offset()).unwrap_or(0)
    }

    /// As Go's `Time.String` without a monotonic clock.
    pub fn shown(&self) -> String {
        self.formatted("2006-01-02 15:04:05.999999999 -0700 MST")
    }

    /// As Go's `Time.Format`.
    pub fn formatted(&self, layout: &str) -> String {
        let civil = self.civil();
        let mut out = String::with_capacity(layout.len() + 8);
        let mut rest = layout;
        while let Some(first) = rest.chars().next() {
            match chunk(rest) {
                Some((length, element)) => {
                    self.push_element(&mut out, &element, &civil);
                    rest = rest.get(length..).unwrap_or_default();
                }
                None => {
                    out.push(first);
                    rest = rest.get(first.len_utf8()..).unwrap_or_default();
                }
            }
        }
        out
    }

    fn push_element(&self, out: &mut String, element: &Element, civil: &DateTime) {
        let month = usize::try_from(civil.month()).unwrap_or(1);
        let hour_of_twelve = match civil.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let afternoon = civil.hour() >= 12;
        let text = match element {
            Element::Year => format!("{:04}", civil.year()),
            Element::YearOfCentury => format!("{:02}", civil.year() % 100),
            Element::Month(Form::Plain) => format!("{month}"),
            Element::Month(_) => format!("{month:02}"),
            Element::MonthName(letters) => head(name(&MONTHS, month.wrapping_sub(1)), *letters),
            Element::Weekday(letters) => head(name(&WEEKDAYS, self.weekday()), *letters),
            Element::Day(Form::Plain) => format!("{}", civil.day()),
            Element::Day(Form::Spaces) => format!("{:2}", civil.day()),
            Element::Day(Form::Zeros) => format!("{:02}", civil.day()),
            Element::YearDay(Form::Spaces) => format!("{:3}", civil.day_of_year()),
            Element::YearDay(_) => format!("{:03}", civil.day_of_year()),
            Element::Hour => format!("{:02}", civil.hour()),
            Element::HourOfTwelve(Form::Plain) => format!("{hour_of_twelve}"),
            Element::HourOfTwelve(_) => format!("{hour_of_twelve:02}"),
            Element::Minute(Form::Plain) => format!("{}", civil.minute()),
            Element::Minute(_) => format!("{:02}", civil.minute()),
            Element::Second(Form::Plain) => format!("{}", civil.second()),
            Element::Second(_) => format!("{:02}", civil.second()),
            Element::Half(true) => if afternoon { "PM" } else { "AM" }.to_owned(),
            Element::Half(false) => if afternoon { "pm" } else { "am" }.to_owned(),
            Element::Zone => self.zone.to_string(),
            Element::Offset(form) => self.offset(*form),
            Element::Fraction { point, digits, trimmed } => fraction(civil, *point, *digits, *trimmed),
        };
        out.push_str(&text);
    }

    fn offset(&self, form: OffsetForm) -> String {
        if form.z_for_utc && self.offset_seconds == 0 {
            return "Z".to_owned();
        }
        let sign = if self.offset_seconds < 0 { '-' } else { '+' };
        let seconds = self.offset_seconds.unsigned_abs();
        let colon = if form.colons { ":" } else { "" };
        let mut text = format!("{sign}{:02}", seconds / 3600);
        if form.parts > 1 {
            text += &format!("{colon}{:02}", seconds / 60 % 60);
        }
        if form.parts > 2 {
            text += &format!("{colon}{:02}", seconds % 60);
        }
        text
    }
}

fn name(names: &[&'static str], at: usize) -> &'static str {
    names.get(at).copied().unwrap_or_default()
}

fn head(name: &str, letters: usize) -> String {
    name.chars().take(letters).collect()
}

fn fraction(civil: &DateTime, point: char, digits: usize, trimmed: bool) -> String {
    let all = format!("{:09}", civil.subsec_nanosecond());
    let mut shown: String = all.chars().take(digits).collect();
    if trimmed {
        shown.truncate(shown.trim_end_matches('0').len());
        if shown.is_empty() {
            return shown;
        }
    }
    shown.insert(0, point);
    shown
}

#[derive(Clone, Copy)]
enum Form {
    Plain,
    Zeros,
    Spaces,
}

#[derive(Clone, Copy)]
struct OffsetForm {
    z_for_utc: bool,
    colons: bool,
    /// Hours, minutes, seconds.
    parts: u8,
}

/// A part of a layout that stands for a part of the instant.
#[derive(Clone, Copy)]
enum Element {
    Year,
    YearOfCentury,
    Month(Form),
    MonthName(usize),
    Weekday(usize),
    Day(Form),
    YearDay(Form),
    Hour,
    HourOfTwelve(Form),
    Minute(Form),
    Second(Form),
    Half(bool),
    Zone,
    Offset(OffsetForm),
    Fraction { point: char, digits: usize, trimmed: bool },
}

const fn offset(z_for_utc: bool, colons: bool, parts: u8) -> Element {
    Element::Offset(OffsetForm { z_for_utc, colons, parts })
}

/// Longer texts before their beginnings.
const ELEMENTS: [(&str, Element); 31] = [
    ("January", Element::MonthName(9)),
    ("Jan", Element::MonthName(3)),
    ("Monday", Element::Weekday(9)),
    ("Mon", Element::Weekday(3)),
    ("MST", Element::Zone),
    ("002", Element::YearDay(Form::Zeros)),
    ("01", Element::Month(Form::Zeros)),
    ("02", Element::Day(Form::Zeros)),
    ("03", Element::HourOfTwelve(Form::Zeros)),
    ("04", Element::Minute(Form::Zeros)),
    ("05", Element::Second(Form::Zeros)),
    ("06", Element::YearOfCentury),
    ("15", Element::Hour),
    ("1", Element::Month(Form::Plain)),
    ("2006", Element::Year),
    ("2", Element::Day(Form::Plain)),
    ("__2", Element::YearDay(Form::Spaces)),
    ("_2", Element::Day(Form::Spaces)),
    ("3", Element::HourOfTwelve(Form::Plain)),
    ("4", Element::Minute(Form::Plain)),
    ("5", Element::Second(Form::Plain)),
    ("PM", Element::Half(true)),
    ("pm", Element::Half(false)),
    ("-070000", offset(false, false, 3)),
    ("-07:00:00", offset(false, true, 3)),
    ("-0700", offset(false, false, 2)),
    ("-07:00", offset(false, true, 2)),
    ("-07", offset(false, false, 1)),
    ("Z070000", offset(true, false, 3)),
    ("Z07:00:00", offset(true, true, 3)),
    ("Z0700", offset(true, false, 2)),
];

const LAST_ELEMENTS: [(&str, Element); 2] =
    [("Z07:00", offset(true, true, 2)), ("Z07", offset(true, false, 1))];

/// The element that a layout begins with, and its length.
fn chunk(layout: &str) -> Option<(usize, Element)> {
    // "_2006" is an underscore and a year; "Jan" is no month's beginning in "Janet", "Jan" before a lower letter.
    if layout.starts_with("_2006") {
        return None;
    }
    if let Some(rest) = layout.strip_prefix("Jan")
        && !layout.starts_with("January")
        && rest.starts_with(|c: char| c.is_ascii_lowercase())
    {
        return None;
    }
    if let Some(rest) = layout.strip_prefix("Mon")
        && !layout.starts_with("Monday")
        && rest.starts_with(|c: char| c.is_ascii_lowercase())
    {
        return None;
    }
    if let Some(found) = fraction_chunk(layout) {
        return Some(found);
    }
    let all = ELEMENTS.iter().chain(&LAST_ELEMENTS);
    let mut fitting = all.filter(|(text, _)| layout.starts_with(text));
    fitting.next().map(|(text, element)| (text.len(), *element))
}

/// `.000` or `,999`: as many digits, and no digit behind them.
fn fraction_chunk(layout: &str) -> Option<(usize, Element)> {
    let mut chars = layout.chars();
    let point = chars.next().filter(|c| matches!(c, '.' | ','))?;
    let digit = chars.next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = layout.chars().skip(1).take_while(|c| *c == digit).count();
    if layout.chars().nth(1 + digits).is_some_and(|c| c.is_ascii_digit()) {
        return None;
    }
    Some((1 + digits, Element::Fraction { point, digits, trimmed: digit == '9' }))
}

/// Nanoseconds as Go's `Duration.String`.
pub(super) fn duration_shown(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let with_fraction = |whole: u64, rest: u64, digits: usize, unit: &str| {
        let fraction = format!("{rest:0digits$}");
        match fraction.trim_end_matches('0') {
            "" => format!("{sign}{whole}{unit}"),
            fraction => format!("{sign}{whole}.{fraction}{unit}"),
        }
    };
    match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => with_fraction(magnitude / 1_000, magnitude % 1_000, 3, "µs"),
        1_000_000..1_000_000_000 => with_fraction(magnitude / 1_000_000, magnitude % 1_000_000, 6, "ms"),
        _ => {
            let seconds = magnitude / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let last = with_fraction(seconds % 60, magnitude % 1_000_000_000, 9, "s");
            let last = last.strip_prefix('-').unwrap_or(&last);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{last}"),
                (0, minutes) => format!("{sign}{minutes}m{last}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{last}"),
            }
        }
    }
}

type Body = fn(&Value, &[Value]) -> Result<Value, String>;

const fn method(name: &'static str, params: &'static [Param], body: Body) -> Method {
    Method { function: Function { name, params, rest: None }, body }
}

fn of_time(value: &Value, compute: impl Fn(&Time) -> Value) -> Result<Value, String> {
    match value {
        Value::Time(time) => Ok(compute(time)),
        other => Err(format!("{} is no time", other.type_name())),
    }
}

fn of_two(value: &Value, args: &[Value], compute: impl Fn(i64, i64) -> Value) -> Result<Value, String> {
    match (value, args) {
        (Value::Time(one), [Value::Time(other)]) => Ok(compute(one.unix_nanos, other.unix_nanos)),
        _ => Err("two times are needed".to_owned()),
    }
}

const OUT_OF_RANGE: &str = "the time is out of range";

fn shifted(value: &Value, args: &[Value], change: impl Fn(i64, i64) -> Option<i64>) -> Result<Value, String> {
    match (value, args) {
        (Value::Time(time), [Value::Duration(by)]) => {
            Ok(Value::Time(time.at(change(time.unix_nanos, *by).ok_or(OUT_OF_RANGE)?)))
        }
        _ => Err("a time and a duration are needed".to_owned()),
    }
}

fn int(number: impl Into<i64>) -> Value {
    Value::Int(number.into())
}

/// Methods of Go's `time.Time`, but for those about binary and JSON forms, and those with several results, which no
/// template can call.
pub(super) static TIME_METHODS: &[Method] = &[
    method("Add", &[Param::Duration], |t, args| shifted(t, args, i64::checked_add)),
    method("AddDate", &[Param::Int, Param::Int, Param::Int], |t, args| match (t, args) {
        (Value::Time(time), [Value::Int(years), Value::Int(months), Value::Int(days)]) => {
            time.add_date(*years, *months, *days).map(Value::Time).ok_or_else(|| OUT_OF_RANGE.to_owned())
        }
        _ => Err("a time and three numbers are needed".to_owned()),
    }),
    method("After", &[Param::Time], |t, args| of_two(t, args, |a, b| Value::Bool(a > b))),
    method("Before", &[Param::Time], |t, args| of_two(t, args, |a, b| Value::Bool(a < b))),
    method("Day", &[], |t, _| of_time(t, |t| int(t.civil().day()))),
    method("Equal", &[Param::Time], |t, args| of_two(t, args, |a, b| Value::Bool(a == b))),
    method("Format", &[Param::String], |t, args| {
        let layout = args.first().and_then(Value::as_str).unwrap_or_default();
        of_time(t, |t| Value::from(t.formatted(layout)))
    }),
    method("GoString", &[], |t, _| of_time(t, |t| Value::from(t.source()))),
    method("Hour", &[], |t, _| of_time(t, |t| int(t.civil().hour()))),
    method("In", &[Param::Of(&LOCATION)], |t, args| match (t, args) {
        (Value::Time(t), [Value::Named(_, zone)]) if zone.as_ref() == "Local" => {
            Ok(Value::Time(Time::local(t.unix_nanos)))
        }
        (Value::Time(t), [Value::Named(..)]) => Ok(Value::Time(Time::utc(t.unix_nanos))),
        _ => Err("time: missing Location in call to Time.In".to_owned()),
    }),
    method("IsDST", &[], |t, _| of_time(t, |t| Value::Bool(t.is_summer_time()))),
    method("IsZero", &[], |t, _| of_time(t, |_| Value::Bool(false))),
    method("Local", &[], |t, _| of_time(t, |t| Value::Time(Time::local(t.unix_nanos)))),
    method("Location", &[], |t, _| of_time(t, |t| Value::Named(&LOCATION, Arc::from(t.location())))),
    method("Minute", &[], |t, _| of_time(t, |t| int(t.civil().minute()))),
    method("Month", &[], |t, _| {
        of_time(t, |t| {
            let month = t.civil().month();
            Value::Enum(&MONTH, month.into(), name(&MONTHS, usize::try_from(month - 1).unwrap_or(0)))
        })
    }),
    method("Nanosecond", &[], |t, _| of_time(t, |t| int(t.civil().subsec_nanosecond()))),
    method("Round", &[Param::Duration], |t, args| {
        shifted(t, args, |at, unit| match since_year_one(at, unit) {
            rest if rest < unit - rest => at.checked_sub(rest),
            rest => at.checked_add(unit.max(0) - rest),
        })
    }),
    method("Second", &[], |t, _| of_time(t, |t| int(t.civil().second()))),
    method("String", &[], |t, _| of_time(t, |t| Value::from(t.shown()))),
    method("Sub", &[Param::Time], |t, args| of_two(t, args, |a, b| Value::Duration(a.saturating_sub(b)))),
    method("Truncate", &[Param::Duration], |t, args| {
        shifted(t, args, |at, unit| at.checked_sub(since_year_one(at, unit)))
    }),
    method("UTC", &[], |t, _| of_time(t, |t| Value::Time(Time::utc(t.unix_nanos)))),
    method("Unix", &[], |t, _| of_time(t, |t| int(t.unix_nanos.div_euclid(SECOND)))),
    method("UnixMicro", &[], |t, _| of_time(t, |t| int(t.unix_nanos.div_euclid(1_000)))),
    method("UnixMilli", &[], |t, _| of_time(t, |t| int(t.unix_nanos.div_euclid(1_000_000)))),
    method("UnixNano", &[], |t, _| of_time(t, |t| int(t.unix_nanos))),
    method("Weekday", &[], |t, _| {
        of_time(t, |t| {
            let day = t.weekday();
            Value::Enum(&WEEKDAY, i64::try_from(day).unwrap_or(0), name(&WEEKDAYS, day))
        })
    }),
    method("Year", &[], |t, _| of_time(t, |t| int(t.civil().year()))),
    method("YearDay", &[], |t, _| of_time(t, |t| int(t.civil().day_of_year()))),
];

/// What a truncation to whole units since the year 1, as Go counts them, takes off; nothing for a unit that is none.
fn since_year_one(at: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return 0;
    }
    const YEAR_ONE_SECONDS: i128 = 62_135_596_800;
    let nanos = i128::from(at) + YEAR_ONE_SECONDS * i128::from(SECOND);
    i64::try_from(nanos.rem_euclid(i128::from(unit))).unwrap_or(0)
}

fn of_duration(value: &Value, compute: impl Fn(i64) -> Value) -> Result<Value, String> {
    match value {
        Value::Duration(nanos) => Ok(compute(*nanos)),
        other => Err(format!("{} is no duration", other.type_name())),
    }
}

/// Whole units and the rest apart, as Go computes it: the last bit depends on it.
fn in_units(nanos: i64, unit: i64) -> Value {
    Value::Float((nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64)
}

/// Methods of Go's `time.Duration`.
pub(super) static DURATION_METHODS: &[Method] = &[
    method("Abs", &[], |d, _| of_duration(d, |n| Value::Duration(n.saturating_abs()))),
    method("Hours", &[], |d, _| of_duration(d, |n| in_units(n, 3600 * SECOND))),
    method("Microseconds", &[], |d, _| of_duration(d, |n| int(n / 1_000))),
    method("Milliseconds", &[], |d, _| of_duration(d, |n| int(n / 1_000_000))),
    method("Minutes", &[], |d, _| of_duration(d, |n| in_units(n, 60 * SECOND))),
    method("Nanoseconds", &[], |d, _| of_duration(d, int)),
    method("Round", &[Param::Duration], |d, args| {
        of_duration(d, |n| Value::Duration(rounded(n, unit(args))))
    }),
    method("Seconds", &[], |d, _| of_duration(d, |n| in_units(n, SECOND))),
    method("String", &[], |d, _| of_duration(d, |n| Value::from(duration_shown(n)))),
    method("Truncate", &[Param::Duration], |d, args| {
        of_duration(d, |n| Value::Duration(n - n.checked_rem(unit(args)).unwrap_or(0)))
    }),
];

/// The unit of a rounding; one that is not positive changes nothing, as 1 does.
fn unit(args: &[Value]) -> i64 {
    args.first().and_then(Value::as_int).filter(|unit| *unit > 0).unwrap_or(1)
}

/// To the nearest multiple; halves away from zero.
fn rounded(nanos: i64, unit: i64) -> i64 {
    let (nanos, unit) = (i128::from(nanos), i128::from(unit));
    let rest = nanos % unit;
    let down = nanos - rest;
    let up = if nanos < 0 { down - unit } else { down + unit };
    let rounded = if rest.abs() * 2 < unit { down } else { up };
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let time =
            Time { offset_seconds: 7200, zone: Arc::from("CEST"), ..Time::utc(1_435_065_584_128_000_000) };
        for (layout, text) in [
            ("2006-01-02T15:04:05Z07:00", "2015-06-23T15:19:44+02:00"),
            ("Mon Jan _2 15:04:05 MST 2006", "Tue Jun 23 15:19:44 CEST 2015"),
            ("Monday, 02-Jan-06 15:04:05 MST", "Tuesday, 23-Jun-15 15:19:44 CEST"),
            ("3:04PM 3:04pm 03", "3:19PM 3:19pm 03"),
            ("05.000 05.999999 05,00 .000", "44.128 44.128 44,12 .128"),
            ("-07 -0700 -07:00 Z0700 -070000", "+02 +0200 +02:00 +0200 +020000"),
            ("1/2/06 January 002 __2", "6/23/15 June 174 174"),
            ("_2006 x", "_2015 x"),
            ("Janet Month", "Janet Month"),
            ("4 5", "19 44"),
            ("05.00000000000", "44.128000000"),
            ("05.99999999999", "44.128"),
        ] {
            assert_eq!(time.formatted(layout), text, "{layout}");
        }
        assert_eq!(Time::utc(1_500_000_000).shown(), "1970-01-01 00:00:01.5 +0000 UTC");
        assert_eq!(Time::utc(i64::MIN).shown(), "1677-09-21 00:12:43.145224192 +0000 UTC");
        assert_eq!(Time::utc(0).formatted("2006-01-02T15:04:05Z07:00"), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn durations() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (-2_200_000, "-2.2ms"),
            (3_300_000_000, "3.3s"),
            (-245_000_000_000, "-4m5s"),
            (3_600 * SECOND, "1h0m0s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(duration_shown(nanos), text);
        }
        let rounded =
            [(15, 10), (-15, 10), (14, 10), (i64::MAX, 10)].map(|(nanos, unit)| rounded(nanos, unit));
        assert_eq!(rounded, [20, -20, 10, i64::MAX]);
    }
}
