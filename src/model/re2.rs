//! Regular expressions as Prometheus's users write them - RE2's syntax, in Go's form - for the `regex` crate.
//!
//! The two differ in what is plain text (`/users/{id}` here is), in classes (`\d`, `\w` and `\s` here are ASCII; `[` and
//! `&&` within brackets mean themselves), in escapes (`\Q..\E`, octal), in limits, and in their error texts.
//!
//! Invariant: what comes out either compiles to the same language or is refused; the work is linear in the text.
//!
//! Source: RE2's syntax page; error texts as Go's `regexp/syntax` words them.

/// An expression that Go refuses: the text behind `error parsing regexp: `.
pub(super) type Refused = String;

/// The same expression in the syntax of the `regex` crate.
///
/// # Errors
/// Go would refuse it; in Go's words.
pub(super) fn translated(expression: &str) -> Result<String, Refused> {
    let mut translator =
        Translator { whole: expression, rest: expression, out: String::with_capacity(expression.len() + 16) };
    translator.expression()?;
    Ok(translator.out)
}

const MOST_REPETITIONS: u32 = 1_000;

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

struct Translator<'a> {
    whole: &'a str,
    rest: &'a str,
    out: String,
}

fn refused<T>(why: &str, at: &str) -> Result<T, Refused> {
    Err(format!("{why}: `{at}`"))
}

