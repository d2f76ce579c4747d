//! Where to listen, as the flag writes it: `:9780`, `127.0.0.1:0`, `[::1]:9780`, `localhost:9780`,
//! `unix:/run/outrigger.sock`, `unix:/run/outrigger.sock,mode=0660`.
//!
//! Source: Go's `net.Listen` for TCP addresses (an empty host is every interface, IPv6 and IPv4).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest path that a Unix socket can have (`sockaddr_un.sun_path`, with its final NUL).
const UNIX_PATH_BYTES: usize = 107;

/// Permissions of a Unix socket unless `,mode=` says otherwise: its owner and group may connect.
const UNIX_MODE: u32 = 0o660;

/// One place to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A TCP port; without a host on all interfaces, IPv6 and IPv4 in one socket.
    Tcp {
        /// A name or an IP address without brackets; `None` is all interfaces.
        host: Option<String>,
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Where the socket is made.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Why a text is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `:port`.
    #[error("address {0:?}: missing port; write \":9780\" for all interfaces or \"HOST:PORT\"")]
    MissingPort(String),
    /// What follows the last colon is not a port.
    #[error("address {address:?}: {port:?} is not a port (0 to 65535)")]
    BadPort {
        /// The whole text.
        address: String,
        /// The part that should be a port.
        port: String,
    },
    /// More than one colon in a host without brackets.
    #[error("address {0:?}: too many colons; write an IPv6 address in brackets, as \"[::1]:9780\"")]
    TooManyColons(String),
    /// Brackets around something that is not an IP address.
    #[error("address {0:?}: the brackets do not hold an IP address")]
    BadIpv6(String),
    /// The path of a Unix socket is empty or too long.
    #[error(
        "address {0:?}: a Unix socket needs a path of 1 to {UNIX_PATH_BYTES} bytes, as \"unix:/run/outrigger.sock\""
    )]
    BadPath(String),
    /// The option after a Unix socket's path is not `mode=` and an octal number.
    #[error(
        "address {0:?}: after the path only \",mode=\" and up to four octal digits may follow, as \",mode=0660\""
    )]
    BadMode(String),
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.strip_prefix("unix:") {
            Some(rest) => parse_unix(s, rest),
            None => parse_tcp(s),
        }
    }
}

fn parse_unix(whole: &str, rest: &str) -> Result<ListenAddress, AddressError> {
    let (path, mode) = match rest.split_once(',') {
        None => (rest, UNIX_MODE),
        Some((path, option)) => {
            let bad = || AddressError::BadMode(shown(whole));
            let digits = option.strip_prefix("mode=").ok_or_else(bad)?;
            if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            let mode = u32::from_str_radix(digits, 8).map_err(|_| bad())?;
            (path, if mode <= 0o777 { mode } else { return Err(bad()) })
        }
    };
    // "unix:///run/x.sock" is how URLs write it; the path is the same.
    let path = path.strip_prefix("//").filter(|p| p.starts_with('/')).unwrap_or(path);
    if path.is_empty() || path.len() > UNIX_PATH_BYTES || path.contains('\0') {
        return Err(AddressError::BadPath(shown(whole)));
    }
    Ok(ListenAddress::Unix { path: PathBuf::from(path), mode })
}

fn parse_tcp(s: &str) -> Result<ListenAddress, AddressError> {
    let (host, port_text) = s.rsplit_once(':').ok_or_else(|| AddressError::MissingPort(shown(s)))?;
    let host = match host.strip_prefix('[') {
        Some(inner) => {
            // "[::1]" alone splits inside the brackets.
            let inner = inner.strip_suffix(']').ok_or_else(|| AddressError::MissingPort(shown(s)))?;
            let address = inner.split_once('%').map_or(inner, |(address, _zone)| address);
            // IPv4 as well: node_exporter's Helm chart writes "[$(HOST_IP)]:9100" for either.
            if address.parse::<std::net::IpAddr>().is_err() {
                return Err(AddressError::BadIpv6(shown(s)));
            }
            inner
        }
        None if host.contains(':') => return Err(AddressError::TooManyColons(shown(s))),
        None => host,
    };
    // `parse` alone would take "+80".
    let digits = !port_text.is_empty() && port_text.bytes().all(|b| b.is_ascii_digit());
    let port = port_text.parse().ok().filter(|_| digits);
    let port = port.ok_or_else(|| AddressError::BadPort { address: shown(s), port: shown(port_text) })?;
    Ok(ListenAddress::Tcp { host: (!host.is_empty()).then(|| host.to_owned()), port })
}

/// What of a wrong text is quoted back.
fn shown(s: &str) -> String {
    s.chars().take(128).collect()
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, ":{port}"),
            Self::Tcp { host: Some(host), port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host: Some(host), port } => write!(f, "{host}:{port}"),
            Self::Unix { path, mode: UNIX_MODE } => write!(f, "unix:{}", path.display()),
            Self::Unix { path, mode } => write!(f, "unix:{},mode={mode:04o}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed() {
        for (text, printed) in [
            (":9780", ":9780"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:9780", "0.0.0.0:9780"),
            ("[::1]:9780", "[::1]:9780"),
            ("[10.0.0.1]:9100", "10.0.0.1:9100"),
            ("[fe80::1%eth0]:9780", "[fe80::1%eth0]:9780"),
            ("localhost:65535", "localhost:65535"),
            ("unix:/run/o.sock", "unix:/run/o.sock"),
            ("unix:///run/o.sock", "unix:/run/o.sock"),
            ("unix:o.sock,mode=600", "unix:o.sock,mode=0600"),
            ("unix:/run/o.sock,mode=0660", "unix:/run/o.sock"),
        ] {
            let address: ListenAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), printed);
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, part) in [
            ("", "missing port"),
            ("9780", "missing port"),
            ("localhost", "missing port"),
            ("[::1]", "missing port"),
            ("::1:9780", "in brackets"),
            ("[localhost]:9780", "do not hold an IP address"),
            (":", "\"\" is not a port"),
            (":http", "\"http\" is not a port"),
            (":65536", "is not a port"),
            (":+80", "is not a port"),
            ("unix:", "needs a path"),
            (long.as_str(), "needs a path"),
            ("unix:/a,mode=9", "octal"),
            ("unix:/a,mode=", "octal"),
            ("unix:/a,mode=1777", "octal"),
            ("unix:/a,owner=root", "octal"),
        ] {
            let error = text.parse::<ListenAddress>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
