//! A mapping read key by key.
//!
//! Invariant: when a [`Section`] goes out of scope, each key that was never asked for has become an
//! error. Forgetting to check for unknown keys is not possible.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::ByteSize;

use super::error::Notes;
use super::expand::Environment;
use super::secret::Secret;
use super::source::Source;
use super::suggest::closest;
use super::tree::{Content, Entry};
use super::value::{Value, child_path};

/// What all readers of one file share.
#[derive(Debug)]
pub(super) struct Context<'d> {
    pub(super) source: &'d Source,
    pub(super) directory: &'d Path,
    pub(super) environment: &'d Environment,
    pub(super) notes: Notes,
}

/// Keys and values, taken one by one. A key that is absent, or present without a value, is `None`
/// without an error; so is one whose value is wrong, with an error.
#[derive(Debug)]
pub struct Section<'d> {
    context: &'d Context<'d>,
    path: String,
    /// `path` is a title: what stands before its keys is a colon.
    titled: bool,
    place: Range<usize>,
    entries: &'d [Entry],
    /// One flag an entry.
    taken: Vec<bool>,
    /// The keys that were asked for: what the user may have meant by an unknown one.
    known: Vec<String>,
}

impl<'d> Section<'d> {
    pub(super) fn new(
        context: &'d Context<'d>,
        path: String,
        place: Range<usize>,
        entries: &'d [Entry],
    ) -> Self {
        let taken = vec![false; entries.len()];
        Self { context, path, titled: false, place, entries, taken, known: Vec::new() }
    }

    /// Where in the tree it stands; empty at the top.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What stands in messages instead of the path from here on: `group "g", rule 2, "Name"`.
    pub fn entitle(&mut self, title: String) {
        (self.path, self.titled) = (title, true);
    }

    fn child_path(&self, key: &str) -> String {
        match self.titled {
            true => format!("{}: {}", self.path, child_path("", key)),
            false => child_path(&self.path, key),
        }
    }

