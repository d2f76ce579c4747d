//! `outrigger.yml`: the table's keys, and the collectors' own below `collect.collectors`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::checks::ChecksSettings;
use crate::collect::{Flag, FlagKind, OptionError, Spec, specs};
use crate::config::{Document, Documents, Environment, Errors, Limits, LoadError, Section, Value, closest};
use crate::model::ByteSize;
use crate::notify::NotifySettings;
use crate::remote_write::RemoteSettings;
use crate::rules::RuleSettings;
use crate::scorecard::ScorecardSettings;
use crate::scrape::ScrapeSettings;
use crate::slo::SloSettings;

use super::table::{Access, Row, rows};
use super::{CollectSettings, Settings, option_key};

/// The configuration that stands in for a file that is not given.
pub const DEFAULT_FILE: &str = include_str!("default.yml");

/// Far above any real file, and refused within some twenty milliseconds.
const LIMITS: Limits = Limits {
    size: ByteSize::new(1 << 20),
    depth: 64,
    nodes: 25_000,
    aliases: 1_000,
    errors: 100,
    documents: Documents::One,
};

/// Most items of a list, such as addresses to listen on.
const MOST_ITEMS: usize = 1_000;

/// What the default is called in errors and logs.
const DEFAULT_NAME: &str = "<default configuration>";

/// Reads a file, or the default when there is none.
///
/// # Errors
/// The file cannot be read, or is no YAML within the limits.
pub fn load_document(path: Option<&Path>) -> Result<Document, LoadError> {
    match path {
        Some(path) => Document::load(path, &LIMITS),
        None => Ok(default_document()?),
    }
}

/// [`DEFAULT_FILE`], parsed.
///
/// # Errors
/// None, as a test shows.
pub fn default_document() -> Result<Document, Errors> {
    Document::parse(DEFAULT_NAME, DEFAULT_FILE, &LIMITS)
}

/// The settings of a file: [`Settings::default`] where it says nothing.
///
/// # Errors
/// Every mistake in it.
pub fn read(document: &Document, environment: &Environment) -> Result<Settings, Errors> {
    let (mut settings, shown) = document.read_and_show(environment, |top| {
        let mut settings = Settings::default();
        read_level(top, "", &mut settings);
        settings.scrape = ScrapeSettings::read(top);
        settings.remote_write = RemoteSettings::read_all(top);
        settings.rules = RuleSettings { timing: settings.rules.timing, ..RuleSettings::read(top) };
        let default_period = settings.slos.default_period;
        settings.slos = SloSettings { default_period, ..SloSettings::read(top) };
        settings.scorecard = ScorecardSettings::read(top);
        settings.checks = ChecksSettings::read(top);
        settings.notify = NotifySettings::read(top, &settings.scrape.global.external_labels);
        settings
    })?;
    settings.shown_file = shown;
    Ok(settings)
}

/// The settings of the table's rows in a file that may have mistakes: what is wrong is left at its default. Enough to tell
/// where the instance answers and how it logs.
pub fn read_what_fits(document: &Document, environment: &Environment) -> Settings {
    document.read_what_fits(environment, |top| {
        let mut settings = Settings::default();
        read_level(top, "", &mut settings);
        settings
    })
}

/// Reads the rows whose keys start with `prefix` (empty, or ending in a dot) from their section.
fn read_level(section: &mut Section<'_>, prefix: &str, settings: &mut Settings) {
    let below = |row: &'static Row| Some((row, row.key.strip_prefix(prefix)?));
    let mut sections = BTreeSet::new();
    for (row, key) in rows().iter().filter_map(below).filter(|(_, key)| !key.is_empty()) {
        match key.split_once('.') {
            Some((name, _)) => {
                sections.insert(name);
            }
            None => read_row(section, row, key, settings),
        }
    }
    for name in sections {
        if let Some(mut inner) = section.take_section(name) {
            read_level(&mut inner, &format!("{prefix}{name}."), settings);
        }
    }
    if prefix == "collect."
        && let Some(mut collectors) = section.take_section("collectors")
    {
        read_collectors(&mut collectors, &mut settings.collect);
    }
    if prefix == "healthcheck.basic_auth." && settings.health.password.is_some() {
        section.require("username");
    }
}

