//! What a PromQL expression is once it is read: a tree in which every node knows its place in the text.
//!
//! Invariant: a tree that the parser hands out is well typed (see [`Expr::value_type`]); what depends on the query's
//! own start, end and step - `@ start()`, duration expressions - is still unresolved.
//!
//! Source: Prometheus documentation, "Querying"; the experimental syntax of 3.x is among it.

use std::sync::Arc;

use super::functions::Function;
use crate::model::Matcher;

/// A place in the query's text: byte offsets, the end excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// One text.
    String,
    /// Series with one sample each at the same instant.
    InstantVector,
    /// Series with samples over a range.
    RangeVector,
}

impl ValueType {
    /// As error texts name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::InstantVector => "instant vector",
            Self::RangeVector => "range vector",
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `1.5`, `0x1f`, `Inf`, `5m` (a duration is its seconds).
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `up{job="a"} offset 5m`
    VectorSelector(Arc<VectorSelector>),
    /// `up[5m]`
    MatrixSelector(Arc<MatrixSelector>),
    /// `rate(up[5m])[1h:1m]`
    Subquery(Box<Subquery>),
    /// `-up`
    Unary(Box<Unary>),
    /// `a / on (job) b`
    Binary(Box<Binary>),
    /// `sum by (job) (up)`
    Aggregate(Box<Aggregate>),
    /// `rate(up[5m])`
    Call(Call),
    /// `(up)`
    Paren(Box<Paren>),
}

/// A number.
#[derive(Clone, Copy, Debug)]
pub struct NumberLiteral {
    /// Its value; of a duration its seconds.
    pub value: f64,
    /// Whether it was written as a duration, and is printed as one.
    pub is_duration: bool,
    /// Where.
    pub span: Span,
}

/// Equal bits are equal: `NaN` is itself.
impl PartialEq for NumberLiteral {
    fn eq(&self, other: &Self) -> bool {
        self.value.to_bits() == other.value.to_bits()
            && self.is_duration == other.is_duration
            && self.span == other.span
    }
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringLiteral {
    /// Without quotes and escapes.
    pub value: String,
    /// Its bytes, where escapes such as `\xff` make them no UTF-8; `value` then has U+FFFD in their place.
    pub not_utf8: Option<Vec<u8>>,
    /// Where.
    pub span: Span,
}

/// Series by matchers, at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name when it stands before the braces; also the last of the matchers. A quoted name within the
    /// braces is a matcher only, as in Prometheus.
    pub name: Option<String>,
    /// All conditions, the one on `__name__` included.
    pub matchers: Vec<Matcher>,
    /// `@`, `offset`
    pub time: TimeShift,
    /// `anchored`, `smoothed`
    pub edges: Edges,
    /// Where.
    pub span: Span,
}

/// Series by matchers, over a range.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// The series; `@`, `offset` and edges of the whole are kept there.
    pub selector: VectorSelector,
    /// How far back.
    pub range: DurationExpr,
    /// Where, from the selector to the last modifier.
    pub span: Span,
}

/// An expression evaluated over a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How far back.
    pub range: DurationExpr,
    /// How often; `None`: the default resolution.
    pub step: Option<DurationExpr>,
    /// `@`, `offset`
    pub time: TimeShift,
    /// Where.
    pub span: Span,
}

/// When a selector looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeShift {
    /// `@`
    pub at: Option<At>,
    /// `offset`; may be negative.
    pub offset: Option<DurationExpr>,
}

/// The instant after `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    Instant(i64),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// How a range treats its edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// What lies within.
    #[default]
    Plain,
    /// `anchored`: with the sample at or before the left edge.
    Anchored,
    /// `smoothed`: interpolated at both edges.
    Smoothed,
}

/// A duration that may depend on the query.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// How it is computed.
    pub kind: DurationKind,
    /// Where.
    pub span: Span,
}

