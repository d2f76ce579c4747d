//! What README.md says is what the program does: its lists of collectors are those of the registry.

use std::path::Path;

use outrigger::collect::specs;

#[test]
fn the_readme_lists_the_collectors_that_exist() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for (heading, on) in [("**On by default:**", true), ("**Off by default:**", false)] {
        let names: Vec<&str> = specs().iter().filter(|s| s.on_by_default == on).map(|s| s.name).collect();
        let listed = paragraph(&readme, heading).unwrap_or_else(|| panic!("README.md has no {heading}"));
        assert_eq!(
            listed.join(" "),
            names.join(" "),
            "README.md, {heading} should list what is on the right"
        );
    }
}

/// Words of the paragraph that starts with `heading`, code marks and commas taken off.
fn paragraph<'a>(text: &'a str, heading: &str) -> Option<Vec<&'a str>> {
    let start = text.find(heading)? + heading.len();
    let body = text.get(start..)?.split("\n\n").next()?;
    Some(body.split_whitespace().map(|w| w.trim_matches(|c| c == '`' || c == ',' || c == '.')).collect())
}

#[test]
fn a_paragraph_is_its_words_and_nothing_after_it() {
    let text = "x\n\n**On:** `a` `b`,\n`c`.\n\nd";
    assert_eq!(paragraph(text, "**On:**"), Some(vec!["a", "b", "c"]));
    assert_eq!(paragraph(text, "**Off:**"), None);
}
