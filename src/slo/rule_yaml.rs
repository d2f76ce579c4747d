//! Groups of rules as the YAML of a rule file, and of what Grafana Mimir and the Prometheus Operator take instead.
//!
//! Invariant: what is written reads back as the same texts, whatever they hold.
//!
//! Source: Prometheus documentation, "Recording rules"; Mimir's, "Mimirtool", for files of `mimirtool rules load`; the
//! operator's API reference, "PrometheusRule"; YAML 1.2.2, chapters 7 and 8.

use std::fmt::Write as _;

use super::generate::{GeneratedGroup, GeneratedKind, GeneratedRule};
use super::spec::Texts;
use crate::model::PromDuration;

/// A rule file with these groups.
pub fn to_rule_file(groups: &[GeneratedGroup]) -> String {
    let mut out = String::from(if groups.is_empty() { "groups: []\n" } else { "groups:\n" });
    for group in groups {
        // Writing into a `String` cannot fail.
        let _ = writeln!(out, "- name: {}", scalar(&group.name, 2));
        if let Some(interval) = group.interval {
            let _ = writeln!(out, "  interval: {}", PromDuration::new(interval));
        }
        if let Some(offset) = group.query_offset {
            let _ = writeln!(out, "  query_offset: {}", PromDuration::new(offset));
        }
        if group.limit > 0 {
            let _ = writeln!(out, "  limit: {}", group.limit);
        }
        if group.rules.is_empty() {
            out.push_str("  rules: []\n");
            continue;
        }
        out.push_str("  rules:\n");
        for rule in &group.rules {
            write_rule(&mut out, rule);
        }
    }
    out
}

/// A file for `mimirtool rules load`: these groups in a namespace.
pub fn to_mimir(namespace: &str, groups: &[GeneratedGroup]) -> String {
    format!("namespace: {}\n{}", scalar(namespace, 0), to_rule_file(groups))
}

/// A `PrometheusRule` of the Prometheus Operator with these groups.
pub fn to_prometheus_rule(name: &str, groups: &[GeneratedGroup]) -> String {
    let mut out = format!(
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: {}\nspec:\n",
        scalar(name, 2)
    );
    for line in to_rule_file(groups).lines() {
        let _ = if line.is_empty() { writeln!(out) } else { writeln!(out, "  {line}") };
    }
    out
}

fn write_rule(out: &mut String, rule: &GeneratedRule) {
    let key = match rule.kind {
        GeneratedKind::Record => "record",
        GeneratedKind::Alert { .. } => "alert",
    };
    let _ = writeln!(out, "  - {key}: {}", scalar(&rule.name, 4));
    let _ = writeln!(out, "    expr: {}", scalar(&rule.expr, 4));
    if let GeneratedKind::Alert { hold, keep_firing, .. } = &rule.kind {
        for (key, duration) in [("for", hold), ("keep_firing_for", keep_firing)] {
            if !duration.is_zero() {
                let _ = writeln!(out, "    {key}: {}", PromDuration::new(*duration));
            }
        }
    }
    write_texts(out, "labels", &rule.labels);
    if let GeneratedKind::Alert { annotations, .. } = &rule.kind {
        write_texts(out, "annotations", annotations);
    }
}

fn write_texts(out: &mut String, key: &str, texts: &Texts) {
    if texts.is_empty() {
        return;
    }
    let _ = writeln!(out, "    {key}:");
    for (name, text) in texts {
        let name = if is_plain(name) { name.to_owned() } else { quoted(name) };
        let _ = writeln!(out, "      {name}: {}", scalar(text, 6));
    }
}

/// A text as YAML: plain where nothing in it has a meaning, as a block where it has lines, else in quotes.
fn scalar(text: &str, indent: usize) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    if is_block(text) {
        let inner = " ".repeat(indent + 2);
        let mut out = String::from("|-");
        for line in text.split('\n') {
            out.push('\n');
            if !line.is_empty() {
                out.push_str(&inner);
                out.push_str(line);
            }
        }
        return out;
    }
    quoted(text)
}

/// Whether no character has a meaning, and the whole is no number, boolean or null.
fn is_plain(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_-.:/()<>=+*^~ ".contains(&b);
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b'(');
    let word = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"];
    first
        && text.bytes().all(inner)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !word.contains(&text.to_ascii_lowercase().as_str())
}

/// Whether it may stand as a block: lines without control characters, of which the first is not indented and the last
/// not empty.
fn is_block(text: &str) -> bool {
    let control =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    text.contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with('\n')
        && !text.contains(|c| control(c) || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

fn quoted(text: &str) -> String {
    let simple = |c: char| {
        !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if text.chars().all(simple) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if simple(c) => out.push(c),
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn read_back(text: &str) -> String {
        let yaml = format!("a:\n  b: {}\n", scalar(text, 2));
        let document = Document::parse("f", yaml.clone(), &Limits::default()).expect(&yaml);
        let read = document.read(&Environment::off(), |top| top.take_section("a")?.take_literal("b"));
        read.expect(&yaml).unwrap_or_default()
    }

    #[test]
    fn texts_are_written_as_people_would() {
        for (text, yaml) in [
            ("slo:objective:ratio", "slo:objective:ratio"),
            ("vector(0.999)", "vector(0.999)"),
            ("30d", "'30d'"),
            ("true", "'true'"),
            ("it's {{$x}}", "'it''s {{$x}}'"),
            ("a\nb", "|-\n    a\n    b"),
            ("a: b", "'a: b'"),
            ("", "''"),
        ] {
            assert_eq!(scalar(text, 2), yaml);
            assert_eq!(read_back(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn texts_read_back(text in "[ -~\n\t\r\u{85}\u{feff}äß:#'\"|>{}]{0,30}") {
            assert_eq!(read_back(&text), text);
        }
    }
}
