//! `outrigger slo`: files of objectives, checked, shown, turned into rules, and played through.

mod report;
mod show;
mod simulate;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Outcome, complain, misunderstood, print};
use crate::model::PromDuration;
use crate::slo::{
    FileOptions, GenerateOptions, GeneratedGroup, Outage, SloFile, SloIds, check_rolling, generate,
    load_file, to_rule_file,
};

pub(super) fn command() -> Command {
    let files = |command: Command| {
        command
            .arg(
                Arg::new("file")
                    .value_name("FILE")
                    .num_args(1..)
                    .required(true)
                    .value_parser(value_parser!(PathBuf))
                    .help("Files of Sloth (prometheus/v1), OpenSLO (v1) or Pyrra (v1alpha1)"),
            )
            .arg(
                Arg::new("default-period")
                    .long("default-period")
                    .value_name("DURATION")
                    .default_value("30d")
                    .value_parser(default_period)
                    .help("Period of objectives that name none"),
            )
    };
    Command::new("slo")
        .about("Check, show and play through service level objectives, and write their rules")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            files(Command::new("check").about("Check files: every mistake and whatever is odd")).arg(
                Arg::new("lint-fatal")
                    .long("lint-fatal")
                    .action(ArgAction::SetTrue)
                    .help("Exit with 3 when something is odd"),
            ),
        )
        .subcommand(files(
            Command::new("show").about("Show objectives, their alerts in words, and their rules"),
        ))
        .subcommand(
            files(Command::new("generate").about("Write the rules of objectives as a Prometheus rule file"))
                .arg(
                    Arg::new("output")
                        .short('o')
                        .long("output")
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("Write them to this file instead of standard output"),
                ),
        )
        .subcommand(
            files(
                Command::new("simulate")
                    .about("Tell when each alert fires in an outage, and what that costs"),
            )
            .arg(
                Arg::new("error-rate")
                    .long("error-rate")
                    .value_name("PART")
                    .required(true)
                    .value_parser(simulate::error_rate)
                    .help("Part of the events that fails: 5% or 0.05"),
            )
            .arg(
                Arg::new("for")
                    .long("for")
                    .value_name("DURATION")
                    .value_parser(value_parser!(PromDuration))
                    .help("How long it lasts [default: without end]"),
            ),
        )
        .subcommand(report::with_arguments(files(
            Command::new("report").about(
                "Tell how the budgets stand, from the history in a store's folder or from an instance",
            ),
        )))
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    match matches.subcommand() {
        Some(("check", matches)) => check(matches),
        Some(("show", matches)) => {
            with_files(matches, |files| print(&show::show(files, &GenerateOptions::default())))
        }
        Some(("simulate", matches)) => with_files(matches, |files| {
            let error_rate = matches.get_one::<f64>("error-rate").copied().unwrap_or(1.0);
            let lasts = matches.get_one::<PromDuration>("for").copied().map(PromDuration::get);
            print(&simulate::text(files.iter().map(|(_, file)| file), &Outage { error_rate, lasts }))
        }),
        Some(("report", matches)) => report::run(matches),
        Some(("generate", matches)) => with_files(matches, |files| write_rules(matches, files)),
        _ => misunderstood("slo"),
    }
}

fn default_period(text: &str) -> Result<PromDuration, String> {
    let period = text.parse::<PromDuration>().map_err(|error| error.to_string())?;
    check_rolling(period.get()).map(|()| period)
}

