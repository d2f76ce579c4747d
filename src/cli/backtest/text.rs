//! The result as text: for each alert what it would have done, and a line of time for each of its series.

use std::fmt::{self, Write as _};

use super::super::query::output::{number, series_text, time};
use super::super::rules_show::place;
use super::{Backtest, Run};
use crate::model::{ColdSort, Labels, LabelsBuilder, PromDuration, Timestamp};
use crate::rules::AlertState;
use crate::rules::backtest::{RuleTimeline, SeriesTimeline, Variant, Verdict, judge, threshold_of};

/// Most lines of one alert in one variant; those that fired longest are shown.
const MOST_LINES: usize = 20;

/// Narrowest line of time.
const LEAST_COLUMNS: usize = 20;

/// Part of the width that lines of time take; the rest is their labels'.
const LINE_PART: (usize, usize) = (6, 10);

/// What an alert did, summed over its series.
#[derive(Default)]
pub(super) struct Sum {
    pub(super) fired: usize,
    pub(super) seconds: f64,
    pub(super) longest_seconds: f64,
    pub(super) flaps: usize,
    pub(super) pending_only: usize,
}

impl Sum {
    pub(super) fn of(series: &[SeriesTimeline]) -> Self {
        let mut sum = Self::default();
        for alert in series {
            for firing in alert.firings() {
                let seconds = firing.length().as_secs_f64();
                sum.fired += 1;
                sum.seconds += seconds;
                sum.longest_seconds = sum.longest_seconds.max(seconds);
            }
            sum.flaps += alert.flaps();
            sum.pending_only += alert.pending_only();
        }
        sum
    }
}

/// The labels that tell the alerts of one rule apart.
pub(super) fn without_alertname(labels: &Labels) -> Labels {
    let mut labels = LabelsBuilder::from(labels);
    labels.remove("alertname");
    labels.build()
}

/// The variant in words.
pub(super) fn variant_name(variant: &Variant) -> String {
    let hold = variant.hold.map(|hold| format!("for {}", PromDuration::new(hold)));
    let threshold = variant.threshold.map(|threshold| format!("threshold {}", number(threshold)));
    let parts: Vec<String> = hold.into_iter().chain(threshold).collect();
    if parts.is_empty() { "as written".to_owned() } else { parts.join(", ") }
}

pub(super) fn text(backtest: &Backtest, width: usize) -> String {
    let mut out = String::new();
    // Writing into a `String` cannot fail.
    let _ = write_all(&mut out, backtest, width);
    out
}

fn write_all(out: &mut String, backtest: &Backtest, width: usize) -> fmt::Result {
    let Some(as_written) = backtest.runs.first() else { return Ok(()) };
    let (from, to) = (time(backtest.from.as_millis()), time(backtest.to.as_millis()));
    let count = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    writeln!(
        out,
        "{from} to {to}: {}, {}",
        count(as_written.timeline.rules.len() as u64, "alert rule"),
        count(as_written.timeline.evaluations, "evaluation")
    )?;
    for (at, rule) in as_written.timeline.rules.iter().enumerate() {
        writeln!(out, "\n{} ({})", rule.rule.name, place(std::path::Path::new(&*rule.file), &rule.rule))?;
        for run in &backtest.runs {
            if let Some(rule) = run.timeline.rules.get(at) {
                write_rule(out, backtest, run, rule, width)?;
            }
        }
    }
    if !backtest.incidents.is_empty() {
        writeln!(out, "\nAll alerts together")?;
        for run in &backtest.runs {
            let all = run.timeline.rules.iter().flat_map(|rule| &rule.series);
            writeln!(out, "  {}", variant_name(&run.variant))?;
            write_verdict(out, backtest, &judge(&backtest.incidents, all))?;
        }
    }
    writeln!(out, "\n· quiet  ░ pending  █ firing; each line from {from} to {to}")
}

