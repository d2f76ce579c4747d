//! The labels of a container: its group, and what files or a runtime say of it.

use super::names::Named;
use super::write::Labels;

/// Most labels of the container's own that are exposed.
const MOST_LABELS: usize = 16;

/// Longest value of one of them, bytes.
const LONGEST_LABEL: usize = 1024;

/// Of the container with this group; `unnamed` is the name of one that has none.
pub(super) fn labels_of(group: &str, named: Option<&Named>, unnamed: &str, exposed: &[String]) -> Labels {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut pairs = vec![pair("id", group)];
    let Some(named) = named else {
        pairs.push(pair("name", unnamed));
        return Labels::new(pairs);
    };
    let name = if named.name.is_empty() { unnamed } else { &named.name };
    pairs.extend([
        pair("name", name),
        pair("image", &named.image),
        pair("container", &named.container),
        pair("pod", &named.pod),
        pair("namespace", &named.namespace),
    ]);
    let is_exposed = |label: &str| {
        exposed.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => label.starts_with(prefix),
            None => label == wanted,
        })
    };
    let labels = named.labels.iter().filter(|(name, value)| value.len() <= LONGEST_LABEL && is_exposed(name));
    pairs.extend(labels.take(MOST_LABELS).map(|(name, value)| (label_name(name), value.clone())));
    Labels::new(pairs)
}

/// `container_label_` and the name, with `_` for what a label's name may not have.
fn label_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    "container_label_".chars().chain(name.chars().map(allowed)).collect()
}
