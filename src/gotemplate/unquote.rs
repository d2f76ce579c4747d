//! Quoted texts and characters as Go writes them.
//!
//! Invariant: what is no text of UTF-8 - `"\xff"` - becomes U+FFFD, as it would on its way into a label.
//!
//! Source: Go's `strconv`, `quote.go`.

/// The text in double quotes or backquotes; `None` where an escape is wrong.
pub(super) fn unquoted(quoted: &str) -> Option<String> {
    if let Some(raw) = quoted.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let mut rest = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (unit, tail) = unit(rest, '"')?;
        match unit {
            Unit::Byte(byte) => bytes.push(byte),
            Unit::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = tail;
    }
    Some(crate::model::valid_utf8(&bytes).into_owned())
}

/// The first character of a text that ends with a quote, and what follows.
pub(super) fn unquoted_char(text: &str, quote: char) -> Option<(char, &str)> {
    match unit(text, quote)? {
        (Unit::Byte(byte), rest) => Some((char::from(byte), rest)),
        (Unit::Char(c), rest) => Some((c, rest)),
    }
}

enum Unit {
    Byte(u8),
    Char(char),
}

fn unit(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if first == quote || first == '\n' {
        return None;
    }
    if first != '\\' {
        return Some((Unit::Char(first), chars.as_str()));
    }
    let escape = chars.next()?;
    let rest = chars.as_str();
    let simple = |c: char| Some((Unit::Char(c), rest));
    match escape {
        'a' => simple('\u{7}'),
        'b' => simple('\u{8}'),
        'f' => simple('\u{c}'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\u{b}'),
        '\\' => simple('\\'),
        '\'' | '"' if escape == quote => simple(escape),
        'x' => {
            digits(rest, 2, 16).and_then(|(value, rest)| Some((Unit::Byte(u8::try_from(value).ok()?), rest)))
        }
        'u' => digits(rest, 4, 16).and_then(|(value, rest)| Some((Unit::Char(char::from_u32(value)?), rest))),
        'U' => digits(rest, 8, 16).and_then(|(value, rest)| Some((Unit::Char(char::from_u32(value)?), rest))),
        '0'..='7' => {
            let (value, rest) = digits(text.get(1..)?, 3, 8)?;
            Some((Unit::Byte(u8::try_from(value).ok()?), rest))
        }
        _ => None,
    }
}

fn digits(text: &str, count: usize, radix: u32) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(count)?;
    let is_plain = digits.chars().all(|c| c.is_digit(radix));
    let value = u32::from_str_radix(digits, radix).ok().filter(|_| is_plain)?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        for (quoted, text) in [
            (r#""a\tb\"\\""#, Some("a\tb\"\\")),
            (r#""\u00e9\U0001F600\xc3\xa9\101""#, Some("é😀éA")),
            ("`a\\n\r`", Some("a\\n")),
            (r#""\xff""#, Some("\u{FFFD}")),
            (r#""\'""#, None),
            (r#""\z""#, None),
            (r#""\ud800""#, None),
            (r#""\x+1""#, None),
            (r#""\x1""#, None),
        ] {
            assert_eq!(unquoted(quoted).as_deref(), text, "{quoted}");
        }
        assert_eq!(unquoted_char(r"\''", '\''), Some(('\'', "'")));
        assert_eq!(unquoted_char("é'", '\''), Some(('é', "'")));
    }
}