impl<'a> Translator<'a> {
    fn expression(&mut self) -> Result<(), Refused> {
        // Where the repetition that directly precedes begins, and whether there is anything to repeat.
        let (mut last_repetition, mut repeatable, mut open_groups) = (None::<&str>, false, 0_usize);
        while let Some(c) = self.rest.chars().next() {
            let before = self.rest;
            let mut repetition = None;
            match c {
                '(' => {
                    open_groups += usize::from(self.group()?);
                    repeatable = false;
                }
                '|' => {
                    self.copy(1);
                    repeatable = false;
                }
                ')' => {
                    let Some(open) = open_groups.checked_sub(1) else {
                        return refused("unexpected )", self.whole);
                    };
                    open_groups = open;
                    self.copy(1);
                    repeatable = true;
                }
                '*' | '+' | '?' => repetition = Some(1),
                '{' => match counted(self.rest) {
                    Some((length, true)) => repetition = Some(length),
                    Some((length, false)) => return refused("invalid repeat count", head(before, length)),
                    None => {
                        self.literal(c);
                        repeatable = true;
                    }
                },
                '[' => {
                    self.class()?;
                    repeatable = true;
                }
                '\\' => {
                    self.escape()?;
                    repeatable = true;
                }
                '^' | '$' | '.' => {
                    self.copy(1);
                    repeatable = true;
                }
                c => {
                    self.literal(c);
                    repeatable = true;
                }
            }
            if let Some(length) = repetition {
                let length = length + usize::from(before.get(length..).is_some_and(|t| t.starts_with('?')));
                if let Some(last) = last_repetition {
                    let both = last.len() - before.len() + length;
                    return refused("invalid nested repetition operator", head(last, both));
                }
                if !repeatable {
                    return refused("missing argument to repetition operator", head(before, length));
                }
                self.copy(length);
            }
            last_repetition = repetition.map(|_| before);
        }
        if open_groups > 0 { refused("missing closing )", self.whole) } else { Ok(()) }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn copy(&mut self, bytes: usize) {
        self.out.push_str(head(self.rest, bytes));
        self.skip(bytes);
    }

    fn literal(&mut self, c: char) {
        push_literal(&mut self.out, c);
        self.skip(c.len_utf8());
    }

    /// What `(` begins; says whether it is to be closed. `(?i)` is not.
    fn group(&mut self) -> Result<bool, Refused> {
        let group = self.rest;
        if !group.starts_with("(?") {
            self.copy(1);
            return Ok(true);
        }
        for prefix in ["(?P<", "(?<"] {
            let Some(name) = group.strip_prefix(prefix) else { continue };
            let Some(end) = name.find('>') else { return refused("invalid named capture", group) };
            let is_name = end > 0 && head(name, end).bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
            let length = prefix.len() + end + 1;
            if !is_name {
                return refused("invalid named capture", head(group, length));
            }
            // The other takes no name that begins with a digit.
            match name.starts_with(|c: char| c.is_ascii_digit()) {
                true => self.out.push('('),
                false => self.out += &format!("(?P<{}>", head(name, end)),
            }
            self.skip(length);
            return Ok(true);
        }
        let (mut negative, mut saw_flag) = (false, false);
        for (at, c) in group.char_indices().skip(2) {
            match c {
                'i' | 'm' | 's' | 'U' => saw_flag = true,
                '-' if !negative => (negative, saw_flag) = (true, false),
                ':' | ')' if !negative || saw_flag => {
                    // `(?)` is no group to the other.
                    if at == 2 && c == ')' {
                        self.skip(3);
                    } else {
                        self.copy(at + 1);
                    }
                    return Ok(c == ':');
                }
                c => {
                    let shown = head(group, at + c.len_utf8());
                    return refused("invalid or unsupported Perl syntax", shown);
                }
            }
        }
        refused("missing closing )", self.whole)
    }

    fn escape(&mut self) -> Result<(), Refused> {
        let escape = self.rest;
        let out = match escape.chars().nth(1) {
            Some('A') => "\\A",
            Some('z') => "\\z",
            Some('b') => "(?-u:\\b)",
            Some('B') => "\\B",
            Some('Q') => {
                let quoted = escape.get(2..).unwrap_or_default();
                let end = quoted.find("\\E");
                head(quoted, end.unwrap_or(quoted.len()))
                    .chars()
                    .for_each(|c| push_literal(&mut self.out, c));
                self.skip(2 + end.map_or(quoted.len(), |end| end + 2));
                return Ok(());
            }
            _ => {
                if let Some((ranges, negated)) = perl_class(escape) {
                    self.out += &format!("[{}{ranges}]", if negated { "^" } else { "" });
                    self.skip(2);
                    return Ok(());
                }
                if let Some((class, length)) = unicode_class(escape)? {
                    self.out += &class;
                    self.skip(length);
                    return Ok(());
                }
                let (c, length) = escaped_char(escape)?;
                push_literal(&mut self.out, c);
                self.skip(length);
                return Ok(());
            }
        };
        self.out.push_str(out);
        self.skip(2);
        Ok(())
    }

    fn class(&mut self) -> Result<(), Refused> {
        let class = self.rest;
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            let item = self.rest;
            if let Some(name) = item.strip_prefix("[:")
                && let Some(end) = name.find(":]")
            {
                let length = end + 4;
                if !POSIX_CLASSES.contains(&head(name, end).trim_start_matches('^')) {
                    return refused("invalid character class range", head(item, length));
                }
                self.copy(length);
            } else if let Some((ranges, negated)) = perl_class(item) {
                self.out += &if negated { format!("[^{ranges}]") } else { ranges.to_owned() };
                self.skip(2);
            } else if let Some((unicode, length)) = unicode_class(item)? {
                self.out += &unicode;
                self.skip(length);
            } else {
                self.class_range(class)?;
            }
        }
        self.copy(1);
        Ok(())
    }

    fn class_range(&mut self, class: &str) -> Result<(), Refused> {
        let range = self.rest;
        let low = self.class_char(class)?;
        push_in_class(&mut self.out, low);
        if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
            self.copy(1);
            let high = self.class_char(class)?;
            if high < low {
                let shown = head(range, range.len() - self.rest.len());
                return refused("invalid character class range", shown);
            }
            push_in_class(&mut self.out, high);
        }
        Ok(())
    }

    fn class_char(&mut self, class: &str) -> Result<char, Refused> {
        let (c, length) = match self.rest.chars().next() {
            None => return refused("missing closing ]", class),
            Some('\\') => escaped_char(self.rest)?,
            Some(c) => (c, c.len_utf8()),
        };
        self.skip(length);
        Ok(c)
    }
}

fn head(text: &str, bytes: usize) -> &str {
    text.get(..bytes).unwrap_or(text)
}

fn push_literal(out: &mut String, c: char) {
    out.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])));
}

