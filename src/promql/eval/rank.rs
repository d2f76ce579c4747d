//! Aggregations: the expression's parts evaluated, and those that choose series: `topk`, `bottomk`, `limitk`,
//! `limit_ratio`.
//!
//! Invariant: which of equal values stay is decided by a binary heap whose moves are those of Go's `container/heap`.
//! `limit_ratio` chooses by the xxHash64 of the labels as Prometheus packs them, so both choose the same series.
//!
//! Source: Prometheus documentation, "Operators", aggregation operators.

use std::hash::Hasher;

use twox_hash::XxHash64;

use super::super::annotations::Annotation;
use super::super::ast::{Aggregate, AggregateOp, Expr, Span, StringLiteral};
use super::super::engine::QueryError;
use super::super::functions::GoG;
use super::super::printer::QuotedBytes;
use super::aggregate::{Grouping, accumulate, count_values, quantiles};
use super::column::{Column, Slots, Steps, cost, is_absent, merge_duplicates};
use super::{Evaluator, mistyped};
use crate::model::{Labels, Quoted};

/// Numbers from here on are no 64-bit integers.
const INTEGER_LIMIT: f64 = 9_223_372_036_854_775_808.0;

impl Evaluator<'_> {
    pub(super) fn eval_aggregate(
        &mut self,
        aggregate: &Aggregate,
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        if aggregate.op == AggregateOp::CountValues {
            return self.eval_count_values(aggregate, steps);
        }
        let parameter = match &aggregate.parameter {
            Some(expr) => self.eval_scalar(expr, steps)?,
            None => Vec::new(),
        };
        let columns = self.eval_vector(&aggregate.expr, steps)?;
        let span = aggregate.parameter.as_ref().map_or(aggregate.span, Expr::span);
        let nothing_chosen = self.check_parameter(aggregate.op, &parameter, span)?;
        let grouping = Grouping::of(&columns, aggregate);
        let out = match aggregate.op {
            _ if nothing_chosen => Ok(Vec::new()),
            AggregateOp::Quantile => quantiles(&grouping, &columns, &parameter, &mut self.budget),
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                let choice = Choice::new(aggregate.op, &columns);
                self.choose(&choice, &grouping, &columns, &parameter, steps)
            }
            op => accumulate(op, &grouping, &columns, &mut self.budget),
        }?;
        self.release(&columns);
        Ok(out)
    }

    fn eval_count_values(&mut self, aggregate: &Aggregate, steps: &Steps) -> Result<Vec<Column>, QueryError> {
        let parameter = aggregate.parameter.as_ref().ok_or_else(|| mistyped(super::ValueType::String))?;
        if let Expr::String(StringLiteral { not_utf8: Some(bytes), .. }) = parameter.unparenthesized() {
            return Err(QueryError::Execution(format!("invalid label name {}", QuotedBytes(bytes))));
        }
        let label = self.eval_string(parameter, steps)?;
        if label.is_empty() {
            return Err(QueryError::Execution(format!("invalid label name {}", Quoted(&label))));
        }
        let columns = self.eval_vector(&aggregate.expr, steps)?;
        let out = count_values(aggregate, &label, &columns, &mut self.budget)?;
        self.release(&columns);
        merge_duplicates(out)
    }

    /// Refuses parameters that are no numbers of their kind, and says what is odd about others. `true`: no step
    /// chooses anything.
    fn check_parameter(&mut self, op: AggregateOp, values: &[f64], span: Span) -> Result<bool, QueryError> {
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let any_nan = values.iter().any(|v| v.is_nan());
        let fail = |text: String| Err(QueryError::Execution(text));
        match op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                if any_nan {
                    return fail("Parameter value is NaN".to_owned());
                }
                if min <= -INTEGER_LIMIT {
                    return fail(format!("Scalar value {} underflows int64", GoG(min)));
                }
                if max >= INTEGER_LIMIT {
                    return fail(format!("Scalar value {} overflows int64", GoG(max)));
                }
                Ok(max < 1.0)
            }
            AggregateOp::LimitRatio => {
                if any_nan {
                    return fail("Ratio value is NaN".to_owned());
                }
                if max > 1.0 {
                    self.annotations.add(Annotation::invalid_ratio(max, 1.0, span));
                }
                if min < -1.0 {
                    self.annotations.add(Annotation::invalid_ratio(min, -1.0, span));
                }
                Ok(max == 0.0 && min == 0.0)
            }
            AggregateOp::Quantile => {
                if any_nan {
                    self.annotations.add(Annotation::invalid_quantile(f64::NAN, span));
                }
                if max > 1.0 {
                    self.annotations.add(Annotation::invalid_quantile(max, span));
                }
                if min < 0.0 {
                    self.annotations.add(Annotation::invalid_quantile(min, span));
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn choose(
        &mut self,
        choice: &Choice,
        grouping: &Grouping,
        columns: &[Column],
        parameter: &[f64],
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let mut chosen: Vec<Slots> = vec![Slots::default(); columns.len()];
        // Of an instant query the order in which they were chosen is that of the result.
        let mut order: Vec<usize> = Vec::new();
        let mut heap = Heap { entries: Vec::new(), op: choice.op };
        for (step, parameter) in (0..steps.count).zip(parameter) {
            self.budget.check()?;
            for members in &grouping.members {
                heap.entries.clear();
                let there = members.iter().filter_map(|index| {
                    let value = columns.get(*index)?.at(step);
                    (!is_absent(value)).then_some((value, *index))
                });
                choice.fill(&mut heap, there, *parameter, columns.len());
                for (value, index) in &heap.entries {
                    if let Some(slots) = chosen.get_mut(*index) {
                        slots.set(step, *value);
                    }
                }
                if steps.count == 1 {
                    order.extend(heap.entries.iter().map(|(_, index)| *index));
                }
            }
        }
        if steps.count > 1 {
            order.extend(0..columns.len());
        }
        let mut out = Vec::with_capacity(order.len());
        for index in order {
            let (Some(column), Some(slots)) = (columns.get(index), chosen.get_mut(index)) else { continue };
            out.extend(std::mem::take(slots).into_column(column.labels.clone(), column.drop_name));
        }
        self.budget.hold(cost(&out))?;
        Ok(out)
    }
}

/// How series are chosen.
struct Choice {
    op: AggregateOp,
    /// Of each series its place between 0 and 1; only for `limit_ratio`.
    offsets: Vec<f64>,
}

impl Choice {
    fn new(op: AggregateOp, columns: &[Column]) -> Self {
        let offsets = match op {
            AggregateOp::LimitRatio => columns.iter().map(|c| ratio_offset(&c.labels)).collect(),
            _ => Vec::new(),
        };
        Self { op, offsets }
    }

    /// Puts the chosen of one group into the heap's entries, in the order of the result.
    fn fill(
        &self,
        heap: &mut Heap,
        there: impl Iterator<Item = (f64, usize)>,
        parameter: f64,
        series: usize,
    ) {
        if self.op == AggregateOp::LimitRatio {
            let ratio = parameter.clamp(-1.0, 1.0);
            let offset = |index: &usize| self.offsets.get(*index).copied().unwrap_or(1.0);
            heap.entries.extend(there.filter(|(_, index)| is_sampled(ratio, offset(index))));
            return;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and a length")]
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 series")]
        let k = parameter.clamp(0.0, series as f64) as usize;
        if k == 0 {
            return;
        }
        if self.op == AggregateOp::Limitk {
            heap.entries.extend(there.take(k));
            return;
        }
        for entry in there {
            if heap.entries.len() < k {
                heap.push(entry);
            } else if heap.entries.first().is_some_and(|lowest| heap.displaces(entry.0, lowest.0)) {
                if let Some(lowest) = heap.entries.first_mut() {
                    *lowest = entry;
                }
                heap.sink();
            }
        }
        heap.sort_best_first();
    }
}

/// The samples kept so far, the worst at the front.
struct Heap {
    entries: Vec<(f64, usize)>,
    op: AggregateOp,
}

impl Heap {
    /// Whether a value is worse than another. NaN is worse than anything, another NaN included.
    fn is_worse(&self, a: f64, b: f64) -> bool {
        a.is_nan() || if self.op == AggregateOp::Topk { a < b } else { a > b }
    }

    /// Whether a value takes the place of the worst.
    fn displaces(&self, value: f64, worst: f64) -> bool {
        let better = if self.op == AggregateOp::Topk { worst < value } else { worst > value };
        better || (worst.is_nan() && !value.is_nan())
    }

    fn worse_at(&self, a: usize, b: usize) -> bool {
        match (self.entries.get(a), self.entries.get(b)) {
            (Some(a), Some(b)) => self.is_worse(a.0, b.0),
            _ => false,
        }
    }

    fn push(&mut self, entry: (f64, usize)) {
        self.entries.push(entry);
        let mut at = self.entries.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.worse_at(at, parent) {
                break;
            }
            self.entries.swap(at, parent);
            at = parent;
        }
    }

    /// Moves the front down to where it belongs.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.entries.len() {
                return;
            }
            let child = if right < self.entries.len() && self.worse_at(right, left) { right } else { left };
            if !self.worse_at(child, at) {
                return;
            }
            self.entries.swap(at, child);
            at = child;
        }
    }

    fn sort_best_first(&mut self) {
        let descending = self.op == AggregateOp::Topk;
        self.entries.sort_by(|(a, _), (b, _)| {
            a.is_nan().cmp(&b.is_nan()).then_with(|| {
                let order = a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
                if descending { order.reverse() } else { order }
            })
        });
    }
}

