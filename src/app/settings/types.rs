//! The settings with their types.

use std::fmt;

use crate::collect::HostPaths;
use crate::web::WebConfig;

use super::{CollectSettings, HealthSettings};

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
    /// How `outrigger healthcheck` asks.
    pub health: HealthSettings,
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
    /// Whether `POST /-/reload` reloads.
    pub enable_lifecycle: bool,
    /// Whether metrics about this program itself are left out.
    pub disable_exporter_metrics: bool,
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
