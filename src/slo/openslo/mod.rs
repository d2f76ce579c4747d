//! OpenSLO v1: documents that name each other.
//!
//! Invariants: definitions are read before the objectives that name them, wherever in the file they stand; each is read
//! once, whether it is used or not, so that its mistakes are told. Sources and targets of notifications are checked and
//! otherwise left aside: queries are asked here, and alerts leave by Alertmanager's configuration.
//!
//! Source: the OpenSLO specification, `openslo/v1`.

mod indicator;
mod policy;
mod slo;
mod window;

use std::collections::BTreeMap;

use self::indicator::Sli;
use self::policy::{Condition, Policy};
use super::fields::{name, take_labels};
use super::file::Reader;
use super::spec::Texts;
use crate::config::{Section, Value};

/// The documents of a file, put together by [`Documents::finish`].
#[derive(Default)]
pub(super) struct Documents<'d> {
    slos: Vec<(Value<'d>, Head, Section<'d>)>,
    slis: BTreeMap<String, Option<Sli>>,
    conditions: BTreeMap<String, Option<Condition>>,
    /// Read when all conditions are known.
    policies: Vec<(Head, Section<'d>)>,
}

/// `metadata`
#[derive(Clone, Debug, Default)]
struct Head {
    name: String,
    labels: Texts,
}

impl<'d> Documents<'d> {
    /// Adds a document, whose `apiVersion` has been taken.
    pub(super) fn add(&mut self, value: &Value<'d>, mut section: Section<'d>) {
        section.require("kind");
        let kind = section.take_str("kind").unwrap_or_default();
        let head = take_head(&mut section);
        section.require("spec");
        let Some(mut spec) = section.take_section("spec") else { return };
        match kind.as_str() {
            "SLO" => self.slos.push((value.clone(), head, spec)),
            "SLI" => {
                let sli = indicator::read(&mut spec);
                self.define(value, head.name, sli, |documents| &mut documents.slis);
            }
            "AlertCondition" => {
                let condition = policy::read_condition(&head.name, &mut spec);
                self.define(value, head.name, condition, |documents| &mut documents.conditions);
            }
            "AlertPolicy" => self.policies.push((head, spec)),
            "Service" => {
                spec.take_str("description");
            }
            "AlertNotificationTarget" => {
                spec.take_str("description");
                spec.take_str("target");
            }
            "DataSource" => {
                spec.take_str("description");
                let prometheus = |text: &str| match text.eq_ignore_ascii_case("prometheus") {
                    true => Ok(()),
                    false => Err(format!("only sources of type Prometheus are known here, not {text:?}")),
                };
                spec.require("type");
                spec.take("type").and_then(|value| value.parse_with("Prometheus", prometheus));
                spec.take("connectionDetails");
            }
            _ => {
                spec.take_rest();
                section.error(
                    "kind",
                    "expected one of SLO, SLI, Service, DataSource, AlertPolicy, AlertCondition, AlertNotificationTarget",
                );
            }
        }
    }

    fn define<T>(
        &mut self,
        value: &Value<'d>,
        name: String,
        definition: T,
        map: impl FnOnce(&mut Self) -> &mut BTreeMap<String, T>,
    ) {
        if !name.is_empty() && map(self).insert(name.clone(), definition).is_some() {
            value.error(format!("a second definition of {name:?}"));
        }
    }

    /// Reads the objectives, now that all they may name is known.
    pub(super) fn finish(self, reader: &mut Reader<'d>) {
        let mut policies = BTreeMap::new();
        for (head, mut spec) in self.policies {
            let policy = policy::read_policy(&mut spec, &self.conditions);
            policies.insert(head.name, policy);
        }
        let known = Known { slis: self.slis, conditions: self.conditions, policies };
        for (value, head, mut spec) in self.slos {
            slo::read(&value, &head, &mut spec, &known, reader);
        }
    }
}

/// What objectives may name. `None`: it is there, and wrong.
struct Known {
    slis: BTreeMap<String, Option<Sli>>,
    conditions: BTreeMap<String, Option<Condition>>,
    policies: BTreeMap<String, Policy>,
}

fn take_head(section: &mut Section<'_>) -> Head {
    section.require("metadata");
    let Some(mut metadata) = section.take_section("metadata") else { return Head::default() };
    metadata.require("name");
    let name = metadata.take("name").and_then(|value| value.parse_with("a name", name));
    metadata.take_str("displayName");
    metadata.take("annotations");
    // A label may have several values there; one is what Prometheus has.
    let labels = take_labels(&mut metadata, "labels");
    Head { name: name.unwrap_or_default(), labels }
}

/// What a reference names; that there is none is noted.
fn find<'k, T>(map: &'k BTreeMap<String, T>, value: &Value<'_>, what: &str) -> Option<&'k T> {
    let name = value.str()?;
    let found = map.get(&name);
    if found.is_none() {
        value.error(format!("there is no {what} {name:?} in this file"));
    }
    found
}
