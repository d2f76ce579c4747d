//! The chain that an endpoint shows in a TLS handshake.
//!
//! First as any client would, checking it; if that fails, once more without, to see what it is that fails.

use std::sync::Arc;

use super::der::{self, Certificate};
use crate::checks::net::{self, Family, host_and_port};
use crate::config::{Section, Value};
use crate::http_client::{Tls, TlsSettings};

/// Most endpoints of one source; they are asked one after the other.
const MOST_ENDPOINTS: usize = 100;

/// Whom to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// `HOST:PORT`.
    pub address: String,
    host: String,
    port: u16,
    tls: TlsSettings,
}

impl Endpoint {
    /// `endpoints`: `HOST[:PORT]`, or a section with `address` and `tls_config`.
    pub(super) fn read_all(section: &mut Section<'_>) -> Vec<Self> {
        let items = section.take_list("endpoints").unwrap_or_default();
        if items.len() > MOST_ENDPOINTS {
            section
                .error("endpoints", format!("more than {MOST_ENDPOINTS} endpoints; make it several sources"));
            return Vec::new();
        }
        items.iter().filter_map(Self::read).collect()
    }

    fn read(item: &Value<'_>) -> Option<Self> {
        let parse = |value: &Value<'_>| value.parse_with("HOST:PORT", |text| host_and_port(text, Some(443)));
        let ((host, port), tls) = if item.is_scalar() {
            (parse(item)?, TlsSettings::default())
        } else {
            let mut section = item.section()?;
            section.require("address");
            let tls = TlsSettings::read(&mut section);
            (section.take("address").and_then(|value| parse(&value))?, tls)
        };
        let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Some(Self { address: shown, host, port, tls })
    }

    /// The chain, and whether it is trusted.
    pub(in crate::checks) async fn chain(&self) -> Result<(Vec<Certificate>, bool), String> {
        match self.ask(self.tls.clone()).await {
            Ok(chain) => Ok((chain, !self.tls.insecure_skip_verify)),
            Err(why) if why.contains("certificate") => {
                let anyway = TlsSettings { insecure_skip_verify: true, ..self.tls.clone() };
                Ok((self.ask(anyway).await?, false))
            }
            Err(why) => Err(why),
        }
    }

    async fn ask(&self, settings: TlsSettings) -> Result<Vec<Certificate>, String> {
        let verifies = !settings.insecure_skip_verify;
        let (address, _) = net::resolve(&self.host, Family::default()).await;
        let stream = net::connect((address?, self.port).into(), None).await?;
        let tls = Arc::new(Tls::new(settings, false));
        let (_stream, facts) = net::encrypt(stream, &tls, verifies, &self.host).await?;
        let chain: Vec<Certificate> = facts.chain.iter().filter_map(|der| der::read(der)).collect();
        if chain.is_empty() {
            return Err("it showed no certificate that can be read".to_owned());
        }
        Ok(chain)
    }
}
