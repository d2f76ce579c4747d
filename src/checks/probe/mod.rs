//! Probes of other people's endpoints under blackbox_exporter's names: HTTP, TCP, DNS, ICMP, gRPC.
//!
//! Invariants: a probe ends at its deadline, whatever the other side does; what it takes from there is bounded; a
//! failed probe has `probe_success` 0 and a reason in the log, once.

mod body;
mod dns;
mod grpc;
#[cfg(test)]
mod grpc_tests;
mod http;
mod http_request;
#[cfg(test)]
mod http_tests;
mod icmp;
mod module;
mod report;
mod settings;
mod ssl;
mod tcp;
#[cfg(test)]
mod tests;

use tokio::time::Instant;

use self::module::Prober;
pub(super) use self::report::FAMILIES;
use self::report::Report;
pub use self::settings::ProbeSettings;
use super::sample::Sample;

/// Asks once. The text says why it failed.
pub(super) async fn run(settings: &ProbeSettings) -> (Vec<Sample>, Result<(), String>) {
    let began = Instant::now();
    let deadline = began + settings.timeout;
    let mut report = Report::new(settings);
    let asked = async {
        match &settings.module.prober {
            Prober::Http(module) => http::run(module, &settings.target, deadline, &mut report).await,
            Prober::Tcp(module) => tcp::run(module, &settings.target, &mut report).await,
            Prober::Dns(module) => dns::run(module, &settings.target, &mut report).await,
            Prober::Icmp(module) => icmp::run(module, &settings.target, &mut report).await,
            Prober::Grpc(module) => grpc::run(module, &settings.target, &mut report).await,
        }
    };
    let result = tokio::time::timeout_at(deadline, asked).await;
    let result = result.unwrap_or_else(|_| Err(format!("no answer within {:?}", settings.timeout)));
    (report.finish(&result, began.elapsed()), result)
}

/// What is known of one that had no turn to ask.
pub(super) fn not_begun(settings: &ProbeSettings) -> (Vec<Sample>, Result<(), String>) {
    let result =
        Err(format!("no turn within {:?}: too many other probes wait for answers", settings.timeout));
    (Report::new(settings).finish(&result, settings.timeout), result)
}

/// Reads bytes as a file of modules and as answers of DNS and gRPC; for fuzzing.
pub(super) fn survives(bytes: &[u8]) {
    dns::survives(bytes);
    grpc::survives(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = settings::from_text("fuzz", text);
    }
}
