//! A way through a proxy to a host: `CONNECT` of HTTP, or SOCKS version 5.
//!
//! A host's address is found by the proxy, as in Go, for `socks5` as for `socks5h`.
//!
//! Source: RFC 9110, section 9.3.6; RFC 1928, RFC 1929.

use std::io;
use std::net::IpAddr;

use hyper::header::HeaderName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connect::BoxedIo;
use super::error::{ConnectError, system_text};
use super::settings::ProxyUrl;
use crate::config::Secret;

/// Longest answer to `CONNECT`.
const MOST_PROXY_BYTES: usize = 8 << 10;

const SOCKS: u8 = 5;
const NO_PASSWORD: u8 = 0;
const PASSWORD: u8 = 2;

/// What a SOCKS proxy says by a number, from 1 on.
const REFUSALS: [&str; 8] = [
    "general SOCKS server failure",
    "connection not allowed by ruleset",
    "network unreachable",
    "host unreachable",
    "connection refused",
    "TTL expired",
    "command not supported",
    "address type not supported",
];

fn refused(why: impl Into<String>) -> ConnectError {
    ConnectError::Proxy(why.into())
}

fn failed(error: io::Error) -> ConnectError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => refused("EOF"),
        _ => refused(system_text(&error)),
    }
}

impl ProxyUrl {
    /// Asks the proxy, which `stream` leads to, to connect to a host; `headers` are `proxy_connect_header`.
    ///
    /// # Errors
    /// It will not, or is none.
    pub async fn tunnel(
        &self,
        mut stream: BoxedIo,
        headers: &[(HeaderName, Vec<Secret>)],
        host: &str,
        port: u16,
    ) -> Result<BoxedIo, ConnectError> {
        if self.is_socks() {
            self.socks(&mut stream, host, port).await?;
        } else {
            self.connect(&mut stream, headers, host, port).await?;
        }
        Ok(stream)
    }

    async fn connect(
        &self,
        stream: &mut BoxedIo,
        headers: &[(HeaderName, Vec<Secret>)],
        host: &str,
        port: u16,
    ) -> Result<(), ConnectError> {
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(authorization) = self.authorization() {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        for (name, values) in headers {
            for value in values {
                let value = value.reveal().map_err(|error| refused(error.to_string()))?;
                request.push_str(&format!("{name}: {}\r\n", value.replace(['\r', '\n'], "")));
            }
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut answer = Vec::new();
        // A body, which only a refusal has, is not waited for.
        while memchr::memmem::find(&answer, b"\r\n\r\n").is_none() {
            if answer.len() > MOST_PROXY_BYTES || stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
                return Err(refused("the proxy's answer is not HTTP"));
            }
        }
        let head = String::from_utf8_lossy(&answer);
        let status = head.lines().next().unwrap_or_default();
        match status.split_once(' ') {
            Some((version, rest)) if version.starts_with("HTTP/1.") && rest.starts_with("200") => {
                match answer.ends_with(b"\r\n\r\n") {
                    true => Ok(()),
                    false => Err(refused("the proxy speaks before it is asked")),
                }
            }
            Some((_, rest)) => Err(refused(rest)),
            None => Err(refused("the proxy's answer is not HTTP")),
        }
    }

    async fn socks(&self, stream: &mut BoxedIo, host: &str, port: u16) -> Result<(), ConnectError> {
        let user = self.user();
        let method = if user.is_some() { PASSWORD } else { NO_PASSWORD };
        // Without a password is offered in any case, as in Go.
        let offer: &[u8] =
            if user.is_some() { &[SOCKS, 2, NO_PASSWORD, PASSWORD] } else { &[SOCKS, 1, NO_PASSWORD] };
        match ask(stream, offer).await? {
            [SOCKS, NO_PASSWORD] => {}
            [SOCKS, PASSWORD] if method == PASSWORD => {
                let (name, password) = user.unwrap_or_default();
                let mut login = vec![1];
                for part in [name, password] {
                    login.push(u8::try_from(part.len()).map_err(|_| refused("a user of over 255 bytes"))?);
                    login.extend(part);
                }
                let [_, status] = ask(stream, &login).await?;
                if status != 0 {
                    return Err(refused("username/password authentication failed"));
                }
            }
            [SOCKS, _] => return Err(refused("no acceptable authentication methods")),
            _ => return Err(refused("the proxy does not speak SOCKS 5")),
        }
        let mut request = vec![SOCKS, 1, 0];
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(IpAddr::V4(address)) => request.extend([&[1], &address.octets()[..]].concat()),
            Ok(IpAddr::V6(address)) => request.extend([&[4], &address.octets()[..]].concat()),
            Err(_) => {
                let length = u8::try_from(host.len()).map_err(|_| refused("a host of over 255 bytes"))?;
                request.extend([&[3, length], host.as_bytes()].concat());
            }
        }
        request.extend(port.to_be_bytes());
        let [version, status, _, kind] = ask(stream, &request).await?;
        if version != SOCKS {
            return Err(refused("the proxy does not speak SOCKS 5"));
        }
        if status != 0 {
            let known = REFUSALS.get(usize::from(status) - 1).copied();
            return Err(refused(known.unwrap_or("the proxy refuses for a reason of its own")));
        }
        // Where it connects from: of no use, but on the way.
        let length = match kind {
            1 => 4,
            4 => 16,
            3 => usize::from(stream.read_u8().await.map_err(failed)?),
            _ => return Err(refused("the proxy does not speak SOCKS 5")),
        };
        stream.read_exact(&mut vec![0; length + 2]).await.map_err(failed)?;
        Ok(())
    }
}

