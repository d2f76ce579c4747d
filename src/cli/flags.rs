//! The flags of `run`: made from the settings' table and the collectors' specs.
//!
//! Source: kingpin, which reads node_exporter's command line: `--flag value` and `--flag=value`, the
//! last one counts, `--no-flag` for switches, repeatable lists; a switch may be repeated as well.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::app::Invocation;
use crate::app::settings::{Access, Overrides, Row, Settings, rows, value_name};
use crate::collect::{Flag, FlagKind, OptionError, Options, Spec, specs};
use crate::config::Environment;

/// node_exporter's collectors that are not there, with the flags that they have besides. A command line
/// that names them works, without what they would expose.
const ABSENT_COLLECTORS: [(&str, &[&str]); 4] = [
    ("drm", &[]),
    (
        "perf",
        &[
            "perf.cache-profilers",
            "perf.cpus",
            "perf.disable-cache-profilers",
            "perf.disable-hardware-profilers",
            "perf.disable-software-profilers",
            "perf.hardware-profilers",
            "perf.software-profilers",
            "perf.tracepoint",
        ],
    ),
    ("runit", &["runit.servicedir"]),
    ("supervisord", &["supervisord.url"]),
];

const COLLECTORS: &str = "Collectors";
const COLLECTOR_OPTIONS: &str = "Options of collectors";

/// Adds every flag of `run`.
pub(super) fn with_run_flags(command: Command) -> Command {
    let command = command.args_override_self(true).arg(config_file()).arg(help_long());
    let command = rows().iter().filter(|row| !row.flag.is_empty()).fold(command, add_row);
    let command = specs().iter().fold(command, |command, spec| add_collector(command, spec));
    let command = specs().iter().flat_map(|spec| spec.flags).fold(command, add_option);
    ABSENT_COLLECTORS.iter().fold(command, |command, (name, flags)| add_absent(command, name, flags))
}

