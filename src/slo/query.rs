//! Queries with a gap for a window: `sum(rate(x[{{.window}}]))`.
//!
//! Invariants: a query that was accepted is valid PromQL for every window, and gives a vector or a scalar; of Go's
//! templates only `{{.window}}` is known, with or without spaces, and whatever else begins with `{{` is refused.
//!
//! Source: Sloth's documentation of `prometheus/v1`.

use std::sync::Arc;
use std::time::Duration;

use crate::model::PromDuration;
use crate::promql::ast::{Edges, Expr, Span, TimeShift, ValueType};
use crate::promql::{ParseOptions, function, parse};

/// A query that is asked over windows of different length.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What stands between the gaps; one more than there are gaps.
    parts: Vec<String>,
    /// Labels that its result keeps beside those that it names.
    group_by: Vec<String>,
}

/// What a query's values count, so that events can be made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// `rate`: events per second of the window.
    PerSecond,
    /// `increase`, `count_over_time`, `sum_over_time` and the like: events within the window.
    PerWindow,
}

impl Query {
    /// Reads a query that has at least one gap.
    ///
    /// # Errors
    /// It has none, holds another template, or is not PromQL: the message.
    pub fn parse(text: &str) -> Result<Self, String> {
        let query = Self::parse_any(text)?;
        if query.parts.len() < 2 {
            return Err(
                "the query must hold {{.window}} where its range stands, as in sum(rate(errors_total[{{.window}}]))"
                    .to_owned(),
            );
        }
        Ok(query)
    }

    /// The same of a query whose window, if it has none, is nobody's business: it describes an instant.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_any(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text.trim());
        let mut part = String::new();
        while let Some((before, after)) = rest.split_once("{{") {
            part.push_str(before);
            let gap = after.split_once("}}").filter(|(inner, _)| inner.trim() == ".window");
            let Some((_, after)) = gap else {
                let shown: String = after.chars().take_while(|c| *c != '}' && *c != '\n').take(40).collect();
                return Err(format!(
                    "\"{{{{{shown}\" is not known here; the only template is {{{{.window}}}}"
                ));
            };
            parts.push(std::mem::take(&mut part));
            rest = after;
        }
        part.push_str(rest);
        parts.push(part);
        let query = Self { parts, group_by: Vec::new() };
        query.check()?;
        Ok(query)
    }

    /// Reads a query without a window and gives it one: ranges become the window, and what has no range becomes
    /// `function(series[{{.window}}])`.
    ///
    /// # Errors
    /// It cannot be given one: the message.
    pub fn with_window(text: &str, function: &str) -> Result<Self, String> {
        let text = text.trim();
        let expr = parse(text, &ParseOptions::default()).map_err(|errors| errors.to_string())?;
        let mut changes: Vec<(usize, usize, String)> = Vec::new();
        let mut shifted = false;
        let place = |span: Span| (span.start as usize, span.end as usize);
        expr.walk(|expr| match expr {
            Expr::VectorSelector(selector) => {
                shifted |= selector.time != TimeShift::default();
                let (start, end) = place(selector.span);
                let series = text.get(start..end).unwrap_or_default();
                changes.push((start, end, format!("{function}({series}[{{{{.window}}}}])")));
            }
            Expr::MatrixSelector(matrix) => {
                let (start, end) = place(matrix.range.span);
                changes.push((start, end, "{{.window}}".to_owned()));
            }
            Expr::Subquery(_) => shifted = true,
            _ => {}
        });
        if shifted {
            return Err(
                "a query with offset, @ or a subquery needs {{.window}} in the place of its range".to_owned()
            );
        }
        changes.sort_unstable();
        let (mut out, mut at) = (String::new(), 0);
        for (start, end, put) in changes {
            out.push_str(text.get(at..start).unwrap_or_default());
            out.push_str(&put);
            at = end;
        }
        out.push_str(text.get(at..).unwrap_or_default());
        Self::parse(&out)
    }

    /// Whether it has a gap.
    pub fn has_window(&self) -> bool {
        self.parts.len() > 1
    }

    /// The same, with a result that keeps these labels, whatever it aggregates.
    ///
    /// # Errors
    /// It takes one of them away with `without` or `on`: the message.
    pub fn grouped_by(mut self, labels: &[String]) -> Result<Self, String> {
        self.group_by = labels.to_vec();
        self.check()?;
        Ok(self)
    }

    /// The text with `{{.window}}` in its gaps.
    pub fn template(&self) -> String {
        self.parts.join("{{.window}}")
    }

    /// The query over a window.
    pub fn at(&self, window: Duration) -> String {
        let text = self.parts.join(&PromDuration::new(window).to_string());
        if self.group_by.is_empty() {
            return text;
        }
        // It was checked; and ungrouped is still what the user wrote.
        self.parsed(&text).map_or(text, |expr| expr.to_string())
    }

    /// What its values count; `None` where that cannot be seen, as of a ratio.
    pub fn counts(&self) -> Option<Counts> {
        let expr = self.parsed(&self.parts.join("5m")).ok()?;
        let (mut per_second, mut per_window, mut other) = (false, false, false);
        expr.walk(|expr| {
            if let Expr::Call(call) = expr {
                match call.function.name {
                    "rate" | "irate" => per_second = true,
                    "increase" | "delta" | "count_over_time" | "sum_over_time" | "changes" | "resets" => {
                        per_window = true;
                    }
                    "avg_over_time" | "max_over_time" | "min_over_time" | "quantile_over_time" => {
                        other = true
                    }
                    _ => {}
                }
            }
        });
        match (per_second, per_window, other) {
            (true, false, false) => Some(Counts::PerSecond),
            (false, true, false) => Some(Counts::PerWindow),
            _ => None,
        }
    }

    /// The query over a window as a count of events that is exact: counters are read at both ends of the window, without
    /// extrapolation (`increase` with `anchored`), so that windows side by side neither lose an event nor count one twice.
    /// `None` where its values count no events.
    pub(super) fn counted(&self, window: Duration) -> Option<Expr> {
        self.counts()?;
        let mut expr = self.instant(window)?;
        count(&mut expr);
        Some(expr)
    }

    /// The query over a window, as an expression.
    pub(super) fn instant(&self, window: Duration) -> Option<Expr> {
        self.parsed(&self.parts.join(&PromDuration::new(window).to_string())).ok()
    }

    fn check(&self) -> Result<(), String> {
        let expr = self.parsed(&self.parts.join("5m"))?;
        match expr.value_type() {
            ValueType::InstantVector | ValueType::Scalar => Ok(()),
            other => Err(format!("the query gives a {}, and must give a vector or a scalar", other.as_str())),
        }
    }

    fn parsed(&self, text: &str) -> Result<Expr, String> {
        let mut expr = parse(text, &ParseOptions::default())
            .map_err(|errors| format!("not a query (with 5m as window): {errors}"))?;
        if !self.group_by.is_empty() {
            group(&mut expr, &self.group_by)?;
        }
        Ok(expr)
    }
}

