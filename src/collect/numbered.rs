//! Directories of numbered things in sysfs: `cpu0`, `node1`, `thermal_zone2`.

use std::io;
use std::path::{Path, PathBuf};

/// One numbered entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    /// What follows the prefix: `0`.
    pub(super) number: String,
    /// The entry.
    pub(super) path: PathBuf,
}

/// Entries of `directory` named `prefix` and a digit, in the order of their names as text (`cpu10`
/// before `cpu2`: where the first of several wins, node_exporter's glob has this order). Without the
/// directory there are none.
pub(super) fn numbered(directory: &Path, prefix: &str) -> io::Result<Vec<Numbered>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix(prefix));
        if let Some(number) = number.filter(|n| n.starts_with(|c: char| c.is_ascii_digit())) {
            found.push(Numbered { number: number.to_owned(), path: entry.path() });
        }
    }
    found.sort_unstable_by(|a, b| a.number.cmp(&b.number));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_prefix_with_a_digit_counts() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["cpu2", "cpu10", "cpufreq", "cpu", "x1"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let found: Vec<_> = numbered(dir.path(), "cpu").unwrap().into_iter().map(|n| n.number).collect();
        assert_eq!(found, ["10", "2"]);
        assert_eq!(numbered(&dir.path().join("none"), "cpu").unwrap(), []);
    }
}
