//! What the files below `examples/` and the `Dockerfile` tell the program is what it understands: each
//! command line is parsed, each configuration file read. A file of a kind that is not known here fails.

use std::fs;
use std::path::{Path, PathBuf};

use super::flags;
use crate::app::settings::{self, Settings};
use crate::config::{Document, Environment, Limits, Section, Value};

/// What one example holds for the program.
#[derive(Debug, Default)]
struct Found {
    /// Arguments, without the program's name.
    command_lines: Vec<Vec<String>>,
    /// Files for `--config.file`.
    configurations: Vec<String>,
    /// Ports that it says the program listens on.
    ports: Vec<i64>,
    /// Files beside it.
    files: Vec<String>,
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

/// The settings that a command line gives; relative paths in it are left alone.
fn understand(line: &[String]) -> Result<Settings, String> {
    let arguments = std::iter::once("outrigger").chain(line.iter().map(String::as_str));
    let matches = super::command().try_get_matches_from(arguments).map_err(|error| error.to_string())?;
    let run = matches.subcommand_matches("run").unwrap_or(&matches);
    let mut settings = Settings::default();
    flags::invocation(run).overrides.apply(&mut settings)?;
    Ok(settings)
}

fn read_settings(text: &str) -> Result<Settings, String> {
    let document = Document::parse("example", text, &Limits::default()).map_err(|error| error.to_string())?;
    settings::read(&document, &Environment::off()).map_err(|error| error.to_string())
}

/// Looks through all documents of a YAML file.
fn yaml(text: &str) -> Result<Found, String> {
    let mut found = Found::default();
    for document in text.split("\n---\n") {
        let document = Document::parse("example", document, &Limits::default());
        let read = |document: Document| document.read(&Environment::off(), |top| look(top, &mut found));
        document.and_then(read).map_err(|error| error.to_string())?;
    }
    Ok(found)
}

/// Below a mapping with an image of ours: arguments, ports, mounted files. Below a `ConfigMap`: files.
fn look(section: &mut Section<'_>, found: &mut Found) {
    let is_ours = section.take_str("image").is_some_and(|image| image.starts_with("outrigger"));
    let is_config_map = section.take_str("kind").is_some_and(|kind| kind == "ConfigMap");
    for field in section.take_fields() {
        let Some(value) = field.value() else { continue };
        match field.key() {
            "args" | "command" if is_ours => found.command_lines.extend(value.strings()),
            "ports" if is_ours => {
                for mut port in value.list().unwrap_or_default().iter().filter_map(Value::section) {
                    found.ports.extend(port.take_integer("containerPort", 1..=65_535));
                    port.take_rest();
                }
            }
            "volumes" if value.is_list() => {
                for volume in value.list().unwrap_or_default() {
                    let text =
                        if volume.is_scalar() { volume.str().unwrap_or_default() } else { String::new() };
                    found.files.extend(text.split_once(':').map(|(file, _)| file.to_owned()));
                    look_at(&volume, found);
                }
            }
            "data" if is_config_map => {
                let files = value.section().map(|mut data| data.take_rest()).unwrap_or_default();
                let ours = files.iter().filter(|(name, _)| name.contains("outrigger"));
                found.configurations.extend(ours.filter_map(|(_, text)| text.str()));
            }
            _ => look_at(&value, found),
        }
    }
}

fn look_at(value: &Value<'_>, found: &mut Found) {
    if value.is_list() {
        value.list().unwrap_or_default().iter().for_each(|item| look_at(item, found));
    } else if !value.is_scalar()
        && let Some(mut section) = value.section()
    {
        look(&mut section, found);
    }
}

/// The `ExecStart=` of a unit and the `ListenStream=` of a socket.
fn unit(text: &str) -> Found {
    let values = |key: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
    };
    let arguments = |line: &String| line.split_whitespace().skip(1).map(str::to_owned).collect();
    Found {
        command_lines: values("ExecStart").iter().map(arguments).collect(),
        ports: values("ListenStream").iter().filter_map(|port| port.parse().ok()).collect(),
        ..Found::default()
    }
}

/// The JSON forms of `CMD` and `ENTRYPOINT`, the program's path left out.
fn dockerfile(text: &str) -> Found {
    let lists = text.lines().filter_map(|line| {
        let line = line.trim();
        line.strip_prefix("CMD ").or_else(|| line.strip_prefix("ENTRYPOINT "))
    });
    let arguments = |list| serde_json::from_str::<Vec<String>>(list).unwrap().into_iter().skip(1).collect();
    Found { command_lines: lists.map(arguments).collect(), ..Found::default() }
}

