//! The program as the system sees it: started, signalled, asked, stopped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::web::authority::Authority;

/// Only a hang lasts this long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn outrigger() -> Command {
    Command::new(env!("CARGO_BIN_EXE_outrigger"))
}

/// A running program on a port of the kernel's choice.
pub(crate) struct Program {
    child: Child,
    /// What it logged before it listened: collectors are asked once before that.
    start: Vec<String>,
    log: Receiver<String>,
    port: u16,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        Self::spawn(outrigger().args(["--web.listen-address=127.0.0.1:0"]).args(arguments))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (lines, log) = sync_channel(10_000);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        let mut program = Self { child, start: Vec::new(), log, port: 0 };
        let mut line = program.line("Listening on");
        while !line.contains("msg=\"Listening on\" address=127.0.0.1:") {
            let next = program.line("Listening on");
            program.start.push(std::mem::replace(&mut line, next));
        }
        let port = line.split_once("address=127.0.0.1:").unwrap().1;
        program.port = port.split(' ').next().unwrap().parse().unwrap();
        program
    }

    fn line(&self, wanted: &str) -> String {
        self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("not logged: {wanted}"))
    }

    /// Waits for a line of the log, of those after the start.
    pub(crate) fn logged(&self, part: &str) -> String {
        loop {
            let line = self.line(part);
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Waits for a line of the log that may have come before the program listened.
    pub(crate) fn logged_since_start(&self, part: &str) -> String {
        let line = self.start.iter().find(|line| line.contains(part));
        line.cloned().unwrap_or_else(|| self.logged(part))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends one request and reads the whole answer.
    pub(crate) fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    std::fs::write(dir.join(name), text).unwrap();
    dir.join(name).display().to_string()
}

#[test]
fn it_serves_and_ends_at_sigterm_and_sigint() {
    for signal in [Signal::TERM, Signal::INT] {
        let program = Program::start(&[]);
        assert!(program.ask("GET", "/metrics").contains("\nnode_load1 "));
        assert!(program.ask("GET", "/-/ready").starts_with("HTTP/1.1 200 "));
        assert!(program.ask("POST", "/-/reload").starts_with("HTTP/1.1 403 "));
        program.signal(signal);
        program.logged("msg=Stopped");
        assert_eq!(program.ended(), Some(0));
    }
}

#[test]
fn health_has_reasons_and_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let quiet =
        "web: {enable_lifecycle: true}\ncollect: {disable_defaults: true, collectors: {loadavg: true}}\n";
    let file = write(dir.path(), "o.yml", quiet);
    let program = Program::start(&["--config.file", &file]);
    let url = format!("http://127.0.0.1:{}", program.port);
    let health = |format: &str| output(outrigger().args(["health", "--url", &url, "-o", format]));
    assert_eq!(health("text"), (Some(0), "healthy\n".to_owned(), String::new()));
    write(dir.path(), "o.yml", "wep: 1\n");
    assert!(program.ask("POST", "/-/reload").starts_with("HTTP/1.1 500 "));
    let reason = "the last reload failed; what ran before goes on, see the log";
    let text = format!("degraded\n  degraded  configuration: {reason}\n");
    assert_eq!(health("text"), (Some(2), text, String::new()));
    let (status, json, _) = health("json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let check = serde_json::json!({"check": "configuration", "verdict": "degraded", "reasons": [reason]});
    assert_eq!((status, &json["verdict"], &json["checks"][1]), (Some(2), &"degraded".into(), &check));
    program.signal(Signal::TERM);
    program.logged("msg=Stopped");
    let (status, stdout, stderr) = health("text");
    assert!(status == Some(1) && stdout.is_empty() && stderr.contains("127.0.0.1"), "{status:?} {stderr}");
}

#[test]
fn a_reload_takes_effect_or_leaves_all_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let only = |name: &str| {
        format!(
            "web: {{enable_lifecycle: true}}\ncollect: {{min_interval: 0s, disable_defaults: true, collectors: {{{name}: true}}}}\n"
        )
    };
    let file = write(dir.path(), "o.yml", &only("loadavg"));
    let program = Program::start(&["--config.file", &file]);
    let scraped = |name: &str, reload: &str| {
        let metrics = program.ask("GET", "/metrics");
        assert!(
            metrics.contains(&format!("node_scrape_collector_success{{collector=\"{name}\"}} 1\n")),
            "{metrics}"
        );
        assert!(
            metrics.contains(&format!("outrigger_config_last_reload_successful {reload}\n")),
            "{metrics}"
        );
    };
    scraped("loadavg", "1");

    write(dir.path(), "o.yml", "wep: 1\n");
    program.signal(Signal::HUP);
    program.logged("o.yml:1:1: wep: unknown key; did you mean \\\"web\\\"?");
    let answer = program.ask("POST", "/-/reload");
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("wep: unknown key"), "{answer}");
    scraped("loadavg", "0");

    write(dir.path(), "o.yml", &only("stat"));
    assert!(program.ask("POST", "/-/reload").starts_with("HTTP/1.1 200 "));
    scraped("stat", "1");

    write(dir.path(), "o.yml", &format!("{}log: {{format: json}}\n", only("loadavg")));
    program.signal(Signal::HUP);
    program.logged("\"msg\":\"Configuration reloaded\"");
    scraped("loadavg", "1");
}

/// The program with `socket` handed over as systemd does it: as descriptor 3, named for its process.
fn activated(socket: impl Into<OwnedFd>) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_outrigger"))
        .args(["--web.systemd-socket", "--web.listen-address=127.0.0.1:1"])
        .stdin(socket.into());
    shell
}

