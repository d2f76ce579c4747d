//! Reads a test file into its commands.
//!
//! Invariant: every line that is not understood becomes a [`FileError`] at its place among the commands.

use std::sync::LazyLock;

use regex::Regex;

use super::FileError;
use super::series::{SeriesLine, parse_number, parse_series};
use crate::model::PromDuration;
use crate::promql::literal::unquoted;

/// What a file says, in order.
#[derive(Debug)]
pub struct TestFile {
    /// Commands, and errors where they were met.
    pub commands: Vec<Result<Command, FileError>>,
}

/// One block of a file.
#[derive(Debug)]
pub enum Command {
    /// Forget all data.
    Clear,
    /// Add data.
    Load(Load),
    /// Evaluate an expression and compare.
    Eval(Box<Eval>),
}

/// Data.
#[derive(Debug)]
pub struct Load {
    /// Line of the command, from 1.
    pub line: usize,
    /// Time between values, milliseconds.
    pub step_ms: i64,
    /// Whether classic histograms are loaded as native ones too.
    pub with_native: bool,
    /// Series, each with its line.
    pub series: Vec<(usize, SeriesLine)>,
}

/// An expression and what it must give.
#[derive(Debug)]
pub struct Eval {
    /// Line of the command, from 1.
    pub line: usize,
    /// The expression.
    pub expression: String,
    /// When.
    pub when: When,
    /// What must come out.
    pub expected: Expectations,
}

/// When an expression is evaluated. Milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At one instant.
    Instant(i64),
    /// From, to, step.
    Range(i64, i64, i64),
}

/// What must come out of an evaluation.
#[derive(Debug, Default)]
pub struct Expectations {
    /// Whether the order of the series counts.
    pub ordered: bool,
    /// What is said of errors, warnings and infos.
    pub remarks: Vec<Remark>,
    /// A number.
    pub scalar: Option<f64>,
    /// A text.
    pub string: Option<String>,
    /// An instant query that gives a range: start and step of what is expected.
    pub range_vector: Option<(i64, i64)>,
    /// Series, each with its line.
    pub series: Vec<(usize, SeriesLine)>,
}

/// `expect` and what follows.
#[derive(Debug)]
pub struct Remark {
    /// About what.
    pub kind: RemarkKind,
    /// What the text must be; `None`: any.
    pub text: Option<RemarkText>,
}

/// What a remark must be.
#[derive(Debug)]
pub enum RemarkText {
    /// This.
    Exactly(String),
    /// Something that contains a match.
    Matching(Regex),
}

/// What an `expect` line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemarkKind {
    /// The evaluation fails.
    Fail,
    /// There are warnings, and these only.
    Warn,
    /// There are no warnings.
    NoWarn,
    /// There are infos, and these only.
    Info,
    /// There are no infos.
    NoInfo,
}

impl RemarkText {
    /// Whether a text is as it must be.
    pub fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exactly(expected) => text == expected,
            Self::Matching(regex) => regex.is_match(text),
        }
    }
}

fn pattern(expression: &str) -> Option<Regex> {
    Regex::new(expression).ok()
}

static LOAD: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"(?i)^load(?:_(with_nhcb))?\s+(.+?)$"));
static INSTANT: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"(?i)^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$"));
static RANGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(r"(?i)^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$")
});
static EXPECT: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$"));
static EXPECT_RANGE: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$"));

/// The groups of a match; "" for one that is not there.
fn groups<const N: usize>(regex: &LazyLock<Option<Regex>>, text: &str) -> Option<[String; N]> {
    let captures = regex.as_ref()?.captures(text)?;
    Some(std::array::from_fn(|at| captures.get(at + 1).map_or("", |group| group.as_str()).to_owned()))
}

impl TestFile {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut reader = Reader { raw: text.lines().collect(), lines, at: 0 };
        let mut commands = Vec::new();
        while let Some(line) = reader.next_line() {
            if line.is_empty() {
                continue;
            }
            let word = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
            let command = match word.as_str() {
                "clear" => Ok(Command::Clear),
                _ if word.starts_with("load") => reader.load(line, &mut commands).map(Command::Load),
                _ if word.starts_with("eval") => reader.eval(line).map(|eval| Command::Eval(Box::new(eval))),
                _ => reader.error(0, format!("invalid command {line:?}")),
            };
            commands.push(command);
        }
        Self { commands }
    }
}

