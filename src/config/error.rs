//! Mistakes in a file: collected while reading, shown all at once, each with its source line.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use super::source::Source;

use crate::model::ColdSort;

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    file: String,
    problems: Vec<Problem>,
    omitted: usize,
}

/// One mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Where in the tree: `collect.collectors.cpu`, `rules[2].name`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and, where it is known, what to write instead.
    pub message: String,
    snippet: Option<Snippet>,
}

/// A source line without its secrets, and what to underline in it (characters).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    text: String,
    caret: Range<usize>,
}

impl Errors {
    /// The file as the user named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The same mistakes without their source lines: for a file of which any line may hold a password.
    #[must_use]
    pub fn without_lines(mut self) -> Self {
        self.problems.iter_mut().for_each(|problem| problem.snippet = None);
        self
    }

    /// The mistakes, in the order of their lines. Never empty; at most [`super::Limits::errors`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{problem}", self.file)?;
        }
        if self.omitted > 0 {
            write!(f, "\n{}: and {} more errors", self.file, self.omitted)?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        let Some(snippet) = &self.snippet else { return Ok(()) };
        let gutter = self.line.to_string();
        write!(f, "\n  {gutter} | {}", snippet.text)?;
        let (indent, carets) = (snippet.caret.start, "^".repeat(snippet.caret.len().max(1)));
        write!(f, "\n  {:gutter$} | {:indent$}{carets}", "", "", gutter = gutter.len())
    }
}

/// What an error message may show in place of a stretch of the source.
#[derive(Clone, Debug)]
struct Mask {
    range: Range<usize>,
    shown: &'static str,
}

/// A mistake before it is rendered. Rendering waits until all secrets of the file are known.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) range: Range<usize>,
    pub(super) path: String,
    pub(super) message: String,
}

/// The collection while a file is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    limit: usize,
    inner: RefCell<Inner>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    notes: Vec<Note>,
    omitted: usize,
    masks: Vec<Mask>,
    /// Texts of several lines, in order: a line of theirs that begins with `#` is no comment.
    texts: Vec<Range<usize>>,
}

impl Notes {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, inner: RefCell::default() }
    }

    /// Notes a mistake; `message` is only asked for when there is still room.
    pub(super) fn add(&self, range: Range<usize>, path: &str, message: impl FnOnce() -> String) {
        self.add_at(range, || (path.to_owned(), message()));
    }

    /// As [`Self::add`], where the path has to be put together as well: a file of mistakes only must
    /// not cost a path each.
    pub(super) fn add_at(&self, range: Range<usize>, path_and_message: impl FnOnce() -> (String, String)) {
        let full = self.inner.borrow().notes.len() >= self.limit;
        if full {
            self.inner.borrow_mut().omitted += 1;
            return;
        }
        // Called outside of the borrow: nothing stops a message from looking at the notes.
        let (path, message) = path_and_message();
        self.inner.borrow_mut().notes.push(Note { range, path, message });
    }

    /// From now on this stretch is shown as `<secret>`.
    pub(super) fn hide_secret(&self, range: Range<usize>) {
        self.inner.borrow_mut().masks.push(Mask { range, shown: "<secret>" });
    }

    /// A value whose meaning is unknown, because its key is, may well be a password.
    pub(super) fn hide_unknown(&self, range: Range<usize>) {
        self.inner.borrow_mut().masks.push(Mask { range, shown: "..." });
    }

    /// This stretch of several lines is one text; to be told in the order of the file.
    pub(super) fn text(&self, range: Range<usize>) {
        self.inner.borrow_mut().texts.push(range);
    }

    /// All mistakes, rendered; where there are none, the text without its secrets and without lines that are
    /// nothing but a comment.
    pub(super) fn finish(self, source: &Source) -> Result<String, Errors> {
        let Inner { mut notes, omitted, mut masks, texts } = self.inner.into_inner();
        notes.cold_sort_by_key(|note| note.range.start);
        masks.cold_sort_by_key(|mask| (mask.range.start, std::cmp::Reverse(mask.range.end)));
        // Nested masks: the outer one covers the inner ones.
        masks.dedup_by(|later, earlier| later.range.end <= earlier.range.end);
        if notes.is_empty() {
            return Ok(without_secrets(source, &masks, &texts));
        }
        let problems = notes.into_iter().map(|note| problem(note, source, &masks)).collect();
        Err(Errors { file: source.name.clone(), problems, omitted })
    }
}

