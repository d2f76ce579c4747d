//! A file of unit tests, read strictly: all its mistakes, each with its place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Document, Documents, Environment, Limits, LoadError, Section, Value};
use crate::model::{ByteSize, ColdSort, Labels, Timestamp};
use crate::promql::test_file::{Item, SeriesError, SeriesLine, parse_series};

/// As of rule files.
const LIMITS: Limits = Limits {
    size: ByteSize::new(16 << 20),
    depth: 32,
    nodes: 400_000,
    aliases: 10_000,
    errors: 100,
    documents: Documents::One,
};

/// Most values that the series of a file may stand for: about half a gigabyte of them.
const MOST_VALUES: usize = 20_000_000;

/// Most evaluations of one test: two years, one a minute.
const MOST_EVALUATIONS: u128 = 1_000_000;

/// What `evaluation_interval` is if it is not set.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// A file of tests.
#[derive(Clone, Debug)]
pub struct UnitTests {
    /// `rule_files`: paths and patterns, relative ones from the file's own folder.
    pub rule_files: Vec<PathBuf>,
    /// `evaluation_interval`: between two evaluations of all rules.
    pub evaluation_interval: Duration,
    /// `fuzzy_compare`: numbers that are neighbours are equal.
    pub fuzzy_compare: bool,
    /// `group_eval_order`: names of groups in the order of their evaluation. Others come with the first.
    pub group_eval_order: Vec<String>,
    /// `tests`
    pub tests: Vec<UnitTest>,
}

/// One test.
#[derive(Clone, Debug)]
pub struct UnitTest {
    /// `name`
    pub name: String,
    /// `interval`: between two values of a series.
    pub interval: Duration,
    /// `start_timestamp`: when the series and the evaluations begin.
    pub start: Timestamp,
    /// `input_series`
    pub series: Vec<SeriesLine>,
    /// `alert_rule_test`
    pub alerts: Vec<AlertTest>,
    /// `promql_expr_test`
    pub exprs: Vec<ExprTest>,
    /// `external_labels`
    pub external_labels: Labels,
    /// `external_url`
    pub external_url: String,
}

/// All alerts of a name that must fire at one instant.
#[derive(Clone, Debug)]
pub struct AlertTest {
    /// `eval_time`, behind the start.
    pub at: Duration,
    /// `alertname`; empty where it is missing.
    pub name: String,
    /// `exp_alerts`
    pub expected: Vec<ExpectedAlert>,
}

/// An alert that must fire. Names and texts as they are written, in order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedAlert {
    /// `exp_labels`
    pub labels: Vec<(String, String)>,
    /// `exp_annotations`
    pub annotations: Vec<(String, String)>,
}

/// The samples that an expression must give at one instant.
#[derive(Clone, Debug)]
pub struct ExprTest {
    /// `expr`
    pub expr: String,
    /// `eval_time`, behind the start.
    pub at: Duration,
    /// `exp_samples`
    pub expected: Vec<(Labels, f64)>,
}

impl UnitTests {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Ok(read(&Document::load(path, &LIMITS)?)?)
    }

    /// Reads a text; `file` stands for the file's name.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &str, text: &str) -> Result<Self, crate::config::Errors> {
        read(&Document::parse(file, text, &LIMITS)?)
    }
}

fn read(document: &Document) -> Result<UnitTests, crate::config::Errors> {
    document.read(&Environment::off(), |top| {
        let rule_files = top.take_list("rule_files").unwrap_or_default();
        let rule_files = rule_files.iter().filter_map(Value::path_buf).collect();
        let interval = interval(top, "evaluation_interval").unwrap_or(DEFAULT_INTERVAL);
        let fuzzy_compare = top.take_bool("fuzzy_compare").unwrap_or_default();
        let mut group_eval_order: Vec<String> = Vec::new();
        for name in top.take_strings("group_eval_order").unwrap_or_default() {
            if group_eval_order.contains(&name) {
                top.error_here(
                    "group_eval_order",
                    format!("group name repeated in evaluation order: {name}"),
                );
            }
            group_eval_order.push(name);
        }
        let tests = top.take_list("tests").unwrap_or_default();
        let mut values_left = MOST_VALUES;
        let tests = tests.iter().filter_map(|item| test(item, interval, &mut values_left)).collect();
        UnitTests { rule_files, evaluation_interval: interval, fuzzy_compare, group_eval_order, tests }
    })
}

/// A duration; none at all stands for what is usual.
fn interval(section: &mut Section<'_>, key: &str) -> Option<Duration> {
    section.take_duration(key).filter(|interval| !interval.is_zero())
}

fn test(item: &Value<'_>, evaluation_interval: Duration, values_left: &mut usize) -> Option<UnitTest> {
    let mut section = item.section()?;
    let name = section.take_str("name").unwrap_or_default();
    let step = interval(&mut section, "interval").unwrap_or(evaluation_interval);
    let start = section.take("start_timestamp").and_then(|value| timestamp(&value)).unwrap_or_default();
    let series = section.take_list("input_series").unwrap_or_default();
    let series = series.iter().filter_map(|item| input_series(item, values_left)).collect();
    let alerts = section.take_list("alert_rule_test").unwrap_or_default();
    let alerts = alerts.iter().filter_map(|item| alert_test(item, evaluation_interval)).collect();
    let exprs = section.take_list("promql_expr_test").unwrap_or_default();
    let exprs = exprs.iter().filter_map(|item| expr_test(item, evaluation_interval)).collect();
    let external_labels = Labels::from_pairs(texts(&mut section, "external_labels"));
    let external_url = section.take_str("external_url").unwrap_or_default();
    Some(UnitTest { name, interval: step, start, series, alerts, exprs, external_labels, external_url })
}

