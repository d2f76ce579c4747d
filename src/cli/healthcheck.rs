//! `outrigger healthcheck`: asks the running instance, for images that have neither shell nor curl.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::probe::Target;
use super::probe_tls::{Trust, certificates, parse_certificates};
use super::{Outcome, flags, print};
use crate::app::settings::{HealthSettings, Settings, rows};
use crate::config::{Document, Environment, Limits};
use crate::web::ListenAddress;

pub(super) fn command() -> Command {
    let command = Command::new("healthcheck")
        .about("Ask the running instance whether it is healthy: status 0 if so, 1 if not")
        .args_override_self(true)
        .arg(flags::config_file())
        .arg(Arg::new("url").long("url").value_name("URL").help(
            "Instance to ask: http://, https:// or unix:/PATH [default: the first address it listens on]",
        ))
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .help("Longest time to wait [default: 5s]"),
        )
        .arg(
            Arg::new("ready")
                .long("ready")
                .action(ArgAction::SetTrue)
                .help("Ask /-/ready instead of /-/healthy"),
        );
    // Those of run's flags that say where and how the instance answers.
    let shared = rows().iter().filter(|row| matches!(row.flag, "web.listen-address" | "web.config.file"));
    shared.fold(command, flags::add_row)
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let mut settings = flags::invocation(matches).settings()?;
    for (flag, key) in [("url", "healthcheck.url"), ("timeout", "healthcheck.timeout")] {
        if let Some(value) = matches.get_one::<String>(flag)
            && let Some(row) = rows().iter().find(|row| row.key == key)
            && let Err(message) = row.set(&mut settings, std::slice::from_ref(value))
        {
            super::complain(&format!("--{flag}: {message}"));
            return Ok(ExitCode::from(2));
        }
    }
    let path = if matches.get_flag("ready") { "/-/ready" } else { "/-/healthy" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked =
        runtime.block_on(async { tokio::time::timeout(settings.health.timeout, ask(&settings, path)).await });
    // A name that is still being resolved holds nobody up.
    runtime.shutdown_background();
    match asked {
        Ok(Ok(text)) => print(&format!("{text}\n")),
        Ok(Err(error)) => Err(error),
        Err(_) => bail!("no answer within {:?}", settings.health.timeout),
    }
}

async fn ask(settings: &Settings, path: &str) -> anyhow::Result<String> {
    let web_file = settings.web.serve.config_file.as_deref();
    let tls = web_file.map(server_tls).transpose()?.flatten();
    let target = match &settings.health.url {
        Some(url) => url.parse()?,
        None => target_of(&settings.web.serve.listen, tls.is_some())?,
    };
    let own = tls.and_then(|tls| tls.certificate);
    let trust = Trust { settings: settings.health.tls.clone(), own };
    let authorization = authorization(&settings.health)?;
    let answer = target.get(path, authorization.as_deref(), &trust).await?;
    if answer.status != 200 {
        bail!("status {}: {}", answer.status, answer.text);
    }
    Ok(answer.text)
}

/// How to reach an instance that listens on these addresses.
fn target_of(addresses: &[ListenAddress], tls: bool) -> anyhow::Result<Target> {
    // Port 0 is any port, and only the instance knows which.
    let known = addresses.iter().find(|address| !matches!(address, ListenAddress::Tcp { port: 0, .. }));
    Ok(match known.context("no address with a known port; name the instance with --url")? {
        ListenAddress::Unix { path, .. } => Target::Unix { path: path.clone() },
        ListenAddress::Tcp { host, port } => {
            let host = match host.as_deref() {
                None | Some("0.0.0.0") => "127.0.0.1",
                Some("::") => "::1",
                Some(host) => host,
            };
            Target::Tcp { host: host.to_owned(), port: *port, tls, prefix: String::new() }
        }
    })
}

/// What the instance's web configuration says about TLS, if it has any.
struct ServerTls {
    certificate: Option<rustls::pki_types::CertificateDer<'static>>,
}

fn server_tls(file: &Path) -> anyhow::Result<Option<ServerTls>> {
    let document = Document::load(file, &Limits::default())?;
    let given = document.read(&Environment::off(), |top| {
        let given = top.take_section("tls_server_config").map(|mut tls| {
            let given = (tls.take_str("cert"), tls.take_path("cert_file"));
            // The server checks the rest; here only the certificate matters.
            tls.take_rest();
            given
        });
        top.take_rest();
        given
    })?;
    let certificate = match given {
        None => return Ok(None),
        Some((Some(pem), _)) => parse_certificates(pem.as_bytes())?.into_iter().next(),
        Some((None, Some(file))) => certificates(&file)?.into_iter().next(),
        Some((None, None)) => None,
    };
    Ok(Some(ServerTls { certificate }))
}

fn authorization(health: &HealthSettings) -> anyhow::Result<Option<String>> {
    let Some(username) = &health.username else { return Ok(None) };
    let password = health.password.as_ref().map(|secret| secret.reveal()).transpose()?.unwrap_or_default();
    Ok(Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_target_follows_from_the_address() {
        for (address, target) in [
            (":9780", "http://127.0.0.1:9780"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:1", "http://[::1]:1"),
            ("10.1.2.3:1", "http://10.1.2.3:1"),
            ("unix:/run/o.sock,mode=0600", "unix:/run/o.sock"),
        ] {
            let address: ListenAddress = address.parse().unwrap();
            assert_eq!(
                target_of(std::slice::from_ref(&address), false).unwrap(),
                target.parse::<Target>().unwrap()
            );
        }
        let any_port: ListenAddress = "127.0.0.1:0".parse().unwrap();
        assert!(target_of(std::slice::from_ref(&any_port), false).is_err());
        let addresses = [any_port, "unix:/x".parse().unwrap()];
        assert_eq!(target_of(&addresses, true).unwrap(), Target::Unix { path: "/x".into() });
    }

    #[test]
    fn credentials_are_those_of_rfc_7617() {
        let health = HealthSettings {
            username: Some("Aladdin".into()),
            password: Some(Secret::inline("open sesame")),
            ..HealthSettings::default()
        };
        assert_eq!(authorization(&health).unwrap().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(authorization(&HealthSettings::default()).unwrap(), None);
    }
}
