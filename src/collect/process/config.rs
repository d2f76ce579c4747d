//! process-exporter's configuration file, and its flags `-procnames` and `-namemapping`, read strictly.
//!
//! Beyond what it refuses, unknown keys and templates that name unknown fields are errors; all errors at once.

use std::path::Path;

use super::namer::{Attributes, Mapping, Matcher, Name, Namer};
use crate::config::{Document, Environment, Limits, Section, Value};
use crate::gotemplate::Template;
use crate::model::{ByteSize, search_regex};

/// A file of process-exporter's: far above any that is written by hand.
const LIMITS: Limits = Limits {
    size: ByteSize::new(1 << 20),
    depth: 16,
    nodes: 25_000,
    aliases: 1_000,
    errors: 100,
    documents: crate::config::Documents::One,
};

/// Most items of `process_names`: each new process is held against all.
const MOST_MATCHERS: usize = 1_000;

/// Control groups of the process that templates are tried on.
const SAMPLE_CGROUPS: usize = 16;

/// The file's namer.
///
/// # Errors
/// All that is wrong, one line each with its place.
pub(super) fn from_file(path: &Path) -> Result<Namer, String> {
    let document = Document::load(path, &LIMITS).map_err(|error| error.to_string())?;
    read(&document)
}

/// The same of a text; `name` stands for the file's in errors.
pub(super) fn from_text(name: &str, text: &str) -> Result<Namer, String> {
    read(&Document::parse(name, text, &LIMITS).map_err(|error| error.to_string())?)
}

fn read(document: &Document) -> Result<Namer, String> {
    // `$` is an expression's.
    let matchers = document.read(&Environment::off(), |top| {
        top.require("process_names");
        let items = top.take_list("process_names").unwrap_or_default();
        if items.len() > MOST_MATCHERS {
            top.error("process_names", format!("more than {MOST_MATCHERS} items"));
            return Vec::new();
        }
        items.iter().filter_map(|item| read_matcher(&mut item.section()?)).collect()
    });
    matchers.map(Namer::Matchers).map_err(|error| error.to_string())
}

fn read_matcher(item: &mut Section<'_>) -> Option<Matcher> {
    let comm = item.take_strings("comm");
    let exe = item.take_strings("exe");
    let patterns = item.take_list("cmdline");
    let read = |pattern: &Value<'_>| pattern.parse_with("a regular expression", regex);
    let command_line = patterns.map(|patterns| patterns.iter().filter_map(read).collect());
    let name = match item.take("name") {
        None => Some(Name::ExeBase),
        Some(name) => name.parse_with("a template of a name", template),
    };
    if !["comm", "exe", "cmdline"].iter().any(|key| item.has(key)) {
        item.error_here("name", "no selector; give at least one of comm, exe and cmdline");
    }
    Some(Matcher { comm, exe, command_line, name: name? })
}

fn regex(text: &str) -> Result<regex::Regex, String> {
    search_regex(text).map_err(|error| error.to_string())
}

fn template(text: &str) -> Result<Name, String> {
    match text {
        "" | "{{.ExeBase}}" => return Ok(Name::ExeBase),
        "{{.Comm}}" => return Ok(Name::Comm),
        _ => {}
    }
    let parsed = Template::parse("cmdname", text, &[]).map_err(|error| error.to_string())?;
    let name = Name::Template(parsed);
    let sample = Attributes { cgroups: vec!["/".to_owned(); SAMPLE_CGROUPS], ..Attributes::default() };
    match name.of(&sample, &Default::default()) {
        Err(why) if why.contains("can't evaluate field") => Err(why),
        // What a sample process makes fail, a real one need not.
        _ => Ok(name),
    }
}

