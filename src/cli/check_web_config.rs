//! `outrigger check web-config`: a file for `--web.config.file`, and the certificates that it names.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{Outcome, complain, print};
use crate::web::check_config_file;

pub(super) fn command() -> Command {
    Command::new("web-config").about("Check files for --web.config.file, and the certificates they name").arg(
        Arg::new("file")
            .value_name("FILE")
            .num_args(1..)
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help("Files to check"),
    )
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let mut status = ExitCode::SUCCESS;
    for file in matches.get_many::<PathBuf>("file").into_iter().flatten() {
        let shown = file.display();
        match check_config_file(file) {
            Ok(()) => {
                print(&format!("SUCCESS: {shown} is a valid web configuration\n"))?;
            }
            Err(error) => {
                complain(&format!("FAILED: {shown}\n{error}"));
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}
