//! The key `scorecard`: pillars, their values and formulas, read strictly.
//!
//! Invariants: whatever a formula names is known; what is wrong is told at its place, all of it at once. Names of
//! objectives and rules are checked once those are read ([`ScorecardSettings::card`]), with the place kept from here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use super::formula::Formula;
use crate::config::{Document, Environment, Limits, Section, Value, closest};
use crate::promql::ast::{Expr, ValueType};
use crate::promql::{ParseOptions, parse};

/// Most pillars.
const MOST_PILLARS: usize = 20;

/// Most values of a pillar.
const MOST_VALUES: usize = 20;

/// Most patterns of a value.
const MOST_PATTERNS: usize = 100;

/// Longest name of a pillar or a value.
const LONGEST_NAME: usize = 40;

/// Texts that a formula would take for numbers, truths or functions.
const TAKEN: [&str; 16] = [
    "abs", "ceil", "clamp", "exp", "false", "floor", "if", "inf", "infinity", "ln", "max", "min", "nan",
    "round", "sqrt", "true",
];

/// What an objective gives: names behind its own and a dot.
pub(super) const SLO_FIELDS: [&str; 6] =
    ["burn_rate", "consumed", "events_left", "objective", "remaining", "sli"];

/// What rules give.
pub(super) const RULE_FIELDS: [&str; 3] = ["firing", "health", "measured"];

/// The key `scorecard`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorecardSettings {
    enabled: bool,
    configured: Option<Arc<Card>>,
}

impl Default for ScorecardSettings {
    fn default() -> Self {
        Self { enabled: true, configured: None }
    }
}

/// What is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    pub(super) pillars: Vec<Pillar>,
    /// Somebody has written it for this program.
    pub(super) is_configured: bool,
}

/// One side of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pillar {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) weight: f64,
    pub(super) target: f64,
    /// Where the score is 0; beyond the target on the bad side.
    pub(super) worst: f64,
    /// From here on to the target it is near.
    pub(super) near: f64,
    pub(super) values: BTreeMap<String, Named>,
    pub(super) formula: Formula,
}

/// A value with a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named {
    pub(super) source: Source,
    /// What stands for it where there is none.
    pub(super) default: Option<f64>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    Query { text: String, expr: Box<Expr>, place: String },
    Slo { id: String, place: String },
    Rules { patterns: Vec<String>, places: Vec<String> },
}

impl Source {
    /// The names that a formula has from it.
    pub(super) fn names(&self, own: &str) -> Vec<String> {
        let below = |fields: &[&str]| fields.iter().map(|field| format!("{own}.{field}")).collect();
        match self {
            Self::Query { .. } => vec![own.to_owned()],
            Self::Slo { .. } => below(&SLO_FIELDS),
            Self::Rules { .. } => below(&RULE_FIELDS),
        }
    }
}

/// What is there to be judged by.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// Ids of objectives.
    pub slos: Vec<&'a str>,
    /// Names of alert rules.
    pub alerts: BTreeSet<&'a str>,
    /// What queries may contain.
    pub parse: &'a ParseOptions,
}

/// The card of where none is configured.
static BUILT_IN: LazyLock<Option<Arc<Card>>> = LazyLock::new(|| {
    let document = Document::parse("default.yml", include_str!("default.yml"), &Limits::default()).ok()?;
    let settings = document.read(&Environment::off(), ScorecardSettings::read).ok()?;
    let card = Card { is_configured: false, ..(*settings.configured?).clone() };
    Some(Arc::new(card))
});

impl ScorecardSettings {
    /// Reads the key from the top level of a file. Mistakes are noted in it.
    pub fn read(top: &mut Section<'_>) -> Self {
        let mut settings = Self::default();
        let Some(mut section) = top.take_section("scorecard") else { return settings };
        settings.enabled = section.take_bool("enabled").unwrap_or(true);
        let Some(mut pillars) = section.take_section("pillars") else { return settings };
        let mut read = Vec::new();
        for (name, value) in pillars.take_rest() {
            if read.len() >= MOST_PILLARS {
                value.error(format!("more than {MOST_PILLARS} pillars"));
                break;
            }
            read.extend(read_pillar(name, &value));
        }
        if !read.is_empty() {
            settings.configured = Some(Arc::new(Card { pillars: read, is_configured: true }));
        }
        settings
    }