fn without_secrets(source: &Source, masks: &[Mask], texts: &[Range<usize>]) -> String {
    let mut shown = String::with_capacity(source.text.len());
    let mut masks = masks.iter().peekable();
    // Everything before is shown, or hidden.
    let mut done = 0;
    let mut end = 0;
    for line in source.text.split_inclusive('\n') {
        let start = end;
        end += line.len();
        let words = line.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let sign = end - words.len();
        let text = texts.get(texts.partition_point(|text| text.end <= sign));
        if words.starts_with('#') && !text.is_some_and(|text| text.contains(&sign)) {
            continue;
        }
        done = done.max(start);
        while let Some(mask) = masks.next_if(|mask| mask.range.start < end) {
            let hidden = visible(source, &mask.range);
            if !hidden.is_empty() {
                shown.push_str(source.slice(done..hidden.start.max(done)));
                shown.push_str(mask.shown);
                done = hidden.end.max(done);
            }
        }
        shown.push_str(source.slice(done..end.max(done)));
        done = done.max(end);
    }
    shown.lines().map(without_credentials).collect()
}

/// A stretch without the blanks around it: that of a block holds the line break and the indentation of what follows.
fn visible(source: &Source, range: &Range<usize>) -> Range<usize> {
    let blanks = [' ', '\t', '\r', '\n'];
    let text = source.slice(range.clone()).trim_end_matches(blanks);
    range.start + (text.len() - text.trim_start_matches(blanks).len())..range.start + text.len()
}

/// A line, ended, without what stands before the `@` of a URL.
fn without_credentials(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 1);
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let authority = after.find(|c: char| "/\"' ,}]".contains(c)).unwrap_or(after.len());
        let credentials = after.get(..authority).and_then(|text| text.rfind('@'));
        rest = match credentials {
            Some(end) => {
                out.push_str("<secret>");
                after.get(end..).unwrap_or_default()
            }
            None => after,
        };
    }
    out.push_str(rest);
    out.push('\n');
    out
}

fn problem(note: Note, source: &Source, masks: &[Mask]) -> Problem {
    let (line, column) = source.position(note.range.start);
    let snippet = snippet(&note.range, source, masks);
    Problem { line, column, path: note.path, message: note.message, snippet }
}

/// One mistake without a tree around it: what the YAML parser itself refuses. No key of the line has
/// been understood, so a line that may hold a secret is not shown.
pub(super) fn single(source: &Source, range: Range<usize>, message: String) -> Errors {
    let note = Note { range, path: String::new(), message };
    let line = source.line_range(note.range.start);
    let window = line.start..line.end.min(line.start + 4096);
    let telling = may_tell_a_secret(source.text.get(window).unwrap_or("secret"));
    let mask = Mask { range: line, shown: "..." };
    let problem = problem(note, source, if telling { std::slice::from_ref(&mask) } else { &[] });
    Errors { file: source.name.clone(), problems: vec![problem], omitted: 0 }
}

fn may_tell_a_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    // The last ones begin a hash of bcrypt.
    let words = ["pass", "secret", "token", "cred", "key", "auth", "pwd", "://", "$2a$", "$2b$", "$2y$"];
    words.iter().any(|word| line.contains(word))
}

/// How much of a long line is shown before and after the place (bytes).
const SHOWN_BEFORE: usize = 80;
const SHOWN_AFTER: usize = 80;

