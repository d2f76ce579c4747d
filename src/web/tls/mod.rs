//! `tls_server_config`: exporter-toolkit's section, made into a rustls configuration.
//!
//! Names are Go's. What Go has and rustls refuses on purpose - TLS before 1.2, cipher suites without
//! forward secrecy - is left out with a warning while something better remains, and an error where
//! nothing would.
//!
//! Source: exporter-toolkit's "Web configuration" page; Go's `crypto/tls` for names and defaults.

mod client;
mod san;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{NamedGroup, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use tracing::warn;

use self::client::{ClientAuth, Verifier};

use crate::config::{Section, WatchedFiles};

/// TLS versions by Go's names; 1.0 and 1.1 are known, but not spoken.
const VERSIONS: [(&str, Version); 4] = [
    ("TLS13", Version::Tls13),
    ("TLS12", Version::Tls12),
    ("TLS11", Version::Older),
    ("TLS10", Version::Older),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Older,
    Tls12,
    Tls13,
}

/// Cipher suites that Go offers and rustls does not have.
const REFUSED_CIPHERS: [&str; 10] = [
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
];

const CURVES: [(&str, Option<NamedGroup>); 5] = [
    ("X25519", Some(NamedGroup::X25519)),
    ("CurveP256", Some(NamedGroup::secp256r1)),
    ("CurveP384", Some(NamedGroup::secp384r1)),
    ("CurveP521", None),
    ("X25519MLKEM768", None),
];

/// Sessions kept for resumption.
const KEPT_SESSIONS: usize = 256;

/// Reads the section; `None` both where TLS is not asked for and where the section is wrong, which
/// is then noted in it. The files it names join `files`.
pub(super) fn read(
    section: &mut Section<'_>,
    http2: bool,
    files: &mut WatchedFiles,
) -> Option<Arc<ServerConfig>> {
    let asked_for = TURNS_TLS_ON.iter().any(|key| section.has(key));
    let identity = read_identity(section, asked_for, files);
    let provider = read_provider(section);
    let versions = read_versions(section);
    let ignore_client_order = section.take_bool("prefer_server_cipher_suites").unwrap_or(true);
    let client = read_client(section, files);
    let (Some((chain, key)), Some(provider), Some(versions), Ok(client)) =
        (identity, provider, versions, client)
    else {
        return None;
    };
    let verifier = match client {
        Some(client) => Some(client.verifier(section, &provider)?),
        None => None,
    };
    let built = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map(|builder| match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        })
        .and_then(|builder| builder.with_single_cert(chain, key));
    match built {
        Ok(mut config) => {
            config.ignore_client_order = ignore_client_order;
            config.session_storage = ServerSessionMemoryCache::new(KEPT_SESSIONS);
            let http2 = http2.then(|| b"h2".to_vec());
            config.alpn_protocols = http2.into_iter().chain([b"http/1.1".to_vec()]).collect();
            Some(Arc::new(config))
        }
        Err(error) => {
            section.error(if section.has("cert_file") { "cert_file" } else { "cert" }, error.to_string());
            None
        }
    }
}

/// With none of these, the section means plain HTTP, as in exporter-toolkit.
const TURNS_TLS_ON: [&str; 7] =
    ["cert", "cert_file", "key", "key_file", "client_auth_type", "client_ca", "client_ca_file"];

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_identity(section: &mut Section<'_>, asked_for: bool, files: &mut WatchedFiles) -> Option<Identity> {
    let certificate = read_pem(section, "cert", files);
    let key = read_pem(section, "key", files);
    if !asked_for {
        return None;
    }
    let chain = certificate.and_then(|(at, pem)| {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Some(chain),
            Ok(_) => noted(section, at, "holds no certificate in PEM"),
            Err(error) => noted(section, at, &format!("not a certificate in PEM: {error}")),
        }
    });
    let key = key.and_then(|(at, pem)| match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Some(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => noted(section, at, "holds no private key in PEM"),
        // The error might quote what is between the dashes.
        Err(_) => noted(section, at, "not a private key in PEM"),
    });
    Some((chain?, key?))
}

/// A PEM given in place or as a file, and the key it stood under.
fn read_pem(
    section: &mut Section<'_>,
    name: &'static str,
    files: &mut WatchedFiles,
) -> Option<(&'static str, Vec<u8>)> {
    let name_file = match name {
        "cert" => "cert_file",
        "key" => "key_file",
        _ => "client_ca_file",
    };
    let inline = section.take(name).and_then(|value| value.secret()).and_then(|secret| secret.reveal().ok());
    let path: Option<PathBuf> = section.take_path(name_file);
    match (inline, path) {
        (Some(_), Some(_)) => {
            noted(section, name_file, &format!("both {name} and {name_file} are set; leave out one"))
        }
        (Some(pem), None) => Some((name, pem.into_bytes())),
        (None, Some(path)) => match files.read(&path) {
            Ok(pem) => Some((name_file, pem)),
            Err(error) => noted(section, name_file, &format!("{}: {error}", path.display())),
        },
        (None, None) => {
            let needed = name != "client_ca" && TURNS_TLS_ON.iter().any(|key| section.has(key));
            if needed && !section.has(name) && !section.has(name_file) {
                section.error(name_file, format!("missing {name_file} (or {name})"));
            }
            None
        }
    }
}

fn noted<T>(section: &Section<'_>, key: &str, message: &str) -> Option<T> {
    section.error(key, message);
    None
}

