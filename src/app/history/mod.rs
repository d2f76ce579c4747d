//! History, wired: the store, what writes into it, and the API that answers from it.

mod metadata;
mod metrics;
mod passes;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use self::metrics::{Figures, QueryFigures};
use self::passes::PassSettings;
use self::writer::Writer;
use super::rules::Rules;
use super::settings::{Feature, QuerySettings, Settings, StorageSettings, rows};
use super::{BUILD, clock};
use crate::collect::{Engine as CollectEngine, Own};
use crate::config::read_bounded;
use crate::events::EventLog;
use crate::model::{ByteSize, Labels, anchored_regex};
use crate::promql::{Engine, EngineOptions, ParseOptions};
use crate::remote_write::{RemoteWriteMetrics, RemoteWrites, RemoteWritesConfig};
use crate::scrape::push::PushGateway;
use crate::scrape::{GlobalSettings, ScrapeMetrics, TargetManager};
use crate::store::{EncryptionKey, Store, StoreConfig, StoreError};
use crate::tasks;
use crate::web::{Api, Facts, Forms, ListenAddress, Status, WriteApi, WriteMetrics};

/// How often what is old is sealed or deleted.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);

/// Calls of the API at once, beside the queries that are evaluated: lists of series, answers on their way to a client,
/// queries that wait.
const CALLS_BESIDE_QUERIES: usize = 16;

/// Most threads that the API takes, however many queries at once are asked for.
const MOST_CALLS: usize = 1_000;

/// Calls of the API that may have a thread at once.
pub(super) fn turns(settings: &QuerySettings) -> usize {
    settings.max_concurrency.saturating_add(CALLS_BESIDE_QUERIES).min(MOST_CALLS)
}

/// Largest file of a key.
const KEY_FILE_LIMIT: ByteSize = ByteSize::new(4_096);

/// Most bytes that wait for receivers of remote write where they are memory.
const MOST_QUEUE_MEMORY: u64 = 16 << 20;

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file of the key gives none.
    #[error("storage.encryption_key_file: {path}: {why}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The system refuses a thread.
    #[error("cannot start the thread that writes history: {0}")]
    Thread(#[from] std::io::Error),
}

/// What answers queries and `/federate`, with what these take from `global`. Clones share it.
#[derive(Clone)]
pub(super) struct Queries {
    pub(super) engine: Arc<Engine>,
    pub(super) external_labels: Arc<ArcSwap<Labels>>,
}

impl Queries {
    pub(super) fn new(settings: &Settings) -> Self {
        let global = &settings.scrape.global;
        let engine = Engine::new(engine_options(&settings.query, global.evaluation_interval));
        let external_labels = ArcSwap::from_pointee(global.external_labels.clone());
        Self { engine: Arc::new(engine), external_labels: Arc::new(external_labels) }
    }

    /// Puts other settings into force. The engine stays: its turns and its figures are of all queries.
    pub(super) fn apply(&self, global: &GlobalSettings) {
        self.engine.set_default_subquery_step(global.evaluation_interval);
        self.external_labels.store(Arc::new(global.external_labels.clone()));
    }
}

/// The running history. Dropping it ends the tasks; [`History::close`] waits for the last commit.
pub(super) struct History {
    store: Store,
    events: EventLog,
    writer: Writer,
    thread: JoinHandle<()>,
    targets: Arc<TargetManager>,
    queries: Queries,
    discovery: ScrapeMetrics,
    remotes: Arc<RemoteWrites>,
    tasks: Vec<AbortHandle>,
}

