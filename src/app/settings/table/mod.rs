//! The table of settings: one row each, in a file for each part of the program.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::config::Secret;

use super::types::Settings;

/// One setting.
#[derive(Clone, Copy)]
pub struct Row {
    /// Flag without the dashes, such as `web.telemetry-path`; empty when only the file can set it.
    pub flag: &'static str,
    /// Key in the file, such as `web.telemetry_path`; empty when only the command line can set it.
    pub key: &'static str,
    /// Whether `--help` leaves it out.
    pub hidden: bool,
    /// What stands for the value in `--help`.
    pub value_name: &'static str,
    /// What it does, one or two sentences.
    pub help: &'static str,
    /// When a change in the file shows.
    pub effect: Effect,
    /// How it is read and written.
    pub access: Access,
}

/// When a change in the file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At the next reload.
    Reload,
    /// At the next start.
    Restart,
    /// At the next call of a subcommand.
    Call,
}

/// How a setting is read and written. Texts are as on the command line; an error says what is wrong.
#[derive(Clone, Copy)]
pub enum Access {
    /// On or off.
    Switch(fn(&Settings) -> bool, fn(&mut Settings, bool)),
    /// One value; the text is empty where there is none.
    One(fn(&Settings) -> String, fn(&mut Settings, &str) -> Result<(), String>),
    /// Several values, which replace those from before.
    Many(fn(&Settings) -> Vec<String>, fn(&mut Settings, &[String]) -> Result<(), String>),
    /// A path; a relative one starts at the file that holds it, or on the command line where that runs.
    File(fn(&Settings) -> Option<&Path>, fn(&mut Settings, PathBuf)),
    /// A secret; it has no flag, because everybody on the machine can read command lines.
    Secret(fn(&Settings) -> Option<&Secret>, fn(&mut Settings, Secret)),
}

