//! The table of settings: one row each.

use std::path::{Path, PathBuf};

use crate::config::Secret;
use crate::web::AddressError;

use super::text::{
    choice, duration, number, positive, positive_duration, shown_duration, shown_size, size, url_path,
};
use super::types::{LogFormat, LogLevel, Settings};

/// One setting.
#[derive(Clone, Copy)]
pub struct Row {
    /// Flag without the dashes, such as `web.telemetry-path`; empty when only the file can set it.
    pub flag: &'static str,
    /// Key in the file, such as `web.telemetry_path`; empty when only the command line can set it.
    pub key: &'static str,
    /// Whether `--help` leaves it out.
    pub hidden: bool,
    /// What stands for the value in `--help`.
    pub value_name: &'static str,
    /// What it does, one or two sentences.
    pub help: &'static str,
    /// When a change in the file shows.
    pub effect: Effect,
    /// How it is read and written.
    pub access: Access,
}

/// When a change in the file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At the next reload.
    Reload,
    /// At the next start.
    Restart,
    /// At the next call of a subcommand.
    Call,
}

/// How a setting is read and written. Texts are as on the command line; an error says what is wrong.
#[derive(Clone, Copy)]
pub enum Access {
    /// On or off.
    Switch(fn(&Settings) -> bool, fn(&mut Settings, bool)),
    /// One value; the text is empty where there is none.
    One(fn(&Settings) -> String, fn(&mut Settings, &str) -> Result<(), String>),
    /// Several values, which replace those from before.
    Many(fn(&Settings) -> Vec<String>, fn(&mut Settings, &[String]) -> Result<(), String>),
    /// A path; a relative one starts at the file that holds it, or on the command line where that runs.
    File(fn(&Settings) -> Option<&Path>, fn(&mut Settings, PathBuf)),
    /// A secret; it has no flag, because everybody on the machine can read command lines.
    Secret(fn(&Settings) -> Option<&Secret>, fn(&mut Settings, Secret)),
}

