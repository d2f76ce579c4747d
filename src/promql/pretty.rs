//! Expressions over several lines: what is longer than a line is split at its outermost parts.
//!
//! Source: Prometheus's `format_query` and `promtool promql format`: indents of two spaces, lines of 100 bytes.

use std::fmt::{self, Write};

use super::ast::Expr;
use super::printer::{AggregateHead, LeftOf, OperatorWithMatching, SubquerySuffix};

/// Longest expression, in bytes, that stays on one line.
const LINE_BYTES: usize = 100;

/// Deeper levels are not indented further, so that a short expression does not make a text without end.
const DEEPEST_INDENT: usize = 100;

/// An expression over as many lines as it needs, without a line feed at the end.
pub fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    // Writing into a `String` cannot fail.
    let _ = write_split(&mut out, expr, 0);
    out
}

fn write_split(out: &mut String, expr: &Expr, level: usize) -> fmt::Result {
    if let Expr::Unary(unary) = expr {
        indent(out, level);
        out.push_str(unary.op.as_str());
        let inner = out.len();
        write_split(out, &unary.expr, level)?;
        // The sign has the indent already.
        let spaces = out.get(inner..).map_or(0, |text| text.len() - text.trim_start().len());
        out.replace_range(inner..inner + spaces, "");
        return Ok(());
    }
    if fits_a_line(expr) {
        indent(out, level);
        return write!(out, "{expr}");
    }
    match expr {
        Expr::Binary(binary) => {
            match &binary.left {
                left @ Expr::Number(_) => {
                    indent(out, level + 1);
                    write!(out, "{}", LeftOf(binary.op, left))?;
                }
                left => write_split(out, left, level + 1)?,
            }
            out.push('\n');
            indent(out, level);
            writeln!(out, "{}", OperatorWithMatching(binary))?;
            write_split(out, &binary.right, level + 1)
        }
        Expr::Aggregate(aggregate) => {
            indent(out, level);
            writeln!(out, "{}(", AggregateHead(aggregate))?;
            if let Some(parameter) = &aggregate.parameter {
                write_split(out, parameter, level + 1)?;
                out.push_str(",\n");
            }
            write_split(out, &aggregate.expr, level + 1)?;
            close(out, level)
        }
        Expr::Call(call) => {
            indent(out, level);
            writeln!(out, "{}(", call.function.name)?;
            for (at, arg) in call.args.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ",\n" });
                write_split(out, arg, level + 1)?;
            }
            close(out, level)
        }
        Expr::Paren(paren) => {
            indent(out, level);
            out.push_str("(\n");
            write_split(out, &paren.expr, level + 1)?;
            close(out, level)
        }
        Expr::Subquery(subquery) => {
            write_split(out, &subquery.expr, level)?;
            write!(out, "{}", SubquerySuffix(subquery))
        }
        Expr::Unary(_)
        | Expr::Number(_)
        | Expr::String(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_) => {
            indent(out, level);
            write!(out, "{expr}")
        }
    }
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level.min(DEEPEST_INDENT)));
}

fn close(out: &mut String, level: usize) -> fmt::Result {
    out.push('\n');
    indent(out, level);
    out.write_char(')')
}

/// Prints no further than one line.
fn fits_a_line(expr: &Expr) -> bool {
    struct Room(usize);
    impl Write for Room {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    write!(Room(LINE_BYTES), "{expr}").is_ok()
}
