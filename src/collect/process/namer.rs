//! Which group a process belongs to: process-exporter's matchers and templates of names.
//!
//! Source: process-exporter's documentation of `process_names`, `-procnames` and `-namemapping`.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use crate::gotemplate::{Limits, List, Map, Missing, STRING_LIST, Struct, Template, Time, Type, Value};

/// What is known of a process when it is named.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    pub(super) comm: String,
    pub(super) command_line: Vec<String>,
    pub(super) cgroups: Vec<String>,
    pub(super) username: String,
    pub(super) pid: u32,
    pub(super) start_unix_nanos: i64,
}

/// An item of `process_names`: all conditions that are given must hold.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) comm: Option<Vec<String>>,
    pub(super) exe: Option<Vec<String>>,
    pub(super) command_line: Option<Vec<Regex>>,
    pub(super) name: Name,
}

/// How a group is named.
#[derive(Debug)]
pub(super) enum Name {
    /// `{{.ExeBase}}`, the default.
    ExeBase,
    /// `{{.Comm}}`, which most files have.
    Comm,
    Template(Template),
}

/// Names by comm with an expression over the command line, of `-namemapping`; `None`: the name alone.
pub(super) type Mapping = BTreeMap<String, Option<Regex>>;

/// All that was asked for.
#[derive(Debug)]
pub(super) enum Namer {
    /// The first that fits counts.
    Matchers(Vec<Matcher>),
    Mapping(Mapping),
}

/// A longer name of a group is cut.
const LONGEST_NAME_BYTES: usize = 1024;

const LIMITS: Limits =
    Limits { output_bytes: LONGEST_NAME_BYTES, steps: 10_000, depth: 50, made_bytes: 64 << 10 };

static DATA: Type = Type { name: "config.templateParams", missing: Missing::Nothing, methods: &[] };

static MATCHES: Type = Type { name: "map[string]string", missing: Missing::NothingOfTexts, methods: &[] };

impl Namer {
    /// The group of a process; `None` if nothing fits. An error is a template that failed.
    pub(super) fn group(&self, process: &Attributes) -> Result<Option<String>, String> {
        let mut name = self.whole_name(process)?;
        if let Some(name) = &mut name {
            let end = (0..=LONGEST_NAME_BYTES.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
            name.truncate(end.unwrap_or(0));
        }
        Ok(name)
    }

    fn whole_name(&self, process: &Attributes) -> Result<Option<String>, String> {
        match self {
            Self::Matchers(matchers) => {
                let joined = process.command_line.join(" ");
                let mut found = matchers.iter().filter_map(|m| Some((m, m.captures(process, &joined)?)));
                found.next().map(|(matcher, captures)| matcher.name.of(process, &captures)).transpose()
            }
            Self::Mapping(mapping) => Ok(mapped(mapping, process)),
        }
    }

    /// Whether any name needs the control groups.
    pub(super) fn wants_cgroups(&self) -> bool {
        let Self::Matchers(matchers) = self else { return false };
        matchers.iter().any(|m| matches!(&m.name, Name::Template(_)))
    }
}

fn mapped(mapping: &Mapping, process: &Attributes) -> Option<String> {
    let Some(regex) = mapping.get(&process.comm)? else { return Some(process.comm.clone()) };
    let joined = process.command_line.join(" ");
    let captures = regex.captures(&joined)?;
    let found = captures.iter().skip(1).flatten().find(|capture| !capture.is_empty())?;
    Some(format!("{}:{}", process.comm, found.as_str()))
}

type Captures = BTreeMap<Arc<str>, Value>;

impl Matcher {
    /// What its expressions captured, if all conditions hold.
    fn captures(&self, process: &Attributes, joined: &str) -> Option<Captures> {
        if let Some(comms) = &self.comm
            && !comms.contains(&process.comm)
        {
            return None;
        }
        if let Some(exes) = &self.exe {
            let exe = process.command_line.first()?;
            // With a slash the whole argument must be the same, otherwise its last part.
            let is = |wanted: &String| wanted == if wanted.contains('/') { exe } else { base(exe) };
            exes.iter().any(is).then_some(())?;
        }
        let mut captures = Captures::new();
        for regex in self.command_line.iter().flatten() {
            let found = regex.captures(joined)?;
            for (name, part) in regex.capture_names().zip(found.iter()) {
                let part = part.map_or("", |part| part.as_str());
                captures.insert(Arc::from(name.unwrap_or("")), Value::from(part));
            }
        }
        Some(captures)
    }
}

impl Name {
    pub(super) fn of(&self, process: &Attributes, captures: &Captures) -> Result<String, String> {
        let full = process.command_line.first().unwrap_or(&process.comm);
        match self {
            Self::ExeBase => Ok(base(full).to_owned()),
            Self::Comm => Ok(process.comm.clone()),
            Self::Template(template) => {
                let cgroups: Vec<Value> = process.cgroups.iter().map(|path| Value::from(&**path)).collect();
                let data = Value::Struct(Struct::new(
                    &DATA,
                    [
                        ("Cgroups", Value::List(List::new(&STRING_LIST, cgroups))),
                        ("Comm", Value::from(&*process.comm)),
                        ("ExeBase", Value::from(base(full))),
                        ("ExeFull", Value::from(&**full)),
                        ("Username", Value::from(&*process.username)),
                        ("PID", Value::Int(i64::from(process.pid))),
                        ("StartTime", Value::Time(Time::utc(process.start_unix_nanos))),
                        ("Matches", Value::Map(Map::new(&MATCHES, captures.clone()))),
                    ],
                ));
                template.expand(&data, &(), LIMITS)
            }
        }
    }
}

/// The last part of a path, as Go's `filepath.Base` has it.
fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed) {
        ("", _) => ".",
        (_, "") => "/",
        (_, trimmed) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_parts_of_paths() {
        for (path, want) in
            [("/usr/bin/x", "x"), ("x", "x"), ("/a/b/", "b"), ("", "."), ("/", "/"), ("//", "/")]
        {
            assert_eq!(base(path), want, "{path}");
        }
    }
}
