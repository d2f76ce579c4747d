//! `outrigger rules export`: rules for others who evaluate rules, in words that they understand.
//!
//! Invariant: whatever has no place there is named on standard error; a file is written out whole or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Arg, ArgMatches, Command, value_parser};

use super::rule_files::RuleFile;
use super::{Outcome, complain, print, rules_show};
use crate::slo::{GeneratedGroup, to_mimir, to_prometheus_rule, to_rule_file};

/// Longest name of an object in Kubernetes.
const LONGEST_NAME: usize = 253;

pub(super) fn command() -> Command {
    Command::new("export")
        .about("Write rule files and SLO files for Prometheus, Mimir or the Prometheus Operator")
        .after_help(
            "prometheus: one rule file with all groups. mimir: for mimirtool rules load, a namespace for each file. \
             prometheus-operator: a PrometheusRule for each file.\n\
             Short forms and SLOs are written out; what only outrigger has is left out, with a warning.",
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .required(true)
                .value_parser(["prometheus", "mimir", "prometheus-operator"])
                .help("Whose files to write"),
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .num_args(1..)
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Rule files, and files of objectives"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let (mut files, mut failed) = (Vec::new(), false);
    for path in matches.get_many::<PathBuf>("file").into_iter().flatten() {
        match RuleFile::load(path) {
            Ok(file) => files.push((path, file)),
            Err(errors) => {
                failed = true;
                complain(&errors);
            }
        }
    }
    if failed {
        return Ok(ExitCode::FAILURE);
    }
    let mut written = Vec::new();
    for (path, file) in files {
        for (rule, key) in file.own_keys() {
            let (place, name) = (rules_show::place(path, &rule), &rule.name);
            complain(&format!("{place}: warning: {name}: only outrigger knows {key}; it is left out"));
        }
        written.push((path.as_path(), file.into_groups()));
    }
    match matches.get_one::<String>("format").map(String::as_str) {
        Some("mimir") => print(&documents(&written, file_stem, to_mimir)?),
        Some("prometheus-operator") => print(&documents(&written, object_name, to_prometheus_rule)?),
        _ => print(&one_file(written)?),
    }
}

/// All groups in one file; each name once, as Prometheus demands.
fn one_file(files: Vec<(&Path, Vec<GeneratedGroup>)>) -> anyhow::Result<String> {
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    let mut all = Vec::new();
    for (path, groups) in files {
        for group in groups {
            if let Some(other) = names.insert(group.name.clone(), path) {
                bail!(
                    "{}: group {:?} is in {} as well, and a file may have only one of a name; export them one by one",
                    path.display(),
                    group.name,
                    other.display()
                );
            }
            all.push(group);
        }
    }
    Ok(to_rule_file(&all))
}

/// A document for each file, under a name that only it has.
fn documents(
    files: &[(&Path, Vec<GeneratedGroup>)],
    name: impl Fn(&Path) -> String,
    write: impl Fn(&str, &[GeneratedGroup]) -> String,
) -> anyhow::Result<String> {
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    let mut out = String::new();
    for (path, groups) in files {
        let name = name(path);
        if let Some(other) = names.insert(name.clone(), path) {
            let (path, other) = (path.display(), other.display());
            bail!("{path} and {other} would both be named {name:?}; export them one by one");
        }
        if !out.is_empty() {
            out.push_str("---\n");
        }
        out.push_str(&write(&name, groups));
    }
    Ok(out)
}

/// `rules/host.rules.yml`: `host`
fn file_stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = [".yaml", ".yml"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    stem.strip_suffix(".rules").unwrap_or(stem).to_owned()
}

/// The same as Kubernetes allows names: small letters, digits, `-` and `.` between them.
fn object_name(path: &Path) -> String {
    let fitting = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-' | '.') => c,
        _ => '-',
    };
    let name: String = file_stem(path).chars().map(fitting).take(LONGEST_NAME).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "rules".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        for (path, stem, object) in [
            ("rules/host.rules.yml", "host", "host"),
            ("My SLOs.yaml", "My SLOs", "my-slos"),
            ("_a..yml", "_a.", "a"),
            (".yml", "", "rules"),
            ("ä", "ä", "rules"),
        ] {
            let path = Path::new(path);
            assert_eq!((file_stem(path).as_str(), object_name(path).as_str()), (stem, object));
        }
    }
}
