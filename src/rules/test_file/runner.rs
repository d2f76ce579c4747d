//! Runs unit tests: series come in step by step, all groups are evaluated, and the alerts and samples are compared.
//!
//! Source: promtool's `unittest.go`: which evaluation an `eval_time` between two of them belongs to, and its messages.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::reader::{AlertTest, ExpectedAlert, ExprTest, UnitTest, UnitTests};
use super::{diff, shown};
use crate::gotemplate::format_float;
use crate::model::{ColdSort, Labels, PromDuration, Quoted, Timestamp, is_stale};
use crate::promql::test_file::{Item, SeriesLine};
use crate::promql::{Cancel, Engine, EngineOptions, ParseOptions, parse};
use crate::rules::{
    AlertState, AlertTiming, FileOptions, Group, GroupSpec, MOST_ALERTS, RuleContext, RuleMemory,
    RuleMetrics, RuleStorage, load_file,
};

/// Most rule files of one file of tests.
const MOST_FILES: usize = 1_000;

/// How tests are run.
#[derive(Clone, Debug, Default)]
pub struct UnitTestOptions {
    /// Only tests whose name this matches.
    pub run: Option<regex::Regex>,
    /// Alerts that differ are shown line by line.
    pub diff: bool,
    /// All samples are shown at the end of a test.
    pub debug: bool,
}

/// What became of a file of tests.
#[derive(Clone, Debug, Default)]
pub struct FileReport {
    /// What is odd, but no failure.
    pub warnings: Vec<String>,
    /// Why no test could be run.
    pub error: Option<String>,
    /// The tests, in order.
    pub cases: Vec<CaseReport>,
}

/// What became of a test.
#[derive(Clone, Debug, Default)]
pub struct CaseReport {
    /// Its name; `unnamed#3` where it has none.
    pub name: String,
    /// What failed, in promtool's words.
    pub failures: Vec<String>,
    /// All samples, if they were asked for.
    pub dump: Option<String>,
}

impl FileReport {
    /// Whether anything failed.
    pub fn failed(&self) -> bool {
        self.error.is_some() || self.cases.iter().any(|case| !case.failures.is_empty())
    }
}

/// Reads and runs a file of tests.
pub fn run_file(path: &Path, options: &UnitTestOptions) -> FileReport {
    let mut report = FileReport::default();
    let file = match UnitTests::load(path) {
        Ok(file) => file,
        Err(error) => return FileReport { error: Some(error.to_string()), ..report },
    };
    let paths = rule_files(&file, path, &mut report);
    let is_chosen = |test: &UnitTest| options.run.as_ref().is_none_or(|run| run.is_match(&test.name));
    let chosen: Vec<(usize, &UnitTest)> =
        file.tests.iter().enumerate().filter(|(_, test)| is_chosen(test)).collect();
    if chosen.is_empty() {
        return report;
    }
    match load(&paths, &file.group_eval_order) {
        Err(error) => report.error = Some(error),
        Ok(specs) => {
            for (number, test) in chosen {
                let mut case = Case::new(&file, test, &specs, options).run();
                if case.name.is_empty() {
                    case.name = format!("unnamed#{number}");
                }
                report.cases.push(case);
            }
        }
    }
    report
}

/// The files that the patterns name.
fn rule_files(file: &UnitTests, of: &Path, report: &mut FileReport) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in &file.rule_files {
        let found = glob::glob(&pattern.to_string_lossy());
        let found: Vec<PathBuf> =
            found.map(|paths| paths.filter_map(Result::ok).take(MOST_FILES).collect()).unwrap_or_default();
        if found.is_empty() {
            let folder = of.parent().unwrap_or(Path::new(""));
            let pattern = pattern.strip_prefix(folder).unwrap_or(pattern);
            report.warnings.push(format!("no file match pattern {}", pattern.display()));
        }
        for path in found {
            if !paths.contains(&path) && paths.len() < MOST_FILES {
                paths.push(path);
            }
        }
    }
    paths
}

