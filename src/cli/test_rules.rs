//! `outrigger test rules FILE...`: unit tests of rules in promtool's format.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Outcome, complain_lines, print};
use crate::model::{Timestamp, search_regex};
use crate::rules::test_file::{FileReport, UnitTestOptions, run_file};

pub(super) fn command() -> Command {
    Command::new("rules")
        .about("Run unit tests of rules in promtool's format")
        .after_help("Status as promtool's: 0 all tests passed, 1 something failed")
        .arg(
            Arg::new("run")
                .long("run")
                .value_name("REGEX")
                .action(ArgAction::Append)
                .help("Only tests whose name matches; may be given more than once"),
        )
        .arg(
            Arg::new("diff")
                .long("diff")
                .action(ArgAction::SetTrue)
                .help("Show alerts that differ line by line"),
        )
        .arg(
            Arg::new("debug")
                .long("debug")
                .action(ArgAction::SetTrue)
                .help("Show all samples at the end of each test"),
        )
        .arg(
            Arg::new("junit")
                .long("junit")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write the results as JUnit XML, too"),
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .num_args(1..)
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Files of unit tests"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let patterns: Vec<&str> = matches.get_many::<String>("run").into_iter().flatten().map(|s| &**s).collect();
    let run = match patterns.is_empty() {
        true => None,
        false => Some(search_regex(&patterns.join("|")).context("--run")?),
    };
    let options = UnitTestOptions { run, diff: matches.get_flag("diff"), debug: matches.get_flag("debug") };
    let mut reports = Vec::new();
    for path in matches.get_many::<PathBuf>("file").into_iter().flatten() {
        let file = path.display().to_string();
        print(&format!("Unit Testing:  {file}\n"))?;
        let report = run_file(path, &options);
        show(&report)?;
        reports.push((file, report));
    }
    if let Some(path) = matches.get_one::<PathBuf>("junit") {
        let xml = junit(&reports, crate::app::now());
        std::fs::write(path, xml).with_context(|| path.display().to_string())?;
    }
    Ok(match reports.iter().any(|(_, report)| report.failed()) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn show(report: &FileReport) -> anyhow::Result<()> {
    for warning in &report.warnings {
        complain_lines(&format!("  WARNING: {warning}"));
    }
    for case in &report.cases {
        if let Some(dump) = &case.dump {
            print(&format!("DEBUG: Test {}\nDEBUG: {dump}\n", case.name))?;
        }
    }
    if !report.failed() {
        print("  SUCCESS\n\n")?;
        return Ok(());
    }
    let failures = report.cases.iter().flat_map(|case| &case.failures);
    let failures: Vec<&str> = report.error.iter().chain(failures).map(String::as_str).collect();
    complain_lines(&format!("  FAILED:\n{}", failures.join("\n")));
    print("\n")?;
    Ok(())
}

/// The results as JUnit has them: a suite a file, a case a test.
fn junit(reports: &[(String, FileReport)], now: Timestamp) -> String {
    let mut out = "<testsuites>".to_owned();
    for (file, report) in reports {
        let failures: usize = report.cases.iter().map(|case| case.failures.len()).sum();
        let errors = usize::from(report.error.is_some());
        let tests = report.cases.len();
        let time = crate::gotemplate::Time::utc(now.as_millis().saturating_mul(1_000_000));
        // Writing to a text cannot fail.
        let _ = write!(
            out,
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" timestamp=\"{}\">",
            escaped(file),
            tests + errors,
            time.formatted("2006-01-02T15:04:05Z07:00"),
        );
        for case in &report.cases {
            let _ = write!(out, "<testcase name=\"{}\">", escaped(&case.name));
            for failure in &case.failures {
                let _ = write!(out, "<failure>{}</failure>", escaped(failure));
            }
            out.push_str("</testcase>");
        }
        if let Some(error) = &report.error {
            let _ = write!(out, "<testcase name=\"\"><error>{}</error></testcase>", escaped(error));
        }
        out.push_str("</testsuite>");
    }
    out + "</testsuites>\n"
}

/// A text within XML, without the characters that XML cannot have.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\n' => out.push_str("&#xA;"),
            '\t' => out.push_str("&#x9;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}
