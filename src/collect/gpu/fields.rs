//! Which families are wanted: dcgm-exporter's defaults, names, or a file in dcgm-exporter's format,
//! `DCGM field, Prometheus type, help` a line, `#` before a comment.
//!
//! A field that DCGM has and NVML has not is left out with a warning, so that a file made for dcgm-exporter
//! works, and so is a number that is to be a label, which would make a new series of each value; a name that is no
//! field of DCGM's, or a type that is none, is an error with its line.

use std::fs::File;
use std::io::Read as _;

use super::families::{FAMILIES, Family, LABELS};
use super::reading::Wanted;
use crate::collect::BuildError;
use crate::model::Kind;

/// Most bytes of a file of counters; dcgm-exporter's own has 8 kB.
const LARGEST_FILE: u64 = 256 << 10;

/// A family, with the type and help that a file gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) family: &'static Family,
    pub(super) kind: Kind,
    pub(super) help: String,
}

/// What was selected.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Selection {
    pub(super) families: Vec<Chosen>,
    pub(super) labels: Vec<&'static str>,
}

/// What a file asks for and is not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Fields of DCGM that NVML does not give.
    pub(super) unknown: Vec<String>,
    /// Numbers that are to be labels, each after its line and column.
    pub(super) numbers: Vec<String>,
}

/// Whether the flag is a file's path.
pub(super) fn is_file(flag: &str) -> bool {
    flag.contains('/') || flag.ends_with(".csv")
}

impl Selection {
    /// From the flag: nothing (the defaults), a list of names, `default` and `all`, or a file's path.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn read(flag: &str) -> Result<Self, BuildError> {
        if is_file(flag) { Self::read_file(flag) } else { Self::from_names(flag) }.map_err(refuse)
    }

    fn from_names(names: &str) -> Result<Self, String> {
        let mut selection = Self::default();
        let names = if names.trim().is_empty() { "default" } else { names };
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "default" | "all" => {
                    let all = name == "all";
                    FAMILIES
                        .iter()
                        .filter(|f| all || f.by_default)
                        .for_each(|f| selection.add(f, f.kind, f.help));
                    LABELS
                        .iter()
                        .filter(|(_, on)| all || *on)
                        .for_each(|(label, _)| selection.add_label(label));
                }
                _ if selection.add_named(name, None, None)? => {}
                _ => return Err(format!("NVML has no {name}, which is a field of DCGM")),
            }
        }
        Ok(selection)
    }

    fn read_file(path: &str) -> Result<Self, String> {
        let mut text = String::new();
        let file = File::open(path).map_err(|e| format!("cannot open {path}: {e}"))?;
        let read = file.take(LARGEST_FILE + 1).read_to_string(&mut text);
        let length = read.map_err(|e| format!("cannot read {path}: {e}"))?;
        if length as u64 > LARGEST_FILE {
            return Err(format!("{path} is larger than {} KiB", LARGEST_FILE >> 10));
        }
        let (selection, left_out) = Self::from_csv(&text).map_err(|what| format!("{path}:{what}"))?;
        let LeftOut { unknown, numbers } = left_out;
        if !unknown.is_empty() {
            let fields = unknown.join(", ");
            tracing::warn!(path, fields, "Left out fields of DCGM that NVML does not give");
        }
        for field in numbers {
            let at = format!("{path}:{field}");
            tracing::warn!(at, "Left out a number that is to be a label; use gauge, counter or untyped");
        }
        Ok(selection)
    }

    /// The selection, and what is left out of it; an error begins with its line and column.
    pub(super) fn from_csv(text: &str) -> Result<(Self, LeftOut), String> {
        let (mut selection, mut left_out) = (Self::default(), LeftOut::default());
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.trim().starts_with('#') {
                continue;
            }
            let parts = split(line).map_err(|(at, what)| format!("{number}:{at}: {what}"))?;
            let mut parts = parts.iter().map(|(at, part)| (*at, &**part));
            let (Some((begin, name)), Some((at, kind))) = (parts.next(), parts.next()) else {
                let line = line.trim();
                return Err(format!("{number}:1: expected `field, type, help`, found {line:?}"));
            };
            let kind = match kind {
                "gauge" => Some(Kind::Gauge),
                "counter" => Some(Kind::Counter),
                "untyped" => Some(Kind::Untyped),
                "label" => None,
                _ => {
                    return Err(format!(
                        "{number}:{at}: {kind:?} is no type; use gauge, counter, untyped or label"
                    ));
                }
            };
            let help = parts.next().map(|(_, help)| help).filter(|help| !help.is_empty());
            if kind.is_none() && FAMILIES.iter().any(|family| family.name == name) {
                left_out.numbers.push(format!("{number}:{at}: {name}"));
                continue;
            }
            let added = match kind {
                Some(kind) => selection.add_named(name, Some(kind), help),
                None => selection.add_label_named(name),
            };
            if !added.map_err(|what| format!("{number}:{begin}: {what}"))? {
                left_out.unknown.push(name.to_owned());
            }
        }
        Ok((selection, left_out))
    }

    /// Whether it is one that can be given.
    fn add_named(&mut self, name: &str, kind: Option<Kind>, help: Option<&str>) -> Result<bool, String> {
        if let Some(family) = FAMILIES.iter().find(|family| family.name == name) {
            self.add(family, kind.unwrap_or(family.kind), help.unwrap_or(family.help));
            return Ok(true);
        }
        self.add_label_named(name)
    }

    fn add_label_named(&mut self, name: &str) -> Result<bool, String> {
        if let Some((label, _)) = LABELS.iter().find(|(label, _)| *label == name) {
            self.add_label(label);
            return Ok(true);
        }
        match name.starts_with("DCGM_") {
            true => Ok(false),
            false => Err(format!("{name:?} is no field of DCGM; their names begin with DCGM_")),
        }
    }

    /// The last one of a name counts.
    fn add(&mut self, family: &'static Family, kind: Kind, help: &str) {
        self.families.retain(|chosen| chosen.family != family);
        self.families.push(Chosen { family, kind, help: help.to_owned() });
    }

    fn add_label(&mut self, label: &'static str) {
        if !self.labels.contains(&label) {
            self.labels.push(label);
        }
    }

    /// What a GPU has to be asked for.
    pub(super) fn wanted(&self) -> Wanted {
        self.families.iter().flat_map(|chosen| chosen.family.of).copied().collect()
    }
}

