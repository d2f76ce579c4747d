//! Reading the configuration again while the program runs.
//!
//! Invariant: a reload takes effect whole or not at all. Until the new engine stands nothing has
//! changed; a mistake leaves what ran running and is shown in the log, to the asker and as a metric.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use super::history::Queries;
use super::log::Log;
use super::rules::Rules;
use super::settings::{CollectSettings, Effect, Settings, rows};
use super::{Invocation, clock};
use crate::checks::Checks;
use crate::collect::{Engine, Own};
use crate::remote_write::RemoteWrites;
use crate::scrape::TargetManager;
use crate::tasks;
use crate::web::Status;

/// What a reload reads, compares with and changes.
pub(super) struct Reloader {
    pub(super) invocation: Invocation,
    /// What is in force; for what only a restart changes, what the program was started with.
    pub(super) current: Settings,
    pub(super) engine: Arc<ArcSwap<Engine>>,
    pub(super) log: Log,
    pub(super) own: Arc<Own>,
    pub(super) status: Status,
    pub(super) targets: Arc<TargetManager>,
    pub(super) remotes: Arc<RemoteWrites>,
    pub(super) queries: Queries,
    pub(super) rules: Arc<Rules>,
    pub(super) checks: Checks,
}

impl Reloader {
    /// Reads the file again and puts it into force. The error holds every mistake.
    pub(super) async fn reload(&mut self, cause: &'static str) -> Result<(), String> {
        let file = self.shown_file();
        info!(cause, file, "Reloading the configuration");
        let result = self.try_reload().await;
        self.own.config_loaded(result.is_ok(), clock::now());
        self.status.reloaded(result.is_ok());
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
            let judges = settings.judges().map_err(|error| error.to_string())?;
            let collect = in_force(&settings.collect, &current.collect);
            let same = collect == current.collect && settings.path == current.path;
            // An engine that stays keeps what its collectors remember.
            let engine =
                if same { None } else { Some(settings.engine(own).map_err(|error| error.to_string())?) };
            Ok::<_, String>((settings, judges, engine))
        };
        let (settings, judges, engine) = tasks::blocking(work).await.map_err(|error| error.to_string())??;
        let waiting = waiting_for_restart(&self.current, &settings);
        if !waiting.is_empty() {
            warn!(settings = waiting.join(","), "These changes take effect at the next start only");
        }
        self.log.apply(settings.log);
        judges.warn();
        if let Some(engine) = engine {
            self.engine.store(Arc::new(engine));
        }
        // What waits for a restart is not in force, and is told again at the next reload.
        let Settings {
            log,
            path,
            collect,
            health,
            scrape,
            remote_write,
            rules,
            slos,
            scorecard,
            notify,
            checks,
            shown_file,
            web: _,
            storage: _,
            query: _,
            scrape_limits: _,
            push: _,
            worker_threads: _,
        } = settings;
        self.remotes.apply(&remote_write, &scrape.global.external_labels);
        self.queries.apply(&scrape.global);
        self.targets.apply(&scrape);
        self.checks.apply(&checks);
        let (applied, global, told) = (Arc::clone(&self.rules), scrape.global.clone(), notify.clone());
        let timing = rules.timing;
        // Waits for evaluations of groups that change.
        let applied = tasks::blocking(move || applied.apply(judges, &global, &told, timing)).await;
        if let Err(error) = applied.map_err(io::Error::other).flatten() {
            error!(%error, "Rules are not evaluated");
        }
        self.status.config_loaded(&shown_file, clock::now());
        self.current = Settings {
            log,
            path,
            collect: in_force(&collect, &self.current.collect),
            health,
            scrape,
            remote_write,
            rules,
            slos,
            scorecard,
            notify,
            checks,
            shown_file,
            ..self.current.clone()
        };
        Ok(())
    }

    fn shown_file(&self) -> String {
        let file = self.invocation.config_file.as_ref();
        file.map_or_else(|| "(built in)".to_owned(), |path| path.display().to_string())
    }
}