/// Within brackets nearly every sign means something to the `regex` crate.
fn push_in_class(out: &mut String, c: char) {
    if c.is_ascii() && !c.is_ascii_alphanumeric() {
        *out += &format!("\\x{:02x}", u32::from(c));
    } else {
        out.push(c);
    }
}

/// Bytes of `{2}`, `{2,}` or `{2,3}`, and whether the numbers are allowed; `None` where it is plain text.
fn counted(text: &str) -> Option<(usize, bool)> {
    let end = text.find('}')?;
    let inner = text.get(1..end)?;
    let (least, most) = inner
        .split_once(',')
        .map_or((inner, Some(inner)), |(least, most)| (least, (!most.is_empty()).then_some(most)));
    let is_number = |n: &str| {
        !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && !(n.len() > 1 && n.starts_with('0'))
    };
    if !is_number(least) || !most.is_none_or(is_number) {
        return None;
    }
    let number = |n: &str| n.parse::<u32>().ok().filter(|n| *n <= MOST_REPETITIONS);
    let allowed = match (number(least), most.map(number)) {
        (Some(_), None) => true,
        (Some(least), Some(Some(most))) => least <= most,
        _ => false,
    };
    Some((end + 1, allowed))
}

/// The ranges of `\d` and its like, and whether all others are meant.
fn perl_class(text: &str) -> Option<(&'static str, bool)> {
    let c = text.strip_prefix('\\')?.chars().next()?;
    let ranges = match c.to_ascii_lowercase() {
        'd' => "0-9",
        's' => "\\t\\n\\x0c\\r\\x20",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((ranges, c.is_ascii_uppercase()))
}

/// `\pL`, `\p{Greek}`, `\P{^Greek}` and how many bytes they are.
fn unicode_class(text: &str) -> Result<Option<(String, usize)>, Refused> {
    let Some(letter) =
        ["p", "P"].into_iter().find(|p| text.strip_prefix('\\').is_some_and(|t| t.starts_with(p)))
    else {
        return Ok(None);
    };
    let name = text.get(2..).unwrap_or_default();
    let (name, length) = match name.strip_prefix('{') {
        Some(braced) => match braced.find('}') {
            Some(end) => (head(braced, end), end + 4),
            None => return refused("invalid character class range", text),
        },
        None => {
            let length = name.chars().next().map_or(0, char::len_utf8);
            (head(name, length), length + 2)
        }
    };
    let negated = (letter == "P") != name.starts_with('^');
    let name = name.trim_start_matches('^');
    let class = match name {
        "Any" if negated => "[^\\x{0}-\\x{10FFFF}]".to_owned(),
        "Any" => "[\\x{0}-\\x{10FFFF}]".to_owned(),
        name => format!("\\{}{{{name}}}", if negated { "P" } else { "p" }),
    };
    if name.is_empty()
        || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
        || regex_syntax::Parser::new().parse(&class).is_err()
    {
        return refused("invalid character class range", head(text, length));
    }
    Ok(Some((class, length)))
}

/// The character that an escape stands for, and how many bytes the escape is.
fn escaped_char(text: &str) -> Result<(char, usize), Refused> {
    let mut chars = text.char_indices().skip(1);
    let Some((_, c)) = chars.next() else { return refused("trailing backslash at end of expression", "") };
    let invalid = |length: usize| refused("invalid escape sequence", head(text, length));
    let length = 1 + c.len_utf8();
    let octal = |at: usize| {
        text.as_bytes().get(at).filter(|b| (b'0'..=b'7').contains(*b)).map(|b| u32::from(b - b'0'))
    };
    match c {
        '1'..='7' if octal(2).is_none() => invalid(length),
        '0'..='7' => {
            let digits = 1 + usize::from(octal(2).is_some()) + usize::from(octal(2).and(octal(3)).is_some());
            let code = (1..=digits).filter_map(octal).fold(0, |code, digit| code * 8 + digit);
            char::from_u32(code).map_or_else(|| invalid(1 + digits), |c| Ok((c, 1 + digits)))
        }
        'x' => {
            let (digits, length) = match text.get(3..).filter(|_| text.get(2..3) == Some("{")) {
                Some(braced) => match braced.find('}') {
                    Some(end) => (head(braced, end), end + 4),
                    None => return invalid(text.len()),
                },
                None => (text.get(2..4).unwrap_or_default(), 4),
            };
            let is_hexadecimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal);
            code.and_then(char::from_u32).map_or_else(|| invalid(length), |c| Ok((c, length)))
        }
        'a' => Ok(('\u{7}', 2)),
        'f' => Ok(('\u{c}', 2)),
        'n' => Ok(('\n', 2)),
        'r' => Ok(('\r', 2)),
        't' => Ok(('\t', 2)),
        'v' => Ok(('\u{b}', 2)),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok((c, 2)),
        _ => invalid(length),
    }
}

