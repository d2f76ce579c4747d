//! The payload: Alertmanager's webhook message, version 4.
//!
//! Source: Alertmanager documentation, "Configuration", `webhook_config`.

use serde::Serialize;
use serde_json::Value;

use crate::model::{Labels, OutgoingAlert, Timestamp};
use crate::notify::json::{NEVER, object, rfc3339};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<Shown<'a>>,
    group_labels: Value,
    common_labels: Value,
    common_annotations: Value,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: String,
    truncated_alerts: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    status: &'static str,
    labels: Value,
    annotations: Value,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

/// Who is told, and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) receiver: &'a str,
    pub(super) external_url: &'a str,
    /// Most alerts; 0: all.
    pub(super) max_alerts: usize,
}

/// The message about a group, in JSON. `alerts` is not empty.
pub(super) fn message(
    envelope: Envelope<'_>,
    group: &Labels,
    alerts: &[OutgoingAlert],
    now: Timestamp,
) -> Vec<u8> {
    let most = if envelope.max_alerts == 0 { alerts.len() } else { envelope.max_alerts.min(alerts.len()) };
    let status = |resolved: bool| if resolved { "resolved" } else { "firing" };
    let shown = |alert: &'_ OutgoingAlert| {
        let resolved = alert.is_resolved(now);
        (
            resolved,
            object(&alert.labels),
            object(&alert.annotations),
            rfc3339(alert.starts_at),
            rfc3339(alert.ends_at),
        )
    };
    let listed = alerts.iter().take(most).map(|alert| {
        let (resolved, labels, annotations, starts_at, ends_at) = shown(alert);
        Shown {
            status: status(resolved),
            labels,
            annotations,
            starts_at,
            // While it fires nobody knows.
            ends_at: if resolved { ends_at } else { NEVER.to_owned() },
            generator_url: &alert.generator_url,
            fingerprint: format!("{:016x}", alert.fingerprint()),
        }
    });
    let message = Message {
        receiver: envelope.receiver,
        status: status(alerts.iter().all(|alert| alert.is_resolved(now))),
        alerts: listed.collect(),
        group_labels: object(group),
        common_labels: object(&common(alerts, |alert| &alert.labels)),
        common_annotations: object(&common(alerts, |alert| &alert.annotations)),
        external_url: envelope.external_url,
        version: "4",
        group_key: group_key(group),
        truncated_alerts: alerts.len() - most,
    };
    // Of strings and numbers only: cannot fail.
    serde_json::to_vec(&message).unwrap_or_default()
}

fn common(alerts: &[OutgoingAlert], of: impl Fn(&OutgoingAlert) -> &Labels) -> Labels {
    let Some((first, rest)) = alerts.split_first() else { return Labels::empty() };
    let shared = |(name, value): &(&str, &str)| rest.iter().all(|alert| of(alert).get(name) == Some(*value));
    Labels::texts(of(first).iter().filter(shared))
}

/// The key of the root route, and the group's labels: `{}:{alertname="A"}`.
fn group_key(group: &Labels) -> String {
    format!("{{}}:{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_alertmanagers_fields_in_its_order() {
        let alert = |instance: &str, ends_ms: i64| OutgoingAlert {
            labels: Labels::from_pairs([("alertname", "A\"B"), ("instance", instance), ("severity", "high")]),
            annotations: Labels::texts([("summary", "down"), ("description", instance), ("nothing", "")]),
            starts_at: Timestamp::from_millis(1_700_000_000_120),
            ends_at: Timestamp::from_millis(ends_ms),
            generator_url: "http://here/g".to_owned(),
        };
        let alerts =
            [alert("x", 1_700_000_900_000), alert("y", 1_700_000_100_000), alert("z", 1_800_000_000_000)];
        let envelope = Envelope { receiver: "ops", external_url: "http://here", max_alerts: 2 };
        let group = Labels::from_pairs([("alertname", "A\"B")]);
        let message = message(envelope, &group, &alerts, Timestamp::from_millis(1_700_000_200_000));
        let text = String::from_utf8(message).expect("text");
        let expected = concat!(
            r#"{"receiver":"ops","status":"firing","alerts":["#,
            r#"{"status":"firing","labels":{"alertname":"A\"B","instance":"x","severity":"high"},"annotations":{"description":"x","nothing":"","summary":"down"},"startsAt":"2023-11-14T22:13:20.12Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://here/g","fingerprint":"FX"},"#,
            r#"{"status":"resolved","labels":{"alertname":"A\"B","instance":"y","severity":"high"},"annotations":{"description":"y","nothing":"","summary":"down"},"startsAt":"2023-11-14T22:13:20.12Z","endsAt":"2023-11-14T22:15:00Z","generatorURL":"http://here/g","fingerprint":"FY"}],"#,
            r#""groupLabels":{"alertname":"A\"B"},"commonLabels":{"alertname":"A\"B","severity":"high"},"commonAnnotations":{"nothing":"","summary":"down"},"externalURL":"http://here","version":"4","groupKey":"{}:{alertname=\"A\\\"B\"}","truncatedAlerts":1}"#
        );
        let fingerprint = |at: usize| format!("{:016x}", alerts[at].fingerprint());
        assert_eq!(text, expected.replace("FX", &fingerprint(0)).replace("FY", &fingerprint(1)));
    }
}
