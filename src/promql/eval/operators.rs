//! Unary and binary operators: which of the sides are numbers, and what becomes of the names.

use super::super::annotations::Annotation;
use super::super::ast::{Binary, BinaryOp, Cardinality, Expr, Unary, UnaryOp, VectorMatching};
use super::super::engine::QueryError;
use super::arithmetic::apply;
use super::column::{Column, Slots, Steps, refuse_duplicates};
use super::matching::{VectorOperation, set_operation};
use super::timing::evaluate_once;
use super::{Evaluated, Evaluator};

impl Evaluator<'_> {
    pub(super) fn eval_unary(&mut self, unary: &Unary, steps: &Steps) -> Result<Evaluated, QueryError> {
        let value = self.eval(&unary.expr, steps)?;
        if unary.op == UnaryOp::Plus {
            return Ok(value);
        }
        match value {
            Evaluated::Scalar(mut values) => {
                values.iter_mut().for_each(|v| *v = -*v);
                Ok(Evaluated::Scalar(values))
            }
            Evaluated::Vector(mut columns) => {
                columns.iter_mut().for_each(|column| column.map(|_, v| -v));
                self.drop_names(&mut columns);
                if !self.limits.delayed_name_removal {
                    refuse_duplicates(&columns)?;
                }
                Ok(Evaluated::Vector(columns))
            }
            text @ Evaluated::String(_) => Ok(text),
        }
    }

    /// A chain such as `a + b + c` leans to the left and may be long: it is walked, not recursed into.
    pub(super) fn eval_binary(&mut self, binary: &Binary, steps: &Steps) -> Result<Evaluated, QueryError> {
        let mut chain = Vec::new();
        let mut leftmost = binary;
        while let Expr::Binary(inner) = &leftmost.left {
            if steps.count > 1 && evaluate_once(&leftmost.left) {
                break;
            }
            chain.push(leftmost);
            leftmost = inner;
        }
        let mut value = self.eval(&leftmost.left, steps)?;
        for binary in std::iter::once(leftmost).chain(chain.into_iter().rev()) {
            let right = self.eval(&binary.right, steps)?;
            value = self.operate(binary, value, right)?;
        }
        Ok(value)
    }

    fn operate(
        &mut self,
        binary: &Binary,
        left: Evaluated,
        right: Evaluated,
    ) -> Result<Evaluated, QueryError> {
        match (left, right) {
            (Evaluated::Scalar(left), Evaluated::Scalar(right)) => {
                let values = left.into_iter().zip(right).map(|(a, b)| scalar_operation(binary.op, a, b));
                Ok(Evaluated::Scalar(values.collect()))
            }
            (Evaluated::Vector(left), Evaluated::Vector(right)) => {
                self.vector_operation(binary, left, right).map(Evaluated::Vector)
            }
            (Evaluated::Vector(columns), Evaluated::Scalar(numbers)) => {
                self.number_operation(binary, columns, &numbers, false).map(Evaluated::Vector)
            }
            (Evaluated::Scalar(numbers), Evaluated::Vector(columns)) => {
                self.number_operation(binary, columns, &numbers, true).map(Evaluated::Vector)
            }
            _ => Err(QueryError::Execution(format!(
                "internal error: operator \"{}\" on a text",
                binary.op.as_str()
            ))),
        }
    }

    fn vector_operation(
        &mut self,
        binary: &Binary,
        left: Vec<Column>,
        right: Vec<Column>,
    ) -> Result<Vec<Column>, QueryError> {
        let plain = VectorMatching {
            cardinality: if binary.op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne },
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let matching = binary.matching.as_ref().unwrap_or(&plain);
        if binary.op.is_set() {
            let held = super::column::cost(&left) + super::column::cost(&right);
            let out = set_operation(binary.op, left, right, matching)?;
            self.budget.release(held);
            self.budget.hold(super::column::cost(&out))?;
            return Ok(out);
        }
        if is_histogram_only(binary.op) && !left.is_empty() && !right.is_empty() {
            self.refuse_floats(binary);
        }
        let operation = VectorOperation {
            op: binary.op,
            matching,
            return_bool: binary.return_bool,
            delayed_name_removal: self.limits.delayed_name_removal,
        };
        let out = operation.run(&left, &right, &mut self.budget)?;
        self.release(&left);
        self.release(&right);
        Ok(out)
    }

    /// An operator between series and a number; `swapped`: the number is on the left.
    fn number_operation(
        &mut self,
        binary: &Binary,
        mut columns: Vec<Column>,
        numbers: &[f64],
        swapped: bool,
    ) -> Result<Vec<Column>, QueryError> {
        let op = binary.op;
        let number = |step: usize| numbers.get(step).copied().unwrap_or(f64::NAN);
        let operate = |step: usize, value: f64| match swapped {
            true => apply(op, number(step), value),
            false => apply(op, value, number(step)),
        };
        if is_histogram_only(op) {
            if !columns.is_empty() {
                self.refuse_floats(binary);
            }
            self.release(&columns);
            return Ok(Vec::new());
        }
        self.budget.check()?;
        if op.is_comparison() && !binary.return_bool {
            // The series' own value stays, on whichever side it is.
            let held = super::column::cost(&columns);
            let kept: Vec<Column> = columns
                .into_iter()
                .filter_map(|column| {
                    let mut slots = Slots::default();
                    slots.reserve(column.values.len());
                    for (step, value) in column.samples() {
                        if operate(step, value).1 {
                            slots.set(step, value);
                        }
                    }
                    slots.into_column(column.labels, column.drop_name)
                })
                .collect();
            self.budget.release(held);
            self.budget.hold(super::column::cost(&kept))?;
            return Ok(kept);
        }
        for column in &mut columns {
            column.map(|step, value| match (operate(step, value), binary.return_bool) {
                ((_, keep), true) => f64::from(u8::from(keep)),
                ((result, _), false) => result,
            });
        }
        self.drop_names_and_merge(columns)
    }

    fn refuse_floats(&mut self, binary: &Binary) {
        self.annotations.add(Annotation::incompatible_types(
            "float",
            binary.op.as_str(),
            "float",
            binary.span,
        ));
    }
}

/// An operator between two numbers; a comparison gives 0 or 1.
fn scalar_operation(op: BinaryOp, left: f64, right: f64) -> f64 {
    match apply(op, left, right) {
        (_, keep) if op.is_comparison() => f64::from(u8::from(keep)),
        (value, _) => value,
    }
}

/// Whether an operator is for native histograms only.
const fn is_histogram_only(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}
