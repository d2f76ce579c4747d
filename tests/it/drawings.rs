//! Pictures that commands draw, held by golden files: `OUTRIGGER_UPDATE_DRAWINGS=1 cargo test --test it drawings` writes
//! them anew.

use crate::program::outrigger;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cmd/files");

fn drawn(rules: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.svg");
    let mut command = outrigger();
    command.current_dir(FOLDER).arg("backtest").args([rules, "--openmetrics", "hot.om"]).args(more);
    let output = command.arg("--svg").arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(path).unwrap()
}

/// Whether each tag that opens is closed in its turn, and no text or attribute holds a bare `<`, `&` or quote.
fn is_well_formed(svg: &str) -> bool {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some((text, tag)) = rest.split_once('<') {
        let Some((tag, after)) = tag.split_once('>') else { return false };
        let text_is_escaped = |text: &str| {
            text.split('&').skip(1).all(|after| {
                ["amp;", "lt;", "gt;", "quot;", "apos;", "#"].iter().any(|name| after.starts_with(name))
            })
        };
        if !text_is_escaped(text) || !text_is_escaped(tag) || tag.matches('"').count() % 2 != 0 {
            return false;
        }
        let name = |tag: &str| tag.split([' ', '/']).next().unwrap_or_default().to_owned();
        match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(closed), _) if open.pop() == Some(name(closed)) => {}
            (Some(_), _) => return false,
            (None, true) => {}
            (None, false) => open.push(name(tag)),
        }
        rest = after;
    }
    open.is_empty()
}

#[test]
fn a_backtest_is_drawn() {
    let more = ["--for", "0s", "--threshold", "80", "--incidents", "hot.incidents.yml"];
    let svg = drawn("hot.rules.yml", &more);
    assert!(is_well_formed(&svg), "{svg}");
    let golden = format!("{FOLDER}/hot.svg");
    if std::env::var_os("OUTRIGGER_UPDATE_DRAWINGS").is_some() {
        std::fs::write(&golden, &svg).unwrap();
    }
    assert_eq!(svg, std::fs::read_to_string(golden).unwrap());
}

#[test]
fn what_is_drawn_is_escaped_cut_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let rules: String = (0..600).map(|i| format!("  - {{alert: 'R{i}', expr: 'cpu > 1000'}}\n")).collect();
    let rules = write(
        "many.rules.yml",
        format!(
            "groups:\n- name: g\n  rules:\n  - {{alert: H, expr: 'cpu > 0', labels: {{x: '</text><script>&\"{}'}}}}\n{rules}",
            "ä".repeat(200)
        ),
    );
    let incidents = write(
        "incidents.yml",
        "- {name: '<b>&\"', from: 2026-01-01T00:10:00Z, to: 2026-01-01T00:20:00Z}\n".to_owned(),
    );
    let svg = drawn(&rules, &["--incidents", &incidents]);
    assert!(is_well_formed(&svg) && !svg.contains("<script") && !svg.contains("<b>"), "{svg}");
    assert!(svg.contains("rows more are left out"), "{svg}");
    assert!(svg.len() < 400_000);
}
