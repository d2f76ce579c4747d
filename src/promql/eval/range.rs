//! Functions over a range: windows that slide over the samples of one series after the other.
//!
//! Invariants: a window is left-open; its samples are a slice of the series, which is read once for all steps. A
//! subquery's result is such a series too.

use super::super::annotations::Annotation;
use super::super::ast::{Call, Edges, Expr, Span};
use super::super::engine::QueryError;
use super::super::functions::{Notes, RangeFn, SummaryFn, Window, keeps_metric_name, summary_function};
use super::Evaluator;
use super::budget::Budget;
use super::column::{Column, Slots, Steps, refuse_duplicates};
use super::pieces;
use super::reader::{Stretch, behind_last_before, read, segment_bounds};
use super::timing::{Shift, subquery_steps};
use crate::model::{Labels, Segment};

/// How far windows reach before and behind the instants they belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Milliseconds before; excluded.
    pub(super) before_ms: i64,
    /// Milliseconds behind; included.
    pub(super) behind_ms: i64,
}

impl Extent {
    /// What all windows cover, both ends included.
    pub(super) fn bounds(&self, shift: Shift, steps: &Steps) -> (i64, i64) {
        let (first_ms, last_ms) = shift.bounds(steps);
        let from_ms = first_ms.saturating_sub(self.before_ms).saturating_add(1);
        (from_ms, last_ms.saturating_add(self.behind_ms))
    }

    /// Whether any window may hold a sample of a segment.
    fn meets(&self, segment: &Segment, shift: Shift, steps: &Steps) -> bool {
        let Some((first_ms, last_ms)) = segment_bounds(segment) else { return false };
        let Some(shifted) = shift.steps(steps) else {
            let at_ms = shift.apply(steps.start_ms);
            return self.covers(at_ms, first_ms, last_ms);
        };
        let step = shifted.first_from(first_ms.saturating_sub(self.behind_ms));
        step < shifted.count && self.covers(shifted.at(step), first_ms, last_ms)
    }

    fn covers(&self, at_ms: i64, first_ms: i64, last_ms: i64) -> bool {
        at_ms.saturating_add(self.behind_ms) >= first_ms && at_ms.saturating_sub(self.before_ms) < last_ms
    }
}

/// What a function over a range is applied to.
pub(super) struct RangeArgument {
    /// Length of the range, milliseconds.
    pub(super) range_ms: i64,
    /// Where it lies.
    pub(super) shift: Shift,
    /// How its edges are treated.
    pub(super) edges: Edges,
    /// The series.
    pub(super) series: Vec<RangeSeries>,
    /// What the argument holds of the budget.
    held: usize,
}

/// One of its series.
pub(super) struct RangeSeries {
    /// The series.
    pub(super) labels: Labels,
    /// Whether its name goes at the end of the query.
    pub(super) drop_name: bool,
    /// Its samples.
    source: Source,
}

enum Source {
    Stored(Vec<Segment>),
    Computed(Column, Steps),
}

impl RangeArgument {
    /// How far the windows reach that a function is given.
    pub(super) fn extent(&self, lookback_ms: i64) -> Extent {
        let before_ms = match self.edges {
            Edges::Plain => self.range_ms,
            Edges::Anchored | Edges::Smoothed => self.range_ms.saturating_add(lookback_ms),
        };
        Extent { before_ms, behind_ms: if self.edges == Edges::Smoothed { lookback_ms } else { 0 } }
    }
}

impl RangeSeries {
    /// Reads what windows need of it.
    pub(super) fn load(
        &self,
        stretch: &mut Stretch,
        argument: &RangeArgument,
        extent: Extent,
        steps: &Steps,
        budget: &mut Budget,
    ) -> Result<(), QueryError> {
        stretch.clear(budget);
        let bounds_ms = extent.bounds(argument.shift, steps);
        match &self.source {
            Source::Stored(segments) => {
                for segment in segments.iter().filter(|s| extent.meets(s, argument.shift, steps)) {
                    budget.check()?;
                    stretch.extend(read(segment)?.as_ref(), bounds_ms, budget)?;
                }
            }
            Source::Computed(column, inner) => {
                stretch.hold(column.present(), budget)?;
                for (step, value) in column.samples() {
                    stretch.push(inner.at(step), value);
                }
            }
        }
        Ok(())
    }

    /// Its segments, where it comes from the storage.
    pub(super) fn segments(&self) -> Option<&[Segment]> {
        match &self.source {
            Source::Stored(segments) => Some(segments),
            Source::Computed(..) => None,
        }
    }
}