impl History {
    /// Opens the store and starts what writes into it; blocks while a file is read.
    pub(super) fn open(
        settings: &Settings,
        own: &Own,
        engine: Arc<ArcSwap<CollectEngine>>,
    ) -> Result<Self, HistoryError> {
        let store = Store::open(store_config(&settings.storage)?, clock::now())?;
        let (left_out, figures, scrape_metrics) =
            (Counter::default(), Figures::default(), ScrapeMetrics::default());
        let queries = Queries::new(settings);
        let remote_metrics = RemoteWriteMetrics::default();
        figures.update(store.stats());
        let events = EventLog::open(&store, clock::now);
        own.register(|registry| {
            registry.register(
                "outrigger_history_ticks_left_out",
                "Ticks that were not stored because the disk could not keep up",
                left_out.clone(),
            );
            figures.register(registry);
            scrape_metrics.register(registry);
            registry.register_collector(Box::new(QueryFigures(Arc::clone(&queries.engine))));
            remote_metrics.register(registry);
            events.register(registry);
        });
        let (writer, thread) = Writer::start(store.clone(), figures, left_out)?;
        let sink = Arc::new(writer.clone());
        let targets =
            Arc::new(TargetManager::new(sink, clock::now, settings.scrape_limits, scrape_metrics.clone()));
        let queue_bytes = settings.storage.remote_write_queue_bytes;
        let in_memory = settings.storage.path.is_none();
        let config = RemoteWritesConfig {
            clock: clock::now,
            metadata: metadata::source(Arc::clone(&targets), engine),
            most_bytes: if in_memory { queue_bytes.min(MOST_QUEUE_MEMORY) } else { queue_bytes },
            most_age: settings.storage.retention,
            metrics: remote_metrics,
        };
        let remotes = Arc::new(RemoteWrites::new(&store, config));
        Ok(Self {
            store,
            events,
            writer,
            thread,
            targets,
            queries,
            discovery: scrape_metrics,
            remotes,
            tasks: Vec::new(),
        })
    }

    /// Starts what fills it - passes, scrapes, pushed groups - and the maintenance.
    pub(super) fn start(
        &mut self,
        settings: &Settings,
        engine: Arc<ArcSwap<CollectEngine>>,
        pushes: Option<Arc<PushGateway>>,
    ) {
        // Before anything comes in that receivers are to get.
        self.remotes.apply(&settings.remote_write, &settings.scrape.global.external_labels);
        self.targets.apply(&settings.scrape);
        if let Some(pushes) = pushes {
            let task = tasks::spawn(passes::run_pushes(
                pushes,
                self.writer.clone(),
                settings.collect.history_interval,
            ));
            self.tasks.push(task.abort_handle());
        }
        let collect = &settings.collect;
        if !collect.history_interval.is_zero() && !collect.enabled().is_empty() {
            let instance = collect.instance.clone().unwrap_or_else(hostname);
            let pass =
                PassSettings { interval: collect.history_interval, job: collect.job.clone(), instance };
            let passes = tasks::spawn(passes::run(engine, self.writer.clone(), pass));
            self.tasks.push(passes.abort_handle());
        }
        let (writer, remotes) = (self.writer.clone(), Arc::clone(&self.remotes));
        let maintenance = tasks::spawn(async move {
            let mut ticks = tokio::time::interval(MAINTENANCE_INTERVAL);
            loop {
                ticks.tick().await;
                writer.maintain();
                let remotes = Arc::clone(&remotes);
                // The store says itself, once, when it cannot be written; the next turn tries again.
                let _ = tasks::blocking(move || remotes.maintain(clock::now())).await;
            }
        });
        self.tasks.push(maintenance.abort_handle());
    }

    /// The store, for rules.
    pub(super) fn store(&self) -> Store {
        self.store.clone()
    }

    /// What discovery knows of itself, for others that discover.
    pub(super) fn discovery_metrics(&self) -> ScrapeMetrics {
        self.discovery.clone()
    }

    /// Who is scraped; a reload applies its settings there.
    pub(super) fn targets(&self) -> Arc<TargetManager> {
        Arc::clone(&self.targets)
    }

    /// Who gets what is taken; a reload applies its settings there.
    pub(super) fn remotes(&self) -> Arc<RemoteWrites> {
        Arc::clone(&self.remotes)
    }

    /// Who answers queries; a reload applies its settings there.
    pub(super) fn queries(&self) -> Queries {
        self.queries.clone()
    }

    /// Remote write from others; `None` where it is off.
    pub(super) fn write_api(&self, settings: &Settings, own: &Own) -> Option<WriteApi> {
        settings.web.enable_remote_write_receiver.then(|| {
            let metrics = WriteMetrics::default();
            own.register(|registry| metrics.register(registry));
            WriteApi {
                store: self.store.clone(),
                retention: settings.storage.retention,
                max_body_bytes: settings.storage.max_remote_write_bytes,
                metrics,
            }
        })
    }

