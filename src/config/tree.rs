//! YAML events to a tree in which every node knows its place.
//!
//! Invariant: building is one pass over the events with a stack of its own (no recursion), and its
//! cost is bounded by [`Limits`]. An alias shares the node that it names; it is *counted* as all that
//! the node holds, so that ten lines which stand for a billion nodes are refused at the limit.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};

use super::error::{Errors, Notes, single};
use super::limits::{Documents, Limits};
use super::source::Source;

/// One node; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What to underline: the whole scalar, or the first character of a collection.
    place: Range<usize>,
    content: Content,
    /// Nodes in this subtree, itself and what aliases stand for included.
    weight: usize,
    /// Levels of collections in this subtree, 0 for a scalar.
    height: usize,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Content {
    /// A text; `plain` when it was written without quotes and may therefore be a number or null.
    Scalar {
        text: Box<str>,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Arc<str>,
    pub(super) key_place: Range<usize>,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn place(&self) -> Range<usize> {
        self.0.place.clone()
    }

    pub(super) fn content(&self) -> &Content {
        &self.0.content
    }

    /// `key:`, `key: ~`, `key: null`.
    pub(super) fn is_null(&self) -> bool {
        match self.content() {
            Content::Scalar { text, plain } => {
                *plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// The places of all scalars below.
    pub(super) fn scalar_places(&self, visit: &mut impl FnMut(Range<usize>)) {
        match self.content() {
            Content::Scalar { .. } => visit(self.place()),
            Content::Sequence(items) => items.iter().for_each(|item| item.scalar_places(visit)),
            Content::Mapping(entries) => entries.iter().for_each(|entry| entry.value.scalar_places(visit)),
        }
    }
}

/// Parses a file's documents; those without content are left out. What can be read past (duplicate keys, unknown
/// tags) goes to `notes`; what cannot (syntax, limits) is the error.
pub(super) fn build(source: &Source, limits: &Limits, notes: &Notes) -> Result<Vec<Node>, Errors> {
    if let Some((at, character)) = source.text.char_indices().find(|(_, c)| is_forbidden(*c)) {
        let message = format!("control character {character:?} in a text file");
        return Err(single(source, at..at + character.len_utf8(), message));
    }
    let mut options = Options::default();
    options.flow_nesting_limit = limits.depth;
    options.block_nesting_limit = limits.depth;
    options.emit_comments = false;
    let mut builder = Builder::new(source, limits, notes);
    for event in Parser::new_from_str_with_options(&source.text, options) {
        let (event, span) = event.map_err(|error| syntax_error(&error, source, limits))?;
        if limits.documents == Documents::First && matches!(event, Event::DocumentEnd) {
            break;
        }
        builder.event(event, &span).map_err(|refusal| single(source, refusal.place, refusal.message))?;
    }
    Ok(builder.roots)
}

fn syntax_error(error: &ScanError, source: &Source, limits: &Limits) -> Errors {
    let end = source.text.len();
    let at = error.marker().byte_offset().unwrap_or(end).min(end);
    let message = match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(limits),
        _ => format!("not valid YAML: {}", error.info()),
    };
    single(source, at..at + 1, message)
}

/// Characters that YAML 1.2 section 5.1 does not allow; the parser is lenient with some.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\x7f' | '\u{fffe}' | '\u{ffff}')
}

struct Refusal {
    place: Range<usize>,
    message: String,
}

struct Builder<'s> {
    source: &'s Source,
    limits: &'s Limits,
    notes: &'s Notes,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    roots: Vec<Node>,
    nodes: usize,
    aliases: usize,
    documents: usize,
}

/// A collection whose end has not come yet.
struct Frame {
    place: Range<usize>,
    anchor: usize,
    weight: usize,
    height: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        /// Key to the index of its entry, to name the first use when it comes again.
        seen: HashMap<Arc<str>, usize>,
        merges: Vec<Node>,
        pending: Option<Key>,
    },
}

