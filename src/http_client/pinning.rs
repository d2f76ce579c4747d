//! Servers whose own certificate stands among those that `ca` names.
//!
//! A self-signed certificate that is also an authority, and one that somebody else signed, are no chain to an authority
//! for webpki. To Go they are: who names the very certificate trusts its key. Name and dates count all the same.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Checks chains as usual, and takes the certificates that are named themselves.
#[derive(Debug)]
pub(super) struct Pinning {
    pub(super) usual: Arc<WebPkiServerVerifier>,
    pub(super) pinned: Vec<CertificateDer<'static>>,
}

/// Whether all that is wrong is who signed it. webpki looks at the dates of a server's certificate first, and comes to
/// these only if they hold.
fn is_about_issuer(error: &Error) -> bool {
    match error {
        // Signed by nobody who is named, or by a namesake.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => true,
        // It has no variant of its own.
        Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string() == "CaUsedAsEndEntity",
        _ => false,
    }
}

impl ServerCertVerifier for Pinning {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match usual {
            Err(error) if is_about_issuer(&error) && self.pinned.iter().any(|own| own == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            usual => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::RootCertStore;
    use rustls::crypto::ring;

    use super::*;

    fn params(name: &str, is_ca: IsCa, until: i32) -> CertificateParams {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = is_ca;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params
    }

    fn self_signed(is_ca: IsCa, until: i32) -> CertificateDer<'static> {
        params("a.example", is_ca, until).self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    fn signed_by(authority: &str, until: i32) -> CertificateDer<'static> {
        let authority = params(authority, IsCa::Ca(BasicConstraints::Unconstrained), 2040);
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let own = params("a.example", IsCa::NoCa, until);
        own.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().into()
    }

    #[test]
    fn named_certificates_are_trusted_while_name_and_dates_hold() {
        let authority = || IsCa::Ca(BasicConstraints::Unconstrained);
        let mut limited = params("a.example", IsCa::NoCa, 2040);
        limited.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let limited = limited.self_signed(&KeyPair::generate().unwrap()).unwrap().into();
        let namesake = params("namesake.example", authority(), 2040);
        let other: CertificateDer<'_> = namesake.self_signed(&KeyPair::generate().unwrap()).unwrap().into();
        for (case, certificate, is_named, name, want) in [
            ("an authority", self_signed(authority(), 2040), true, "a.example", ""),
            ("no authority", self_signed(IsCa::NoCa, 2040), true, "a.example", ""),
            ("signed by another", signed_by("ca.example", 2040), true, "a.example", ""),
            ("signed by a namesake", signed_by("namesake.example", 2040), true, "a.example", ""),
            (
                "not named, signed by a namesake",
                signed_by("namesake.example", 2040),
                false,
                "a.example",
                "BadSignature",
            ),
            ("not named", self_signed(authority(), 2040), false, "a.example", "CaUsedAsEndEntity"),
            (
                "not named, signed by another",
                signed_by("ca.example", 2040),
                false,
                "a.example",
                "UnknownIssuer",
            ),
            (
                "wrong name",
                self_signed(authority(), 2040),
                true,
                "b.example",
                "certificate not valid for name",
            ),
            (
                "wrong name, signed",
                signed_by("ca.example", 2040),
                true,
                "b.example",
                "certificate not valid for name",
            ),
            ("expired", self_signed(authority(), 2021), true, "a.example", "certificate expired"),
            ("expired, signed", signed_by("ca.example", 2021), true, "a.example", "certificate expired"),
            ("for clients only", limited, true, "a.example", "certificate does not allow extended key usage"),
        ] {
            let mut pinned = vec![other.clone()];
            pinned.extend(is_named.then(|| certificate.clone()));
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(pinned.clone());
            let provider = Arc::new(ring::default_provider());
            let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
            let pinning = Pinning { usual: usual.build().unwrap(), pinned };
            let now = UnixTime::since_unix_epoch(Duration::from_secs(1_750_000_000));
            let name = ServerName::try_from(name).unwrap();
            let why = match pinning.verify_server_cert(&certificate, &[], &name, &[], now) {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            assert!(why.contains(want) && why.is_empty() == want.is_empty(), "{case}: {why}");
        }
    }
}
