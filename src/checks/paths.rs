//! Files by pattern: `*`, `?` and `[...]` in any part of a path, never over more entries than a bound.
//!
//! Invariant: nothing is opened, only listed and looked at; what is no directory ends the search there.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use glob::Pattern;

/// Most entries of directories that one search looks at.
pub(super) const MOST_ENTRIES: usize = 250_000;

/// Why a pattern was not searched to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SearchError {
    #[error("cannot list {}: {source}", path.display())]
    List { path: PathBuf, source: std::io::Error },
    #[error("cannot look at {}: {source}", path.display())]
    Look { path: PathBuf, source: std::io::Error },
    #[error("more than {MOST_ENTRIES} files to look at; give a narrower pattern or clean up")]
    TooMany,
}

impl SearchError {
    /// Whether it says that something above the path is no folder, as of several that fit some may be.
    pub(super) fn is_no_folder(&self) -> bool {
        matches!(self, Self::Look { source, .. } if source.kind() == std::io::ErrorKind::NotADirectory)
    }
}

/// What is wrong with a pattern, in words.
pub(super) fn check(pattern: &Path) -> Result<(), String> {
    if pattern.components().any(|part| part.as_os_str() == OsStr::new("**")) {
        return Err(
            "\"**\" would search a whole tree; name the folders, or write \"*\" for one level".to_owned()
        );
    }
    no_braces(&pattern.to_string_lossy())?;
    for part in pattern.components() {
        Pattern::new(&part.as_os_str().to_string_lossy())
            .map_err(|error| format!("not a pattern: {error}"))?;
    }
    Ok(())
}

/// What is wrong with a pattern of names, in words.
pub(super) fn check_name(pattern: &str) -> Result<(), String> {
    no_braces(pattern)?;
    Pattern::new(pattern).map(|_| ()).map_err(|_| format!("{pattern:?} is not a pattern of a name"))
}

/// Refuses what a shell would make several words of: here it would fit nothing, and nobody would be told.
fn no_braces(pattern: &str) -> Result<(), String> {
    let bare = pattern.replace("[{]", "");
    let inner = bare.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
    if inner.is_some_and(|(inner, _)| inner.contains(',') || inner.contains("..")) {
        return Err(format!(
            "{pattern:?}: braces are no part of a pattern; give an entry for each, or write \"[{{]\" for the character"
        ));
    }
    Ok(())
}

pub(super) fn has_wildcard(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// Whether there is nothing at a path.
pub(super) fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotADirectory | std::io::ErrorKind::NotFound)
}

/// Calls `found` with each path that fits, in no order. A path without a wildcard is given whether it exists or not.
///
/// # Errors
/// A folder could not be listed; those beside it were. Or there was too much to look at.
pub(super) fn search(pattern: &Path, found: &mut dyn FnMut(PathBuf)) -> Result<(), SearchError> {
    let parts: Vec<Component<'_>> = pattern.components().collect();
    let mut search = Search { left: MOST_ENTRIES, failed: None, found };
    search.step(PathBuf::new(), &parts)?;
    search.failed.map_or(Ok(()), Err)
}

struct Search<'a> {
    /// Entries that may still be looked at.
    left: usize,
    /// The first folder that could not be listed.
    failed: Option<SearchError>,
    found: &'a mut dyn FnMut(PathBuf),
}

impl Search<'_> {
    /// As deep as the pattern has parts.
    fn step(&mut self, base: PathBuf, parts: &[Component<'_>]) -> Result<(), SearchError> {
        let Some((part, rest)) = parts.split_first() else {
            (self.found)(base);
            return Ok(());
        };
        let name = part.as_os_str();
        let text = name.to_string_lossy();
        if !text.contains(['*', '?', '[']) {
            return self.step(base.join(name), rest);
        }
        let Ok(wanted) = Pattern::new(&text) else { return Ok(()) };
        let directory = if base.as_os_str().is_empty() { Path::new(".") } else { &base };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            // Of several folders that fit, those that are none; the first one must be there.
            Err(error) if is_absent(&error) && self.left < MOST_ENTRIES => return Ok(()),
            Err(error) => {
                self.cannot_list(directory, error);
                return Ok(());
            }
        };
        for entry in entries {
            let name = match entry {
                Ok(entry) => entry.file_name(),
                Err(error) => {
                    self.cannot_list(directory, error);
                    break;
                }
            };
            self.left = self.left.checked_sub(1).ok_or(SearchError::TooMany)?;
            let text = name.to_string_lossy();
            // As a shell does, hidden files need a pattern that begins with a dot. What fsck found is root's alone.
            let hidden = text.starts_with('.') && !wanted.as_str().starts_with('.') || text == "lost+found";
            if !hidden && wanted.matches(&text) {
                self.step(base.join(&name), rest)?;
            }
        }
        Ok(())
    }

    fn cannot_list(&mut self, directory: &Path, source: std::io::Error) {
        self.failed.get_or_insert_with(|| SearchError::List { path: directory.to_owned(), source });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path, pattern: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut add = |path: PathBuf| names.push(path.strip_prefix(dir).unwrap().display().to_string());
        search(&dir.join(pattern), &mut add).unwrap();
        names.sort();
        names
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/1.pem", "a/2.pem", "a/2.key", "b/3.pem", "a/.hidden.pem", "c", "lost+found/4.pem"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        for (pattern, want) in [
            ("a/*.pem", vec!["a/1.pem", "a/2.pem"]),
            ("*/*.pem", vec!["a/1.pem", "a/2.pem", "b/3.pem"]),
            ("?/[13].pem", vec!["a/1.pem", "b/3.pem"]),
            ("a/.*", vec!["a/.hidden.pem"]),
            ("none.pem", vec!["none.pem"]),
            ("*", vec!["a", "b", "c"]),
        ] {
            assert_eq!(names(dir.path(), pattern), want, "{pattern}");
        }
        let missing = search(&dir.path().join("none/*.pem"), &mut |_| {});
        assert!(missing.unwrap_err().to_string().contains("cannot list"));
        assert!(check(Path::new("/a/**/b")).is_err() && check(Path::new("/a/[")).is_err());
        for braces in ["/a/*.{pem,crt}", "/{a,b}/*.pem", "/a/{1..3}.pem"] {
            let why = check(Path::new(braces)).unwrap_err();
            assert!(why.contains("braces are no part of a pattern; give an entry for each"), "{why}");
        }
        for good in ["/a/*.pem", "/a/{guid}/*.pem", "/a,b/}{.pem", "/a/[{]x,y}"] {
            assert_eq!(check(Path::new(good)), Ok(()), "{good}");
        }
    }
}
