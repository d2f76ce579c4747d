//! The functions of PromQL: their names and signatures here, what they compute beside.
//!
//! Source: Prometheus documentation, "Query functions" (3.x).

mod buckets;
mod date;
mod elementwise;
mod go_float;
mod info;
mod labels;
mod logarithm;
mod range;
mod rate;
mod regression;
mod statistics;
mod summary;
mod window;

pub use buckets::{
    BUCKET_LABEL, Bucket, BucketQuantile, HistogramSeries, Histograms, bucket_fraction, bucket_quantile,
    note_invalid_quantile, quantile_label,
};
pub use buckets::{almost_equal, parse_go_float};
pub use elementwise::{ElementFn, elementwise, is_date_function};
pub use go_float::{GoF, GoG, GoGWithDigits, OpenMetricsFloat};
pub use info::{InfoIndex, InfoJoin};
pub use labels::{
    LabelArgumentError, LabelJoin, LabelReplace, absent_labels, compare_by_labels, compare_values,
    compare_values_descending,
};
pub(super) use logarithm::ln;
pub use range::{keeps_metric_name, range_function};
pub use statistics::{KahanSum, Mean, Variance, quantile};
pub use summary::{Piece, Pieces, SummaryFn, summary_function};
pub use window::{Note, NoteKind, Notes, RangeFn, Window};

use super::ast::ValueType::{self, InstantVector, RangeVector, Scalar, String};

/// A function's signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// As it is written.
    pub name: &'static str,
    /// Types of the arguments, the optional ones included.
    pub args: &'static [ValueType],
    /// How many of them may be left out, or repeated.
    pub variadic: Variadic,
    /// What it returns.
    pub returns: ValueType,
    /// Whether it is refused unless experimental functions are switched on.
    pub experimental: bool,
}

/// How the number of arguments may vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variadic {
    /// All arguments must be there.
    No,
    /// So many of the last may be left out.
    Optional(usize),
    /// The last may be left out, or given any number of times.
    Any,
}

const fn stable(
    name: &'static str,
    args: &'static [ValueType],
    variadic: Variadic,
    returns: ValueType,
) -> Function {
    Function { name, args, variadic, returns, experimental: false }
}

const fn experimental(
    name: &'static str,
    args: &'static [ValueType],
    variadic: Variadic,
    returns: ValueType,
) -> Function {
    Function { name, args, variadic, returns, experimental: true }
}

const NO: Variadic = Variadic::No;
const VECTOR: &[ValueType] = &[InstantVector];
const MATRIX: &[ValueType] = &[RangeVector];

