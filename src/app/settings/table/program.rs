//! Settings of the program itself: logging, paths, collectors, the health check.

use super::super::text::{choice, duration, positive, positive_duration, shown_duration};
use super::super::types::{LogFormat, LogLevel};
use super::Effect::{Call, Reload, Restart};
use super::{Access, Row, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "log.level",
        "log.level",
        "LEVEL",
        Reload,
        one!(log.level, |text| choice(text, &LogLevel::NAMES)),
        "Leave out log lines below this level: debug, info, warn or error.",
    ),
    row(
        "log.format",
        "log.format",
        "FORMAT",
        Reload,
        one!(log.format, |text| choice(text, &LogFormat::NAMES)),
        "Format of log lines: logfmt or json.",
    ),
    row("path.procfs", "path.procfs", "PATH", Reload, path!(path.procfs), "Where procfs is mounted."),
    row("path.sysfs", "path.sysfs", "PATH", Reload, path!(path.sysfs), "Where sysfs is mounted."),
    row(
        "path.rootfs",
        "path.rootfs",
        "PATH",
        Reload,
        path!(path.rootfs),
        "Where the host's root file system is mounted.",
    ),
    row(
        "path.udev.data",
        "path.udev_data",
        "PATH",
        Reload,
        path!(path.udev_data),
        "Where udev keeps its data.",
    ),
    row(
        "collector.timeout",
        "collect.timeout",
        "DURATION",
        Reload,
        wait!(collect.timeout),
        "Longest time a scrape waits for a collector; always below the scraper's own timeout.",
    ),
    row(
        "collector.min-interval",
        "collect.min_interval",
        "DURATION",
        Reload,
        one!(collect.min_interval, duration, shown_duration),
        "Scrapes closer together than this share their values. 0s: each reads afresh.",
    ),
    row(
        "collector.max-series",
        "collect.max_series",
        "NUMBER",
        Reload,
        one!(collect.max_series, positive),
        "Most samples a collector may give in a scrape; the rest is dropped and counted.",
    ),
    row(
        "collector.max-threads",
        "collect.max_threads",
        "NUMBER",
        Reload,
        one!(collect.max_threads, positive),
        "Most threads that run collectors, those that hang included.",
    ),
    row(
        "collector.disable-defaults",
        "collect.disable_defaults",
        "",
        Reload,
        switch!(collect.disable_defaults),
        "Run only the collectors that are enabled by name.",
    ),
    row(
        "",
        "healthcheck.url",
        "URL",
        Call,
        optional!(health.url),
        "Base URL of the instance to ask: http://, https:// or unix:/PATH. Unset: the first address that it listens on.",
    ),
    row(
        "",
        "healthcheck.timeout",
        "DURATION",
        Call,
        wait!(health.timeout),
        "Longest time for the question and its answer.",
    ),
    row(
        "",
        "healthcheck.basic_auth.username",
        "NAME",
        Call,
        optional!(health.username),
        "User for basic authentication.",
    ),
    row(
        "",
        "healthcheck.basic_auth.password",
        "SECRET",
        Call,
        Access::Secret(|s| s.health.password.as_ref(), |s, secret| s.health.password = Some(secret)),
        "Password for basic authentication. Or `password_file`: the file that holds it.",
    ),
    row(
        "",
        "healthcheck.tls_config.ca_file",
        "FILE",
        Call,
        file!(health.tls.ca_file),
        "Certificates (PEM) from which the instance's own must descend.",
    ),
    row(
        "",
        "healthcheck.tls_config.cert_file",
        "FILE",
        Call,
        file!(health.tls.cert_file),
        "Certificate (PEM) to show to an instance that asks for one.",
    ),
    row(
        "",
        "healthcheck.tls_config.key_file",
        "FILE",
        Call,
        file!(health.tls.key_file),
        "Key (PEM) of that certificate.",
    ),
    row(
        "",
        "healthcheck.tls_config.server_name",
        "NAME",
        Call,
        optional!(health.tls.server_name),
        "Name that the instance's certificate must bear. Unset: the host of the URL.",
    ),
    row(
        "",
        "healthcheck.tls_config.insecure_skip_verify",
        "",
        Call,
        switch!(health.tls.insecure_skip_verify),
        "Accept any certificate.",
    ),
    RUNTIME_THREADS,
];

const RUNTIME_THREADS: Row = Row {
    hidden: true,
    ..row(
        "runtime.gomaxprocs",
        "",
        "NUMBER",
        Restart,
        Access::One(
            |s| s.worker_threads.map(|n| n.to_string()).unwrap_or_default(),
            |s, text| {
                s.worker_threads = Some(positive(text)?);
                Ok(())
            },
        ),
        "Threads that answer HTTP, under node_exporter's name for it.",
    )
};