struct Reader<'a> {
    raw: Vec<&'a str>,
    lines: Vec<&'a str>,
    /// Lines read, which is the number of the current one.
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next line; a comment is as good as an empty one.
    fn next_line(&mut self) -> Option<&'a str> {
        let line = *self.lines.get(self.at)?;
        self.at += 1;
        Some(if line.starts_with('#') { "" } else { line })
    }

    /// The next line of a block's body.
    fn body_line(&mut self) -> Option<&'a str> {
        self.next_line().filter(|line| !line.is_empty())
    }

    /// An error within the current line, at a byte of what is left of it without spaces at its ends.
    fn error<T>(&self, at: usize, message: impl Into<String>) -> Result<T, FileError> {
        let raw = self.at.checked_sub(1).and_then(|i| self.raw.get(i)).copied().unwrap_or_default();
        let indent = raw.len() - raw.trim_start().len();
        Err(FileError { line: self.at, column: indent + at + 1, message: message.into() })
    }

    /// The rest of a block that cannot be understood.
    fn skip_body(&mut self) {
        while self.body_line().is_some() {}
    }

    fn duration(&self, text: &str) -> Result<i64, FileError> {
        match text.trim().parse::<PromDuration>() {
            Ok(duration) => Ok(i64::try_from(duration.get().as_millis()).unwrap_or(i64::MAX)),
            Err(error) => self.error(0, error.to_string()),
        }
    }

    fn series(&self, line: &str) -> Result<(usize, SeriesLine), FileError> {
        match parse_series(line) {
            Ok(series) => Ok((self.at, series)),
            Err((at, message)) => self.error(at, message),
        }
    }

    /// A series that cannot be read is an error of its own; the others are loaded.
    fn load(
        &mut self,
        line: &str,
        commands: &mut Vec<Result<Command, FileError>>,
    ) -> Result<Load, FileError> {
        let number = self.at;
        let head = self.load_head(line);
        let mut series = Vec::new();
        while let Some(line) = self.body_line() {
            match self.series(line) {
                Ok(line) if line.1.start_times => {}
                Ok(line) => series.push(line),
                // Of a command that is wrong, its own error is enough.
                Err(error) => commands.extend(head.is_ok().then_some(Err(error))),
            }
        }
        let (step_ms, with_native) = head?;
        Ok(Load { line: number, step_ms, with_native, series })
    }

    fn load_head(&self, line: &str) -> Result<(i64, bool), FileError> {
        let Some([native, step]) = groups(&LOAD, line) else {
            return self.error(0, "invalid load command; write: load[_with_nhcb] <step>");
        };
        Ok((self.duration(&step)?, !native.is_empty()))
    }

    fn eval(&mut self, line: &str) -> Result<Eval, FileError> {
        let number = self.at;
        let eval = self.eval_block(number, line);
        if eval.is_err() {
            self.skip_body();
        }
        eval
    }

    fn eval_block(&mut self, number: usize, line: &str) -> Result<Eval, FileError> {
        let (suffix, when, expression) = if let Some([suffix, at, expression]) = groups(&INSTANT, line) {
            let at = if at.is_empty() { 0 } else { self.duration(&at)? };
            (suffix, When::Instant(at), expression)
        } else if let Some([suffix, from, to, step, expression]) = groups(&RANGE, line) {
            let (from, to, step) = (self.duration(&from)?, self.duration(&to)?, self.duration(&step)?);
            if to < from {
                return self.error(0, "invalid test definition, end timestamp is before start timestamp");
            }
            (suffix, When::Range(from, to, step), expression)
        } else {
            return self.error(
                0,
                "invalid eval command; write: eval instant [at <time>] <query>, or: \
                 eval range from <time> to <time> step <duration> <query>",
            );
        };
        let mut eval = Eval { line: number, expression, when, expected: Expectations::default() };
        match suffix.to_ascii_lowercase().as_str() {
            "fail" => eval.expected.remarks.push(Remark { kind: RemarkKind::Fail, text: None }),
            "warn" => eval.expected.remarks.push(Remark { kind: RemarkKind::Warn, text: None }),
            "info" => eval.expected.remarks.push(Remark { kind: RemarkKind::Info, text: None }),
            "ordered" => eval.expected.ordered = true,
            _ => {}
        }
        while let Some(line) = self.body_line() {
            if self.expectation(line, &mut eval)? {
                break;
            }
        }
        self.check_remarks(&eval)?;
        Ok(eval)
    }

    /// Takes one line of a body; true where it ends the body.
    fn expectation(&self, line: &str, eval: &mut Eval) -> Result<bool, FileError> {
        if line.starts_with("expect range vector") {
            return self.range_vector(line, eval).map(|()| false);
        }
        if let Some(text) = line.strip_prefix("expect string ") {
            let text = text.trim();
            let quoted = text.len() >= 2
                && text.starts_with(['"', '\'', '`'])
                && text.get(..1) == text.get(text.len() - 1..);
            if !quoted {
                return self.error(0, "expected a text in quotes");
            }
            eval.expected.string = Some(String::from_utf8_lossy(&unquoted(text)).into_owned());
            return Ok(false);
        }
        if line.split(' ').next() == Some("expect") {
            return self.remark(line, eval).map(|()| false);
        }
        for (word, regex) in [("expected_fail_message", false), ("expected_fail_regexp", true)] {
            if let Some(text) = line.strip_prefix(word) {
                let text = Some(self.remark_text(regex, text.trim())?);
                eval.expected.remarks.retain(|remark| remark.kind != RemarkKind::Fail);
                eval.expected.remarks.push(Remark { kind: RemarkKind::Fail, text });
                return Ok(true);
            }
        }
        if let Some(value) = parse_number(line) {
            if matches!(eval.when, When::Range(..)) {
                return self.error(0, "a range query gives series, not a number");
            }
            eval.expected.scalar = Some(value);
            return Ok(true);
        }
        let series = self.series(line)?;
        let instant = matches!(eval.when, When::Instant(_)) && eval.expected.range_vector.is_none();
        if instant && series.1.items.len() > 1 {
            return self.error(0, "an instant query gives one value for each series");
        }
        eval.expected.series.push(series);
        Ok(false)
    }

    fn range_vector(&self, line: &str, eval: &mut Eval) -> Result<(), FileError> {
        let Some([from, to, step]) = groups(&EXPECT_RANGE, line) else {
            return self.error(0, "write: expect range vector from <time> to <time> step <duration>");
        };
        if matches!(eval.when, When::Range(..)) {
            return self.error(0, "only an instant query can give a range vector");
        }
        let (from, to, step) = (self.duration(&from)?, self.duration(&to)?, self.duration(&step)?);
        eval.expected.range_vector = Some((from, step));
        eval.when = When::Instant(to);
        Ok(())
    }

    fn remark(&self, line: &str, eval: &mut Eval) -> Result<(), FileError> {
        let Some([kind, how, text]) = groups(&EXPECT, line) else {
            return self.error(
                0,
                "write: expect ordered|fail|warn|no_warn|info|no_info [regex:<expression>|msg:<text>]",
            );
        };
        let kind = match kind.as_str() {
            "fail" => RemarkKind::Fail,
            "warn" => RemarkKind::Warn,
            "no_warn" => RemarkKind::NoWarn,
            "info" => RemarkKind::Info,
            "no_info" => RemarkKind::NoInfo,
            _ => {
                eval.expected.ordered = true;
                return Ok(());
            }
        };
        let text = match how.is_empty() {
            true => None,
            false => Some(self.remark_text(how == "regex", text.trim())?),
        };
        eval.expected.remarks.push(Remark { kind, text });
        Ok(())
    }

    fn remark_text(&self, regex: bool, text: &str) -> Result<RemarkText, FileError> {
        if !regex {
            return Ok(RemarkText::Exactly(text.to_owned()));
        }
        match Regex::new(text) {
            Ok(regex) => Ok(RemarkText::Matching(regex)),
            Err(error) => self.error(0, format!("invalid expression: {error}")),
        }
    }

    fn check_remarks(&self, eval: &Eval) -> Result<(), FileError> {
        let count = |kind| eval.expected.remarks.iter().filter(|r| r.kind == kind).count();
        if count(RemarkKind::Fail) > 1 {
            return self.error(0, "invalid expect lines, multiple expect fail lines are not allowed");
        }
        for (some, none, word) in
            [(RemarkKind::Info, RemarkKind::NoInfo, "info"), (RemarkKind::Warn, RemarkKind::NoWarn, "warn")]
        {
            if count(some) > 0 && count(none) > 0 {
                return self
                    .error(0, format!("invalid expect lines, {word} and no_{word} cannot be used together"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_with_their_lines_and_errors_cost_only_their_own() {
        let text = "# data\nload 5m\n  m{a=\"b\"} 0+1x3\n  n 1\n\neval instant at 50m SUM(m)\n  {} 1\n\n\
                    LOAD 1m\n  m oops\n  n 1\n\neval range from 0 to 1h step 30s sort(m)\n  expect no_warn\n  \
                    expect info msg: a \"b\"\n  m 1 _ 2\n\nclear\nnonsense\n";
        let file = TestFile::parse(text);
        let shown: Vec<String> = file
            .commands
            .iter()
            .map(|command| match command {
                Ok(Command::Clear) => "clear".to_owned(),
                Ok(Command::Load(load)) => {
                    format!("load {} {} {}", load.line, load.step_ms, load.series.len())
                }
                Ok(Command::Eval(eval)) => format!(
                    "eval {} {:?} {} {} {}",
                    eval.line,
                    eval.when,
                    eval.expression,
                    eval.expected.series.len(),
                    eval.expected.remarks.len()
                ),
                Err(error) => error.to_string(),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "load 2 300000 2",
                "eval 6 Instant(3000000) SUM(m) 1 0",
                "10:5: expected a value, got \"oops\"",
                "load 9 60000 1",
                "eval 13 Range(0, 3600000, 30000) sort(m) 1 2",
                "clear",
                "19:1: invalid command \"nonsense\"",
            ]
        );
    }
}
