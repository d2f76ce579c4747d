//! `slo_files`: where the objectives are, and reading all of them.
//!
//! Invariant: either all files are good or none counts; every mistake of every file is told. No two objectives have one
//! id, because series are told apart by it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::file::{FileOptions, load_file};
use super::period::check_rolling;
use super::spec::Slo;
use super::warning::Warning;
use crate::config::{Section, files_of, read_file_patterns};

/// Most objectives of all files: each has some 22 rules, 138 KB of slots for 30 days, and queries of its own.
const MOST_SLOS: usize = 2_000;

/// The key `slo_files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SloSettings {
    /// Paths and patterns, relative ones from the folder of the file that names them.
    pub files: Vec<PathBuf>,
    /// `slo.default_period`, which is read elsewhere: the period of objectives that name none.
    pub default_period: Duration,
}

impl Default for SloSettings {
    fn default() -> Self {
        Self { files: Vec::new(), default_period: FileOptions::default().default_period }
    }
}

/// An objective and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct SloSource {
    /// The file as it was named.
    pub file: Arc<str>,
    /// What it says.
    pub slo: Arc<Slo>,
}

/// What all files hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadedSlos {
    /// The objectives, in their order.
    pub slos: Vec<SloSource>,
    /// What is right and yet odd, by file.
    pub warnings: Vec<(Arc<str>, Warning)>,
}

impl SloSettings {
    /// Reads the key from the top level of a file. Mistakes are noted in it.
    pub fn read(top: &mut Section<'_>) -> Self {
        Self { files: read_file_patterns(top, "slo_files", "SLO file"), ..Self::default() }
    }

    /// Reads the files. A pattern that fits nothing names none; a path without a pattern must be there.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn load(&self) -> Result<LoadedSlos, Vec<String>> {
        let paths = files_of(&self.files).map_err(|error| vec![format!("slo_files: {error}")])?;
        let (mut loaded, mut errors) = (LoadedSlos::default(), Vec::new());
        let mut ids = SloIds::default();
        if let Err(error) = check_rolling(self.default_period) {
            errors.push(format!("slo.default_period: {error}"));
        }
        let options = FileOptions { default_period: self.default_period };
        for path in &paths {
            let name: Arc<str> = path.display().to_string().into();
            let file = match load_file(path, &options) {
                Ok(file) => file,
                Err(error) => {
                    errors.push(error.to_string());
                    continue;
                }
            };
            for slo in file.slos {
                errors.extend(ids.add(&name, &slo).err());
                loaded.slos.push(SloSource { file: Arc::clone(&name), slo: Arc::new(slo) });
            }
            loaded.warnings.extend(file.warnings.into_iter().map(|warning| (Arc::clone(&name), warning)));
        }
        if loaded.slos.len() > MOST_SLOS {
            errors.push(format!("slo_files: {} SLOs, more than {MOST_SLOS}", loaded.slos.len()));
        }
        if errors.is_empty() { Ok(loaded) } else { Err(errors) }
    }
}

/// The ids of several files, and where each is used first.
#[derive(Debug, Default)]
pub struct SloIds(BTreeMap<String, String>);

impl SloIds {
    /// Adds that of an objective of a file.
    ///
    /// # Errors
    /// Another has it: the message, with both places.
    pub fn add(&mut self, file: &str, slo: &Slo) -> Result<(), String> {
        let place = format!("{file}:{}", slo.line);
        if let Some(first) = self.0.get(&slo.id()) {
            return Err(format!("{place}: the id {:?} is used twice; first in {first}", slo.id()));
        }
        self.0.insert(slo.id(), place);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn slo(name: &str) -> String {
        format!(
            "version: prometheus/v1\nservice: s\nslos:\n- name: {name}\n  objective: 99\n  sli: {{raw: {{error_ratio_query: 'rate(e[{{{{.window}}}}])'}}}}\n"
        )
    }

    #[test]
    fn files_are_read_together_and_ids_are_unique_among_them() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("o.yml", "slo_files: ['*.slo.yml', a.slo.yml, 'none*.yml']");
        write("a.slo.yml", &slo("a"));
        write("b.slo.yml", &slo("b"));
        let document = Document::load(&dir.path().join("o.yml"), &Limits::default()).unwrap();
        let settings = document.read(&Environment::off(), SloSettings::read).unwrap();
        let loaded = settings.load().unwrap();
        let ids: Vec<String> = loaded.slos.iter().map(|source| source.slo.id()).collect();
        assert_eq!(ids, ["s-a", "s-b"]);
        assert!(loaded.slos[0].file.ends_with("/a.slo.yml"), "{:?}", loaded.slos[0].file);

        write("b.slo.yml", &slo("a"));
        write("c.slo.yml", "version: 5");
        let errors = settings.load().unwrap_err();
        let shown = dir.path().display();
        assert_eq!(
            errors[0],
            format!("{shown}/b.slo.yml:4: the id \"s-a\" is used twice; first in {shown}/a.slo.yml:4")
        );
        assert!(errors[1].contains("c.slo.yml:1:") && errors.len() == 2, "{errors:?}");
    }
}
