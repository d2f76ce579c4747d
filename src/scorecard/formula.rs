//! Formulas: arithmetic over named values, read once and computed with plain numbers.
//!
//! Invariants: a formula is bounded in length and nesting, knows only the names that it was read with, has no
//! assignments, and computes with floating point throughout - `1 / 2` is 0.5, though the library would take whole numbers
//! for such. It has been computed once with ones when it is read, so that what can never work is told then.
//!
//! Source: evalexpr 11's documentation for the language; its own functions are replaced by those of [`FUNCTIONS`].

use std::collections::{BTreeMap, BTreeSet};

use evalexpr::{Context, EvalexprError, EvalexprResult, Node, Operator, Value, build_operator_tree};

use crate::config::closest;

/// Longest formula, in bytes.
const LONGEST: usize = 1_000;

/// Deepest brackets.
const DEEPEST: usize = 30;

/// What a formula may call.
const FUNCTIONS: [&str; 11] =
    ["abs", "ceil", "clamp", "exp", "floor", "if", "ln", "max", "min", "round", "sqrt"];

/// A formula, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Formula {
    text: String,
    tree: Node,
}

/// Why a formula has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FormulaError {
    /// These names have no value now.
    Missing(Vec<String>),
    /// It gives none with these values.
    Failed(String),
}

impl Formula {
    /// Reads a text over these names.
    pub(super) fn parse(text: &str, known: &BTreeSet<String>) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a formula of more than {LONGEST} bytes"));
        }
        let brackets = text.chars().scan(0_usize, |depth, c| {
            match c {
                '(' => *depth += 1,
                ')' => *depth = depth.saturating_sub(1),
                _ => {}
            }
            Some(*depth)
        });
        if brackets.max().unwrap_or_default() > DEEPEST {
            return Err(format!("brackets more than {DEEPEST} deep"));
        }
        let mut tree = build_operator_tree(text).map_err(|error| told(&error))?;
        check(&tree, known)?;
        with_floats(&mut tree);
        let formula = Self { text: text.to_owned(), tree };
        let ones = known.iter().map(|name| (name.clone(), Value::Float(1.0))).collect();
        match formula.tree.eval_with_context(&Names(&ones)) {
            Ok(Value::Float(_)) => Ok(formula),
            Ok(other) => Err(format!("it gives {}, not a number", kind(&other))),
            Err(error) => Err(told(&error)),
        }
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Computes it; `values` holds the names that have a value now.
    pub(super) fn compute(&self, values: &BTreeMap<String, f64>) -> Result<f64, FormulaError> {
        let names: BTreeSet<&str> = self.tree.iter_variable_identifiers().collect();
        let missing: Vec<String> =
            names.into_iter().filter(|name| !values.contains_key(*name)).map(str::to_owned).collect();
        if !missing.is_empty() {
            return Err(FormulaError::Missing(missing));
        }
        let values = values.iter().map(|(name, value)| (name.clone(), Value::Float(*value))).collect();
        match self.tree.eval_with_context(&Names(&values)) {
            Ok(Value::Float(result)) if result.is_finite() => Ok(result),
            Ok(Value::Float(result)) => Err(FormulaError::Failed(format!("the formula gives {result}"))),
            Ok(other) => Err(FormulaError::Failed(format!("the formula gives {}", kind(&other)))),
            Err(error) => Err(FormulaError::Failed(told(&error))),
        }
    }
}

/// Only known names, no assignments, no texts.
fn check(node: &Node, known: &BTreeSet<String>) -> Result<(), String> {
    let unknown = |what: &str, name: &str, names: &mut dyn Iterator<Item = &str>| {
        let names: Vec<&str> = names.collect();
        let hint = match closest(name, names.iter().copied()) {
            Some(word) => format!("; did you mean {word:?}?"),
            None if names.is_empty() => String::new(),
            None => format!("; known here: {}", names.join(", ")),
        };
        Err(format!("unknown {what} {name:?}{hint}"))
    };
    match node.operator() {
        Operator::VariableIdentifierRead { identifier } if !known.contains(identifier) => {
            return unknown("name", identifier, &mut known.iter().map(String::as_str));
        }
        Operator::FunctionIdentifier { identifier } if !FUNCTIONS.contains(&identifier.as_str()) => {
            return unknown("function", identifier, &mut FUNCTIONS.into_iter());
        }
        Operator::Const { value: Value::String(_) } => {
            return Err("texts have no place in a formula".to_owned());
        }
        Operator::VariableIdentifierWrite { .. } | Operator::Chain => {
            return Err("a formula is one expression, without assignments and semicolons".to_owned());
        }
        _ => {}
    }
    node.children().iter().try_for_each(|child| check(child, known))
}

