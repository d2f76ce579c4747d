//! Objectives as people read them: what is promised, what may fail, who hears of it when; then the rules.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::model::PromDuration;
use crate::slo::{
    Absent, Budgeting, CompositeMethod, GenerateOptions, Indicator, Slo, SloFile, generate, to_rule_file,
};

/// All objectives of some files.
pub(super) fn show(files: &[(&Path, SloFile)], options: &GenerateOptions) -> String {
    let mut out = String::new();
    for (path, file) in files {
        for slo in &file.slos {
            // Writing into a `String` cannot fail.
            let _ = write_slo(&mut out, path, slo);
            for warning in file.warnings.iter().filter(|warning| warning.slo == slo.id()) {
                let _ = writeln!(out, "  warning    {}", warning.message);
            }
            let rules = to_rule_file(&generate(slo, options));
            let _ = writeln!(out, "\n{}", indented(&rules));
        }
    }
    out
}

fn write_slo(out: &mut String, path: &Path, slo: &Slo) -> fmt::Result {
    writeln!(out, "{} ({}:{}, {})", slo.id(), path.display(), slo.line, slo.format.as_str())?;
    if !slo.description.is_empty() {
        writeln!(out, "  {}", slo.description.trim().replace('\n', "\n  "))?;
    }
    let (objective, period) = (slo.objective, slo.period.length());
    writeln!(out, "  objective  {objective} % over {}", slo.period.words())?;
    let spent = period.mul_f64(objective.budget());
    writeln!(out, "  budget     {} %: {} of total failure", percent(objective.budget()), rounded(spent))?;
    write_indicator(out, slo)?;
    match slo.budgeting {
        Budgeting::Occurrences => {}
        Budgeting::Timeslices { slice, target } => {
            writeln!(
                out,
                "  counted in slices of {}, good with {} % of good events",
                short(slice),
                percent(target)
            )?;
        }
        Budgeting::RatioTimeslices { slice } => {
            writeln!(out, "  counted in slices of {}, each as bad as its events", short(slice))?;
        }
    }
    if !slo.group_by.is_empty() {
        writeln!(out, "  for each   {}", slo.group_by.join(", "))?;
    }
    write_alerts(out, slo)
}

fn write_indicator(out: &mut String, slo: &Slo) -> fmt::Result {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match &slo.indicator {
        Indicator::Events { error, total } => {
            writeln!(out, "  errors     {}", line(&error.template()))?;
            writeln!(out, "  total      {}", line(&total.template()))
        }
        Indicator::Ratio(ratio) => writeln!(out, "  errors     {} of 1", line(&ratio.template())),
        Indicator::Threshold { value, bad, bound } => {
            writeln!(out, "  bad when   {} {bad} {bound}", line(&value.template()))
        }
        Indicator::Composite { members, method } => {
            let how = match method {
                CompositeMethod::Any => "burns as fast as the fastest of",
                CompositeMethod::Weighted => "burns as the weighted average of",
            };
            let members: Vec<String> = members
                .iter()
                .map(|(id, weight)| if *weight == 1.0 { id.clone() } else { format!("{id} (x {weight})") })
                .collect();
            writeln!(out, "  composite  {how} {}", members.join(", "))
        }
    }
}

fn write_alerts(out: &mut String, slo: &Slo) -> fmt::Result {
    let (alerting, period, budget) = (&slo.alerting, slo.period.length(), slo.objective.budget());
    if alerting.conditions.is_empty() {
        for pair in alerting.windows.iter().filter(|pair| alerting.texts(pair.severity).is_some()) {
            let (factor, threshold) = (pair.factor(period), pair.threshold(period, slo.objective));
            writeln!(
                out,
                "  {:<10} more than {} % fail over {} and over {}: {} times too fast, spends {} % of the budget in {}, all of it in {}",
                pair.severity.as_str(),
                about_percent(threshold),
                short(pair.long),
                short(pair.short),
                two_decimals(factor),
                two_decimals(pair.budget_percent),
                short(pair.long),
                rounded(period.div_f64(factor)),
            )?;
        }
    }
    for condition in &alerting.conditions {
        writeln!(
            out,
            "  {:<10} {}: {} {} % fail over {}, for {}",
            condition.severity.as_str(),
            condition.name,
            condition.op,
            about_percent(condition.threshold * budget),
            short(condition.lookback),
            short(condition.hold),
        )?;
    }
    if slo.min_events > 0.0 {
        writeln!(out, "  only with  {} events or more in the longer window", slo.min_events)?;
    }
    if let Absent::Alert(severity) = slo.absent {
        writeln!(out, "  {:<10} no data for 10m", severity.as_str())?;
    }
    for step in &slo.policy {
        let (severity, below) = (step.severity.as_str(), percent(step.remaining_below));
        writeln!(out, "  {severity:<10} less than {below} % of the budget left: {}", step.action)?;
    }
    if !slo.exclude.is_empty() {
        writeln!(out, "  excluded   {} times of maintenance", slo.exclude.len())?;
    }
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |out, line| out + if line.is_empty() { "" } else { "  " } + line + "\n")
}

/// A ratio as percentage, without the dust of binary fractions.
pub(super) fn percent(ratio: f64) -> f64 {
    (ratio * 1e11).round() / 1e9
}

/// A ratio as percentage of four digits.
pub(super) fn about_percent(ratio: f64) -> f64 {
    let percent = percent(ratio);
    let digits = if percent > 0.0 { 10_f64.powf(3.0 - percent.log10().floor()) } else { 1.0 };
    (percent * digits).round() / digits
}

pub(super) fn two_decimals(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

pub(super) fn short(duration: Duration) -> PromDuration {
    PromDuration::new(duration)
}

/// A duration to about three digits: what people say.
pub(super) fn rounded(duration: Duration) -> PromDuration {
    let unit = match duration.as_secs() {
        0..60 => 1,
        60..86_400 => 1_000,
        86_400..864_000 => 60_000,
        _ => 3_600_000,
    };
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    PromDuration::new(Duration::from_millis(ms.saturating_add(unit / 2) / unit * unit))
}