impl Row {
    /// The value as text, for references and comparisons.
    pub fn value(&self, settings: &Settings) -> String {
        match self.access {
            Access::Switch(get, _) => get(settings).to_string(),
            Access::One(get, _) => get(settings),
            Access::Many(get, _) => get(settings).join(", "),
            Access::File(get, _) => get(settings).map(|path| path.display().to_string()).unwrap_or_default(),
            Access::Secret(get, _) => get(settings).map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Sets it from texts, the last of which counts unless there may be many.
    ///
    /// # Errors
    /// The text does not fit; the message says what would.
    pub fn set(&self, settings: &mut Settings, values: &[String]) -> Result<(), String> {
        let last = values.last().map_or("", String::as_str);
        match self.access {
            Access::Switch(_, set) => {
                let on = last.parse().map_err(|_| format!("expected true or false, found {last:?}"))?;
                set(settings, on);
                Ok(())
            }
            Access::One(_, set) => set(settings, last),
            Access::Many(_, set) => set(settings, values),
            Access::File(get, _) if last.is_empty() && get(settings).is_some() => {
                Err("expected a path, found nothing".to_owned())
            }
            Access::File(_, set) => {
                set(settings, PathBuf::from(last));
                Ok(())
            }
            Access::Secret(_, set) => {
                set(settings, Secret::inline(last));
                Ok(())
            }
        }
    }
}

/// All settings but the collectors' own.
pub fn rows() -> &'static [Row] {
    static ALL: LazyLock<Vec<Row>> = LazyLock::new(|| {
        [program::ROWS, web::ROWS, history::ROWS, scrape::ROWS, rules::ROWS, push::ROWS].concat()
    });
    &ALL
}

/// On or off.
macro_rules! switch {
    ($($field:ident).+) => { Access::Switch(|s| s.$($field).+, |s, on| s.$($field).+ = on) };
}

/// One value, made by a function from text.
macro_rules! one {
    ($($field:ident).+, $parse:expr) => { one!($($field).+, $parse, ToString::to_string) };
    ($($field:ident).+, $parse:expr, $show:expr) => {
        Access::One(
            |s| { let show: fn(&_) -> String = $show; show(&s.$($field).+) },
            |s, text| { s.$($field).+ = $parse(text)?; Ok(()) },
        )
    };
}

/// A text that may be absent.
macro_rules! optional {
    ($($field:ident).+) => {
        one!($($field).+, |text: &str| Ok::<_, String>(Some(text.to_owned())), |value: &Option<String>| {
            value.clone().unwrap_or_default()
        })
    };
}

/// A path that may be absent.
macro_rules! file {
    ($($field:ident).+) => {
        Access::File(
            |s| s.$($field).+.as_deref(),
            // An empty path is how exporter-toolkit's flag says "none".
            |s, path| s.$($field).+ = (!path.as_os_str().is_empty()).then_some(path),
        )
    };
}

/// A path that is always there.
macro_rules! path {
    ($($field:ident).+) => { Access::File(|s| Some(&s.$($field).+), |s, path| s.$($field).+ = path) };
}

/// A duration above zero.
macro_rules! wait {
    ($($field:ident).+) => { one!($($field).+, positive_duration, shown_duration) };
}

const fn row(
    flag: &'static str,
    key: &'static str,
    value_name: &'static str,
    effect: Effect,
    access: Access,
    help: &'static str,
) -> Row {
    Row { flag, key, hidden: false, value_name, help, effect, access }
}

mod history;
mod program;
mod push;
mod rules;
mod scrape;
mod web;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn flags_and_keys_are_unique_and_documented() {
        let (mut flags, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for row in rows() {
            assert!(row.flag.is_empty() || flags.insert(row.flag), "--{} twice", row.flag);
            assert!(row.key.is_empty() || keys.insert(row.key), "{} twice", row.key);
            assert!(!row.flag.is_empty() || !row.key.is_empty());
            assert!(row.help.ends_with('.'), "{}{}: a sentence", row.flag, row.key);
            assert_eq!(row.value_name.is_empty(), matches!(row.access, Access::Switch(..)), "{}", row.key);
        }
    }

    #[test]
    fn what_a_row_prints_it_also_reads() {
        let defaults = Settings::default();
        for row in rows().iter().filter(|row| !matches!(row.access, Access::Secret(..))) {
            let text = row.value(&defaults);
            if text.is_empty() {
                continue;
            }
            let mut settings = Settings::default();
            row.set(&mut settings, std::slice::from_ref(&text))
                .unwrap_or_else(|error| panic!("{}: {error}", row.key));
            assert_eq!(row.value(&settings), text, "{}", row.key);
            assert_eq!(settings, defaults, "{}", row.key);
        }
    }

    #[test]
    fn every_limit_of_the_http_face_has_a_key() {
        let fields = format!("{:?}", Settings::default().web.serve.limits).matches(": ").count();
        let is_limit = |row: &&Row| row.key.starts_with("web.limits.") || row.key.starts_with("web.max_");
        assert_eq!(rows().iter().filter(is_limit).count(), fields);
    }

    #[test]
    fn wrong_values_are_refused() {
        for (flag, wrong) in [
            ("log.level", "loud"),
            ("log.format", "xml"),
            ("web.listen-address", "9780"),
            ("web.telemetry-path", "metrics"),
            ("web.max-requests", "-1"),
            ("web.max-connections", "0"),
            ("path.procfs", ""),
            ("collector.timeout", "0s"),
            ("collector.timeout", "5"),
            ("collector.max-series", "many"),
            ("runtime.gomaxprocs", "0"),
        ] {
            let row = rows().iter().find(|row| row.flag == flag).unwrap();
            let mut settings = Settings::default();
            assert!(row.set(&mut settings, &[wrong.to_owned()]).is_err(), "{flag}={wrong}");
            assert_eq!(settings, Settings::default(), "{flag}={wrong}");
        }
    }
}
