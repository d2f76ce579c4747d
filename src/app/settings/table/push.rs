//! Settings of pushed metrics.

use super::super::text::{duration, positive, shown_duration, shown_size, size};
use super::Effect::Restart;
use super::{Access, Row, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "push.enabled",
        "push.enabled",
        "",
        Restart,
        switch!(push.enabled),
        "Take pushed metrics under the Pushgateway's API, at /metrics/job/NAME.",
    ),
    row(
        "push.ttl",
        "push.ttl",
        "DURATION",
        Restart,
        one!(push.ttl, duration, shown_duration),
        "How long pushed metrics stay without a new push, unless the push itself says (?ttl=10m). 0s: until they are deleted.",
    ),
    row(
        "push.expose-on-metrics",
        "push.expose_on_metrics",
        "",
        Restart,
        switch!(push.expose_on_metrics),
        "Show pushed metrics on the page of metrics, as a Pushgateway does; scrape it with honor_labels.",
    ),
    row(
        "push.max-groups",
        "push.max_groups",
        "NUMBER",
        Restart,
        one!(push.max_groups, positive),
        "Most groups of pushed metrics; a push of one more gets status 413.",
    ),
    row(
        "push.max-series",
        "push.max_series",
        "NUMBER",
        Restart,
        one!(push.max_series, positive),
        "Most pushed series in all groups together; a push beyond gets status 413.",
    ),
    row(
        "push.max-body-size",
        "push.max_body_size",
        "SIZE",
        Restart,
        one!(push.max_body_bytes, size, shown_size),
        "Largest body of a push, before and after decompression; a larger one gets status 413.",
    ),
];
