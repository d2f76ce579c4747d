//! `rule_files`: where the rules are, and reading all of them.
//!
//! Invariant: either all files are good or none counts; every mistake of every file is told.

use std::fmt;
use std::path::PathBuf;

use super::builtin::BuiltinRules;
use super::context::AlertTiming;
use super::file::{FileOptions, load_file};
use super::spec::GroupSpec;
use crate::config::{Section, files_of, read_file_patterns};

/// The keys `rule_files` and `builtin_rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSettings {
    /// Paths and patterns, relative ones from the folder of the file that names them.
    pub files: Vec<PathBuf>,
    /// The key `builtin_rules`.
    pub builtin: BuiltinRules,
    /// `rules.alert`, which is read elsewhere.
    pub timing: AlertTiming,
}

/// What is wrong with rule files.
#[derive(Debug, thiserror::Error)]
pub struct RuleFileErrors(Vec<String>);

impl fmt::Display for RuleFileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl RuleSettings {
    /// Reads the keys from the top level of a file. Mistakes are noted in it.
    pub fn read(top: &mut Section<'_>) -> Self {
        let files = read_file_patterns(top, "rule_files", "rule file");
        Self { files, builtin: BuiltinRules::read(top), ..Self::default() }
    }

    /// Reads the files. A pattern that fits nothing names none; a path without a pattern must be there. A file that has
    /// the name of a built-in one stands in its place.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn load(&self, options: &FileOptions) -> Result<Vec<GroupSpec>, RuleFileErrors> {
        let (mut groups, mut errors) = (Vec::new(), Vec::new());
        let paths = files_of(&self.files).unwrap_or_else(|error| {
            errors.push(format!("rule_files: {error}"));
            Vec::new()
        });
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        match self.builtin.groups(&paths.iter().filter_map(name).collect()) {
            Ok(mut built_in) => groups.append(&mut built_in),
            Err(error) => errors.push(error),
        }
        for path in &paths {
            match load_file(path, options) {
                Ok(mut read) => groups.append(&mut read),
                Err(error) => errors.push(error.to_string()),
            }
        }
        if errors.is_empty() { Ok(groups) } else { Err(RuleFileErrors(errors)) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn settings(text: &str, directory: &Path) -> Result<RuleSettings, String> {
        let file = directory.join("o.yml");
        std::fs::write(&file, text).unwrap();
        let document = Document::load(&file, &Limits::default()).unwrap();
        document.read(&Environment::off(), RuleSettings::read).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_found_and_read_together() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.rules.yml", "groups: [{name: a, rules: [{record: x, expr: '1'}]}]");
        write("b.rules.yml", "groups: [{name: a}]");
        let text = "rule_files: ['*.rules.yml', a.rules.yml, 'none*.yml']\nbuiltin_rules: {enabled: false}";
        let groups = settings(text, dir.path()).unwrap().load(&FileOptions::default()).unwrap();
        let keys: Vec<String> = groups.iter().map(GroupSpec::key).collect();
        let shown = dir.path().display();
        assert_eq!(keys, [format!("{shown}/a.rules.yml;a"), format!("{shown}/b.rules.yml;a")]);

        write("b.rules.yml", "groups: [{name: a, rulez: []}]");
        write("c.rules.yml", "groups: 5");
        let text = "rule_files: ['*.rules.yml', missing.yml]";
        let error =
            settings(text, dir.path()).unwrap().load(&FileOptions::default()).unwrap_err().to_string();
        for part in [
            "b.rules.yml:1:20: group \"a\": rulez: unknown key",
            "c.rules.yml:1:9: groups: expected a list",
            "missing.yml: No such file",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let error = settings("rule_files: ['*/x.yml']", dir.path()).unwrap_err();
        assert!(error.contains("o.yml:1:14: rule_files[0]: invalid rule file path \"*/x.yml\""), "{error}");
    }
}
