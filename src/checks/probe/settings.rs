//! Modules of probes in blackbox_exporter's format, and who is probed with them.
//!
//! Every key of blackbox_exporter is read or refused with its place. Unlike there, who is probed stands in the
//! configuration: nobody outside can make this program connect to somewhere.
//!
//! Source: blackbox_exporter's documentation of its configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::module::Module;
use crate::checks::settings::{MOST_CHECKS, check_name, positive};
use crate::config::{Document, Documents, Environment, Limits, Section, read_labels};
use crate::model::{ByteSize, NameScheme};

/// Modules by name.
pub(super) type Modules = BTreeMap<String, Arc<Module>>;

/// One target of a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSettings {
    /// Label `probe`.
    pub name: String,
    /// Label `target`, and who is asked.
    pub target: String,
    /// Label `module`.
    pub module_name: String,
    /// What is asked and expected.
    pub module: Arc<Module>,
    /// Further labels.
    pub labels: Vec<(String, String)>,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Longest time of a probe that says nothing else.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Labels that a probe has itself.
pub(super) const OWN_LABELS: [&str; 4] = ["probe", "target", "module", "__name__"];

const MODULES_FILE: Limits = Limits {
    size: ByteSize::new(1 << 20),
    depth: 32,
    nodes: 25_000,
    aliases: 1_000,
    errors: 100,
    documents: Documents::One,
};

/// What need not be written down.
const BUILT_IN: &str = "modules: {http_2xx: {prober: http}, http_post_2xx: {prober: http, http: {method: POST}}, \
                        tcp_connect: {prober: tcp}, tls_connect: {prober: tcp, tcp: {tls: true}}, icmp: {prober: icmp}, \
                        grpc: {prober: grpc}, grpc_tls: {prober: grpc, grpc: {tls: true}}}";

impl ProbeSettings {
    /// Reads `modules`, `modules_file` and `probes`.
    pub(in crate::checks) fn read_all(section: &mut Section<'_>) -> Vec<Self> {
        let mut modules = built_in().clone();
        let mut all_known = true;
        if let Some(path) = section.take_path("modules_file") {
            match from_file(&path) {
                Ok(read) => modules.extend(read),
                Err(why) => {
                    all_known = false;
                    section.error("modules_file", why);
                }
            }
        }
        if let Some(mut inline) = section.take_section("modules") {
            modules.extend(read_modules(&mut inline));
        }
        let mut all: Vec<Self> = Vec::new();
        for item in section.take_list("probes").unwrap_or_default() {
            let Some(mut section) = item.section() else { continue };
            let read = Self::read(&mut section, &modules, all_known);
            if let Some(other) = read
                .iter()
                .find(|read| all.iter().any(|o| (&o.name, &o.target) == (&read.name, &read.target)))
            {
                let message = format!("there is another probe named {:?} of {:?}", other.name, other.target);
                section.error("name", message);
            }
            all.extend(read);
        }
        if all.len() > MOST_CHECKS {
            section.error("probes", format!("more than {MOST_CHECKS} targets"));
            all.clear();
        }
        all
    }

    fn read(section: &mut Section<'_>, modules: &Modules, all_known: bool) -> Vec<Self> {
        let name = check_name(section);
        section.require("targets");
        let module_name = section.take_str("module").unwrap_or_else(|| "http_2xx".to_owned());
        let module = modules.get(&module_name);
        if module.is_none() && all_known {
            let known: Vec<&str> = modules.keys().map(String::as_str).collect();
            section.error(
                "module",
                format!("there is no module {module_name:?}; there are {}", known.join(", ")),
            );
        }
        let interval = positive(section, "interval").unwrap_or(Duration::from_secs(60));
        let timeout = section.take_duration("timeout");
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            section.error("timeout", "expected more than 0s");
        }
        if let Some(timeout) = timeout.filter(|timeout| *timeout > interval) {
            section.error("timeout", format!("{timeout:?} is longer than the interval, {interval:?}"));
        }
        let labels = read_labels(section, "labels", NameScheme::Legacy);
        let labels: Vec<(String, String)> =
            labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if let Some((label, _)) = labels.iter().find(|(label, _)| OWN_LABELS.contains(&&**label)) {
            section.error_below("labels", label, format!("{label:?} is set by the probe itself"));
        }
        let targets = section.take_list("targets").unwrap_or_default();
        let (Some(name), Some(module)) = (name, module) else { return Vec::new() };
        let timeout = timeout.or(module.timeout).unwrap_or(DEFAULT_TIMEOUT).min(interval);
        let target = |value: &crate::config::Value<'_>| {
            let target =
                value.parse_with("a target", |text| module.check_target(text).map(|()| text.to_owned()))?;
            let (name, module_name, labels) = (name.clone(), module_name.clone(), labels.clone());
            Some(Self { name, target, module_name, module: Arc::clone(module), labels, interval, timeout })
        };
        let mut read: Vec<Self> = Vec::new();
        for value in &targets {
            let Some(settings) = target(value) else { continue };
            if read.iter().any(|other| other.target == settings.target) {
                value.error(format!("the target {:?} stands here twice", settings.target));
            }
            read.push(settings);
        }
        read
    }
}

fn built_in() -> &'static Modules {
    static MODULES: LazyLock<Modules> =
        LazyLock::new(|| from_text("<built in>", BUILT_IN).unwrap_or_default());
    &MODULES
}

fn from_file(path: &Path) -> Result<Modules, String> {
    read_document(&Document::load(path, &MODULES_FILE).map_err(|error| error.to_string())?)
}

/// The modules of a text; `name` stands for the file's in errors.
pub(super) fn from_text(name: &str, text: &str) -> Result<Modules, String> {
    read_document(&Document::parse(name, text, &MODULES_FILE).map_err(|error| error.to_string())?)
}

fn read_document(document: &Document) -> Result<Modules, String> {
    // `$` is an expression's.
    let modules = document.read(&Environment::off(), |top| {
        top.require("modules");
        top.take_section("modules").map(|mut modules| read_modules(&mut modules)).unwrap_or_default()
    });
    modules.map_err(|error| error.to_string())
}

fn read_modules(section: &mut Section<'_>) -> Modules {
    let read = |field: crate::config::Field<'_>| {
        let Some(value) = field.value() else {
            field.error_at_key(|| "a module needs a prober".to_owned());
            return None;
        };
        Some((field.key().to_owned(), Arc::new(Module::read(&mut value.section()?)?)))
    };
    section.take_fields().into_iter().filter_map(read).collect()
}