/// Whether a ratio takes in a series; a negative one takes what its complement leaves.
fn is_sampled(ratio: f64, offset: f64) -> bool {
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}

/// The place of a series between 0 and 1: the hash of its labels.
#[expect(clippy::cast_precision_loss, reason = "as Prometheus")]
fn ratio_offset(labels: &Labels) -> f64 {
    prometheus_hash(labels) as f64 / u64::MAX as f64
}

/// xxHash64 of the labels as Prometheus packs them: each text behind its length, one byte below 255, else that byte and
/// three more, little-endian.
fn prometheus_hash(labels: &Labels) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    let mut write = |text: &str| {
        match u8::try_from(text.len()) {
            Ok(short) if short < u8::MAX => hasher.write(&[short]),
            _ => {
                let [a, b, c, ..] = text.len().to_le_bytes();
                hasher.write(&[u8::MAX, a, b, c]);
            }
        }
        hasher.write(text.as_bytes());
    };
    for (name, value) in labels {
        write(name);
        write(value);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(op: AggregateOp, k: f64, values: &[f64]) -> Vec<(f64, usize)> {
        let mut heap = Heap { entries: Vec::new(), op };
        let choice = Choice { op, offsets: Vec::new() };
        choice.fill(&mut heap, values.iter().copied().zip(0..), k, values.len());
        heap.entries
    }

    #[test]
    fn the_largest_and_smallest_are_chosen() {
        let values = [3.0, f64::NAN, 7.0, 1.0, 7.0, 5.0];
        let indices = |entries: Vec<(f64, usize)>| entries.into_iter().map(|(_, i)| i).collect::<Vec<_>>();
        assert_eq!(indices(chosen(AggregateOp::Topk, 3.0, &values)), [4, 2, 5]);
        assert_eq!(indices(chosen(AggregateOp::Bottomk, 2.9, &values)), [3, 0]);
        assert_eq!(indices(chosen(AggregateOp::Topk, 1e9, &values)), [4, 2, 5, 0, 3, 1]);
        assert_eq!(indices(chosen(AggregateOp::Limitk, 2.0, &values)), [0, 1]);
        assert!(chosen(AggregateOp::Topk, 0.9, &values).is_empty());
        assert!(chosen(AggregateOp::Topk, -3.0, &values).is_empty());
    }

    #[test]
    fn a_ratio_and_its_complement_share_the_series() {
        for n in 0..100 {
            let labels = Labels::from_pairs([("__name__", "m"), ("n", n.to_string().as_str())]);
            let offset = ratio_offset(&labels);
            assert!((0.0..=1.0).contains(&offset));
            assert_ne!(is_sampled(0.3, offset), is_sampled(-0.7, offset));
        }
    }

    #[test]
    fn the_hash_is_that_of_the_packed_labels() {
        assert_eq!(prometheus_hash(&Labels::empty()), 0xEF46_DB37_51D8_E999);
        let mut expected = XxHash64::with_seed(0);
        expected.write(b"\x01a\xff\x2c\x01\x00");
        expected.write("x".repeat(300).as_bytes());
        let labels = Labels::from_pairs([("a", "x".repeat(300).as_str())]);
        assert_eq!(prometheus_hash(&labels), expected.finish());
    }
}
