//! Settings of the history: storage and queries.

use super::super::text::{choice, duration, positive, positive_duration, shown_duration, shown_size, size};
use super::Effect::Restart;
use super::{Access, Row, row};
use crate::app::settings::Feature;
use crate::model::ByteSize;

pub(super) const ROWS: &[Row] = &[
    row(
        "",
        "collect.history_interval",
        "DURATION",
        Restart,
        one!(collect.history_interval, duration, shown_duration),
        "How often the machine's own metrics go into history. 0s: never.",
    ),
    row(
        "",
        "collect.job",
        "NAME",
        Restart,
        one!(collect.job, |text: &str| Ok::<_, String>(text.to_owned()), Clone::clone),
        "Label `job` of the machine's own metrics in history.",
    ),
    row(
        "",
        "collect.instance",
        "NAME",
        Restart,
        optional!(collect.instance),
        "Label `instance` of the machine's own metrics in history. Unset: the machine's name.",
    ),
    row(
        "storage.path",
        "storage.path",
        "DIR",
        Restart,
        file!(storage.path),
        "Folder of the history, which survives restarts there. Unset or empty: history lives in memory only.",
    ),
    row(
        "storage.retention",
        "storage.retention",
        "DURATION",
        Restart,
        wait!(storage.retention),
        "How long samples are kept.",
    ),
    row(
        "storage.retention-selected",
        "storage.retention_selected",
        "DURATION",
        Restart,
        wait!(storage.retention_selected),
        "How long samples are kept of series that rules read.",
    ),
    row(
        "storage.max-size",
        "storage.max_size",
        "SIZE",
        Restart,
        one!(storage.max_size_bytes, |text| size(text).map(|bytes| bytes as u64), |bytes: &u64| {
            ByteSize::new(*bytes).to_string()
        }),
        "Most bytes of samples on disk; the oldest go first.",
    ),
    row(
        "storage.max-series",
        "storage.max_series",
        "NUMBER",
        Restart,
        one!(storage.max_series, positive),
        "Most series kept at once; samples of further ones are dropped and counted.",
    ),
    row(
        "storage.remote-write-queue-size",
        "storage.remote_write_queue_size",
        "SIZE",
        Restart,
        one!(storage.remote_write_queue_bytes, |text| size(text).map(|bytes| bytes as u64), |bytes: &u64| {
            ByteSize::new(*bytes).to_string()
        }),
        "Most bytes of samples that wait for the receivers of remote_write; the oldest go first and are counted. Without storage.path at most 16MB, which are memory.",
    ),
    row(
        "",
        "storage.remote_write_body_size",
        "SIZE",
        Restart,
        one!(storage.max_remote_write_bytes, size, shown_size),
        "Largest body of a remote write from others, before and after decompression; a larger one gets status 413.",
    ),
    row(
        "",
        "storage.encryption_key_file",
        "FILE",
        Restart,
        file!(storage.encryption_key_file),
        "File with the key (32 bytes, as they are or in hexadecimal) that the history is encrypted with.",
    ),
    row(
        "query.lookback-delta",
        "query.lookback_delta",
        "DURATION",
        Restart,
        wait!(query.lookback_delta),
        "How far back an instant vector looks for the last sample of a series.",
    ),
    row(
        "query.timeout",
        "query.timeout",
        "DURATION",
        Restart,
        wait!(query.timeout),
        "Longest time of a query; a longer one is ended.",
    ),
    row(
        "query.max-concurrency",
        "query.max_concurrency",
        "NUMBER",
        Restart,
        one!(query.max_concurrency, positive),
        "Most queries evaluated at once; further ones wait.",
    ),
    row(
        "query.max-samples",
        "query.max_samples",
        "NUMBER",
        Restart,
        one!(query.max_samples, positive),
        "Most samples that a query holds in memory at once; one that needs more is ended.",
    ),
    row(
        "enable-feature",
        "enable_features",
        "NAME",
        Restart,
        Access::Many(
            |s| s.query.features.iter().map(|feature| feature.as_str().to_owned()).collect(),
            |s, texts| {
                // As Prometheus's flag: each may be a list.
                let names = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
                s.query.features =
                    names.map(|name| choice(name, &Feature::NAMES)).collect::<Result<_, _>>()?;
                Ok(())
            },
        ),
        "Experimental features to switch on, under Prometheus's names. Repeatable, or separated by commas.",
    ),
];
