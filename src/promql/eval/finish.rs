//! From the outermost expression to the result of the query.

use super::super::ast::{Edges, Expr, ValueType};
use super::super::engine::QueryError;
use super::super::value::{Series, Value, VectorSample};
use super::column::{Column, Steps, is_absent, merge_duplicates, without_metric_schema};
use super::range::{RangeArgument, for_each_window};
use super::reader::Stretch;
use super::select::seconds;
use super::{Evaluated, Evaluator};
use crate::model::{Labels, Samples};

impl Evaluator<'_> {
    /// Evaluates the whole query.
    pub(super) fn query(&mut self, expr: &Expr) -> Result<Value, QueryError> {
        let at_ms = self.times.start_ms;
        if self.times.step_ms > 0 {
            let steps = Steps::between(at_ms, self.times.end_ms, self.times.step_ms);
            let evaluated = self.eval(expr, &steps)?;
            return self.matrix(evaluated, &steps);
        }
        let steps = Steps::single(at_ms);
        if expr.value_type() == ValueType::RangeVector {
            return self.range_vector(expr, &steps);
        }
        Ok(match self.eval(expr, &steps)? {
            Evaluated::Scalar(values) => {
                Value::Scalar { at_ms, value: values.first().copied().unwrap_or(f64::NAN) }
            }
            Evaluated::String(text) => Value::String { at_ms, text },
            Evaluated::Vector(columns) => {
                let mut samples = Vec::with_capacity(columns.len());
                for column in self.finished(columns)? {
                    let value = column.at(0);
                    if !is_absent(value) {
                        samples.push(VectorSample { labels: column.labels, drop_name: false, at_ms, value });
                    }
                }
                Value::Vector(samples)
            }
        })
    }

    /// Drops the names that were only marked; series that become one are joined.
    fn finished(&self, mut columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
        for column in columns.iter_mut().filter(|c| c.drop_name) {
            column.labels = without_metric_schema(&column.labels);
        }
        merge_duplicates(columns)
    }

    fn matrix(&mut self, evaluated: Evaluated, steps: &Steps) -> Result<Value, QueryError> {
        let columns = match evaluated {
            Evaluated::Vector(columns) => self.finished(columns)?,
            Evaluated::Scalar(values) => {
                vec![Column { labels: Labels::empty(), drop_name: false, first: 0, values }]
            }
            Evaluated::String(_) => return Err(super::mistyped(ValueType::InstantVector)),
        };
        let mut series: Vec<Series> = Vec::with_capacity(columns.len());
        for column in columns {
            let mut samples = Samples::with_capacity(column.present());
            column.samples().for_each(|(step, value)| samples.push(steps.at(step), value));
            if !samples.is_empty() {
                series.push(Series { labels: column.labels, samples });
            }
        }
        series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Value::Matrix(series))
    }

    /// A range vector as the result of an instant query.
    fn range_vector(&mut self, expr: &Expr, steps: &Steps) -> Result<Value, QueryError> {
        let mut argument = self.range_argument(expr, steps)?;
        let extent = argument.extent(self.limits.lookback_ms);
        let mut series: Vec<Series> = Vec::new();
        let mut stretch = Stretch::default();
        for one in std::mem::take(&mut argument.series) {
            one.load(&mut stretch, &argument, extent, steps, &mut self.budget)?;
            let mut samples = Samples::default();
            let budget = &mut self.budget;
            for_each_window(
                &stretch,
                argument.shift,
                extent,
                steps,
                budget,
                |_, end_ms, timestamps, values| {
                    samples = cut(timestamps, values, end_ms, &argument);
                    Ok(())
                },
            )?;
            stretch.clear(&mut self.budget);
            if !samples.is_empty() {
                self.budget.hold(samples.len())?;
                let labels = match one.drop_name {
                    true => without_metric_schema(&one.labels),
                    false => one.labels,
                };
                series.push(Series { labels, samples });
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        if series.windows(2).any(|pair| matches!(pair, [a, b] if a.labels == b.labels)) {
            return Err(super::column::same_labelset());
        }
        Ok(Value::Matrix(series))
    }
}

/// The samples of a window as a range vector shows them; with `anchored` or `smoothed` its edges are samples too.
fn cut(timestamps: &[i64], values: &[f64], end_ms: i64, argument: &RangeArgument) -> Samples {
    let start_ms = end_ms.saturating_sub(argument.range_ms);
    let mut samples = Samples::with_capacity(values.len() + 2);
    let pairs = || timestamps.iter().copied().zip(values.iter().copied());
    if argument.edges == Edges::Plain {
        pairs().for_each(|(t, v)| samples.push(t, v));
        return samples;
    }
    let smoothed = argument.edges == Edges::Smoothed;
    let before = pairs().take_while(|(t, _)| *t <= start_ms).last();
    let inner: Vec<(i64, f64)> = pairs().filter(|(t, _)| *t > start_ms && *t < end_ms).collect();
    let behind = pairs().find(|(t, _)| *t >= end_ms);
    let Some(first) = before.or_else(|| inner.first().copied()).or(behind) else { return samples };
    let Some(last) = behind.or_else(|| inner.last().copied()).or(before) else { return samples };
    if last.0 <= start_ms {
        return samples;
    }
    let between = |a: (i64, f64), b: (i64, f64), at: i64| {
        if a.0 == b.0 { a.1 } else { a.1 + (b.1 - a.1) * seconds(at - a.0) / seconds(b.0 - a.0) }
    };
    let after_first = inner.first().copied().unwrap_or(last);
    let before_last = inner.last().copied().unwrap_or(first);
    let left = if smoothed && first.0 < start_ms { between(first, after_first, start_ms) } else { first.1 };
    let right = if smoothed && last.0 > end_ms { between(before_last, last, end_ms) } else { last.1 };
    samples.push(start_ms, left);
    inner.iter().for_each(|(t, v)| samples.push(*t, *v));
    samples.push(end_ms, right);
    samples
}