/// A line's name, type and help, each after its column; commas of the help are its own. An error has a column, too.
fn split(line: &str) -> Result<Vec<(usize, String)>, (usize, &'static str)> {
    let (mut parts, mut column) = (Vec::new(), 1);
    for part in line.splitn(3, ',') {
        let at = column + part.len() - part.trim_start().len();
        parts.push((at, unquote(part.trim()).map_err(|what| (at, what))?));
        column += part.len() + 1;
    }
    Ok(parts)
}

/// What a part says, which may stand in quotes; those within it are doubled then.
fn unquote(part: &str) -> Result<String, &'static str> {
    let Some(quoted) = part.strip_prefix('"') else { return Ok(part.to_owned()) };
    let inner = quoted.strip_suffix('"').filter(|inner| !inner.replace("\"\"", "").contains('"'));
    let inner = inner.ok_or("what begins with a quote ends with one, and those within it are doubled")?;
    Ok(inner.replace("\"\"", "\""))
}

fn refuse(what: String) -> BuildError {
    BuildError { collector: "gpu", what: format!("--collector.gpu.fields: {what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_defaults_and_all() {
        let default = Selection::read("").unwrap();
        assert_eq!(default.labels, ["DCGM_FI_DRIVER_VERSION"]);
        assert_eq!(default.families.len(), FAMILIES.iter().filter(|f| f.by_default).count());
        assert_eq!(default, Selection::read("default").unwrap());
        assert_eq!(Selection::read("all").unwrap().families.len(), FAMILIES.len());
        let some = Selection::read("DCGM_FI_DEV_GPU_TEMP, DCGM_FI_DEV_SERIAL").unwrap();
        assert_eq!((some.families.len(), some.labels.len()), (1, 1));
        let more = Selection::read("default,DCGM_FI_DEV_PSTATE,DCGM_FI_DEV_PSTATE").unwrap();
        assert_eq!(more.families.len(), default.families.len() + 1);
        for (flag, want) in [
            ("temperature", "--collector.gpu.fields: \"temperature\" is no field of DCGM"),
            ("DCGM_FI_DEV_GPU_MAX_OP_TEMP", "NVML has no DCGM_FI_DEV_GPU_MAX_OP_TEMP"),
            ("/does/not/exist.csv", "cannot open /does/not/exist.csv"),
        ] {
            let error = Selection::read(flag).unwrap_err().to_string();
            assert!(error.contains(want), "{flag}: {error}");
        }
    }

    #[test]
    fn a_file_of_dcgm_exporter() {
        let text = "# Format\n\nDCGM_FI_DEV_SM_CLOCK,  gauge, SM clock, in MHz.\n# DCGM_FI_DEV_PSTATE, gauge, x\n\
            DCGM_FI_DRIVER_VERSION, label, Driver Version\nDCGM_EXP_CLOCK_EVENTS_COUNT, gauge, x\n\
            DCGM_FI_DEV_XID_ERRORS, counter\n";
        let (selection, left_out) = Selection::from_csv(text).unwrap();
        let chosen: Vec<_> =
            selection.families.iter().map(|c| (c.family.name, c.kind, c.help.as_str())).collect();
        let [clock, xid] = chosen.as_slice() else { panic!("{chosen:?}") };
        assert_eq!(*clock, ("DCGM_FI_DEV_SM_CLOCK", Kind::Gauge, "SM clock, in MHz."));
        assert_eq!((xid.0, xid.1), ("DCGM_FI_DEV_XID_ERRORS", Kind::Counter));
        assert_eq!(selection.labels, ["DCGM_FI_DRIVER_VERSION"]);
        assert_eq!(left_out.unknown, ["DCGM_EXP_CLOCK_EVENTS_COUNT"]);
        for (text, want) in [
            ("DCGM_FI_DEV_SM_CLOCK\n", "1:1: expected `field, type, help`"),
            ("\nDCGM_FI_DEV_SM_CLOCK, gouge, x\n", "2:23: \"gouge\" is no type"),
            ("SM_CLOCK, gauge, x\n", "1:1: \"SM_CLOCK\" is no field of DCGM"),
        ] {
            let error = Selection::from_csv(text).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn quotes_are_those_of_csv() {
        let help = |line: &str| match Selection::from_csv(line) {
            Ok((selection, _)) => selection.families[0].help.clone(),
            Err(error) => error,
        };
        for (line, want) in [
            (r##"DCGM_FI_DEV_SM_CLOCK,gauge,"say ""hi""""##, r#"say "hi""#),
            (r#""DCGM_FI_DEV_SM_CLOCK", "gauge", "one, two""#, "one, two"),
            (r#"DCGM_FI_DEV_SM_CLOCK, gauge, the "clock""#, r#"the "clock""#),
        ] {
            assert_eq!(help(line), want, "{line}");
        }
        for part in ["\"", "\"open", "\"half\"\"", "\"a\" b\"", "\"a\" b"] {
            let error = help(&format!(" DCGM_FI_DEV_SM_CLOCK, gauge, {part}"));
            assert!(error.starts_with("1:31: what begins with a quote"), "{part}: {error}");
        }
    }

    #[test]
    fn a_number_that_is_to_be_a_label_is_left_out_for_that() {
        let text = "DCGM_FI_DEV_SM_CLOCK, gauge, x\nDCGM_FI_DEV_GPU_TEMP, label, x\nDCGM_FI_X, label\n";
        let (selection, left_out) = Selection::from_csv(text).unwrap();
        assert_eq!((selection.families.len(), selection.labels.len()), (1, 0));
        assert_eq!(left_out.numbers, ["2:23: DCGM_FI_DEV_GPU_TEMP"]);
        assert_eq!(left_out.unknown, ["DCGM_FI_X"]);
    }

    #[test]
    fn every_family_has_what_it_is_made_of_and_its_own_name() {
        let mut names: Vec<_> =
            FAMILIES.iter().map(|f| f.name).chain(LABELS.iter().map(|(l, _)| *l)).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|w| matches!(w, [a, b] if a != b)), "{names:?}");
        for family in FAMILIES {
            assert!(family.help.ends_with('.'), "{}", family.name);
            assert_eq!(family.of.is_empty(), family.name == super::super::families::XID);
        }
    }
}
