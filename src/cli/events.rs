//! `outrigger events`: posts deployments and incidents to the running instance, and lists what was posted.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::instance::plain;
use super::{Outcome, complain, healthcheck, instance, misunderstood, print};

/// Largest file of events.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

/// Arguments of `add` that are keys of an event: name, what it is called, help.
const TEXTS: [(&str, &str, &str); 8] = [
    (
        "id",
        "ID",
        "What the event is known by: posting it again changes it; without one its words and time are its id",
    ),
    ("service", "NAME", "What it is about"),
    ("environment", "NAME", "Where that runs, such as prod"),
    ("time", "TIME", "When it happened, or an incident began: RFC 3339 or Unix seconds [default: now]"),
    ("end", "TIME", "When an incident ended"),
    ("outcome", "OUTCOME", "How a deployment ended: success or failure [default: success]"),
    ("commit-time", "TIME", "When what is deployed was committed, for the lead time"),
    ("message", "TEXT", "For people"),
];

pub(super) fn command() -> Command {
    let texts =
        TEXTS.iter().map(|(name, value, help)| Arg::new(*name).long(*name).value_name(*value).help(*help));
    let add = Command::new("add")
        .about("Post an event, or a file of them")
        .arg(
            Arg::new("type")
                .value_name("TYPE")
                .required_unless_present("file")
                .conflicts_with("file")
                .help("deployment, incident, or another word"),
        )
        .args(texts)
        .arg(
            Arg::new("label")
                .long("label")
                .value_name("NAME=VALUE")
                .action(ArgAction::Append)
                .help("Whatever else is known; repeatable"),
        )
        .arg(
            Arg::new("file")
                .long("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with_all(TEXTS.iter().map(|(name, ..)| *name).chain(["label"]))
                .help("JSON: an event, a list of them or {\"events\": [...]}; - is standard input"),
        );
    let list = Command::new("list")
        .about("List events, the newest first")
        .arg(filter("type", "TYPE", "Only of this type; repeatable").action(ArgAction::Append))
        .arg(filter("service", "NAME", "Only of this service; repeatable").action(ArgAction::Append))
        .arg(filter("start", "TIME", "Not before this instant"))
        .arg(filter("end", "TIME", "Not after this instant"))
        .arg(filter("limit", "NUMBER", "Most events; a warning says that there are more [default: 1000]"))
        .arg(
            filter("output", "FORMAT", "How they are printed")
                .short('o')
                .default_value("text")
                .value_parser(["text", "json"]),
        );
    Command::new("events")
        .about("Post deployments and incidents to the running instance, and list them")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(healthcheck::with_instance(add))
        .subcommand(healthcheck::with_instance(list))
}

fn filter(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    match matches.subcommand() {
        Some(("add", matches)) => add(matches),
        Some(("list", matches)) => list(matches),
        _ => misunderstood("events"),
    }
}

#[derive(Deserialize)]
struct Posted {
    created: usize,
    updated: usize,
    unchanged: usize,
    ids: Vec<String>,
}

fn add(matches: &ArgMatches) -> Outcome {
    let event = match matches.get_one::<PathBuf>("file") {
        Some(path) => read(path)?,
        None => match event(matches) {
            Ok(event) => event,
            Err(error) => {
                complain(&error.to_string());
                return Ok(ExitCode::from(2));
            }
        },
    };
    let posted: Posted = match instance::call(matches, "/api/v1/events", Some(&event))? {
        Ok(posted) => posted,
        Err(status) => return Ok(status),
    };
    let ids = match posted.ids.as_slice() {
        [id] => format!(": {}", plain(id)),
        _ => String::new(),
    };
    let Posted { created, updated, unchanged, .. } = posted;
    print(&format!("{created} created, {updated} changed, {unchanged} known already{ids}\n"))
}

fn event(matches: &ArgMatches) -> anyhow::Result<Value> {
    let mut event = Map::new();
    let mut put = |key: &str, text: &str| {
        let seconds =
            if ["time", "end", "commit_time"].contains(&key) { text.parse::<f64>().ok() } else { None };
        event.insert(key.to_owned(), seconds.map_or_else(|| text.into(), Value::from));
    };
    for (name, key) in [("type", "type")].into_iter().chain(TEXTS.iter().map(|(name, ..)| (*name, *name))) {
        if let Some(text) = matches.get_one::<String>(name) {
            put(&key.replace('-', "_"), text);
        }
    }
    let mut labels = Map::new();
    for label in matches.get_many::<String>("label").into_iter().flatten() {
        let Some((name, value)) = label.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            bail!("--label {label:?}: expected NAME=VALUE")
        };
        labels.insert(name.to_owned(), value.into());
    }
    if !labels.is_empty() {
        event.insert("labels".to_owned(), labels.into());
    }
    Ok(event.into())
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(LARGEST_FILE_BYTES + 1).read_to_string(&mut text)?;
    } else {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        file.take(LARGEST_FILE_BYTES + 1)
            .read_to_string(&mut text)
            .with_context(|| path.display().to_string())?;
    }
    if text.len() as u64 > LARGEST_FILE_BYTES {
        bail!("{}: larger than 1 MiB; post it in parts", path.display());
    }
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

