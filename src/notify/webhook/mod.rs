//! Webhooks: groups of alerts, delivered in Alertmanager's own payload.
//!
//! A webhook groups by labels, waits a little for company, and tells again what has changed or still fires, as a route
//! of Alertmanager does. What it tells is written into the store together with the fact that it was told, and leaves it
//! when the receiver has taken it: a kill in between neither loses nor repeats a notification that was taken before.

mod deliver;
mod groups;
mod payload;
mod receiver;

use std::time::Duration;

use hyper::Uri;

use crate::config::{Secret, Section};
use crate::http_client::HttpClientSettings;

pub(super) use receiver::Webhook;

/// One entry of `webhooks`. The keys are those of Alertmanager's `webhook_config` and of its routes.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookSettings {
    /// Of the receiver, as the payload says it.
    pub name: String,
    /// Who is called; read at each use.
    pub url: Secret,
    /// Whether ends of alerts are told.
    pub send_resolved: bool,
    /// Most alerts of a payload; 0: all.
    pub max_alerts: usize,
    /// How long a call may take; zero: as long as the next notification is away.
    pub timeout: Duration,
    /// How it is called.
    pub client: HttpClientSettings,
    /// Which alerts come together.
    pub grouping: Grouping,
    /// How long a new group waits for company.
    pub group_wait: Duration,
    /// How long a group waits before it tells a change.
    pub group_interval: Duration,
    /// After which what still fires is told again.
    pub repeat_interval: Duration,
}

/// Which labels alerts of a group share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// These.
    By(Vec<String>),
    /// All: each alert is a group of its own (`...`).
    All,
}

impl WebhookSettings {
    /// Reads an entry; `None` without a URL. Mistakes are noted in the section.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.take_str("name").filter(|name| !name.is_empty());
        let client = section.take_section("http_config");
        let client = client.map(|mut client| HttpClientSettings::read(&mut client)).unwrap_or_default();
        let url = read_url(section);
        let mut duration = |key: &str, default: u64| {
            let duration = section.take_duration(key);
            if duration.is_some_and(|duration| duration.is_zero()) && key != "group_wait" {
                section.error(key, "must be above zero");
            }
            duration.unwrap_or(Duration::from_secs(default))
        };
        let (wait, interval) = (duration("group_wait", 30), duration("group_interval", 300));
        let repeat_interval = duration("repeat_interval", 4 * 3_600);
        let most = section.take_integer("max_alerts", 0..=i64::from(u32::MAX)).unwrap_or_default();
        let grouping = read_grouping(section);
        let settings = Self {
            name: name.unwrap_or_else(|| "webhook".to_owned()),
            url: url?,
            send_resolved: section.take_bool("send_resolved").unwrap_or(true),
            max_alerts: usize::try_from(most).unwrap_or_default(),
            timeout: section.take_duration("timeout").unwrap_or_default(),
            client,
            grouping,
            group_wait: wait,
            group_interval: interval,
            repeat_interval,
        };
        Some(settings)
    }
}

fn read_url(section: &mut Section<'_>) -> Option<Secret> {
    if !section.has("url") && !section.has("url_file") {
        section.error("url", "missing URL: one of url or url_file must be configured");
        return None;
    }
    let secret = section.take_secret("url")?;
    if secret.path().is_none()
        && let Ok(text) = secret.reveal()
        && let Err(why) = parse_url(&text)
    {
        section.error("url", why);
    }
    Some(secret)
}

/// A URL that can be called.
pub(super) fn parse_url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.trim().parse().map_err(|error| format!("not a URL: {error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        Some("http" | "https") => Err("missing host for URL".to_owned()),
        _ => Err("URL scheme must be 'http' or 'https'".to_owned()),
    }
}

fn read_grouping(section: &mut Section<'_>) -> Grouping {
    let Some(items) = section.take_list("group_by") else {
        return Grouping::By(vec!["alertname".to_owned()]);
    };
    let mut names: Vec<String> = Vec::new();
    for item in items {
        let Some(name) = item.str() else { continue };
        if names.contains(&name) {
            item.error(format!("duplicated label {name:?} in group_by"));
        }
        names.push(name);
    }
    if names.iter().any(|name| name == "...") {
        if names.len() > 1 {
            section
                .error("group_by", "cannot have wildcard group_by (`...`) and other labels at the same time");
        }
        return Grouping::All;
    }
    Grouping::By(names)
}
