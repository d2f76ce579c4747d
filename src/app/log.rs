//! Log lines: logfmt or JSON, one event a line, each with its component, to standard error.
//!
//! Invariants: what a client or a file says can neither end a line nor forge a field (quotes, line
//! breaks, control characters and terminal escapes are escaped); a reader of standard error that
//! stalls or goes away holds nobody up: lines wait in a bounded queue, further ones are dropped and
//! counted, and the count is logged.
//!
//! Source: the field order and names of Prometheus's logger before slog (`ts level component msg`);
//! escaping as Go's `strconv.Quote`, respectively RFC 8259.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::settings::{LogFormat, LogLevel, LogSettings};
use crate::model::Timestamp;

/// Lines that may wait for the reader of standard error.
const WAITING_LINES: usize = 4096;

/// Longest line; what is longer is cut in a field's value.
const LONGEST_VALUE_BYTES: usize = 16 << 10;

/// Where lines go, and how to change what they look like.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    level: AtomicU8,
    format: AtomicU8,
    dropped: AtomicU64,
    /// `None` once it is closed.
    lines: Mutex<Option<SyncSender<String>>>,
    finished: Mutex<Receiver<()>>,
}

/// The tracing layer that writes to a [`Log`].
struct LogLayer(Arc<Shared>);

impl Log {
    /// Makes the process log to standard error. Also logs panics.
    ///
    /// A second call in one process changes nothing but the settings of the log that it returns.
    pub fn install(settings: LogSettings) -> Self {
        let log = Self::to(settings, std::io::stderr());
        if tracing::subscriber::set_global_default(log.subscriber()).is_ok() {
            std::panic::set_hook(Box::new(|panic| {
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                let message = panic_message(panic.payload());
                tracing::error!(component = "panic", place, message);
            }));
        }
        log
    }

    /// A log that writes to `sink` on a thread of its own.
    fn to(settings: LogSettings, sink: impl Write + Send + 'static) -> Self {
        let (lines, waiting) = sync_channel(WAITING_LINES);
        let (done, finished) = sync_channel(1);
        let write = move || {
            write_lines(&waiting, sink);
            // Nobody listens any more when closing gave up waiting.
            let _ = done.send(());
        };
        // Without a thread there is no log, but there is a program.
        let started = std::thread::Builder::new().name("log".into()).stack_size(64 << 10).spawn(write);
        let log = Self(Arc::new(Shared {
            level: AtomicU8::new(0),
            format: AtomicU8::new(0),
            dropped: AtomicU64::new(0),
            lines: Mutex::new(started.is_ok().then_some(lines)),
            finished: Mutex::new(finished),
        }));
        log.apply(settings);
        log
    }

    /// A log that nobody reads.
    #[cfg(test)]
    pub(super) fn discarding(settings: LogSettings) -> Self {
        Self::to(settings, std::io::sink())
    }

    /// Changes level and format from the next line on.
    pub fn apply(&self, settings: LogSettings) {
        self.0.level.store(settings.level as u8, Ordering::Relaxed);
        self.0.format.store(settings.format as u8, Ordering::Relaxed);
    }

    /// Writes what waits and stops; gives up when the reader does not read for `patience`.
    pub fn close(&self, patience: Duration) {
        drop(self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        let finished = self.0.finished.lock().unwrap_or_else(PoisonError::into_inner);
        // Finished or out of patience: nothing is left to do in either case.
        let _ = finished.recv_timeout(patience);
    }

    fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::registry().with(LogLayer(Arc::clone(&self.0)))
    }
}

/// Why the program did not start, as a line of the log: whoever reads JSON gets nothing else.
pub fn start_error(settings: LogSettings, error: &str) -> Option<String> {
    let line = Line {
        json: settings.format == LogFormat::Json,
        level: Level::ERROR,
        now: super::clock::now(),
        component: Some("app".to_owned()),
        message: Some(cut(error).to_owned()),
        fields: String::new(),
    };
    line.json.then(|| line.finish())
}

