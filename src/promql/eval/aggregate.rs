//! Aggregations that make one series of many: `sum`, `avg`, `min`, `max`, `count`, `group`, `stddev`, `stdvar`,
//! `quantile`, `count_values`.
//!
//! Invariant: at each step the samples are taken in the order of the series, as Prometheus takes them, so sums have
//! its bits. Groups are found once per series; accumulators of one group at a time are held.
//!
//! Source: Prometheus documentation, "Operators", aggregation operators.

use rustc_hash::FxHashMap;

use super::super::ast::{Aggregate, AggregateOp};
use super::super::engine::QueryError;
use super::super::functions::{KahanSum, Mean, quantile};
use super::budget::Budget;
use super::column::{Column, Slots, cost, is_absent};
use crate::model::{Labels, METRIC_NAME};

/// Series by the labels of `by` or `without`.
pub(super) struct Grouping {
    /// The labels of each group.
    pub(super) labels: Vec<Labels>,
    /// Indices of its series, rising.
    pub(super) members: Vec<Vec<usize>>,
}

impl Grouping {
    /// Finds the group of each series.
    pub(super) fn of(columns: &[Column], aggregate: &Aggregate) -> Self {
        let mut known: FxHashMap<Labels, usize> = FxHashMap::default();
        let mut grouping = Self { labels: Vec::new(), members: Vec::new() };
        for (index, column) in columns.iter().enumerate() {
            let labels = group_labels(&column.labels, &aggregate.grouping, aggregate.without);
            let next = known.len();
            let group = *known.entry(labels.clone()).or_insert(next);
            match grouping.members.get_mut(group) {
                Some(members) => members.push(index),
                None => {
                    grouping.labels.push(labels);
                    grouping.members.push(vec![index]);
                }
            }
        }
        grouping
    }

    /// Each group's labels with its series.
    fn groups<'a>(&'a self, columns: &'a [Column]) -> impl Iterator<Item = (&'a Labels, Vec<&'a Column>)> {
        self.labels.iter().zip(&self.members).map(|(labels, members)| {
            (labels, members.iter().filter_map(|index| columns.get(*index)).collect())
        })
    }
}

/// The labels that the result of an aggregation keeps.
pub(super) fn group_labels(labels: &Labels, grouping: &[String], without: bool) -> Labels {
    let named = |name: &str| grouping.iter().any(|g| g == name);
    match without {
        true => labels.filtered(|name| name != METRIC_NAME && !named(name)),
        false if grouping.is_empty() => Labels::empty(),
        false => labels.filtered(named),
    }
}

/// What an aggregation knows of a group at one step.
trait Accumulator: Clone {
    fn first(value: f64) -> Self;
    fn add(&mut self, value: f64);
    fn finish(&self) -> f64;
}

#[derive(Clone)]
struct Sum(KahanSum);

impl Accumulator for Sum {
    fn first(value: f64) -> Self {
        Self(KahanSum::starting_at(value))
    }
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }
    fn finish(&self) -> f64 {
        self.0.total()
    }
}

#[derive(Clone)]
struct Average(Mean);

impl Accumulator for Average {
    fn first(value: f64) -> Self {
        Self(Mean::of(value))
    }
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }
    fn finish(&self) -> f64 {
        self.0.value()
    }
}

#[derive(Clone)]
struct Min(f64);

impl Accumulator for Min {
    fn first(value: f64) -> Self {
        Self(value)
    }
    fn add(&mut self, value: f64) {
        if self.0 > value || self.0.is_nan() {
            self.0 = value;
        }
    }
    fn finish(&self) -> f64 {
        self.0
    }
}

#[derive(Clone)]
struct Max(f64);

impl Accumulator for Max {
    fn first(value: f64) -> Self {
        Self(value)
    }
    fn add(&mut self, value: f64) {
        if self.0 < value || self.0.is_nan() {
            self.0 = value;
        }
    }
    fn finish(&self) -> f64 {
        self.0
    }
}

#[derive(Clone)]
struct Count(f64);

impl Accumulator for Count {
    fn first(_: f64) -> Self {
        Self(1.0)
    }
    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }
    fn finish(&self) -> f64 {
        self.0
    }
}

#[derive(Clone)]
struct Group;