fn snippet(place: &Range<usize>, source: &Source, masks: &[Mask]) -> Option<Snippet> {
    let line = source.line_range(place.start);
    let first = floor_boundary(&source.text, place.start.saturating_sub(SHOWN_BEFORE)).max(line.start);
    let last = floor_boundary(&source.text, place.start.saturating_add(SHOWN_AFTER)).min(line.end);
    let mut text = String::from(if first > line.start { "..." } else { "" });
    let mut caret_start = None;
    let mut caret_end = None;
    let mut shown_mask = None;
    for (offset, character) in source.slice(first..last).char_indices() {
        let at = first + offset;
        if at >= place.start && caret_start.is_none() {
            caret_start = Some(text.chars().count());
        }
        let index = masks.partition_point(|mask| mask.range.end <= at);
        match masks.get(index).filter(|mask| mask.range.contains(&at)) {
            Some(_) if shown_mask == Some(index) => {}
            Some(mask) => {
                shown_mask = Some(index);
                text.push_str(mask.shown);
            }
            None if character == '\u{feff}' => {}
            None if character == '\t' => text.push(' '),
            None if character.is_control() => text.extend(character.escape_default()),
            None => text.push(character),
        }
        if at < place.end {
            caret_end = Some(text.chars().count());
        }
    }
    let shown = text.chars().count();
    let start = caret_start.unwrap_or(shown);
    if last < line.end {
        text.push_str("...");
    }
    (!text.trim().is_empty()).then(|| Snippet { text, caret: start..caret_end.unwrap_or(start).max(start) })
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, place: &str, hidden: &[&str]) -> String {
        let source = Source::new("f.yml".into(), text.into());
        let notes = Notes::new(10);
        let find = |part: &str| {
            let at = text.find(part).unwrap();
            at..at + part.len()
        };
        notes.add(find(place), "a.b", || "wrong".into());
        for part in hidden {
            notes.hide_secret(find(part));
        }
        notes.finish(&source).unwrap_err().to_string()
    }

    #[test]
    fn points_at_the_place() {
        assert_eq!(
            render("x: 1\n  k: value\n", "value", &[]),
            joined(&["f.yml:2:6: a.b: wrong", "  2 |   k: value", "    |      ^^^^^"])
        );
        assert_eq!(
            render("\tü: ab\r\n", "ab", &[]),
            joined(&["f.yml:1:5: a.b: wrong", "  1 |  ü: ab", "    |     ^^"])
        );
    }

    #[test]
    fn hides_secrets_of_the_same_line() {
        assert_eq!(
            render("{password: hunter2, size: big}", "big", &["hunter2"]),
            joined(&[
                "f.yml:1:27: a.b: wrong",
                "  1 | {password: <secret>, size: big}",
                "    |                            ^^^"
            ])
        );
        assert_eq!(
            render("password: hunter2", "hunter2", &["hunter2"]),
            joined(&["f.yml:1:11: a.b: wrong", "  1 | password: <secret>", "    |           ^^^^^^^^"])
        );
    }

    #[test]
    fn crops_long_lines_and_escapes_controls() {
        let text = format!("{} bad\u{1b}[31m {}", "é".repeat(500), "y".repeat(500));
        let shown = render(&text, "bad", &[]);
        let line = shown.lines().nth(1).unwrap();
        assert!(line.len() < 260 && line.contains("bad\\u{1b}[31m") && line.ends_with("..."), "{line}");
        let caret = shown.lines().nth(2).unwrap().chars().position(|c| c == '^').unwrap();
        assert_eq!(line.chars().skip(caret).take(3).collect::<String>(), "bad");
    }

    #[test]
    fn counts_what_it_does_not_keep() {
        let source = Source::new("f".into(), "a".into());
        let notes = Notes::new(2);
        for _ in 0..5 {
            notes.add(0..1, "", || "wrong".into());
        }
        let errors = notes.finish(&source).unwrap_err();
        assert_eq!(errors.problems().len(), 2);
        assert!(errors.to_string().ends_with("f: and 3 more errors"), "{errors}");
    }

    #[test]
    fn syntax_errors_show_no_line_that_may_hold_a_secret() {
        for (line, shown) in [
            ("a: [b", true),
            ("password: \"hunter2", false),
            ("url: 'http://u:p@h", false),
            ("ann: '$2y$10$abc", false),
        ] {
            let source = Source::new("f".into(), line.into());
            let text = single(&source, 0..1, "wrong".into()).to_string();
            assert_eq!(text.contains(line), shown, "{text}");
        }
    }

    fn joined(lines: &[&str]) -> String {
        lines.join("\n")
    }
}