/// Sends, and reads an answer of this length.
async fn ask<const N: usize>(stream: &mut BoxedIo, bytes: &[u8]) -> Result<[u8; N], ConnectError> {
    let mut answer = [0; N];
    stream.write_all(bytes).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    stream.read_exact(&mut answer).await.map_err(failed)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes to a SOCKS proxy that answers so, and what comes of it.
    async fn socks(url: &str, host: &str, answers: &[&[u8]]) -> (Vec<Vec<u8>>, String) {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let url: ProxyUrl = url.parse().unwrap();
        let answering = async move {
            let mut asked = Vec::new();
            for answer in answers {
                let mut question = vec![0; 4096];
                let length = theirs.read(&mut question).await.unwrap();
                question.truncate(length);
                asked.push(question);
                theirs.write_all(answer).await.unwrap();
            }
            drop(theirs);
            asked
        };
        let (asked, tunnel) = tokio::join!(answering, url.tunnel(Box::new(ours), &[], host, 443));
        (asked, tunnel.err().map(|error| error.to_string()).unwrap_or_default())
    }

    #[tokio::test]
    async fn socks_leads_to_names_and_addresses_with_and_without_a_password() {
        let through = [5, 0, 0, 1, 127, 0, 0, 1, 9, 9].as_slice();
        let named = [5, 0, 0, 3, 2, b'h', b'i', 9, 9].as_slice();
        let (asked, why) = socks("socks5://p", "h.example", &[&[5, 0], through]).await;
        assert_eq!(why, "");
        assert_eq!(asked, [b"\x05\x01\x00".to_vec(), b"\x05\x01\x00\x03\x09h.example\x01\xbb".to_vec()]);
        let (asked, why) = socks("socks5h://u:p%40@p", "[::1]", &[&[5, 2], &[1, 0], named]).await;
        assert_eq!(why, "");
        let address = [b"\x05\x01\x00\x04".to_vec(), vec![0; 15], b"\x01\x01\xbb".to_vec()].concat();
        assert_eq!(asked, [b"\x05\x02\x00\x02".to_vec(), b"\x01\x01u\x02p@".to_vec(), address]);
        for (answers, want) in [
            (&[&[5, 255][..]][..], "no acceptable authentication methods"),
            (&[&[5, 2]], "no acceptable authentication methods"),
            (&[b"HTTP"], "does not speak SOCKS 5"),
            (&[&[5, 0], &[5, 5, 0, 1]], "connection refused"),
            (&[&[5, 0], &[5, 99, 0, 1]], "a reason of its own"),
            (&[&[5, 0], &[5, 0]], "EOF"),
        ] {
            let (_, why) = socks("socks5://p", "1.2.3.4", answers).await;
            assert!(why.starts_with("proxyconnect tcp: ") && why.contains(want), "{why}");
        }
        let (_, why) = socks("socks5://u:p@p", "h", &[&[5, 2], &[1, 1]]).await;
        assert!(why.ends_with("username/password authentication failed"), "{why}");
    }
}