fn add_absent(command: Command, name: &'static str, flags: &'static [&'static str]) -> Command {
    let hidden = Shown { yes: false, no: false };
    let command = add_switch(command, &format!("collector.{name}"), "Not there", COLLECTORS, hidden);
    flags.iter().fold(command, |command, flag| {
        let name = format!("collector.{flag}");
        if flag.contains(".disable-") {
            return add_switch(
                command,
                &name,
                "Not there",
                COLLECTOR_OPTIONS,
                Shown { yes: false, no: false },
            );
        }
        let arg = Arg::new(name.clone()).long(name).action(ArgAction::Append).hide(true);
        command.arg(arg.help("Not there").help_heading(COLLECTOR_OPTIONS))
    })
}

/// `--config.file`.
pub(super) fn config_file() -> Arg {
    Arg::new("config.file")
        .long("config.file")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Configuration file; without it the built-in one (outrigger check config --print-default)")
}

/// kingpin's name for the long form of `--help`.
fn help_long() -> Arg {
    Arg::new("help-long").long("help-long").action(ArgAction::HelpLong).hide(true)
}

/// One flag of the table.
pub(super) fn add_row(command: Command, row: &'static Row) -> Command {
    let heading = match row.flag.split_once('.').map_or("", |(prefix, _)| prefix) {
        "log" => "Logging",
        "web" => "HTTP",
        "path" => "Paths",
        "collector" => "Collection",
        _ => "Other",
    };
    let default = row.value(&Settings::default());
    let mut help = row.help.trim_end_matches('.').to_owned();
    if !default.is_empty() && !matches!(row.access, Access::Switch(..)) {
        help = format!("{help} [default: {default}]");
    }
    if matches!(row.access, Access::Switch(..)) {
        return add_switch(command, row.flag, &help, heading, Shown { yes: !row.hidden, no: false });
    }
    let many = matches!(row.access, Access::Many(..));
    let parse =
        move |text: &str| row.set(&mut Settings::default(), &[text.to_owned()]).map(|()| text.to_owned());
    let arg = Arg::new(row.flag)
        .long(row.flag)
        .value_name(row.value_name)
        .action(if many { ArgAction::Append } else { ArgAction::Set })
        .value_parser(ValueParser::new(parse))
        .help_heading(heading)
        .hide(row.hidden)
        .help(help);
    command.arg(arg)
}

fn add_collector(command: Command, spec: &'static Spec) -> Command {
    // Shown in the form that changes something.
    let shown = Shown { yes: !spec.on_by_default, no: spec.on_by_default };
    add_switch(command, &format!("collector.{}", spec.name), spec.help, COLLECTORS, shown)
}

fn add_option(command: Command, flag: &'static Flag) -> Command {
    let name = format!("collector.{}", flag.name);
    let default = match flag.kind {
        FlagKind::Switch(on) => {
            let shown = Shown { yes: !flag.hidden && !on, no: !flag.hidden && on };
            return add_switch(command, &name, flag.help, COLLECTOR_OPTIONS, shown);
        }
        FlagKind::List | FlagKind::Path => String::new(),
        FlagKind::Number(number) => number.to_string(),
        FlagKind::Text(text) | FlagKind::Duration(text) | FlagKind::Regex(text) => text.to_owned(),
    };
    let help = flag.help.trim_end_matches('.');
    let help = if default.is_empty() { help.to_owned() } else { format!("{help} [default: {default}]") };
    let parse = |text: &str| match Options::default().set(flag.name, text) {
        Ok(()) => Ok(text.to_owned()),
        Err(OptionError::Invalid { why, .. }) => Err(why),
        Err(other) => Err(other.to_string()),
    };
    let arg = Arg::new(name.clone())
        .long(name)
        .value_name(value_name(flag.kind).trim_end_matches(" ..."))
        .action(if flag.kind == FlagKind::List { ArgAction::Append } else { ArgAction::Set })
        .allow_negative_numbers(matches!(flag.kind, FlagKind::Number(_)))
        .value_parser(ValueParser::new(parse))
        .help_heading(COLLECTOR_OPTIONS)
        .hide(flag.hidden)
        .hide_short_help(true)
        .help(help);
    command.arg(arg)
}

/// Which forms of a switch `--help` shows.
struct Shown {
    yes: bool,
    no: bool,
}

fn add_switch(command: Command, name: &str, help: &str, heading: &'static str, shown: Shown) -> Command {
    let no_name = format!("no-{name}");
    let help = help.trim_end_matches('.').to_owned();
    let of_collector = matches!(heading, COLLECTORS | COLLECTOR_OPTIONS);
    let arg = |own: &str, other: &str, show: bool| {
        Arg::new(own.to_owned())
            .long(own.to_owned())
            .action(ArgAction::SetTrue)
            .overrides_with(other.to_owned())
            .help_heading(heading)
            .hide(!show)
            .hide_short_help(of_collector)
            .help(help.clone())
    };
    command.arg(arg(name, &no_name, shown.yes)).arg(arg(&no_name, name, shown.no))
}

/// What was given, of the flags that `command` has.
pub(super) fn invocation(matches: &ArgMatches) -> Invocation {
    Invocation {
        config_file: matches.get_one::<PathBuf>("config.file").cloned(),
        overrides: overrides(matches),
        environment: Environment::process(),
    }
}

fn overrides(matches: &ArgMatches) -> Overrides {
    let asked_for = |name: &&'static str| switch(matches, &format!("collector.{name}")) == Some(true);
    let absent = ABSENT_COLLECTORS.iter().map(|(name, _)| *name).filter(asked_for).collect();
    let mut overrides = Overrides { absent, ..Overrides::default() };
    for row in rows().iter().filter(|row| !row.flag.is_empty()) {
        let given = match row.access {
            Access::Switch(..) => switch(matches, row.flag).map(|on| vec![on.to_string()]),
            _ => values(matches, row.flag),
        };
        overrides.rows.extend(given.map(|values| (row.flag, values)));
    }
    for spec in specs() {
        if let Some(on) = switch(matches, &format!("collector.{}", spec.name)) {
            overrides.chosen.insert(spec.name, on);
        }
        for flag in spec.flags {
            let name = format!("collector.{}", flag.name);
            let given = match flag.kind {
                FlagKind::Switch(_) => switch(matches, &name).map(|on| vec![on.to_string()]),
                _ => values(matches, &name),
            };
            overrides.options.extend(given.map(|values| (flag.name, values)));
        }
    }
    overrides
}

/// Of a switch and its `--no-` form only the last one given is left.
fn switch(matches: &ArgMatches, name: &str) -> Option<bool> {
    let given = |name: &str| matches!(matches.try_get_one::<bool>(name), Ok(Some(true)));
    if given(name) {
        Some(true)
    } else if given(&format!("no-{name}")) {
        Some(false)
    } else {
        None
    }
}

fn values(matches: &ArgMatches, name: &str) -> Option<Vec<String>> {
    Some(matches.try_get_many::<String>(name).ok()??.cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Settings, String> {
        let arguments = std::iter::once("outrigger").chain(line.split_whitespace());
        let matches = super::super::command().try_get_matches_from(arguments).map_err(|e| e.to_string())?;
        let mut settings = Settings::default();
        overrides(&matches).apply(&mut settings)?;
        Ok(settings)
    }

    #[test]
    fn flags_are_read_as_kingpin_reads_them() {
        let settings = parse(
            "--log.level debug --log.level=warn --web.listen-address=:1 --web.listen-address unix:/x \
             --collector.disable-defaults --collector.disable-defaults --collector.loadavg \
             --collector.timeout=2s --no-web.enable-lifecycle --web.enable-lifecycle --path.rootfs=/host \
             --runtime.gomaxprocs=1 --web.config.file=",
        )
        .unwrap();
        assert_eq!(settings.log.level.to_string(), "warn");
        let listen: Vec<_> = settings.web.serve.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, [":1", "unix:/x"]);
        assert_eq!(settings.collect.enabled().into_iter().collect::<Vec<_>>(), ["loadavg"]);
        assert_eq!(settings.collect.timeout.as_secs(), 2);
        assert!(settings.web.enable_lifecycle);
        assert_eq!(settings.path.rootfs, PathBuf::from("/host"));
        assert_eq!(settings.worker_threads, Some(1));
        assert_eq!(settings.web.serve.config_file, None);
    }

    #[test]
    fn the_command_line_of_the_helm_chart_works() {
        let settings = parse(
            "--path.procfs=/host/proc --path.sysfs=/host/sys --path.rootfs=/host/root \
             --path.udev.data=/host/root/run/udev/data --web.listen-address=[10.0.0.1]:9100 \
             --collector.filesystem.mount-points-exclude=^/(dev|proc|sys|run/containerd/.+|var/lib/kubelet/.+)($|/) \
             --collector.filesystem.fs-types-exclude=^(autofs|binfmt_misc|bpf|cgroup2?|tracefs|erofs)$",
        )
        .unwrap();
        assert_eq!(settings.path.udev_data, PathBuf::from("/host/root/run/udev/data"));
        assert_eq!(settings.web.serve.listen.first().unwrap().to_string(), "10.0.0.1:9100");
        let exclude = settings.collect.options.regex("filesystem.mount-points-exclude").unwrap();
        assert!(exclude.is_match("/var/lib/kubelet/pods") && !exclude.is_match("/data"));
    }

    #[test]
    fn collectors_that_are_not_there_are_understood() {
        let line = "--collector.perf --collector.perf.cpus=0-3 --collector.perf.disable-cache-profilers \
                    --no-collector.drm --collector.runit.servicedir=/x --collector.supervisord --no-collector.supervisord";
        let arguments = std::iter::once("outrigger").chain(line.split_whitespace());
        let matches = super::super::command().try_get_matches_from(arguments).unwrap();
        assert_eq!(overrides(&matches).absent, ["perf"]);
        for (name, _) in ABSENT_COLLECTORS {
            assert!(specs().iter().all(|spec| spec.name != name), "{name} is there");
        }
    }

    #[test]
    fn of_a_switch_and_its_negation_the_last_counts() {
        for (line, on) in [
            ("--collector.loadavg --no-collector.loadavg", false),
            ("--no-collector.loadavg --collector.loadavg", true),
            ("--collector.loadavg --no-collector.loadavg --collector.loadavg", true),
            ("--no-collector.loadavg --no-collector.loadavg", false),
        ] {
            assert_eq!(parse(line).unwrap().collect.enabled().contains("loadavg"), on, "{line}");
        }
    }

    #[test]
    fn every_option_of_every_collector_is_a_flag() {
        for flag in specs().iter().flat_map(|spec| spec.flags) {
            let (line, set) = match flag.kind {
                FlagKind::Switch(on) => {
                    (format!("--{}collector.{}", if on { "no-" } else { "" }, flag.name), !on)
                }
                FlagKind::Duration(_) => (format!("--collector.{}=7s", flag.name), true),
                _ => (format!("--collector.{}=7", flag.name), true),
            };
            let options = parse(&line).unwrap_or_else(|error| panic!("{line}: {error}")).collect.options;
            assert!(options.is_set(flag.name), "{line}");
            if matches!(flag.kind, FlagKind::Switch(_)) {
                assert_eq!(options.switch(flag.name), set, "{line}");
            }
        }
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        for (line, part) in [
            ("--web.listen-adress=:1", "'--web.listen-address'"),
            ("--log.level=loud", "expected one of debug, info, warn, error, found \"loud\""),
            ("--log.level", "a value is required"),
            ("--web.max-requests=-1", "expected a whole number"),
            ("--collector.timeout=5", "not a valid duration"),
            ("--collector.nope", "unexpected argument"),
            ("--collector.loadavg=true", "unexpected value"),
            ("nope", "unrecognized subcommand"),
            ("--log.level=info check config x", "cannot be used with"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
