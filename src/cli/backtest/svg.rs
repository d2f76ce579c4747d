//! The timelines as a drawing: a row for each alert in each variant, incidents behind them.
//!
//! Source: SVG 1.1; no script, no style sheet, so that it shows wherever pictures do.

use std::fmt::{self, Write as _};

use super::super::query::output::{series_text, time};
use super::super::test_rules::escaped;
use super::Backtest;
use super::text::{variant_name, without_alertname};
use crate::model::Timestamp;
use crate::rules::AlertState;

/// Most rows; a taller picture nobody looks at.
const MOST_ROWS: usize = 500;

const WIDTH: f64 = 1_000.0;
const LABELS: f64 = 340.0;
const ROW: f64 = 18.0;
const TOP: f64 = 40.0;

/// Longest label, in characters.
const LABEL_CHARS: usize = 56;

struct Row {
    title: String,
    spans: Vec<(AlertState, Timestamp, Timestamp)>,
}

pub(super) fn drawn(backtest: &Backtest) -> String {
    let mut rows = Vec::new();
    for run in &backtest.runs {
        for rule in &run.timeline.rules {
            let name = match backtest.runs.len() {
                1 => rule.rule.name.to_string(),
                _ => format!("{} ({})", rule.rule.name, variant_name(&run.variant)),
            };
            if rule.series.is_empty() {
                rows.push(Row { title: name.clone(), spans: Vec::new() });
            }
            rows.extend(rule.series.iter().map(|series| Row {
                title: format!("{name} {}", series_text(&without_alertname(&series.labels))),
                spans: series.spans.iter().map(|span| (span.state, span.from, span.to)).collect(),
            }));
        }
    }
    let mut out = String::new();
    // Writing into a `String` cannot fail.
    let _ = write_all(&mut out, backtest, &rows);
    out
}

fn write_all(out: &mut String, backtest: &Backtest, rows: &[Row]) -> fmt::Result {
    let shown = rows.len().min(MOST_ROWS);
    let left_out = rows.len() - shown;
    #[expect(clippy::cast_precision_loss, reason = "few rows")]
    let bottom = ROW.mul_add(shown as f64, TOP);
    let height = bottom + 30.0;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">"
    )?;
    writeln!(out, "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>")?;
    let (from, to) = (time(backtest.from.as_millis()), time(backtest.to.as_millis()));
    writeln!(out, "<text x=\"{LABELS}\" y=\"16\">{from}</text>")?;
    writeln!(out, "<text x=\"{}\" y=\"16\" text-anchor=\"end\">{to}</text>", WIDTH - 10.0)?;
    for incident in &backtest.incidents {
        let (x, width) = place(backtest, incident.from, incident.to);
        writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"22\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"#dbe7f5\"><title>{}</title></rect>",
            bottom - 22.0,
            escaped(&incident.name)
        )?;
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"33\" fill=\"#335577\">{}</text>",
            escaped(&cut(&incident.name, 20))
        )?;
    }
    let mut y = TOP;
    for row in rows.iter().take(shown) {
        write_row(out, backtest, row, y)?;
        y += ROW;
    }
    let more = if left_out > 0 { format!("; {left_out} rows more are left out") } else { String::new() };
    writeln!(
        out,
        "<text x=\"10\" y=\"{:.1}\">yellow: pending, red: firing, blue: incidents{more}</text>\n</svg>",
        bottom + 18.0
    )
}

fn write_row(out: &mut String, backtest: &Backtest, row: &Row, y: f64) -> fmt::Result {
    let title = escaped(&row.title);
    writeln!(
        out,
        "<text x=\"10\" y=\"{:.1}\">{}<title>{title}</title></text>",
        y + 12.0,
        escaped(&cut(&row.title, LABEL_CHARS))
    )?;
    let (x, width) = place(backtest, backtest.from, backtest.to);
    writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"1\" fill=\"#cccccc\"/>",
        y + 8.0
    )?;
    for (state, from, to) in &row.spans {
        let (x, width) = place(backtest, *from, *to);
        let colour = if *state == AlertState::Firing { "#cc2222" } else { "#e6b800" };
        writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"13\" fill=\"{colour}\"><title>{} {} to {}</title></rect>",
            y + 2.0,
            state.as_str(),
            time(from.as_millis()),
            time(to.as_millis())
        )?;
    }
    Ok(())
}

/// Left edge and width of a stretch of time, cut to the picture; never too narrow to be seen.
fn place(backtest: &Backtest, from: Timestamp, to: Timestamp) -> (f64, f64) {
    let whole = backtest.to.since(backtest.from).as_secs_f64().max(0.001);
    let room = WIDTH - LABELS - 10.0;
    let x = |at: Timestamp| (at.since(backtest.from).as_secs_f64() / whole).min(1.0).mul_add(room, LABELS);
    (x(from), (x(to) - x(from)).max(1.0))
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{kept}…")
}
