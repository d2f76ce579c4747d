//! The module as its users see it: text in, values or rendered errors out.

use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::ByteSize;

fn parse(text: &str) -> Result<Document, Errors> {
    Document::parse("f.yml", text, &Limits::default())
}

fn environment() -> Environment {
    Environment::fixed([("HOST", "example.org"), ("PASSWORD", "hunter2"), ("SPELLS", "x: [y")])
}

/// Reads a section with one key of each type and renders what came out.
fn check(text: &str, expect: &[&str]) {
    let result = parse(text).and_then(|document| document.read(&environment(), read_sample));
    let lines = result.unwrap_or_else(|errors| errors.to_string());
    assert_eq!(lines.lines().collect::<Vec<_>>(), expect, "{text}\n{lines}");
}

fn read_sample(top: &mut Section<'_>) -> String {
    let mut out = String::new();
    let mut note = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            writeln!(out, "{key} = {value}").unwrap();
        }
    };
    note("name", top.take_str("name"));
    note("enabled", top.take_bool("enabled").map(|v| v.to_string()));
    note("count", top.take_integer("count", 0..=10).map(|v| v.to_string()));
    note("ratio", top.take_float("ratio").map(|v| v.to_string()));
    note("timeout", top.take_duration("timeout").map(|v| format!("{v:?}")));
    note("size", top.take_size("size").map(|v| v.to_string()));
    note("level", top.take_choice("level", &[("info", 1), ("warn", 2)]).map(|v| v.to_string()));
    note("file", top.take_path("file").map(|v| v.display().to_string()));
    note("password", top.take_secret("password").map(|v| v.to_string()));
    note("hosts", top.take_strings("hosts").map(|v| v.join("|")));
    if let Some(mut labels) = top.take_section("labels") {
        for (key, value) in labels.take_rest() {
            note(&format!("label {key}"), value.str());
        }
    }
    for mut item in top.take_list("jobs").unwrap_or_default().iter().filter_map(Value::section) {
        item.require("job");
        note("job", item.take_str("job"));
        note("every", item.take_duration("every").map(|v| format!("{v:?}")));
    }
    out
}

#[test]
fn reads_each_type() {
    check("", &[]);
    check("# only a comment\n", &[]);
    check("---\n~\n", &[]);
    check(
        "name: 1.10\nenabled: yes\ncount: 7\nratio: 5e-1\ntimeout: 1m30s\nsize: 2MB\n",
        &["name = 1.10", "enabled = true", "count = 7", "ratio = 0.5", "timeout = 90s", "size = 2MiB"],
    );
    check(
        "level: warn\nfile: a/b\npassword: x\nhosts: [a, 'b c', 3]\n",
        &["level = 2", "file = a/b", "password = <secret>", "hosts = a|b c|3"],
    );
    check(
        "{labels: {a: 1, \"b c\": x}, jobs: [{job: j, every: 5s}]}",
        &["label a = 1", "label b c = x", "job = j", "every = 5s"],
    );
    check("name:\nhosts:\njobs: ~\nlabels: null\n", &[]);
}

#[test]
fn anchors_merges_and_core_tags_work() {
    check(
        "jobs:\n- &a {job: x, every: 1s}\n- {<<: *a, job: y}\n- <<: [*a, {every: 9s}]\n",
        &["job = x", "every = 1s", "job = y", "every = 1s", "job = x", "every = 1s"],
    );
    check("name: &n abc\nhosts: [*n, !!str 5, \"<<\"]\n", &["name = abc", "hosts = abc|5|<<"]);
}

