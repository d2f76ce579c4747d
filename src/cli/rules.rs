//! `outrigger rules`: what concerns rule files.

use clap::{ArgMatches, Command};

use super::{Outcome, check_rules, misunderstood, rules_export, rules_show};

pub(super) fn command() -> Command {
    Command::new("rules")
        .about("Recording and alerting rules: check them, show them in full, hand them over")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(check_rules::command("check"))
        .subcommand(rules_show::command())
        .subcommand(rules_export::command())
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    match matches.subcommand() {
        Some(("check", matches)) => check_rules::run(matches),
        Some(("show", matches)) => rules_show::run(matches),
        Some(("export", matches)) => rules_export::run(matches),
        _ => misunderstood("rules"),
    }
}
