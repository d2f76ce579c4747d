//! Settings of the HTTP face.

use super::super::text::{
    duration, external_url, number, positive, positive_duration, route_prefix, shown_duration, shown_size,
    size, url_path,
};
use super::Effect::Restart;
use super::{Access, Row, row};
use crate::app::settings::Settings;
use crate::model::anchored_regex;
use crate::web::AddressError;

pub(super) const ROWS: &[Row] = &[
    row(
        "web.listen-address",
        "web.listen_addresses",
        "ADDRESS",
        Restart,
        Access::Many(|s| s.web.serve.listen.iter().map(ToString::to_string).collect(), set_listen),
        "Address to listen on: HOST:PORT, :PORT or unix:/PATH[,mode=0660]. Repeatable.",
    ),
    row(
        "web.systemd-socket",
        "web.systemd_socket",
        "",
        Restart,
        switch!(web.systemd_socket),
        "Serve the sockets that systemd hands over (socket activation) instead of the addresses to listen on.",
    ),
    row(
        "web.external-url",
        "web.external_url",
        "URL",
        Restart,
        one!(web.external_url, external_url, |url: &Option<String>| url.clone().unwrap_or_default()),
        "Where others reach this program, for links in alerts; by default the machine's name and the port.",
    ),
    row(
        "web.route-prefix",
        "web.route_prefix",
        "PATH",
        Restart,
        one!(web.route_prefix, route_prefix, |prefix: &Option<String>| prefix.clone().unwrap_or_default()),
        "What stands before the path of every page; by default the path of the external URL. /: nothing.",
    ),
    row(
        "web.telemetry-path",
        "web.telemetry_path",
        "PATH",
        Restart,
        one!(web.serve.metrics_path, url_path),
        "Path under which metrics are exposed.",
    ),
    row(
        "web.disable-exporter-metrics",
        "web.disable_exporter_metrics",
        "",
        Restart,
        switch!(web.disable_exporter_metrics),
        "Leave out metrics about this program itself.",
    ),
    row(
        "web.max-requests",
        "web.max_requests",
        "NUMBER",
        Restart,
        one!(web.serve.limits.max_requests, number),
        "Scrapes answered at once; one more waits a moment, then gets status 503. 0 is no limit.",
    ),
    row(
        "",
        "web.config_file_interval",
        "DURATION",
        Restart,
        wait!(web.serve.config_file_interval),
        "How often config_file, and the files it names, are looked at for changes.",
    ),
    row(
        "web.max-connections",
        "web.max_connections",
        "NUMBER",
        Restart,
        one!(web.serve.limits.max_connections, positive),
        "Connections open at once, over all addresses.",
    ),
    row(
        "web.config.file",
        "web.config_file",
        "FILE",
        Restart,
        file!(web.serve.config_file),
        "File with TLS, users and headers, in the format of Prometheus's exporters; read again when it changes.",
    ),
    row(
        "web.enable-lifecycle",
        "web.enable_lifecycle",
        "",
        Restart,
        switch!(web.enable_lifecycle),
        "Reload the configuration on POST /-/reload.",
    ),
    row(
        "web.enable-admin-api",
        "web.enable_admin_api",
        "",
        Restart,
        switch!(web.enable_admin_api),
        "Let the API delete series and take snapshots.",
    ),
    row(
        "web.enable-remote-write-receiver",
        "web.enable_remote_write_receiver",
        "",
        Restart,
        switch!(web.enable_remote_write_receiver),
        "Take samples that others push by remote write, at /api/v1/write.",
    ),
    row(
        "web.cors.origin",
        "web.cors_origin",
        "REGEX",
        Restart,
        one!(web.cors_origin, origins, |origins: &Option<String>| origins
            .clone()
            .unwrap_or_else(|| ALL.to_owned())),
        "Pages of which origins may read answers of the API; fits the whole origin.",
    ),
    row(
        "",
        "web.limits.max_requests_wait",
        "DURATION",
        Restart,
        one!(web.serve.limits.max_requests_wait, duration, shown_duration),
        "How long a scrape over web.max_requests waits for its turn before it gets status 503.",
    ),
    row(
        "",
        "web.limits.header_size",
        "SIZE",
        Restart,
        one!(web.serve.limits.max_header_bytes, size, shown_size),
        "Largest request line and headers together.",
    ),
    row(
        "",
        "web.limits.headers",
        "NUMBER",
        Restart,
        one!(web.serve.limits.max_headers, positive),
        "Most headers of a request.",
    ),
    row(
        "",
        "web.limits.body_size",
        "SIZE",
        Restart,
        one!(web.serve.limits.max_body_bytes, size, shown_size),
        "Largest body of a request.",
    ),
    row(
        "",
        "web.limits.form_size",
        "SIZE",
        Restart,
        one!(web.serve.limits.max_form_bytes, size, shown_size),
        "Largest form in the body of a call of the API.",
    ),
    row(
        "",
        "web.limits.streams",
        "NUMBER",
        Restart,
        one!(web.serve.limits.max_streams, positive),
        "HTTP/2 streams open at once on a connection.",
    ),
    row(
        "",
        "web.limits.header_timeout",
        "DURATION",
        Restart,
        wait!(web.serve.limits.header_timeout),
        "Longest time until a request's headers have come, the TLS handshake included.",
    ),
    row(
        "",
        "web.limits.body_timeout",
        "DURATION",
        Restart,
        wait!(web.serve.limits.body_timeout),
        "Longest time until a request's body has come.",
    ),
    row(
        "",
        "web.limits.write_stall_timeout",
        "DURATION",
        Restart,
        wait!(web.serve.limits.write_stall_timeout),
        "A client that reads nothing of its answer for this long is dropped.",
    ),
    row(
        "",
        "web.limits.request_timeout",
        "DURATION",
        Restart,
        wait!(web.serve.limits.request_timeout),
        "Longest time from a request to the end of its answer.",
    ),
    row(
        "",
        "web.limits.idle_timeout",
        "DURATION",
        Restart,
        wait!(web.serve.limits.idle_timeout),
        "A connection without a request for this long is closed.",
    ),
    row(
        "",
        "web.limits.drain_timeout",
        "DURATION",
        Restart,
        wait!(web.serve.limits.drain_timeout),
        "What is in flight when the program is told to stop may take this long to end.",
    ),
];

/// The expression that fits every origin, Prometheus's default.
const ALL: &str = ".*";

fn origins(text: &str) -> Result<Option<String>, String> {
    anchored_regex(text).map_err(|error| error.to_string())?;
    Ok((text != ALL).then(|| text.to_owned()))
}

fn set_listen(settings: &mut Settings, addresses: &[String]) -> Result<(), String> {
    if addresses.is_empty() {
        return Err("expected at least one address".to_owned());
    }
    let parse = |text: &String| text.parse().map_err(|error: AddressError| error.to_string());
    settings.web.serve.listen = addresses.iter().map(parse).collect::<Result<_, _>>()?;
    Ok(())
}