fn read_row(section: &mut Section<'_>, row: &Row, key: &str, settings: &mut Settings) {
    match row.access {
        Access::Switch(_, set) => {
            if let Some(on) = section.take_bool(key) {
                set(settings, on);
            }
        }
        Access::One(_, set) => {
            if let Some(value) = section.take(key) {
                value.parse_with(&expected(row), |text| set(settings, text));
            }
        }
        Access::Many(_, set) => {
            let Some(items) = section.take_list(key) else { return };
            if items.len() > MOST_ITEMS {
                section.error(key, format!("more than {MOST_ITEMS} items"));
                return;
            }
            // Each alone first, so that an error stands at the item that is wrong.
            let one = |item: &Value<'_>| {
                let mut scratch = Settings::default();
                item.parse_with(&expected(row), |text| {
                    set(&mut scratch, &[text.to_owned()]).map(|()| text.to_owned())
                })
            };
            let texts: Option<Vec<String>> = items.iter().map(one).collect();
            if let Some(Err(message)) = texts.map(|texts| set(settings, &texts)) {
                section.error(key, message);
            }
        }
        Access::File(_, set) => {
            if let Some(path) = section.take_path(key) {
                set(settings, path);
            }
        }
        Access::Secret(_, set) => {
            if let Some(secret) = section.take_secret(key) {
                set(settings, secret);
            }
        }
    }
}

/// In words, for the case that the value itself must not be quoted.
fn expected(row: &Row) -> String {
    format!("a value that fits {}", if row.value_name.is_empty() { "true or false" } else { row.value_name })
}

fn read_collectors(section: &mut Section<'_>, settings: &mut CollectSettings) {
    for field in section.take_fields() {
        let name = field.key();
        let Some(spec) = specs().iter().find(|spec| spec.name == name) else {
            field.error_at_key(|| {
                let hint = closest(name, specs().iter().map(|spec| spec.name));
                let hint = hint.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
                format!("unknown collector{hint}")
            });
            continue;
        };
        let Some(value) = field.value() else { continue };
        if value.is_scalar() {
            if let Some(on) = value.bool() {
                settings.chosen.insert(spec.name, on);
            }
        } else if let Some(mut options) = value.section() {
            read_collector(&mut options, spec, settings);
        }
    }
}

/// Options alone do not switch a collector on: `enabled` does.
fn read_collector(section: &mut Section<'_>, spec: &'static Spec, settings: &mut CollectSettings) {
    if let Some(on) = section.take_bool("enabled") {
        settings.chosen.insert(spec.name, on);
    }
    // Former spellings are for command lines that exist; no file has them.
    for flag in spec.flags.iter().filter(|flag| !flag.hidden) {
        let Some(value) = section.take(option_key(spec, flag.name)) else { continue };
        read_option(&value, flag, settings);
    }
}