    /// The card to be judged by; `None` where it is switched off, or nothing is there that the built-in one reads.
    ///
    /// # Errors
    /// Every objective and rule that is not there, each with its place.
    pub fn card(&self, known: &Known<'_>) -> Result<Option<Arc<Card>>, Vec<String>> {
        let nothing = known.slos.is_empty() && known.alerts.is_empty();
        match &self.configured {
            _ if !self.enabled => Ok(None),
            Some(card) => {
                let sources = card.pillars.iter().flat_map(|pillar| pillar.values.values());
                let errors: Vec<String> = sources.flat_map(|named| check(&named.source, known)).collect();
                if errors.is_empty() { Ok(Some(Arc::clone(card))) } else { Err(errors) }
            }
            None if nothing => Ok(None),
            None => Ok(BUILT_IN.clone()),
        }
    }
}

/// Whether a name fits a pattern, in which `*` stands for any text.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        // The first place leaves most for those that follow.
        match name.find(part) {
            Some(at) => name = name.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

fn check(source: &Source, known: &Known<'_>) -> Vec<String> {
    let mut errors = Vec::new();
    let hint = |name: &str, names: &mut dyn Iterator<Item = &str>| {
        closest(name, names.collect::<Vec<_>>())
            .map(|word| format!("; did you mean {word:?}?"))
            .unwrap_or_default()
    };
    match source {
        Source::Query { text, place, .. } => {
            // The file alone does not tell which features are on.
            if let Err(error) = parse(text, known.parse) {
                errors.push(format!("{place}: could not parse expression: {error}"));
            }
        }
        Source::Slo { id, place } => {
            if !id.contains('*') && !known.slos.contains(&id.as_str()) {
                let hint = hint(id, &mut known.slos.iter().copied());
                errors.push(format!("{place}: no SLO of slo_files has the id {id:?}{hint}"));
            }
        }
        Source::Rules { patterns, places } => {
            for (pattern, place) in patterns.iter().zip(places) {
                if !known.alerts.iter().any(|alert| fits(pattern, alert)) {
                    let hint = hint(pattern, &mut known.alerts.iter().copied());
                    errors.push(format!("{place}: no alert rule is called {pattern:?}{hint}"));
                }
            }
        }
    }
    errors
}

fn read_pillar(name: &str, value: &Value<'_>) -> Option<Pillar> {
    if !is_name(name) {
        value.error(format!("the name of a pillar has letters, digits and \"_\", at most {LONGEST_NAME}"));
    }
    let mut section = value.section()?;
    let unit = section.take_str("unit").unwrap_or_default();
    if unit.chars().count() > 10 || unit.chars().any(char::is_control) {
        section.error("unit", "a unit of at most 10 characters");
    }
    let weight = section.take_float("weight").unwrap_or(1.0);
    if !(0.0..=1_000.0).contains(&weight) || weight == 0.0 {
        section.error("weight", "expected a number above 0, at most 1000");
    }
    section.require("target");
    let target = section.take_float("target");
    let worst = section.take_float("worst").unwrap_or(0.0);
    let near = section.take_float("near");
    if let Some(target) = target {
        check_bounds(&section, target, worst, near);
    }
    let values = read_values(&mut section);
    let formula = read_formula(&mut section, &values);
    let target = target?;
    let near = near.unwrap_or(f64::midpoint(target, worst));
    Some(Pillar {
        name: name.to_owned(),
        unit,
        weight,
        target,
        worst,
        near,
        values: values.into_iter().filter_map(|(name, named)| Some((name, named?))).collect(),
        formula: formula?,
    })
}

fn check_bounds(section: &Section<'_>, target: f64, worst: f64, near: Option<f64>) {
    if (target - worst).abs() <= f64::EPSILON * target.abs() {
        let key = if section.has("worst") { "worst" } else { "target" };
        section.error(
            key,
            format!("\"target\" and \"worst\" are both {target}; \"worst\" says where the score is 0"),
        );
    } else if near.is_some_and(|near| !(target.min(worst)..=target.max(worst)).contains(&near)) {
        section.error(
            "near",
            format!("expected a number between \"worst\" ({worst}) and \"target\" ({target})"),
        );
    }
}

/// The values by name; `None` where one is wrong, so that a formula that names it is not wrong as well.
fn read_values(section: &mut Section<'_>) -> BTreeMap<String, Option<Named>> {
    let mut values = BTreeMap::new();
    section.require("values");
    let Some(mut given) = section.take_section("values") else { return values };
    for (name, value) in given.take_rest() {
        if values.len() >= MOST_VALUES {
            value.error(format!("more than {MOST_VALUES} values"));
            break;
        }
        if !is_name(name) || TAKEN.contains(&name.to_ascii_lowercase().as_str()) {
            let why = "letters, digits and \"_\", and is no number, function or truth of a formula";
            value.error(format!("the name of a value has {why}"));
        }
        values.insert(name.to_owned(), read_value(&value));
    }
    values
}

fn read_value(value: &Value<'_>) -> Option<Named> {
    let mut section = value.section()?;
    let default = section.take_float("default");
    let query = section.take("query").map(|value| read_query(&value));
    let slo = section.take("slo").map(|value| Some(Source::Slo { id: value.str()?, place: value.place() }));
    let rules = section.take("rules").map(|value| read_patterns(&value));
    let mut given = [query, slo, rules].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(source), None) => Some(Named { source: source?, default }),
        _ => {
            value.error("expected exactly one of \"query\", \"slo\", \"rules\"");
            None
        }
    }
}

