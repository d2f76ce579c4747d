//! A range as a chart in the terminal, drawn in Braille dots: two dots a column, four a line.
//!
//! Series share the axes; where two meet in a cell the later one's colour shows.

use std::fmt::Write as _;

use super::output::{number, series_text, time};
use crate::promql::{Series, Value};

/// Lines of the chart itself.
const HEIGHT: usize = 16;

/// Columns left of the chart.
const AXIS: usize = 11;

/// Most series drawn.
const MOST_SERIES: usize = 12;

/// ANSI colours, in the order of the series.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// The Braille dot at (column, row) of a cell, as its bit.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

struct Cell {
    dots: u32,
    series: usize,
}

/// Draws a matrix; `width` columns in all, colours only where `colour`.
pub(super) fn plot(value: &Value, width: usize, colour: bool) -> Result<String, String> {
    let Value::Matrix(series) = value else {
        return Err("a plot needs a range: add --range".to_owned());
    };
    let drawn = series.get(..MOST_SERIES.min(series.len())).unwrap_or_default();
    let Some(frame) = Frame::around(drawn, width.saturating_sub(AXIS).max(10)) else {
        return Ok("no samples to draw\n".to_owned());
    };
    let mut cells: Vec<Cell> = (0..frame.columns * HEIGHT).map(|_| Cell { dots: 0, series: 0 }).collect();
    for (at, series) in drawn.iter().enumerate() {
        frame.draw(series, at, &mut cells);
    }
    let mut out = frame.render(&cells, colour);
    for (at, series) in drawn.iter().enumerate() {
        let _ = writeln!(out, "{} {}", paint("──", at, colour), series_text(&series.labels));
    }
    if series.len() > drawn.len() {
        let _ = writeln!(out, "and {} series more, not drawn", series.len() - drawn.len());
    }
    Ok(out)
}

/// The axes.
struct Frame {
    columns: usize,
    first_ms: i64,
    last_ms: i64,
    low: f64,
    high: f64,
}

impl Frame {
    fn around(series: &[Series], columns: usize) -> Option<Self> {
        let samples = || series.iter().flat_map(|s| s.samples.iter());
        let finite = || samples().map(|(_, value)| value).filter(|value| value.is_finite());
        let (mut low, mut high) = (finite().reduce(f64::min)?, finite().reduce(f64::max)?);
        if low == high {
            (low, high) = (low - 1.0, high + 1.0);
        }
        let first_ms = samples().map(|(at, _)| at).min()?;
        let last_ms = samples().map(|(at, _)| at).max()?.max(first_ms + 1);
        Some(Self { columns, first_ms, last_ms, low, high })
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positions on a chart, clamped to it"
    )]
    fn dot(&self, at_ms: i64, value: f64) -> (usize, usize) {
        let part = |at: f64, dots: usize| ((at * (dots - 1) as f64).round() as usize).min(dots - 1);
        let x = (at_ms - self.first_ms) as f64 / (self.last_ms - self.first_ms) as f64;
        let y = (value - self.low) / (self.high - self.low);
        (part(x, self.columns * 2), part(1.0 - y, HEIGHT * 4))
    }

    /// Dots at the samples and between neighbours.
    fn draw(&self, series: &Series, at: usize, cells: &mut [Cell]) {
        let mut before: Option<(usize, usize)> = None;
        for (at_ms, value) in series.samples.iter() {
            if !value.is_finite() {
                before = None;
                continue;
            }
            let here = self.dot(at_ms, value);
            let there = before.unwrap_or(here);
            for (x, y) in line(there, here) {
                let cell = cells.get_mut((y / 4) * self.columns + x / 2);
                let bit = DOTS.get(x % 2).and_then(|column| column.get(y % 4));
                if let (Some(cell), Some(bit)) = (cell, bit) {
                    cell.dots |= bit;
                    cell.series = at;
                }
            }
            before = Some(here);
        }
    }

    fn render(&self, cells: &[Cell], colour: bool) -> String {
        let mut out = String::new();
        for (row, line) in cells.chunks(self.columns).enumerate() {
            let label = match row {
                0 => short(self.high),
                row if row == HEIGHT - 1 => short(self.low),
                _ => String::new(),
            };
            let _ = write!(out, "{label:>9} │");
            for cell in line {
                match char::from_u32(0x2800 + cell.dots) {
                    Some(dots) if cell.dots > 0 => {
                        out.push_str(&paint(&dots.to_string(), cell.series, colour))
                    }
                    _ => out.push(' '),
                }
            }
            out.push('\n');
        }
        let (first, last) = (time(self.first_ms), time(self.last_ms));
        let gap = self.columns.saturating_sub(first.len() + last.len()).max(1);
        let _ = writeln!(out, "{:>9} └{}", "", "─".repeat(self.columns));
        let _ = writeln!(out, "{:AXIS$}{first}{:gap$}{last}", "", "");
        out
    }
}

/// All dots from one to the other, both included.
fn line(from: (usize, usize), to: (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
    let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
    let between = move |a: usize, b: usize, step: usize| (a * (steps - step) + b * step + steps / 2) / steps;
    (0..=steps).map(move |step| (between(from.0, to.0, step), between(from.1, to.1, step)))
}

fn short(value: f64) -> String {
    let text = number(value);
    if text.len() <= 9 { text } else { format!("{value:.2e}") }
}

fn paint(text: &str, series: usize, colour: bool) -> String {
    match COLOURS.get(series % COLOURS.len()) {
        Some(code) if colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Samples};

    #[test]
    fn a_rising_line_goes_from_the_lower_left_to_the_upper_right() {
        let samples =
            Samples::from_columns((0..100).map(|n| n * 1_000).collect(), (0..100).map(f64::from).collect());
        let matrix = Value::Matrix(vec![Series { labels: Labels::from_pairs([("__name__", "x")]), samples }]);
        let chart = plot(&matrix, 60, false).unwrap();
        let lines: Vec<&str> = chart.lines().collect();
        assert_eq!(lines.len(), HEIGHT + 3, "{chart}");
        assert!(lines[0].starts_with("       99 │ ") && !lines[0].ends_with(' '), "{chart}");
        assert!(lines[HEIGHT - 1].starts_with("        0 │") && lines[HEIGHT - 1].ends_with("  "), "{chart}");
        assert!(
            lines[HEIGHT + 1].contains("1970-01-01T00:00:00Z") && lines[HEIGHT + 2].ends_with(" x"),
            "{chart}"
        );
    }

    #[test]
    fn what_cannot_be_drawn_is_said() {
        assert!(plot(&Value::Vector(Vec::new()), 80, false).is_err());
        assert_eq!(plot(&Value::Matrix(Vec::new()), 80, false).unwrap(), "no samples to draw\n");
        let samples = Samples::from_columns(vec![5], vec![f64::NAN]);
        let matrix = Value::Matrix(vec![Series { labels: Labels::empty(), samples }]);
        assert_eq!(plot(&matrix, 1, true).unwrap(), "no samples to draw\n");
    }
}