#[test]
fn every_mistake_is_shown_at_its_place() {
    check(
        "name: [a]\nenabled: maybe\ncount: 11\n  \ntimeout: 5 parsecs\nsize: 1XB\nlevel: wran\n",
        &[
            "f.yml:1:7: name: expected a text, found a list",
            "  1 | name: [a]",
            "    |       ^",
            "f.yml:2:10: enabled: expected true or false, found \"maybe\"",
            "  2 | enabled: maybe",
            "    |          ^^^^^",
            "f.yml:3:8: count: expected a whole number from 0 to 10, found \"11\"",
            "  3 | count: 11",
            "    |        ^^",
            "f.yml:5:10: timeout: not a valid duration: \"5 parsecs\"; write for example \"30s\", \"5m\" or \"1h30m\"",
            "  5 | timeout: 5 parsecs",
            "    |          ^^^^^^^^^",
            "f.yml:6:7: size: not a valid size: \"1XB\"; write for example \"512MB\" or \"10GB\" (units B KB MB GB TB PB EB, powers of 1024)",
            "  6 | size: 1XB",
            "    |       ^^^",
            "f.yml:7:8: level: expected one of info, warn, found \"wran\"; did you mean \"warn\"?",
            "  7 | level: wran",
            "    |        ^^^^",
        ],
    );
    check(
        "jobs:\n  - job: a\n    evry: 5s\n  - every: soon\n",
        &[
            "f.yml:3:5: jobs[0].evry: unknown key; did you mean \"every\"?",
            "  3 |     evry: ...",
            "    |     ^^^^",
            "f.yml:4:5: jobs[1]: the key \"job\" is missing",
            "  4 |   - every: soon",
            "    |     ^",
            "f.yml:4:12: jobs[1].every: not a valid duration: \"soon\"; write for example \"30s\", \"5m\" or \"1h30m\"",
            "  4 |   - every: soon",
            "    |            ^^^^",
        ],
    );
}

#[test]
fn duplicate_keys_and_unknown_tags_do_not_hide_other_mistakes() {
    check(
        "name: a\nname: b\nhosts: [!vault x]\ncount: x\n",
        &[
            "f.yml:2:1: name: duplicate key; it is first set in line 1",
            "  2 | name: ...",
            "    | ^^^^",
            "f.yml:3:16: hosts[0]: tags such as \"!vault\" have no meaning here",
            "  3 | hosts: [!vault x]",
            "    |                ^",
            "f.yml:4:8: count: expected a whole number from 0 to 10, found \"x\"",
            "  4 | count: x",
            "    |        ^",
        ],
    );
    check(
        "labels: {a: 1, 'a': 2}",
        &[
            "f.yml:1:16: labels.a: duplicate key; it is first set in line 1",
            "  1 | labels: {a: ..., 'a': ...}",
            "    |                  ^^^",
        ],
    );
}

#[test]
fn what_is_no_document_of_keys_is_refused() {
    for (text, message) in [
        ("- a", "f.yml:1:1: expected keys and values at the top level"),
        ("text", "f.yml:1:1: expected keys and values at the top level"),
        ("a: [b", "f.yml:1:4: not valid YAML: unclosed bracket"),
        ("a: b\n c: d", "f.yml:2:3: not valid YAML: "),
        ("a: 1\n---\nb: 2\n", "f.yml:2:1: a second document (\"---\"); a configuration file holds one"),
        ("? [a]\n: b", "f.yml:1:3: a key must be a text, not a list or a mapping"),
        ("a: *b", "f.yml:1:4: not valid YAML: "),
        ("a: &a [*a]", "f.yml:1:8: an alias inside of the very node that it stands for"),
        ("name: a\0b", "f.yml:1:8: control character '\\0' in a text file"),
        ("<<: 1", "f.yml:1:5: \"<<\" merges mappings only"),
    ] {
        let errors = parse(text).and_then(|d| d.read(&environment(), read_sample)).unwrap_err();
        let line = errors.to_string();
        assert!(line.starts_with(message), "{text:?}: {line}");
    }
}

#[test]
fn variables_are_text_and_missing_ones_errors_at_their_place() {
    check(
        "name: http://${HOST}/$$1\nlevel: ${LEVEL:-info}\ncount: \"${COUNT:-3}\"\n",
        &["name = http://example.org/$1", "count = 3", "level = 1"],
    );
    check("name: ${SPELLS}\n", &["name = x: [y"]);
    check(
        "name: ab ${NOPE} c\ntimeout: ${PASSWORD}\n",
        &[
            "f.yml:1:10: name: environment variable NOPE is not set; set it, or give a default: ${NOPE:-...}",
            "  1 | name: ab ${NOPE} c",
            "    |          ^^^^^^^",
            "f.yml:2:10: timeout: expected a duration such as 30s, 5m or 1h30m; the environment gives something else (not shown)",
            "  2 | timeout: ${PASSWORD}",
            "    |          ^^^^^^^^^^^",
        ],
    );
    let name = parse("name: ${HOST}").unwrap().read(&Environment::off(), |top| top.take_str("name"));
    assert_eq!(name.unwrap().as_deref(), Some("${HOST}"));
}