#[expect(clippy::cast_precision_loss, reason = "numbers of people")]
fn with_floats(node: &mut Node) {
    if let Operator::Const { value } = node.operator_mut()
        && let Value::Int(whole) = *value
    {
        *value = Value::Float(whole as f64);
    }
    node.children_mut().iter_mut().for_each(with_floats);
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Float(_) | Value::Int(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Tuple(_) => "several values",
        Value::Empty => "nothing",
    }
}

/// The library's words, cut.
fn told(error: &EvalexprError) -> String {
    match error {
        EvalexprError::WrongOperatorArgumentAmount { .. } => "a value is missing or too many".to_owned(),
        EvalexprError::UnmatchedLBrace | EvalexprError::UnmatchedRBrace => "brackets do not match".to_owned(),
        EvalexprError::ExpectedBoolean { actual } => {
            format!("{} where a condition such as a > 1 is needed", kind(actual))
        }
        EvalexprError::ExpectedNumber { actual } | EvalexprError::ExpectedNumberOrString { actual } => {
            format!(
                "{} where a number is needed; if(CONDITION, 1, 0) makes a number of a condition",
                kind(actual)
            )
        }
        EvalexprError::WrongTypeCombination { .. } => {
            "numbers and conditions do not go together; if(CONDITION, 1, 0) makes a number of a condition"
                .to_owned()
        }
        EvalexprError::CustomMessage(why) => why.clone(),
        other => other.to_string().chars().take(200).collect(),
    }
}

/// Values by name, and the functions.
struct Names<'a>(&'a BTreeMap<String, Value>);