/// What of new settings of collectors a reload takes over: not what belongs to the passes for the history, which only
/// a restart changes.
fn in_force(new: &CollectSettings, old: &CollectSettings) -> CollectSettings {
    CollectSettings {
        history_interval: old.history_interval,
        job: old.job.clone(),
        instance: old.instance.clone(),
        ..new.clone()
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
    use crate::model::{Row, Timestamp};
    use crate::promql::{ParseOptions, QueryOptions, Value, parse};
    use crate::remote_write::{RemoteWriteMetrics, RemoteWritesConfig};
    use crate::scrape::{ScrapeLimits, ScrapeMetrics, Sink, TargetKey};
    use crate::store::{Store, StoreConfig};

    struct Fixture {
        dir: tempfile::TempDir,
        reloader: Reloader,
    }

    /// Nothing is scraped here.
    struct NoSink;

    impl Sink for NoSink {
        fn tick(&self, _: &TargetKey, _: Timestamp, _: Vec<Row>) {}
        fn end(&self, _: &TargetKey, _: Timestamp) {}
    }

    fn no_targets() -> Arc<TargetManager> {
        let metrics = ScrapeMetrics::default();
        Arc::new(TargetManager::new(Arc::new(NoSink), clock::now, ScrapeLimits::default(), metrics))
    }

    fn no_remotes() -> Arc<RemoteWrites> {
        let store = Store::open(StoreConfig::default(), clock::now()).unwrap();
        let config = RemoteWritesConfig {
            clock: clock::now,
            metadata: Arc::new(|| Box::pin(std::future::ready(Vec::new()))),
            most_bytes: 1 << 20,
            most_age: Duration::from_secs(60),
            metrics: RemoteWriteMetrics::default(),
        };
        Arc::new(RemoteWrites::new(&store, config))
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
        let store = Store::open(StoreConfig::default(), clock::now()).unwrap();
        let queries = Queries::new(&current);
        let rules = Arc::new(Rules::new(&current, store, ScrapeMetrics::default(), &own));
        Fixture {
            dir,
            reloader: Reloader {
                invocation,
                current,
                engine,
                log,
                own,
                status: Status::default(),
                targets: no_targets(),
                remotes: no_remotes(),
                queries,
                rules,
                checks: Checks::new(clock::now),
            },
        }
    }

    #[tokio::test]
    async fn rule_files_are_read_again_with_the_rest_or_not_at_all() {
        let mut f = running("log: {level: info}\n");
        let rules = f.dir.path().join("r.yml");
        let groups = |f: &Fixture| f.reloader.rules.manager().groups().len();
        std::fs::write(&rules, "groups: [{name: a, rules: [{record: x, expr: '1'}]}]").unwrap();
        f.write("builtin_rules: {enabled: false}\nrule_files: [r.yml]\nlog: {level: warn}\n");
        f.reloader.reload("test").await.unwrap();
        assert_eq!(groups(&f), 1);
        std::fs::write(&rules, "groups: [{name: a, rules: [{record: x, expr: '1 +'}]}, {name: b}]").unwrap();
        f.write("builtin_rules: {enabled: false}\nrule_files: [r.yml]\nlog: {level: error}\n");
        let error = f.reloader.reload("test").await.unwrap_err();
        assert!(
            error.contains("r.yml:1:46: group \"a\", rule 1, \"x\": could not parse expression"),
            "{error}"
        );
        assert_eq!((groups(&f), f.reloader.current.log.level), (1, crate::app::settings::LogLevel::Warn));
        f.write("builtin_rules: {exclude: [host]}\n");
        f.reloader.reload("test").await.unwrap();
        let names: Vec<String> =
            f.reloader.rules.manager().groups().iter().map(|group| group.spec().file.to_string()).collect();
        assert!(names.contains(&"builtin/self.rules.yml".to_owned()), "{names:?}");
        assert!(!names.contains(&"builtin/host.rules.yml".to_owned()), "{names:?}");
        f.write("builtin_rules: {enabled: false}\n");
        f.reloader.reload("test").await.unwrap();
        assert_eq!(groups(&f), 0);
        f.reloader.rules.manager().shutdown();
    }

    #[tokio::test]
    async fn slo_files_are_read_again_with_the_rest_or_not_at_all() {
        let slo = |objective: &str, summary: &str| {
            format!(
                "version: prometheus/v1\nservice: s\nslos:\n- name: a\n  objective: {objective}\n  sli: {{events: {{error_query: 'rate(e_total[{{{{.window}}}}])', total_query: 'rate(r_total[{{{{.window}}}}])'}}}}\n  alerting: {{name: A, annotations: {{summary: '{summary}'}}}}\n"
            )
        };
        let mut f = running("log: {level: info}\n");
        let file = f.dir.path().join("a.slo.yml");
        let shown = file.display().to_string();
        let state = |f: &Fixture| {
            let groups = f.reloader.rules.manager().groups();
            let files = groups.iter().all(|group| *group.spec().file == *shown);
            let budgets = f.reloader.rules.books().reports();
            (groups.len(), files, budgets.iter().map(|b| b.objective_percent.clone()).collect::<Vec<_>>())
        };
        std::fs::write(&file, slo("99", "burns")).unwrap();
        f.write("builtin_rules: {enabled: false}\nslo_files: ['*.slo.yml']\n");
        f.reloader.reload("test").await.unwrap();
        assert_eq!(state(&f), (3, true, vec!["99".to_owned()]));
        let groups = f.reloader.rules.manager().groups();
        assert!(groups.iter().flat_map(|group| group.rules()).all(|rule| rule.spec().line == 4));
        for (wrong, message) in [
            (slo("100", "burns"), "a.slo.yml:5:"),
            (slo("99.9", "{{ burns"), "a.slo.yml:4: s-a: its rules are wrong: "),
        ] {
            std::fs::write(&file, wrong).unwrap();
            let error = f.reloader.reload("test").await.unwrap_err();
            assert!(error.contains(message), "{error}");
            assert_eq!(state(&f), (3, true, vec!["99".to_owned()]));
        }
        std::fs::write(&file, slo("99.9", "burns")).unwrap();
        f.reloader.reload("test").await.unwrap();
        assert_eq!(state(&f), (3, true, vec!["99.9".to_owned()]));
        f.write("builtin_rules: {enabled: false}\n");
        f.reloader.reload("test").await.unwrap();
        assert_eq!(state(&f), (0, true, Vec::new()));
        f.reloader.rules.close();
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
    async fn files_that_options_name_are_read_again() {
        let mut program = running(LOADAVG);
        let at = |name: &str| program.dir.path().join(name);
        let (groups, fields) = (at("process.yml"), at("fields.csv"));
        let engine = |program: &Fixture| program.reloader.engine.load_full();
        std::fs::write(&groups, "process_names: [{comm: [a]}]").unwrap();
        std::fs::write(&fields, "DCGM_FI_DEV_GPU_TEMP, gauge, x\n").unwrap();
        program.write(&format!(
            "collect: {{min_interval: 0s, disable_defaults: true, collectors: {{process: {{enabled: true, config-path: process.yml}}, \
             gpu: {{enabled: true, fields: {}}}}}}}\n",
            fields.display()
        ));
        program.reloader.reload("test").await.unwrap();
        for (file, good, wrong, message) in [
            (&groups, "process_names: [{comm: [b]}]", "process_names: [{com: [b]}]", "process.yml:1:18: "),
            (&fields, "DCGM_FI_DEV_GPU_TEMP, gauge, y\n", "DCGM_FI_DEV_GPU_TEMP, x, y\n", "fields.csv:1:"),
        ] {
            let before = engine(&program);
            program.reloader.reload("test").await.unwrap();
            assert!(Arc::ptr_eq(&engine(&program), &before), "nothing changed");
            std::fs::write(file, wrong).unwrap();
            let error = program.reloader.reload("test").await.unwrap_err();
            assert!(error.contains(message), "{error}");
            assert!(Arc::ptr_eq(&engine(&program), &before) && program.metric().await == 0.0);
            std::fs::write(file, good).unwrap();
            program.reloader.reload("test").await.unwrap();
            assert!(!Arc::ptr_eq(&engine(&program), &before) && program.metric().await == 1.0);
        }
    }

    #[tokio::test]
    async fn what_only_a_restart_changes_is_named_until_it_comes() {
        let mut program = running("");
        let before = Arc::as_ptr(&program.reloader.engine.load_full());
        program.write(
            "web: {max_requests: 7, limits: {headers: 9}}\ncollect: {history_interval: 7s, job: j, instance: i}\n",
        );
        for _ in 0..2 {
            let settings = program.reloader.invocation.settings().unwrap();
            let mut waiting = waiting_for_restart(&program.reloader.current, &settings);
            waiting.sort_unstable();
            let collect = ["collect.history_interval", "collect.instance", "collect.job"];
            assert_eq!(waiting, [&collect[..], &["web.limits.headers", "web.max_requests"]].concat());
            program.reloader.reload("test").await.unwrap();
        }
        assert_eq!(Arc::as_ptr(&program.reloader.engine.load_full()), before);
    }

    #[tokio::test]
    async fn queries_follow_what_is_global() {
        let mut program = running("global: {external_labels: {site: a}}\n");
        let queries = program.reloader.queries.clone();
        let memory = crate::promql::Memory::default();
        let seen = || {
            let expr = parse("count_over_time(vector(1)[10m:])", &ParseOptions::default()).unwrap();
            let at = Timestamp::from_millis(0);
            let result = queries.engine.instant(&memory, &expr, at, &QueryOptions::default()).unwrap();
            let Value::Vector(samples) = result.value else { panic!("no vector") };
            (samples[0].value, queries.external_labels.load().to_string())
        };
        assert_eq!(seen(), (10.0, "{site=\"a\"}".to_owned()));
        program.write("global: {external_labels: {site: b}, evaluation_interval: 2m}\n");
        program.reloader.reload("test").await.unwrap();
        assert_eq!(seen(), (5.0, "{site=\"b\"}".to_owned()));
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