#[test]
fn no_error_shows_a_secret() {
    for text in [
        "password: hunter2\npassword: hunter2",
        "pasword: hunter2",
        "{pw: hunter2, count: x}",
        "{password: hunter2, count: x}",
        "password: [hunter2]",
        "password: {a: hunter2}",
        "password: !x hunter2",
        "{password: hunter2, password_file: p}",
        "password: |\n  hunter2\n  hunter2 x\ncount: x",
        "password: \"hunter2",
        "lables: {a: [hunter2, {b: hunter2}]}",
        "password: hunter2 ${NOPE}",
        "count: ${PASSWORD}",
        "level: ${PASSWORD}",
    ] {
        let errors = parse(text).and_then(|d| d.read(&environment(), read_sample)).unwrap_err();
        assert!(!errors.to_string().contains("hunter2"), "{text}\n{errors}");
    }
}

#[test]
fn secrets_come_from_files_beside_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pw"), "s3cret\n").unwrap();
    let file = dir.path().join("f.yml");
    std::fs::write(&file, "password_file: pw\n").unwrap();
    let document = Document::load(&file, &Limits::default()).unwrap();
    let secret = document.read(&environment(), |top| top.take_secret("password")).unwrap().unwrap();
    assert_eq!(secret.path(), Some(dir.path().join("pw").as_path()));
    assert_eq!(secret.reveal().unwrap(), "s3cret");
}

/// Texts that cost a careless parser seconds or gigabytes, and what the answer names.
fn hostile() -> Vec<(String, &'static str)> {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let names = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{names}]").unwrap();
    }
    let mut merges = String::from("m0: &m0 {x0: 1, y0: 1}\n");
    for level in 1..200 {
        let before = level - 1;
        writeln!(merges, "m{level}: &m{level} {{<<: [*m{before}, *m{before}], x{level}: 1}}").unwrap();
    }
    let n = 100_000;
    let keys = 40_000;
    vec![
        ("[".repeat(n), "nested deeper than"),
        ("{".repeat(n), "nested deeper than"),
        ("{a: ".repeat(n), "nested deeper than"),
        ("- ".repeat(n), "nested deeper than"),
        (format!("a: {}", "[".repeat(n)), "nested deeper than"),
        ("? ".repeat(n), "nested deeper than"),
        (laughs, "aliases counted"),
        (merges, "aliases counted"),
        (format!("a: &a 1\nb: [{}]", "*a, ".repeat(n)), "more than 10000 aliases"),
        (format!("a: [{}]", "x, ".repeat(150_000)), "more than 100000 values"),
        ("a: b\n".repeat(keys), "and 39900 more errors"),
        ((0..keys).map(|i| format!("k{i}: b\n")).collect(), "and 39900 more errors"),
        (format!("name: {}\n", "$".repeat(n) + &"${X".repeat(n)), "without \"}\""),
        ("x".repeat(5 << 20), "larger than 4MiB"),
        (format!("a: {}", "x".repeat(50 << 20)), "larger than 4MiB"),
        ("&a ".repeat(n), "not valid YAML"),
        ("!!str ".repeat(n), "not valid YAML"),
        ("a: 'x".repeat(n), "not valid YAML"),
        (format!("{}x", " ".repeat(3 << 20)), "expected keys and values"),
        (format!("\"{}\": 1", "k".repeat(1 << 20)), "not valid YAML"),
    ]
}

#[test]
fn hostile_texts_are_refused_at_a_limit() {
    for (text, part) in hostile() {
        let result = parse(&text).and_then(|document| document.read(&environment(), read_sample));
        let errors = result.unwrap_err().to_string();
        let head: String = text.chars().take(30).collect();
        assert!(errors.contains(part), "{head}: {}", errors.chars().take(300).collect::<String>());
        assert!(errors.len() < 100_000, "{head}: {} bytes of errors", errors.len());
    }
}