    /// What the API shows and asks.
    pub(super) fn api(
        &self,
        settings: &Settings,
        status: Status,
        collect: Arc<ArcSwap<CollectEngine>>,
        rules: &Rules,
    ) -> Api {
        let cors = anchored_regex(settings.web.cors_origin.as_deref().unwrap_or(".*"));
        Api {
            history: Arc::new(self.store.clone()),
            store: self.store.clone(),
            targets: Arc::clone(&self.targets),
            rules: rules.manager(),
            slos: rules.books(),
            scorecard: rules.scoreboard(),
            events: self.events.clone(),
            notifier: rules.notifier(),
            collect,
            admin: settings.web.enable_admin_api,
            status,
            engine: Arc::clone(&self.queries.engine),
            parse_options: parse_options(&settings.query),
            external_labels: Arc::clone(&self.queries.external_labels),
            now: clock::now,
            facts: facts(settings),
            // Checked when the flag was read; an expression that does not compile allows no origin.
            cors_origin: cors.ok(),
            forms: Forms::new(settings.web.serve.limits.max_form_bytes),
            turns: Arc::new(Semaphore::new(turns(&settings.query))),
        }
    }

    /// Ends the tasks and waits until all that was gathered is in the file.
    pub(super) async fn close(self) {
        let Self { writer, thread, tasks, targets, remotes, .. } = self;
        tasks.iter().for_each(AbortHandle::abort);
        targets.shutdown().await;
        remotes.shutdown().await;
        writer.close();
        let _ = tasks::blocking(move || thread.join()).await;
    }
}

fn store_config(settings: &StorageSettings) -> Result<StoreConfig, HistoryError> {
    Ok(StoreConfig {
        path: settings.path.clone(),
        retention: settings.retention,
        retention_selected: settings.retention_selected,
        max_size_bytes: settings.max_size_bytes,
        max_series: settings.max_series,
        encryption_key: settings.encryption_key_file.as_deref().map(encryption_key).transpose()?,
        ..StoreConfig::default()
    })
}

/// 32 bytes as they are, or in hexadecimal.
fn encryption_key(path: &Path) -> Result<EncryptionKey, HistoryError> {
    let failed = |why: String| HistoryError::Key { path: path.display().to_string(), why };
    let bytes = read_bounded(path, KEY_FILE_LIMIT).map_err(|error| failed(error.to_string()))?;
    let wanted = "expected 32 bytes, as they are or as 64 hexadecimal digits";
    EncryptionKey::from_file_bytes(&bytes).ok_or_else(|| failed(wanted.to_owned()))
}

pub(super) fn engine_options(settings: &QuerySettings, evaluation_interval: Duration) -> EngineOptions {
    EngineOptions {
        lookback: settings.lookback_delta,
        max_samples: settings.max_samples,
        timeout: settings.timeout,
        max_concurrency: settings.max_concurrency,
        default_subquery_step: evaluation_interval,
        delayed_name_removal: settings.has(Feature::DelayedNameRemoval),
        ..EngineOptions::default()
    }
}

pub(super) fn parse_options(settings: &QuerySettings) -> ParseOptions {
    ParseOptions {
        experimental_functions: settings.has(Feature::ExperimentalFunctions),
        duration_expressions: settings.has(Feature::DurationExpressions),
        extended_range_selectors: settings.has(Feature::ExtendedRangeSelectors),
        binop_fill: settings.has(Feature::BinaryFillModifiers),
        ..ParseOptions::default()
    }
}

fn facts(settings: &Settings) -> Facts {
    let text = |value: &str| value.to_owned();
    Facts {
        build: BTreeMap::from([
            ("version", text(BUILD.version)),
            ("revision", text(BUILD.revision)),
            ("branch", text(BUILD.branch)),
            ("buildUser", String::new()),
            ("buildDate", text(BUILD.build_date)),
            // Clients expect the key; the compiler here is Rust's.
            ("goVersion", format!("rustc {}", BUILD.rustc)),
        ]),
        flags: rows()
            .iter()
            .filter(|row| !row.flag.is_empty())
            .map(|row| (row.flag.to_owned(), row.value(settings)))
            .collect(),
        started: clock::now(),
        directory: std::env::current_dir().unwrap_or_default(),
        retention: settings.storage.retention,
        storage_path: settings.storage.path.clone(),
        external_url: external_url(settings).parse().unwrap_or_default(),
        port: port(settings),
    }
}

/// The port that is listened on; 0 where it is none of TCP.
fn port(settings: &Settings) -> u16 {
    let tcp = |address: &ListenAddress| match address {
        ListenAddress::Tcp { port, .. } => Some(*port),
        ListenAddress::Unix { .. } => None,
    };
    settings.web.serve.listen.iter().find_map(tcp).unwrap_or_default()
}

/// Where others reach this program, without a slash at the end.
pub(super) fn external_url(settings: &Settings) -> String {
    let own = || format!("http://{}:{}", hostname(), port(settings));
    settings.web.external_url.clone().unwrap_or_else(own)
}

/// The machine's name, or "localhost".
fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