impl Row {
    /// The value as text, for references and comparisons.
    pub fn value(&self, settings: &Settings) -> String {
        match self.access {
            Access::Switch(get, _) => get(settings).to_string(),
            Access::One(get, _) => get(settings),
            Access::Many(get, _) => get(settings).join(", "),
            Access::File(get, _) => get(settings).map(|path| path.display().to_string()).unwrap_or_default(),
            Access::Secret(get, _) => get(settings).map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Sets it from texts, the last of which counts unless there may be many.
    ///
    /// # Errors
    /// The text does not fit; the message says what would.
    pub fn set(&self, settings: &mut Settings, values: &[String]) -> Result<(), String> {
        let last = values.last().map_or("", String::as_str);
        match self.access {
            Access::Switch(_, set) => {
                let on = last.parse().map_err(|_| format!("expected true or false, found {last:?}"))?;
                set(settings, on);
                Ok(())
            }
            Access::One(_, set) => set(settings, last),
            Access::Many(_, set) => set(settings, values),
            Access::File(get, _) if last.is_empty() && get(settings).is_some() => {
                Err("expected a path, found nothing".to_owned())
            }
            Access::File(_, set) => {
                set(settings, PathBuf::from(last));
                Ok(())
            }
            Access::Secret(_, set) => {
                set(settings, Secret::inline(last));
                Ok(())
            }
        }
    }
}

/// All settings but the collectors' own.
pub fn rows() -> &'static [Row] {
    ROWS
}

/// On or off.
macro_rules! switch {
    ($($field:ident).+) => { Access::Switch(|s| s.$($field).+, |s, on| s.$($field).+ = on) };
}

/// One value, made by a function from text.
macro_rules! one {
    ($($field:ident).+, $parse:expr) => { one!($($field).+, $parse, ToString::to_string) };
    ($($field:ident).+, $parse:expr, $show:expr) => {
        Access::One(
            |s| { let show: fn(&_) -> String = $show; show(&s.$($field).+) },
            |s, text| { s.$($field).+ = $parse(text)?; Ok(()) },
        )
    };
}

/// A text that may be absent.
macro_rules! optional {
    ($($field:ident).+) => {
        one!($($field).+, |text: &str| Ok::<_, String>(Some(text.to_owned())), |value: &Option<String>| {
            value.clone().unwrap_or_default()
        })
    };
}

/// A path that may be absent.
macro_rules! file {
    ($($field:ident).+) => {
        Access::File(
            |s| s.$($field).+.as_deref(),
            // An empty path is how exporter-toolkit's flag says "none".
            |s, path| s.$($field).+ = (!path.as_os_str().is_empty()).then_some(path),
        )
    };
}

/// A path that is always there.
macro_rules! path {
    ($($field:ident).+) => { Access::File(|s| Some(&s.$($field).+), |s, path| s.$($field).+ = path) };
}

/// A duration above zero.
macro_rules! wait {
    ($($field:ident).+) => { one!($($field).+, positive_duration, shown_duration) };
}

const fn row(
    flag: &'static str,
    key: &'static str,
    value_name: &'static str,
    effect: Effect,
    access: Access,
    help: &'static str,
) -> Row {
    Row { flag, key, hidden: false, value_name, help, effect, access }
}

const HIDDEN_ROW: Row = Row {
    hidden: true,
    ..row(
        "runtime.gomaxprocs",
        "",
        "NUMBER",
        Effect::Restart,
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

use Effect::{Call, Reload, Restart};

const ROWS: &[Row] = &[
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
    row(
        "web.listen-address",
        "web.listen_addresses",
        "ADDRESS",
        Restart,
        Access::Many(|s| s.web.serve.listen.iter().map(ToString::to_string).collect(), set_listen),
        "Address to listen on: HOST:PORT, :PORT or unix:/PATH[,mode=0660]. Repeatable.",
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
    HIDDEN_ROW,
];

fn set_listen(settings: &mut Settings, addresses: &[String]) -> Result<(), String> {
    if addresses.is_empty() {
        return Err("expected at least one address".to_owned());
    }
    let parse = |text: &String| text.parse().map_err(|error: AddressError| error.to_string());
    settings.web.serve.listen = addresses.iter().map(parse).collect::<Result<_, _>>()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn flags_and_keys_are_unique_and_documented() {
        let (mut flags, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for row in rows() {
            assert!(row.flag.is_empty() || flags.insert(row.flag), "--{} twice", row.flag);
            assert!(row.key.is_empty() || keys.insert(row.key), "{} twice", row.key);
            assert!(!row.flag.is_empty() || !row.key.is_empty());
            assert!(row.help.ends_with('.'), "{}{}: a sentence", row.flag, row.key);
            assert_eq!(row.value_name.is_empty(), matches!(row.access, Access::Switch(..)), "{}", row.key);
        }
    }

    #[test]
    fn what_a_row_prints_it_also_reads() {
        let defaults = Settings::default();
        for row in rows().iter().filter(|row| !matches!(row.access, Access::Secret(..))) {
            let text = row.value(&defaults);
            if text.is_empty() {
                continue;
            }
            let mut settings = Settings::default();
            row.set(&mut settings, std::slice::from_ref(&text))
                .unwrap_or_else(|error| panic!("{}: {error}", row.key));
            assert_eq!(row.value(&settings), text, "{}", row.key);
            assert_eq!(settings, defaults, "{}", row.key);
        }
    }

    #[test]
    fn every_limit_of_the_http_face_has_a_key() {
        let fields = format!("{:?}", Settings::default().web.serve.limits).matches(": ").count();
        let is_limit = |row: &&Row| row.key.starts_with("web.limits.") || row.key.starts_with("web.max_");
        assert_eq!(rows().iter().filter(is_limit).count(), fields);
    }

    #[test]
    fn wrong_values_are_refused() {
        for (flag, wrong) in [
            ("log.level", "loud"),
            ("log.format", "xml"),
            ("web.listen-address", "9780"),
            ("web.telemetry-path", "metrics"),
            ("web.max-requests", "-1"),
            ("web.max-connections", "0"),
            ("path.procfs", ""),
            ("collector.timeout", "0s"),
            ("collector.timeout", "5"),
            ("collector.max-series", "many"),
            ("runtime.gomaxprocs", "0"),
        ] {
            let row = rows().iter().find(|row| row.flag == flag).unwrap();
            let mut settings = Settings::default();
            assert!(row.set(&mut settings, &[wrong.to_owned()]).is_err(), "{flag}={wrong}");
            assert_eq!(settings, Settings::default(), "{flag}={wrong}");
        }
    }
}
