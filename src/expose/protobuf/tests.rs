//! Every type and every refusal; then properties: what a client would write reads as its text does, and any bytes.

use proptest::prelude::*;

use super::*;
use crate::expose::{Escaping, Format, Syntax, encode, parse};
use crate::model::Snapshot;
use crate::wire::protobuf::Writer;

fn read(bytes: &[u8]) -> Result<(Batch, ParseStats), ProtobufError> {
    let mut batch = Batch::new();
    let stats = parse_protobuf(bytes, Limits::default(), &mut batch)?;
    Ok((batch, stats))
}

fn text(batch: Batch) -> String {
    let snapshot = Snapshot::assemble(Timestamp::default(), vec![("test", batch)]);
    let mut out = Vec::new();
    encode(&snapshot, Format { syntax: Syntax::Text100, escaping: Escaping::AllowUtf8 }, &mut out);
    String::from_utf8(out).unwrap()
}

/// One family of a delimited stream.
fn family(name: &str, kind: u64, metrics: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.delimited(|w| {
        w.text(1, name);
        w.text(2, "Help.");
        w.unsigned(3, kind);
        metrics(w);
    });
    writer.into_bytes()
}

fn label(w: &mut Writer, name: &str, value: &str) {
    w.message(1, |w| {
        w.text(1, name);
        w.text(2, value);
    });
}

#[test]
fn every_type_becomes_what_its_text_form_says() {
    let plain = |kind: u64, field: u32| {
        family("m", kind, |w| {
            w.message(4, |w| {
                label(w, "l", "a\"b");
                w.message(field, |w| w.double(1, 1.5));
            });
        })
    };
    let summary = family("m", 2, |w| {
        w.message(4, |w| {
            w.message(4, |w| {
                w.unsigned(1, 7);
                w.double(2, 3.5);
                for (quantile, value) in [(0.5, 1.0), (1.0, f64::NAN)] {
                    w.message(3, |w| {
                        w.double(1, quantile);
                        w.double(2, value);
                    });
                }
            });
            label(w, "l", "x");
        });
    });
    let histogram = |kind: u64, with_infinity: bool| {
        family("m", kind, |w| {
            w.message(4, |w| {
                w.signed(6, -5);
                w.message(7, |w| {
                    w.unsigned(1, 3);
                    w.double(2, 9.0);
                    let bounds: &[f64] = if with_infinity { &[1.0, f64::INFINITY] } else { &[1.0] };
                    for bound in bounds {
                        w.message(3, |w| {
                            w.unsigned(1, 2);
                            w.double(2, *bound);
                            // An exemplar, which is dropped.
                            w.message(3, |w| label(w, "trace", "1"));
                        });
                    }
                    // Fields of a native histogram and a created timestamp.
                    w.unsigned(5, 6);
                    w.double(6, 0.001);
                    w.message(12, |w| w.unsigned(2, 1));
                    w.message(15, |w| w.unsigned(1, 1));
                });
            });
        })
    };
    let floats = family("m", 4, |w| {
        w.message(4, |w| {
            w.message(7, |w| {
                w.double(4, 2.5);
                w.message(3, |w| {
                    w.double(2, 10.0);
                    w.double(4, 1.5);
                });
            });
        });
    });
    let header = |kind: &str| format!("# HELP m Help.\n# TYPE m {kind}\n");
    let histogram_text = header("histogram")
        + "m_bucket{le=\"1\"} 2 -5\nm_bucket{le=\"+Inf\"} 3 -5\nm_sum 9 -5\nm_count 3 -5\n";
    for (bytes, expected) in [
        (plain(0, 3), header("counter") + "m{l=\"a\\\"b\"} 1.5\n"),
        (plain(1, 2), header("gauge") + "m{l=\"a\\\"b\"} 1.5\n"),
        (plain(3, 5), header("untyped") + "m{l=\"a\\\"b\"} 1.5\n"),
        (
            summary,
            header("summary")
                + "m{l=\"x\",quantile=\"0.5\"} 1\nm{l=\"x\",quantile=\"1\"} NaN\nm_sum{l=\"x\"} 3.5\nm_count{l=\"x\"} 7\n",
        ),
        (histogram(4, false), histogram_text.clone()),
        (histogram(5, false), histogram_text.clone()),
        (histogram(4, true), histogram_text.replace("+Inf\"} 3", "+Inf\"} 2")),
        (
            floats,
            header("histogram")
                + "m_bucket{le=\"10\"} 1.5\nm_bucket{le=\"+Inf\"} 2.5\nm_sum 0\nm_count 2.5\n",
        ),
        (family("größe", 1, |w| w.message(4, |w| w.message(2, |_| ()))), {
            "# HELP \"größe\" Help.\n# TYPE \"größe\" gauge\n{\"größe\"} 0\n".to_owned()
        }),
        (family("m", 1, |_| ()), String::new()),
        (Vec::new(), String::new()),
    ] {
        let (batch, _) = read(&bytes).unwrap_or_else(|e| panic!("{e}\n{expected}"));
        assert_eq!(text(batch), expected);
    }
}

