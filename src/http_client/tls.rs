//! `tls_config` made into a rustls configuration, anew whenever one of its files has changed.
//!
//! Trust without `ca` is the system's, through rustls-native-certs: a company's own authority that the machine
//! trusts counts here as well, as it does for Go's programs, and `SSL_CERT_FILE` and `SSL_CERT_DIR` work.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};

use super::error::ConnectError;
use super::pinning::Pinning;
use super::settings::{TlsSettings, TlsVersion};
use crate::config::{Secret, WatchedFiles};

/// The TLS side of a client.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    protocols: Protocols,
    built: Mutex<Option<(WatchedFiles, Arc<ClientConfig>)>>,
}

/// What is offered to be spoken over TLS (ALPN). A server that takes this seriously refuses who offers what it does not
/// speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// Nothing is offered.
    Any,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, or else HTTP/1.1.
    Http,
    /// HTTP/2 alone.
    Http2,
}

impl Protocols {
    /// HTTP, of version 2 only if it may be.
    pub const fn http(http2: bool) -> Self {
        if http2 { Self::Http } else { Self::Http1 }
    }

    fn names(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Any => &[],
            Self::Http1 => &[b"http/1.1"],
            Self::Http => &[b"h2", b"http/1.1"],
            Self::Http2 => &[b"h2"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

impl Tls {
    /// Of settings.
    pub const fn new(settings: TlsSettings, protocols: Protocols) -> Self {
        Self { settings, protocols, built: Mutex::new(None) }
    }

    /// The configuration for the next connection. May read files.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn config(&self) -> Result<Arc<ClientConfig>, ConnectError> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((files, config)) = &*built
            && !files.have_changed()
        {
            return Ok(Arc::clone(config));
        }
        let mut files = WatchedFiles::default();
        let verifier = self.verifier(&mut files).map_err(ConnectError::Tls)?;
        let config = Arc::new(self.build(verifier, &mut files).map_err(ConnectError::Tls)?);
        *built = Some((files, Arc::clone(&config)));
        Ok(config)
    }

    /// A configuration for one connection that takes any chain, and who keeps what it saw of it. May read files.
    ///
    /// # Errors
    /// A certificate or key of ours cannot be read, or is none.
    pub fn witness(&self) -> Result<(Arc<ClientConfig>, Arc<Witness>), ConnectError> {
        let mut files = WatchedFiles::default();
        let usual = if self.settings.insecure_skip_verify {
            Err(None)
        } else {
            // A system that trusts nobody is no mistake of the settings.
            self.verifier(&mut files).map_err(|why| self.settings.ca.is_some().then_some(why))
        };
        let witness = Arc::new(Witness { usual, seen: Mutex::default() });
        let verifier: Arc<Witness> = Arc::clone(&witness);
        let config = self.build(verifier, &mut files).map_err(ConnectError::Tls)?;
        Ok((Arc::new(config), witness))
    }

    /// The name that the server's certificate must have.
    ///
    /// # Errors
    /// It is none that a certificate can have.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, ConnectError> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        ServerName::try_from(name.clone()).map_err(|_| {
            ConnectError::Tls(format!("tls: {name:?} is not a name that a certificate can have"))
        })
    }

    /// Who checks chains, as the settings say.
    fn verifier(&self, files: &mut WatchedFiles) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let provider = Arc::new(ring::default_provider());
        if self.settings.insecure_skip_verify {
            return Ok(Arc::new(KeyHolder { certificate: None, provider }));
        }
        let (roots, pinned) = match &self.settings.ca {
            Some(ca) => {
                let certificates = read_certificates(ca, files)?;
                (Arc::new(roots_of(&certificates)?), certificates)
            }
            None => (system_roots()?, Vec::new()),
        };
        let usual = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let usual = usual.map_err(|error| format!("tls: {error}"))?;
        Ok(if pinned.is_empty() { usual } else { Arc::new(Pinning { usual, pinned }) })
    }

    fn build(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
        files: &mut WatchedFiles,
    ) -> Result<ClientConfig, String> {
        let versions = self.versions();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&versions)
            .map_err(|error| format!("tls: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&self.settings.cert, &self.settings.key) {
            (Some(cert), Some(key)) => {
                let chain = read_certificates(cert, files)?;
                let key = PrivateKeyDer::from_pem_slice(&read_pem(key, files)?)
                    // The error might quote what is between the dashes.
                    .map_err(|_| "tls: failed to find any PEM data in key input".to_owned())?;
                builder.with_client_auth_cert(chain, key).map_err(|error| format!("tls: {error}"))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.names();
        Ok(config)
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let min = self.settings.min_version.unwrap_or(TlsVersion::Tls12);
        let max = self.settings.max_version.unwrap_or(TlsVersion::Tls13);
        let known =
            [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)];
        known.into_iter().filter(|(version, _)| (min..=max).contains(version)).map(|(_, v)| v).collect()
    }
}