fn read_option(value: &Value<'_>, flag: &Flag, settings: &mut CollectSettings) {
    let mut set = |value: &Value<'_>, text: String| match settings.options.set(flag.name, &text) {
        Ok(()) => {}
        Err(OptionError::Invalid { why, .. }) => value.error(why),
        Err(other) => value.error(other.to_string()),
    };
    match flag.kind {
        FlagKind::Switch(_) => {
            if let Some(on) = value.bool() {
                set(value, on.to_string());
            }
        }
        FlagKind::List if !value.is_scalar() => {
            let items = value.list().unwrap_or_default();
            if items.len() > MOST_ITEMS {
                value.error(format!("more than {MOST_ITEMS} items"));
                return;
            }
            for item in items {
                if let Some(text) = item.str() {
                    set(&item, text);
                }
            }
        }
        FlagKind::Path => {
            if let Some(path) = value.path_buf() {
                set(value, path.display().to_string());
            }
        }
        _ => {
            if let Some(text) = value.str() {
                set(value, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::settings::{LogFormat, LogSettings};

    fn settings(text: &str) -> Result<Settings, String> {
        let environment = Environment::fixed([("PORT", "1234"), ("TIMEOUT", "hunter2")]);
        let document = Document::parse("o.yml", text, &LIMITS).map_err(|e| e.to_string())?;
        read(&document, &environment).map_err(|e| e.to_string())
    }

    #[test]
    fn the_built_in_file_says_what_the_defaults_are() {
        let document = default_document().unwrap();
        let settings_of_it = read(&document, &Environment::off()).unwrap();
        assert_eq!(Settings { shown_file: String::new(), ..settings_of_it }, Settings::default());
        // The examples in its comments are valid as well.
        let commented = DEFAULT_FILE.replace("  collectors: {}", "  collectors:").replace("\n  # ", "\n  ");
        assert_ne!(settings(&commented).unwrap(), Settings::default());
    }

    #[test]
    fn each_key_of_the_table_is_read() {
        for row in rows().iter().filter(|row| !row.key.is_empty()) {
            let text = match row.access {
                Access::Switch(get, _) => (!get(&Settings::default())).to_string(),
                Access::Many(..) if row.value_name == "NAME" => "[promql-duration-expr]".to_owned(),
                Access::Many(..) => "[\":1\", \":2\"]".to_owned(),
                _ => match row.value_name {
                    "LEVEL" => "error".to_owned(),
                    "FORMAT" => "json".to_owned(),
                    "NUMBER" => "17".to_owned(),
                    "SIZE" => "3KB".to_owned(),
                    "DURATION" => "17s".to_owned(),
                    "URL" => "'http://x/y'".to_owned(),
                    _ => "/x".to_owned(),
                },
            };
            let mut yaml = String::new();
            let parts: Vec<&str> = row.key.split('.').collect();
            for (depth, part) in parts.iter().enumerate() {
                yaml.push_str(&format!("{}{part}:", if depth == 0 { "" } else { " {" }));
            }
            yaml.push_str(&format!(" {text}"));
            if row.key == "healthcheck.basic_auth.password" {
                yaml.push_str(", username: u");
            }
            yaml.push_str(&"}".repeat(parts.len() - 1));
            let settings = settings(&yaml).unwrap_or_else(|error| panic!("{error}"));
            assert_ne!(row.value(&settings), row.value(&Settings::default()), "{yaml}");
        }
    }

    #[test]
    fn collectors_are_switched_and_set() {
        let settings = settings(
            "collect:\n  disable_defaults: true\n  collectors:\n    loadavg:\n    stat: {enabled: yes, softirq: true}\n",
        )
        .unwrap();
        assert_eq!(settings.collect.enabled().into_iter().collect::<Vec<_>>(), ["stat"]);
        assert!(settings.collect.options.switch("stat.softirq"));
    }

    #[test]
    fn every_mistake_has_its_place() {
        let text = "log: {level: loud, format: json}\nweb:\n  listen_adresses: [\":1\"]\n  listen_addresses: [\":${PORT}\", \"9780\"]\n  max_connections: 0\ncollect:\n  timeout: ${TIMEOUT}\n  collectors:\n    loadvag: true\n    stat: {softirq: maybe, fo: 1}\n    loadavg: [1]\nhealthcheck:\n  basic_auth: {password: hunter2}\n";
        let errors = settings(text).unwrap_err();
        let places: Vec<&str> = errors.lines().filter(|line| line.starts_with("o.yml:")).collect();
        assert_eq!(
            places,
            [
                "o.yml:1:14: log.level: expected one of debug, info, warn, error, found \"loud\"",
                "o.yml:3:3: web.listen_adresses: unknown key; did you mean \"listen_addresses\"?",
                "o.yml:4:34: web.listen_addresses[1]: address \"9780\": missing port; write \":9780\" for all interfaces or \"HOST:PORT\"",
                "o.yml:5:20: web.max_connections: expected a number above 0",
                "o.yml:7:12: collect.timeout: expected a value that fits DURATION; the environment gives something else (not shown)",
                "o.yml:9:5: collect.collectors.loadvag: unknown collector; did you mean \"loadavg\"?",
                "o.yml:10:21: collect.collectors.stat.softirq: expected true or false, found \"maybe\"",
                "o.yml:10:28: collect.collectors.stat.fo: unknown key; known here: enabled, softirq",
                "o.yml:11:14: collect.collectors.loadavg: expected keys and values, found a list",
                "o.yml:13:15: healthcheck.basic_auth: the key \"username\" is missing",
            ],
            "{errors}"
        );
        assert!(!errors.contains("hunter2"), "{errors}");
    }

    #[test]
    fn beside_mistakes_the_rest_is_read() {
        let text = "log: {level: loud, format: json}\nweb: {listen_addresses: [':1'], max_connections: 0, x: 1}\nrules: 5\nno: 1\n";
        let settings = read_what_fits(&Document::parse("o.yml", text, &LIMITS).unwrap(), &Environment::off());
        assert_eq!(settings.log.format, LogFormat::Json);
        let expected = Settings {
            log: LogSettings { format: LogFormat::Json, ..LogSettings::default() },
            web: settings.web.clone(),
            ..Settings::default()
        };
        assert_eq!((settings.web.serve.listen.len(), &settings), (1, &expected));
        assert_eq!(settings.web.serve.listen.first().unwrap().to_string(), ":1");
    }

    /// Each of these once cost, or would cost, seconds: each key compared with each other, each item of a
    /// list with settings of its own, a pattern of megabytes compiled.
    #[test]
    fn hostile_files_are_refused_at_a_limit() {
        let many = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
        let collectors = |name: &'static str| {
            let line = |number: usize| format!("    {name}{number}: true\n");
            format!("collect:\n  collectors:\n{}", many(12_000, &line))
        };
        let option = |value: &str| format!("collect: {{collectors: {value}}}\n");
        let pattern = |text: &str| option(&format!("{{netdev: {{device-exclude: '{text}'}}}}"));
        let deep: String = (0..60).map(|level| format!("{}k:\n", "  ".repeat(level))).collect();
        for (text, part) in [
            (collectors("nothing"), "unknown collector\n"),
            (collectors("loadavg"), "and 11900 more errors"),
            (many(12_000, &|number| format!("key{number}: 1\n")), "and 11900 more errors"),
            ("log: {}\n".repeat(12_000), "log: duplicate key; it is first set in line 1"),
            (format!("{deep}{}", format!("{}a: 1\n", "  ".repeat(60)).repeat(5_000)), "and 4900 more errors"),
            (format!("web: {{listen_addresses: [{}]}}", "':1', ".repeat(20_000)), "more than 1000 items"),
            (
                option(&format!("{{textfile: {{directory: [{}]}}}}", "/x, ".repeat(20_000))),
                "more than 1000 items",
            ),
            (pattern(&"(a|b)*".repeat(100_000)), "a regular expression of more than 8192 bytes"),
            (pattern(&"\\pL".repeat(2_500)), "Compiled regex exceeds size limit"),
            (pattern("((a{100}){100}){100}"), "Compiled regex exceeds size limit"),
            (format!("a: [{}]", "x, ".repeat(30_000)), "more than 25000 values"),
            (format!("a: {}", "x".repeat(2 << 20)), "larger than 1MiB"),
        ] {
            let head: String = text.chars().take(60).collect();
            let error = settings(&text).unwrap_err();
            assert!(error.contains(part), "{head}: {}", error.chars().take(300).collect::<String>());
            assert!(error.len() < 100_000, "{head}: {} bytes of errors", error.len());
        }
    }

    #[test]
    fn files_are_relative_to_the_file_that_names_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("o.yml");
        let text = "web: {config_file: web.yml}\nlog: {format: json}\ncollect: {collectors: {process: {config-path: p.yml}}}\n";
        std::fs::write(&file, text).unwrap();
        let settings = read(&load_document(Some(&file)).unwrap(), &Environment::off()).unwrap();
        assert_eq!(settings.web.serve.config_file, Some(dir.path().join("web.yml")));
        assert_eq!(settings.log.format, LogFormat::Json);
        let process = settings.collect.options.text("process.config-path");
        assert_eq!(process, dir.path().join("p.yml").display().to_string());
    }
}
