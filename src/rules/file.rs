//! Rule files, read strictly: groups of parsed rules, or every mistake with its place.
//!
//! Invariants: checks and their texts are Prometheus's where it has them; a file is taken whole or not at all; `$` and
//! `${NAME}` in it are the templates', never the environment's.
//!
//! Source: Prometheus documentation, "Recording rules", "Alerting rules"; what its promtool says of wrong files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::short::Short;
use super::spec::{AlertSpec, GroupSpec, RuleKind, RuleSpec, Templates};
use super::template::Template;
use crate::config::{Document, Documents, Environment, Errors, Limits, LoadError, Section, Value};
use crate::model::{ByteSize, Labels, METRIC_NAME, NameScheme, Quoted};
use crate::promql::ast::{Expr, ValueType};
use crate::promql::{ParseOptions, parse};

/// Some twenty thousand rules; a file that is larger, or nests deeper, is refused within a tenth of a second.
const LIMITS: Limits = Limits {
    size: ByteSize::new(16 << 20),
    depth: 32,
    nodes: 400_000,
    aliases: 10_000,
    errors: 100,
    documents: Documents::First,
};

/// How files are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileOptions {
    /// What expressions may contain.
    pub parse: ParseOptions,
    /// Which names are allowed.
    pub names: NameScheme,
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or everything that is wrong with it.
pub fn load_file(path: &Path, options: &FileOptions) -> Result<Vec<GroupSpec>, LoadError> {
    let document = Document::load(path, &LIMITS)?;
    Ok(read(&document, &path.display().to_string(), options)?)
}

/// Reads a text; `file` stands for the file's name.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_file(file: &str, text: &str, options: &FileOptions) -> Result<Vec<GroupSpec>, Errors> {
    read(&Document::parse(file, text, &LIMITS)?, file, options)
}

fn read(document: &Document, file: &str, options: &FileOptions) -> Result<Vec<GroupSpec>, Errors> {
    let mut reader = Reader { file: file.into(), options, names: BTreeSet::new() };
    document.read(&Environment::off(), |top| {
        let items = top.take_list("groups").unwrap_or_default();
        items.iter().filter_map(|item| reader.group(item)).collect()
    })
}

/// Names and texts as they are written, empty ones too.
type Texts = BTreeMap<String, String>;

struct Reader<'a> {
    file: Arc<str>,
    options: &'a FileOptions,
    /// Groups that the file has so far.
    names: BTreeSet<String>,
}

