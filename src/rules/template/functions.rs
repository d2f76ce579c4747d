//! The functions that Prometheus adds to Go's own.
//!
//! Source: Prometheus's template reference; error texts as its `template/template.go` and Go's packages word them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{TemplateQuery, humanize};
use crate::gotemplate::{
    ANY_MAP, Function, Functions, List, Map, Missing, Param, Struct, Time, Type, Value, parse_float,
    url_query,
};
use crate::model::{ColdSort, Labels, PromDuration, Quoted, Replacement, Timestamp, search_regex};

/// The longest text that `reReplaceAll` makes: each match may become much more than it was.
const LONGEST_REPLACED_BYTES: usize = 1 << 20;

/// Regular expressions that one expansion compiles: each can take milliseconds.
const MOST_EXPRESSIONS: usize = 50;

static QUERY_RESULT: Type = Type { name: "template.queryResult", missing: Missing::Nothing, methods: &[] };
static SAMPLE: Type = Type { name: "*template.sample", missing: Missing::Nothing, methods: &[] };
static HTML: Type = Type { name: "template.HTML", missing: Missing::Nothing, methods: &[] };

const fn function(name: &'static str, params: &'static [Param]) -> Function {
    Function { name, params, rest: None }
}

/// All of them.
pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "args", params: &[], rest: Some(Param::Any) },
    function("externalURL", &[]),
    function("first", &[Param::Of(&QUERY_RESULT)]),
    function("graphLink", &[Param::String]),
    function("humanize", &[Param::Any]),
    function("humanize1024", &[Param::Any]),
    function("humanizeDuration", &[Param::Any]),
    function("humanizePercentage", &[Param::Any]),
    function("humanizeTimestamp", &[Param::Any]),
    function("label", &[Param::String, Param::Of(&SAMPLE)]),
    function("match", &[Param::String, Param::String]),
    function("now", &[]),
    function("parseDuration", &[Param::String]),
    function("pathPrefix", &[]),
    function("query", &[Param::String]),
    function("reReplaceAll", &[Param::String, Param::String, Param::String]),
    function("safeHtml", &[Param::String]),
    function("sortByLabel", &[Param::String, Param::Of(&QUERY_RESULT)]),
    function("stripDomain", &[Param::String]),
    function("stripPort", &[Param::String]),
    function("strvalue", &[Param::Of(&SAMPLE)]),
    function("tableLink", &[Param::String]),
    function("title", &[Param::String]),
    function("toDuration", &[Param::Any]),
    function("toLower", &[Param::String]),
    function("toTime", &[Param::Any]),
    function("toUpper", &[Param::String]),
    function("urlQueryEscape", &[Param::String]),
    function("value", &[Param::Of(&SAMPLE)]),
];

/// One expansion's surroundings.
pub(super) struct Expansion<'a> {
    pub(super) external_url: &'a str,
    pub(super) at: Timestamp,
    pub(super) query: &'a dyn TemplateQuery,
    pub(super) queries_left: Cell<usize>,
    pub(super) expressions: RefCell<Vec<(String, regex::Regex)>>,
}

impl Functions for Expansion<'_> {
    fn call(&self, name: &'static str, args: &[Value]) -> Result<Value, String> {
        let arg = |i: usize| args.get(i).unwrap_or(&Value::Nil);
        let text = |i: usize| arg(i).as_str().unwrap_or_default();
        match name {
            "args" => Ok(numbered(args)),
            "externalURL" => Ok(Value::from(self.external_url)),
            "first" => first(arg(0)),
            "graphLink" => Ok(format!("/graph?g0.expr={}&g0.tab=0", url_query(text(0))).into()),
            "humanize" => Ok(humanize::metric(float(arg(0))?).into()),
            "humanize1024" => Ok(humanize::binary(float(arg(0))?).into()),
            "humanizeDuration" => Ok(humanize::duration(float(arg(0))?).into()),
            "humanizePercentage" => Ok(humanize::percentage(float(arg(0))?).into()),
            "humanizeTimestamp" => timestamp(float(arg(0))?),
            "label" => sample(arg(1), "Labels").map(|labels| label(&labels, text(0))),
            "match" => Ok(Value::Bool(self.compiled(text(0))?.is_match(text(1)))),
            "now" => Ok(Value::Float(self.at.as_seconds_f64())),
            "parseDuration" => seconds(text(0)),
            "pathPrefix" => Ok(path_prefix(self.external_url).into()),
            "query" => self.samples(text(0)),
            "reReplaceAll" => self.replaced(text(0), text(1), text(2)),
            "safeHtml" => Ok(Value::Named(&HTML, Arc::from(text(0)))),
            "sortByLabel" => Ok(sorted(text(0), arg(1))),
            "stripDomain" => Ok(without_domain(text(0)).into()),
            "stripPort" => Ok(Value::from(host_and_port(text(0)).map_or(text(0), |(host, _)| host))),
            "strvalue" => sample(arg(0), "Labels").map(|labels| label(&labels, "__value__")),
            "tableLink" => Ok(format!("/graph?g0.expr={}&g0.tab=1", url_query(text(0))).into()),
            "title" => Ok(title(text(0)).into()),
            "toDuration" => Ok(Value::Duration((float(arg(0))? * 1e9) as i64)),
            "toLower" => Ok(text(0).chars().map(lower).collect::<String>().into()),
            "toTime" => time(float(arg(0))?),
            "toUpper" => Ok(text(0).chars().map(upper).collect::<String>().into()),
            "urlQueryEscape" => Ok(url_query(text(0)).into()),
            "value" => sample(arg(0), "Value"),
            other => Err(format!("{other:?} is not a defined function")),
        }
    }
}