/// `panic!("text")` carries a `&str`, `panic!("{x}")` a `String`.
fn panic_message(payload: &dyn std::any::Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

impl Shared {
    fn least(&self) -> Level {
        const LEVELS: [(LogLevel, Level); 4] = [
            (LogLevel::Debug, Level::DEBUG),
            (LogLevel::Info, Level::INFO),
            (LogLevel::Warn, Level::WARN),
            (LogLevel::Error, Level::ERROR),
        ];
        let level = self.level.load(Ordering::Relaxed);
        LEVELS.iter().find(|(ours, _)| *ours as u8 == level).map_or(Level::INFO, |(_, theirs)| *theirs)
    }

    fn send(&self, line: String, now: Timestamp) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = lines.as_ref() else { return };
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 && lines.try_send(self.dropped_line(dropped, now)).is_ok() {
            self.dropped.fetch_sub(dropped, Ordering::Relaxed);
        }
        if let Err(TrySendError::Full(_)) = lines.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn dropped_line(&self, count: u64, now: Timestamp) -> String {
        let mut line = self.line(Level::WARN, now);
        line.message = Some("Log lines dropped, because nobody read them in time".to_owned());
        line.text("component", "log");
        line.raw("count", count);
        line.finish()
    }

    fn line(&self, level: Level, now: Timestamp) -> Line {
        let json = self.format.load(Ordering::Relaxed) == LogFormat::Json as u8;
        Line { json, level, now, component: None, message: None, fields: String::new() }
    }
}

/// Writes until the queue is closed. A sink that fails is a closed standard error: the lines are gone.
fn write_lines(waiting: &Receiver<String>, mut sink: impl Write) {
    while let Ok(line) = waiting.recv() {
        if sink.write_all(line.as_bytes()).is_ok() {
            let _ = sink.flush();
        }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    /// The level may change at any time, so no callsite may remember it.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_event() && *metadata.level() <= self.0.least()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let now = super::clock::now();
        let mut line = self.0.line(*metadata.level(), now);
        event.record(&mut line);
        if line.component.is_none() {
            line.component = Some(component(metadata.target()).to_owned());
        }
        self.0.send(line.finish(), now);
    }
}

/// `outrigger::web::server` is the component `web`; another crate is one of its own.
fn component(target: &str) -> &str {
    let mut parts = target.split("::");
    match (parts.next(), parts.next()) {
        (Some("outrigger"), Some(module)) => module,
        (Some(first), _) => first,
        (None, _) => target,
    }
}

/// A line while its fields come in.
struct Line {
    json: bool,
    level: Level,
    now: Timestamp,
    component: Option<String>,
    message: Option<String>,
    /// The other fields, written.
    fields: String,
}

impl Line {
    fn text(&mut self, key: &str, value: &str) {
        match key {
            "message" | "msg" => self.message = Some(cut(value).to_owned()),
            "component" => self.component = Some(cut(value).to_owned()),
            _ => write_field(&mut self.fields, self.json, key, cut(value)),
        }
    }

    /// A number or a boolean, which needs no quotes in either format.
    fn raw(&mut self, key: &str, value: impl fmt::Display) {
        if self.json {
            write_json(&mut self.fields, ",", key);
            write_to(&mut self.fields, format_args!(":{value}"));
        } else {
            write_to(&mut self.fields, format_args!(" {key}={value}"));
        }
    }

    fn finish(self) -> String {
        let Self { json, level, now, component, message, fields } = self;
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        let ts = rfc3339(now);
        let mut line = String::with_capacity(96 + fields.len());
        line.push_str(if json { "{\"ts\":\"" } else { "ts=" });
        line.push_str(&ts);
        if json {
            line.push('"');
        }
        write_field(&mut line, json, "level", level);
        write_field(&mut line, json, "component", &component.unwrap_or_default());
        write_field(&mut line, json, "msg", &message.unwrap_or_default());
        line.push_str(&fields);
        line.push_str(if json { "}\n" } else { "\n" });
        line
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.raw(field.name(), value);
        } else {
            self.text(field.name(), &value.to_string());
        }
    }
}

fn cut(value: &str) -> &str {
    let end = (0..=LONGEST_VALUE_BYTES.min(value.len())).rev().find(|at| value.is_char_boundary(*at));
    value.get(..end.unwrap_or_default()).unwrap_or_default()
}

