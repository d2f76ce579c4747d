//! Client certificates: Go's five policies, and the list of names that may come in.
//!
//! Source: Go's `tls.ClientAuthType`; exporter-toolkit's `client_allowed_sans`, which looks at a
//! certificate whenever the client gives one.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::san::subject_alt_names;

/// `client_auth_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ClientAuth {
    #[default]
    None,
    /// A certificate is asked for; one that is given need not be signed by anybody known.
    Request,
    /// A certificate must be given; who signed it does not matter.
    RequireAny,
    /// A certificate that is given must be signed by a known authority.
    VerifyIfGiven,
    /// A certificate signed by a known authority must be given.
    RequireAndVerify,
}

impl ClientAuth {
    /// Names as in the file. `RequireClientCert` is the old name of `RequireAnyClientCert`.
    pub(super) const NAMES: [(&'static str, Self); 6] = [
        ("NoClientCert", Self::None),
        ("RequestClientCert", Self::Request),
        ("RequireAnyClientCert", Self::RequireAny),
        ("RequireClientCert", Self::RequireAny),
        ("VerifyClientCertIfGiven", Self::VerifyIfGiven),
        ("RequireAndVerifyClientCert", Self::RequireAndVerify),
    ];

    /// Whether certificates are checked against authorities.
    pub(super) const fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    const fn is_mandatory(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// Checks a client's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) policy: ClientAuth,
    /// Checks who signed it, where the policy asks for that.
    pub(super) authorities: Option<Arc<dyn ClientCertVerifier>>,
    /// `client_allowed_sans`; without the key every name may come in.
    pub(super) allowed_names: Option<Vec<String>>,
    pub(super) provider: Arc<CryptoProvider>,
}

#[derive(Debug, thiserror::Error)]
#[error("none of the certificate's names is in client_allowed_sans: {0:?}")]
struct NameNotAllowed(Vec<String>);

impl Verifier {
    fn check_names(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let Some(allowed) = &self.allowed_names else { return Ok(()) };
        let names = subject_alt_names(certificate);
        if names.iter().any(|name| allowed.contains(name)) {
            return Ok(());
        }
        let refused = OtherError(Arc::new(NameNotAllowed(names)));
        Err(Error::InvalidCertificate(CertificateError::Other(refused)))
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.policy.is_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.as_ref().map_or(&[], |authorities| authorities.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            authorities.verify_client_cert(end_entity, intermediates, now)?;
        }
        self.check_names(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
