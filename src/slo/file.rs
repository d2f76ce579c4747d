//! SLO files: which format a document has, and what only the file as a whole can tell.
//!
//! Invariants: a file is taken whole or not at all, with all its mistakes; `$` and `${NAME}` in it are the queries' and
//! the templates', never the environment's; no two objectives of a file have one id.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::spec::{Indicator, Slo};
use super::warning::{Warning, warnings};
use super::{openslo, pyrra, sloth};
use crate::config::{Document, Documents, Environment, Errors, Limits, LoadError, Section, Value};
use crate::model::ByteSize;

/// Some two thousand objectives.
const LIMITS: Limits = Limits {
    size: ByteSize::new(4 << 20),
    depth: 32,
    nodes: 100_000,
    aliases: 10_000,
    errors: 100,
    documents: Documents::Any,
};

/// How files are read.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// Period of objectives that name none.
    pub default_period: Duration,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self { default_period: Duration::from_secs(30 * 86_400) }
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct SloFile {
    /// Its objectives, in their order.
    pub slos: Vec<Slo>,
    /// What is right and yet odd, in the order of the lines.
    pub warnings: Vec<Warning>,
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or everything that is wrong with it.
pub fn load_file(path: &Path, options: &FileOptions) -> Result<SloFile, LoadError> {
    Ok(read(&Document::load(path, &LIMITS)?, options)?)
}

/// Reads a text; `file` stands for the file's name.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_file(file: &str, text: &str, options: &FileOptions) -> Result<SloFile, Errors> {
    read(&Document::parse(file, text, &LIMITS)?, options)
}

fn read(document: &Document, options: &FileOptions) -> Result<SloFile, Errors> {
    let slos = document.read_stream(&Environment::off(), |documents| {
        let mut reader = Reader { options, slos: Vec::new(), lines: BTreeMap::new() };
        let mut open = openslo::Documents::default();
        if documents.is_empty() {
            return Vec::new();
        }
        for value in &documents {
            if let Some(section) = value.section() {
                reader.document(value, section, &mut open);
            }
        }
        open.finish(&mut reader);
        reader.check_members();
        reader.slos.into_iter().map(|(_, slo)| slo).collect()
    })?;
    let warnings = warnings(&slos);
    Ok(SloFile { slos, warnings })
}

/// An indicator whose queries keep these labels.
fn grouped(indicator: Indicator, labels: &[String]) -> Result<Indicator, String> {
    Ok(match indicator {
        Indicator::Events { error, total } => {
            Indicator::Events { error: error.grouped_by(labels)?, total: total.grouped_by(labels)? }
        }
        Indicator::Ratio(ratio) => Indicator::Ratio(ratio.grouped_by(labels)?),
        Indicator::Threshold { value, bad, bound } => {
            Indicator::Threshold { value: value.grouped_by(labels)?, bad, bound }
        }
        Indicator::Composite { .. } => return Err("a composite has no labels to keep".to_owned()),
    })
}

/// What is shared while a file is read.
pub(super) struct Reader<'d> {
    pub(super) options: &'d FileOptions,
    slos: Vec<(Value<'d>, Slo)>,
    /// Lines of the objectives, by id.
    lines: BTreeMap<String, usize>,
}

impl<'d> Reader<'d> {
    fn document(&mut self, value: &Value<'d>, mut section: Section<'d>, open: &mut openslo::Documents<'d>) {
        let version = section.take_str("version").unwrap_or_default();
        let api_version = section.take_str("apiVersion").unwrap_or_default();
        match (version.as_str(), api_version.as_str()) {
            ("prometheus/v1", "") => sloth::read(&mut section, self),
            ("", "openslo/v1") => open.add(value, section),
            ("", "pyrra.dev/v1alpha1") => pyrra::read(value, &mut section, self),
            _ => {
                let key = if api_version.is_empty() { "version" } else { "apiVersion" };
                section.take_rest();
                section.error(
                    key,
                    "not a known SLO format; known are \"version: prometheus/v1\" (Sloth), \"apiVersion: openslo/v1\" and \"apiVersion: pyrra.dev/v1alpha1\"",
                );
            }
        }
    }

    /// Adds an objective that stands at a place.
    pub(super) fn add(&mut self, place: &Value<'d>, mut slo: Slo) {
        if !slo.group_by.is_empty() {
            match grouped(slo.indicator, &slo.group_by) {
                Ok(indicator) => slo.indicator = indicator,
                Err(message) => {
                    place.error(format!("group_by: {message}"));
                    return;
                }
            }
        }
        if let Some(line) = self.lines.get(&slo.id()) {
            place.error(format!("the id {:?} is used twice; first in line {line}", slo.id()));
        } else {
            self.lines.insert(slo.id(), slo.line);
        }
        self.slos.push((place.clone(), slo));
    }

    /// Members of composites are in the file, and no composites themselves.
    fn check_members(&self) {
        let composites: Vec<String> = self
            .slos
            .iter()
            .filter(|(_, slo)| matches!(slo.indicator, Indicator::Composite { .. }))
            .map(|(_, slo)| slo.id())
            .collect();
        for (place, slo) in &self.slos {
            let Indicator::Composite { members, .. } = &slo.indicator else { continue };
            for (id, _) in members {
                if !self.lines.contains_key(id) {
                    place.error(format!("the composite names the SLO {id:?}, which is not in this file"));
                } else if composites.contains(id) {
                    place.error(format!("the composite names the SLO {id:?}, which is a composite itself"));
                }
            }
        }
    }
}
