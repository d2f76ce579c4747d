//! Settings of `healthcheck`: how `outrigger healthcheck` reaches the running instance.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Secret;

/// Settings of `healthcheck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Base URL of the instance; `None`: the first address that it listens on.
    pub url: Option<String>,
    /// Longest time for the whole question.
    pub timeout: Duration,
    /// User for basic authentication.
    pub username: Option<String>,
    /// Password for basic authentication.
    pub password: Option<Secret>,
    /// TLS.
    pub tls: TlsSettings,
}

/// How the instance's certificate is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates that are trusted, PEM.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, where the instance asks for one, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// The name that the certificate must bear; `None`: the host of the URL.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            url: None,
            timeout: Duration::from_secs(5),
            username: None,
            password: None,
            tls: TlsSettings::default(),
        }
    }
}
