//! Rules, objectives and the scorecard of the settings, read together; what an objective generates becomes groups of rules.
//!
//! Invariant: either all files are good or none counts; every mistake of every file is told.

use std::fmt;
use std::sync::Arc;

use tracing::warn;

use super::history;
use super::settings::Settings;
use crate::promql::ParseOptions;
use crate::rules::{FileOptions, GroupSpec, parse_file};
use crate::scorecard::{Card, Known};
use crate::slo::{GenerateOptions, LoadedSlos, SloSource, generate, to_rule_file};

/// What judges the samples.
#[derive(Clone, Debug, Default)]
pub struct Judges {
    /// Groups of rules: those of rule files, then those of the objectives.
    pub groups: Vec<GroupSpec>,
    /// The objectives.
    pub slos: LoadedSlos,
    /// The scorecard over both; `None`: there is none.
    pub card: Option<Arc<Card>>,
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub struct JudgeErrors(Vec<String>);

impl fmt::Display for JudgeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Settings {
    /// The rules and objectives of these settings, read from their files.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn judges(&self) -> Result<Judges, JudgeErrors> {
        let names = self.scrape.global.name_scheme;
        let options = FileOptions { parse: history::parse_options(&self.query), names };
        let mut errors = Vec::new();
        let mut groups = self.rules.load(&options).unwrap_or_else(|error| {
            errors.push(error.to_string());
            Vec::new()
        });
        let slos = self.slos.load().unwrap_or_else(|mut found| {
            errors.append(&mut found);
            LoadedSlos::default()
        });
        for source in &slos.slos {
            match groups_of(source, &options) {
                Ok(mut generated) => groups.append(&mut generated),
                Err(error) => errors.push(error),
            }
        }
        let card = if errors.is_empty() { self.card(&groups, &slos, &options.parse) } else { Ok(None) };
        let card = card.unwrap_or_else(|mut found| {
            errors.append(&mut found);
            None
        });
        if errors.is_empty() { Ok(Judges { groups, slos, card }) } else { Err(JudgeErrors(errors)) }
    }

    /// Once all files are read: what is missing because a file is wrong is not missing here as well.
    fn card(
        &self,
        groups: &[GroupSpec],
        slos: &LoadedSlos,
        parse: &ParseOptions,
    ) -> Result<Option<Arc<Card>>, Vec<String>> {
        let ids: Vec<String> = slos.slos.iter().map(|source| source.slo.id()).collect();
        let rules = groups.iter().flat_map(|group| &group.rules);
        self.scorecard.card(&Known {
            slos: ids.iter().map(String::as_str).collect(),
            alerts: rules.filter(|rule| rule.alert().is_some()).map(|rule| &*rule.name).collect(),
            parse,
        })
    }
}

impl Judges {
    /// Says in the log what is odd in the objectives.
    pub(super) fn warn(&self) {
        for (file, warning) in &self.slos.warnings {
            warn!(file = &**file, line = warning.line, slo = warning.slo, "{}", warning.message);
        }
    }
}

/// The rules of an objective, read as a rule file would be: one definition of a rule, and templates are checked.
fn groups_of(source: &SloSource, options: &FileOptions) -> Result<Vec<GroupSpec>, String> {
    let (file, slo) = (&source.file, &source.slo);
    let text = to_rule_file(&generate(slo, &GenerateOptions::default()));
    let mut groups = parse_file(file, &text, options).map_err(|errors| {
        let told: Vec<String> = errors.problems().iter().map(|problem| problem.message.clone()).collect();
        format!("{file}:{}: {}: its rules are wrong: {}", slo.line, slo.id(), told.join("; "))
    })?;
    for rule in groups.iter_mut().flat_map(|group| &mut group.rules) {
        // A place in a text that nobody sees helps nobody.
        if let Some(rule) = Arc::get_mut(rule) {
            rule.line = slo.line;
        }
    }
    Ok(groups)
}
