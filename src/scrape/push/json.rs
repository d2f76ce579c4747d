//! Groups as `GET /api/v1/metrics` of a Pushgateway shows them.

use serde_json::{Map, Value as Json, json};

use super::Grouping;
use super::check::type_name;
use super::family::{Family, Metric, Value};
use super::group::Group;
use crate::expose::push_float;
use crate::model::{Kind, Timestamp};

pub(super) fn group(grouping: &Grouping, group: &Group, now: Timestamp) -> Json {
    let mut shown = Map::new();
    let [pushed, failed] = group.times(grouping, now);
    for family in group.families().chain([&pushed, &failed]) {
        shown.insert(family.name.clone(), self::family(family));
    }
    // Over any family of these names, as there.
    let labels: Map<String, Json> =
        grouping.iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect();
    shown.insert("labels".to_owned(), Json::Object(labels));
    let successful = group.pushed >= group.failed;
    shown.insert("last_push_successful".to_owned(), Json::from(successful));
    Json::Object(shown)
}

fn family(family: &Family) -> Json {
    let mut shown = Map::new();
    shown.insert("time_stamp".to_owned(), Json::from(instant(family.pushed)));
    shown.insert("type".to_owned(), Json::from(type_name(family.kind)));
    if !family.help.is_empty() {
        shown.insert("help".to_owned(), Json::from(family.help.as_str()));
    }
    let metrics = family.metrics.iter().map(|m| metric(family.kind, m)).collect();
    shown.insert("metrics".to_owned(), Json::Array(metrics));
    Json::Object(shown)
}

fn metric(kind: Kind, metric: &Metric) -> Json {
    let labels: Map<String, Json> =
        metric.labels.iter().map(|(name, value)| (name.to_string(), Json::from(&**value))).collect();
    match &metric.value {
        Value::Plain(value) => json!({ "labels": labels, "value": number(*value) }),
        Value::Composed { bounds, sum, count } => {
            let bounds: Map<String, Json> =
                bounds.iter().map(|(at, value)| (number(*at), Json::from(number(*value)))).collect();
            json!({
                "labels": labels,
                if kind == Kind::Summary { "quantiles" } else { "buckets" }: bounds,
                "sum": number(sum.unwrap_or(0.0)),
                "count": number(count.unwrap_or(0.0)),
            })
        }
    }
}

fn number(value: f64) -> String {
    let mut text = Vec::with_capacity(24);
    push_float(&mut text, value);
    String::from_utf8(text).unwrap_or_default()
}

/// RFC 3339, in UTC.
pub(super) fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map(|at| at.to_string()).unwrap_or_default()
}