#[test]
fn it_serves_a_socket_that_systemd_hands_over() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let program = Program::spawn(&mut activated(socket.try_clone().unwrap()));
    assert_eq!(program.port, address.port());
    assert!(program.ask("GET", "/metrics").contains("\nnode_load1 "));
    program.signal(Signal::TERM);
    assert_eq!(program.ended(), Some(0));
    // Still systemd's, for the next start.
    assert!(TcpStream::connect(address).is_ok());
}

#[test]
fn it_serves_and_leaves_a_unix_socket_that_systemd_hands_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("o.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let mut child = activated(socket).stderr(Stdio::null()).spawn().unwrap();
    let url = format!("unix:{}", path.display());
    // A connection waits in the socket's queue until the program is there.
    let (code, _, stderr) = output(outrigger().args(["healthcheck", "--url", &url, "--timeout=60s"]));
    assert_eq!(code, Some(0), "{stderr}");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(path.exists());
}

#[test]
fn it_does_not_start_without_a_socket_to_serve() {
    let (code, _, stderr) = output(outrigger().arg("--web.systemd-socket"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("handed over no socket"), "{stderr}");
    let (connected, _peer) = UnixStream::pair().unwrap();
    for no_listener in [connected.into(), OwnedFd::from(std::fs::File::open("/dev/null").unwrap())] {
        let (code, _, stderr) = output(&mut activated(no_listener));
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("socket 0 of those") && stderr.contains("not a stream socket"), "{stderr}");
    }
}

#[test]
fn healthcheck_finds_the_instance() {
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}/o.sock", dir.path().display());
    let config = write(dir.path(), "o.yml", &format!("web: {{listen_addresses: ['{socket}']}}\n"));
    let program = Program::start(&["--web.listen-address", &socket]);
    let url = format!("http://127.0.0.1:{}", program.port);
    for arguments in [vec!["--url", &url], vec!["--url", &socket, "--ready"], vec!["--config.file", &config]]
    {
        let (code, stdout, stderr) = output(outrigger().arg("healthcheck").args(&arguments));
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        assert!(stdout.starts_with("Outrigger is "), "{stdout}");
    }
    // A mistake that came in later says nothing about what runs; a file that is none is told, and the flag counts.
    let wrong =
        write(dir.path(), "wrong.yml", &format!("web: {{listen_addresses: ['{socket}'], x: 1}}\nrules: 5\n"));
    let none = write(dir.path(), "none.yml", "web: {\n");
    for arguments in
        [vec!["--config.file", &wrong], vec!["--config.file", &none, "--web.listen-address", &socket]]
    {
        let (code, _, stderr) = output(outrigger().arg("healthcheck").args(&arguments));
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        assert!(stderr.contains("asking with what can be read of the configuration"), "{stderr}");
    }
    program.signal(Signal::TERM);
    assert_eq!(program.ended(), Some(0));
    for arguments in [["--url", &url], ["--config.file", &config]] {
        let (code, _, stderr) = output(outrigger().arg("healthcheck").args(arguments));
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("cannot connect to"), "{stderr}");
    }
}

#[test]
fn healthcheck_knows_the_instance_by_its_certificate_and_logs_in() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    authority.sign_server().write(dir.path(), "server");
    authority.sign_server().write(dir.path(), "other");
    std::fs::write(dir.path().join("ca.crt"), authority.pem()).unwrap();
    let users = format!("basic_auth_users: {{ann: '{}'}}\n", bcrypt::hash("secret", 4).unwrap());
    let tls =
        |name: &str| format!("tls_server_config: {{cert_file: {name}.crt, key_file: {name}.key}}\n{users}");
    let web = write(dir.path(), "web.yml", &tls("server"));
    let other = write(dir.path(), "other.yml", &tls("other"));
    let program = Program::start(&["--web.config.file", &web]);
    let check = |extra: &str, password: &str, web: Option<&str>| {
        let text = format!(
            "healthcheck:\n  url: https://localhost:{}\n  basic_auth: {{username: ann, password: {password}}}\n{extra}",
            program.port
        );
        let config = write(dir.path(), "o.yml", &text);
        let mut command = outrigger();
        command.args(["healthcheck", "--config.file", &config]);
        command.args(web.map(|web| format!("--web.config.file={web}")));
        output(&mut command)
    };
    let ca = "  tls_config: {ca_file: ca.crt}\n";
    for (extra, password, web, expected) in [
        ("", "secret", Some(web.as_str()), ""),
        (ca, "secret", None, ""),
        ("  tls_config: {insecure_skip_verify: true}\n", "secret", None, ""),
        ("", "wrong", Some(web.as_str()), "status 401"),
        ("", "secret", Some(other.as_str()), "not the certificate that the web configuration names"),
        ("", "secret", None, "https needs healthcheck.tls_config"),
        ("  tls_config: {ca_file: ca.crt, server_name: example.org}\n", "secret", None, "TLS"),
    ] {
        let (code, _, stderr) = check(extra, password, web);
        assert_eq!(code, Some(i32::from(!expected.is_empty())), "{extra}{expected}: {stderr}");
        assert!(stderr.contains(expected), "{extra}: {stderr}");
    }
}

#[test]
fn check_metrics_reads_standard_input() {
    for (input, code, expected) in [
        ("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n", 0, ""),
        ("# HELP a A.\n# TYPE a counter\na_total 1\n# EOF\n", 0, ""),
        ("# HELP\n# HELP a_total A.\n# TYPE a_total counter\na_total 1\n", 0, ""),
        ("a 1\n", 3, "a no help text"),
        ("a{b=\"c} 1\n", 1, "1:"),
    ] {
        let mut child = outrigger()
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&stderr);
        assert_eq!((status.code(), stdout.as_slice()), (Some(code), [].as_slice()), "{input}: {text}");
        assert!(text.contains(expected), "{input}: {text}");
    }
}
