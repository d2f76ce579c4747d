//! Asking name servers: those of resolv.conf, in its order, over UDP and then TCP.
//!
//! Source: resolv.conf(5) for servers, search list, `ndots`; Prometheus for what counts as an answer: the first
//! name of the search list that has one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::config::read_bounded;
use crate::model::ByteSize;
use crate::scrape::settings::DnsRecord;
use crate::tasks;
use crate::wire::dns::{Answer, Record, question, random_id, read_answer};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The class of all names on it.
const INTERNET: u16 = 1;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often a server is asked.
const ATTEMPTS: usize = 2;

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Resolver {
    /// With servers and search list given.
    #[cfg(test)]
    pub(super) const fn new(servers: Vec<SocketAddr>, search: Vec<String>) -> Self {
        Self { servers, search, ndots: 1 }
    }

    /// What the system says now.
    pub(super) async fn from_system() -> Self {
        let read = || read_bounded(Path::new(RESOLV_CONF), ByteSize::new(64 << 10)).unwrap_or_default();
        let bytes = tasks::blocking(read).await.unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Self {
        let mut resolver = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => resolver.search = words.take(8).map(ToOwned::to_owned).collect(),
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    resolver.ndots = ndots.unwrap_or(resolver.ndots);
                }
                _ => {}
            }
        }
        resolver.servers.truncate(3);
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::from(([127, 0, 0, 1], 53)));
        }
        resolver
    }

    /// The names that a name may stand for, in order.
    fn names(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let dots = name.bytes().filter(|b| *b == b'.').count();
        let searched = self.search.iter().map(|domain| format!("{name}.{}.", domain.trim_end_matches('.')));
        let itself = std::iter::once(format!("{name}."));
        if dots >= self.ndots { itself.chain(searched).collect() } else { searched.chain(itself).collect() }
    }

    /// The records of a name; none if the servers say that there are none.
    pub(super) async fn look_up(&self, name: &str, record: DnsRecord) -> Result<Vec<Record>, String> {
        let mut failed = None;
        for full in self.names(name) {
            match self.ask_any(&full, record.code()).await {
                Ok(records) if !records.is_empty() => return Ok(records),
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => Ok(Vec::new()),
            Some(error) => Err(format!("could not resolve {name:?}: {error}")),
        }
    }

    async fn ask_any(&self, name: &str, kind: u16) -> Result<Vec<Record>, String> {
        let mut last = "no name server".to_owned();
        for server in &self.servers {
            for _ in 0..ATTEMPTS {
                match timeout(PATIENCE, ask(*server, name, kind)).await {
                    Ok(Ok(Answer { code: 0 | 3, answer: mut records, .. })) => {
                        // Beside them there are aliases, on the way to what was asked for.
                        records.retain(|record| record.kind == kind);
                        return Ok(records);
                    }
                    Ok(Ok(answer)) => {
                        last = format!("{server} answers with code {}", answer.code);
                        break;
                    }
                    Ok(Err(error)) => last = format!("{server}: {error}"),
                    Err(_) => last = format!("{server}: no answer in time"),
                }
            }
        }
        Err(last)
    }
}

async fn ask(server: SocketAddr, name: &str, kind: u16) -> io::Result<Answer> {
    let id = random_id();
    let query =
        question(id, name, kind, INTERNET, true).ok_or_else(|| io::Error::other("not a name of the DNS"))?;
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    // Connected: datagrams of others do not come in.
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut buffer = vec![0; 4096];
    let answer = loop {
        let length = socket.recv(&mut buffer).await?;
        // What is no answer, or another's, is not worth the wait for the right one.
        if let Ok(Some(answer)) = read_answer(buffer.get(..length).unwrap_or_default(), id) {
            break answer;
        }
    };
    if answer.truncated { ask_over_tcp(server, &query, id).await } else { Ok(answer) }
}

async fn ask_over_tcp(server: SocketAddr, query: &[u8], id: u16) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).unwrap_or_default();
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    let answer = read_answer(&bytes, id).map_err(io::Error::other)?;
    answer.ok_or_else(|| io::Error::other("the answer is to another question"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read() {
        let resolver = Resolver::parse(
            "# x\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver ::1\nsearch a.test b.test.\noptions edns0 ndots:2\n",
        );
        assert_eq!(
            resolver.servers,
            ["10.0.0.1:53".parse().unwrap(), "[::1]:53".parse::<SocketAddr>().unwrap()]
        );
        assert_eq!(resolver.names("x.y"), ["x.y.a.test.", "x.y.b.test.", "x.y."]);
        assert_eq!(resolver.names("x.y.z")[0], "x.y.z.");
        assert_eq!(resolver.names("x."), ["x."]);
        assert_eq!(Resolver::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