fn read_pem(pem: &Secret, files: &mut WatchedFiles) -> Result<Vec<u8>, String> {
    match pem.path() {
        Some(path) => files.read(path).map_err(|error| format!("open {}: {error}", path.display())),
        None => pem.reveal().map(String::into_bytes).map_err(|error| error.to_string()),
    }
}

fn read_certificates(pem: &Secret, files: &mut WatchedFiles) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read_pem(pem, files)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("tls: failed to find any PEM data in certificate input".to_owned()),
        Err(error) => Err(format!("tls: not a certificate in PEM: {error}")),
    }
}

fn roots_of(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if added == 0 {
        return Err("unable to use specified CA cert".to_owned());
    }
    Ok(roots)
}

/// The authorities that the machine trusts; read once, when the first client needs them.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        return Err(
            "tls: the system trusts no authority; install ca-certificates, or set tls_config.ca_file".into(),
        );
    }
    Ok(Arc::clone(roots))
}

/// All that a signature in a handshake can be, for those to whom it proves nothing. The provider's own list lacks what
/// it cannot check, such as P-521, and a server with such a key would refuse to talk.
const ANY_SCHEME: [SignatureScheme; 13] = [
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::ED448,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::ECDSA_SHA1_Legacy,
    SignatureScheme::RSA_PKCS1_SHA1,
];

/// Accepts whoever proves to hold the key of a certificate: that of the web configuration, where an instance is asked on
/// its own machine. `None`: anybody (`insecure_skip_verify`). Where any certificate will do, holding its key proves nothing;
/// it is not looked at, and keys will do that the provider does not know.
#[derive(Debug)]
pub(crate) struct KeyHolder {
    pub(crate) certificate: Option<CertificateDer<'static>>,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KeyHolder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.certificate {
            Some(own) if own != end_entity => {
                Err(rustls::Error::General("not the certificate that the web configuration names".to_owned()))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.certificate.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.certificate.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self.certificate {
            None => ANY_SCHEME.to_vec(),
            Some(_) => self.provider.signature_verification_algorithms.supported_schemes(),
        }
    }
}

/// Takes any chain, and remembers it and what the usual check would have said. It knows the chain also when the handshake
/// fails afterwards, over a certificate that the server wants of us.
#[derive(Debug)]
pub struct Witness {
    /// `Err`: there is no usual check; why, if that is a mistake.
    usual: Result<Arc<dyn ServerCertVerifier>, Option<String>>,
    seen: Mutex<Seen>,
}

/// What was seen of one handshake.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The server's certificate, then those presented with it; empty if the handshake did not come so far.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether the usual check trusts it, and the server proved to hold the key.
    pub trusted: bool,
}

impl Witness {
    /// What it saw.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the chain could not be checked: whom to trust cannot be read.
    pub fn problem(&self) -> Option<&str> {
        self.usual.as_ref().err()?.as_deref()
    }

    fn signed(
        &self,
        check: impl FnOnce(&dyn ServerCertVerifier) -> Result<HandshakeSignatureValid, rustls::Error>,
    ) -> HandshakeSignatureValid {
        let valid = self.usual.as_deref().is_ok_and(|usual| check(usual).is_ok());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).trusted &= valid;
        HandshakeSignatureValid::assertion()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let check = |usual: &dyn ServerCertVerifier| {
            usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).is_ok()
        };
        let trusted = self.usual.as_deref().is_ok_and(check);
        let chain =
            std::iter::once(end_entity).chain(intermediates).map(|c| c.clone().into_owned()).collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen { chain, trusted };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(self.signed(|usual| usual.verify_tls12_signature(message, cert, dss)))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(self.signed(|usual| usual.verify_tls13_signature(message, cert, dss)))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ANY_SCHEME.to_vec()
    }
}
