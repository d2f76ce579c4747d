//! Whom `outrigger healthcheck` believes to be the instance.
//!
//! An instance is asked on its own machine, under an address that its certificate seldom names. So
//! besides the usual verification there is the certificate that the instance's own web configuration
//! names: whoever shows that one, and proves to hold its key, is the instance.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::app::settings::TlsSettings;
use crate::config::read_bounded;
use crate::http_client::KeyHolder;
use crate::model::ByteSize;

const LARGEST_PEM: ByteSize = ByteSize::new(1 << 20);

/// What the instance's certificate must be.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    pub(super) settings: TlsSettings,
    /// The certificate from the instance's own configuration, DER.
    pub(super) own: Option<CertificateDer<'static>>,
}

impl Trust {
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&provider)?);
        let TlsSettings { cert_file, key_file, server_name, .. } = &self.settings;
        let config = match (cert_file, key_file) {
            (None, None) => config.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                config.with_client_auth_cert(certificates(cert)?, private_key(key)?)?
            }
            _ => bail!("healthcheck.tls_config: cert_file and key_file go together"),
        };
        let name = server_name.as_deref().unwrap_or(host);
        let name =
            ServerName::try_from(name.to_owned()).with_context(|| format!("{name:?} is no host name"))?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("TLS")
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> anyhow::Result<Arc<dyn ServerCertVerifier>> {
        if self.settings.insecure_skip_verify {
            return Ok(Arc::new(KeyHolder { certificate: None, provider: Arc::clone(provider) }));
        }
        if let Some(file) = &self.settings.ca_file {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).with_context(|| file.display().to_string())?;
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            return Ok(verifier.build()?);
        }
        let Some(own) = self.own.clone() else {
            bail!(
                "https needs healthcheck.tls_config: ca_file, or insecure_skip_verify; or --web.config.file, whose certificate is the instance's"
            );
        };
        Ok(Arc::new(KeyHolder { certificate: Some(own), provider: Arc::clone(provider) }))
    }
}

/// The certificates of a PEM file, the first one being its owner's.
pub(super) fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = read_bounded(file, LARGEST_PEM).with_context(|| file.display().to_string())?;
    parse_certificates(&pem).with_context(|| file.display().to_string())
}

/// The certificates of a PEM text.
pub(super) fn parse_certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        bail!("no certificate in it");
    }
    Ok(certificates)
}

fn private_key(file: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let pem = read_bounded(file, LARGEST_PEM).with_context(|| file.display().to_string())?;
    PrivateKeyDer::from_pem_slice(&pem).with_context(|| file.display().to_string())
}
