//! `outrigger completions SHELL`: a completion script on standard output.

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::{Shell, generate};

use super::{Outcome, print};

pub(super) fn command() -> Command {
    Command::new("completions")
        .about(
            "Print a completion script, as in: outrigger completions bash > /etc/bash_completion.d/outrigger",
        )
        .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)))
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let shell = matches.get_one::<Shell>("shell").copied().unwrap_or(Shell::Bash);
    let mut script = Vec::new();
    generate(shell, &mut super::command(), "outrigger", &mut script);
    print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_with_our_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            generate(shell, &mut super::super::command(), "outrigger", &mut script);
            assert!(String::from_utf8_lossy(&script).contains("web.listen-address"), "{shell}");
        }
    }
}