impl Accumulator for Group {
    fn first(_: f64) -> Self {
        Self
    }
    fn add(&mut self, _: f64) {}
    fn finish(&self) -> f64 {
        1.0
    }
}

/// Welford's running variance.
#[derive(Clone)]
struct Variance {
    mean: f64,
    squares: f64,
    count: f64,
}

impl Accumulator for Variance {
    fn first(value: f64) -> Self {
        Self { mean: value, squares: if value.is_finite() { 0.0 } else { f64::NAN }, count: 1.0 }
    }
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }
    fn finish(&self) -> f64 {
        self.squares / self.count
    }
}

#[derive(Clone)]
struct Deviation(Variance);

impl Accumulator for Deviation {
    fn first(value: f64) -> Self {
        Self(Variance::first(value))
    }
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }
    fn finish(&self) -> f64 {
        self.0.finish().sqrt()
    }
}

/// Computes an aggregation that takes no parameter.
pub(super) fn accumulate(
    op: AggregateOp,
    grouping: &Grouping,
    columns: &[Column],
    budget: &mut Budget,
) -> Result<Vec<Column>, QueryError> {
    match op {
        AggregateOp::Sum => fold::<Sum>(grouping, columns, budget),
        AggregateOp::Avg => fold::<Average>(grouping, columns, budget),
        AggregateOp::Min => fold::<Min>(grouping, columns, budget),
        AggregateOp::Max => fold::<Max>(grouping, columns, budget),
        AggregateOp::Count => fold::<Count>(grouping, columns, budget),
        AggregateOp::Stdvar => fold::<Variance>(grouping, columns, budget),
        AggregateOp::Stddev => fold::<Deviation>(grouping, columns, budget),
        _ => fold::<Group>(grouping, columns, budget),
    }
}

fn fold<A: Accumulator>(
    grouping: &Grouping,
    columns: &[Column],
    budget: &mut Budget,
) -> Result<Vec<Column>, QueryError> {
    let mut out = Vec::with_capacity(grouping.labels.len());
    let mut states: Vec<Option<A>> = Vec::new();
    for (labels, members) in grouping.groups(columns) {
        let (first, end) = extent(&members);
        states.clear();
        states.resize(end.saturating_sub(first), None);
        for column in &members {
            budget.check()?;
            let slots = states.get_mut(column.first - first..).unwrap_or_default();
            for (state, value) in slots.iter_mut().zip(&column.values) {
                if is_absent(*value) {
                    continue;
                }
                match state {
                    Some(state) => state.add(*value),
                    None => *state = Some(A::first(*value)),
                }
            }
        }
        let mut slots = Slots::default();
        slots.reserve(states.len());
        for (step, state) in states.iter().enumerate() {
            if let Some(state) = state {
                slots.set(first + step, state.finish());
            }
        }
        push(&mut out, slots, labels, &members, budget)?;
    }
    Ok(out)
}

/// The first step, and the one behind the last, of any of the columns.
fn extent(columns: &[&Column]) -> (usize, usize) {
    let first = columns.iter().map(|c| c.first).min().unwrap_or(0);
    (first, columns.iter().map(|c| c.end()).max().unwrap_or(first))
}

fn push(
    out: &mut Vec<Column>,
    slots: Slots,
    labels: &Labels,
    members: &[&Column],
    budget: &mut Budget,
) -> Result<(), QueryError> {
    let drop_name = members.iter().any(|c| c.drop_name);
    if let Some(column) = slots.into_column(labels.clone(), drop_name) {
        budget.hold(column.cost())?;
        out.push(column);
    }
    Ok(())
}

/// `quantile`.
pub(super) fn quantiles(
    grouping: &Grouping,
    columns: &[Column],
    quantile_at: &[f64],
    budget: &mut Budget,
) -> Result<Vec<Column>, QueryError> {
    let mut out = Vec::with_capacity(grouping.labels.len());
    let mut values = Vec::new();
    for (labels, members) in grouping.groups(columns) {
        let (first, end) = extent(&members);
        let mut slots = Slots::default();
        for step in first..end {
            budget.check()?;
            values.clear();
            values.extend(members.iter().map(|c| c.at(step)).filter(|v| !is_absent(*v)));
            if let (false, Some(q)) = (values.is_empty(), quantile_at.get(step)) {
                slots.set(step, quantile(*q, &mut values));
            }
        }
        push(&mut out, slots, labels, &members, budget)?;
    }
    Ok(out)
}

