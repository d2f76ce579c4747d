//! `outrigger healthcheck`: asks the running instance, for images that have neither shell nor curl.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::probe::{Answer, Question, Target};
use super::probe_tls::{Trust, certificates, parse_certificates};
use super::{Outcome, flags, print};
use crate::app::SettingsError;
use crate::app::settings::{HealthSettings, Settings, rows};
use crate::config::{Document, Environment, Limits, LoadError};
use crate::web::ListenAddress;

/// Those of run's flags that say where and how the instance answers.
const SHARED_FLAGS: [&str; 4] =
    ["web.listen-address", "web.config.file", "web.external-url", "web.route-prefix"];

pub(super) fn command() -> Command {
    let about = "Ask the running instance whether it is healthy: status 0 if so, 1 if not";
    with_instance(Command::new("healthcheck").about(about)).arg(
        Arg::new("ready").long("ready").action(ArgAction::SetTrue).help("Ask /-/ready instead of /-/healthy"),
    )
}

/// Adds what says where and how the running instance answers.
pub(super) fn with_instance(command: Command) -> Command {
    let command = command
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
        );
    let shared = rows().iter().filter(|row| SHARED_FLAGS.contains(&row.flag));
    shared.fold(command, flags::add_row)
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let path = if matches.get_flag("ready") { "/-/ready" } else { "/-/healthy" };
    match ask_instance(matches, path)? {
        Ok(Answer { status: 200, text, .. }) => print(&format!("{text}\n")),
        Ok(answer) => bail!("status {}: {}", answer.status, answer.text),
        Err(status) => Ok(status),
    }
}

/// Asks the instance that the arguments name; an exit status where they are wrong.
pub(super) fn ask_instance(matches: &ArgMatches, path: &str) -> anyhow::Result<Result<Answer, ExitCode>> {
    tell_instance(matches, path, None)
}

/// The same with JSON to be posted.
pub(super) fn tell_instance(
    matches: &ArgMatches,
    path: &str,
    json: Option<&str>,
) -> anyhow::Result<Result<Answer, ExitCode>> {
    let mut settings = settings(matches)?;
    for (flag, key) in [("url", "healthcheck.url"), ("timeout", "healthcheck.timeout")] {
        if let Some(value) = matches.get_one::<String>(flag)
            && let Some(row) = rows().iter().find(|row| row.key == key)
            && let Err(message) = row.set(&mut settings, std::slice::from_ref(value))
        {
            super::complain(&format!("--{flag}: {message}"));
            return Ok(Err(ExitCode::from(2)));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime
        .block_on(async { tokio::time::timeout(settings.health.timeout, ask(&settings, path, json)).await });
    // A name that is still being resolved holds nobody up.
    runtime.shutdown_background();
    match asked {
        Ok(answer) => answer.map(Ok),
        Err(_) => bail!("no answer within {:?}", settings.health.timeout),
    }
}

/// A file that has a mistake says nothing about the instance, which may run on with the one before: of such a file counts
/// what can be read.
fn settings(matches: &ArgMatches) -> anyhow::Result<Settings> {
    let invocation = flags::invocation(matches);
    match invocation.settings() {
        Err(SettingsError::File(error)) => {
            let first = error.without_lines().to_string();
            let first = first.lines().next().unwrap_or_default();
            super::complain(&format!("{first}; asking with what can be read of the configuration"));
            Ok(invocation.settings_that_fit())
        }
        other => Ok(other?),
    }
}

async fn ask(settings: &Settings, path: &str, json: Option<&str>) -> anyhow::Result<Answer> {
    let web_file = settings.web.serve.config_file.as_deref();
    let tls = web_file.map(server_tls).transpose()?.flatten();
    let target = match &settings.health.url {
        Some(url) => url.parse()?,
        None => target_of(&settings.web.serve.listen, tls.is_some(), &settings.web.prefix())?,
    };
    let own = tls.and_then(|tls| tls.certificate);
    let trust = Trust { settings: settings.health.tls.clone(), own };
    let authorization = authorization(&settings.health)?;
    target.ask(Question { path, json, authorization: authorization.as_deref() }, &trust).await
}

/// How to reach an instance that listens on these addresses.
fn target_of(addresses: &[ListenAddress], tls: bool, prefix: &str) -> anyhow::Result<Target> {
    // Port 0 is any port, and only the instance knows which.
    let known = addresses.iter().find(|address| !matches!(address, ListenAddress::Tcp { port: 0, .. }));
    Ok(match known.context("no address with a known port; name the instance with --url")? {
        ListenAddress::Unix { path, .. } => Target::Unix { path: path.clone(), prefix: prefix.to_owned() },
        ListenAddress::Tcp { host, port } => {
            let host = match host.as_deref() {
                None | Some("0.0.0.0") => "127.0.0.1",
                Some("::") => "::1",
                Some(host) => host,
            };
            Target::Tcp { host: host.to_owned(), port: *port, tls, prefix: prefix.to_owned() }
        }
    })
}

/// What the instance's web configuration says about TLS, if it has any.
struct ServerTls {
    certificate: Option<rustls::pki_types::CertificateDer<'static>>,
}

fn server_tls(file: &Path) -> anyhow::Result<Option<ServerTls>> {
    let document = Document::load(file, &Limits::default()).map_err(LoadError::without_lines)?;
    // The server checks the rest; here only the certificate matters.
    let given = document.read_what_fits(&Environment::off(), |top| {
        let tls = top.take_section("tls_server_config");
        tls.map(|mut tls| (tls.take_str("cert"), tls.take_path("cert_file")))
    });
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
                target_of(std::slice::from_ref(&address), false, "").unwrap(),
                target.parse::<Target>().unwrap()
            );
        }
        let any_port: ListenAddress = "127.0.0.1:0".parse().unwrap();
        assert!(target_of(std::slice::from_ref(&any_port), false, "").is_err());
        let addresses = [any_port, "unix:/x".parse().unwrap()];
        let unix = Target::Unix { path: "/x".into(), prefix: "/p".into() };
        assert_eq!(target_of(&addresses, true, "/p").unwrap(), unix);
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
