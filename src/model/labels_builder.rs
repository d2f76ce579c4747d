//! A label set on its way: what relabelling and scraping change before it becomes [`Labels`].
//!
//! Invariants: sorted by name, no name twice, no empty value - setting one to "" takes it away.

use super::Labels;

/// A set of labels that can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// No labels.
    pub const fn new() -> Self {
        Self { pairs: Vec::new() }
    }

    /// The value of a label; "" where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).ok().and_then(|at| self.pairs.get(at)).map_or("", |(_, value)| value)
    }

    /// Whether the label is there.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Sets a label; an empty value takes it away.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.find(name) {
            _ if value.is_empty() => self.remove(name),
            Ok(at) => {
                if let Some((_, there)) = self.pairs.get_mut(at) {
                    *there = value;
                }
            }
            Err(at) => self.pairs.insert(at, (name.to_owned(), value)),
        }
    }

    /// Takes a label away.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.pairs.remove(at);
        }
    }

    /// Takes all labels away whose names `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.pairs.retain(|(name, _)| keep(name));
    }

    /// The labels in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The set as it now is.
    pub fn build(&self) -> Labels {
        Labels::from_sorted(self.iter())
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(there, _)| there.as_str().cmp(name))
    }
}

impl From<&Labels> for LabelsBuilder {
    fn from(labels: &Labels) -> Self {
        Self { pairs: labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for LabelsBuilder {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut builder = Self::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value);
        }
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_replaced_and_taken_away() {
        let mut builder: LabelsBuilder =
            [("b", "2"), ("a", "1"), ("empty", ""), ("b", "3")].into_iter().collect();
        assert_eq!((builder.get("b"), builder.get("none"), builder.has("empty")), ("3", "", false));
        builder.set("a", "");
        builder.set("c", "4");
        assert_eq!(builder.build(), Labels::from_pairs([("b", "3"), ("c", "4")]));
        assert_eq!(LabelsBuilder::from(&builder.build()), builder);
        builder.retain(|name| name == "c");
        assert_eq!(builder.iter().collect::<Vec<_>>(), [("c", "4")]);
    }
}