/// Calls `visit` with step, instant (shifted) and samples of each window that holds any.
pub(super) fn for_each_window(
    stretch: &Stretch,
    shift: Shift,
    extent: Extent,
    steps: &Steps,
    budget: &mut Budget,
    mut visit: impl FnMut(usize, i64, &[i64], &[f64]) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let timestamps = stretch.timestamps_ms.as_slice();
    let (Some(first_ms), Some(last_ms)) = (timestamps.first(), timestamps.last()) else { return Ok(()) };
    let range = match shift.steps(steps) {
        Some(shifted) => {
            let from = shifted.first_from(first_ms.saturating_sub(extent.behind_ms));
            from..shifted.first_from(last_ms.saturating_add(extent.before_ms))
        }
        None => 0..steps.count,
    };
    let (mut from, mut to) = (0, 0);
    for step in range {
        budget.check()?;
        let at_ms = shift.apply(steps.at(step));
        from = behind_last_before(timestamps, from, at_ms.saturating_sub(extent.before_ms));
        to = behind_last_before(timestamps, to.max(from), at_ms.saturating_add(extent.behind_ms));
        let (Some(window), Some(values)) = (timestamps.get(from..to), stretch.values.get(from..to)) else {
            continue;
        };
        if !window.is_empty() {
            budget.count_read(window.len());
            visit(step, at_ms, window, values)?;
        }
    }
    Ok(())
}

