//! TCP: a connection, TLS if asked for, and a conversation in lines.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::module::{QueryResponse, TcpModule};
use super::report::{EXPECT_INFO, FAILED_BYTES, FAILED_REGEX, Report};
use super::ssl;
use crate::checks::net::{self, host_and_port};
use crate::http_client::{BoxedIo, Protocols, Tls, system_text};

/// Longest line, as Go's scanner has it.
const LONGEST_LINE: usize = 64 << 10;

/// Most bytes without a line that fits: a conversation without end is none.
const MOST_BYTES: usize = 1 << 20;

pub(super) async fn run(module: &TcpModule, target: &str, report: &mut Report) -> Result<(), String> {
    let (host, port) = host_and_port(target, None)?;
    let (address, took) = net::resolve(&host, module.family).await;
    let address = report.resolved(address, took)?;
    let mut stream = net::connect((address, port).into(), module.source).await?;
    let tls = Arc::new(Tls::new(module.tls_settings.clone(), Protocols::Any));
    if module.tls {
        stream = encrypted(stream, module, &tls, &host, report).await?;
    }
    let mut reader = Lines::default();
    for step in &module.query_response {
        let mut send = step.send.clone();
        if step.expect.is_some() {
            match reader.expect(&mut stream, step, report).await? {
                Some(captured) => {
                    report.set(FAILED_REGEX, 0.0);
                    send = captured;
                }
                None => {
                    report.set(FAILED_REGEX, 1.0);
                    return Err("the conversation ended before a line fitted".to_owned());
                }
            }
        }
        if !step.expect_bytes.is_empty() {
            let came = reader.bytes(&mut stream, step.expect_bytes.len()).await?;
            report.set_flag(FAILED_BYTES, came != step.expect_bytes.as_bytes());
            if came != step.expect_bytes.as_bytes() {
                let came = String::from_utf8_lossy(&came);
                return Err(format!("expected the bytes {:?}, found {came:?}", step.expect_bytes));
            }
        }
        if !send.is_empty() {
            let line = format!("{send}\n");
            let sent = stream.write_all(line.as_bytes()).await;
            sent.map_err(|error| format!("write: {}", system_text(&error)))?;
        }
        if step.starttls {
            stream = encrypted(stream, module, &tls, &host, report).await?;
            reader = Lines::default();
        }
    }
    Ok(())
}

async fn encrypted(
    stream: BoxedIo,
    module: &TcpModule,
    tls: &Arc<Tls>,
    host: &str,
    report: &mut Report,
) -> Result<BoxedIo, String> {
    let verifies = !module.tls_settings.insecure_skip_verify;
    let (stream, facts) = net::encrypt(stream, tls, verifies, host).await?;
    ssl::report(&facts, report);
    Ok(stream)
}

/// What came and was not looked at yet.
#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    taken: usize,
}

impl Lines {
    /// Reads lines until one fits; what is then to be sent, with captures put in. `None`: no line did.
    async fn expect(
        &mut self,
        stream: &mut BoxedIo,
        step: &QueryResponse,
        report: &mut Report,
    ) -> Result<Option<String>, String> {
        let Some(pattern) = &step.expect else { return Ok(None) };
        while let Some(line) = self.line(stream).await? {
            let text = String::from_utf8_lossy(&line);
            if let Some(captures) = pattern.0.captures(&text) {
                let expanded = |template: &str| {
                    let mut text = String::new();
                    captures.expand(template, &mut text);
                    text
                };
                let labels: Vec<_> =
                    step.labels.iter().map(|(name, value)| (name.as_str(), expanded(value))).collect();
                if !labels.is_empty() {
                    let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    report.info(EXPECT_INFO, &labels, 1.0);
                }
                self.taken = 0;
                return Ok(Some(expanded(&step.send)));
            }
        }
        Ok(None)
    }

    async fn line(&mut self, stream: &mut BoxedIo) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err("a line of more than 64 KiB".to_owned());
            }
            if !self.fill(stream).await? {
                // The last line may lack its end.
                let rest = std::mem::take(&mut self.buffer);
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }

    /// The next so many bytes.
    async fn bytes(&mut self, stream: &mut BoxedIo, count: usize) -> Result<Vec<u8>, String> {
        while self.buffer.len() < count {
            if !self.fill(stream).await? {
                return Err(format!("the conversation ended before {count} bytes came"));
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Reads what comes next; whether something did.
    async fn fill(&mut self, stream: &mut BoxedIo) -> Result<bool, String> {
        let read = stream.read_buf(&mut self.buffer).await;
        let read = read.map_err(|error| format!("read: {}", system_text(&error)))?;
        self.taken += read;
        if self.taken > MOST_BYTES {
            return Err("more than 1 MiB came, and nothing fitted".to_owned());
        }
        Ok(read > 0)
    }
}