#[test]
fn files_that_are_no_text_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.yml");
    for (bytes, part) in [
        (&b"name: \xff\xfe"[..], "f.yml:1:7: not UTF-8 from here on"),
        (b"\xff\xfen\0a\0", "f.yml:1:1: not UTF-8 from here on"),
        (b"name: \0", "control character"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let error = Document::load(&file, &Limits::default()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let sparse = std::fs::File::create(&file).unwrap();
    sparse.set_len(50 << 20).unwrap();
    for (path, part) in [
        (file.as_path(), "larger than the 4MiB"),
        (std::path::Path::new("/dev/zero"), "a device"),
        (dir.path(), "a directory"),
    ] {
        let error = Document::load(path, &Limits::default()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn limits_are_the_callers() {
    let small = Limits {
        size: ByteSize::new(10),
        depth: 1,
        nodes: 3,
        aliases: 0,
        errors: 1,
        documents: Documents::One,
    };
    for (text, part) in [
        ("a: 12345678", "larger than 10B"),
        ("a: [b]", "nested deeper than 1"),
        ("a: 1\nb: 2", "more than 3 values"),
    ] {
        let error = Document::parse("f", text, &small).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn durations_of_zero_are_durations() {
    let read = |text: &str| parse(text).unwrap().read(&environment(), |top| top.take_duration("t")).unwrap();
    assert_eq!(read("t: 0"), Some(Duration::ZERO));
    assert_eq!(read("t: 0s"), Some(Duration::ZERO));
    assert_eq!(read("t:"), None);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z\\[\\]{}:,&*!|>'\"#%@`?\\-<~ \n\t$\u{e9}]{0,60}") {
        let _ = parse(&text).and_then(|document| document.read(&environment(), read_sample));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(errors) = parse(&text).and_then(|document| document.read(&environment(), read_sample)) {
            prop_assert!(errors.problems().iter().all(|problem| problem.line > 0 && problem.column > 0));
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn quoted_texts_come_back_as_they_were(text in "[ -~\u{e9}\u{4e2d}]{0,40}") {
        let yaml = format!("name: '{}'\n", text.replace('\'', "''"));
        let name = parse(&yaml).unwrap().read(&Environment::off(), |top| top.take_str("name")).unwrap();
        prop_assert_eq!(name.as_deref(), Some(text.as_str()));
    }

    #[test]
    fn what_is_shown_is_yaml_and_never_has_the_secret(
        lines in proptest::collection::vec("[ #:'\"\\-&\u{e9}\u{a0}a-z]{0,8}", 1..4),
        style in 0..6_usize,
        place in 0..4_usize,
        blank in "( {0,4}\n){0,2}",
        after in "( {0,3}# c\n)?",
    ) {
        let lines: Vec<String> = lines.iter().map(|line| format!("hunter2{line}")).collect();
        let block = |header: &str, indent: &str| {
            lines.iter().fold(format!("{header}\n"), |text, line| text + indent + line + "\n") + &blank
        };
        let secret = |indent: &str| match style {
            0 => "hunter2\n".to_owned(),
            1 => format!("'{}'\n", lines.join("").replace('\'', "''")),
            2 => serde_json::json!(lines.join("\n")).to_string() + "\n",
            3 => block("|", indent),
            4 => block(">+", indent),
            _ => block("|1-", indent),
        };
        let (style_is_flow, own) = (style < 3, "b: \"x\n   # y\"\n");
        let text = match place {
            0 => format!("password: {}{after}{own}", secret(" ")),
            1 => format!("jobs:\n- password: {}{after}- c: 1\n{own}", secret("   ")),
            2 if style_is_flow => format!("a: {{password: {} , c: 1}}\n{after}{own}", secret("").trim_end()),
            _ => format!("{own}a:\n password: {}", secret("  ")),
        };
        let shown = shown_without_passwords(&text);
        prop_assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        let read = |text: &str| {
            let document = parse(text)?;
            document.read(&Environment::off(), |top| (top.take_str("b"), top.take_rest().len()))
        };
        prop_assert_eq!(read(&shown), read(&text), "{}", shown);
    }

    #[test]
    fn a_secret_is_in_no_error(secret in "[a-zA-Z0-9]{8,20}", rest in "[a-z:{}\\[\\], \n]{0,30}") {
        let yaml = format!("password: {secret}\n{rest}");
        if let Err(errors) = parse(&yaml).and_then(|document| document.read(&environment(), read_sample)) {
            prop_assert!(!errors.to_string().contains(&secret), "{}", errors);
        }
    }
}

#[test]
fn a_good_file_is_shown_without_its_secrets() {
    let text = "# password: old\na: {password: hunter2, url: 'http://u:p@h/x'}\nb: |\n  two\n  lines\nc: ${X} # stays\n";
    let document = Document::parse("f.yml", text, &Limits::default()).unwrap();
    let (_, shown) = document
        .read_and_show(&Environment::off(), |top| {
            if let Some(mut a) = top.take_section("a") {
                a.take_secret("password");
                a.take_rest();
            }
            top.take_secret("b");
            top.take_rest();
        })
        .unwrap();
    assert!(!shown.contains("hunter2") && !shown.contains("u:p") && !shown.contains("lines"), "{shown}");
    assert!(shown.starts_with("a: {password: <secret>, url: 'http://<secret>@h/x'}\n"), "{shown}");
    assert!(shown.ends_with("c: ${X} # stays\n"), "{shown}");
}

/// Reads `password` at the top, in `a` and in each of `jobs` as secrets and shows the file.
fn shown_without_passwords(text: &str) -> String {
    let document = Document::parse("f.yml", text, &Limits::default()).unwrap_or_else(|e| panic!("{text}{e}"));
    let read = document.read_and_show(&Environment::off(), |top| {
        top.take_secret("password");
        for mut inner in top.take_list("jobs").unwrap_or_default().iter().filter_map(Value::section) {
            inner.take_secret("password");
            inner.take_rest();
        }
        if let Some(mut a) = top.take_section("a") {
            a.take_secret("password");
            a.take_rest();
        }
        top.take_rest();
    });
    read.unwrap_or_else(|errors| panic!("{text}{errors}")).1
}

#[test]
fn a_hidden_block_leaves_what_follows_as_it_was() {
    for (text, shown) in [
        ("password: |\n  one\n  two\nb: 1\n", "password: |\n  <secret>\nb: 1\n"),
        (
            "a:\n  password: >-\n\n    one\n   \n  # c\n  b: 1\n",
            "a:\n  password: >-\n\n    <secret>\n   \n  b: 1\n",
        ),
        (
            "jobs:\n- password: |\n   one\n   # two\n # c\n- b: |\n   # no\n",
            "jobs:\n- password: |\n   <secret>\n- b: |\n   # no\n",
        ),
        (
            "a: {password: 'one\n  two',\n  # c\n  b: \"x\n  # y\"}\n",
            "a: {password: <secret>,\n  b: \"x\n  # y\"}\n",
        ),
        ("{\"a\":{\"password\":\"one\"}}\n", "{\"a\":{\"password\":<secret>}}\n"),
        ("password: |+\n  one\n\n", "password: |+\n  <secret>\n\n"),
        ("password: |\nb: 1\n", "password: |\nb: 1\n"),
    ] {
        assert_eq!(shown_without_passwords(text), shown, "{text}");
        shown_without_passwords(shown);
    }
}

#[test]
fn a_stream_is_read_as_a_whole_and_a_file_holds_one_document() {
    let any = Limits { documents: Documents::Any, ..Limits::default() };
    let text = "a: &x 1\n---\n# nothing\n---\na: 2\nb: 3\n---\nc: ${NAME}\n";
    let document = Document::parse("f.yml", text, &any).unwrap();
    let read = document.read_stream(&Environment::off(), |values| {
        values.iter().filter_map(|value| value.section()?.take_str("a")).collect::<Vec<_>>()
    });
    let errors = read.unwrap_err();
    let places: Vec<(usize, &str)> =
        errors.problems().iter().map(|problem| (problem.line, problem.path.as_str())).collect();
    assert_eq!(places, [(6, "b"), (8, "c")]);
    let alias = Document::parse("f.yml", "a: &x 1\n---\nb: *x\n", &any);
    assert!(alias.unwrap_err().to_string().starts_with("f.yml:3:4: "));
    let one = Document::parse("f.yml", text, &Limits::default()).unwrap_err();
    assert!(one.to_string().contains("a second document"), "{one}");
}
