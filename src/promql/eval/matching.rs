//! Operators between two instant vectors: how their series find each other, and what comes out.
//!
//! Invariant: the result and the errors are those of matching step by step. Signatures are computed once per series;
//! then columns meet columns. Where several series of the "one" side share a signature they must not have a sample
//! at the same step, and each pair gives a column of its own.
//!
//! Source: Prometheus documentation, "Operators", vector matching; the experimental `fill` modifiers.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::super::ast::{BinaryOp, Cardinality, VectorMatching};
use super::super::engine::QueryError;
use super::arithmetic::apply;
use super::budget::Budget;
use super::column::{Column, Slots, is_absent, is_metric_schema, merge_duplicates};
use crate::model::{Labels, METRIC_NAME};

/// The labels by which a series is matched.
pub(super) fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    let named = |name: &str| matching.labels.iter().any(|l| l == name);
    match matching.on {
        true => labels.filtered(named),
        false => labels.filtered(|name| name != METRIC_NAME && !named(name)),
    }
}

/// Series of both sides by their signature.
struct Groups {
    left: Vec<usize>,
    right: Vec<usize>,
    count: usize,
}

impl Groups {
    fn of(left: &[Column], right: &[Column], matching: &VectorMatching) -> Self {
        let mut known: FxHashMap<Labels, usize> = FxHashMap::default();
        let mut group_of = |column: &Column| {
            let next = known.len();
            *known.entry(signature(&column.labels, matching)).or_insert(next)
        };
        let left = left.iter().map(&mut group_of).collect();
        let right = right.iter().map(&mut group_of).collect();
        Self { left, right, count: known.len() }
    }

    /// Indices of one side's series, by group.
    fn members(&self, side: &[usize]) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.count];
        for (index, group) in side.iter().enumerate() {
            if let Some(list) = members.get_mut(*group) {
                list.push(index);
            }
        }
        members
    }
}

/// At which steps any series of a group has a sample.
#[derive(Clone, Default)]
struct Presence(Vec<bool>);

impl Presence {
    fn add(&mut self, column: &Column) {
        if self.0.len() < column.end() {
            self.0.resize(column.end(), false);
        }
        for (step, _) in column.samples() {
            if let Some(slot) = self.0.get_mut(step) {
                *slot = true;
            }
        }
    }

    fn of<'a>(columns: impl IntoIterator<Item = &'a Column>) -> Self {
        let mut presence = Self::default();
        columns.into_iter().for_each(|c| presence.add(c));
        presence
    }

    fn at(&self, step: usize) -> bool {
        self.0.get(step).copied().unwrap_or(false)
    }
}

/// Keeps the samples of those steps.
fn masked(mut column: Column, keep: impl Fn(usize) -> bool) -> Option<Column> {
    let mut slots = Slots::default();
    for (step, value) in column.samples() {
        if keep(step) {
            slots.set(step, value);
        }
    }
    column = slots.into_column(column.labels, column.drop_name)?;
    Some(column)
}

/// `and`, `or`, `unless`.
pub(super) fn set_operation(
    op: BinaryOp,
    left: Vec<Column>,
    right: Vec<Column>,
    matching: &VectorMatching,
) -> Result<Vec<Column>, QueryError> {
    let groups = Groups::of(&left, &right, matching);
    let (deciding, by_group) = match op {
        BinaryOp::Or => (&left, groups.members(&groups.left)),
        _ => (&right, groups.members(&groups.right)),
    };
    let presence: Vec<Presence> = by_group
        .iter()
        .map(|members| Presence::of(members.iter().filter_map(|index| deciding.get(*index))))
        .collect();
    let there =
        |group: &usize| presence.get(*group).map(|p| move |step: usize| p.at(step)).ok_or_else(internal);
    let mut out = Vec::with_capacity(left.len());
    match op {
        BinaryOp::Or => {
            let mut added = Vec::new();
            for (column, group) in right.into_iter().zip(&groups.right) {
                let taken = there(group)?;
                added.extend(masked(column, |step| !taken(step)));
            }
            out.extend(left);
            out.extend(added);
            merge_duplicates(out)
        }
        _ => {
            let wanted = op == BinaryOp::And;
            for (column, group) in left.into_iter().zip(&groups.left) {
                let found = there(group)?;
                out.extend(masked(column, |step| found(step) == wanted));
            }
            Ok(out)
        }
    }
}