fn write_rule(
    out: &mut String,
    backtest: &Backtest,
    run: &Run,
    rule: &RuleTimeline,
    width: usize,
) -> fmt::Result {
    let hold = rule.rule.alert().map_or_else(String::new, |alert| PromDuration::new(alert.hold).to_string());
    let unchanged = run.variant.threshold.is_some() && threshold_of(&rule.rule.expr).is_none();
    let remark = if unchanged { "; it has no threshold to change" } else { "" };
    writeln!(out, "  {}: {} for {hold}{remark}", variant_name(&run.variant), rule.rule.query)?;
    let sum = Sum::of(&rule.series);
    match sum.fired {
        0 => write!(out, "    did not fire")?,
        fired => write!(
            out,
            "    fired {}, {} in all, the longest {}",
            times(fired),
            seconds(sum.seconds),
            seconds(sum.longest_seconds)
        )?,
    }
    if sum.flaps > 0 {
        write!(out, "; flapped {}", times(sum.flaps))?;
    }
    if sum.pending_only > 0 {
        write!(out, "; pending without firing {}", times(sum.pending_only))?;
    }
    writeln!(out)?;
    if !backtest.incidents.is_empty() {
        write_verdict(out, backtest, &judge(&backtest.incidents, &rule.series))?;
    }
    write_lines(out, backtest, rule, width)
}

fn write_lines(out: &mut String, backtest: &Backtest, rule: &RuleTimeline, width: usize) -> fmt::Result {
    let columns = (width * LINE_PART.0 / LINE_PART.1).max(LEAST_COLUMNS);
    let mut series: Vec<&SeriesTimeline> = rule.series.iter().collect();
    let fired =
        |alert: &&SeriesTimeline| alert.firings().map(|span| span.length()).sum::<std::time::Duration>();
    series.cold_sort_by_key(|alert| std::cmp::Reverse(fired(alert)));
    for alert in series.iter().take(MOST_LINES) {
        let line = line(alert, (backtest.from, backtest.to), columns);
        let labels = series_text(&without_alertname(&alert.labels));
        writeln!(out, "{}", format!("    {line} {labels}").trim_end())?;
    }
    if series.len() > MOST_LINES {
        writeln!(out, "    and {} alerts more, which fired for less long", series.len() - MOST_LINES)?;
    }
    Ok(())
}

/// The states over time; of several in one column the gravest.
fn line(alert: &SeriesTimeline, (from, to): (Timestamp, Timestamp), columns: usize) -> String {
    let mut states = vec![AlertState::Inactive; columns];
    let whole = to.since(from).as_secs_f64().max(0.001);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place on the line, clamped to it"
    )]
    let column =
        |at: Timestamp| ((at.since(from).as_secs_f64() / whole * columns as f64) as usize).min(columns - 1);
    for span in &alert.spans {
        let (first, last) = (column(span.from), column(span.to));
        // Where it ended at the very edge of a column, it was not in it.
        let last = if last > first && !span.is_open { last - 1 } else { last };
        for state in states.iter_mut().take(last + 1).skip(first) {
            *state = span.state.max(*state);
        }
    }
    let shown = |state: &AlertState| match state {
        AlertState::Inactive => '·',
        AlertState::Pending => '░',
        AlertState::Firing => '█',
    };
    states.iter().map(shown).collect()
}

fn write_verdict(out: &mut String, backtest: &Backtest, verdict: &Verdict) -> fmt::Result {
    write!(out, "    caught {} of {} incidents", verdict.caught.len(), backtest.incidents.len())?;
    if let Some((mean, longest)) = verdict.delays() {
        let (mean, longest) = (seconds(mean.as_secs_f64()), seconds(longest.as_secs_f64()));
        write!(out, ", {mean} after they began on average, {longest} at most")?;
    }
    let missed: Vec<&str> = verdict
        .missed
        .iter()
        .filter_map(|at| backtest.incidents.get(*at))
        .map(|incident| incident.name.as_str())
        .collect();
    if !missed.is_empty() {
        write!(out, "; missed {}", missed.join(", "))?;
    }
    if let Some(rate) = verdict.false_alarm_rate() {
        let percent = (rate * 100.0).round();
        write!(out, "; false alarms {} of {} ({percent} %)", verdict.false_alarms, verdict.alarms)?;
    }
    writeln!(out)
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// A length of time, in whole seconds.
fn seconds(seconds: f64) -> String {
    PromDuration::new(std::time::Duration::from_secs_f64(seconds.round())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::backtest::Span;

    #[test]
    fn a_line_shows_the_gravest_state_of_each_column() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let span = |state, from, to, is_open| Span { state, from: at(from), to: at(to), is_open };
        let spans = vec![
            span(AlertState::Pending, 20, 40, false),
            span(AlertState::Firing, 40, 45, false),
            span(AlertState::Pending, 90, 100, true),
        ];
        let alert = SeriesTimeline { labels: Labels::empty(), spans };
        assert_eq!(line(&alert, (at(0), at(100)), 10), "··░░█····░");
        assert_eq!(line(&alert, (at(0), at(0)), 1), "█");
    }
}
