//! The house rules that a program can see: who may use whom, file lengths, banned words, module documentation.
//!
//! The layering table is the one printed in `ARCHITECTURE.md`; this test reads it there. Each check is a
//! function from text to findings, and `mod of_the_checks` shows each of them fail on a bad snippet.

#![expect(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic on what it did not foresee"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines. A longer one knows more than one thing.
const LONGEST_FILE: usize = 600;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Modules below `src/` that may read the wall clock: the program's rim, and the function they call.
const CLOCK_READERS: &[&str] = &["src/app", "src/cli", "src/main.rs", "src/model/time.rs"];

/// Never, anywhere in Rust code.
const BANNED: &[(&str, &str)] = &[
    ("todo!(", "unfinished"),
    ("unimplemented!(", "unfinished"),
    ("dbg!(", "left from debugging"),
    ("#[ignore", "a test that does not run is no test"),
];

/// Where code may be `unsafe`: calls to the operating system and to libraries, and a C library for tests.
const UNSAFE_FOLDERS: &[&str] = &["src/collect/os", "tests/gpu/fake_nvml"];

/// Not in code that ships.
const BANNED_OUTSIDE_TESTS: &[(&str, &str)] = &[
    (".unwrap()", "panics on input; return an error"),
    (".expect(\"", "panics on input; return an error"),
    ("panic!(", "a failing part is seen, not fatal"),
    ("unreachable!(", "make the state unrepresentable, or return an error"),
    ("thread::sleep(", "wait for a condition with a deadline"),
];

/// Not in tests.
const BANNED_IN_TESTS: &[(&str, &str)] = &[
    ("thread::sleep(", "wait for a condition"),
    ("time::sleep(", "wait for a condition, or pass the time in"),
];

/// Words in text of any kind that mark it as unfinished.
const UNFINISHED: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X:"), concat!("TO", "DO")];

/// Folders of the machine on which the text was written, which mean nothing to a reader.
const FOREIGN_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/fa", "rm/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

#[test]
fn every_module_uses_only_those_above_it() {
    let rows = layering_rows(&read("ARCHITECTURE.md"));
    assert!(rows.len() >= 6, "ARCHITECTURE.md: the layering table was not found");
    let mut findings = Vec::new();
    let modules: BTreeSet<String> = top_level_modules();
    for module in &modules {
        if !rows.contains_key(module) {
            findings.push(format!("src/{module}: not in the layering table of ARCHITECTURE.md"));
        }
    }
    for row in rows.keys().filter(|r| !modules.contains(*r)) {
        findings.push(format!("ARCHITECTURE.md: the layering table names src/{row}, which does not exist"));
    }
    for path in rust_files(&["src"]) {
        let Some(module) = module_of(&path) else { continue };
        let allowed = rows.get(&module).cloned().unwrap_or_default();
        findings.extend(layering_findings(&shown(&path), &module, &allowed, &modules, &read_path(&path)));
    }
    report(&findings);
}

#[test]
fn no_file_is_too_long() {
    let mut findings = Vec::new();
    for path in rust_files(&["src", "tests", "benches", "examples", "fuzz/fuzz_targets"]) {
        findings.extend(length_finding(&shown(&path), &read_path(&path), LONG_FILES));
    }
    for (path, _) in LONG_FILES {
        if fs::read_to_string(root().join(path)).is_ok_and(|text| text.lines().count() <= LONGEST_FILE) {
            findings.push(format!("{path}: no longer long, take it from LONG_FILES"));
        }
    }
    report(&findings);
}

#[test]
fn no_banned_word_stands_in_code() {
    let mut findings = Vec::new();
    for path in rust_files(&["src", "tests", "benches", "examples", "fuzz/fuzz_targets", "build.rs"]) {
        findings.extend(banned_findings(&shown(&path), &read_path(&path)));
    }
    report(&findings);
}