/// Gives every aggregation the labels. The parser bounds the depth of expressions, and with it this recursion.
fn group(expr: &mut Expr, labels: &[String]) -> Result<(), String> {
    match expr {
        Expr::Aggregate(aggregate) => {
            for label in labels {
                let named = aggregate.grouping.contains(label);
                match aggregate.without {
                    true if named => {
                        return Err(format!(
                            "group_by keeps {label:?}, which the query takes away with without"
                        ));
                    }
                    false if !named => aggregate.grouping.push(label.clone()),
                    _ => {}
                }
            }
            group(&mut aggregate.expr, labels)
        }
        Expr::Binary(binary) => {
            group(&mut binary.left, labels)?;
            group(&mut binary.right, labels)?;
            if let Some(matching) = &mut binary.matching {
                for label in labels {
                    match (matching.on, matching.labels.contains(label)) {
                        (true, false) => matching.labels.push(label.clone()),
                        (false, true) => {
                            return Err(format!("group_by keeps {label:?}, which the query ignores"));
                        }
                        _ => {}
                    }
                }
            }
            Ok(())
        }
        Expr::Unary(unary) => group(&mut unary.expr, labels),
        Expr::Paren(paren) => group(&mut paren.expr, labels),
        Expr::Subquery(subquery) => group(&mut subquery.expr, labels),
        Expr::Call(call) => call.args.iter_mut().try_for_each(|arg| group(arg, labels)),
        Expr::Number(_) | Expr::String(_) | Expr::VectorSelector(_) | Expr::MatrixSelector(_) => Ok(()),
    }
}