/// `-procnames` and `-namemapping`.
///
/// # Errors
/// What is wrong with the latter.
pub(super) fn from_names(names: &str, mapping: &str) -> Result<Namer, String> {
    let mut mapped = Mapping::new();
    let tokens: Vec<&str> = if mapping.is_empty() { Vec::new() } else { mapping.split(',').collect() };
    for pair in tokens.chunks(2) {
        match pair {
            [name, pattern] if !name.is_empty() && !pattern.is_empty() => {
                let regex = regex(pattern).map_err(|why| format!("namemapping, {name:?}: {why}"))?;
                mapped.insert((*name).to_owned(), Some(regex));
            }
            [name] => {
                return Err(format!("namemapping: {name:?} has no expression; write NAME,REGEX,NAME,REGEX"));
            }
            _ => return Err("namemapping: an empty name or expression".to_owned()),
        }
    }
    for name in names.split(',').filter(|name| !name.is_empty()) {
        mapped.entry(name.to_owned()).or_insert(None);
    }
    Ok(Namer::Mapping(mapped))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(comm: &str, command_line: &[&str]) -> Attributes {
        Attributes {
            comm: comm.to_owned(),
            command_line: command_line.iter().map(|part| (*part).to_owned()).collect(),
            cgroups: vec!["/a.slice".to_owned(), "/b".to_owned()],
            username: "root".to_owned(),
            pid: 7,
            start_unix_nanos: 1_795_767_779_490_000_000,
        }
    }

    fn group(text: &str, process: &Attributes) -> Option<String> {
        from_text("p.yml", text).unwrap().group(process).unwrap()
    }

    #[test]
    fn groups_are_those_of_process_exporter() {
        let sleep = process("sleep", &["/bin/sleep", "1234"]);
        for (item, want) in [
            ("comm: [sleep]", Some("sleep")),
            ("comm: [slee, 'sleep ']", None),
            ("exe: [sleep]", Some("sleep")),
            ("exe: [/bin/sleep]", Some("sleep")),
            ("exe: [/usr/bin/sleep]", None),
            ("exe: [sleep]\n    comm: [x]", None),
            ("cmdline: ['^/bin/sl', '\\d{4}$']", Some("sleep")),
            ("cmdline: ['^/bin/sl', '\\d{5}$']", None),
            ("cmdline: []\n    name: all", Some("all")),
            ("comm: [sleep]\n    name: '{{.ExeFull}}'", Some("/bin/sleep")),
            ("comm: [sleep]\n    name: '{{.Comm}}-{{.PID}}-{{.Username}}'", Some("sleep-7-root")),
            ("comm: [sleep]\n    name: '{{.StartTime}}'", Some("2026-11-27 08:22:59.49 +0000 UTC")),
            ("comm: [sleep]\n    name: '{{index .Cgroups 1}} {{.Cgroups}}'", Some("/b [/a.slice /b]")),
            (
                "cmdline: ['(sl)e(?P<Num>e)p', '(\\d+)']\n    name: 'x {{.Matches}}'",
                Some("x map[:1234 Num:e]"),
            ),
            (
                "cmdline: ['(?P<n>\\d+)']\n    name: '{{.Matches.n}} {{.Matches.none}}'",
                Some("1234 <no value>"),
            ),
            (
                "cmdline: ['(?P<n>x)?']\n    name: '{{.Matches.n}}{{index .Matches \"none\"}}{{with .Matches.no}}no{{end}}.'",
                Some("."),
            ),
        ] {
            let text = format!("process_names:\n  - {item}\n");
            assert_eq!(group(&text, &sleep).as_deref(), want, "{item}");
        }
        let long = process("a", &[&"ö".repeat(5_000)]);
        assert_eq!(group("process_names: [{comm: [a]}]", &long).map(|name| name.len()), Some(1024));
        let kernel = process("kthreadd", &[]);
        assert_eq!(group("process_names: [{comm: [kthreadd]}]", &kernel).as_deref(), Some("kthreadd"));
        assert_eq!(group("process_names: [{exe: [kthreadd]}]", &kernel), None);
        assert_eq!(
            group("process_names: [{cmdline: ['.+']}, {cmdline: [''], name: k}]", &kernel).unwrap(),
            "k"
        );
    }

    #[test]
    fn the_example_is_one() {
        let example = include_str!("../../../examples/process/process.yml");
        let java = process("java", &["java", "-Dunit=search"]);
        assert_eq!(group(example, &java).as_deref(), Some("search"));
        assert_eq!(group(example, &process("sleep", &["sleep", "1"])).as_deref(), Some("sleep"));
    }

    #[test]
    fn names_and_mapping() {
        let namer = from_names("bash,python3,,x", "python3,([^/]+)\\.py,java,-jar\\s+([^/]+).jar").unwrap();
        let of = |comm: &str, line: &[&str]| namer.group(&process(comm, line)).unwrap();
        assert_eq!(of("bash", &["bash"]).as_deref(), Some("bash"));
        assert_eq!(of("python3", &["python3", "/srv/job.py"]).as_deref(), Some("python3:job"));
        assert_eq!(of("python3", &["python3"]), None);
        assert_eq!(of("java", &["java", "-jar", "a.jar"]).as_deref(), Some("java:a"));
        assert_eq!(of("zsh", &["zsh"]), None);
        for (mapping, part) in
            [("a", "has no expression"), ("a,(", "error parsing regexp"), ("a,,", "empty"), (",x", "empty")]
        {
            assert!(from_names("", mapping).unwrap_err().contains(part), "{mapping}");
        }
    }

    #[test]
    fn every_mistake_has_its_place() {
        let text = "process_nams: 1\nprocess_names:\n  - name: '{{.Nope}}'\n    comm: [a]\n  - cmdline: ['(']\n    com: [x]\n  - name: '{{'\n  - 7\n";
        let errors = from_text("p.yml", text).unwrap_err();
        let places: Vec<&str> = errors.lines().filter(|line| line.starts_with("p.yml:")).collect();
        let want = [
            "p.yml:1:1: process_nams: unknown key; did you mean \"process_names\"?",
            "p.yml:3:11: process_names[0].name: template: cmdname:1:2: executing \"cmdname\" at <.Nope>: can't evaluate field Nope",
            "p.yml:5:15: process_names[1].cmdline[0]: error parsing regexp: missing closing ): `(`",
            "p.yml:6:5: process_names[1].com: unknown key; did you mean \"comm\"?",
            "p.yml:7:11: process_names[2].name: template: cmdname:1: unclosed action",
            "p.yml:7:11: process_names[2]: no selector; give at least one of comm, exe and cmdline",
            "p.yml:8:5: process_names[3]: expected keys and values, found \"7\"",
        ];
        for want in want {
            assert!(places.iter().any(|place| place.starts_with(want)), "{want}\n{errors}");
        }
        assert_eq!(places.len(), want.len(), "{errors}");
        assert!(from_text("p.yml", "").unwrap_err().contains("the key \"process_names\" is missing"));
    }
}