/// All functions, sorted by name.
pub static FUNCTIONS: &[Function] = &[
    stable("abs", VECTOR, NO, InstantVector),
    stable("absent", VECTOR, NO, InstantVector),
    stable("absent_over_time", MATRIX, NO, InstantVector),
    stable("acos", VECTOR, NO, InstantVector),
    stable("acosh", VECTOR, NO, InstantVector),
    stable("asin", VECTOR, NO, InstantVector),
    stable("asinh", VECTOR, NO, InstantVector),
    stable("atan", VECTOR, NO, InstantVector),
    stable("atanh", VECTOR, NO, InstantVector),
    stable("avg_over_time", MATRIX, NO, InstantVector),
    stable("ceil", VECTOR, NO, InstantVector),
    stable("changes", MATRIX, NO, InstantVector),
    stable("clamp", &[InstantVector, Scalar, Scalar], NO, InstantVector),
    stable("clamp_max", &[InstantVector, Scalar], NO, InstantVector),
    stable("clamp_min", &[InstantVector, Scalar], NO, InstantVector),
    stable("cos", VECTOR, NO, InstantVector),
    stable("cosh", VECTOR, NO, InstantVector),
    stable("count_over_time", MATRIX, NO, InstantVector),
    stable("day_of_month", VECTOR, Variadic::Optional(1), InstantVector),
    stable("day_of_week", VECTOR, Variadic::Optional(1), InstantVector),
    stable("day_of_year", VECTOR, Variadic::Optional(1), InstantVector),
    stable("days_in_month", VECTOR, Variadic::Optional(1), InstantVector),
    stable("deg", VECTOR, NO, InstantVector),
    stable("delta", MATRIX, NO, InstantVector),
    stable("deriv", MATRIX, NO, InstantVector),
    experimental("double_exponential_smoothing", &[RangeVector, Scalar, Scalar], NO, InstantVector),
    experimental("end", &[], NO, Scalar),
    stable("exp", VECTOR, NO, InstantVector),
    experimental("first_over_time", MATRIX, NO, InstantVector),
    stable("floor", VECTOR, NO, InstantVector),
    stable("histogram_avg", VECTOR, NO, InstantVector),
    stable("histogram_count", VECTOR, NO, InstantVector),
    stable("histogram_fraction", &[Scalar, Scalar, InstantVector], NO, InstantVector),
    stable("histogram_quantile", &[Scalar, InstantVector], NO, InstantVector),
    experimental(
        "histogram_quantiles",
        &[InstantVector, String, Scalar, Scalar],
        Variadic::Any,
        InstantVector,
    ),
    stable("histogram_stddev", VECTOR, NO, InstantVector),
    stable("histogram_stdvar", VECTOR, NO, InstantVector),
    stable("histogram_sum", VECTOR, NO, InstantVector),
    stable("hour", VECTOR, Variadic::Optional(1), InstantVector),
    stable("idelta", MATRIX, NO, InstantVector),
    stable("increase", MATRIX, NO, InstantVector),
    experimental("info", &[InstantVector, InstantVector], Variadic::Optional(1), InstantVector),
    stable("irate", MATRIX, NO, InstantVector),
    stable("label_join", &[InstantVector, String, String, String], Variadic::Any, InstantVector),
    stable("label_replace", &[InstantVector, String, String, String, String], NO, InstantVector),
    stable("last_over_time", MATRIX, NO, InstantVector),
    stable("ln", VECTOR, NO, InstantVector),
    stable("log10", VECTOR, NO, InstantVector),
    stable("log2", VECTOR, NO, InstantVector),
    experimental("mad_over_time", MATRIX, NO, InstantVector),
    stable("max_over_time", MATRIX, NO, InstantVector),
    stable("min_over_time", MATRIX, NO, InstantVector),
    stable("minute", VECTOR, Variadic::Optional(1), InstantVector),
    stable("month", VECTOR, Variadic::Optional(1), InstantVector),
    stable("pi", &[], NO, Scalar),
    stable("predict_linear", &[RangeVector, Scalar], NO, InstantVector),
    stable("present_over_time", MATRIX, NO, InstantVector),
    stable("quantile_over_time", &[Scalar, RangeVector], NO, InstantVector),
    stable("rad", VECTOR, NO, InstantVector),
    experimental("range", &[], NO, Scalar),
    stable("rate", MATRIX, NO, InstantVector),
    stable("resets", MATRIX, NO, InstantVector),
    stable("round", &[InstantVector, Scalar], Variadic::Optional(1), InstantVector),
    stable("scalar", VECTOR, NO, Scalar),
    stable("sgn", VECTOR, NO, InstantVector),
    stable("sin", VECTOR, NO, InstantVector),
    stable("sinh", VECTOR, NO, InstantVector),
    stable("sort", VECTOR, NO, InstantVector),
    experimental("sort_by_label", &[InstantVector, String], Variadic::Any, InstantVector),
    experimental("sort_by_label_desc", &[InstantVector, String], Variadic::Any, InstantVector),
    stable("sort_desc", VECTOR, NO, InstantVector),
    stable("sqrt", VECTOR, NO, InstantVector),
    experimental("start", &[], NO, Scalar),
    stable("stddev_over_time", MATRIX, NO, InstantVector),
    stable("stdvar_over_time", MATRIX, NO, InstantVector),
    experimental("step", &[], NO, Scalar),
    stable("sum_over_time", MATRIX, NO, InstantVector),
    stable("tan", VECTOR, NO, InstantVector),
    stable("tanh", VECTOR, NO, InstantVector),
    stable("time", &[], NO, Scalar),
    stable("timestamp", VECTOR, NO, InstantVector),
    experimental("ts_of_first_over_time", MATRIX, NO, InstantVector),
    experimental("ts_of_last_over_time", MATRIX, NO, InstantVector),
    experimental("ts_of_max_over_time", MATRIX, NO, InstantVector),
    experimental("ts_of_min_over_time", MATRIX, NO, InstantVector),
    stable("vector", &[Scalar], NO, InstantVector),
    stable("year", VECTOR, Variadic::Optional(1), InstantVector),
];

/// The function of this name.
pub fn function(name: &str) -> Option<&'static Function> {
    let at = FUNCTIONS.binary_search_by_key(&name, |f| f.name).ok()?;
    FUNCTIONS.get(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name() {
        assert!(FUNCTIONS.is_sorted_by_key(|f| f.name));
        assert!(FUNCTIONS.iter().all(|f| function(f.name) == Some(f)));
        assert_eq!(function("nope"), None);
    }
}