#[test]
fn every_module_opens_with_its_job() {
    let mut findings = Vec::new();
    for path in rust_files(&["src", "tests", "benches", "examples", "build.rs"]) {
        findings.extend(opening_finding(&shown(&path), &read_path(&path)));
    }
    report(&findings);
}

#[test]
fn no_text_is_unfinished_or_names_a_foreign_machine() {
    let mut findings = Vec::new();
    for path in all_text_files() {
        findings.extend(text_findings(&shown(&path), &read_path(&path)));
    }
    report(&findings);
}

#[test]
fn every_relative_link_in_the_documentation_leads_somewhere() {
    let mut findings = Vec::new();
    for path in all_text_files().into_iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        for target in relative_links(&read_path(&path)) {
            let file = path.parent().unwrap_or(Path::new("")).join(&target);
            if !file.exists() {
                findings.push(format!("{}: link to {target}, which does not exist", shown(&path)));
            }
        }
    }
    report(&findings);
}

// The checks, from text to findings.

/// Rows of the first table whose second header cell holds "may use": module -> modules it may use.
fn layering_rows(architecture: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut rows = BTreeMap::new();
    let mut above: BTreeSet<String> = BTreeSet::new();
    let table = architecture.lines().skip_while(|l| !(l.starts_with('|') && l.contains("may use"))).skip(2);
    for line in table.take_while(|l| l.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (Some(first), Some(uses)) = (cells.first(), cells.last()) else { continue };
        let module = first.trim_matches('`').trim_end_matches('/').trim_end_matches(".rs").to_owned();
        let uses = match *uses {
            "nobody" => BTreeSet::new(),
            "all above" => above.clone(),
            list => list.split(',').map(|m| m.trim().trim_matches('`').to_owned()).collect(),
        };
        above.insert(module.clone());
        rows.insert(module, uses);
    }
    rows
}

fn layering_findings(
    file: &str,
    module: &str,
    allowed: &BTreeSet<String>,
    modules: &BTreeSet<String>,
    text: &str,
) -> Vec<String> {
    let code = without_comments_and_strings(text);
    let mut findings = Vec::new();
    for used in used_modules(&code, nesting(file)) {
        if used != module && modules.contains(&used) && !allowed.contains(&used) {
            findings.push(format!("{file}: {module} may not use {used}"));
        }
    }
    findings
}

/// How many `super::` lead from a file's module to the crate root.
fn nesting(file: &str) -> usize {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    inner.split('/').count()
}

/// First segments of all paths that start at the crate root: `crate::a::b`, `crate::{a::b, c}`, `super::super::a`.
fn used_modules(code: &str, nesting: usize) -> BTreeSet<String> {
    let supers = "super::".repeat(nesting);
    let mut used = BTreeSet::new();
    for root in ["crate::", supers.as_str()] {
        for (at, _) in code.match_indices(root) {
            let before = code.get(..at).and_then(|b| b.chars().next_back());
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = code.get(at + root.len()..).unwrap_or("").trim_start();
            match rest.strip_prefix('{') {
                Some(group) => used.extend(group_heads(group)),
                None => used.extend(leading_word(rest)),
            }
        }
    }
    used
}

/// First segments of the members of `{...}` (its opening brace taken off), nested groups skipped.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut at_start, mut heads) = (1_usize, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                heads.extend(leading_word(&group[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    heads
}

fn leading_word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

fn length_finding(file: &str, text: &str, exceptions: &[(&str, &str)]) -> Option<String> {
    let lines = text.lines().count();
    let excused = exceptions.iter().any(|(path, reason)| *path == file && !reason.is_empty());
    (lines > LONGEST_FILE && !excused)
        .then(|| format!("{file}: {lines} lines, more than {LONGEST_FILE}; split it by what it knows"))
}

