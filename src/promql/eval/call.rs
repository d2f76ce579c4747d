//! Calls: from a function's name to what computes it over columns.

use super::super::annotations::Annotation;
use super::super::ast::{Call, Expr, StringLiteral, ValueType};
use super::super::engine::QueryError;
use super::super::functions::{
    ElementFn, InfoJoin, LabelArgumentError, LabelJoin, LabelReplace, Notes, absent_labels,
    compare_by_labels, compare_values, compare_values_descending, elementwise, is_date_function,
    range_function,
};
use super::column::{Column, Slots, Steps, is_absent, merge_duplicates, refuse_duplicates};
use super::select::{Take, seconds};
use super::{Evaluated, Evaluator, mistyped};
use crate::model::{ColdSort, Labels};

impl Evaluator<'_> {
    pub(super) fn eval_call(&mut self, call: &Call, steps: &Steps) -> Result<Evaluated, QueryError> {
        let name = call.function.name;
        let constant = |value: f64| Ok(Evaluated::Scalar(vec![value; steps.count]));
        match name {
            "pi" => return constant(std::f64::consts::PI),
            "start" => return constant(seconds(self.times.start_ms)),
            "end" => return constant(seconds(self.times.end_ms)),
            "step" => return constant(seconds(self.times.step_ms)),
            "range" => return constant(seconds(self.times.end_ms.saturating_sub(self.times.start_ms))),
            "time" => return Ok(Evaluated::Scalar(steps.iter().map(|(_, at)| seconds(at)).collect())),
            "scalar" => return self.eval_scalar_function(call, steps).map(Evaluated::Scalar),
            _ => {}
        }
        let columns = match name {
            "vector" => self.eval_vector_function(call, steps)?,
            "timestamp" => self.eval_timestamp(call, steps)?,
            "absent" => self.eval_absent(call, steps)?,
            "absent_over_time" => {
                let labels = first(call).map(absent_labels)?;
                self.eval_absent_over_time(call, labels, steps)?
            }
            "label_replace" => self.eval_label_replace(call, steps)?,
            "label_join" => self.eval_label_join(call, steps)?,
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.eval_sort(call, steps)?,
            "histogram_quantile" | "histogram_quantiles" => self.eval_histogram_quantile(call, steps)?,
            "histogram_fraction" => self.eval_histogram_fraction(call, steps)?,
            // Of native histograms; floats have none of these.
            "histogram_avg" | "histogram_count" | "histogram_sum" | "histogram_stddev"
            | "histogram_stdvar" => {
                let columns = self.eval_vector(first(call)?, steps)?;
                self.release(&columns);
                Vec::new()
            }
            "info" => self.eval_info(call, steps)?,
            _ => match (elementwise(name), range_function(name)) {
                (Some(function), _) => self.eval_elementwise(call, function, steps)?,
                (None, Some(function)) => self.eval_range_function(call, function, steps)?,
                (None, None) => {
                    return Err(QueryError::Execution(format!(
                        "internal error: function {name} is not known"
                    )));
                }
            },
        };
        Ok(Evaluated::Vector(columns))
    }

    /// Turns what a function said into annotations, or into the error that ends the query.
    pub(super) fn take_notes(&mut self, notes: &mut Notes, call: &Call) -> Result<(), QueryError> {
        if let Some(failure) = notes.failure() {
            return Err(QueryError::Execution(failure.to_owned()));
        }
        for note in notes.drain() {
            self.annotations.add(note.annotation(call));
        }
        Ok(())
    }

    fn eval_elementwise(
        &mut self,
        call: &Call,
        function: ElementFn,
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let mut vector = None;
        let mut scalars = Vec::new();
        for arg in &call.args {
            match arg.value_type() {
                ValueType::InstantVector => vector = Some(self.eval_vector(arg, steps)?),
                _ => scalars.push(self.eval_scalar(arg, steps)?),
            }
        }
        let columns = match vector {
            Some(columns) => columns,
            None if is_date_function(call.function.name) => {
                let values = steps.iter().map(|(_, at)| seconds(at)).collect();
                vec![Column { labels: Labels::empty(), drop_name: false, first: 0, values }]
            }
            None => return Err(mistyped(ValueType::InstantVector)),
        };
        let mut numbers: Vec<f64> = Vec::with_capacity(scalars.len());
        let mut out = Vec::with_capacity(columns.len());
        for mut column in columns {
            self.budget.check()?;
            let first = column.first;
            for (i, value) in column.values.iter_mut().enumerate().filter(|(_, v)| !is_absent(**v)) {
                numbers.clear();
                numbers.extend(scalars.iter().map(|s| s.get(first + i).copied().unwrap_or(f64::NAN)));
                *value = function(*value, &numbers).unwrap_or(super::column::ABSENT);
            }
            if !column.is_empty() {
                out.push(column);
            }
        }
        self.drop_names_and_merge(out)
    }

    fn eval_scalar_function(&mut self, call: &Call, steps: &Steps) -> Result<Vec<f64>, QueryError> {
        let columns = self.eval_vector(first(call)?, steps)?;
        let mut found: Vec<(u32, f64)> = vec![(0, f64::NAN); steps.count];
        for (step, value) in columns.iter().flat_map(Column::samples) {
            if let Some((count, slot)) = found.get_mut(step) {
                (*count, *slot) = (count.saturating_add(1), value);
            }
        }
        self.release(&columns);
        Ok(found.into_iter().map(|(count, value)| if count == 1 { value } else { f64::NAN }).collect())
    }

    fn eval_vector_function(&mut self, call: &Call, steps: &Steps) -> Result<Vec<Column>, QueryError> {
        let values = self.eval_scalar(first(call)?, steps)?;
        self.budget.hold(values.len())?;
        Ok(vec![Column { labels: Labels::empty(), drop_name: false, first: 0, values }])
    }

    /// Of a selector the instants of its samples; of any other expression that of the step.
    fn eval_timestamp(&mut self, call: &Call, steps: &Steps) -> Result<Vec<Column>, QueryError> {
        let columns = match first(call)?.unparenthesized() {
            Expr::VectorSelector(selector) => self.select_as(selector, steps, Take::Instant)?,
            other => {
                let mut columns = self.eval_vector(other, steps)?;
                columns.iter_mut().for_each(|column| column.map(|step, _| seconds(steps.at(step))));
                columns
            }
        };
        self.drop_names_and_merge(columns)
    }

    fn eval_absent(&mut self, call: &Call, steps: &Steps) -> Result<Vec<Column>, QueryError> {
        let argument = first(call)?;
        let columns = self.eval_vector(argument, steps)?;
        let mut there = vec![false; steps.count];
        for (step, _) in columns.iter().flat_map(Column::samples) {
            if let Some(slot) = there.get_mut(step) {
                *slot = true;
            }
        }
        self.release(&columns);
        self.ones_where_absent(&there, absent_labels(argument))
    }

    fn eval_label_replace(&mut self, call: &Call, steps: &Steps) -> Result<Vec<Column>, QueryError> {
        if let Some(name) = not_utf8(call.args.get(1)) {
            return Err(refused(LabelArgumentError::Destination { function: "label_replace", name }));
        }
        let texts = self.strings(call, steps)?;
        let [destination, replacement, source, regex] = texts.as_slice() else {
            return Err(mistyped(ValueType::String));
        };
        let replace = LabelReplace::new(destination, replacement, source, regex).map_err(refused)?;
        let mut columns = self.eval_vector(first(call)?, steps)?;
        for column in &mut columns {
            self.budget.check()?;
            if let Some(labels) = replace.apply(&column.labels) {
                column.labels = labels;
                column.drop_name &= !replace.sets_metric_name();
            }
        }
        refuse_duplicates(&columns)?;
        Ok(columns)
    }

    fn eval_label_join(&mut self, call: &Call, steps: &Steps) -> Result<Vec<Column>, QueryError> {
        if let Some(name) = call.args.iter().skip(3).find_map(|arg| not_utf8(Some(arg))) {
            return Err(refused(LabelArgumentError::Source(name)));
        }
        if let Some(name) = not_utf8(call.args.get(1)) {
            return Err(refused(LabelArgumentError::Destination { function: "label_join", name }));
        }
        let mut texts = self.strings(call, steps)?.into_iter();
        let (Some(destination), Some(separator)) = (texts.next(), texts.next()) else {
            return Err(mistyped(ValueType::String));
        };
        let join = LabelJoin::new(&destination, &separator, texts.collect()).map_err(refused)?;
        let mut columns = self.eval_vector(first(call)?, steps)?;
        for column in &mut columns {
            self.budget.check()?;
            column.labels = join.apply(&column.labels);
            column.drop_name &= !join.sets_metric_name();
        }
        refuse_duplicates(&columns)?;
        Ok(columns)
    }

    fn eval_sort(&mut self, call: &Call, steps: &Steps) -> Result<Vec<Column>, QueryError> {
        let names = self.strings(call, steps)?;
        let mut columns = self.eval_vector(first(call)?, steps)?;
        if steps.count > 1 {
            self.annotations.add(Annotation::sort_in_range_query(call.span));
            return Ok(columns);
        }
        match call.function.name {
            "sort" => columns.cold_sort_by(|a, b| compare_values(a.at(0), b.at(0))),
            "sort_desc" => columns.cold_sort_by(|a, b| compare_values_descending(a.at(0), b.at(0))),
            "sort_by_label" => columns.cold_sort_by(|a, b| compare_by_labels(&a.labels, &b.labels, &names)),
            _ => columns.cold_sort_by(|a, b| compare_by_labels(&b.labels, &a.labels, &names)),
        }
        Ok(columns)
    }

    /// The arguments that are texts, in order.
    pub(super) fn strings(&mut self, call: &Call, steps: &Steps) -> Result<Vec<String>, QueryError> {
        let texts = call.args.iter().filter(|arg| arg.value_type() == ValueType::String);
        texts.map(|arg| self.eval_string(arg, steps)).collect()
    }

    fn eval_info(&mut self, call: &Call, steps: &Steps) -> Result<Vec<Column>, QueryError> {
        let columns = self.eval_vector(first(call)?, steps)?;
        let selector = match call.args.get(1).map(Expr::unparenthesized) {
            Some(Expr::VectorSelector(selector)) => Some(selector.matchers.as_slice()),
            _ => None,
        };
        let join = InfoJoin::new(selector);
        let matchers = join
            .matchers(columns.iter().map(|c| &c.labels))
            .map_err(|e| QueryError::Execution(e.to_string()))?;
        let instants = match matchers {
            Some(matchers) => self.info_instants(&matchers, call, steps)?,
            None => Vec::new(),
        };
        let mut out: Vec<(Labels, bool, Slots)> = Vec::new();
        let mut last_of: Vec<Option<usize>> = vec![None; columns.len()];
        for step in 0..steps.count {
            self.budget.check()?;
            let there = instants.iter().filter_map(|c| {
                let at = c.at(step);
                (!is_absent(at)).then_some((&c.labels, to_ms(at)))
            });
            let index = join.index(there).map_err(QueryError::Execution)?;
            for (column, last) in columns.iter().zip(&mut last_of) {
                let value = column.at(step);
                if is_absent(value) {
                    continue;
                }
                let Some(labels) = join.enrich(&column.labels, &index).map_err(QueryError::Execution)? else {
                    continue;
                };
                // The same labels as at the step before go on in the same column.
                let place = last.filter(|p| out.get(*p).is_some_and(|(known, ..)| *known == labels));
                let place = place.unwrap_or_else(|| {
                    out.push((labels, column.drop_name, Slots::default()));
                    out.len() - 1
                });
                *last = Some(place);
                if let Some((_, _, slots)) = out.get_mut(place) {
                    slots.set(step, value);
                }
            }
        }
        self.release(&columns);
        let out =
            out.into_iter().filter_map(|(labels, drop_name, slots)| slots.into_column(labels, drop_name));
        let out = merge_duplicates(out.collect())?;
        self.budget.hold(super::column::cost(&out))?;
        Ok(out)
    }

    /// The instants of the info series' samples; with the `offset` and `@` of the first argument's selectors they
    /// would be elsewhere, so those of the first selector hold.
    fn info_instants(
        &mut self,
        matchers: &[crate::model::Matcher],
        call: &Call,
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let time = first(call).ok().and_then(first_time_shift).cloned().unwrap_or_default();
        let selector = super::super::ast::VectorSelector {
            name: None,
            matchers: matchers.to_vec(),
            time,
            edges: super::super::ast::Edges::Plain,
            span: call.span,
        };
        self.select_as(&selector, steps, Take::Instant)
    }
}