    /// Every key not yet taken, with its place and also where it has no value, for mappings whose keys
    /// are the names of something.
    pub fn take_fields(&mut self) -> Vec<Field<'d>> {
        let untaken = self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken);
        let field = |(entry, _): (&'d Entry, _)| Field {
            context: self.context,
            path: self.child_path(&entry.key),
            entry,
        };
        let fields = untaken.map(field).collect();
        self.taken.fill(true);
        fields
    }

    /// Whether the key is there with a value.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|entry| !entry.value.is_null())
    }

    /// Any value.
    pub fn take(&mut self, key: &str) -> Option<Value<'d>> {
        if !self.known.iter().any(|known| known == key) {
            self.known.push(key.to_owned());
        }
        let index = self.entries.iter().position(|entry| &*entry.key == key)?;
        self.take_at(index)
    }

    /// Every key not yet taken, for mappings whose keys are the user's: labels, headers.
    pub fn take_rest(&mut self) -> Vec<(&'d str, Value<'d>)> {
        let untaken = |index: &usize| self.taken.get(*index) == Some(&false);
        let rest: Vec<usize> = (0..self.entries.len()).filter(untaken).collect();
        rest.into_iter()
            .filter_map(|index| Some((&*self.entries.get(index)?.key, self.take_at(index)?)))
            .collect()
    }

    fn take_at(&mut self, index: usize) -> Option<Value<'d>> {
        let entry = self.entries.get(index)?;
        if let Some(taken) = self.taken.get_mut(index) {
            *taken = true;
        }
        let path = self.child_path(&entry.key);
        (!entry.value.is_null()).then_some(Value { context: self.context, path, node: &entry.value })
    }

    /// A text.
    pub fn take_str(&mut self, key: &str) -> Option<String> {
        self.take(key)?.str()
    }

    /// A text in which `${NAME}` is not the environment's; see [`Value::literal`].
    pub fn take_literal(&mut self, key: &str) -> Option<String> {
        self.take(key)?.literal()
    }

    /// `true` or `false`.
    pub fn take_bool(&mut self, key: &str) -> Option<bool> {
        self.take(key)?.bool()
    }

    /// A whole number within bounds.
    pub fn take_integer(&mut self, key: &str, bounds: RangeInclusive<i64>) -> Option<i64> {
        self.take(key)?.integer(bounds)
    }

    /// A finite number.
    pub fn take_float(&mut self, key: &str) -> Option<f64> {
        self.take(key)?.float()
    }

    /// A duration in Prometheus's notation.
    pub fn take_duration(&mut self, key: &str) -> Option<Duration> {
        self.take(key)?.duration()
    }

    /// A size in Prometheus's notation.
    pub fn take_size(&mut self, key: &str) -> Option<ByteSize> {
        self.take(key)?.size()
    }

    /// One of some words.
    pub fn take_choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.take(key)?.choice(choices)
    }

    /// A path; a relative one starts at the folder of this file.
    pub fn take_path(&mut self, key: &str) -> Option<PathBuf> {
        self.take(key)?.path_buf()
    }

    /// A secret under `key`, or in the file that `key_file` names; both at once is an error.
    pub fn take_secret(&mut self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let inline = self.take(key).and_then(|value| value.secret());
        let file = self.take_path(&file_key).map(Secret::file);
        if inline.is_some() && file.is_some() {
            self.error(&file_key, format!("both {key} and {file_key} are set; leave out one"));
        }
        inline.or(file)
    }

    /// A list of values.
    pub fn take_list(&mut self, key: &str) -> Option<Vec<Value<'d>>> {
        self.take(key)?.list()
    }

    /// A list of texts.
    pub fn take_strings(&mut self, key: &str) -> Option<Vec<String>> {
        self.take(key)?.strings()
    }

    /// Keys and values below a key.
    pub fn take_section(&mut self, key: &str) -> Option<Section<'d>> {
        self.take(key)?.section()
    }

    /// Notes an error when the key is absent or has no value.
    pub fn require(&mut self, key: &str) {
        if !self.has(key) {
            self.context.notes.add(self.place.clone(), &self.path, || format!("the key {key:?} is missing"));
        }
    }

    /// Notes an error about a key: at its value, at the key if that has none, else at the section.
    pub fn error(&self, key: &str, message: impl Into<String>) {
        self.context.notes.add(self.place_of(key), &self.child_path(key), || message.into());
    }

    /// The same with a message that names the key itself, or need not.
    pub fn error_here(&self, key: &str, message: impl Into<String>) {
        self.context.notes.add(self.place_of(key), &self.path, || message.into());
    }

    /// Notes an error about a key of the mapping under a key, or about that one where it is none.
    pub fn error_below(&self, key: &str, inner: &str, message: impl Into<String>) {
        let below = self.entry(key).map(|entry| entry.value.content());
        let found = match below {
            Some(Content::Mapping(entries)) => entries.iter().find(|entry| &*entry.key == inner),
            _ => None,
        };
        let place = found.map_or_else(|| self.place_of(key), |entry| entry.value.place());
        self.context.notes.add(place, &self.path, || message.into());
    }

    fn place_of(&self, key: &str) -> Range<usize> {
        match self.entry(key) {
            Some(entry) if !entry.value.is_null() => entry.value.place(),
            Some(entry) => entry.key_place.clone(),
            None => self.place.clone(),
        }
    }

    /// The keys that end with a text, taken or not.
    pub fn keys_ending_with(&self, end: &str) -> Vec<&'d str> {
        self.entries.iter().map(|entry| &*entry.key).filter(|key| key.ends_with(end)).collect()
    }

    /// Notes that a key, if it is there, is known but not supported; its value is not shown.
    pub fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let Some(index) = self.entries.iter().position(|entry| &*entry.key == key) else { return };
        self.take_at(index);
        if let Some(entry) = self.entries.get(index) {
            let notes = &self.context.notes;
            entry.value.scalar_places(&mut |place| notes.hide_unknown(place));
            notes.add(entry.key_place.clone(), &self.child_path(key), || message.into());
        }
    }

    fn entry(&self, key: &str) -> Option<&'d Entry> {
        self.entries.iter().find(|entry| &*entry.key == key)
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (entry, taken) in self.entries.iter().zip(&self.taken) {
            if *taken {
                continue;
            }
            let notes = &self.context.notes;
            entry.value.scalar_places(&mut |place| notes.hide_unknown(place));
            notes.add_at(entry.key_place.clone(), || {
                let message = match closest(&entry.key, self.known.iter().map(String::as_str)) {
                    Some(known) => format!("unknown key; did you mean {known:?}?"),
                    None if self.known.is_empty() => "unknown key".to_owned(),
                    None => format!("unknown key; known here: {}", self.known()),
                };
                (self.child_path(&entry.key), message)
            });
        }
    }
}

/// One key that the user chose, and what it holds.
#[derive(Debug)]
pub struct Field<'d> {
    context: &'d Context<'d>,
    path: String,
    entry: &'d Entry,
}

impl<'d> Field<'d> {
    /// The key as written.
    pub fn key(&self) -> &'d str {
        &self.entry.key
    }

    /// Its value, if it has one.
    pub fn value(&self) -> Option<Value<'d>> {
        let value = Value { context: self.context, path: self.path.clone(), node: &self.entry.value };
        (!self.entry.value.is_null()).then_some(value)
    }

    /// Notes an error at the key under another path.
    pub fn error_as(&self, path: &str, message: impl FnOnce() -> String) {
        self.context.notes.add(self.entry.key_place.clone(), path, message);
    }

    /// Notes an error about the key itself; what its value means is then unknown, and it is not shown.
    pub fn error_at_key(&self, message: impl FnOnce() -> String) {
        let notes = &self.context.notes;
        self.entry.value.scalar_places(&mut |place| notes.hide_unknown(place));
        notes.add(self.entry.key_place.clone(), &self.path, message);
    }
}

impl Section<'_> {
    fn known(&self) -> String {
        let mut known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        known.sort_unstable();
        let shown = known.iter().take(12).copied().collect::<Vec<_>>().join(", ");
        if known.len() > 12 { format!("{shown}, ...") } else { shown }
    }
}
