//! The reference pages of flags and of the configuration file, made from the tables.

use std::fmt::Write as _;

use crate::collect::{Flag, FlagKind, Spec, specs};

use super::table::{Access, Effect, Row, rows};
use super::{DEFAULT_FILE, Settings, option_key};

const GENERATED: &str = "<!-- Generated from the source; `OUTRIGGER_UPDATE_REFERENCE=1 cargo test --test reference` writes it anew. -->";

/// `docs/reference/flags.md`.
pub fn flags_page() -> String {
    let mut page = format!("# Command-line flags\n\n{GENERATED}\n\n{FLAGS_INTRODUCTION}\n");
    let defaults = Settings::default();
    page.push_str("## General\n\n| flag | default | meaning |\n|---|---|---|\n");
    page.push_str("| `--config.file=FILE` | the built-in configuration | Configuration file. |\n");
    page.push_str("| `--version` | | Print version, revision and build, and exit. |\n");
    page.push_str("| `-h`, `--help` | | Print a summary, or all flags. `--help-long` is `--help`. |\n");
    for row in rows().iter().filter(|row| !row.flag.is_empty()) {
        let help = if row.hidden { format!("{} Not in `--help`.", row.help) } else { row.help.to_owned() };
        table_row(&mut page, &row_flag(row), &row.value(&defaults), &help);
    }
    page.push_str("\n## Collectors\n\n| flag | default | what it exposes |\n|---|---|---|\n");
    for spec in specs() {
        let default = if spec.on_by_default { "enabled" } else { "disabled" };
        table_row(&mut page, &format!("--[no-]collector.{}", spec.name), default, spec.help);
    }
    page.push_str("\n## Options of collectors\n\n| flag | default | meaning |\n|---|---|---|\n");
    for (_, flag) in options() {
        table_row(&mut page, &option_flag(flag), &default_of(flag.kind), &option_help(flag));
    }
    page
}

/// `docs/reference/configuration.md`.
pub fn configuration_page() -> String {
    let mut page = format!("# The configuration file\n\n{GENERATED}\n\n{FILE_INTRODUCTION}\n");
    let defaults = Settings::default();
    let mut section = "";
    for row in rows().iter().filter(|row| !row.key.is_empty()) {
        let name = row.key.split_once('.').map_or("", |(name, _)| name);
        if name != section {
            section = name;
            write_to(
                &mut page,
                format_args!(
                    "\n## `{name}`\n\n| key | default | takes effect | meaning |\n|---|---|---|---|\n"
                ),
            );
        }
        let effect = match row.effect {
            Effect::Reload => "on reload",
            Effect::Restart => "on restart",
            Effect::Call => "on each call",
        };
        let default = code(&row.value(&defaults));
        write_to(&mut page, format_args!("| `{}` | {default} | {effect} | {} |\n", row.key, cell(row.help)));
    }
    page.push_str(COLLECTORS_INTRODUCTION);
    page.push_str("| key | default | meaning |\n|---|---|---|\n");
    for spec in specs() {
        let key = format!("collect.collectors.{}", spec.name);
        table_row(&mut page, &key, if spec.on_by_default { "true" } else { "false" }, spec.help);
        for flag in spec.flags.iter().filter(|flag| !flag.hidden) {
            let key = format!("{key}.{}", option_key(spec, flag.name));
            table_row(&mut page, &key, &default_of(flag.kind), &option_help(flag));
        }
    }
    write_to(&mut page, format_args!("\n## The built-in configuration\n\n```yaml\n{DEFAULT_FILE}```\n"));
    page
}

const FLAGS_INTRODUCTION: &str = "\
`outrigger` alone means `outrigger run`; both take these flags. A flag wins over the configuration
file. `--flag value` and `--flag=value` are the same, the last one given counts, and a switch has a
`--no-` form, so that a node_exporter command line works as it is.
";

const FILE_INTRODUCTION: &str = "\
YAML, given with `--config.file`. `outrigger check config FILE` shows every mistake in a file, each
with its place; `outrigger check config --print-default` prints the built-in configuration below.

- Unknown and duplicate keys are errors.
- `${NAME}` in a value is replaced by the environment variable, `${NAME:-default}` by the default when
  that is missing or empty; `$$` is a `$`. A missing variable without a default is an error.
- A secret can come from a file instead: `password_file` for `password`. It is read at each use.
- Durations are Prometheus's (`500ms`, `30s`, `1h30m`), and so are sizes (`512KB`, `10MB`: powers of 1024).
- Relative paths start at the folder of the file.
- A file may have 4 MiB, 64 levels and 100,000 values, aliases counted as what they stand for.

SIGHUP, or `POST /-/reload` with `--web.enable-lifecycle`, reads the file again. A file with a mistake
changes nothing: what ran goes on, the mistakes are logged, and
`outrigger_config_last_reload_successful` is 0. A change to a key that takes effect on restart is
logged and has to wait for one.
";

const COLLECTORS_INTRODUCTION: &str = "
## Collectors

`collect.collectors.NAME` is `true`, `false`, or keys: `enabled`, and the collector's options under their
flags' names without the collector's prefix. Options alone do not enable a collector. A repeatable
option is a list. All of it takes effect on reload.

```yaml
collect:
  collectors:
    loadavg: false
    textfile: { directory: [/var/lib/outrigger] }
```

";

fn options() -> impl Iterator<Item = (&'static Spec, &'static Flag)> {
    specs().iter().flat_map(|spec| spec.flags.iter().map(move |flag| (*spec, flag)))
}

fn row_flag(row: &Row) -> String {
    match row.access {
        Access::Switch(..) => format!("--[no-]{}", row.flag),
        _ => format!("--{}={}", row.flag, row.value_name),
    }
}

fn option_flag(flag: &Flag) -> String {
    match value_name(flag.kind) {
        "" => format!("--[no-]collector.{}", flag.name),
        value => format!("--collector.{}={value}", flag.name),
    }
}

/// What stands for the value of a collector's option.
pub fn value_name(kind: FlagKind) -> &'static str {
    match kind {
        FlagKind::Switch(_) => "",
        FlagKind::Text(_) => "TEXT",
        FlagKind::List => "TEXT ...",
        FlagKind::Duration(_) => "DURATION",
        FlagKind::Number(_) => "NUMBER",
        FlagKind::Regex(_) => "REGEX",
    }
}

fn default_of(kind: FlagKind) -> String {
    match kind {
        FlagKind::Switch(on) => on.to_string(),
        FlagKind::Number(number) => number.to_string(),
        FlagKind::List => String::new(),
        FlagKind::Text(text) | FlagKind::Duration(text) | FlagKind::Regex(text) => text.to_owned(),
    }
}

fn option_help(flag: &Flag) -> String {
    if flag.hidden && !flag.help.starts_with("Deprecated") {
        format!("Deprecated. {}", flag.help)
    } else {
        flag.help.to_owned()
    }
}

fn table_row(page: &mut String, name: &str, default: &str, help: &str) {
    write_to(page, format_args!("| `{name}` | {} | {} |\n", code(default), cell(help)));
}

/// A value in a cell of a table.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

/// A bar would end the cell, in code as well.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn write_to(page: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(arguments);
}