impl Evaluator<'_> {
    /// Evaluates the argument of a function over a range.
    pub(super) fn range_argument(&mut self, expr: &Expr, steps: &Steps) -> Result<RangeArgument, QueryError> {
        match expr.unparenthesized() {
            Expr::MatrixSelector(matrix) => {
                let range_ms = self.times.duration_ms(&matrix.range, false)?;
                let shift = self.times.shift(&matrix.selector.time)?;
                let edges = matrix.selector.edges;
                let mut argument = RangeArgument { range_ms, shift, edges, series: Vec::new(), held: 0 };
                let (from_ms, to_ms) = argument.extent(self.limits.lookback_ms).bounds(shift, steps);
                let selected = self.fetch(&matrix.selector.matchers, from_ms, to_ms)?;
                argument.series = selected
                    .into_iter()
                    .map(|s| RangeSeries {
                        labels: s.labels,
                        drop_name: false,
                        source: Source::Stored(s.segments),
                    })
                    .collect();
                Ok(argument)
            }
            Expr::Subquery(subquery) => {
                let range_ms = self.times.duration_ms(&subquery.range, false)?;
                let step_ms = match &subquery.step {
                    Some(step) => self.times.duration_ms(step, false)?,
                    None => self.limits.subquery_step_ms,
                };
                let shift = self.times.shift(&subquery.time)?;
                let (first_ms, last_ms) = shift.bounds(steps);
                let inner = subquery_steps(first_ms, last_ms, range_ms, step_ms);
                let columns = self.eval_vector(&subquery.expr, &inner)?;
                let held = super::column::cost(&columns);
                let series = columns
                    .into_iter()
                    .map(|column| RangeSeries {
                        labels: column.labels.clone(),
                        drop_name: column.drop_name,
                        source: Source::Computed(column, inner),
                    })
                    .collect();
                Ok(RangeArgument { range_ms, shift, edges: Edges::Plain, series, held })
            }
            _ => Err(super::mistyped(super::ValueType::RangeVector)),
        }
    }

    /// Applies a function over a range.
    pub(super) fn eval_range_function(
        &mut self,
        call: &Call,
        function: RangeFn,
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let mut scalars = Vec::new();
        let mut range = None;
        for arg in &call.args {
            match arg.value_type() {
                super::ValueType::RangeVector => range = Some(arg),
                _ => scalars.push(self.eval_scalar(arg, steps)?),
            }
        }
        let range = range.ok_or_else(|| super::mistyped(super::ValueType::RangeVector))?;
        let mut argument = self.range_argument(range, steps)?;
        check_edges(call.function.name, argument.edges)?;
        let series = std::mem::take(&mut argument.series);
        let keeps_name = keeps_metric_name(call.function.name);
        let summary = summary_function(call.function.name);
        let mut state = WindowState { summary, ..WindowState::default() };
        let mut columns = Vec::with_capacity(series.len());
        for one in series {
            let slots = self.window_results(&one, &argument, &scalars, function, steps, &mut state)?;
            self.take_notes(&mut state.notes, call)?;
            let Some(column) = slots.into_column(one.labels, one.drop_name) else { continue };
            self.note_non_counter(call, &column.labels, range.span());
            self.budget.hold(column.cost())?;
            columns.push(column);
        }
        state.stretch.clear(&mut self.budget);
        self.budget.release(argument.held);
        if !keeps_name {
            self.drop_names(&mut columns);
        }
        if !self.limits.delayed_name_removal {
            refuse_duplicates(&columns)?;
        }
        Ok(columns)
    }

    /// One series' results.
    fn window_results(
        &mut self,
        series: &RangeSeries,
        argument: &RangeArgument,
        scalars: &[Vec<f64>],
        function: RangeFn,
        steps: &Steps,
        state: &mut WindowState,
    ) -> Result<Slots, QueryError> {
        let extent = argument.extent(self.limits.lookback_ms);
        let WindowState { stretch, numbers, notes, summary } = state;
        if let (Some(function), Some(segments)) = (summary, series.segments())
            && argument.edges == Edges::Plain
            && pieces::is_worthwhile(segments, argument, steps)
            && let Some(slots) = pieces::results(segments, *function, argument, steps, &mut self.budget)?
        {
            return Ok(slots);
        }
        series.load(stretch, argument, extent, steps, &mut self.budget)?;
        let mut slots = Slots::default();
        let budget = &mut self.budget;
        for_each_window(
            stretch,
            argument.shift,
            extent,
            steps,
            budget,
            |step, end_ms, timestamps_ms, values| {
                numbers.clear();
                numbers.extend(scalars.iter().map(|s| s.get(step).copied().unwrap_or(f64::NAN)));
                let window = Window {
                    timestamps_ms,
                    values,
                    range_start_ms: end_ms.saturating_sub(argument.range_ms),
                    range_end_ms: end_ms,
                    eval_ms: steps.at(step),
                    edges: argument.edges,
                };
                if let Some(value) = function(&window, numbers, notes) {
                    slots.set(step, value);
                }
                Ok(())
            },
        )?;
        Ok(slots)
    }

    /// Says that what `rate` or `increase` are applied to may be no counter.
    fn note_non_counter(&mut self, call: &Call, labels: &Labels, span: Span) {
        if !matches!(call.function.name, "rate" | "increase") {
            return;
        }
        let name = labels.metric_name();
        if name.is_empty() {
            return;
        }
        if self.limits.type_and_unit_labels {
            let kind = labels.value("__type__");
            if !matches!(kind, "counter" | "histogram") {
                self.annotations.add(Annotation::possible_non_counter_type(name, kind, span));
            }
        } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
            self.annotations.add(Annotation::possible_non_counter(name, span));
        }
    }

    /// `absent_over_time`: 1 at the steps at which no series has a sample within the range.
    pub(super) fn eval_absent_over_time(
        &mut self,
        call: &Call,
        labels: Labels,
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let Some(range) = call.args.first() else { return Ok(Vec::new()) };
        let argument = self.range_argument(range, steps)?;
        check_edges(call.function.name, argument.edges)?;
        let extent = argument.extent(self.limits.lookback_ms);
        let mut there = vec![false; steps.count];
        let mut stretch = Stretch::default();
        for series in &argument.series {
            series.load(&mut stretch, &argument, extent, steps, &mut self.budget)?;
            let budget = &mut self.budget;
            for_each_window(&stretch, argument.shift, extent, steps, budget, |step, _, _, _| {
                if let Some(slot) = there.get_mut(step) {
                    *slot = true;
                }
                Ok(())
            })?;
        }
        stretch.clear(&mut self.budget);
        self.budget.release(argument.held);
        self.ones_where_absent(&there, labels)
    }

    /// A series that is 1 where nothing is there.
    pub(super) fn ones_where_absent(
        &mut self,
        there: &[bool],
        labels: Labels,
    ) -> Result<Vec<Column>, QueryError> {
        let mut slots = Slots::default();
        for (step, _) in there.iter().enumerate().filter(|(_, there)| !**there) {
            slots.set(step, 1.0);
        }
        let column = slots.into_column(labels, false);
        self.budget.hold(column.as_ref().map_or(0, Column::cost))?;
        Ok(column.into_iter().collect())
    }
}

/// What is used again for each series.
#[derive(Default)]
struct WindowState {
    stretch: Stretch,
    numbers: Vec<f64>,
    notes: Notes,
    summary: Option<SummaryFn>,
}

/// Functions that know the modifiers of a range's edges.
fn check_edges(function: &str, edges: Edges) -> Result<(), QueryError> {
    let (modifier, known): (_, &[&str]) = match edges {
        Edges::Plain => return Ok(()),
        Edges::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Edges::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
    };
    if known.contains(&function) {
        return Ok(());
    }
    let list = known.join(", ");
    Err(QueryError::Execution(format!(
        "{modifier} modifier can only be used with: {list} - not with {function}"
    )))
}