/// The first argument of a call.
pub(super) fn first(call: &Call) -> Result<&Expr, QueryError> {
    call.args.first().ok_or_else(|| mistyped(ValueType::InstantVector))
}

/// A text whose bytes are no UTF-8, which no label can be called.
fn not_utf8(arg: Option<&Expr>) -> Option<String> {
    match arg.map(Expr::unparenthesized) {
        Some(Expr::String(StringLiteral { not_utf8: Some(_), value, .. })) => Some(value.clone()),
        _ => None,
    }
}

fn refused(error: impl std::fmt::Display) -> QueryError {
    QueryError::Execution(error.to_string())
}

/// Seconds back to the milliseconds they came from.
#[expect(clippy::cast_possible_truncation, reason = "made of milliseconds by a division")]
fn to_ms(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}

/// `@` and `offset` of the first selector within an expression.
fn first_time_shift(expr: &Expr) -> Option<&super::super::ast::TimeShift> {
    match expr {
        Expr::Number(_) | Expr::String(_) => None,
        Expr::VectorSelector(selector) => Some(&selector.time),
        Expr::MatrixSelector(matrix) => Some(&matrix.selector.time),
        Expr::Subquery(subquery) => Some(&subquery.time),
        Expr::Unary(unary) => first_time_shift(&unary.expr),
        Expr::Paren(paren) => first_time_shift(&paren.expr),
        Expr::Aggregate(aggregate) => first_time_shift(&aggregate.expr),
        Expr::Binary(binary) => first_time_shift(&binary.left).or_else(|| first_time_shift(&binary.right)),
        Expr::Call(call) => call.args.iter().find_map(first_time_shift),
    }
}