impl Context for Names<'_> {
    fn get_value(&self, identifier: &str) -> Option<&Value> {
        self.0.get(identifier)
    }

    fn call_function(&self, identifier: &str, argument: &Value) -> EvalexprResult<Value> {
        let given = match argument {
            Value::Tuple(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        if let ("if", [condition, then, otherwise]) = (identifier, given) {
            return Ok(if condition.as_boolean()? { then.clone() } else { otherwise.clone() });
        }
        if identifier == "if" {
            let why = "if takes a condition and two values: if(CONDITION, THEN, OTHERWISE)";
            return Err(EvalexprError::CustomMessage(why.to_owned()));
        }
        let numbers: Vec<f64> = given.iter().map(Value::as_number).collect::<Result<_, _>>()?;
        let result = match (identifier, numbers.as_slice()) {
            ("abs", [x]) => x.abs(),
            ("ceil", [x]) => x.ceil(),
            ("exp", [x]) => x.exp(),
            ("floor", [x]) => x.floor(),
            ("ln", [x]) => x.ln(),
            ("round", [x]) => x.round(),
            ("sqrt", [x]) => x.sqrt(),
            // Not `f64::clamp`, which panics where the bounds are crossed.
            ("clamp", [x, low, high]) => x.max(*low).min(*high),
            ("max", [first, rest @ ..]) => rest.iter().fold(*first, |a, b| a.max(*b)),
            ("min", [first, rest @ ..]) => rest.iter().fold(*first, |a, b| a.min(*b)),
            (name, numbers) => {
                let why = format!("{name} does not take {} values", numbers.len());
                return Err(EvalexprError::CustomMessage(why));
            }
        };
        Ok(Value::Float(result))
    }

    fn are_builtin_functions_disabled(&self) -> bool {
        true
    }

    fn set_builtin_functions_disabled(&mut self, _: bool) -> EvalexprResult<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> BTreeSet<String> {
        ["a", "b", "slo.remaining"].map(str::to_owned).into()
    }

    #[test]
    fn formulas_are_computed_with_floats() {
        let values: BTreeMap<String, f64> =
            [("a", 2.0), ("b", 0.0), ("slo.remaining", 0.25)].map(|(n, v)| (n.to_owned(), v)).into();
        for (text, result) in [
            ("1 / 2", Ok(0.5)),
            ("100 * slo.remaining", Ok(25.0)),
            ("-a ^ 2 + 7 % 4", Ok(-1.0)),
            ("clamp(a, 3, 1)", Ok(1.0)),
            ("min(a, b, -1) + max(a, 5)", Ok(4.0)),
            ("if(a > 1 && !(b > 0), 7, 8)", Ok(7.0)),
            ("round(2.5) + floor(-0.5) + ceil(0.1) + abs(-1) + sqrt(4)", Ok(6.0)),
            ("9223372036854775807 + 1", Ok(9_223_372_036_854_775_808.0)),
            ("a / b", Err("the formula gives inf")),
            ("b / b", Err("the formula gives NaN")),
            ("ln(0 - a)", Err("the formula gives NaN")),
        ] {
            let formula = Formula::parse(text, &names()).unwrap_or_else(|error| panic!("{text}: {error}"));
            let expected = result.map_err(|why: &str| FormulaError::Failed(why.to_owned()));
            assert_eq!(formula.compute(&values), expected, "{text}");
        }
        let formula = Formula::parse("a + b", &names()).unwrap();
        let missing = FormulaError::Missing(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(formula.compute(&BTreeMap::new()), Err(missing));
    }

    #[test]
    fn what_cannot_work_is_told_when_it_is_read() {
        for (text, part) in [
            ("", "it gives nothing, not a number"),
            ("a +", "a value is missing or too many"),
            ("(a", "brackets do not match"),
            ("a b", "unknown function \"a\""),
            ("a > b", "it gives true or false, not a number"),
            ("a, b", "it gives several values"),
            ("\"x\"", "texts have no place in a formula"),
            ("zzzz * 2", "unknown name \"zzzz\"; known here: a, b, slo.remaining"),
            ("slo.remaning", "did you mean \"slo.remaining\"?"),
            ("a = 1", "without assignments"),
            ("a; b", "without assignments"),
            ("a += 1", "without assignments"),
            ("str::from(a)", "unknown function \"str::from\""),
            ("mix(a)", "unknown function \"mix\"; did you mean \"max\"?"),
            ("sqrt(a, b)", "sqrt does not take 2 values"),
            ("a + (b > 1)", "true or false where a number is needed; if(CONDITION, 1, 0) makes"),
            ("max(a, b > 1)", "true or false where a number is needed; if(CONDITION, 1, 0) makes"),
            ("if(a > 1, 2)", "if takes a condition and two values: if(CONDITION, THEN, OTHERWISE)"),
            ("if(a, 1, 2)", "a number where a condition such as a > 1 is needed"),
            ("a && b", "a number where a condition such as a > 1 is needed"),
        ] {
            let error = Formula::parse(text, &names()).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        for long in ["a+".repeat(501), format!("{}a{}", "(".repeat(31), ")".repeat(31))] {
            assert!(Formula::parse(&long, &names()).is_err_and(|error| error.contains("more than")));
        }
        for deep in ["!".repeat(999), "-".repeat(998) + "a", "a^".repeat(499) + "a", "a+".repeat(499) + "a"] {
            // Whatever it is, it ends.
            let _ = Formula::parse(&deep, &names());
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "[ab0-9+*/^%()<>=!&|,;.\" -]{0,60}|\\PC{0,40}|((a|1|min\\(|\\(|\\)|,|-|if\\() ?){0,30}") {
            if let Ok(formula) = Formula::parse(&text, &names()) {
                let values = [("a", f64::MAX), ("b", f64::NAN), ("slo.remaining", -0.0)];
                let _ = formula.compute(&values.map(|(n, v)| (n.to_owned(), v)).into());
            }
        }
    }
}
