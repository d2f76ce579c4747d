//! Functions of classic histograms: series with `le` are put together once, then computed step by step.

use super::super::ast::{Call, ValueType};
use super::super::engine::QueryError;
use super::super::functions::{
    Bucket, HistogramSeries, Histograms, Note, NoteKind, Notes, bucket_fraction, bucket_quantile,
    note_invalid_quantile, quantile_label,
};
use super::column::{Column, Slots, Steps, cost, is_absent, merge_duplicates};
use super::{Evaluator, mistyped};

impl Evaluator<'_> {
    /// `histogram_quantile(q, v)` and `histogram_quantiles(v, label, q, ...)`.
    pub(super) fn eval_histogram_quantile(
        &mut self,
        call: &Call,
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let label = self.strings(call, steps)?.pop();
        let (columns, vector_at) = self.vector_argument(call, steps)?;
        let mut notes = Notes::default();
        let mut quantiles = Vec::new();
        for (argument, arg) in call.args.iter().enumerate() {
            if arg.value_type() == ValueType::Scalar {
                let values = self.eval_scalar(arg, steps)?;
                values.iter().for_each(|q| note_invalid_quantile(*q, argument, &mut notes));
                quantiles.push(values);
            }
        }
        let histograms = Histograms::group(columns.iter().map(|c| &c.labels));
        note_malformed(&histograms, &columns, vector_at, &mut notes);
        let mut out = Vec::new();
        for quantile_at in &quantiles {
            for group in histograms.groups() {
                self.budget.check()?;
                let of_group = self.quantiles_of(group, &columns, quantile_at, steps, &mut |kind| {
                    notes.say(Note { argument: vector_at, kind });
                });
                for (q, slots) in of_group {
                    let labels = match &label {
                        Some(label) => group.labels.with(label, &quantile_label(q)),
                        None => group.labels.clone(),
                    };
                    out.extend(slots.into_column(labels, false));
                }
            }
        }
        self.take_notes(&mut notes, call)?;
        self.histogram_results(&columns, out)
    }

    /// One histogram's quantiles over the steps, a stretch for each quantile where it changes from step to step.
    fn quantiles_of(
        &self,
        group: &HistogramSeries,
        columns: &[Column],
        quantile_at: &[f64],
        steps: &Steps,
        say: &mut dyn FnMut(NoteKind),
    ) -> Vec<(f64, Slots)> {
        let mut out: Vec<(f64, Slots)> = Vec::new();
        let mut buckets = Vec::new();
        for ((step, at_ms), q) in steps.iter().zip(quantile_at) {
            if !buckets_at(group, columns, step, &mut buckets) {
                continue;
            }
            let quantile = bucket_quantile(*q, &mut buckets, at_ms);
            if let Some(extent) = quantile.forced {
                // Where names are dropped at once, the name is not there any more.
                let name = if self.limits.delayed_name_removal { group.labels.metric_name() } else { "" };
                say(NoteKind::ForcedMonotonicity { metric_name: name.to_owned(), extent });
            }
            match out.last_mut() {
                Some((last, slots)) if last.to_bits() == q.to_bits() => slots.set(step, quantile.value),
                _ => {
                    let mut slots = Slots::default();
                    slots.set(step, quantile.value);
                    out.push((*q, slots));
                }
            }
        }
        out
    }

    /// `histogram_fraction(lower, upper, v)`.
    pub(super) fn eval_histogram_fraction(
        &mut self,
        call: &Call,
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let mut bounds = Vec::new();
        for arg in call.args.iter().filter(|arg| arg.value_type() == ValueType::Scalar) {
            bounds.push(self.eval_scalar(arg, steps)?);
        }
        let [lower_at, upper_at] = bounds.as_slice() else { return Err(mistyped(ValueType::Scalar)) };
        let (columns, vector_at) = self.vector_argument(call, steps)?;
        let histograms = Histograms::group(columns.iter().map(|c| &c.labels));
        let mut notes = Notes::default();
        note_malformed(&histograms, &columns, vector_at, &mut notes);
        self.take_notes(&mut notes, call)?;
        let mut out = Vec::new();
        let mut buckets = Vec::new();
        for group in histograms.groups() {
            self.budget.check()?;
            let mut slots = Slots::default();
            for (step, (lower, upper)) in lower_at.iter().zip(upper_at).enumerate() {
                if buckets_at(group, &columns, step, &mut buckets) {
                    slots.set(step, bucket_fraction(*lower, *upper, &mut buckets));
                }
            }
            out.extend(slots.into_column(group.labels.clone(), false));
        }
        self.histogram_results(&columns, out)
    }

    /// The argument that is a vector, and which one it is.
    fn vector_argument(&mut self, call: &Call, steps: &Steps) -> Result<(Vec<Column>, usize), QueryError> {
        let found =
            call.args.iter().enumerate().find(|(_, arg)| arg.value_type() == ValueType::InstantVector);
        let (at, arg) = found.ok_or_else(|| mistyped(ValueType::InstantVector))?;
        Ok((self.eval_vector(arg, steps)?, at))
    }

    fn histogram_results(
        &mut self,
        columns: &[Column],
        mut out: Vec<Column>,
    ) -> Result<Vec<Column>, QueryError> {
        self.release(columns);
        self.budget.hold(cost(&out))?;
        self.drop_names(&mut out);
        merge_duplicates(out)
    }
}

/// A histogram's buckets at one step; `false` where it has none.
fn buckets_at(group: &HistogramSeries, columns: &[Column], step: usize, buckets: &mut Vec<Bucket>) -> bool {
    buckets.clear();
    for (upper_bound, index) in &group.buckets {
        let count = columns.get(*index).map(|c| c.at(step)).filter(|count| !is_absent(*count));
        buckets.extend(count.map(|count| Bucket { upper_bound: *upper_bound, count }));
    }
    !buckets.is_empty()
}

/// Says which series have no number as bound.
fn note_malformed(histograms: &Histograms, columns: &[Column], argument: usize, notes: &mut Notes) {
    histograms.note_malformed(|index| columns.get(index).is_some_and(|c| !c.is_empty()), argument, notes);
}