fn write_field(out: &mut String, json: bool, key: &str, value: &str) {
    if json {
        write_json(out, ",", key);
        write_json(out, ":", value);
        return;
    }
    write_to(out, format_args!(" {key}="));
    let bare = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(bare) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unprintable(c) && u32::from(c) < 0x80 => {
                write_to(out, format_args!("\\x{:02x}", u32::from(c)))
            }
            c if is_unprintable(c) => write_to(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// What a terminal or a log viewer acts on rather than shows: controls (C1 too), line separators, and
/// the marks that reverse the direction of writing.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn write_json(out: &mut String, before: &str, text: &str) {
    out.push_str(before);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unprintable(c) => write_to(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn write_to(out: &mut String, arguments: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(arguments);
}

fn rfc3339(now: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(now.as_millis()).map(|ts| format!("{ts:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink that several parties can read.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(settings: LogSettings, events: impl FnOnce(&Log)) -> Vec<String> {
        let sink = Sink::default();
        let log = Log::to(settings, sink.clone());
        tracing::subscriber::with_default(log.subscriber(), || events(&log));
        log.close(Duration::from_secs(60));
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    fn without_time(line: &str) -> &str {
        line.split_once(' ').unwrap().1
    }

    const JSON: LogSettings = LogSettings { level: LogLevel::Info, format: LogFormat::Json };

    #[test]
    fn logfmt_lines_have_time_level_component_and_message() {
        let lines = logged(LogSettings::default(), |_| {
            tracing::info!(target: "outrigger::web::server", address = "[::1]:9780", tries = 3, "Listening on");
            tracing::warn!(target: "hyper::proto", ok = false, ratio = 0.5, nan = f64::NAN, "odd");
            tracing::error!(component = "reload", error = %"a b", "");
            tracing::debug!("not written");
        });
        assert!(lines[0].starts_with("ts=20") && lines[0].contains("Z level="), "{}", lines[0]);
        let lines: Vec<_> = lines.iter().map(|line| without_time(line)).collect();
        assert_eq!(
            lines,
            [
                "level=info component=web msg=\"Listening on\" address=[::1]:9780 tries=3",
                "level=warn component=hyper msg=odd ok=false ratio=0.5 nan=NaN",
                "level=error component=reload msg=\"\" error=\"a b\"",
            ]
        );
    }

    #[test]
    fn why_it_does_not_start_is_json_for_who_reads_json() {
        assert_eq!(start_error(LogSettings::default(), "x"), None);
        let line = start_error(JSON, "o.yml:1:1: x\n  |\n").unwrap();
        let told: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
        assert_eq!((&told["level"], &told["msg"]), (&"error".into(), &"o.yml:1:1: x\n  |\n".into()));
    }

    #[test]
    fn json_lines_are_json() {
        let lines = logged(JSON, |_| {
            tracing::info!(target: "outrigger::app", path = "a\"\\\n\u{1b}[0m\u{202e}", n = -1, ok = true, f = 1.5, "hi");
        });
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["path"], "a\"\\\n\u{1b}[0m\u{202e}");
        assert_eq!((&line["n"], &line["ok"], &line["f"]), (&(-1).into(), &true.into(), &1.5.into()));
        assert_eq!(
            (&line["level"], &line["component"], &line["msg"]),
            (&"info".into(), &"app".into(), &"hi".into())
        );
        assert!(!lines[0].contains(['\u{1b}', '\u{202e}']));
    }

    #[test]
    fn level_and_format_change_while_it_runs() {
        let lines = logged(LogSettings::default(), |log| {
            let note = || tracing::debug!(target: "outrigger::app", "note");
            note();
            log.apply(LogSettings { level: LogLevel::Debug, format: LogFormat::Logfmt });
            note();
            log.apply(LogSettings { level: LogLevel::Error, format: LogFormat::Json });
            note();
            tracing::error!("bad");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].ends_with("level=debug component=app msg=note"), "{}", lines[0]);
        assert!(lines[1].starts_with('{'), "{}", lines[1]);
    }

    /// Fails until it is let through; then takes everything.
    struct Gate(Receiver<()>, Sink);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_holds_nobody_up_and_learns_what_it_missed() {
        let (open, gate) = sync_channel::<()>(0);
        let sink = Sink::default();
        let log = Log::to(LogSettings::default(), Gate(gate, sink.clone()));
        tracing::subscriber::with_default(log.subscriber(), || {
            for _ in 0..2 * WAITING_LINES {
                tracing::info!("line");
            }
            log.close(Duration::ZERO);
            drop(open);
        });
        // The writer still has the queue; the close that gave up did not take it away.
        let _ = log.0.finished.lock().unwrap().recv();
        let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap().lines().count();
        assert!((WAITING_LINES..=WAITING_LINES + 1).contains(&written), "{written}");
        assert!(log.0.dropped.load(Ordering::Relaxed) as usize >= WAITING_LINES - 1);
        assert!(log.0.dropped_line(7, Timestamp::from_millis(0)).ends_with("count=7\n"));
    }

    /// Standard error that somebody closed.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_closed_standard_error_is_survived() {
        let log = Log::to(LogSettings::default(), Closed);
        tracing::subscriber::with_default(log.subscriber(), || {
            for _ in 0..10 {
                tracing::error!("nobody hears this");
            }
        });
        log.close(Duration::from_secs(60));
    }

    proptest::proptest! {
        #[test]
        fn no_value_breaks_a_line(value in "\\PC*|[\u{0}-\u{a0}\"\\\\= ]*") {
            for json in [false, true] {
                let mut line = Line {
                    json,
                    level: Level::INFO,
                    now: Timestamp::from_millis(0),
                    component: Some("c".into()),
                    message: Some(value.clone()),
                    fields: String::new(),
                };
                line.text("key", &value);
                let line = line.finish();
                assert_eq!(line.chars().filter(|c| c.is_control()).count(), 1, "{line:?}");
                assert!(line.ends_with('\n'));
                if json {
                    let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
                    assert_eq!(&parsed["key"], &value);
                }
            }
        }
    }
}