fn banned_findings(file: &str, text: &str) -> Vec<String> {
    let code = without_comments_and_strings(text);
    let test_endings = ["/tests.rs", "_tests.rs", "/testing.rs"];
    let is_test_file = !file.starts_with("src/")
        || test_endings.iter().any(|e| file.ends_with(e))
        || file.contains("/tests/");
    let (shipped, tests) = if is_test_file { (String::new(), code.clone()) } else { split_tests(&code) };
    let clock: &[(&str, &str)] = if CLOCK_READERS.iter().any(|r| file.starts_with(r)) {
        &[]
    } else {
        &[
            ("SystemTime::now(", "time is a parameter"),
            ("Timestamp::now(", "time is a parameter"),
            ("Zoned::now(", "time is a parameter"),
        ]
    };
    let unsafe_code: &[(&str, &str)] = if UNSAFE_FOLDERS.iter().any(|folder| file.starts_with(folder)) {
        &[]
    } else {
        &[("unsafe {", "only calls to the operating system, below src/collect/os"), ("unsafe fn", "the same")]
    };
    let mut findings = Vec::new();
    let mut look = |part: &str, bans: &[(&str, &str)]| {
        for (number, line) in part.lines().enumerate() {
            for (word, why) in bans.iter().filter(|(word, _)| line.contains(word)) {
                findings.push(format!("{file}:{}: {word} - {why}", number + 1));
            }
        }
    };
    look(&code, BANNED);
    look(&shipped, BANNED_OUTSIDE_TESTS);
    look(&shipped, clock);
    look(&code, unsafe_code);
    look(&tests, BANNED_IN_TESTS);
    findings
}

fn opening_finding(file: &str, text: &str) -> Option<String> {
    let opens = text.lines().find(|l| !l.trim().is_empty() && !l.starts_with("#!["));
    (!opens.is_some_and(|l| l.starts_with("//!")))
        .then(|| format!("{file}: opens without `//!` (its job, its invariant, its source)"))
}

fn text_findings(file: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if file.starts_with("tests/fixtures/") {
        return findings;
    }
    for (number, line) in text.lines().enumerate() {
        for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
            findings.push(format!("{file}:{}: {word}", number + 1));
        }
        for path in FOREIGN_PATHS {
            let own = line.match_indices(path).any(|(at, _)| {
                let before = line.get(..at).and_then(|b| b.chars().next_back());
                !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
            });
            if own {
                findings.push(format!("{file}:{}: names {path}, a folder of some machine", number + 1));
            }
        }
    }
    findings
}

/// Targets of `[text](target)` that are files of the repository, anchors taken off.
fn relative_links(markdown: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut in_code = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ', '#']).next().unwrap_or("");
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push(target.to_owned());
            }
        }
    }
    links
}

// Reading Rust as text.

/// The code with comments and the contents of strings and character literals blanked, line by line as before.
fn without_comments_and_strings(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let mut i = 0;
    while i < bytes.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..bytes.len()).find(|&j| at(j) == '\n').unwrap_or(bytes.len()),
            ('/', '*') => end_of_block_comment(&bytes, i),
            ('r', '"' | '#')
                if !(i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_') && at(i - 1) != 'b') =>
            {
                match end_of_raw_string(&bytes, i) {
                    Some(end) => {
                        out.push_str("r\"");
                        out.extend(bytes[i + 2..end - 1].iter().map(|c| blank(*c)));
                        out.push('"');
                        i = end;
                        continue;
                    }
                    None => i,
                }
            }
            ('"', _) => {
                let end = end_of_quoted(&bytes, i, '"');
                out.push('"');
                out.extend(
                    bytes[(i + 1).min(end)..end.saturating_sub(1).max(i + 1)].iter().map(|c| blank(*c)),
                );
                out.push('"');
                i = end;
                continue;
            }
            ('\'', '\\') => end_of_quoted(&bytes, i, '\''),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        if end > i {
            out.extend(bytes[i..end].iter().map(|c| blank(*c)));
            i = end;
        } else {
            out.push(at(i));
            i += 1;
        }
    }
    out
}

