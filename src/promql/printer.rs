//! Expressions as text: `Display` prints what Prometheus's `Expr.String()` does, on one line.
//!
//! Invariant: what is printed can be read again, and gives the same tree (matchers in their printed order).
//!
//! Source: the forms that Prometheus's `format_query` prints.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, DurationExpr, DurationKind, Edges, Expr, MatrixSelector,
    NumberLiteral, StringLiteral, Subquery, TimeShift, Unary, UnaryOp, VectorMatching, VectorSelector,
};
use crate::model::{METRIC_NAME, MatchOp, Matcher, PromDuration, Quoted, valid_label_name};

/// On one line, as Prometheus prints it.
impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::String(string) => string.fmt(f),
            Self::VectorSelector(selector) => selector.fmt(f),
            Self::MatrixSelector(matrix) => matrix.fmt(f),
            Self::Subquery(subquery) => {
                subquery.expr.fmt(f)?;
                SubquerySuffix(subquery).fmt(f)
            }
            Self::Unary(unary) => unary.fmt(f),
            Self::Binary(binary) => {
                LeftOf(binary.op, &binary.left).fmt(f)?;
                write!(f, " {} {}", OperatorWithMatching(binary), binary.right)
            }
            Self::Aggregate(aggregate) => {
                write!(f, "{}(", AggregateHead(aggregate))?;
                if let Some(parameter) = &aggregate.parameter {
                    write!(f, "{parameter}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Self::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (at, arg) in call.args.iter().enumerate() {
                    write!(f, "{}{arg}", if at == 0 { "" } else { ", " })?;
                }
                f.write_char(')')
            }
            Self::Paren(paren) => write!(f, "({})", paren.expr),
        }
    }
}

/// What stands to the left of an operator. `+Inf ^ 2` would be read as `+(Inf ^ 2)`.
pub(super) struct LeftOf<'a>(pub(super) BinaryOp, pub(super) &'a Expr);

impl Display for LeftOf<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (BinaryOp::Pow, Expr::Number(number)) if number.value == f64::INFINITY => f.write_str("Inf"),
            (_, expr) => expr.fmt(f),
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            return Milliseconds((self.value * 1e3).round() as i64).fmt(f);
        }
        Float(self.value).fmt(f)
    }
}

impl Display for StringLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.not_utf8 {
            None => Quoted(&self.value).fmt(f),
            Some(bytes) => QuotedBytes(bytes).fmt(f),
        }
    }
}

impl Display for Unary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.op.as_str(), self.expr)
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", Series(self), self.edges.suffix(), self.time)
    }
}

impl Display for MatrixSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { selector, range, .. } = self;
        write!(f, "{}[{range}]{}{}", Series(selector), selector.edges.suffix(), selector.time)
    }
}

/// Name and matchers; the latter sorted by what is printed.
struct Series<'a>(&'a VectorSelector);

impl Display for Series<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.0.name.as_deref();
        let is_name = |m: &Matcher| {
            m.name() == METRIC_NAME
                && m.op() == MatchOp::Equal
                && name.is_some_and(|name| name == m.pattern())
        };
        f.write_str(name.unwrap_or_default())?;
        let mut matchers: Vec<String> =
            self.0.matchers.iter().filter(|m| !is_name(m)).map(Matcher::to_string).collect();
        if matchers.is_empty() {
            return Ok(());
        }
        matchers.sort_unstable();
        write!(f, "{{{}}}", matchers.join(","))
    }
}

impl Edges {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Anchored => " anchored",
            Self::Smoothed => " smoothed",
        }
    }
}

/// ` @ 1.000 offset 5m`
impl Display for TimeShift {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            None => {}
            Some(At::Instant(ms)) => write!(f, " @ {:.3}", ms as f64 / 1e3)?,
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
        }
        self.offset.as_ref().map_or(Ok(()), |offset| write!(f, " offset {offset}"))
    }
}

/// `[1h:1m] @ 1.000 offset 5m`
pub(super) struct SubquerySuffix<'a>(pub(super) &'a Subquery);