#[test]
fn a_gauge_histogram_is_one_in_open_metrics() {
    let bytes = family("m", 5, |w| w.message(4, |w| w.message(7, |w| w.unsigned(1, 3))));
    let (batch, stats) = read(&bytes).unwrap();
    assert_eq!((stats.samples, stats.timestamps), (3, 0));
    let snapshot = Snapshot::assemble(Timestamp::default(), vec![("test", batch)]);
    let mut out = Vec::new();
    encode(&snapshot, Format::OPEN_METRICS, &mut out);
    let mut again = Batch::new();
    let shown = String::from_utf8_lossy(&out);
    parse(&out, Syntax::OpenMetrics100, Limits::default(), &mut again)
        .unwrap_or_else(|e| panic!("{e}\n{shown}"));
    assert!(shown.contains("m_gcount 3\n"), "{shown}");
}

#[test]
fn a_timestamp_of_zero_is_counted_and_not_kept() {
    let bytes = family("m", 1, |w| {
        w.message(4, |w| {
            w.message(2, |w| w.double(1, 1.0));
            w.signed(6, 0);
        });
    });
    let (batch, stats) = read(&bytes).unwrap();
    assert_eq!(stats.timestamps, 1);
    assert!(text(batch).ends_with("m 1\n"));
}

#[test]
fn refusals_say_what_and_where() {
    let metric = |write: fn(&mut Writer)| family("m", 1, |w| w.message(4, write));
    let gauge = |w: &mut Writer| w.message(2, |_| ());
    for (bytes, expected) in [
        (vec![5, 1], "byte 0: the message is cut off"),
        (vec![0], "byte 1: the metric family has no name"),
        (vec![2, 0x0a, 3], "byte 2: the message is cut off"),
        (vec![3, 0x0a, 1, 0xff], "byte 1: field 1 is not valid UTF-8"),
        (vec![2, 0x08, 1], "byte 1: field 1 is not of the type that its schema says"),
        (family("m", 9, |_| ()), "byte 11: metric family \"m\": unknown metric type 9"),
        (
            metric(|w| w.message(3, |_| ())),
            "byte 15: metric family \"m\": a metric is not of its family's type",
        ),
        (metric(|w| label(w, "", "")), "byte 17: metric family \"m\": a label has no name"),
        (
            metric(|w| label(w, "__name__", "")),
            "byte 17: metric family \"m\": label name \"__name__\" is reserved",
        ),
        (
            metric(|w| {
                label(w, "a", "");
                label(w, "a", "");
            }),
            "byte 24: metric family \"m\": label \"a\" is there twice",
        ),
        (
            family("m", 4, |w| {
                w.message(4, |w| {
                    label(w, "le", "");
                    w.message(7, |_| ());
                });
            }),
            "byte 25: metric family \"m\": label \"le\" is there twice",
        ),
        (
            family("m", 1, |w| {
                w.message(4, |w| {
                    gauge(w);
                    for at in 0..129 {
                        label(w, &format!("l{at:03}"), "");
                    }
                });
            }),
            "more than 128 labels",
        ),
        (
            family("m", 1, |w| w.message(4, |w| label(w, "l", &"x".repeat(1 << 20)))),
            "a metric is longer than 1048576 bytes",
        ),
    ] {
        let error = read(&bytes).map(|_| ()).unwrap_err().to_string();
        assert!(
            error == expected
                || (expected.starts_with("more") || expected.starts_with("a m")) && error.ends_with(expected),
            "{error}\n{expected}"
        );
    }
}

