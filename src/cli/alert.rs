//! `outrigger alert`: the alerts of the running instance, and who looks after them.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::{Deserialize, Serialize};

use super::instance::plain;
use super::{Outcome, healthcheck, instance, misunderstood, print};
use crate::model::Labels;

const ALERT_HELP: &str = "A fingerprint, or a selector: Down, 'Down{instance=\"a\"}', '{severity=\"low\"}'";

pub(super) fn command() -> Command {
    let alert = || Arg::new("alert").value_name("ALERT").required(true).help(ALERT_HELP);
    let list = Command::new("list")
        .about("List alerts that are pending or fire, and who looks after them")
        .arg(
            Arg::new("unacknowledged")
                .long("unacknowledged")
                .action(ArgAction::SetTrue)
                .help("Only those that nobody looks after"),
        )
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FORMAT")
                .default_value("text")
                .value_parser(["text", "json"])
                .help("How they are printed"),
        );
    let acknowledge = Command::new("ack")
        .about("Say that somebody looks after alerts, until they are resolved; they are still sent")
        .arg(alert())
        .arg(Arg::new("by").long("by").value_name("NAME").help("Who [default: the user's name]"))
        .arg(Arg::new("comment").long("comment").value_name("TEXT").help("What there is to say"))
        .arg(Arg::new("for").long("for").value_name("DURATION").help("At most for so long"));
    let take_back = Command::new("unack").about("Take acknowledgements back").arg(alert());
    Command::new("alert")
        .about("List alerts of the running instance, and acknowledge them")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(healthcheck::with_instance(list))
        .subcommand(healthcheck::with_instance(acknowledge))
        .subcommand(healthcheck::with_instance(take_back))
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    match matches.subcommand() {
        Some(("list", matches)) => list(matches),
        Some(("ack", matches)) => change(matches, "/api/v1/alerts/ack", "acknowledged"),
        Some(("unack", matches)) => change(matches, "/api/v1/alerts/unack", "no longer acknowledged"),
        _ => misunderstood("alert"),
    }
}

#[derive(Deserialize)]
struct Listed {
    alerts: Vec<Alert>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    state: String,
    active_at: String,
    value: String,
    fingerprint: String,
    #[serde(default)]
    acknowledgement: Option<Given>,
}

#[derive(Serialize, Deserialize)]
struct Given {
    by: String,
    comment: String,
    at: String,
    #[serde(default)]
    until: Option<String>,
}

fn list(matches: &ArgMatches) -> Outcome {
    let path = "/api/v1/alerts?acknowledgements=true";
    let mut listed: Listed = match instance::call(matches, path, None::<&()>)? {
        Ok(listed) => listed,
        Err(status) => return Ok(status),
    };
    if matches.get_flag("unacknowledged") {
        listed.alerts.retain(|alert| alert.acknowledgement.is_none());
    }
    match matches.get_one::<String>("output").map(String::as_str) {
        Some("json") => print(&format!("{}\n", serde_json::to_string(&listed.alerts)?)),
        _ => print(&listed.alerts.iter().map(text).collect::<String>()),
    }
}

/// An alert on two lines, and a third where somebody looks after it.
fn text(alert: &Alert) -> String {
    let name = alert.labels.get("alertname").map(String::as_str).unwrap_or_default();
    let others = alert.labels.iter().filter(|(name, _)| *name != "alertname");
    let others = Labels::from_pairs(others).to_string();
    let mut out = format!(
        "{:7}  {}  since {}  {}{}\n",
        plain(&alert.state),
        plain(&alert.fingerprint),
        plain(&alert.active_at),
        plain(name),
        plain(&others)
    );
    if let Some(summary) = alert.annotations.get("summary") {
        out.push_str(&format!("         {}\n", plain(summary)));
    }
    if let Some(given) = &alert.acknowledgement {
        let until = given.until.as_ref().map(|until| format!(", until {}", plain(until))).unwrap_or_default();
        let comment =
            if given.comment.is_empty() { String::new() } else { format!(": {}", plain(&given.comment)) };
        out.push_str(&format!(
            "         {} looks after it since {}{until}{comment}\n",
            plain(&given.by),
            plain(&given.at)
        ));
    }
    out
}

#[derive(Deserialize)]
struct Changed {
    alerts: Vec<BTreeMap<String, String>>,
}

fn change(matches: &ArgMatches, path: &str, what: &str) -> Outcome {
    let mut asked = serde_json::Map::new();
    // Those of the other command are not defined.
    for name in ["alert", "by", "comment", "for"] {
        if let Ok(Some(text)) = matches.try_get_one::<String>(name) {
            asked.insert(name.to_owned(), text.as_str().into());
        }
    }
    if path.ends_with("/ack") && !asked.contains_key("by") {
        let user = ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
        asked.insert("by".to_owned(), user.unwrap_or_else(|| "unknown".to_owned()).into());
    }
    let changed: Changed = match instance::call(matches, path, Some(&asked))? {
        Ok(changed) => changed,
        Err(status) => return Ok(status),
    };
    let line = |labels: &BTreeMap<String, String>| {
        let name = labels.get("alertname").map(String::as_str).unwrap_or_default();
        let others = Labels::from_pairs(labels.iter().filter(|(name, _)| *name != "alertname"));
        format!("{what}: {}{}\n", plain(name), plain(&others.to_string()))
    };
    print(&changed.alerts.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_told_with_who_looks_after_it() {
        let alert = |given| Alert {
            labels: [("alertname", "Down"), ("instance", "a")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into(),
            annotations: [("summary".to_owned(), "a is \u{1b}down".to_owned())].into(),
            state: "firing".to_owned(),
            active_at: "T".to_owned(),
            value: "1e+00".to_owned(),
            fingerprint: "00ff".to_owned(),
            acknowledgement: given,
        };
        let first = "firing   00ff  since T  Down{instance=\"a\"}\n         a is down\n";
        assert_eq!(text(&alert(None)), first);
        let given = Given {
            by: "ann".to_owned(),
            comment: "disk".to_owned(),
            at: "U".to_owned(),
            until: Some("V".to_owned()),
        };
        let third = "         ann looks after it since U, until V: disk\n";
        assert_eq!(text(&alert(Some(given))), format!("{first}{third}"));
    }
}
