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
    #[error("more than {MOST_ENTRIES} files to look at; give a narrower pattern or clean up")]
    TooMany,
}

/// What is wrong with a pattern, in words.
pub(super) fn check(pattern: &Path) -> Result<(), String> {
    if pattern.components().any(|part| part.as_os_str() == OsStr::new("**")) {
        return Err(
            "\"**\" would search a whole tree; name the folders, or write \"*\" for one level".to_owned()
        );
    }
    for part in pattern.components() {
        Pattern::new(&part.as_os_str().to_string_lossy())
            .map_err(|error| format!("not a pattern: {error}"))?;
    }
    Ok(())
}

pub(super) fn has_wildcard(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// Calls `found` with each path that fits, in no order. A path without a wildcard is given whether it exists or not.
pub(super) fn search(pattern: &Path, found: &mut dyn FnMut(PathBuf)) -> Result<(), SearchError> {
    let parts: Vec<Component<'_>> = pattern.components().collect();
    let mut left = MOST_ENTRIES;
    step(PathBuf::new(), &parts, &mut left, found)
}

/// As deep as the pattern has parts.
fn step(
    base: PathBuf,
    parts: &[Component<'_>],
    left: &mut usize,
    found: &mut dyn FnMut(PathBuf),
) -> Result<(), SearchError> {
    let Some((part, rest)) = parts.split_first() else {
        found(base);
        return Ok(());
    };
    let name = part.as_os_str();
    let text = name.to_string_lossy();
    if !text.contains(['*', '?', '[']) {
        return step(base.join(name), rest, left, found);
    }
    let Ok(wanted) = Pattern::new(&text) else { return Ok(()) };
    let directory = if base.as_os_str().is_empty() { Path::new(".") } else { &base };
    let list_error = |source| SearchError::List { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        // Of several folders that fit, those that are none; the first one must be there.
        Err(error) if is_no_folder(&error) && *left < MOST_ENTRIES => return Ok(()),
        Err(error) => return Err(list_error(error)),
    };
    for entry in entries {
        let name = entry.map_err(list_error)?.file_name();
        *left = left.checked_sub(1).ok_or(SearchError::TooMany)?;
        let text = name.to_string_lossy();
        // As a shell does, hidden files need a pattern that begins with a dot.
        let hidden = text.starts_with('.') && !wanted.as_str().starts_with('.');
        if !hidden && wanted.matches(&text) {
            step(base.join(&name), rest, left, found)?;
        }
    }
    Ok(())
}

fn is_no_folder(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotADirectory | std::io::ErrorKind::NotFound)
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
        for file in ["a/1.pem", "a/2.pem", "a/2.key", "b/3.pem", "a/.hidden.pem", "c"] {
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
        assert!(check(Path::new("/a/*.pem")).is_ok());
    }
}
