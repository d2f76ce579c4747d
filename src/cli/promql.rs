//! `outrigger promql`: expressions formatted, or shown as the tree that is read from them.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Outcome, complain, print};
use crate::promql::{ParseOptions, parse, pretty, to_json};

pub(super) fn command() -> Command {
    let format = Command::new("format")
        .about("Print an expression as promtool does: sorted matchers, long ones over several lines")
        .arg(
            Arg::new("one-line")
                .long("one-line")
                .action(ArgAction::SetTrue)
                .help("Print it on one line, however long it is"),
        );
    let tree =
        Command::new("parse").about("Print the tree of an expression as JSON, as /api/v1/parse_query does");
    Command::new("promql")
        .about("Format or parse PromQL, all experimental syntax included")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_source(format))
        .subcommand(with_source(tree))
}

fn with_source(command: Command) -> Command {
    command
        .arg(
            Arg::new("expression")
                .value_name("EXPR")
                .allow_hyphen_values(true)
                .conflicts_with("file")
                .help("The expression; - or none: standard input"),
        )
        .arg(
            Arg::new("file")
                .long("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("A file that holds the expression"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let Some((name, matches)) = matches.subcommand() else { return super::misunderstood("promql") };
    let options = ParseOptions::all();
    let text = source(matches, options.max_length_bytes)?;
    let expr = match parse(&text, &options) {
        Ok(expr) => expr,
        Err(errors) => {
            let snippet = errors.snippet(&text).replace('\n', "\n  ");
            complain(&format!("{errors}\n  {snippet}"));
            return Ok(ExitCode::FAILURE);
        }
    };
    match name {
        "format" if matches.get_flag("one-line") => print(&format!("{expr}\n")),
        "format" => print(&format!("{}\n", pretty(&expr))),
        _ => print(&format!("{:#}\n", to_json(&expr))),
    }
}

/// The expression's text. Reads no further than what the parser refuses anyway.
fn source(matches: &ArgMatches, limit_bytes: usize) -> anyhow::Result<String> {
    let most = limit_bytes as u64 + 1;
    let mut text = String::new();
    match (matches.get_one::<PathBuf>("file"), matches.get_one::<String>("expression")) {
        (Some(path), _) => {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            file.take(most).read_to_string(&mut text).with_context(|| path.display().to_string())?;
        }
        (None, Some(expression)) if expression != "-" => text.clone_from(expression),
        (None, _) => {
            stdin().lock().take(most).read_to_string(&mut text).context("cannot read standard input")?;
        }
    }
    Ok(text)
}