/// The groups of all files, in the order in which they are evaluated.
fn load(paths: &[PathBuf], order: &[String]) -> Result<Vec<GroupSpec>, String> {
    let options = FileOptions { parse: ParseOptions::all(), ..FileOptions::default() };
    let (mut specs, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match load_file(path, &options) {
            Ok(mut groups) => specs.append(&mut groups),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    // Those that are not named have the place of the first.
    specs.cold_sort_by_key(|spec: &GroupSpec| {
        order.iter().position(|name| **name == *spec.name).unwrap_or_default()
    });
    Ok(specs)
}

/// A test that runs.
struct Case<'a> {
    file: &'a UnitTests,
    test: &'a UnitTest,
    options: &'a UnitTestOptions,
    groups: Vec<Group>,
    memory: Arc<RuleMemory>,
    context: RuleContext,
    metrics: RuleMetrics,
    /// Per series, how many values were taken in.
    taken: Vec<usize>,
    report: CaseReport,
}

impl<'a> Case<'a> {
    fn new(
        file: &'a UnitTests,
        test: &'a UnitTest,
        specs: &[GroupSpec],
        options: &'a UnitTestOptions,
    ) -> Self {
        let memory = Arc::new(RuleMemory::default());
        let engine =
            EngineOptions { default_subquery_step: file.evaluation_interval, ..EngineOptions::default() };
        let context = RuleContext {
            storage: Arc::clone(&memory) as Arc<dyn RuleStorage>,
            engine: Arc::new(Engine::new(engine)),
            parse: ParseOptions::all(),
            external_labels: test.external_labels.clone(),
            external_url: test.external_url.clone(),
            timing: AlertTiming::default(),
            most_alerts: MOST_ALERTS,
            settle: Duration::ZERO,
            notify: Arc::new(|_| {}),
            cancel: Cancel::default(),
        };
        let group = |spec: &GroupSpec| Group::new(spec.clone(), test.interval, Duration::ZERO);
        Self {
            file,
            test,
            options,
            groups: specs.iter().map(group).collect(),
            memory,
            context,
            metrics: RuleMetrics::default(),
            taken: vec![0; test.series.len()],
            report: CaseReport { name: test.name.clone(), ..CaseReport::default() },
        }
    }

    fn run(mut self) -> CaseReport {
        let (alert_times, expr_times) =
            (self.test.alerts.iter().map(|test| test.at), self.test.exprs.iter().map(|test| test.at));
        let end = alert_times.chain(expr_times).max().unwrap_or_default();
        let mut pending: Vec<&AlertTest> = self.test.alerts.iter().collect();
        pending.cold_sort_by_key(|test| test.at);
        let mut pending = pending.into_iter().peekable();
        let interval = self.file.evaluation_interval;
        let mut behind_start = Duration::ZERO;
        while behind_start <= end {
            if !self.evaluate(behind_start) {
                return self.report;
            }
            let next = behind_start + interval;
            while let Some(test) = pending.next_if(|test| test.at < next) {
                self.check_alerts(test);
            }
            behind_start = next;
        }
        for test in &self.test.exprs {
            self.check_expr(test);
        }
        if self.options.debug {
            self.report.dump = Some(self.dump(end));
        }
        self.report
    }

    fn instant(&self, behind_start: Duration) -> Timestamp {
        self.test.start.plus(behind_start)
    }

    /// One evaluation of all groups; says whether all rules went well.
    fn evaluate(&mut self, behind_start: Duration) -> bool {
        let at = self.instant(behind_start);
        self.take_in(behind_start);
        let before = self.report.failures.len();
        for group in &self.groups {
            group.evaluate(at, at, &self.context, &self.metrics);
            for rule in group.rules() {
                if let Some(error) = rule.status().last_error {
                    let (name, time) = (&rule.spec().name, shown::duration(behind_start));
                    self.report.failures.push(format!("    rule: {name}, time: {time}, err: {error}"));
                }
            }
        }
        self.report.failures.len() == before
    }

    /// Takes in all values up to an instant.
    fn take_in(&mut self, until: Duration) {
        let step = self.test.interval;
        for (line, taken) in self.test.series.iter().zip(&mut self.taken) {
            let SeriesLine { labels, items, .. } = line;
            while let Some(item) = items.get(*taken) {
                let behind_start = step.saturating_mul(u32::try_from(*taken).unwrap_or(u32::MAX));
                if behind_start > until {
                    break;
                }
                if let Item::Value(value) = item {
                    self.memory.add(labels, self.test.start.plus(behind_start), *value);
                }
                *taken += 1;
            }
        }
    }

    /// The alerts of a name that fire, in order.
    fn firing(&self, name: &str) -> Vec<ExpectedAlert> {
        let mut firing = Vec::new();
        for rule in self.groups.iter().flat_map(Group::rules).filter(|rule| *rule.spec().name == *name) {
            let alerts = rule.status().alerts;
            for alert in alerts.iter().filter(|alert| alert.state == AlertState::Firing) {
                let labels = alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                // One that came out empty is there as well.
                let annotations =
                    alert.annotations.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                firing.push(ExpectedAlert { labels: labels.collect(), annotations: annotations.collect() });
            }
        }
        firing.cold_sort();
        firing
    }

    fn check_alerts(&mut self, test: &AlertTest) {
        let got = self.firing(&test.name);
        let mut expected = test.expected.clone();
        expected.cold_sort();
        if got == expected {
            return;
        }
        let name = match self.test.name.as_str() {
            "" => String::new(),
            name => format!("    name: {name},\n"),
        };
        let head = format!("{name}    alertname: {}, time: {}, ", test.name, PromDuration::new(test.at));
        let (expected, got) = (shown::alerts(&expected), shown::alerts(&got));
        self.report.failures.push(match self.options.diff {
            true => {
                let diff = shown::indented(&format!("\n{}", diff::lines(&expected, &got)), 12);
                format!("{head}\n        diff:{diff}")
            }
            false => {
                let (expected, got) = (shown::indented(&expected, 12), shown::indented(&got, 12));
                format!("{head}\n        exp:{expected}, \n        got:{got}")
            }
        });
    }

    fn check_expr(&mut self, test: &ExprTest) {
        let head = format!("    expr: {}, time: {},", Quoted(&test.expr), PromDuration::new(test.at));
        let mut got = match self.query(&test.expr, self.instant(test.at)) {
            Ok(samples) => samples,
            Err(error) => return self.report.failures.push(format!("{head} err: {error}")),
        };
        let mut expected = test.expected.clone();
        for samples in [&mut got, &mut expected] {
            samples.cold_sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        let fits = |((one, expected), (other, got)): (&(Labels, f64), &(Labels, f64))| {
            one == other && self.is_same(*expected, *got)
        };
        if expected.len() != got.len() || !expected.iter().zip(&got).all(fits) {
            let (expected, got) = (shown::samples(&expected), shown::samples(&got));
            self.report.failures.push(format!("{head}\n        exp: {expected}\n        got: {got}"));
        }
    }

    fn is_same(&self, expected: f64, got: f64) -> bool {
        expected == got
            || (expected.is_nan() && got.is_nan())
            || (self.file.fuzzy_compare && (expected.next_up() == got || expected.next_down() == got))
    }

    fn query(&self, expr: &str, at: Timestamp) -> Result<Vec<(Labels, f64)>, String> {
        let expr = parse(expr, &self.context.parse).map_err(|error| error.to_string())?;
        self.context.vector(&*self.memory, &expr, at)
    }

    /// All samples, series by series.
    fn dump(&self, end: Duration) -> String {
        let mut dump = format!("Dump of all data (input_series and rules) at {}:", shown::duration(end));
        self.memory.each_series(|labels, samples| {
            dump += &format!("\n{labels} =>");
            for (at_ms, value) in samples.iter().filter(|(_, value)| !is_stale(*value)) {
                let value = format_float(value, 'f', None);
                dump += &format!("\n{value} @[{}]", format_float(at_ms as f64 / 1000.0, 'f', None));
            }
        });
        dump
    }
}