/// How a duration is computed. All results are milliseconds; plain numbers are seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// Milliseconds; may be negative after `offset`.
    Literal(i64),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-x` or `+x`
    Unary(UnaryOp, Box<DurationExpr>),
    /// `a + b`; a plain number counts seconds beside `+ -` and is a factor beside `* / % ^`.
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    /// A plain number in such an expression.
    Number(f64),
    /// `min(a, b)`
    Min(Box<DurationExpr>, Box<DurationExpr>),
    /// `max(a, b)`
    Max(Box<DurationExpr>, Box<DurationExpr>),
    /// `(a)`
    Paren(Box<DurationExpr>),
}

/// `+` or `-` before an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

/// A sign and what it applies to.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// The sign.
    pub op: UnaryOp,
    /// What it applies to.
    pub expr: Expr,
    /// Where.
    pub span: Span,
}

/// An operator between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `>=`
    GreaterEqual,
    /// `<=`
    LessEqual,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
    /// `</`: keeps the observations of a native histogram below the bound.
    TrimUpper,
    /// `>/`: keeps the observations of a native histogram above the bound.
    TrimLower,
}

impl BinaryOp {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        }
    }

    /// `== != > < >= <=`
    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Greater | Self::Less | Self::GreaterEqual | Self::LessEqual
        )
    }

    /// `and or unless`
    pub const fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// Two expressions and what is between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left of it.
    pub left: Expr,
    /// Right of it.
    pub right: Expr,
    /// `bool`: a comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series find each other; only between two vectors.
    pub matching: Option<VectorMatching>,
    /// Where.
    pub span: Span,
    /// Where the operator is.
    pub op_span: Span,
}

/// How many series of one side meet how many of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// One, one.
    OneToOne,
    /// `group_left`: many on the left.
    ManyToOne,
    /// `group_right`: many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatching {
    /// How many meet how many.
    pub cardinality: Cardinality,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether they were given with `on`.
    pub on: bool,
    /// The labels in parentheses after `group_left` or `group_right`.
    pub include: Vec<String>,
    /// `fill`, `fill_left`: stands in for what the left side lacks.
    pub fill_left: Option<f64>,
    /// `fill`, `fill_right`: stands in for what the right side lacks.
    pub fill_right: Option<f64>,
}

/// How many series become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk` (experimental)
    Limitk,
    /// `limit_ratio` (experimental)
    LimitRatio,
}

impl AggregateOp {
    /// All of them with their names.
    pub const NAMES: [(&'static str, Self); 14] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("min", Self::Min),
        ("max", Self::Max),
        ("count", Self::Count),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::Topk),
        ("bottomk", Self::Bottomk),
        ("count_values", Self::CountValues),
        ("quantile", Self::Quantile),
        ("limitk", Self::Limitk),
        ("limit_ratio", Self::LimitRatio),
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// The type of its parameter, where it takes one.
    pub const fn parameter(self) -> Option<ValueType> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => {
                Some(ValueType::Scalar)
            }
            Self::CountValues => Some(ValueType::String),
            _ => None,
        }
    }

    /// Whether it is refused unless experimental functions are switched on.
    pub const fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// What is computed.
    pub op: AggregateOp,
    /// Over what.
    pub expr: Expr,
    /// The number or text that some take first.
    pub parameter: Option<Expr>,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// Whether they were given with `without`.
    pub without: bool,
    /// Where.
    pub span: Span,
}

/// A function applied to arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments, as many as it takes.
    pub args: Vec<Expr>,
    /// Where.
    pub span: Span,
}

/// An expression in parentheses.
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// What is within.
    pub expr: Expr,
    /// Where, the parentheses included.
    pub span: Span,
}

impl Expr {
    /// What it evaluates to.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::VectorSelector(_) | Self::Aggregate(_) => ValueType::InstantVector,
            Self::MatrixSelector(_) | Self::Subquery(_) => ValueType::RangeVector,
            Self::Unary(unary) => unary.expr.value_type(),
            Self::Paren(paren) => paren.expr.value_type(),
            Self::Call(call) => call.function.returns,
            Self::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::InstantVector,
            },
        }
    }

    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Self::Number(e) => e.span,
            Self::String(e) => e.span,
            Self::VectorSelector(e) => e.span,
            Self::MatrixSelector(e) => e.span,
            Self::Subquery(e) => e.span,
            Self::Unary(e) => e.span,
            Self::Binary(e) => e.span,
            Self::Aggregate(e) => e.span,
            Self::Call(e) => e.span,
            Self::Paren(e) => e.span,
        }
    }

    /// The expression without the parentheses around it.
    pub fn unparenthesized(&self) -> &Self {
        let mut expr = self;
        while let Self::Paren(paren) = expr {
            expr = &paren.expr;
        }
        expr
    }
}
