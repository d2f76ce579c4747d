//! The settings with their types.

use std::fmt;
use std::sync::Arc;

use crate::checks::ChecksSettings;
use crate::collect::HostPaths;
use crate::notify::NotifySettings;
use crate::remote_write::RemoteSettings;
use crate::rules::RuleSettings;
use crate::scorecard::ScorecardSettings;
use crate::scrape::push::PushSettings;
use crate::scrape::{ScrapeLimits, ScrapeSettings};
use crate::slo::SloSettings;
use crate::web::WebConfig;

use super::{CollectSettings, HealthSettings, QuerySettings, StorageSettings};

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Logging.
    pub log: LogSettings,
    /// The HTTP face.
    pub web: WebSettings,
    /// Where the host's trees are.
    pub path: HostPaths,
    /// The collectors.
    pub collect: CollectSettings,
    /// The history.
    pub storage: StorageSettings,
    /// Queries of it.
    pub query: QuerySettings,
    /// Pushed metrics.
    pub push: PushSettings,
    /// How `outrigger healthcheck` asks.
    pub health: HealthSettings,
    /// `global` and `scrape_configs`.
    pub scrape: ScrapeSettings,
    /// `remote_write`.
    pub remote_write: Vec<Arc<RemoteSettings>>,
    /// `rule_files`.
    pub rules: RuleSettings,
    /// `slo_files`.
    pub slos: SloSettings,
    /// `scorecard`.
    pub scorecard: ScorecardSettings,
    /// `alerting`.
    pub notify: NotifySettings,
    /// `checks`.
    pub checks: ChecksSettings,
    /// What all scrape jobs together may take.
    pub scrape_limits: ScrapeLimits,
    /// The file's text without its secrets, for `status/config`.
    pub shown_file: String,
    /// Threads for HTTP; `None`: as many as there are CPUs, four at most.
    pub worker_threads: Option<usize>,
}

/// Settings of `log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Lines below this are left out.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// How grave a line must be to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What changes: starts, stops, reloads, recoveries.
    #[default]
    Info,
    /// What goes wrong but is dealt with.
    Warn,
    /// What goes wrong and needs somebody.
    Error,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `ts=... level=info component=web msg="..."`
    #[default]
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Settings of `web`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSettings {
    /// Addresses, limits, the file with TLS and users.
    pub serve: WebConfig,
    /// Where others reach this program, without a slash at the end; `None`: the machine's name and the port.
    pub external_url: Option<String>,
    /// What stands before the path of every page, as `/prefix`; `None`: the path of `external_url`.
    pub route_prefix: Option<String>,
    /// Whether to serve the sockets that the service manager hands over instead of `serve.listen`.
    pub systemd_socket: bool,
    /// Whether `POST /-/reload` reloads.
    pub enable_lifecycle: bool,
    /// Whether the API may delete series and take snapshots.
    pub enable_admin_api: bool,
    /// Whether others may push samples by remote write.
    pub enable_remote_write_receiver: bool,
    /// Pages of which origins may read answers of the API, as an expression; `None`: all.
    pub cors_origin: Option<String>,
    /// Whether metrics about this program itself are left out.
    pub disable_exporter_metrics: bool,
}

impl WebSettings {
    /// What stands before the path of every page; empty, or with a slash before and none behind.
    pub fn prefix(&self) -> String {
        let of_url = || {
            let url: Option<hyper::Uri> = self.external_url.as_ref()?.parse().ok();
            url.map(|url| url.path().to_owned())
        };
        let prefix = self.route_prefix.clone().or_else(of_url).unwrap_or_default();
        prefix.trim_end_matches('/').to_owned()
    }
}

impl LogLevel {
    pub(super) const NAMES: [(&'static str, Self); 4] =
        [("debug", Self::Debug), ("info", Self::Info), ("warn", Self::Warn), ("error", Self::Error)];
}

impl LogFormat {
    pub(super) const NAMES: [(&'static str, Self); 2] = [("logfmt", Self::Logfmt), ("json", Self::Json)];
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, self))
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, self))
    }
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, named)| named == value).map_or("", |(name, _)| name)
}