/// Seconds since 1970, or a date and time as RFC 3339 writes it.
fn timestamp(value: &Value<'_>) -> Option<Timestamp> {
    value.parse_with("a timestamp", |text| {
        if let Ok(seconds) = text.parse::<f64>()
            && (seconds * 1000.0).abs() < 9e15
        {
            return Ok(Timestamp::from_millis((seconds * 1000.0).round() as i64));
        }
        let read = text
            .parse::<jiff::Timestamp>()
            .map_err(|_| "expected seconds since 1970, or a time such as 2026-01-31T12:00:00Z".to_owned())?;
        Ok(Timestamp::from_millis(read.as_millisecond()))
    })
}

fn input_series(item: &Value<'_>, values_left: &mut usize) -> Option<SeriesLine> {
    let mut section = item.section()?;
    let series = section.take_str("series").unwrap_or_default();
    let values = section.take_str("values").unwrap_or_default();
    // Alone first, so that an open brace is not sought in the values.
    let of_series = parse_series(&series).map_err(|error| ("series", error));
    let line = of_series.and_then(|_| {
        let behind_series = |(at, message): SeriesError| (at.saturating_sub(series.len() + 1), message);
        parse_series(&format!("{series} {values}")).map_err(|error| ("values", behind_series(error)))
    });
    let line = match line {
        Ok(line) => line,
        Err((key, (at, message))) => {
            section.error_here(key, format!("{message} (at character {})", at + 1));
            return None;
        }
    };
    if line.items.iter().any(|item| matches!(item, Item::Histogram)) {
        section.error_here("values", "native histograms are not supported");
    }
    match values_left.checked_sub(line.items.len()) {
        Some(left) => *values_left = left,
        None => {
            section.error_here("values", format!("the file has more than {MOST_VALUES} values"));
            return None;
        }
    }
    Some(line)
}

/// When a test looks; not so late that the way there never ends.
fn eval_time(section: &mut Section<'_>, evaluation_interval: Duration) -> Duration {
    let at = section.take_duration("eval_time").unwrap_or_default();
    let evaluations = at.as_millis() / evaluation_interval.as_millis().max(1);
    if evaluations > MOST_EVALUATIONS {
        section.error_here(
            "eval_time",
            format!(
                "more than {MOST_EVALUATIONS} evaluations until then; a longer evaluation_interval helps"
            ),
        );
        return Duration::ZERO;
    }
    at
}

fn alert_test(item: &Value<'_>, evaluation_interval: Duration) -> Option<AlertTest> {
    let mut section = item.section()?;
    let at = eval_time(&mut section, evaluation_interval);
    let name = section.take_str("alertname").unwrap_or_default();
    if name.is_empty() {
        let at = crate::model::PromDuration::new(at);
        let message =
            format!("an item under alert_rule_test misses required attribute alertname at eval_time {at}");
        section.error_here("alertname", message);
    }
    let expected = section.take_list("exp_alerts").unwrap_or_default();
    let expected = expected.iter().filter_map(|item| {
        let mut section = item.section()?;
        let (mut labels, annotations) =
            (texts(&mut section, "exp_labels"), texts(&mut section, "exp_annotations"));
        labels.retain(|(label, _)| label != "alertname");
        labels.push(("alertname".to_owned(), name.clone()));
        labels.cold_sort();
        Some(ExpectedAlert { labels, annotations })
    });
    let expected = expected.collect();
    Some(AlertTest { at, name, expected })
}

fn expr_test(item: &Value<'_>, evaluation_interval: Duration) -> Option<ExprTest> {
    let mut section = item.section()?;
    let expr = section.take_str("expr").unwrap_or_default();
    let at = eval_time(&mut section, evaluation_interval);
    let expected = section.take_list("exp_samples").unwrap_or_default();
    let expected = expected.iter().filter_map(|item| {
        let mut section = item.section()?;
        let labels = section.take_str("labels").unwrap_or_default();
        let value = section.take("value").and_then(|value| number(&value)).unwrap_or_default();
        if section.take("histogram").is_some() {
            section.error_here("histogram", "native histograms are not supported");
        }
        match parse_series(if labels.is_empty() { "{}" } else { &labels }) {
            Ok(line) if line.items.is_empty() => Some((line.labels, value)),
            Ok(_) => {
                section.error_here("labels", "expected nothing behind the labels");
                None
            }
            Err((at, message)) => {
                section.error_here("labels", format!("{message} (at character {})", at + 1));
                None
            }
        }
    });
    let expected = expected.collect();
    Some(ExprTest { expr, at, expected })
}

/// A number as YAML writes it, `.inf` and `.nan` among them.
fn number(value: &Value<'_>) -> Option<f64> {
    value.parse_with("a number", |text| {
        let plain = text.to_ascii_lowercase().replace(".inf", "inf").replace(".nan", "nan");
        plain.parse::<f64>().map_err(|_| "expected a number".to_owned())
    })
}

/// Names and texts under a key, in order of the names.
fn texts(section: &mut Section<'_>, key: &str) -> Vec<(String, String)> {
    let Some(mut inner) = section.take_section(key) else { return Vec::new() };
    let mut texts: Vec<(String, String)> = inner
        .take_fields()
        .iter()
        .filter_map(|field| {
            let text = field.value().map_or(Some(String::new()), |value| value.str());
            Some((field.key().to_owned(), text?))
        })
        .collect();
    texts.cold_sort();
    texts
}
