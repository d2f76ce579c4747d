//! `alerting`: who is told about alerts.
//!
//! `alert_relabel_configs` and `alertmanagers` are Prometheus's; `webhooks`, `console` and `resolve_on_shutdown` are our
//! own.

use crate::config::{Section, read_relabel_rules};
use crate::model::{Labels, NameScheme, RelabelRule};

use super::alertmanager::AlertmanagerSettings;
use super::webhook::WebhookSettings;

/// What the key `alerting` says, and what alerts carry besides.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifySettings {
    /// Labels that every alert gets unless it has them (`global.external_labels`).
    pub external_labels: Labels,
    /// Rewrites or drops alerts, before anybody is told.
    pub relabel: Vec<RelabelRule>,
    /// Sets of Alertmanagers, each told everything.
    pub alertmanagers: Vec<AlertmanagerSettings>,
    /// Receivers of webhooks.
    pub webhooks: Vec<WebhookSettings>,
    /// Whether beginnings and ends of alerts are logged.
    pub console: bool,
    /// Whether firing alerts are resolved when the program ends.
    pub resolve_on_shutdown: bool,
}

impl Default for NotifySettings {
    fn default() -> Self {
        Self {
            external_labels: Labels::empty(),
            relabel: Vec::new(),
            alertmanagers: Vec::new(),
            webhooks: Vec::new(),
            console: true,
            resolve_on_shutdown: false,
        }
    }
}

impl NotifySettings {
    /// Reads the key from the top level of a file. Mistakes are noted in it.
    pub fn read(top: &mut Section<'_>, external_labels: &Labels) -> Self {
        let defaults = Self { external_labels: external_labels.clone(), ..Self::default() };
        let Some(mut section) = top.take_section("alerting") else { return defaults };
        let alertmanagers = section.take_list("alertmanagers").unwrap_or_default();
        let alertmanagers = alertmanagers.iter().filter_map(|item| item.section());
        let webhooks = section.take_list("webhooks").unwrap_or_default();
        let mut webhooks: Vec<WebhookSettings> =
            webhooks.iter().filter_map(|item| WebhookSettings::read(&mut item.section()?)).collect();
        for at in 1..webhooks.len() {
            let (before, rest) = webhooks.split_at(at);
            if let Some(name) = rest.first().map(|webhook| &webhook.name)
                && before.iter().any(|earlier| earlier.name == *name)
            {
                section.error(
                    "webhooks",
                    format!("two webhooks are called {name:?}; give each a name of its own"),
                );
            }
        }
        webhooks.shrink_to_fit();
        Self {
            relabel: read_relabel_rules(&mut section, "alert_relabel_configs", NameScheme::Utf8),
            alertmanagers: alertmanagers.map(|mut item| AlertmanagerSettings::read(&mut item)).collect(),
            webhooks,
            console: section.take_bool("console").unwrap_or(defaults.console),
            resolve_on_shutdown: section.take_bool("resolve_on_shutdown").unwrap_or_default(),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn read(text: &str) -> Result<NotifySettings, String> {
        let document = Document::parse("o.yml", text, &Limits::default()).map_err(|e| e.to_string())?;
        let read = |top: &mut Section<'_>| NotifySettings::read(top, &Labels::empty());
        document.read(&Environment::off(), read).map_err(|e| e.to_string())
    }

    #[test]
    fn what_prometheus_has_is_read() {
        let settings = read(
            "alerting:\n  alert_relabel_configs: [{action: labeldrop, regex: replica}]\n  alertmanagers:\n  - scheme: https\n    path_prefix: /am\n    timeout: 3s\n    api_version: v2\n    static_configs: [{targets: ['a:9093', 'b:9093']}]\n    relabel_configs: [{action: drop, source_labels: [__address__], regex: 'b:.*'}]\n    alert_relabel_configs: [{target_label: x, replacement: y}]\n    basic_auth: {username: u, password: p}\n",
        )
        .expect("read");
        let set = &settings.alertmanagers[0];
        assert_eq!((set.scheme, set.path_prefix.as_str(), set.timeout.as_secs()), ("https", "/am", 3));
        assert_eq!((settings.relabel.len(), set.relabel.len(), set.alert_relabel.len()), (1, 1, 1));
        assert!(set.client.auth.is_some());
        assert_eq!(read("").expect("read"), NotifySettings::default());
    }

    #[test]
    fn mistakes_have_their_places() {
        for (text, expected) in [
            (
                "alerting: {alertmanager: []}\n",
                "1:12: alerting.alertmanager: unknown key; did you mean \"alertmanagers\"?",
            ),
            (
                "alerting: {alertmanagers: [{api_version: v1}]}\n",
                "1:42: alerting.alertmanagers[0].api_version: expected one of v2, found \"v1\"",
            ),
            (
                "alerting: {alertmanagers: [{consul_sd_configs: []}]}\n",
                "1:29: alerting.alertmanagers[0].consul_sd_configs: consul_sd_configs is not supported",
            ),
            ("alerting: {webhooks: [{name: a}]}\n", "1:23: alerting.webhooks[0].url: missing URL"),
            (
                "alerting: {webhooks: [{url: 'ftp://x'}]}\n",
                "1:29: alerting.webhooks[0].url: URL scheme must be 'http' or 'https'",
            ),
            (
                "alerting: {webhooks: [{url: 'http://x/'}, {url: 'http://x/'}]}\n",
                "1:22: alerting.webhooks: two webhooks are called \"webhook\"",
            ),
            (
                "alerting: {webhooks: [{url: 'http://x/', group_by: [a, a]}]}\n",
                "1:56: alerting.webhooks[0].group_by[1]: duplicated label \"a\"",
            ),
            (
                "alerting: {webhooks: [{url: 'http://x/', repeat_interval: 0s}]}\n",
                "1:59: alerting.webhooks[0].repeat_interval: must be above zero",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(&format!("o.yml:{expected}")), "{text}{error}");
        }
    }
}