impl Display for SubquerySuffix<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Subquery { range, step, time, .. } = self.0;
        write!(f, "[{range}:")?;
        step.as_ref().map_or(Ok(()), |step| step.fmt(f))?;
        write!(f, "]{time}")
    }
}

/// The operator with `bool` and matching.
pub(super) struct OperatorWithMatching<'a>(pub(super) &'a Binary);

impl Display for OperatorWithMatching<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Binary { op, return_bool, matching, .. } = self.0;
        f.write_str(op.as_str())?;
        f.write_str(if *return_bool { " bool" } else { "" })?;
        matching.as_ref().map_or(Ok(()), |matching| matching.fmt(f))
    }
}

impl Display for VectorMatching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let group = match self.cardinality {
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
            Cardinality::ManyToOne => Some("left"),
            Cardinality::OneToMany => Some("right"),
        };
        if self.on || !self.labels.is_empty() || group.is_some() {
            write!(f, " {} ({})", if self.on { "on" } else { "ignoring" }, Names(&self.labels))?;
        }
        if let Some(side) = group {
            write!(f, " group_{side} ({})", Names(&self.include))?;
        }
        match (self.fill_left, self.fill_right) {
            (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
                write!(f, " fill ({})", Float(left))
            }
            (left, right) => {
                left.map_or(Ok(()), |value| write!(f, " fill_left ({})", Float(value)))?;
                right.map_or(Ok(()), |value| write!(f, " fill_right ({})", Float(value)))
            }
        }
    }
}

/// What stands before an aggregation's parenthesis.
pub(super) struct AggregateHead<'a>(pub(super) &'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Aggregate { op, grouping, without, .. } = self.0;
        f.write_str(op.as_str())?;
        match (without, grouping.is_empty()) {
            (true, _) => write!(f, " without ({}) ", Names(grouping)),
            (false, false) => write!(f, " by ({}) ", Names(grouping)),
            (false, true) => Ok(()),
        }
    }
}

/// Label names with commas between; in quotes where one is not plain.
struct Names<'a>(&'a [String]);

impl Display for Names<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            // A colon is allowed, and `without` is the one keyword that is not.
            let is_plain = valid_label_name(&name.replace(':', "_")) && !name.eq_ignore_ascii_case("without");
            let is_number = ["inf", "nan"].iter().any(|n| name.eq_ignore_ascii_case(n));
            if is_plain && !is_number { f.write_str(name)? } else { Quoted(name).fmt(f)? }
        }
        Ok(())
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Literal(ms) => Milliseconds(*ms).fmt(f),
            DurationKind::Number(value) => Float(*value).fmt(f),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Unary(op, inner) => write!(f, "{}{inner}", op.as_str()),
            DurationKind::Binary(op, left, right) => write!(f, "{left} {} {right}", op.as_str()),
            DurationKind::Min(left, right) => write!(f, "min({left}, {right})"),
            DurationKind::Max(left, right) => write!(f, "max({left}, {right})"),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl UnaryOp {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
        }
    }
}

/// A duration in Prometheus's notation; may be negative.
struct Milliseconds(i64);

impl Display for Milliseconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 < 0 { "-" } else { "" })?;
        PromDuration::new(std::time::Duration::from_millis(self.0.unsigned_abs())).fmt(f)
    }
}

/// A number as Go's `FormatFloat(value, 'f', -1, 64)` prints it: the shortest that reads back the same, without an
/// exponent. (Prometheus 2 wrote `1e+06` from a million on.)
pub(super) struct Float(pub(super) f64);

impl Display for Float {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value}"),
        }
    }
}

/// Bytes in double quotes as Go's `strconv.Quote` writes them: what is no UTF-8 as `\xff`.
pub struct QuotedBytes<'a>(pub &'a [u8]);

impl Display for QuotedBytes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            let quoted = Quoted(chunk.valid()).to_string();
            f.write_str(quoted.get(1..quoted.len() - 1).unwrap_or_default())?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        f.write_char('"')
    }
}
