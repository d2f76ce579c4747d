//! An OpenMetrics file into a store, piece by piece: memory does not grow with the file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::super::{Outcome, complain, print};
use crate::expose::{Limits, ParseError, Syntax, parse};
use crate::model::{Batch, FamilyView, Kind, Labels, METRIC_NAME, Row, Suffix};
use crate::store::{Appended, Source, Store};

/// Bytes that are read and stored at once. Each piece ends in a page that is not full, so small ones take more disk.
const PIECE_BYTES: usize = if cfg!(test) { 1 << 20 } else { 4 << 20 };

pub(super) fn run(store: &Store, file: Option<&PathBuf>) -> Outcome {
    let done = match file.filter(|path| path.as_os_str() != "-") {
        Some(path) => {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            import(store, &mut BufReader::new(file)).with_context(|| path.display().to_string())
        }
        None => import(store, &mut stdin().lock()).context("standard input"),
    };
    let closed = store.close();
    let done = done?;
    closed?;
    print(&format!(
        "{} samples added, {} series new, {} out of order, {} duplicate, {} over the limit of series\n",
        done.added,
        done.new_series,
        done.out_of_order,
        done.duplicate + done.repeated,
        done.over_limit
    ))?;
    Ok(match refused(&done) {
        Some(refused) => {
            complain(&refused);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    })
}

/// What is to be said of samples that were refused, if any were. One that was there already as it is was not.
pub(super) fn refused(done: &Appended) -> Option<String> {
    let Appended { added, out_of_order, duplicate, repeated, over_limit, .. } = *done;
    let refused = out_of_order + duplicate + over_limit;
    let all = added + repeated + refused;
    (refused > 0).then(|| {
        format!(
            "{refused} of {all} samples were refused: {out_of_order} older than the newest of their series, {duplicate} with \
             another value at an instant that is there, {over_limit} over the limit of series"
        )
    })
}

pub(super) fn import(store: &Store, input: &mut impl BufRead) -> anyhow::Result<Appended> {
    let mut importer = Importer {
        source: store.source("tsdb import"),
        batch: Batch::new(),
        metadata: String::new(),
        done: Appended::default(),
    };
    let (mut piece, mut line, mut first_line, mut line_number) = (String::new(), Vec::new(), 1, 0);
    let most = Limits::default().line_bytes as u64 + 2;
    loop {
        line.clear();
        let length = input.by_ref().take(most).read_until(b'\n', &mut line)?;
        line_number += usize::from(length > 0);
        let Ok(text) = std::str::from_utf8(&line) else {
            bail!("{line_number}: the line is not UTF-8; {} samples were added", importer.done.added);
        };
        let ended = text.trim_end() == "# EOF";
        if length > 0 && !ended {
            piece.push_str(text);
        }
        if ended || length == 0 || piece.len() >= PIECE_BYTES {
            importer.piece(&piece, first_line)?;
            piece.clear();
            first_line = line_number + 1;
        }
        if ended {
            break;
        }
        if length == 0 {
            bail!(
                "{}: the file is cut short, there is no # EOF; {} samples were added",
                line_number.max(1),
                importer.done.added
            );
        }
    }
    line.clear();
    if input.take(1).read_to_end(&mut line)? > 0 {
        bail!("{}: nothing may follow # EOF; {} samples were added", line_number + 1, importer.done.added);
    }
    Ok(importer.done)
}

struct Importer {
    source: Source,
    batch: Batch,
    /// What the last piece said of the family that it ended in, which may go on in the next.
    metadata: String,
    done: Appended,
}

impl Importer {
    fn piece(&mut self, piece: &str, first_line: usize) -> anyhow::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let text = format!("{}{piece}# EOF\n", self.metadata);
        let before = self.metadata.lines().count();
        self.batch.clear();
        parse(text.as_bytes(), Syntax::OpenMetrics100, Limits::default(), &mut self.batch).map_err(
            |error| {
                let line = (first_line + error.line).saturating_sub(before + 1).max(1);
                anyhow::Error::from(ParseError { line, ..error })
            },
        )?;
        if let Some(row) = piece.lines().rev().find(|line| line.starts_with("# TYPE ")) {
            self.metadata = format!("{row}\n");
        }
        let rows = self.rows()?;
        let Some(newest) = rows.iter().filter_map(|row| row.timestamp).max() else { return Ok(()) };
        let appended = self.source.append(newest, &rows)?;
        self.done.added += appended.added;
        self.done.new_series += appended.new_series;
        self.done.out_of_order += appended.out_of_order;
        self.done.duplicate += appended.duplicate;
        self.done.repeated += appended.repeated;
        self.done.over_limit += appended.over_limit;
        Ok(())
    }

    fn rows(&self) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::with_capacity(self.batch.len());
        for family in self.batch.families() {
            for sample in family.samples() {
                let name = format!("{}{}", stem_of(&family, sample.suffix()), sample.suffix().as_str());
                let Some(timestamp) = sample.timestamp() else {
                    bail!("a sample of {name} has no timestamp; {} samples were added", self.done.added);
                };
                let pairs = sample.labels().iter().chain([(METRIC_NAME, name.as_str())]);
                rows.push(Row {
                    labels: Labels::from_pairs(pairs),
                    value: sample.value(),
                    timestamp: Some(timestamp),
                });
            }
        }
        Ok(rows)
    }
}

