//! Files that hold rules, of either kind: Prometheus's rule files and files of objectives, told apart by their `groups`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::complain;
use crate::config::{Document, Documents, Environment, Limits};
use crate::model::ByteSize;
use crate::promql::{ParseOptions, pretty};
use crate::rules::{self, GroupSpec, RuleKind, RuleSpec};
use crate::slo::{self, GenerateOptions, GeneratedGroup, GeneratedKind, GeneratedRule, SloFile, generate};

/// As of rule files; whoever reads the file then has its own.
const LIMITS: Limits = Limits {
    size: ByteSize::new(16 << 20),
    depth: 32,
    nodes: 400_000,
    aliases: 10_000,
    errors: 100,
    documents: Documents::Any,
};

/// What a file holds.
pub(super) enum RuleFile {
    /// Groups of rules.
    Rules(Vec<GroupSpec>),
    /// Objectives.
    Slos(SloFile),
}

impl RuleFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let document = Document::load(path, &LIMITS).map_err(|error| error.to_string())?;
        // Only looked at: keys that nobody takes are no mistake here.
        let mut is_slo = false;
        let _ = document.read_stream(&Environment::off(), |roots| {
            let section = roots.first().and_then(|root| root.section());
            is_slo = section.is_some_and(|top| top.has("version") || top.has("apiVersion"));
        });
        if is_slo {
            let file = slo::load_file(path, &slo::FileOptions::default());
            return file.map(Self::Slos).map_err(|error| error.to_string());
        }
        let options = rules::FileOptions { parse: ParseOptions::all(), ..rules::FileOptions::default() };
        rules::load_file(path, &options).map(Self::Rules).map_err(|error| error.to_string())
    }

    /// The groups of all files, or `None` when one is wrong; each mistake has been told.
    pub(super) fn load_all<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Option<Vec<GroupSpec>> {
        let (mut groups, mut failed) = (Vec::new(), false);
        for path in paths {
            match Self::load(path).and_then(|file| file.into_specs(path)) {
                Ok(mut read) => groups.append(&mut read),
                Err(errors) => {
                    failed = true;
                    complain(&errors);
                }
            }
        }
        (!failed).then_some(groups)
    }

    /// Its groups as rules, those of objectives made.
    ///
    /// # Errors
    /// A rule that was made cannot be read back.
    pub(super) fn into_specs(self, path: &Path) -> Result<Vec<GroupSpec>, String> {
        match self {
            Self::Rules(groups) => Ok(groups),
            Self::Slos(_) => {
                let options =
                    rules::FileOptions { parse: ParseOptions::all(), ..rules::FileOptions::default() };
                let text = slo::to_rule_file(&self.into_groups());
                let groups = rules::parse_file(&path.display().to_string(), &text, &options);
                groups.map_err(|errors| errors.to_string())
            }
        }
    }

    /// Its groups as they are written into files of others; short forms and objectives are written out.
    pub(super) fn into_groups(self) -> Vec<GeneratedGroup> {
        match self {
            Self::Rules(groups) => groups.iter().map(group).collect(),
            Self::Slos(file) => {
                file.slos.iter().flat_map(|slo| generate(slo, &GenerateOptions::default())).collect()
            }
        }
    }

    /// What others have no word for: the rule, and the key that is left out.
    pub(super) fn own_keys(&self) -> Vec<(Arc<RuleSpec>, &'static str)> {
        let Self::Rules(groups) = self else { return Vec::new() };
        let rules = groups.iter().flat_map(|group| &group.rules);
        let own = rules.filter(|rule| rule.alert().is_some_and(|alert| alert.resolve_when.is_some()));
        own.map(|rule| (Arc::clone(rule), "resolve_when")).collect()
    }
}

fn group(spec: &GroupSpec) -> GeneratedGroup {
    GeneratedGroup {
        name: spec.name.to_string(),
        interval: spec.interval,
        query_offset: spec.query_offset,
        limit: spec.limit,
        rules: spec.rules.iter().map(|rule| rule_of(rule)).collect(),
    }
}

fn rule_of(spec: &RuleSpec) -> GeneratedRule {
    let texts = |labels: &crate::model::Labels| {
        labels.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
    };
    let mut labels: slo::Texts = texts(&spec.labels);
    labels.extend(spec.removed_labels.iter().map(|name| (name.clone(), String::new())));
    let kind = match &spec.kind {
        RuleKind::Recording => GeneratedKind::Record,
        RuleKind::Alerting(alert) => GeneratedKind::Alert {
            hold: alert.hold,
            keep_firing: alert.keep_firing,
            annotations: texts(&alert.annotations),
        },
    };
    GeneratedRule { kind, name: spec.name.to_string(), expr: pretty(&spec.expr), labels }
}
