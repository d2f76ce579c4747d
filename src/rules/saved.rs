//! What is remembered of alerts across restarts, and its shape in the store.
//!
//! Invariants: a row that cannot be read costs only itself; fields that a later version added are passed over.
//!
//! Shape: the table's key of an alert is group, rule's name, rule's labels and alert's labels, apart by a zero byte; the
//! second and later rule of a name and labels in a group has its number, from 1, before the alert's labels. The
//! value is a message of [`wire`](crate::wire) with the fields below. Under a group's key alone stands when it was
//! evaluated last. The store checks each row's sum.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::acknowledge::Acknowledgement;
use super::alert::{Alert, AlertState};
use super::rule::Rule;
use crate::model::{Labels, Timestamp};
use crate::store::StateOp;
use crate::wire::protobuf::{Reader, WireError, Writer};

/// The version of the shape. A row of a later one is not read.
const VERSION: u64 = 1;

/// Fields of a row. Instants are milliseconds since the epoch.
mod field {
    pub(super) const VERSION: u32 = 1;
    pub(super) const STATE: u32 = 2;
    pub(super) const VALUE: u32 = 3;
    pub(super) const ACTIVE_AT: u32 = 4;
    pub(super) const FIRED_AT: u32 = 5;
    pub(super) const RESOLVED_AT: u32 = 6;
    pub(super) const LAST_SENT_AT: u32 = 7;
    pub(super) const KEEP_FIRING_SINCE: u32 = 8;
    /// Names and values in turn.
    pub(super) const LABELS: u32 = 9;
    pub(super) const ANNOTATIONS: u32 = 10;
    pub(super) const SERIES: u32 = 11;
    pub(super) const EVALUATED_AT: u32 = 12;
    pub(super) const ACK_BY: u32 = 13;
    pub(super) const ACK_COMMENT: u32 = 14;
    pub(super) const ACK_AT: u32 = 15;
    pub(super) const ACK_UNTIL: u32 = 16;
}

/// All that was saved.
#[derive(Debug, Default)]
pub(super) struct Saved {
    alerts: BTreeMap<Vec<u8>, Vec<Alert>>,
    evaluated: BTreeMap<Vec<u8>, Timestamp>,
    /// Rows that could not be read.
    pub(super) unreadable: u64,
}

impl Saved {
    /// Takes a row of the table.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        let row = read_row(value);
        let split = key.iter().rposition(|byte| *byte == 0);
        match (row, split) {
            (Ok(Row::Alert(alert)), Some(at)) => {
                let rule = key.get(..at).unwrap_or_default().to_vec();
                self.alerts.entry(rule).or_default().push(*alert);
            }
            (Ok(Row::Group(at)), None) => {
                self.evaluated.insert(key.to_vec(), at);
            }
            _ => self.unreadable += 1,
        }
    }

    /// Hands out the alerts of a rule.
    pub(super) fn take_alerts(&mut self, group: &str, rule: &Rule) -> Vec<Alert> {
        self.alerts.remove(&rule_key(group, rule)).unwrap_or_default()
    }

    /// When a group was evaluated last, with alerts.
    pub(super) fn evaluated_at(&self, group: &str) -> Option<Timestamp> {
        self.evaluated.get(group.as_bytes()).copied()
    }

    /// Changes that take away what no rule has asked for.
    pub(super) fn forget_rest(self) -> Vec<StateOp> {
        let keys = self.alerts.into_iter().flat_map(|(rule, alerts)| {
            alerts.into_iter().map(move |alert| alert_key_below(rule.clone(), &alert.labels))
        });
        keys.map(StateOp::Delete).collect()
    }
}

/// That an alert is as it is now.
pub(super) fn put(group: &str, rule: &Rule, alert: &Alert) -> StateOp {
    StateOp::Put(alert_key_below(rule_key(group, rule), &alert.labels), alert_row(alert))
}

/// That an alert is no more.
pub(super) fn delete(group: &str, rule: &Rule, labels: &Labels) -> StateOp {
    StateOp::Delete(alert_key_below(rule_key(group, rule), labels))
}

/// That a group was evaluated.
pub(super) fn evaluated(group: &str, at: Timestamp) -> StateOp {
    let mut row = Writer::new();
    row.unsigned(field::VERSION, VERSION);
    row.signed(field::EVALUATED_AT, at.as_millis());
    StateOp::Put(group.as_bytes().to_vec(), row.into_bytes())
}

/// That a group is no more.
pub(super) fn forget_group(group: &str) -> StateOp {
    StateOp::Delete(group.as_bytes().to_vec())
}

fn rule_key(group: &str, rule: &Rule) -> Vec<u8> {
    let (spec, twin) = (rule.spec(), rule.twin());
    let mut key = format!("{group}\0{}\0{}", spec.name, spec.labels);
    if twin > 0 {
        let _ = write!(key, "\0{twin}");
    }
    key.into_bytes()
}