#[test]
fn labels_of_many_buckets_do_not_unfold_without_bound() {
    let bytes = family("m", 4, |w| {
        w.message(4, |w| {
            label(w, "l", &"x".repeat(500_000));
            w.message(7, |w| (0..100_000).for_each(|_| w.message(3, |_| ())));
        });
    });
    let error = read(&bytes).map(|_| ()).unwrap_err();
    assert_eq!(error.problem, ProtobufProblem::UnfoldedTooLong(Limits::default().unfolded_bytes));
}

type Labels = std::collections::BTreeMap<String, String>;

/// Families in text and in protobuf, of the same meaning.
fn both_forms() -> impl Strategy<Value = (String, Vec<u8>)> {
    let labels = proptest::collection::btree_map("[a-d]{1,3}", ".{0,8}", 0..18);
    let metrics = proptest::collection::vec((labels, -1e9..1e9_f64, any::<u32>()), 1..4);
    proptest::collection::btree_map("[e-h]{1,3}", (0..5_u64, metrics), 0..5).prop_map(|families| {
        let (mut text, mut writer) = (String::new(), Writer::new());
        for (name, (kind, metrics)) in families {
            let word = ["counter", "gauge", "summary", "untyped", "histogram"][kind as usize];
            text += &format!("# TYPE {name} {word}\n");
            writer.delimited(|w| {
                w.text(1, &name);
                w.unsigned(3, kind);
                for (labels, value, count) in &metrics {
                    text += &text_metric(&name, kind, labels, *value, *count);
                    w.message(4, |w| protobuf_metric(w, kind, labels, *value, *count));
                }
            });
        }
        (text, writer.into_bytes())
    })
}

fn text_metric(name: &str, kind: u64, labels: &Labels, value: f64, count: u32) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let common: String = labels.iter().map(|(n, v)| format!("{n}=\"{}\",", escaped(v))).collect();
    let tail = format!("{name}_sum{{{common}}} {value}\n{name}_count{{{common}}} {count}\n");
    match kind {
        2 => format!("{name}{{{common}quantile=\"0.5\"}} {value}\n{tail}"),
        4 => format!(
            "{name}_bucket{{{common}le=\"{value}\"}} 0\n{name}_bucket{{{common}le=\"+Inf\"}} {count}\n{tail}"
        ),
        _ => format!("{name}{{{common}}} {value} {count}\n"),
    }
}

fn protobuf_metric(w: &mut Writer, kind: u64, labels: &Labels, value: f64, count: u32) {
    labels.iter().for_each(|(name, value)| label(w, name, value));
    let totals = |w: &mut Writer| {
        w.unsigned(1, u64::from(count));
        w.double(2, value);
    };
    let pair = |w: &mut Writer, first: f64, second: f64| {
        w.double(1, first);
        w.double(2, second);
    };
    match kind {
        2 => w.message(4, |w| {
            totals(w);
            w.message(3, |w| pair(w, 0.5, value));
        }),
        4 => w.message(7, |w| {
            w.message(3, |w| w.double(2, value));
            totals(w);
        }),
        _ => {
            w.message([3, 2, 0, 5][kind as usize], |w| w.double(1, value));
            w.signed(6, i64::from(count));
        }
    }
}

proptest! {
    #[test]
    fn both_forms_read_the_same((text_form, bytes) in both_forms()) {
        // 0 is no timestamp in protobuf, and one in text.
        prop_assume!(!text_form.contains(" 0\n"));
        let mut from_text = Batch::new();
        parse(text_form.as_bytes(), Syntax::Text004, Limits::default(), &mut from_text).unwrap();
        let (from_protobuf, _) = read(&bytes).unwrap();
        prop_assert_eq!(text(from_text), text(from_protobuf));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_mutation_of_valid_input_makes_it_panic(
        (_, mut bytes) in both_forms(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (at, byte) in edits {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let _ = read(&bytes);
    }
}
