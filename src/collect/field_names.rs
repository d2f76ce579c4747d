//! Families named after the kernel's own fields (`MemTotal:`, `pgfault`): names made once, then looked up.
//!
//! Invariant: at most [`MOST_FIELDS`] names are remembered; a file of ever new fields starts them anew.

use rustc_hash::FxHashMap;

use crate::model::valid_metric_name;

/// `/proc/meminfo` has about 60 fields, `/proc/vmstat` about 200.
const MOST_FIELDS: usize = 2_048;

/// Name and help of the family that stands for a field.
#[derive(Debug)]
pub(super) struct FieldName {
    pub(super) family: String,
    pub(super) help: String,
}

/// Makes a family's name of a field, or leaves the field out.
type Make = Box<dyn Fn(&str) -> Option<FieldName> + Send>;

/// Families by field.
pub(super) struct FieldNames {
    make: Make,
    /// Where a field is in `fields`.
    known: FxHashMap<Box<[u8]>, usize>,
    /// In the order of the file, mostly: the next one asked for is the next one here.
    fields: Vec<(Box<[u8]>, Option<FieldName>)>,
    next: usize,
}

impl FieldNames {
    pub(super) fn new(make: impl Fn(&str) -> Option<FieldName> + Send + 'static) -> Self {
        Self { make: Box::new(make), known: FxHashMap::default(), fields: Vec::new(), next: 0 }
    }

    /// The family of `field`; `None` if it is left out or makes no valid name.
    pub(super) fn get(&mut self, field: &[u8]) -> Option<&FieldName> {
        let expected = self.fields.get(self.next).is_some_and(|(name, _)| **name == *field);
        let found = if expected { Some(self.next) } else { self.known.get(field).copied() };
        let at = found.unwrap_or_else(|| self.remember(field));
        self.next = if at + 1 < self.fields.len() { at + 1 } else { 0 };
        self.fields.get(at)?.1.as_ref()
    }

    fn remember(&mut self, field: &[u8]) -> usize {
        if self.known.len() >= MOST_FIELDS {
            self.known.clear();
            self.fields.clear();
        }
        let name = std::str::from_utf8(field).ok().and_then(&self.make);
        self.fields.push((field.into(), name.filter(|n| valid_metric_name(&n.family))));
        let at = self.fields.len() - 1;
        self.known.insert(field.into(), at);
        at
    }
}

/// A memory field as a name: the colon comes off, `Active(anon)` becomes `Active_anon`.
pub(super) fn memory_field(field: &str) -> String {
    let field = field.trim_end_matches(':');
    match field.split_once('(').and_then(|(head, rest)| Some((head, rest.rsplit_once(')')?))) {
        Some((head, (inner, tail))) => format!("{head}_{inner}{tail}"),
        None => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_once_and_checked() {
        let mut names = FieldNames::new(|field| {
            (field != "hidden").then(|| FieldName { family: format!("n_{field}"), help: String::new() })
        });
        assert_eq!(names.get(b"a").map(|n| n.family.as_str()), Some("n_a"));
        for again in ["b", "c", "a", "c", "c", "b", "a"] {
            let family = names.get(again.as_bytes()).map(|n| n.family.clone());
            assert_eq!(family, Some(format!("n_{again}")));
        }
        for left_out in [b"hidden".as_slice(), b"a b", b"\xff"] {
            assert!(names.get(left_out).is_none(), "{left_out:?}");
        }
        for i in 0..2 * MOST_FIELDS {
            names.get(i.to_string().as_bytes());
        }
        assert!(names.known.len() <= MOST_FIELDS);
    }

    #[test]
    fn memory_fields() {
        for (field, name) in
            [("MemTotal:", "MemTotal"), ("Active(anon):", "Active_anon"), ("Odd(x", "Odd(x"), ("", "")]
        {
            assert_eq!(memory_field(field), name);
        }
    }
}