fn alert_key_below(mut rule: Vec<u8>, labels: &Labels) -> Vec<u8> {
    rule.extend_from_slice(format!("\0{labels}").as_bytes());
    rule
}

fn alert_row(alert: &Alert) -> Vec<u8> {
    let mut row = Writer::new();
    row.unsigned(field::VERSION, VERSION);
    row.unsigned(
        field::STATE,
        match alert.state {
            AlertState::Inactive => 0,
            AlertState::Pending => 1,
            AlertState::Firing => 2,
        },
    );
    row.double(field::VALUE, alert.value);
    row.signed(field::ACTIVE_AT, alert.active_at.as_millis());
    for (number, at) in [
        (field::FIRED_AT, alert.fired_at),
        (field::RESOLVED_AT, alert.resolved_at),
        (field::LAST_SENT_AT, alert.last_sent_at),
        (field::KEEP_FIRING_SINCE, alert.keep_firing_since),
    ] {
        if let Some(at) = at {
            row.signed(number, at.as_millis());
        }
    }
    if let Some(given) = &alert.acknowledged {
        row.text(field::ACK_BY, &given.by);
        row.text(field::ACK_COMMENT, &given.comment);
        row.signed(field::ACK_AT, given.at.as_millis());
        if let Some(until) = given.until {
            row.signed(field::ACK_UNTIL, until.as_millis());
        }
    }
    for (number, labels) in [
        (field::LABELS, &alert.labels),
        (field::ANNOTATIONS, &alert.annotations),
        (field::SERIES, &alert.series),
    ] {
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            row.text(number, text);
        }
    }
    row.into_bytes()
}

enum Row {
    Alert(Box<Alert>),
    Group(Timestamp),
}

/// Why a row is not read.
#[derive(Debug, thiserror::Error)]
enum RowError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("version {0} of a later program")]
    Version(u64),
    #[error("a field is missing or makes no sense")]
    Incomplete,
}

fn read_row(bytes: &[u8]) -> Result<Row, RowError> {
    let mut reader = Reader::new(bytes);
    let (mut version, mut state, mut value) = (0, None, f64::NAN);
    let (mut active_at, mut evaluated_at, mut instants) = (None, None, [None; 4]);
    let mut texts: [Vec<&str>; 3] = Default::default();
    let (mut ack_by, mut ack_comment, mut ack_at, mut ack_until) = (None, "", None, None);
    while let Some(field) = reader.field()? {
        let at = |field: crate::wire::protobuf::Field<'_>| {
            Ok::<_, WireError>(Some(Timestamp::from_millis(field.signed()?)))
        };
        match field.number {
            field::VERSION => version = field.unsigned()?,
            field::STATE => state = Some(field.unsigned()?),
            field::VALUE => value = field.double()?,
            field::ACTIVE_AT => active_at = at(field)?,
            field::EVALUATED_AT => evaluated_at = at(field)?,
            field::ACK_BY => ack_by = Some(field.text()?),
            field::ACK_COMMENT => ack_comment = field.text()?,
            field::ACK_AT => ack_at = at(field)?,
            field::ACK_UNTIL => ack_until = at(field)?,
            number @ field::FIRED_AT..=field::KEEP_FIRING_SINCE => {
                let slot = usize::try_from(number - field::FIRED_AT).ok().and_then(|i| instants.get_mut(i));
                if let Some(slot) = slot {
                    *slot = at(field)?;
                }
            }
            number @ field::LABELS..=field::SERIES => {
                let list = usize::try_from(number - field::LABELS).ok().and_then(|i| texts.get_mut(i));
                if let Some(list) = list {
                    list.push(field.text()?);
                }
            }
            _ => {}
        }
    }
    if version != VERSION {
        return Err(RowError::Version(version));
    }
    if let Some(at) = evaluated_at {
        return Ok(Row::Group(at));
    }
    let [labels, annotations, series] = texts.map(|texts| {
        texts.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?))).collect()
    });
    let [labels, series] = [labels, series].map(|pairs: Vec<(&str, &str)>| Labels::from_pairs(pairs));
    let annotations = Labels::texts(annotations);
    let state = match state {
        Some(0) => AlertState::Inactive,
        Some(1) => AlertState::Pending,
        Some(2) => AlertState::Firing,
        _ => return Err(RowError::Incomplete),
    };
    let active_at = active_at.ok_or(RowError::Incomplete)?;
    let mut alert = Alert::restored(labels, annotations, series, state, value, active_at, instants);
    alert.acknowledged = ack_by.zip(ack_at).map(|(by, at)| Acknowledgement {
        by: by.to_owned(),
        comment: ack_comment.to_owned(),
        at,
        until: ack_until,
    });
    Ok(Row::Alert(Box::new(alert)))
}