fn read_query(value: &Value<'_>) -> Option<Source> {
    let text = value.literal()?;
    let everything = ParseOptions {
        experimental_functions: true,
        duration_expressions: true,
        extended_range_selectors: true,
        binop_fill: true,
        ..ParseOptions::default()
    };
    match parse(&text, &everything) {
        Ok(expr) if matches!(expr.value_type(), ValueType::InstantVector | ValueType::Scalar) => {
            Some(Source::Query { text, expr: Box::new(expr), place: value.place() })
        }
        Ok(expr) => {
            value.error(format!(
                "expected a scalar or an instant vector, found a {}",
                expr.value_type().as_str()
            ));
            None
        }
        Err(error) => {
            value.error(format!("could not parse expression: {error}"));
            None
        }
    }
}

fn read_patterns(value: &Value<'_>) -> Option<Source> {
    let items = value.list()?;
    if items.is_empty() || items.len() > MOST_PATTERNS {
        value
            .error(format!("expected names of alert rules, 1 to {MOST_PATTERNS}; \"*\" stands for any text"));
        return None;
    }
    let patterns: Option<Vec<String>> = items.iter().map(Value::str).collect();
    Some(Source::Rules { patterns: patterns?, places: items.iter().map(Value::place).collect() })
}

/// The formula; where there is one query and no formula, that.
fn read_formula(section: &mut Section<'_>, values: &BTreeMap<String, Option<Named>>) -> Option<Formula> {
    let all_names = |(name, named): (&String, &Option<Named>)| match named {
        Some(named) => named.source.names(name),
        None => [SLO_FIELDS.as_slice(), RULE_FIELDS.as_slice()]
            .concat()
            .iter()
            .map(|field| format!("{name}.{field}"))
            .chain([name.clone()])
            .collect(),
    };
    let known: BTreeSet<String> = values.iter().flat_map(all_names).collect();
    let Some(value) = section.take("formula") else {
        let mut all = values.iter();
        let only = all.next().filter(|_| all.next().is_none());
        return match only {
            Some((name, Some(Named { source: Source::Query { .. }, .. }))) => {
                Formula::parse(name, &known).ok()
            }
            Some((_, None)) => None,
            _ => {
                section.require("formula");
                None
            }
        };
    };
    let text = value.literal()?;
    match Formula::parse(&text, &known) {
        Ok(formula) => Some(formula),
        Err(why) => {
            value.error(why);
            None
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.len() <= LONGEST_NAME
        && name.bytes().all(plain)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
}
