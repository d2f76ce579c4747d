//! Listing directories of sysfs and procfs: names sorted, so that output does not jump about.

use std::io;
use std::path::Path;

use super::CollectError;

/// Names of the entries that are valid UTF-8, sorted by bytes. Kernel objects have no other names.
pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// [`names`] for a directory without which the collector has nothing to say.
pub(super) fn names_or_no_data(directory: &Path) -> Result<Vec<String>, CollectError> {
    names(directory).map_err(|e| CollectError::reading(directory, e))
}

/// [`names`], none where the directory is missing or cannot be read.
pub(super) fn names_or_none(directory: &Path) -> Vec<String> {
    names(directory).unwrap_or_default()
}

/// What follows `prefix` if it is a whole decimal number: `mc12` with `mc` gives `12`.
pub(super) fn number_after<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let number = name.strip_prefix(prefix)?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_sorted_and_tells_missing() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(names(dir.path()).unwrap(), ["a", "b"]);
        let missing = dir.path().join("none");
        assert!(names_or_none(&missing).is_empty());
        assert!(matches!(names_or_no_data(&missing), Err(CollectError::NoData(_))));
        assert_eq!((number_after("mc12", "mc"), number_after("mcx", "mc")), (Some("12"), None));
    }
}
