//! What the command line sets: put over each configuration that is read, at the start and at reloads.

use std::collections::BTreeMap;

use super::Settings;
use super::table::rows;

/// Values from the command line, by flag, without the dashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Flags of the table.
    pub rows: Vec<(&'static str, Vec<String>)>,
    /// `--collector.NAME` and `--no-collector.NAME`.
    pub chosen: BTreeMap<&'static str, bool>,
    /// Collectors' own flags, without the prefix `collector.`.
    pub options: Vec<(&'static str, Vec<String>)>,
    /// Collectors of node_exporter's that were asked for and are not there.
    pub absent: Vec<&'static str>,
}

impl Overrides {
    /// Puts them over `settings`. A repeatable flag replaces the file's list.
    ///
    /// # Errors
    /// A value does not fit its flag; the message names both.
    pub fn apply(&self, settings: &mut Settings) -> Result<(), String> {
        for (flag, values) in &self.rows {
            let row = rows().iter().find(|row| row.flag == *flag);
            let row = row.ok_or_else(|| format!("unknown flag --{flag}"))?;
            row.set(settings, values).map_err(|error| format!("--{flag}: {error}"))?;
        }
        for (name, on) in &self.chosen {
            settings.collect.chosen.insert(name, *on);
        }
        for (flag, values) in &self.options {
            settings.collect.options.unset(flag);
            for value in values {
                let set = settings.collect.options.set(flag, value);
                set.map_err(|error| format!("--collector.{flag}: {error}"))?;
            }
        }
        Ok(())
    }
}