/// All files, or `None` when one of them is wrong; each has been told.
fn load(matches: &ArgMatches) -> Option<Vec<(&Path, SloFile)>> {
    let default_period = matches.get_one::<PromDuration>("default-period").copied().map(PromDuration::get);
    let options =
        default_period.map_or_else(FileOptions::default, |default_period| FileOptions { default_period });
    let paths: Vec<&PathBuf> = matches.get_many::<PathBuf>("file").into_iter().flatten().collect();
    let mut files = Vec::with_capacity(paths.len());
    let (mut ids, mut errors) = (SloIds::default(), Vec::new());
    for path in &paths {
        match load_file(path, &options) {
            Ok(file) => {
                let name = path.display().to_string();
                errors.extend(file.slos.iter().filter_map(|slo| ids.add(&name, slo).err()));
                files.push((path.as_path(), file));
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    errors.iter().for_each(|error| complain(error));
    errors.is_empty().then_some(files)
}

fn with_files(matches: &ArgMatches, act: impl FnOnce(&[(&Path, SloFile)]) -> Outcome) -> Outcome {
    match load(matches) {
        Some(files) => act(&files),
        None => Ok(ExitCode::FAILURE),
    }
}

/// The objectives of a file, as `slo show` shows them.
pub(super) fn shown(path: &Path, file: SloFile) -> String {
    show::show(&[(path, file)], &GenerateOptions::default())
}

fn all_groups(files: &[(&Path, SloFile)]) -> Vec<GeneratedGroup> {
    let options = GenerateOptions::default();
    files.iter().flat_map(|(_, file)| &file.slos).flat_map(|slo| generate(slo, &options)).collect()
}

fn check(matches: &ArgMatches) -> Outcome {
    with_files(matches, |files| {
        let mut odd = 0;
        for (path, file) in files {
            let rules: usize = file
                .slos
                .iter()
                .flat_map(|slo| generate(slo, &GenerateOptions::default()))
                .map(|g| g.rules.len())
                .sum();
            print(&format!("SUCCESS: {}: {}, {rules} rules\n", path.display(), counted(file.slos.len())))?;
            for warning in &file.warnings {
                complain(&format!(
                    "{}:{}: {}: warning: {}",
                    path.display(),
                    warning.line,
                    warning.slo,
                    warning.message
                ));
            }
            odd += file.warnings.len();
        }
        Ok(if odd > 0 && matches.get_flag("lint-fatal") { ExitCode::from(3) } else { ExitCode::SUCCESS })
    })
}

fn write_rules(matches: &ArgMatches, files: &[(&Path, SloFile)]) -> Outcome {
    let text = to_rule_file(&all_groups(files));
    match matches.get_one::<PathBuf>("output") {
        None => print(&text),
        Some(path) => {
            replace(path, &text).with_context(|| path.display().to_string())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes a file so that who reads it never sees half of it. Its owner and mode stay, and a link stays a link.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path).or_else(|error| match fs::read_link(path) {
        // It points to what is not there yet.
        Ok(to) => Ok(path.parent().unwrap_or(Path::new("")).join(to)),
        Err(_) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(_) => Err(error),
    })?;
    let before = fs::metadata(&target).ok();
    if before.as_ref().is_some_and(|before| !before.is_file()) {
        // A pipe or a terminal takes what comes.
        return fs::write(&target, text);
    }
    let mut part = target.clone().into_os_string();
    part.push(".part");
    let write = || {
        let mut file = fs::File::create(&part)?;
        if let Some(before) = before {
            // Only root may give a file away.
            let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
            file.set_permissions(before.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        fs::rename(&part, &target)
    };
    write().inspect_err(|_| drop(fs::remove_file(&part)))
}

fn counted(slos: usize) -> String {
    format!("{slos} SLO{}", if slos == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_period_by_default_is_as_bounded_as_in_a_file() {
        assert_eq!(
            default_period("7d").map(PromDuration::get),
            Ok(std::time::Duration::from_secs(7 * 86_400))
        );
        for text in ["0s", "1h", "367d", "1d1m"] {
            let why = default_period(text).expect_err(text);
            assert_eq!(
                why,
                format!("the period of an SLO lasts from 1d to 366d in whole 5 minutes, not {text}")
            );
        }
        assert!(default_period("soon").is_err());
    }

    #[test]
    fn ids_are_unique_among_the_files() {
        let dir = tempfile::tempdir().expect("made");
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/slo/api.yml");
        let copy = dir.path().join("copy.yml");
        fs::copy(&example, &copy).expect("copied");
        let files = |files: &[&Path]| {
            let args = [Path::new("slo"), Path::new("check")].into_iter().chain(files.iter().copied());
            let matches = command().try_get_matches_from(args).expect("understood");
            load(matches.subcommand().expect("check").1).map(|files| files.len())
        };
        assert_eq!(files(&[&example]), Some(1));
        assert_eq!(files(&[&example, &copy]), None);
    }

    #[test]
    fn a_file_is_replaced_as_what_it_is() {
        let dir = tempfile::tempdir().expect("made");
        let [real, link, hanging, none] =
            ["real.yml", "link.yml", "hanging.yml", "none.yml"].map(|name| dir.path().join(name));
        fs::write(&real, "old").expect("written");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("set");
        symlink("real.yml", &link).expect("linked");
        symlink("none.yml", &hanging).expect("linked");
        for (path, target) in [(&link, &real), (&real, &real), (&hanging, &none)] {
            let text = format!("{}", path.display());
            replace(path, &text).expect("replaced");
            assert_eq!(fs::read_to_string(target).expect("there"), text);
        }
        assert_eq!(fs::metadata(&real).expect("there").permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink() && hanging.is_symlink());
        assert!(replace(dir.path(), "x").is_err());
        assert!(replace(&dir.path().join("no/folder"), "x").is_err());
        let full = dir.path().join("a".repeat(252));
        assert!(replace(&full, "x").is_err(), "no room for the name of the part");
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 4);
        assert!(!dir.path().with_extension("part").exists());
    }
}