/// What a suffix stands behind: `_created` does not follow the `_total` of a counter.
fn stem_of<'a>(family: &FamilyView<'a>, suffix: Suffix) -> &'a str {
    let name = family.name();
    match (suffix, family.kind()) {
        (Suffix::Created, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::dump::write_all;
    use super::*;
    use crate::model::Timestamp;
    use crate::store::StoreConfig;

    fn store() -> Store {
        Store::open(StoreConfig::default(), Timestamp::from_millis(0)).expect("opens")
    }

    fn dumped(store: &Store) -> String {
        let mut out = Vec::new();
        let (from, to) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        write_all(store, &[], from, to, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    fn imported(text: &str) -> anyhow::Result<(Appended, Store)> {
        let store = store();
        import(&store, &mut text.as_bytes()).map(|done| (done, store))
    }

    #[test]
    fn what_is_dumped_is_what_was_imported() {
        let text = "# TYPE a counter\na_total{x=\"1\"} 1.0 1700000000\na_total{x=\"1\"} 2.0 1700000015.25\n\
                    a_total{x=\"q\\\"\\\\\\n\"} 3.5 -1.5\nb +Inf 1\nb NaN 2\n# EOF\n";
        let (done, store) = imported(text).expect("imported");
        assert_eq!((done.added, done.new_series), (5, 3));
        let out = dumped(&store);
        assert_eq!(out, text.split_once('\n').expect("lines").1);
        let (again, store) = imported(&out).expect("imported");
        assert_eq!((again.added, dumped(&store)), (5, out));
    }

    #[test]
    fn samples_keep_their_names() {
        for (text, names) in [
            ("# TYPE c counter\nc_total 1 5\nc_created 3 5\n", ["c_created", "c_total"].as_slice()),
            ("# TYPE s summary\ns{quantile=\"0.5\"} 1 5\ns_created 4 5\n", &["s", "s_created"]),
            ("# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1 5\nh_created 4 5\n", &["h_bucket", "h_created"]),
            ("# TYPE i info\ni_info{a=\"b\"} 1 5\n", &["i_info"]),
        ] {
            let (_, store) = imported(&format!("{text}# EOF\n")).expect("imported");
            let dumped = dumped(&store);
            let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
            let found: Vec<String> = dumped.lines().filter(|l| !l.starts_with('#')).map(name).collect();
            assert_eq!(found, names, "{text}");
        }
    }

    #[test]
    fn files_of_many_pieces_are_read_and_their_lines_counted() {
        let mut text = String::from("# TYPE h histogram\n");
        for i in 0..40_000 {
            text.push_str(&format!("h_bucket{{le=\"1.0\",series=\"{}\"}} {i} {}\n", i / 10_000, i % 10_000));
        }
        let (done, store) = imported(&format!("{text}# EOF\n")).expect("imported");
        assert_eq!((done.added, done.new_series, store.stats().samples_added), (40_000, 4, 40_000));
        assert!(store.stats().head_samples < 2_000);
        assert_eq!(dumped(&store).lines().count(), 40_001);
        let error = imported(&format!("{text}oops\n# EOF\n")).expect_err("refused");
        assert!(error.to_string().starts_with("40002:"), "{error}");
    }

    #[test]
    fn a_file_that_is_imported_again_adds_nothing() {
        // Pieces of the second series lie far before those of the first.
        let mut text = String::new();
        for i in 0..40_000 {
            text.push_str(&format!(
                "a{{series=\"a name of some length {}\"}} {i} {}\n",
                i / 20_000,
                60_000 - i
            ));
        }
        let mut lines: Vec<&str> = text.lines().collect();
        lines[..20_000].reverse();
        lines[20_000..].reverse();
        let text = format!("{}\n# EOF\n", lines.join("\n"));
        let (done, store) = imported(&text).expect("imported");
        assert_eq!((done.added, refused(&done)), (40_000, None));
        let before = dumped(&store);
        let again = import(&store, &mut text.as_bytes()).expect("imported");
        assert_eq!((again.added, store.stats().clock_jumps), (0, 0));
        assert_eq!(dumped(&store), before);
    }

    #[test]
    fn mistakes_are_said() {
        for (text, expected) in [
            ("a 1\n# EOF\n", "has no timestamp"),
            ("a 1 1\n", "cut short"),
            ("a 1 1\n# EOF\nb 1 1\n", "nothing may follow"),
            ("a 1 1\n\n# EOF\n", "2:1"),
            ("", "1: the file is cut short"),
        ] {
            let error = format!("{:#}", imported(text).expect_err(text));
            assert!(error.contains(expected), "{error}");
        }
        let error =
            import(&store(), &mut b"a 1 1\na{x=\"\xff\"} 1 2\n# EOF\n".as_slice()).expect_err("no text");
        assert_eq!(error.to_string(), "2: the line is not UTF-8; 0 samples were added");
        assert_eq!(imported("a 1 2\na 1 1\na 3 2\n# EOF\n").expect("imported").0.out_of_order, 1);
    }
    #[test]
    fn samples_that_are_refused_are_told() {
        let (done, _) = imported("a 1 2\na 1 1\na 3 2\na 1 2\n# EOF\n").expect("imported");
        assert_eq!(
            refused(&done).as_deref(),
            Some(
                "2 of 4 samples were refused: 1 older than the newest of their series, 1 with another value at an instant \
                 that is there, 0 over the limit of series"
            )
        );
        let (done, _) = imported("a 1 1\na 1 1\n# EOF\n").expect("imported");
        assert_eq!((done.repeated, refused(&done)), (1, None));
    }

    #[test]
    fn an_import_that_is_not_whole_fails() {
        let dir = tempfile::tempdir().expect("made");
        let file = dir.path().join("h.om");
        for (text, expected) in
            [("a 1 1\na 1 2\n# EOF\n", ExitCode::SUCCESS), ("a 1 4\na 1 3\n# EOF\n", ExitCode::FAILURE)]
        {
            std::fs::write(&file, text).expect("written");
            // An exit code can only be compared as it is shown.
            let code = run(&store(), Some(&file)).expect("read");
            assert_eq!(format!("{code:?}"), format!("{expected:?}"), "{text}");
        }
    }
}
