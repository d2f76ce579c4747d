//! The reference pages are what the tables of flags and keys say.
//!
//! `OUTRIGGER_UPDATE_REFERENCE=1 cargo test --test reference` writes them anew.

use std::path::Path;

use outrigger::app::settings::{configuration_page, flags_page};

#[test]
fn the_pages_of_flags_and_keys_are_up_to_date() {
    check("docs/reference/flags.md", &flags_page());
    check("docs/reference/configuration.md", &configuration_page());
}

fn check(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if std::env::var_os("OUTRIGGER_UPDATE_REFERENCE").is_some() {
        let folder = path.parent().unwrap_or(Path::new("."));
        assert!(std::fs::create_dir_all(folder).is_ok() && std::fs::write(&path, expected).is_ok(), "{page}");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or_default() + 1;
    assert!(
        written == expected,
        "{page} differs from the source, first in line {differs}; OUTRIGGER_UPDATE_REFERENCE=1 cargo test --test reference writes it anew"
    );
}
