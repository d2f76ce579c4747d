//! The families met so far, and which of them a sample belongs to.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Problem;
use super::error::shown;
use crate::model::{Batch, FamilyId, Kind, Suffix};

/// What HELP, TYPE and UNIT said about one name.
#[derive(Default)]
pub(super) struct Family<'i> {
    pub(super) name: Cow<'i, str>,
    pub(super) help: Option<Cow<'i, str>>,
    pub(super) unit: Option<&'i str>,
    pub(super) kind: Option<Kind>,
    /// Set by the first sample.
    id: Option<FamilyId>,
}

impl Family<'_> {
    pub(super) fn kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Untyped)
    }

    pub(super) const fn has_samples(&self) -> bool {
        self.id.is_some()
    }

    /// The suffix with which `sample` is one of this family's.
    fn suffix_of(&self, sample: &str, open_metrics: bool) -> Option<Suffix> {
        let rest = sample.strip_prefix(&*self.name)?;
        let allowed =
            if open_metrics { open_metrics_suffixes(self.kind()) } else { text_suffixes(self.kind()) };
        allowed.iter().find(|(text, _)| *text == rest).map(|(_, suffix)| *suffix)
    }
}

type Suffixes = &'static [(&'static str, Suffix)];

const fn text_suffixes(kind: Kind) -> Suffixes {
    match kind {
        Kind::Histogram => &[
            ("_bucket", Suffix::Bucket),
            ("_sum", Suffix::Sum),
            ("_count", Suffix::Count),
            ("", Suffix::None),
        ],
        Kind::Summary => &[("", Suffix::None), ("_sum", Suffix::Sum), ("_count", Suffix::Count)],
        _ => &[("", Suffix::None)],
    }
}

const fn open_metrics_suffixes(kind: Kind) -> Suffixes {
    match kind {
        Kind::Counter => &[("_total", Suffix::None), ("_created", Suffix::Created)],
        Kind::Info => &[("_info", Suffix::None)],
        Kind::Histogram => &[
            ("_bucket", Suffix::Bucket),
            ("_sum", Suffix::Sum),
            ("_count", Suffix::Count),
            ("_created", Suffix::Created),
        ],
        Kind::GaugeHistogram => {
            &[("_bucket", Suffix::Bucket), ("_gsum", Suffix::GaugeSum), ("_gcount", Suffix::GaugeCount)]
        }
        Kind::Summary => &[
            ("", Suffix::None),
            ("_sum", Suffix::Sum),
            ("_count", Suffix::Count),
            ("_created", Suffix::Created),
        ],
        Kind::Gauge | Kind::StateSet | Kind::Untyped => &[("", Suffix::None)],
    }
}

/// Every suffix that may separate a sample's name from its family's.
const ALL_SUFFIXES: [&str; 8] =
    ["_bucket", "_sum", "_count", "_total", "_info", "_created", "_gsum", "_gcount"];

/// The table of families of one exposition. Names come from outside, so its hash is a keyed one.
pub(super) struct Families<'i> {
    open_metrics: bool,
    families: Vec<Family<'i>>,
    by_name: HashMap<Cow<'i, str>, usize>,
    current: usize,
}

impl<'i> Families<'i> {
    pub(super) fn new(open_metrics: bool) -> Self {
        Self { open_metrics, families: Vec::new(), by_name: HashMap::new(), current: usize::MAX }
    }

    pub(super) fn current(&mut self) -> Option<&mut Family<'i>> {
        self.families.get_mut(self.current)
    }

    /// Makes the family of this name the current one, for a line of metadata.
    pub(super) fn enter(&mut self, name: Cow<'i, str>) -> Result<(), Problem> {
        // TYPE follows HELP: the name is the one just read.
        if self.current().is_some_and(|family| family.name == name) {
            return Ok(());
        }
        match self.by_name.get(&name) {
            Some(_) if self.open_metrics => Err(Problem::Interleaved(shown(&name))),
            Some(found) => {
                self.current = *found;
                Ok(())
            }
            None => {
                self.add(name);
                Ok(())
            }
        }
    }

    fn add(&mut self, name: Cow<'i, str>) {
        self.current = self.families.len();
        self.by_name.insert(name.clone(), self.current);
        self.families.push(Family { name, ..Family::default() });
    }

    /// Makes the family that a sample belongs to the current one; returns the sample's suffix.
    pub(super) fn enter_sample(&mut self, sample: Cow<'i, str>) -> Result<Suffix, Problem> {
        let suffix_in = |at: usize| self.families.get(at)?.suffix_of(&sample, self.open_metrics);
        if let Some(suffix) = suffix_in(self.current) {
            return Ok(suffix);
        }
        let stems = ALL_SUFFIXES.iter().filter_map(|suffix| sample.strip_suffix(suffix));
        let mut known =
            std::iter::once(&*sample).chain(stems).filter_map(|name| self.by_name.get(name).copied());
        if let Some((at, suffix)) = known.find_map(|at| Some((at, suffix_in(at)?))) {
            if self.open_metrics {
                return Err(Problem::Interleaved(shown(&sample)));
            }
            self.current = at;
            return Ok(suffix);
        }
        if self.by_name.contains_key(&sample) {
            return Err(Problem::WrongSuffix(shown(&sample)));
        }
        self.add(sample);
        Ok(Suffix::None)
    }

    /// The current family in the batch: made with its first sample, when its metadata is complete.
    pub(super) fn current_id(&mut self, batch: &mut Batch) -> Option<FamilyId> {
        let open_metrics = self.open_metrics;
        let family = self.families.get_mut(self.current)?;
        if let Some(id) = family.id {
            return Some(id);
        }
        let kind = family.kind();
        let name: Cow<'_, str> = match kind {
            Kind::Counter if open_metrics => Cow::Owned(format!("{}_total", family.name)),
            Kind::Info if open_metrics => Cow::Owned(format!("{}_info", family.name)),
            _ => Cow::Borrowed(&family.name),
        };
        let id = batch.family(&name, family.help.as_deref().unwrap_or_default(), kind);
        batch.set_unit(id, family.unit.unwrap_or_default());
        family.id = Some(id);
        Some(id)
    }
}
