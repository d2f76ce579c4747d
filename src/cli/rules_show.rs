//! `outrigger rules show FILE...`: what rule files come to, with everything that they leave unsaid.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::rule_files::RuleFile;
use super::{Outcome, complain, print, slo};
use crate::model::{Labels, PromDuration};
use crate::promql::pretty;
use crate::rules::{AlertSpec, GroupSpec, RuleSpec};

/// Columns of the names on the left.
const NAMES: usize = 17;

pub(super) fn command() -> Command {
    Command::new("show")
        .about("Show rule files and SLO files in full: short forms as PromQL, defaults, intervals")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .num_args(1..)
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Rule files, and files of objectives"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let (mut shown, mut failed) = (String::new(), false);
    for path in matches.get_many::<PathBuf>("file").into_iter().flatten() {
        match RuleFile::load(path) {
            // Writing into a `String` cannot fail.
            Ok(RuleFile::Rules(groups)) => {
                let _ = groups.iter().try_for_each(|group| write_group(&mut shown, group));
            }
            Ok(RuleFile::Slos(file)) => shown.push_str(&slo::shown(path, file)),
            Err(errors) => {
                failed = true;
                complain(&errors);
            }
        }
    }
    print(&shown)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write_group(out: &mut String, group: &GroupSpec) -> fmt::Result {
    writeln!(out, "{}: group {}", group.file, group.name)?;
    let duration = |duration: Duration| PromDuration::new(duration).to_string();
    let or = |value: Option<String>, default: &str| value.unwrap_or_else(|| default.to_owned());
    let interval = or(group.interval.map(duration), "global.evaluation_interval [default: 1m]");
    line(out, 2, "interval", &interval)?;
    let offset = or(group.query_offset.map(duration), "global.rule_query_offset [default: 0s]");
    line(out, 2, "query_offset", &offset)?;
    let limit = (group.limit > 0).then(|| group.limit.to_string());
    line(out, 2, "limit", &or(limit, "none [default]"))?;
    for rule in &group.rules {
        write_rule(out, rule, &group.file)?;
    }
    writeln!(out)
}

fn write_rule(out: &mut String, rule: &RuleSpec, file: &str) -> fmt::Result {
    let kind = if rule.alert().is_some() { "alert" } else { "record" };
    writeln!(out, "\n  {kind} {} ({})", rule.name, place(Path::new(file), rule))?;
    let written = if rule.is_short { "expr, from metric" } else { "expr" };
    line(out, 4, written, &pretty(&rule.expr))?;
    if let Some(alert) = rule.alert() {
        write_alert(out, alert)?;
    }
    write_texts(out, "label", &rule.labels)?;
    for name in &rule.removed_labels {
        line(out, 4, "without label", name)?;
    }
    rule.alert().map_or(Ok(()), |alert| write_texts(out, "annotation", &alert.annotations))
}

fn write_alert(out: &mut String, alert: &AlertSpec) -> fmt::Result {
    let duration = |duration: Duration, unset: &str| match duration.is_zero() {
        true => format!("0s, {unset} [default]"),
        false => PromDuration::new(duration).to_string(),
    };
    line(out, 4, "for", &duration(alert.hold, "fires at once"))?;
    line(out, 4, "keep_firing_for", &duration(alert.keep_firing, "ends at once"))?;
    match &alert.resolve_when {
        Some(expr) => line(out, 4, "resolve_when", &pretty(expr)),
        None => line(out, 4, "resolve_when", "its condition no longer holds [default]"),
    }
}

fn write_texts(out: &mut String, what: &str, texts: &Labels) -> fmt::Result {
    texts.iter().try_for_each(|(name, text)| line(out, 4, what, &format!("{name}: {}", text.trim_end())))
}

/// A name and a text, whose further lines stand below its first.
fn line(out: &mut String, indent: usize, name: &str, text: &str) -> fmt::Result {
    let text = text.replace('\n', &format!("\n{:width$}", "", width = indent + NAMES + 1));
    writeln!(out, "{:indent$}{name:<NAMES$} {text}", "")
}

/// `FILE:LINE:COLUMN`
pub(super) fn place(file: &Path, rule: &RuleSpec) -> String {
    format!("{}:{}:{}", file.display(), rule.line, rule.column)
}