/// An index out of its own table; cannot happen, and must not panic if it does.
fn internal() -> QueryError {
    QueryError::Execution("internal error: a series without a match group".to_owned())
}

/// An arithmetic or comparison operator between vectors.
pub(super) struct VectorOperation<'a> {
    /// The operator.
    pub(super) op: BinaryOp,
    /// How series find each other.
    pub(super) matching: &'a VectorMatching,
    /// Whether a comparison gives 0 or 1.
    pub(super) return_bool: bool,
    /// Whether names go at the end of the query.
    pub(super) delayed_name_removal: bool,
}

/// An error and where it happens, by step and within it: the earliest counts.
#[derive(Default)]
struct FirstError(Option<((usize, usize), QueryError)>);

impl FirstError {
    fn add(&mut self, at: (usize, usize), error: impl FnOnce() -> QueryError) {
        if self.0.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
            self.0 = Some((at, error()));
        }
    }

    fn into_result(self) -> Result<(), QueryError> {
        match self.0 {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// The two sides as the operation sees them: each of the "many" meets at most one of the "one".
struct Sides<'a> {
    many: &'a [Column],
    one: &'a [Column],
    many_groups: &'a [usize],
    one_groups: &'a [usize],
    many_members: Vec<Vec<usize>>,
    one_members: Vec<Vec<usize>>,
    fill_many: Option<f64>,
    fill_one: Option<f64>,
}

impl VectorOperation<'_> {
    /// Computes it.
    pub(super) fn run(
        &self,
        left: &[Column],
        right: &[Column],
        budget: &mut Budget,
    ) -> Result<Vec<Column>, QueryError> {
        let groups = Groups::of(left, right, self.matching);
        let (fill_left, fill_right) = (self.matching.fill_left, self.matching.fill_right);
        let sides = if self.swapped() {
            Sides {
                many: right,
                one: left,
                many_groups: &groups.right,
                one_groups: &groups.left,
                many_members: groups.members(&groups.right),
                one_members: groups.members(&groups.left),
                fill_many: fill_right,
                fill_one: fill_left,
            }
        } else {
            Sides {
                many: left,
                one: right,
                many_groups: &groups.left,
                one_groups: &groups.right,
                many_members: groups.members(&groups.left),
                one_members: groups.members(&groups.right),
                fill_many: fill_left,
                fill_one: fill_right,
            }
        };
        // Before the pairs are computed: of many with many there may be very many.
        self.refuse_duplicates_of_one(&sides, budget)?;
        let out = self.pair_up(&sides, budget)?;
        self.refuse_multiple_matches(&out, groups.count)?;
        merge_duplicates(out.into_iter().map(|(_, column)| column).collect())
    }

    fn swapped(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToMany
    }

    /// Two samples of the "one" side with one signature at a step at which both sides have samples.
    fn refuse_duplicates_of_one(&self, sides: &Sides<'_>, budget: &mut Budget) -> Result<(), QueryError> {
        let mut error = FirstError::default();
        let crowded: Vec<&Vec<usize>> = sides.one_members.iter().filter(|m| m.len() > 1).collect();
        if crowded.is_empty() {
            return Ok(());
        }
        let anything = sides.fill_many.is_some() || sides.fill_one.is_some();
        let many_there = Presence::of(sides.many);
        for members in crowded {
            let mut owners: Vec<Option<&Column>> = Vec::new();
            for (index, column) in members.iter().filter_map(|index| Some((*index, sides.one.get(*index)?))) {
                budget.check()?;
                if owners.len() < column.end() {
                    owners.resize(column.end(), None);
                }
                for (step, _) in column.samples() {
                    match owners.get_mut(step) {
                        Some(Some(earlier)) if anything || many_there.at(step) => {
                            error.add((step, index), || self.duplicate(earlier, column));
                        }
                        Some(owner) => *owner = Some(column),
                        None => {}
                    }
                }
            }
        }
        if let (Some(((step, _), _)), Cardinality::OneToOne) = (&error.0, self.matching.cardinality) {
            self.refuse_matches_before(*step, sides, budget)?;
        }
        error.into_result()
    }

    /// Of one with one: a second match at a step before that at which something else is wrong. Until then each group
    /// has one of the "one" at most, so that nothing needs to be paired.
    fn refuse_matches_before(
        &self,
        end: usize,
        sides: &Sides<'_>,
        budget: &mut Budget,
    ) -> Result<(), QueryError> {
        let mut error = FirstError::default();
        for (many, one) in sides.many_members.iter().zip(&sides.one_members) {
            let ones = || one.iter().filter_map(|index| sides.one.get(*index)).flat_map(Column::samples);
            let mut values = vec![None; ones().map(|(step, _)| step + 1).max().unwrap_or(0).min(end)];
            for (step, value) in ones() {
                if let Some(slot) = values.get_mut(step) {
                    *slot = Some(value);
                }
            }
            let mut taken = vec![false; values.len()];
            for column in many.iter().filter_map(|index| sides.many.get(*index)) {
                budget.check()?;
                for (step, left) in column.samples() {
                    let (Some(Some(right)), Some(taken)) = (values.get(step), taken.get_mut(step)) else {
                        continue;
                    };
                    let matches = self.return_bool || apply(self.op, left, *right).1;
                    if matches && std::mem::replace(taken, true) {
                        error.add((step, 0), || multiple(MANY_TO_ONE));
                    }
                }
            }
        }
        error.into_result()
    }

    fn duplicate(&self, earlier: &Column, later: &Column) -> QueryError {
        let side = if self.swapped() { "left" } else { "right" };
        QueryError::Execution(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
             many-to-many matching not allowed: matching labels must be unique on one side",
            signature(&later.labels, self.matching),
            later.labels,
            earlier.labels,
        ))
    }

    /// The columns that come out, each with its group.
    fn pair_up(&self, sides: &Sides<'_>, budget: &mut Budget) -> Result<Vec<(usize, Column)>, QueryError> {
        let mut out = Vec::with_capacity(sides.many.len());
        let mut add = |group: usize, column: Option<Column>, budget: &mut Budget| {
            let Some(column) = column else { return Ok(()) };
            budget.hold(column.cost())?;
            out.push((group, column));
            Ok::<(), QueryError>(())
        };
        for (many, group) in sides.many.iter().zip(sides.many_groups) {
            budget.check()?;
            let members = sides.one_members.get(*group).map(Vec::as_slice).unwrap_or_default();
            let ones = || members.iter().filter_map(|index| sides.one.get(*index));
            for one in ones() {
                budget.check()?;
                let range = many.first.max(one.first)..many.end().min(one.end());
                let drop_name = many.drop_name;
                let column = self.column(&many.labels, &one.labels, drop_name, range, |step| {
                    let (a, b) = (many.at(step), one.at(step));
                    (!is_absent(a) && !is_absent(b)).then_some((a, b))
                });
                add(*group, column, budget)?;
            }
            if let Some(fill) = sides.fill_one {
                let matched = Presence::of(ones());
                let one_labels = signature(&many.labels, self.matching);
                let column =
                    self.column(&many.labels, &one_labels, many.drop_name, many.first..many.end(), |step| {
                        let value = many.at(step);
                        (!is_absent(value) && !matched.at(step)).then_some((value, fill))
                    });
                add(*group, column, budget)?;
            }
        }
        let Some(fill) = sides.fill_many else { return Ok(out) };
        for (one, group) in sides.one.iter().zip(sides.one_groups) {
            budget.check()?;
            let members = sides.many_members.get(*group).map(Vec::as_slice).unwrap_or_default();
            let matched = Presence::of(members.iter().filter_map(|index| sides.many.get(*index)));
            let many_labels = signature(&one.labels, self.matching);
            let column = self.column(&many_labels, &one.labels, false, one.first..one.end(), |step| {
                let value = one.at(step);
                (!is_absent(value) && !matched.at(step)).then_some((fill, value))
            });
            add(*group, column, budget)?;
        }
        Ok(out)
    }

    /// The operator over the steps at which `operands` gives the values of the "many" and the "one" side.
    fn column(
        &self,
        many: &Labels,
        one: &Labels,
        drop_name: bool,
        steps: Range<usize>,
        operands: impl Fn(usize) -> Option<(f64, f64)>,
    ) -> Option<Column> {
        let mut slots = Slots::default();
        slots.reserve(steps.len());
        for step in steps {
            let Some((of_many, of_one)) = operands(step) else { continue };
            let (left, right) = if self.swapped() { (of_one, of_many) } else { (of_many, of_one) };
            let (value, keep) = apply(self.op, left, right);
            if self.return_bool {
                slots.set(step, f64::from(u8::from(keep)));
            } else if keep {
                slots.set(step, value);
            }
        }
        if slots.is_empty() {
            return None;
        }
        let drop_name = self.op.is_comparison() && (self.return_bool || drop_name);
        slots.into_column(self.result_labels(many, one), drop_name)
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = self.matching;
        let schema_goes = !self.op.is_comparison() || (self.return_bool && !self.delayed_name_removal);
        let mut labels = many.filtered(|name| {
            let named = || matching.labels.iter().any(|l| l == name);
            !(schema_goes && is_metric_schema(name))
                && (matching.cardinality != Cardinality::OneToOne || named() == matching.on)
        });
        for name in &matching.include {
            labels = labels.with(name, one.value(name));
        }
        labels
    }

    /// Two results at one step where the cardinality allows one.
    fn refuse_multiple_matches(&self, out: &[(usize, Column)], groups: usize) -> Result<(), QueryError> {
        let mut error = FirstError::default();
        let mut by_group: Vec<Vec<&Column>> = vec![Vec::new(); groups];
        for (group, column) in out {
            if let Some(list) = by_group.get_mut(*group) {
                list.push(column);
            }
        }
        for columns in by_group.iter().filter(|columns| columns.len() > 1) {
            if self.matching.cardinality == Cardinality::OneToOne {
                if let Some(step) = first_overlap(columns) {
                    error.add((step, 0), || multiple(MANY_TO_ONE));
                }
                continue;
            }
            let mut by_labels: FxHashMap<&Labels, Vec<&Column>> = FxHashMap::default();
            for column in columns {
                by_labels.entry(&column.labels).or_default().push(column);
            }
            for same in by_labels.values().filter(|same| same.len() > 1) {
                if let Some(step) = first_overlap(same) {
                    error.add((step, 0), || multiple("grouping labels must ensure unique matches"));
                }
            }
        }
        error.into_result()
    }
}

const MANY_TO_ONE: &str = "many-to-one matching must be explicit (group_left/group_right)";

fn multiple(what: &str) -> QueryError {
    QueryError::Execution(format!("multiple matches for labels: {what}"))
}

/// The first step at which two of the columns have a sample.
fn first_overlap(columns: &[&Column]) -> Option<usize> {
    let mut seen = Presence::default();
    let mut first: Option<usize> = None;
    for column in columns {
        let overlap = column.samples().map(|(step, _)| step).find(|step| seen.at(*step));
        first = match (first, overlap) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        seen.add(column);
    }
    first
}