#[cfg(test)]
mod tests {
    use super::super::anchored_regex;

    #[test]
    fn what_re2_takes_for_text_is_text() {
        for (expression, value, fits) in [
            ("/users/{id}", "/users/{id}", true),
            ("a{,2}", "a{,2}", true),
            ("a{2}", "aa", true),
            ("a{02}", "a{02}", true),
            ("a{1,3}?", "aaa", true),
            ("}]", "}]", true),
            ("[a&&b]+", "&a&b", true),
            ("[[]", "[", true),
            ("[]a]+", "]a", true),
            ("[^]a]", "]", false),
            ("[a-]+", "a-", true),
            ("[--/]+", "-./", true),
            ("[a~~b]+", "~", true),
            ("[[:alpha:]_]+", "ab_", true),
            ("[[:^digit:]]", "5", false),
            (r"\d+", "٣", false),
            (r"[\d]+", "12", true),
            (r"\w+", "é", false),
            (r"[\W]+", "é ", true),
            (r"\S", "\u{a0}", true),
            (r"é\b.*", "éa", true),
            (r"\Qa.b*\E+", "a.b**", true),
            (r"\Qa.b", "a.b", true),
            (r"\101\x41\x{41}", "AAA", true),
            (r"\-\/\#", "-/#", true),
            (r"\pL\p{Greek}\P{^Lu}", "aαA", true),
            (r"(?P<a>x)(?<b>y)", "xy", true),
            ("(?i)ABC|d", "abc", true),
            ("(?i:k)", "\u{212a}", true),
            ("(?-s).", "\n", false),
            ("(?s).", "\n", true),
            ("(?)a", "a", true),
            ("^a$", "a", true),
            ("(a)*|b", "aaa", true),
            ("(?:)*", "", true),
            ("a #b", "a #b", true),
        ] {
            let regex = anchored_regex(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
            assert_eq!(regex.is_match(value), fits, "{expression} {value:?}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused_in_gos_words() {
        for (expression, error) in [
            ("(", "missing closing ): `(`"),
            ("a(b|c", "missing closing ): `a(b|c`"),
            ("a)(b", "unexpected ): `a)(b`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a|*", "missing argument to repetition operator: `*`"),
            ("(+?)", "missing argument to repetition operator: `+?`"),
            ("(?i)*", "missing argument to repetition operator: `*`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a+?{2}", "invalid nested repetition operator: `+?{2}`"),
            ("a{2000}", "invalid repeat count: `{2000}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[a", "missing closing ]: `[a`"),
            ("x[]", "missing closing ]: `[]`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (r"\pX", r"invalid character class range: `\pX`"),
            (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
            (r"a\", "trailing backslash at end of expression: ``"),
            (r"\q", r"invalid escape sequence: `\q`"),
            (r"\1", r"invalid escape sequence: `\1`"),
            (r"\x{110000}", r"invalid escape sequence: `\x{110000}`"),
            (r"[\é]", r"invalid escape sequence: `\é`"),
            ("(?P<n", "invalid named capture: `(?P<n`"),
            ("(?P<n m>a)", "invalid named capture: `(?P<n m>`"),
            ("(?z)", "invalid or unsupported Perl syntax: `(?z`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ] {
            let refused = anchored_regex(expression).expect_err(expression);
            assert_eq!(refused.to_string(), format!("error parsing regexp: {error}"));
        }
    }
}
