//! An explanation as text and as JSON.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value as Json, json};

use super::super::query::output::{number, series_text, time};
use super::Explained;
use super::tree::{Given, Part};
use crate::model::{Labels, PromDuration};
use crate::rules::AlertState;

/// Most values of one part at one moment.
const MOST_VALUES: usize = 3;

/// Most turns of the timeline; the last ones are shown.
const MOST_TURNS: usize = 10;

/// Most further alerts that are named, and series that carried one.
const MOST_NAMED: usize = 10;

/// Columns of a moment's name.
const MOMENT: usize = 13;

pub(super) fn text(all: &[Explained]) -> String {
    let mut out = String::new();
    for explained in all {
        if !out.is_empty() {
            out.push('\n');
        }
        // Writing into a `String` cannot fail.
        let _ = write_text(&mut out, explained);
    }
    out
}

fn write_text(out: &mut String, explained: &Explained) -> fmt::Result {
    let rule = &explained.rule;
    writeln!(out, "{} ({}, group {})", rule.name, rule.place, rule.group)?;
    let duration = PromDuration::new;
    writeln!(out, "  expr             {}", rule.expr)?;
    writeln!(out, "  for              {}", duration(rule.hold))?;
    if !rule.keep_firing.is_zero() {
        writeln!(out, "  keep_firing_for  {}", duration(rule.keep_firing))?;
    }
    writeln!(out, "  evaluated        every {}", duration(rule.interval))?;
    write_life(out, explained)?;
    writeln!(out, "\nValues")?;
    for part in &explained.parts {
        write_part(out, part)?;
    }
    if explained.parts_left_out > 0 {
        writeln!(out, "  and {} parts more", explained.parts_left_out)?;
    }
    write_carriers(out, explained)
}

fn write_life(out: &mut String, explained: &Explained) -> fmt::Result {
    if explained.is_played {
        writeln!(out, "\nThe history has no ALERTS of it; what follows is the rule played over it")?;
    }
    let Some(life) = explained.lives.first() else {
        let (since, at) = (PromDuration::new(explained.since), time(explained.at.as_millis()));
        return writeln!(out, "\nNeither pending nor firing within {since} before {at}");
    };
    writeln!(out, "\nTimeline of {}", series_text(&life.labels))?;
    let left_out = life.turns.len().saturating_sub(MOST_TURNS);
    if left_out > 0 {
        writeln!(out, "  {left_out} turns before")?;
    }
    for (at, state) in life.turns.iter().skip(left_out) {
        let state = if *state == AlertState::Inactive { "ended" } else { state.as_str() };
        writeln!(out, "  {}  {state}", time(at.as_millis()))?;
    }
    if life.goes_on {
        writeln!(out, "  {}  still {}", time(life.last.as_millis()), life.state().as_str())?;
    }
    for other in explained.lives.iter().skip(1).take(MOST_NAMED) {
        let (labels, state) = (series_text(&other.labels), other.state().as_str());
        let until = if other.goes_on {
            "still".to_owned()
        } else {
            format!("until {}", time(other.last.as_millis()))
        };
        writeln!(out, "  also: {labels}, {until} {state}")?;
    }
    let more = explained.lives.len().saturating_sub(1 + MOST_NAMED);
    if more > 0 {
        writeln!(out, "  and {more} alerts more")?;
    }
    Ok(())
}

fn write_part(out: &mut String, part: &Part) -> fmt::Result {
    let indent = 2 + part.depth * 2;
    writeln!(out, "{:indent$}{}", "", part.text)?;
    for (moment, given) in &part.given {
        let (what, at) = (moment.what, time(moment.at.as_millis()));
        let value = given.as_ref().map_or_else(|error| format!("error: {error}"), given_text);
        writeln!(out, "{:indent$}  | {what:<MOMENT$}{at}  {value}", "")?;
    }
    Ok(())
}