struct Key {
    text: Arc<str>,
    place: Range<usize>,
    plain: bool,
}

impl<'s> Builder<'s> {
    fn new(source: &'s Source, limits: &'s Limits, notes: &'s Notes) -> Self {
        Self {
            source,
            limits,
            notes,
            stack: Vec::new(),
            anchors: HashMap::new(),
            roots: Vec::new(),
            nodes: 0,
            aliases: 0,
            documents: 0,
        }
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Refusal> {
        let place = self.place(span);
        match event {
            Event::DocumentStart(..) => self.document_start(place),
            Event::Scalar(text, style, anchor, tag) => {
                if self.source.slice(place.clone()).contains('\n') {
                    self.notes.text(place.clone());
                }
                let plain = style == ScalarStyle::Plain && !self.forces_text(tag.as_deref(), &place);
                let content = Content::Scalar { text: text.into(), plain };
                self.complete(Node::new(place, content, 1, 0), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.forces_text(tag.as_deref(), &place);
                self.open(place, anchor, Items::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.forces_text(tag.as_deref(), &place);
                let (entries, seen, merges) = (Vec::new(), HashMap::new(), Vec::new());
                self.open(place, anchor, Items::Mapping { entries, seen, merges, pending: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, place),
            _ => Ok(()),
        }
    }

    fn document_start(&mut self, place: Range<usize>) -> Result<(), Refusal> {
        self.documents += 1;
        // An anchor ends with its document.
        self.anchors.clear();
        if self.documents > 1 && self.limits.documents == Documents::One {
            return Err(refusal(place, "a second document (\"---\"); a configuration file holds one".into()));
        }
        Ok(())
    }

    fn place(&self, span: &Span) -> Range<usize> {
        let range = span.byte_range().unwrap_or_default();
        let end = self.source.text.len();
        range.start.min(end)..range.end.min(end)
    }

    /// Whether a tag makes a plain scalar a text. Only YAML's own tags are known.
    fn forces_text(&self, tag: Option<&Tag>, place: &Range<usize>) -> bool {
        let Some(tag) = tag else { return false };
        match (tag.handle(), tag.suffix()) {
            ("tag:yaml.org,2002:", "str") | ("!", "") => true,
            ("tag:yaml.org,2002:", "int" | "float" | "bool" | "null" | "map" | "seq") => false,
            (handle, suffix) => {
                self.notes.add_at(place.clone(), || {
                    let tag: String = handle.chars().chain(suffix.chars()).take(40).collect();
                    (self.path(), format!("tags such as {tag:?} have no meaning here"))
                });
                false
            }
        }
    }

    fn open(&mut self, place: Range<usize>, anchor: usize, items: Items) -> Result<(), Refusal> {
        if self.stack.len() >= self.limits.depth {
            return Err(refusal(place, too_deep(self.limits)));
        }
        self.count(1, &place)?;
        // One character: an underlined block of forty lines helps nobody.
        let place = place.start..(place.start + 1).min(place.end);
        self.stack.push(Frame { place, anchor, weight: 1, height: 1, items });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Refusal> {
        let Some(Frame { place, anchor, mut weight, height, items }) = self.stack.pop() else {
            return Ok(());
        };
        let content = match items {
            Items::Sequence(items) => Content::Sequence(items),
            Items::Mapping { mut entries, seen, merges, .. } => {
                weight += self.merge(&mut entries, seen, &merges)?;
                Content::Mapping(entries)
            }
        };
        self.attach(Node::new(place, content, weight, height), anchor)
    }

    /// YAML 1.1's `<<`: keys of other mappings, unless set here; the first of several wins.
    fn merge(
        &mut self,
        entries: &mut Vec<Entry>,
        mut seen: HashMap<Arc<str>, usize>,
        merges: &[Node],
    ) -> Result<usize, Refusal> {
        let mut merged_weight = 0;
        for merge in merges {
            let sources = match merge.content() {
                Content::Sequence(items) => items.as_slice(),
                _ => std::slice::from_ref(merge),
            };
            for source in sources {
                let Content::Mapping(more) = source.content() else {
                    self.notes.add_at(source.place(), || (self.path(), "\"<<\" merges mappings only".into()));
                    continue;
                };
                self.count(source.0.weight, &merge.place())?;
                merged_weight += source.0.weight;
                for entry in more {
                    if seen.insert(Arc::clone(&entry.key), entries.len()).is_none() {
                        entries.push(entry.clone());
                    }
                }
            }
        }
        Ok(merged_weight)
    }

    fn alias(&mut self, id: usize, place: Range<usize>) -> Result<(), Refusal> {
        self.aliases += 1;
        if self.aliases > self.limits.aliases {
            return Err(refusal(place, format!("more than {} aliases", self.limits.aliases)));
        }
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(refusal(place, "an alias inside of the very node that it stands for".into()));
        };
        if self.stack.len() + node.0.height > self.limits.depth {
            return Err(refusal(place, too_deep(self.limits)));
        }
        self.count(node.0.weight, &place)?;
        self.attach(node, 0)
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Refusal> {
        self.count(1, &node.place())?;
        self.attach(node, anchor)
    }

    fn attach(&mut self, node: Node, anchor: usize) -> Result<(), Refusal> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        frame.weight += node.0.weight;
        frame.height = frame.height.max(node.0.height + 1);
        match &mut frame.items {
            Items::Sequence(items) => items.push(node),
            Items::Mapping { pending: pending @ None, .. } => *pending = Some(key(&node)?),
            Items::Mapping { entries, seen, merges, pending } => {
                let Some(key) = pending.take() else { return Ok(()) };
                if key.plain && &*key.text == "<<" {
                    merges.push(node);
                } else if let Some(first) = seen.get(&key.text).and_then(|index| entries.get(*index)).cloned()
                {
                    self.duplicate(&key, &first, &node);
                } else {
                    seen.insert(Arc::clone(&key.text), entries.len());
                    entries.push(Entry { key: key.text, key_place: key.place, value: node });
                }
            }
        }
        Ok(())
    }

    fn duplicate(&self, key: &Key, first: &Entry, value: &Node) {
        self.notes.add_at(key.place.clone(), || {
            let first_line = self.source.position(first.key_place.start).0;
            let message = format!("duplicate key; it is first set in line {first_line}");
            (super::value::child_path(&self.path(), &key.text), message)
        });
        // Nobody can tell which of both is read as what, so neither is fit to be shown.
        for value in [&first.value, value] {
            value.scalar_places(&mut |place| self.notes.hide_unknown(place));
        }
    }

    fn count(&mut self, nodes: usize, place: &Range<usize>) -> Result<(), Refusal> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limits.nodes {
            let message =
                format!("more than {} values, aliases counted as what they stand for", self.limits.nodes);
            return Err(refusal(place.clone(), message));
        }
        Ok(())
    }

    /// Where the collection that is being built stands.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match &frame.items {
                Items::Sequence(items) => path = super::value::item_path(&path, items.len()),
                Items::Mapping { pending: Some(key), .. } => {
                    path = super::value::child_path(&path, &key.text)
                }
                Items::Mapping { pending: None, .. } => {}
            }
        }
        path
    }
}

impl Node {
    fn new(place: Range<usize>, content: Content, weight: usize, height: usize) -> Self {
        Self(Arc::new(Inner { place, content, weight, height }))
    }
}

fn key(node: &Node) -> Result<Key, Refusal> {
    match node.content() {
        Content::Scalar { text, plain } => {
            Ok(Key { text: Arc::from(&**text), place: node.place(), plain: *plain })
        }
        _ => Err(refusal(node.place(), "a key must be a text, not a list or a mapping".into())),
    }
}

fn too_deep(limits: &Limits) -> String {
    format!("nested deeper than {} levels", limits.depth)
}

fn refusal(place: Range<usize>, message: String) -> Refusal {
    Refusal { place, message }
}
