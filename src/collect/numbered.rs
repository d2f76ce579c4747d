//! Directories of numbered things in sysfs: `cpu0`, `node1`, `thermal_zone2`.

use std::io;
use std::path::{Path, PathBuf};

use super::directory::names;

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
    let names = match names(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names?,
    };
    let entry = |name: String| {
        let number = name.strip_prefix(prefix).filter(|n| n.starts_with(|c: char| c.is_ascii_digit()))?;
        Some(Numbered { number: number.to_owned(), path: directory.join(&name) })
    };
    Ok(names.into_iter().filter_map(entry).collect())
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