fn given_text(given: &Given) -> String {
    if given.series == 0 {
        return "nothing".to_owned();
    }
    let values: Vec<String> = given.own.iter().take(MOST_VALUES).map(|(_, value)| number(*value)).collect();
    let more = match given.own.len().saturating_sub(MOST_VALUES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let of = format!("({} of {} series)", given.own.len(), given.series);
    if values.is_empty() {
        format!("none of its own {of}")
    } else {
        format!("{}{more} {of}", values.join(", "))
    }
}

/// The series that the expression read for this alert, at the moment it fired, or the first that is known.
fn carriers(explained: &Explained) -> Vec<(&str, &Labels, f64)> {
    if explained.lives.is_empty() {
        return Vec::new();
    }
    let decisive =
        explained.moments.iter().find(|moment| moment.what == "fired").or(explained.moments.first());
    let selectors = explained.parts.iter().filter(|part| part.is_selector);
    let given = selectors.flat_map(|part| {
        part.given
            .iter()
            .filter(|(moment, _)| Some(moment) == decisive)
            .filter_map(|(moment, given)| given.as_ref().ok().map(|given| (moment.what, given)))
    });
    given
        .flat_map(|(what, given)| given.own.iter().map(move |(labels, value)| (what, labels, *value)))
        .collect()
}

fn write_carriers(out: &mut String, explained: &Explained) -> fmt::Result {
    let carriers = carriers(explained);
    let Some((what, ..)) = carriers.first() else { return Ok(()) };
    writeln!(out, "\nCarried by, when it {what}")?;
    for (_, labels, value) in carriers.iter().take(MOST_NAMED) {
        writeln!(out, "  {} {}", series_text(labels), number(*value))?;
    }
    match carriers.len().saturating_sub(MOST_NAMED) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} series more"),
    }
}

pub(super) fn json(all: &[Explained]) -> Json {
    Json::Array(all.iter().map(one).collect())
}

fn one(explained: &Explained) -> Json {
    let rule = &explained.rule;
    let alerts: Vec<Json> = explained
        .lives
        .iter()
        .map(|life| {
            let turns: Vec<Json> = life
                .turns
                .iter()
                .map(|(at, state)| json!({"time": time(at.as_millis()), "state": state.as_str()}))
                .collect();
            json!({
                "labels": labels_value(&life.labels),
                "turns": turns,
                "last": time(life.last.as_millis()),
                "active": life.goes_on,
            })
        })
        .collect();
    let carriers: Vec<Json> =
        carriers(explained).into_iter().map(|(_, labels, value)| series_value(labels, value)).collect();
    json!({
        "alert": rule.name,
        "place": rule.place,
        "group": rule.group,
        "expr": rule.expr,
        "for_seconds": rule.hold.as_secs_f64(),
        "keep_firing_for_seconds": rule.keep_firing.as_secs_f64(),
        "interval_seconds": rule.interval.as_secs_f64(),
        "alerts": alerts,
        "played": explained.is_played,
        "carried_by": carriers,
        "parts": explained.parts.iter().map(part_value).collect::<Vec<_>>(),
        "parts_left_out": explained.parts_left_out,
    })
}

fn part_value(part: &Part) -> Json {
    let given = |(moment, given): &(super::Moment, Result<Given, String>)| {
        let (what, at) = (moment.what, time(moment.at.as_millis()));
        match given {
            Ok(given) => {
                let own: Vec<Json> =
                    given.own.iter().map(|(labels, value)| series_value(labels, *value)).collect();
                json!({"moment": what, "time": at, "series": given.series, "own": own})
            }
            Err(error) => json!({"moment": what, "time": at, "error": error}),
        }
    };
    let values: Vec<Json> = part.given.iter().map(given).collect();
    json!({"depth": part.depth, "expr": part.text, "values": values})
}

/// The value is a text, as the API has it: JSON has no infinity.
fn series_value(labels: &Labels, value: f64) -> Json {
    json!({"labels": labels_value(labels), "value": number(value)})
}

fn labels_value(labels: &Labels) -> Json {
    Json::Object(
        labels.iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect::<Map<_, _>>(),
    )
}