#[derive(Deserialize)]
struct Listed {
    events: Vec<Value>,
}

fn list(matches: &ArgMatches) -> Outcome {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (argument, parameter) in
        [("type", "type[]"), ("service", "service[]"), ("start", "start"), ("end", "end"), ("limit", "limit")]
    {
        for value in matches.get_many::<String>(argument).into_iter().flatten() {
            query.append_pair(parameter, value);
        }
    }
    let path = format!("/api/v1/events?{}", query.finish());
    let listed: Listed = match instance::call(matches, &path, None::<&()>)? {
        Ok(listed) => listed,
        Err(status) => return Ok(status),
    };
    match matches.get_one::<String>("output").map(String::as_str) {
        Some("json") => print(&format!("{}\n", Value::from(listed.events))),
        _ => print(&listed.events.iter().map(line).collect::<String>()),
    }
}

/// An event on one line.
fn line(event: &Value) -> String {
    let text = |key: &str| plain(event.get(key).and_then(Value::as_str).unwrap_or_default());
    let mut out = format!("{}  {:10}  {}", text("time"), text("type"), text("id"));
    let place = [text("service"), text("environment")].into_iter().filter(|text| !text.is_empty());
    let place = place.collect::<Vec<_>>().join("/");
    for (before, part) in
        [("  ", place), ("  ", text("outcome")), ("  until ", text("end")), ("  ", text("message"))]
    {
        if !part.is_empty() {
            // Writing into a `String` cannot fail.
            let _ = write!(out, "{before}{part}");
        }
    }
    if text("type") == "incident" && text("end").is_empty() {
        out.push_str("  goes on");
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_what_matters() {
        for (event, expected) in [
            (
                json!({"id": "d1", "type": "deployment", "time": "T", "service": "s", "environment": "p", "outcome": "success"}),
                "T  deployment  d1  s/p  success\n",
            ),
            (
                json!({"id": "i\u{1b}", "type": "incident", "time": "T", "service": "s", "message": "down"}),
                "T  incident    i  s  down  goes on\n",
            ),
            (json!({"id": "i", "type": "incident", "time": "T", "end": "U"}), "T  incident    i  until U\n"),
        ] {
            assert_eq!(line(&event), expected);
        }
    }

    #[test]
    fn what_would_be_left_out_is_refused() {
        for given in ["--id=x", "--label=a=b", "--time=5"] {
            let matches = command().try_get_matches_from(["events", "add", "--file=f", given]);
            assert!(matches.is_err_and(|error| error.to_string().contains("cannot be used with")), "{given}");
        }
        for label in ["--label==foo", "--label=foo"] {
            let matches = command().try_get_matches_from(["events", "add", "x", label]).expect("fits");
            let (_, matches) = matches.subcommand().expect("add");
            let error = event(matches).expect_err(label);
            assert!(error.to_string().contains("expected NAME=VALUE"), "{error}");
        }
    }

    #[test]
    fn arguments_become_an_event() {
        let matches = command().try_get_matches_from([
            "events",
            "add",
            "deployment",
            "--service=s",
            "--time=5",
            "--commit-time=2026-01-01T00:00:00Z",
            "--label=a=b=c",
        ]);
        let matches = matches.expect("fits");
        let (_, matches) = matches.subcommand().expect("add");
        let expected = json!({"type": "deployment", "service": "s", "time": 5.0,
            "commit_time": "2026-01-01T00:00:00Z", "labels": {"a": "b=c"}});
        assert_eq!(event(matches).expect("fits"), expected);
    }
}
