//! `outrigger.yml`: the table's keys, and the collectors' own below `collect.collectors`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::collect::{Flag, FlagKind, OptionError, Spec, specs};
use crate::config::{Document, Environment, Errors, Limits, LoadError, Section, Value, closest};

use super::table::{Access, Row, rows};
use super::{CollectSettings, Settings, option_key};

/// The configuration that stands in for a file that is not given.
pub const DEFAULT_FILE: &str = include_str!("default.yml");

/// What the default is called in errors and logs.
const DEFAULT_NAME: &str = "<default configuration>";

/// Reads a file, or the default when there is none.
///
/// # Errors
/// The file cannot be read, or is no YAML within the limits.
pub fn load_document(path: Option<&Path>) -> Result<Document, LoadError> {
    match path {
        Some(path) => Document::load(path, &Limits::default()),
        None => Ok(default_document()?),
    }
}

/// [`DEFAULT_FILE`], parsed.
///
/// # Errors
/// None, as a test shows.
pub fn default_document() -> Result<Document, Errors> {
    Document::parse(DEFAULT_NAME, DEFAULT_FILE, &Limits::default())
}

/// The settings of a file: [`Settings::default`] where it says nothing.
///
/// # Errors
/// Every mistake in it.
pub fn read(document: &Document, environment: &Environment) -> Result<Settings, Errors> {
    document.read(environment, |top| {
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
    for name in section.keys() {
        let Some(spec) = specs().iter().find(|spec| spec.name == name) else {
            let hint = closest(name, specs().iter().map(|spec| spec.name));
            let hint = hint.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
            section.take(name);
            section.error(name, format!("unknown collector{hint}"));
            continue;
        };
        let Some(value) = section.take(name) else { continue };
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
    for flag in spec.flags {
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
            for item in value.list().unwrap_or_default() {
                if let Some(text) = item.str() {
                    set(&item, text);
                }
            }
        }
        _ => {
            if let Some(text) = value.str() {
                set(value, text);
            }
        }
    }
}
