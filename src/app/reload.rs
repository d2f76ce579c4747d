//! Reading the configuration again while the program runs.
//!
//! Invariant: a reload takes effect whole or not at all. Until the new engine stands nothing has
//! changed; a mistake leaves what ran running and is shown in the log, to the asker and as a metric.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use super::log::Log;
use super::settings::{Effect, Settings, rows};
use super::{Invocation, clock};
use crate::collect::{Engine, Own};

/// What a reload reads, compares with and changes.
pub(super) struct Reloader {
    pub(super) invocation: Invocation,
    /// What is in force; for what only a restart changes, what the program was started with.
    pub(super) current: Settings,
    pub(super) engine: Arc<ArcSwap<Engine>>,
    pub(super) log: Log,
    pub(super) own: Arc<Own>,
}

impl Reloader {
    /// Reads the file again and puts it into force. The error holds every mistake.
    pub(super) async fn reload(&mut self, cause: &'static str) -> Result<(), String> {
        let file = self.shown_file();
        info!(cause, file, "Reloading the configuration");
        let result = self.try_reload().await;
        self.own.config_loaded(result.is_ok(), clock::now());
        match result {
            Ok(()) => {
                info!(file, "Configuration reloaded");
                Ok(())
            }
            Err(message) => {
                error!(file, error = message, "The configuration was not reloaded; what ran goes on");
                Err(message)
            }
        }
    }

    async fn try_reload(&mut self) -> Result<(), String> {
        let (invocation, current, own) =
            (self.invocation.clone(), self.current.clone(), Arc::clone(&self.own));
        // Files may lie on slow disks, and collectors open theirs when they are made.
        let work = move || {
            let settings = invocation.settings().map_err(|error| error.to_string())?;
            let same = settings.collect == current.collect && settings.path == current.path;
            // An engine that stays keeps what its collectors remember.
            let engine =
                if same { None } else { Some(settings.engine(own).map_err(|error| error.to_string())?) };
            Ok::<_, String>((settings, engine))
        };
        let (settings, engine) =
            tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())??;
        let waiting = waiting_for_restart(&self.current, &settings);
        if !waiting.is_empty() {
            warn!(settings = waiting.join(","), "These changes take effect at the next start only");
        }
        self.log.apply(settings.log);
        if let Some(engine) = engine {
            self.engine.store(Arc::new(engine));
        }
        // What waits for a restart is not in force, and is told again at the next reload.
        let Settings { log, path, collect, health, web: _, worker_threads: _ } = settings;
        self.current = Settings { log, path, collect, health, ..self.current.clone() };
        Ok(())
    }

    fn shown_file(&self) -> String {
        let file = self.invocation.config_file.as_ref();
        file.map_or_else(|| "(built in)".to_owned(), |path| path.display().to_string())
    }
}

/// Settings that differ but only a restart changes.
fn waiting_for_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let differs =
        |row: &&super::settings::Row| row.effect == Effect::Restart && row.value(old) != row.value(new);
    rows().iter().filter(differs).map(|row| if row.key.is_empty() { row.flag } else { row.key }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::app::settings::LogSettings;
    use crate::collect::Selection;

    struct Fixture {
        dir: tempfile::TempDir,
        reloader: Reloader,
    }

    /// A program that runs with this file.
    fn running(text: &str) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("outrigger.yml");
        std::fs::write(&file, text).unwrap();
        let invocation = Invocation { config_file: Some(file), ..Invocation::default() };
        let current = invocation.settings().unwrap();
        let own = Arc::<Own>::default();
        let engine = Arc::new(ArcSwap::from_pointee(current.engine(Arc::clone(&own)).unwrap()));
        let log = Log::discarding(LogSettings::default());
        Fixture { dir, reloader: Reloader { invocation, current, engine, log, own } }
    }

    impl Fixture {
        fn write(&self, text: &str) {
            std::fs::write(self.dir.path().join("outrigger.yml"), text).unwrap();
        }

        /// `outrigger_config_last_reload_successful`, as a scrape shows it.
        async fn metric(&self) -> f64 {
            let engine = self.reloader.engine.load_full();
            let snapshot = engine.gather(clock::now(), &Selection::All, Duration::MAX).await;
            let name = "outrigger_config_last_reload_successful";
            let value = snapshot.families().find(|family| family.name() == name).unwrap().samples().next();
            value.unwrap().value()
        }

        fn runs(&self) -> Vec<&'static str> {
            self.reloader.engine.load().names().collect()
        }
    }

    const LOADAVG: &str = "collect: {disable_defaults: true, collectors: {loadavg: true}}\n";
    const STAT: &str = "collect: {disable_defaults: true, collectors: {stat: true}}\n";

    #[tokio::test]
    async fn a_good_file_takes_effect() {
        let mut program = running(LOADAVG);
        assert_eq!(program.runs(), ["loadavg"]);
        program.write(&format!("{STAT}log: {{level: warn}}\n"));
        program.reloader.reload("test").await.unwrap();
        assert_eq!(program.runs(), ["stat"]);
        assert_eq!(program.reloader.current.log.level.to_string(), "warn");
        assert_eq!(program.metric().await, 1.0);
    }

    #[tokio::test]
    async fn a_bad_file_changes_nothing_and_is_seen() {
        let mut program = running(LOADAVG);
        let before = Arc::as_ptr(&program.reloader.engine.load_full());
        program.write(&format!("{STAT}log: {{level: loud}}\nwep: 1\n"));
        let error = program.reloader.reload("test").await.unwrap_err();
        assert!(
            error.contains("log.level: expected one of") && error.contains("wep: unknown key"),
            "{error}"
        );
        assert_eq!(Arc::as_ptr(&program.reloader.engine.load_full()), before);
        assert_eq!(program.metric().await, 0.0);

        program.write(STAT);
        program.reloader.reload("test").await.unwrap();
        assert_eq!(program.runs(), ["stat"]);
        assert_eq!(program.metric().await, 1.0);
    }

    #[tokio::test]
    async fn an_engine_whose_settings_stay_is_kept() {
        let mut program = running(LOADAVG);
        let before = Arc::as_ptr(&program.reloader.engine.load_full());
        program.write(&format!("{LOADAVG}log: {{format: json}}\n"));
        program.reloader.reload("test").await.unwrap();
        assert_eq!(Arc::as_ptr(&program.reloader.engine.load_full()), before);
    }

    #[tokio::test]
    async fn what_only_a_restart_changes_is_named_until_it_comes() {
        let mut program = running("");
        program.write("web: {max_requests: 7, limits: {headers: 9}}\n");
        for _ in 0..2 {
            let settings = program.reloader.invocation.settings().unwrap();
            let waiting = waiting_for_restart(&program.reloader.current, &settings);
            assert_eq!(waiting, ["web.max_requests", "web.limits.headers"]);
            program.reloader.reload("test").await.unwrap();
        }
    }

    #[tokio::test]
    async fn flags_stay_over_the_file() {
        let mut program = running(LOADAVG);
        program.reloader.invocation.overrides.chosen.insert("stat", false);
        program.write(STAT);
        program.reloader.reload("test").await.unwrap();
        assert_eq!(program.runs(), [""; 0]);
    }
}