/// Makes increases of rates, and reads them at the ends of their windows. Depth as in [`group`].
fn count(expr: &mut Expr) {
    match expr {
        Expr::Call(call) => {
            if matches!(call.function.name, "rate" | "irate")
                && let Some(increase) = function("increase")
            {
                call.function = increase;
            }
            if call.function.name == "increase" {
                for arg in &mut call.args {
                    if let Expr::MatrixSelector(matrix) = arg {
                        Arc::make_mut(matrix).selector.edges = Edges::Anchored;
                    }
                }
            }
            call.args.iter_mut().for_each(count);
        }
        Expr::Aggregate(aggregate) => count(&mut aggregate.expr),
        Expr::Binary(binary) => {
            count(&mut binary.left);
            count(&mut binary.right);
        }
        Expr::Unary(unary) => count(&mut unary.expr),
        Expr::Paren(paren) => count(&mut paren.expr),
        Expr::Subquery(subquery) => count(&mut subquery.expr),
        Expr::Number(_) | Expr::String(_) | Expr::VectorSelector(_) | Expr::MatrixSelector(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn gaps_are_filled_and_nothing_else() {
        for (text, filled) in [
            ("rate(x[{{.window}}])", "rate(x[1d])"),
            (" rate(x[{{ .window }}])\n", "rate(x[1d])"),
            ("rate(x[{{.window}}]) / rate(y[{{  .window}}])", "rate(x[1d]) / rate(y[1d])"),
            ("rate(x{a=\"}}\"}[{{.window}}])", "rate(x{a=\"}}\"}[1d])"),
        ] {
            let query = Query::parse(text).expect(text);
            assert_eq!(query.at(DAY), filled);
            assert_eq!(Query::parse(&query.template()).expect(text), query);
        }
        assert_eq!(Query::parse("rate(x[{{.window}}])").expect("valid").at(28 * DAY), "rate(x[4w])");
    }

    #[test]
    fn other_templates_and_other_texts_are_refused() {
        for (text, part) in [
            ("rate(x[5m])", "must hold {{.window}}"),
            ("rate(x[{{.window}}]) + {{.other}}", "\"{{.other\" is not known"),
            ("rate(x[{{- .window -}}])", "is not known"),
            ("rate(x[{{.window])", "is not known"),
            ("rate(x[{{.window}}]", "1:11: parse error"),
            ("x[{{.window}}]", "gives a range vector"),
            ("", "must"),
        ] {
            let error = Query::parse(text).expect_err(text);
            assert!(error.contains(part) || text.is_empty(), "{text}: {error}");
        }
    }

    #[test]
    fn windows_are_put_in() {
        for (text, expected) in [
            ("sum(x{a=\"b\"})", "sum(rate(x{a=\"b\"}[{{.window}}]))"),
            ("sum(rate(x[1m]))", "sum(rate(x[{{.window}}]))"),
            ("a + b", "rate(a[{{.window}}]) + rate(b[{{.window}}])"),
        ] {
            assert_eq!(Query::with_window(text, "rate").expect(text).template(), expected);
        }
        assert!(Query::with_window("x offset 5m", "rate").expect_err("shifted").contains("offset"));
        assert!(Query::with_window("1", "rate").expect_err("no series").contains("must hold"));
    }

    #[test]
    fn labels_are_kept() {
        let grouped = |text: &str| {
            let query = Query::parse(text).expect(text).grouped_by(&["zone".to_owned()]);
            query.map(|query| query.at(Duration::from_secs(300)))
        };
        for (text, expected) in [
            ("sum(rate(x[{{.window}}]))", "sum by (zone) (rate(x[5m]))"),
            ("max(sum by (a) (rate(x[{{.window}}])))", "max by (zone) (sum by (a, zone) (rate(x[5m])))"),
            ("sum without (a) (rate(x[{{.window}}]))", "sum without (a) (rate(x[5m]))"),
            ("rate(x[{{.window}}]) / on (a) rate(y[{{.window}}])", "rate(x[5m]) / on (a, zone) rate(y[5m])"),
        ] {
            assert_eq!(grouped(text).expect(text), expected);
        }
        assert!(grouped("sum without (zone) (rate(x[{{.window}}]))").is_err());
        assert!(grouped("rate(x[{{.window}}]) / ignoring (zone) y").is_err());
    }

    #[test]
    fn what_is_counted_is_seen() {
        for (text, counts) in [
            ("sum(rate(x[{{.window}}]))", Some(Counts::PerSecond)),
            ("sum(increase(x[{{.window}}]))", Some(Counts::PerWindow)),
            ("sum(count_over_time(x[{{.window}}]))", Some(Counts::PerWindow)),
            ("avg_over_time(x[{{.window}}])", None),
            ("rate(x[{{.window}}]) + increase(x[{{.window}}])", None),
        ] {
            assert_eq!(Query::parse(text).expect(text).counts(), counts, "{text}");
        }
    }
}