impl Expansion<'_> {
    fn samples(&self, expr: &str) -> Result<Value, String> {
        let Some(left) = self.queries_left.get().checked_sub(1) else {
            return Err(format!("more than {} queries in one template", super::MOST_QUERIES));
        };
        self.queries_left.set(left);
        let samples = self.query.query(expr, self.at)?;
        let samples = samples.iter().map(|(labels, value)| as_sample(labels, *value));
        Ok(Value::List(List::new(&QUERY_RESULT, samples.collect::<Vec<_>>())))
    }
}

impl Expansion<'_> {
    /// A regular expression, compiled at its first use.
    fn compiled(&self, pattern: &str) -> Result<regex::Regex, String> {
        let mut known = self.expressions.borrow_mut();
        if let Some((_, regex)) = known.iter().find(|(text, _)| text == pattern) {
            return Ok(regex.clone());
        }
        if known.len() >= MOST_EXPRESSIONS {
            return Err(format!("more than {MOST_EXPRESSIONS} regular expressions in one template"));
        }
        let regex = search_regex(pattern).map_err(|error| error.to_string())?;
        known.push((pattern.to_owned(), regex.clone()));
        Ok(regex)
    }

    /// All matches replaced; `$1`, `${name}` in the replacement stand for what matched.
    fn replaced(&self, pattern: &str, replacement: &str, text: &str) -> Result<Value, String> {
        let regex =
            self.compiled(pattern).map_err(|error| format!("regexp: Compile(`{pattern}`): {error}"))?;
        let replacement = Replacement::new(replacement, &regex);
        let (mut out, mut copied) = (String::with_capacity(text.len()), 0);
        for found in regex.captures_iter(text) {
            let Some(whole) = found.get(0) else { continue };
            out.push_str(text.get(copied..whole.start()).unwrap_or_default());
            replacement.expand_into(&found, &mut out, LONGEST_REPLACED_BYTES);
            copied = whole.end();
            if out.len() > LONGEST_REPLACED_BYTES {
                return Err(format!("the result is longer than {LONGEST_REPLACED_BYTES} bytes"));
            }
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        Ok(out.into())
    }
}

fn as_sample(labels: &Labels, value: f64) -> Value {
    let fields = [("Labels", Value::string_map(labels.iter())), ("Value", Value::Float(value))];
    Value::Struct(Struct::new(&SAMPLE, fields))
}

fn numbered(args: &[Value]) -> Value {
    let entries: BTreeMap<Arc<str>, Value> =
        args.iter().enumerate().map(|(i, value)| (Arc::from(format!("arg{i}")), value.clone())).collect();
    Value::Map(Map::new(&ANY_MAP, entries))
}

fn first(samples: &Value) -> Result<Value, String> {
    let first = match samples {
        Value::List(list) => list.items().first(),
        _ => None,
    };
    first.cloned().ok_or_else(|| "first() called on vector with no elements".to_owned())
}

/// A field of a sample.
fn sample(value: &Value, field: &str) -> Result<Value, String> {
    match value {
        Value::Struct(object) => Ok(object.get(field).cloned().unwrap_or(Value::Nil)),
        _ => Err("runtime error: invalid memory address or nil pointer dereference".to_owned()),
    }
}