impl Reader<'_> {
    fn group(&mut self, item: &Value<'_>) -> Option<GroupSpec> {
        let mut section = item.section()?;
        let name = section.take_str("name").unwrap_or_default();
        if name.is_empty() {
            section.error_here("name", "Groupname must not be empty");
        } else if self.names.contains(&name) {
            section.error_here("name", format!("groupname: \"{name}\" is repeated in the same file"));
        }
        self.names.insert(name.clone());
        let title = format!("group {}", Quoted(&name));
        section.entitle(title.clone());
        let interval = section.take_duration("interval").filter(|interval| !interval.is_zero());
        let query_offset = section.take_duration("query_offset");
        // Prometheus reads a negative limit as none.
        let limit = section.take_integer("limit", i64::MIN..=i64::MAX).unwrap_or_default();
        let labels = self.texts(&mut section, &title, "labels", "label");
        let rules = section.take_list("rules").unwrap_or_default();
        let rules = rules.iter().enumerate();
        let rules =
            rules.filter_map(|(at, item)| self.rule(item, &labels, &format!("{title}, rule {}", at + 1)));
        Some(GroupSpec {
            rules: rules.map(Arc::new).collect(),
            name: name.into(),
            file: Arc::clone(&self.file),
            interval,
            query_offset,
            limit: usize::try_from(limit).unwrap_or_default(),
        })
    }

    fn rule(&self, item: &Value<'_>, group_labels: &Texts, place: &str) -> Option<RuleSpec> {
        let mut section = item.section()?;
        let text = |section: &mut Section<'_>, key: &str| section.take_str(key).unwrap_or_default();
        let (record, alert) = (text(&mut section, "record"), text(&mut section, "alert"));
        let name = if alert.is_empty() { &record } else { &alert };
        let title = format!("{place}, {}", Quoted(name));
        section.entitle(title.clone());
        match (record.is_empty(), alert.is_empty()) {
            (false, false) => section.error_here("alert", "only one of 'record' and 'alert' must be set"),
            (true, true) => section.error_here("record", "one of 'record' or 'alert' must be set"),
            _ => {}
        }
        let short = Short::read(&mut section);
        let expr = match &short {
            Some(short) => self.parsed(&section, "metric", &short.expr),
            None => self.expr(&mut section, "expr"),
        };
        if !section.has("expr") && !section.has("metric") {
            section.error_here("expr", "field 'expr' must be set in rule");
        }
        let (labels, annotations) = self.rule_texts(&mut section, &title, group_labels, short.as_ref());
        let kind = self.kind(&mut section, (&record, &alert), (&labels, annotations), short.as_ref());
        let expr = expr?;
        Some(RuleSpec {
            query: expr.to_string(),
            name: name.as_str().into(),
            expr,
            labels: Labels::from_pairs(&labels),
            // Set to nothing: it is taken away from the result.
            removed_labels: labels
                .into_iter()
                .filter(|(_, text)| text.is_empty())
                .map(|(name, _)| name)
                .collect(),
            kind,
            line: item.line(),
            column: item.column(),
            is_short: short.is_some(),
        })
    }

    /// Labels, those of the group among them, and annotations.
    fn rule_texts(
        &self,
        section: &mut Section<'_>,
        title: &str,
        group_labels: &Texts,
        short: Option<&Short>,
    ) -> (Texts, Labels) {
        let mut labels = group_labels.clone();
        let own = self.texts(section, title, "labels", "label");
        let mut annotations = self.texts(section, title, "annotations", "annotation");
        if let Some(short) = short {
            if let Some(severity) = &short.severity {
                if own.contains_key("severity") {
                    let why = "only one of 'severity' and the label of this name must be set";
                    section.error_here("severity", why);
                }
                labels.insert("severity".to_owned(), severity.clone());
            }
            annotations.entry("summary".to_owned()).or_insert_with(|| short.summary.clone());
        }
        labels.extend(own);
        (labels, Labels::texts(annotations))
    }

    fn kind(
        &self,
        section: &mut Section<'_>,
        (record, alert): (&str, &str),
        (labels, annotations): (&Texts, Labels),
        short: Option<&Short>,
    ) -> RuleKind {
        let hold = section.take_duration("for").unwrap_or_default();
        let keep_firing = section.take_duration("keep_firing_for").unwrap_or_default();
        let resolve_when = self.expr(section, "resolve_when");
        if record.is_empty() {
            let cooldown = short.map(|short| short.cooldown).filter(|cooldown| !cooldown.is_zero());
            if cooldown.is_some() && !keep_firing.is_zero() {
                section.error_here("cooldown", "only one of 'keep_firing_for' and 'cooldown' must be set");
            }
            return RuleKind::Alerting(Box::new(AlertSpec {
                hold,
                keep_firing: cooldown.unwrap_or(keep_firing),
                resolve_when,
                label_templates: templates(section, alert, &Labels::from_pairs(labels), "labels", "label"),
                annotation_templates: templates(section, alert, &annotations, "annotations", "annotation"),
                annotations,
            }));
        }
        for (key, is_set) in [
            ("annotations", !annotations.is_empty()),
            ("for", hold > Duration::ZERO),
            ("keep_firing_for", keep_firing > Duration::ZERO),
            ("resolve_when", resolve_when.is_some()),
        ] {
            if is_set {
                section.error_here(key, format!("invalid field '{key}' in recording rule"));
            }
        }
        self.check_record(section, record);
        RuleKind::Recording
    }

    fn check_record(&self, section: &Section<'_>, record: &str) {
        if !self.options.names.allows_metric(record) {
            section.error_here("record", format!("invalid recording rule name: {record}"));
        } else if record.contains(['{', '}']) {
            section.error_here(
                "record",
                format!("braces present in the recording rule name; should it be in expr?: {record}"),
            );
        }
    }

    /// An expression; its own place stands in the message, as Prometheus prints it.
    fn expr(&self, section: &mut Section<'_>, key: &str) -> Option<Expr> {
        let text = section.take_str(key)?;
        self.parsed(section, key, &text)
    }

    fn parsed(&self, section: &Section<'_>, key: &str, text: &str) -> Option<Expr> {
        match parse(text, &self.options.parse) {
            Err(errors) => {
                section.error_here(key, format!("could not parse expression: {errors}"));
                None
            }
            // Prometheus finds this at each evaluation only.
            Ok(expr) => match expr.value_type() {
                ValueType::InstantVector | ValueType::Scalar => Some(expr),
                other => {
                    let other = other.as_str();
                    section.error_here(
                        key,
                        format!("rule result is not a vector or scalar: the expression gives a {other}"),
                    );
                    None
                }
            },
        }
    }

    /// Names and texts under a key; a key without a value is an empty text.
    fn texts(&self, section: &mut Section<'_>, title: &str, key: &str, what: &str) -> Texts {
        let Some(mut inner) = section.take_section(key) else { return Texts::new() };
        inner.entitle(title.to_owned());
        let mut texts = Texts::new();
        for field in inner.take_fields() {
            let name = field.key();
            if !self.options.names.allows_label(name) || (what == "label" && name == METRIC_NAME) {
                field.error_as(title, || format!("invalid {what} name: {name}"));
                continue;
            }
            let text = field.value().map_or(Some(String::new()), |value| value.str());
            texts.extend(text.map(|text| (name.to_owned(), text)));
        }
        texts
    }
}

/// Parses texts under a key of the rule. Those that the group adds have no place in it, so that their mistakes stand
/// at the rule.
fn templates(section: &Section<'_>, alert: &str, texts: &Labels, key: &str, what: &str) -> Templates {
    let read = |(name, text): (&str, &str)| match Template::parse_for(alert, text) {
        Ok(template) => Some((name.to_owned(), Arc::new(template))),
        Err(error) => {
            section.error_below(key, name, format!("{what} {}: {error}", Quoted(name)));
            None
        }
    };
    Templates(texts.iter().filter_map(read).collect())
}