fn read_provider(section: &mut Section<'_>) -> Option<Arc<CryptoProvider>> {
    let provider = ring::default_provider();
    let ciphers = section.take_strings("cipher_suites").filter(|names| !names.is_empty());
    let curves = section.take_strings("curve_preferences").filter(|names| !names.is_empty());
    let cipher_suites = match ciphers {
        Some(names) => read_ciphers(section, &names, provider.cipher_suites),
        None => Some(provider.cipher_suites),
    };
    let kx_groups = match curves {
        Some(names) => read_curves(section, &names, &provider.kx_groups),
        None => Some(provider.kx_groups),
    };
    Some(Arc::new(CryptoProvider { cipher_suites: cipher_suites?, kx_groups: kx_groups?, ..provider }))
}

fn read_ciphers(
    section: &Section<'_>,
    names: &[String],
    mut supported: Vec<SupportedCipherSuite>,
) -> Option<Vec<SupportedCipherSuite>> {
    let is_refused = |name: &&String| REFUSED_CIPHERS.contains(&name.as_str());
    let is_known = |name: &&String| supported.iter().any(|suite| go_name(suite) == **name);
    let (refused, rest): (Vec<&String>, Vec<&String>) = names.iter().partition(is_refused);
    if let Some(unknown) = rest.iter().find(|name| !is_known(name)) {
        return noted(section, "cipher_suites", &format!("unknown cipher: {unknown}"));
    }
    if rest.is_empty() {
        let message = "only ciphers without forward secrecy or with CBC, which are not supported";
        return noted(section, "cipher_suites", message);
    }
    for name in refused {
        warn!(cipher = name, "Cipher left out: it lacks forward secrecy, or uses CBC");
    }
    // As in Go, the list is about TLS 1.2; the suites of 1.3 are all good and always on.
    supported.retain(|suite| suite.tls13().is_some() || names.contains(&go_name(suite)));
    Some(supported)
}

fn read_curves(
    section: &Section<'_>,
    names: &[String],
    supported: &[&'static dyn SupportedKxGroup],
) -> Option<Vec<&'static dyn SupportedKxGroup>> {
    let mut groups = Vec::new();
    for name in names {
        let Some((_, curve)) = CURVES.iter().find(|(known, _)| known == name) else {
            return noted(section, "curve_preferences", &format!("unknown curve: {name}"));
        };
        match curve.and_then(|curve| supported.iter().find(|group| group.name() == curve)) {
            Some(group) => groups.push(*group),
            None => warn!(curve = name, "Curve left out: not supported"),
        }
    }
    if groups.is_empty() {
        return noted(
            section,
            "curve_preferences",
            "none of these curves is supported; X25519, CurveP256 and CurveP384 are",
        );
    }
    Some(groups)
}

/// The name that Go gives to a cipher suite.
fn go_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
}

fn read_versions(section: &mut Section<'_>) -> Option<Vec<&'static SupportedProtocolVersion>> {
    let min = section.take_choice("min_version", &VERSIONS).unwrap_or(Version::Tls12);
    let max = section.take_choice("max_version", &VERSIONS).unwrap_or(Version::Tls13);
    if max == Version::Older {
        return noted(section, "max_version", "TLS 1.0 and 1.1 are not supported; TLS12 and TLS13 are");
    }
    if min > max {
        return noted(section, "min_version", "higher than max_version");
    }
    if min == Version::Older {
        warn!("min_version is below TLS 1.2, which is the lowest supported: TLS12 is used");
    }
    let both = [(Version::Tls12, &rustls::version::TLS12), (Version::Tls13, &rustls::version::TLS13)];
    Some(both.into_iter().filter(|(v, _)| (min..=max).contains(v)).map(|(_, version)| version).collect())
}

/// What is asked of clients.
struct Client {
    policy: ClientAuth,
    roots: RootCertStore,
    allowed_names: Option<Vec<String>>,
}

/// `Ok(None)` where clients need no certificate; the error has been noted.
fn read_client(section: &mut Section<'_>, files: &mut WatchedFiles) -> Result<Option<Client>, ()> {
    let policy = section.take_choice("client_auth_type", &ClientAuth::NAMES).unwrap_or_default();
    let allowed_names = section.take_strings("client_allowed_sans");
    let has_authorities = section.has("client_ca") || section.has("client_ca_file");
    let authorities = read_pem(section, "client_ca", files);
    if policy == ClientAuth::None {
        if has_authorities {
            section.error("client_auth_type", "client CAs are given, but no client_auth_type that uses them");
            return Err(());
        }
        if allowed_names.is_some() {
            section.error(
                "client_allowed_sans",
                "needs a client_auth_type: clients give no certificate without one",
            );
            return Err(());
        }
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    match authorities {
        Some((at, pem)) => {
            // A bundle may hold one that nobody can read; the others count.
            let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            let (_, unusable) = roots.add_parsable_certificates(certificates);
            if roots.is_empty() {
                section.error(at, "holds no usable certificate in PEM");
                return Err(());
            }
            if unusable > 0 {
                warn!(unusable, "Client CAs left out: not usable as authorities");
            }
        }
        None if has_authorities => return Err(()),
        None if policy.verifies() => {
            section.error(
                "client_auth_type",
                "needs client_ca_file (or client_ca) to verify client certificates",
            );
            return Err(());
        }
        None => {}
    }
    Ok(Some(Client { policy, roots, allowed_names }))
}

impl Client {
    fn verifier(self, section: &Section<'_>, provider: &Arc<CryptoProvider>) -> Option<Arc<Verifier>> {
        let authorities = if self.policy.verifies() {
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots), Arc::clone(provider));
            match builder.build() {
                Ok(authorities) => Some(authorities),
                Err(error) => return noted(section, "client_auth_type", &error.to_string()),
            }
        } else {
            None
        };
        let (policy, allowed_names, provider) = (self.policy, self.allowed_names, Arc::clone(provider));
        Some(Arc::new(Verifier { policy, authorities, allowed_names, provider }))
    }
}