fn label(labels: &Value, name: &str) -> Value {
    match labels {
        Value::Map(map) => map.get(name),
        _ => Value::from(""),
    }
}

/// Stable: samples of the same value stay in order.
fn sorted(name: &str, samples: &Value) -> Value {
    let Value::List(list) = samples else { return samples.clone() };
    let key = |value: &Value| sample(value, "Labels").map(|labels| label(&labels, name));
    let mut items: Vec<(Arc<str>, Value)> = list
        .items()
        .iter()
        .map(|item| {
            let key = key(item).unwrap_or(Value::Nil);
            (Arc::from(key.as_str().unwrap_or_default()), item.clone())
        })
        .collect();
    items.cold_sort_by(|(one, _), (other, _)| one.cmp(other));
    Value::List(List::new(list.of, items.into_iter().map(|(_, item)| item).collect::<Vec<_>>()))
}

/// A number from whatever is one.
fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::String(text) => parse_float(text),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// The instant of seconds since 1970, to the millisecond.
fn time(seconds: f64) -> Result<Value, String> {
    if !seconds.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let nanos = seconds * 1e9;
    if !(i64::MIN as f64..=-(i64::MIN as f64)).contains(&nanos) {
        let shown = crate::gotemplate::sprintf("%v", &[Value::Float(seconds)], 100);
        return Err(format!(
            "{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(Value::Time(Time::utc(nanos as i64 / 1_000_000 * 1_000_000)))
}

fn timestamp(seconds: f64) -> Result<Value, String> {
    if !seconds.is_finite() {
        return Ok(humanize::four_digits(seconds).into());
    }
    match time(seconds)? {
        Value::Time(time) => Ok(time.shown().into()),
        other => Ok(other),
    }
}

fn seconds(text: &str) -> Result<Value, String> {
    use crate::model::DurationError;
    let quoted = Quoted(text);
    match text.parse::<PromDuration>() {
        Ok(duration) => Ok(Value::Float(duration.get().as_millis() as f64 / 1000.0)),
        Err(DurationError::Empty) => Err("empty duration string".to_owned()),
        Err(DurationError::OutOfRange(_)) => Err("duration out of range".to_owned()),
        Err(DurationError::Invalid(_)) => Err(format!("not a valid duration string: {quoted}")),
    }
}

/// Words with their first letter in upper case; a word ends where neither letter, digit nor `_` stands.
fn title(text: &str) -> String {
    let mut before = ' ';
    text.chars()
        .map(|c| {
            let begins = match before {
                '_' => false,
                b if b.is_ascii() => !b.is_ascii_alphanumeric(),
                b => !b.is_alphanumeric() && b.is_whitespace(),
            };
            before = c;
            match c {
                c if !begins => c,
                // The few characters that are two letters have a form for this place.
                'Ǆ'..='ǆ' => 'ǅ',
                'Ǉ'..='ǉ' => 'ǈ',
                'Ǌ'..='ǌ' => 'ǋ',
                'Ǳ'..='ǳ' => 'ǲ',
                c => upper(c),
            }
        })
        .collect()
}

/// One character for one, as Go maps them.
fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(upper), None) => upper,
        _ => c,
    }
}

fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// `host:port` or `[host]:port` apart; `None` where Go's `SplitHostPort` fails.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let (before, port) = text.rsplit_once(':')?;
    let host = match before.strip_prefix('[') {
        Some(inner) => {
            let host = inner.strip_suffix(']')?;
            if host.contains(']') {
                return None;
            }
            host
        }
        None if before.contains(':') => return None,
        None => before,
    };
    (!host.contains('[')
        && !before.get(1..).is_some_and(|rest| rest.contains('['))
        && !port.contains(['[', ']']))
    .then_some((host, port))
    .filter(|_| before.starts_with('[') || !host.contains(']'))
}

/// The first part of a host's name; addresses stay.
fn without_domain(text: &str) -> String {
    let (host, port) = host_and_port(text).unwrap_or((text, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let name = host.split('.').next().unwrap_or_default();
    match port {
        "" => name.to_owned(),
        port if name.contains(':') => format!("[{name}]:{port}"),
        port => format!("{name}:{port}"),
    }
}

/// The path of a URL: what follows the host.
fn path_prefix(url: &str) -> String {
    let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = behind_scheme.find(['/', '?', '#']).and_then(|at| behind_scheme.get(at..)).unwrap_or_default();
    path.split(['?', '#']).next().unwrap_or_default().to_owned()
}
