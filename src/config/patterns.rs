//! Lists of files by path and pattern: `rule_files`, `slo_files`.
//!
//! Invariants: a pattern searches one folder, never a tree; a file that two patterns name is one file; so many at most.
//!
//! Source: Prometheus documentation, "Configuration", `rule_files`.

use std::path::{Path, PathBuf};

use super::reader::Section;

/// Most files that all patterns of a key together may name: far more than anyone keeps, and read within seconds.
const MOST_FILES: usize = 1_000;

/// Reads a list of paths and patterns; relative ones start at the folder of the file. `what` names such a file in
/// errors, which are noted at their place.
pub fn read_file_patterns(top: &mut Section<'_>, key: &str, what: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for item in top.take_list(key).unwrap_or_default() {
        let Some(path) = item.path_buf() else { continue };
        if is_pattern(&path) && has_pattern_in_folder(&path) {
            // As Prometheus: one pattern must not search a whole tree.
            let text = item.str().unwrap_or_default();
            item.error(format!("invalid {what} path {text:?}: \"*\" may stand in the last part only"));
            continue;
        }
        files.push(path);
    }
    files
}

/// The files that these name, each once. A pattern that fits nothing names none; a path without a pattern is taken as
/// it is, there or not.
///
/// # Errors
/// There are too many.
pub fn files_of(patterns: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in patterns.iter().flat_map(|pattern| matching(pattern)) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    if paths.len() > MOST_FILES {
        return Err(format!("more than {MOST_FILES} files; put some of them together"));
    }
    Ok(paths)
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn has_pattern_in_folder(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.to_string_lossy().contains('*'))
}

/// The files that a pattern names, in order.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    if !is_pattern(pattern) {
        return vec![pattern.to_owned()];
    }
    let found = glob::glob(&pattern.to_string_lossy());
    found.map(|paths| paths.filter_map(Result::ok).take(MOST_FILES + 1).collect()).unwrap_or_default()
}