/// Every `localhost:PORT`.
fn local_ports(text: &str) -> Vec<i64> {
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    text.split("localhost:").skip(1).filter_map(|rest| digits(rest).parse().ok()).collect()
}

fn found_in(path: &Path, text: &str) -> Result<Found, String> {
    // Templates are no YAML: `tests/peers/examples.py` renders the chart and checks what comes out.
    if path.components().any(|part| part.as_os_str() == "helm") {
        return Ok(Found::default());
    }
    let name = path.file_name().unwrap().to_string_lossy();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yml" | "yaml") if name.starts_with("outrigger") => {
            Ok(Found { configurations: vec![text.to_owned()], ..Found::default() })
        }
        Some("yml" | "yaml") => yaml(text),
        Some("service" | "socket") => Ok(unit(text)),
        None if name == "Dockerfile" => Ok(dockerfile(text)),
        Some("py") => Ok(Found { ports: local_ports(text), ..Found::default() }),
        // Examples of the library are compiled and run by cargo; the others are read by people, and by Git.
        Some("rs" | "md") => Ok(Found::default()),
        None if name == ".gitignore" => Ok(Found::default()),
        _ => Err("no test knows what this is; teach src/cli/example_tests.rs".to_owned()),
    }
}

#[test]
fn every_example_is_understood() {
    let mut paths = vec![examples().join("../Dockerfile")];
    files_below(&examples(), &mut paths);
    let default_port = Settings::default().web.serve.listen.first().unwrap().to_string();
    for path in paths {
        let shown = path.display();
        let text = fs::read_to_string(&path).unwrap();
        let found = found_in(&path, &text).unwrap_or_else(|error| panic!("{shown}: {error}"));
        for line in &found.command_lines {
            understand(line).unwrap_or_else(|error| panic!("{shown}: {line:?}: {error}"));
        }
        for configuration in &found.configurations {
            read_settings(configuration).unwrap_or_else(|error| panic!("{shown}: {error}"));
        }
        for port in &found.ports {
            assert_eq!(format!(":{port}"), default_port, "{shown}");
        }
        for file in found.files.iter().filter(|file| file.starts_with("./")) {
            assert!(path.parent().unwrap().join(file).exists(), "{shown}: {file}");
        }
    }
}

#[test]
fn the_examples_hold_what_is_looked_for() {
    let found = |name: &str| {
        let path = examples().join(name);
        found_in(&path, &fs::read_to_string(&path).unwrap()).unwrap()
    };
    let compose = found("compose/compose.yml");
    assert_eq!((compose.command_lines.len(), compose.files.len()), (1, 8), "{compose:?}");
    let settings = understand(compose.command_lines.first().unwrap()).unwrap();
    assert_eq!(settings.path.procfs, Path::new("/host/proc"));
    let daemon_set = found("kubernetes/daemonset.yml");
    assert_eq!((daemon_set.command_lines.len(), daemon_set.ports.as_slice()), (1, &[9780][..]));
    assert_eq!(found("systemd/outrigger.service").command_lines.len(), 1);
    assert_eq!(found("systemd/outrigger.socket").ports, [9780]);
    assert_eq!(found("training/train.py").ports, [9780, 9780]);
    assert_eq!(found("../Dockerfile").command_lines, [vec!["healthcheck".to_owned()], vec![]]);
}

#[test]
fn wrong_flags_and_keys_are_found() {
    let wrong = "containers:\n- image: outrigger:1\n  args: [--path.procs=/x]\n";
    let lines = yaml(wrong).unwrap().command_lines;
    assert!(understand(lines.first().unwrap()).unwrap_err().contains("--path.procs"));
    let map = "kind: x\n---\nkind: ConfigMap\ndata:\n  outrigger.yml: |\n    wep: 1\n";
    let configurations = yaml(map).unwrap().configurations;
    assert!(read_settings(configurations.first().unwrap()).unwrap_err().contains("wep: unknown key"));
    assert!(yaml("a: 1\na: 2\n").unwrap_err().contains("duplicate key"));
    assert!(found_in(Path::new("examples/x.conf"), "").is_err());
}
