//! Rules and objectives, wired: over the store, at the wall clock, with whom they tell.

use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::history::{engine_options, external_url, parse_options};
use super::serve::STACK_BYTES;
use super::settings::Settings;
use super::slos::Judges;
use crate::collect::Own;
use crate::model::OutgoingAlert;
use crate::notify::{Notifier, NotifyMetrics, NotifySettings};
use crate::promql::{Cancel, Engine, EngineOptions};
use crate::rules::{AlertTiming, MOST_ALERTS, RuleContext, RuleManager, RuleMetrics};
use crate::scorecard::Scoreboard;
use crate::scrape::{GlobalSettings, ScrapeMetrics};
use crate::slo::Books;
use crate::store::Store;

/// Longest time after a start for which the absence of a restored alert means nothing, whatever the scrape interval.
const LONGEST_SETTLE: Duration = Duration::from_secs(300);

/// The rules of the running program.
#[derive(Debug)]
pub(super) struct Rules {
    manager: Arc<RuleManager>,
    notifier: Arc<Notifier>,
    books: Arc<Books>,
    scoreboard: Scoreboard,
    store: Store,
}

impl Rules {
    /// Without groups and receivers yet.
    pub(super) fn new(settings: &Settings, store: Store, discovery: ScrapeMetrics, own: &Own) -> Self {
        let (metrics, notify_metrics) = (RuleMetrics::default(), NotifyMetrics::default());
        own.register(|registry| {
            metrics.register(registry);
            notify_metrics.register(registry);
        });
        let url = external_url(settings);
        let notifier = Arc::new(Notifier::new(store.clone(), clock::now, &url, notify_metrics, discovery));
        let told = Arc::clone(&notifier);
        let context = RuleContext {
            storage: Arc::new(store.clone()),
            // Apart from that of the API: queries of people must not hold up rules.
            engine: Arc::new(Engine::new(engine_options(
                &settings.query,
                settings.scrape.global.evaluation_interval,
            ))),
            parse: parse_options(&settings.query),
            external_labels: settings.scrape.global.external_labels.clone(),
            external_url: url,
            timing: settings.rules.timing,
            most_alerts: MOST_ALERTS,
            settle: settings.scrape.global.scrape_interval.min(LONGEST_SETTLE),
            notify: Arc::new(move |alerts: Vec<OutgoingAlert>| told.send(&alerts)),
            cancel: Cancel::default(),
        };
        let books = Books::new(store.clone(), Arc::clone(&context.engine), clock::now, STACK_BYTES);
        own.register(|registry| books.register(registry));
        let (books, engine) = (Arc::new(books), Arc::clone(&context.engine));
        let manager = Arc::new(RuleManager::new(context, clock::now, metrics, STACK_BYTES));
        let history = Arc::new(store.clone());
        let scoreboard = Scoreboard::new(history, Arc::clone(&manager), Arc::clone(&books), engine);
        own.register(|registry| scoreboard.register(registry));
        Self { manager, notifier, books, scoreboard, store }
    }

    pub(super) fn manager(&self) -> Arc<RuleManager> {
        Arc::clone(&self.manager)
    }

    pub(super) fn notifier(&self) -> Arc<Notifier> {
        Arc::clone(&self.notifier)
    }

    pub(super) fn books(&self) -> Arc<Books> {
        Arc::clone(&self.books)
    }

    pub(super) fn scoreboard(&self) -> Scoreboard {
        self.scoreboard.clone()
    }

    /// Puts groups, objectives and receivers into force, receivers first: what a rule says at once reaches them. Blocks.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn apply(
        &self,
        judges: Judges,
        global: &GlobalSettings,
        notify: &NotifySettings,
        timing: AlertTiming,
    ) -> std::io::Result<()> {
        self.notifier.apply(notify);
        let before = self.manager.context();
        let options = before.engine.options();
        let engine = match options.default_subquery_step == global.evaluation_interval {
            true => Arc::clone(&before.engine),
            false => Arc::new(Engine::new(EngineOptions {
                default_subquery_step: global.evaluation_interval,
                ..options.clone()
            })),
        };
        let context = RuleContext {
            engine: Arc::clone(&engine),
            external_labels: global.external_labels.clone(),
            settle: global.scrape_interval.min(LONGEST_SETTLE),
            timing,
            ..(*before).clone()
        };
        let applied =
            self.manager.apply(judges.groups, global.evaluation_interval, global.rule_query_offset, context);
        // What rules read is kept for the long time.
        self.store.set_selected(self.manager.selectors());
        let applied = applied.and(self.books.apply(&judges.slos.slos, Arc::clone(&engine)));
        self.scoreboard.apply(judges.card, engine);
        applied
    }

    /// Ends all evaluations and, where the settings want it so, all alerts that fire. Blocks.
    pub(super) fn close(&self) {
        self.manager.shutdown();
        self.books.shutdown();
        if self.notifier.resolves_on_shutdown() {
            self.notifier.send(&self.manager.resolved_alerts(clock::now()));
        }
    }
}