fn end_of_block_comment(text: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0_usize, start);
    while i < text.len() {
        match (text[i], text.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) if depth == 1 => return i + 2,
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    text.len()
}

fn end_of_raw_string(text: &[char], start: usize) -> Option<usize> {
    let hashes = text[start + 1..].iter().take_while(|c| **c == '#').count();
    if text.get(start + 1 + hashes) != Some(&'"') {
        return None;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = start + 2 + hashes;
    (body..text.len()).find(|&i| text[i..].starts_with(&closing)).map(|i| i + closing.len())
}

fn end_of_quoted(text: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while i < text.len() {
        match text[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    text.len()
}

/// Splits blanked code into what ships and what is behind `#[cfg(test)]`, each with the other's lines left empty.
fn split_tests(code: &str) -> (String, String) {
    let (mut shipped, mut tests) = (String::new(), String::new());
    let (mut depth, mut waiting) = (0_usize, false);
    for line in code.lines() {
        if depth == 0 && !waiting && line.contains("cfg(test") {
            waiting = true;
        }
        let in_test = waiting || depth > 0;
        for c in line.chars().filter(|_| in_test) {
            match c {
                '{' => (depth, waiting) = (depth + 1, false),
                '}' => depth = depth.saturating_sub(1),
                ';' if depth == 0 => waiting = false,
                _ => {}
            }
        }
        let (this, other) = if in_test { (&mut tests, &mut shipped) } else { (&mut shipped, &mut tests) };
        this.push_str(line);
        this.push('\n');
        other.push('\n');
    }
    (shipped, tests)
}

// Finding files.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(name: &str) -> String {
    read_path(&root().join(name))
}

fn read_path(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn top_level_modules() -> BTreeSet<String> {
    rust_files(&["src"]).iter().filter_map(|p| module_of(p)).collect()
}

/// `src/web/tls.rs` and `src/web.rs` belong to `web`; the crate's two roots to nobody.
fn module_of(path: &Path) -> Option<String> {
    let shown = shown(path);
    let first = shown.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (first != "lib" && first != "main").then(|| first.to_owned())
}

fn rust_files(below: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    below.iter().for_each(|b| walk(&root().join(b), &mut files));
    files.retain(|f| f.extension().is_some_and(|e| e == "rs"));
    files
}

fn all_text_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(root(), &mut files);
    files.retain(|f| {
        f.file_name().is_some_and(|n| n != "Cargo.lock")
            && fs::metadata(f).is_ok_and(|m| m.len() < 4 << 20)
            && fs::read(f).is_ok_and(|bytes| std::str::from_utf8(&bytes).is_ok())
    });
    files
}

fn walk(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
        return;
    }
    let skip = ["target", ".git", "corpus", "artifacts"];
    let Ok(entries) = fs::read_dir(path) else { return };
    let mut entries: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    entries.sort();
    for entry in entries {
        let hidden_away =
            entry.is_symlink() || entry.file_name().is_some_and(|n| skip.iter().any(|s| n == *s));
        if !hidden_away {
            walk(&entry, files);
        }
    }
}

fn report(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

mod of_the_checks {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn the_table_is_read() {
        let rows = layering_rows(
            "x\n| folder | its one job | may use |\n|---|---|---|\n| `model/` | words | nobody |\n\
             | `web/` | face | `model` |\n| `app.rs` | wiring | all above |\n\n| `no/` | x | nobody |",
        );
        assert_eq!(rows["model"], set(&[]));
        assert_eq!(rows["web"], set(&["model"]));
        assert_eq!(rows["app"], set(&["model", "web"]));
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn a_use_of_a_lower_layer_is_found() {
        let modules = set(&["model", "collect", "web", "app"]);
        let found =
            |file: &str, code: &str| layering_findings(file, "collect", &set(&["model"]), &modules, code);
        for bad in [
            "use crate::web::Server;",
            "fn f() { let x = crate::app::now(); }",
            "use crate::{model::Batch, web::{self, tls}};",
            "use crate::{\n    model::Batch,\n    app,\n};",
            "use super::super::web;",
        ] {
            assert_eq!(found("src/collect/spec.rs", bad).len(), 1, "{bad}");
        }
        for good in [
            "use crate::model::Batch;",
            "// see crate::web",
            "let s = \"crate::web\";",
            "let s = r#\"crate::web \"quoted\" \"#;",
            "use other_crate::web::x;",
            "use crate::{collect::{web, app}, model};",
            "use super::web;",
        ] {
            assert_eq!(found("src/collect/spec.rs", good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(found("src/collect/host/arp.rs", "use super::super::super::web::x;").len(), 1);
    }

    #[test]
    fn a_long_file_is_found_unless_excused_with_a_reason() {
        let long = "x\n".repeat(LONGEST_FILE + 1);
        assert!(length_finding("src/a.rs", &long, &[]).is_some());
        assert!(length_finding("src/a.rs", &long, &[("src/a.rs", "")]).is_some());
        assert!(length_finding("src/a.rs", &long, &[("src/a.rs", "a table")]).is_none());
        assert!(length_finding("src/a.rs", &"x\n".repeat(LONGEST_FILE), &[]).is_none());
    }

    #[test]
    fn banned_words_are_found_where_they_are_banned() {
        let test =
            |code: &str| format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n fn b() {{ {code} }}\n}}\n");
        let found = |file: &str, code: &str| banned_findings(file, code).len();
        for bad in
            ["todo!()", "dbg!(x)", "x.unwrap()", "x.expect(\"y\")", "panic!(\"x\")", "SystemTime::now()"]
        {
            assert_eq!(found("src/model/a.rs", &format!("fn a() {{ {bad}; }}")), 1, "{bad}");
        }
        for good in
            ["// todo!()", "let s = \"x.unwrap()\";", "p.expect(b'x')", "let c = '\"'; x.y(\"panic!(\")"]
        {
            assert_eq!(found("src/model/a.rs", &format!("fn a() {{ {good} \n}}")), 0, "{good}");
        }
        assert_eq!(found("src/model/a.rs", &test("x.unwrap(); panic!()")), 0);
        assert_eq!(found("src/model/a.rs", &test("std::thread::sleep(d)")), 1);
        assert_eq!(found("src/model/a.rs", &format!("{}fn c() {{ x.unwrap() }}", test(""))), 1);
        assert_eq!(found("src/model/a.rs", "#[cfg(test)]\nmod tests;\nfn c() { x.unwrap() }"), 1);
        assert_eq!(found("tests/a.rs", "#[ignore]\nfn c() { x.unwrap() }"), 1);
        assert_eq!(found("src/app/mod.rs", "fn a() { SystemTime::now() }"), 0);
        assert_eq!(found("src/web/a.rs", "fn a() { unsafe { b() } }"), 1);
        assert_eq!(found("src/collect/os/a.rs", "fn a() { unsafe { b() } }"), 0);
    }

    #[test]
    fn a_module_without_its_job_is_found() {
        assert!(opening_finding("src/a.rs", "use x;\n//! Late.").is_some());
        assert!(opening_finding("src/a.rs", "// A comment.").is_some());
        assert!(opening_finding("src/a.rs", "\n#![no_main]\n//! Its job.").is_none());
    }

    #[test]
    fn unfinished_marks_foreign_folders_and_dead_links_are_found() {
        let home = concat!("see /ho", "me/someone/x");
        assert_eq!(text_findings("docs/a.md", home).len(), 1);
        assert_eq!(text_findings("docs/a.md", "https://example.org/home/x, /var/home").len(), 0);
        assert_eq!(text_findings("a.yml", concat!("# TO", "DO later")).len(), 1);
        let links = relative_links("[a](b.md#c) [d](https://x.y) [e](#f)\n```\n[g](h)\n```\n![i](j/k.png)");
        assert_eq!(links, ["b.md", "j/k.png"]);
    }
}