/// `count_values`: how many samples of each group have the same value, which becomes a label.
pub(super) fn count_values(
    aggregate: &Aggregate,
    label: &str,
    columns: &[Column],
    budget: &mut Budget,
) -> Result<Vec<Column>, QueryError> {
    let mut grouping = aggregate.grouping.clone();
    if !aggregate.without {
        grouping.push(label.to_owned());
    }
    let mut places: FxHashMap<Labels, usize> = FxHashMap::default();
    let mut found: Vec<(Labels, bool, Slots)> = Vec::new();
    // Values seldom change: of each series the group that its last one went to.
    let mut last: Vec<Option<(u64, usize)>> = vec![None; columns.len()];
    let mut held = 0;
    for step in 0..columns.iter().map(Column::end).max().unwrap_or(0) {
        budget.check()?;
        for (column, last) in columns.iter().zip(&mut last) {
            let value = column.at(step);
            if is_absent(value) {
                continue;
            }
            let place = match last {
                Some((bits, place)) if *bits == value.to_bits() => *place,
                _ => {
                    let labelled = column.labels.with(label, &plain_number(value));
                    let labels = group_labels(&labelled, &grouping, aggregate.without);
                    *places.entry(labels).or_insert_with_key(|labels| {
                        found.push((labels.clone(), false, Slots::default()));
                        found.len() - 1
                    })
                }
            };
            *last = Some((value.to_bits(), place));
            if let Some((_, drop_name, counts)) = found.get_mut(place) {
                *drop_name |= column.drop_name;
                let grown = counts.count(step).div_ceil(2);
                budget.hold(grown)?;
                held += grown;
            }
        }
    }
    budget.release(held);
    let columns =
        found.into_iter().filter_map(|(labels, drop_name, slots)| slots.into_column(labels, drop_name));
    let columns: Vec<Column> = columns.collect();
    budget.hold(cost(&columns))?;
    Ok(columns)
}

/// A number as Go's `FormatFloat(v, 'f', -1, 64)`: the shortest text, never with an exponent.
fn plain_number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded<A: Accumulator>(values: &[f64]) -> f64 {
        let mut state = A::first(values[0]);
        values[1..].iter().for_each(|v| state.add(*v));
        state.finish()
    }

    #[test]
    fn averages_survive_overflow_and_infinities() {
        let (inf, big) = (f64::INFINITY, 9.988_465_674_311_58e307);
        for (values, expected) in [
            (vec![8.0, 10.0, 12.0], 10.0),
            (vec![0.0, inf, inf, 0.0], inf),
            (vec![-inf, 0.0, -inf], -inf),
            (vec![big; 4], big),
            (vec![-big, -big, big, big], 0.0),
            (vec![2.0, 8.0, 1e100, -1e100], 2.5),
            (vec![52.0; 11], 52.0),
        ] {
            assert_eq!(folded::<Average>(&values), expected, "{values:?}");
        }
        assert!(folded::<Average>(&[inf, 0.0, -inf]).is_nan());
        assert!(folded::<Average>(&[1.0, f64::NAN]).is_nan());
    }

    #[test]
    fn not_a_number_gives_way_to_numbers() {
        let nan = f64::NAN;
        assert_eq!((folded::<Min>(&[nan, 2.0, nan]), folded::<Max>(&[nan, 1.0])), (2.0, 1.0));
        assert!(folded::<Max>(&[nan, nan]).is_nan());
        assert!(folded::<Deviation>(&[nan, 1.0, 2.0]).is_nan());
        assert!(folded::<Variance>(&[f64::INFINITY]).is_nan());
        assert_eq!(folded::<Deviation>(&[1.33, 1.33, 1.33]), 0.0);
        assert_eq!(folded::<Variance>(&[1.0, 2.0]), 0.25);
    }

    #[test]
    fn values_become_labels_without_exponents() {
        let shown = [6.0, 1e21, 1e-7, -0.0, f64::NEG_INFINITY, f64::NAN].map(plain_number);
        assert_eq!(shown, ["6", "1000000000000000000000", "0.0000001", "-0", "-Inf", "NaN"]);
    }
}
