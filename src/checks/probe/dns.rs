//! DNS: a question to a name server, and what is expected of the answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;

use super::module::{DnsModule, Pattern, Validator};
use super::report::{
    DNS_ADDITIONAL, DNS_ANSWERS, DNS_AUTHORITY, DNS_DURATION, DNS_SERIAL, DNS_SUCCEEDED, Report,
};
use super::ssl;
use crate::checks::net::{self, host_and_port};
use crate::http_client::{BoxedIo, Protocols, Tls, system_text};
use crate::wire::dns::{Answer, Record, RecordData, question, random_id, read_answer};

/// The type of records that has a zone's serial number.
const START_OF_AUTHORITY: u16 = 6;

/// Largest datagram.
const LARGEST: usize = 65_535;

pub(super) async fn run(module: &DnsModule, target: &str, report: &mut Report) -> Result<(), String> {
    let (host, port) = host_and_port(target, Some(if module.over_tls { 853 } else { 53 }))?;
    let (address, took) = net::resolve(&host, module.family).await;
    report.phase(DNS_DURATION, "resolve", took);
    let address = SocketAddr::new(report.resolved(address, took)?, port);
    let id = random_id();
    let asked =
        question(id, &module.query_name, module.query_type, module.query_class, module.recursion_desired);
    let asked = asked.ok_or_else(|| format!("{:?} is not a name of the DNS", module.query_name))?;
    let answer = if module.over_tcp {
        over_tcp(module, address, &host, &asked, report).await?
    } else {
        over_udp(address, module.source, &asked, id, report).await?
    };
    let answer = read_answer(&answer, id).map_err(|why| format!("the answer is no DNS message: {why}"))?;
    let answer = answer.ok_or("the answer is to another question")?;
    report.set_flag(DNS_SUCCEEDED, true);
    judge(module, &answer, report)
}

fn judge(module: &DnsModule, answer: &Answer, report: &mut Report) -> Result<(), String> {
    report.set_count(DNS_ANSWERS, answer.answer.len());
    report.set_count(DNS_AUTHORITY, answer.authority.len());
    report.set_count(DNS_ADDITIONAL, answer.additional.len());
    if module.query_type == START_OF_AUTHORITY {
        let serials = answer.answer.iter().rev().find_map(|record| match record.data {
            RecordData::Authority { serial, .. } => Some(serial),
            _ => None,
        });
        report.set(DNS_SERIAL, f64::from(serials.unwrap_or(0)));
    }
    if !module.valid_rcodes.contains(&answer.code) {
        return Err(format!("response code {} is not valid", answer.code));
    }
    for (name, validator, records) in [
        ("answer", &module.answer, &answer.answer),
        ("authority", &module.authority, &answer.authority),
        ("additional", &module.additional, &answer.additional),
    ] {
        if let Some(why) = validator.failure(records) {
            return Err(format!("records of the {name} section: {why}"));
        }
    }
    Ok(())
}

impl Validator {
    fn failure(&self, records: &[Record]) -> Option<String> {
        let records: Vec<String> = records.iter().map(ToString::to_string).collect();
        let any = |pattern: &Pattern| records.iter().any(|record| pattern.0.is_match(record));
        let all = |pattern: &Pattern| records.iter().all(|record| pattern.0.is_match(record));
        let shown = |why: &str, pattern: &Pattern| format!("{why} {:?}", pattern.0.as_str());
        if let Some(pattern) = self.fail_if_matches.iter().find(|pattern| any(pattern)) {
            return Some(shown("one matches", pattern));
        }
        if let Some(pattern) = self.fail_if_all_match.iter().find(|p| !records.is_empty() && all(p)) {
            return Some(shown("all match", pattern));
        }
        // What is not there does not match either: a record that was deleted is no success.
        let not_all = |pattern: &&Pattern| records.is_empty() || !all(pattern);
        if let Some(pattern) = self.fail_if_not_matches.iter().find(not_all) {
            return Some(shown("one does not match", pattern));
        }
        // One of them is enough.
        if self.fail_if_none_matches.iter().any(any) {
            return None;
        }
        self.fail_if_none_matches.first().map(|pattern| shown("none matches", pattern))
    }
}

async fn over_udp(
    address: SocketAddr,
    source: Option<IpAddr>,
    asked: &[u8],
    id: u16,
    report: &mut Report,
) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{address}: {}", system_text(&error));
    let any: IpAddr = if address.is_ipv6() { [0_u16; 8].into() } else { [0, 0, 0, 0].into() };
    let began = Instant::now();
    let socket = UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0)).await.map_err(failed)?;
    // Connected: datagrams of others do not come in.
    socket.connect(address).await.map_err(failed)?;
    report.phase(DNS_DURATION, "connect", began.elapsed());
    let began = Instant::now();
    socket.send(asked).await.map_err(failed)?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(failed)?;
        let message = buffer.get(..length).unwrap_or_default();
        // An answer to an earlier question may still come.
        if message.get(..2) == Some(id.to_be_bytes().as_slice()) {
            report.phase(DNS_DURATION, "request", began.elapsed());
            return Ok(message.to_vec());
        }
    }
}

async fn over_tcp(
    module: &DnsModule,
    address: SocketAddr,
    host: &str,
    asked: &[u8],
    report: &mut Report,
) -> Result<Vec<u8>, String> {
    let began = Instant::now();
    let stream = net::connect(address, module.source).await?;
    if !module.over_tls {
        report.phase(DNS_DURATION, "connect", began.elapsed());
        return conversation(stream, asked, report).await;
    }
    let tls = Arc::new(Tls::new(module.tls_settings.clone(), Protocols::Any));
    let verifies = !module.tls_settings.insecure_skip_verify;
    let (stream, facts) = net::encrypt(stream, &tls, verifies, host).await?;
    report.phase(DNS_DURATION, "connect", began.elapsed());
    ssl::report(&facts, report);
    conversation(stream, asked, report).await
}

async fn conversation(mut stream: BoxedIo, asked: &[u8], report: &mut Report) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("the conversation broke off: {}", system_text(&error));
    let began = Instant::now();
    let length = u16::try_from(asked.len()).unwrap_or_default();
    stream.write_all(&[&length.to_be_bytes(), asked].concat()).await.map_err(failed)?;
    let length = stream.read_u16().await.map_err(failed)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    report.phase(DNS_DURATION, "request", began.elapsed());
    Ok(answer)
}

/// Reads bytes as an answer, and what it holds as text; for fuzzing.
pub(super) fn survives(bytes: &[u8]) {
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    if let Ok(Some(answer)) = read_answer(bytes, id) {
        for record in answer.answer.iter().chain(&answer.authority).chain(&answer.additional) {
            let _ = record.to_string();
        }
    }
}
