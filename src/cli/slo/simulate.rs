//! `outrigger slo simulate`: an outage, and when who hears of it.

use std::fmt::{self, Write as _};

use super::show::{about_percent, percent, rounded, two_decimals};
use crate::model::PromDuration;
use crate::slo::{Budgeting, Outage, SimulatedAlert, SimulatedOutcome, Simulation, Slo, SloFile, simulate};

/// `5%` or `0.05`.
pub(super) fn error_rate(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    let number = number.ok().filter(|rate| *rate > 0.0 && *rate <= 1.0);
    number.ok_or_else(|| "expected the part that fails, such as 5% or 0.05".to_owned())
}

/// What an outage does to all objectives of some files.
pub(super) fn text<'f>(files: impl IntoIterator<Item = &'f SloFile>, outage: &Outage) -> String {
    let mut out = String::new();
    for slo in files.into_iter().flat_map(|file| &file.slos) {
        if !out.is_empty() {
            out.push('\n');
        }
        // Writing into a `String` cannot fail.
        let _ = write(&mut out, slo, outage, &simulate(slo, outage));
    }
    out
}

fn write(out: &mut String, slo: &Slo, outage: &Outage, simulation: &Simulation) -> fmt::Result {
    let lasts = outage.lasts.map_or_else(String::new, |lasts| format!(" for {}", PromDuration::new(lasts)));
    let (id, rate, objective) = (slo.id(), percent(outage.error_rate), slo.objective);
    writeln!(out, "{id}: {rate} % fail{lasts}; objective {objective} % over {}", slo.period.words())?;
    if let Budgeting::Timeslices { slice, target } = slo.budgeting {
        let (slice, most) = (PromDuration::new(slice), about_percent(1.0 - target));
        writeln!(out, "  slices  of {slice} count; one is bad when more than {most} % fail in it")?;
    }
    let spent = two_decimals(simulation.spent * 100.0);
    match (outage.lasts, simulation.exhausted_after.map(rounded)) {
        (Some(_), Some(gone)) => {
            writeln!(out, "  cost    {spent} % of the budget; all of it would be gone after {gone}")
        }
        (None, Some(gone)) => writeln!(out, "  cost    all of the budget within {gone}"),
        (Some(_), None) => {
            writeln!(out, "  cost    {spent} % of the budget; all of it is never gone at this rate")
        }
        (None, None) => {
            writeln!(
                out,
                "  cost    {spent} % of the budget, however long it lasts; all of it is never gone at this rate"
            )
        }
    }?;
    if simulation.alerts.is_empty() {
        writeln!(out, "  no alert on how fast the budget burns")?;
    }
    simulation.alerts.iter().try_for_each(|alert| write_alert(out, alert))
}

fn write_alert(out: &mut String, alert: &SimulatedAlert) -> fmt::Result {
    let windows: Vec<String> =
        alert.windows.iter().map(|window| PromDuration::new(*window).to_string()).collect();
    write!(
        out,
        "  {:<7} over {} ({} times too fast, above {} %): ",
        alert.severity.as_str(),
        windows.join(" and "),
        two_decimals(alert.factor),
        about_percent(alert.threshold),
    )?;
    match alert.outcome {
        SimulatedOutcome::BelowThreshold => writeln!(out, "does not fire, too few fail"),
        SimulatedOutcome::TooShort { needed } => {
            writeln!(out, "does not fire, the outage would have to last {}", rounded(needed))
        }
        SimulatedOutcome::Fires { after, spent, resolved_after_end } => {
            let spent = two_decimals(spent * 100.0);
            write!(out, "fires after {}, {spent} % of the budget spent", rounded(after))?;
            match resolved_after_end {
                Some(resolved) => writeln!(out, ", resolved {} after the end", rounded(resolved)),
                None => writeln!(out),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read() {
        assert_eq!((error_rate("5%"), error_rate("0.05"), error_rate("100%")), (Ok(0.05), Ok(0.05), Ok(1.0)));
        for text in ["", "0", "5", "-1%", "101%", "x", "NaN"] {
            assert!(error_rate(text).is_err(), "{text}");
        }
    }
}
