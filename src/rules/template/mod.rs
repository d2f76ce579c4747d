//! Templates in the labels and annotations of alerts, as Prometheus 3 expands them.
//!
//! Invariant: no IO of its own and no clock; queries go through [`TemplateQuery`], at the instant of the evaluation.
//! Time, output and queries of an expansion are bounded.
//!
//! Source: Prometheus's template reference, and `template/template.go`'s behaviour, checked against `promtool`
//! (`tests/peers/templates.py`).

mod functions;
mod humanize;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;

use crate::gotemplate::{self, Limits, Struct, Type, Value};
use crate::model::{Labels, Timestamp};

pub use crate::gotemplate::TemplateError;
use functions::{Expansion, FUNCTIONS};

/// Puts the variables that rules know before a template's text. Columns in errors count it, as Prometheus's do.
const VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                         {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// The longest expansion. Labels and annotations travel with every notification.
const LONGEST_EXPANSION_BYTES: usize = 256 << 10;

/// Queries of one expansion. Each is bounded by the query engine; together they must end, too.
const MOST_QUERIES: usize = 100;

/// The text of a label or annotation.
///
/// Read when the rule is, to tell what is wrong with it, and kept as text until an alert needs it: most alerts never fire,
/// and what has been read takes many times the room of the text.
#[derive(Debug)]
pub struct Template {
    name: String,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// Nothing is to be expanded.
    Plain(String),
    Template {
        text: String,
        read: OnceLock<Result<gotemplate::Template, TemplateError>>,
    },
}

/// What a template is about.
#[derive(Clone, Copy, Debug)]
pub struct TemplateData<'a> {
    /// `.Labels`: those of the alert's sample.
    pub labels: &'a Labels,
    /// `.ExternalLabels`: those of this instance.
    pub external_labels: &'a Labels,
    /// `.ExternalURL`: where this instance is reached from outside.
    pub external_url: &'a str,
    /// `.Value`: that of the alert's sample.
    pub value: f64,
}

/// Who answers the queries of templates.
pub trait TemplateQuery {
    /// The samples of an instant query; a scalar is one sample without labels.
    ///
    /// # Errors
    /// The query is wrong or failed, in Prometheus's words.
    fn query(&self, expr: &str, at: Timestamp) -> Result<Vec<(Labels, f64)>, String>;
}

static DATA: Type = Type {
    name: "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }",
    missing: gotemplate::Missing::Nothing,
    methods: &[],
};

impl Template {
    /// Reads the template of an alert without a name.
    ///
    /// # Errors
    /// As [`Template::parse_for`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Self::parse_for("", text)
    }

    /// Reads a template of an alert, whose name stands in errors.
    ///
    /// # Errors
    /// `template: __alert_NAME:LINE: ...`, as Prometheus words it.
    pub fn parse_for(alert: &str, text: &str) -> Result<Self, TemplateError> {
        let name = format!("__alert_{alert}");
        // What opens no action is no more than itself.
        let body = match text.contains("{{") {
            false => Body::Plain(text.to_owned()),
            true => {
                read(&name, text)?;
                Body::Template { text: text.to_owned(), read: OnceLock::new() }
            }
        };
        Ok(Self { name, body })
    }

    /// Expands the template for a sample.
    ///
    /// # Errors
    /// What stands behind `<error expanding template: ` in Prometheus's labels and annotations.
    pub fn expand(
        &self,
        data: &TemplateData<'_>,
        at: Timestamp,
        query: &dyn TemplateQuery,
    ) -> Result<String, String> {
        let template = match &self.body {
            Body::Plain(text) => return Ok(text.clone()),
            Body::Template { text, read: kept } => {
                kept.get_or_init(|| read(&self.name, text)).as_ref().map_err(ToString::to_string)?
            }
        };
        let expansion = Expansion {
            external_url: data.external_url,
            at,
            query,
            queries_left: Cell::new(MOST_QUERIES),
            expressions: RefCell::default(),
        };
        let limits = Limits { output_bytes: LONGEST_EXPANSION_BYTES, ..Limits::default() };
        template
            .expand(&as_value(data), &expansion, limits)
            .map_err(|why| format!("error executing template {}: {why}", self.name))
    }
}

fn read(name: &str, text: &str) -> Result<gotemplate::Template, TemplateError> {
    gotemplate::Template::parse(name, &format!("{VARIABLES}{text}"), FUNCTIONS)
}

fn as_value(data: &TemplateData<'_>) -> Value {
    Value::Struct(Struct::new(
        &DATA,
        [
            ("Labels", labels(data.labels)),
            ("ExternalLabels", labels(data.external_labels)),
            ("ExternalURL", Value::from(data.external_url)),
            ("Value", Value::Float(data.value)),
        ],
    ))
}

fn labels(labels: &Labels) -> Value {
    Value::string_map(labels.iter())
}
