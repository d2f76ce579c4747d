//! Values as Go's `fmt` prints them: `Sprint`, `Sprintln` and `Sprintf`.
//!
//! Invariant: printing ends soon after the limit: what is longer is an error of the caller, never a hang, however often
//! a value contains the same part.
//!
//! Source: Go's `fmt`, `print.go` and `format.go`.

use super::escape::is_printable;
use super::float::{format_float, shortest};
use super::time::duration_shown;
use super::value::Value;

/// Widths and precisions beyond this are no numbers to Go.
const WIDEST: i64 = 1_000_000;

/// A text that grows up to a limit.
#[derive(Debug, Default)]
pub(super) struct Printer {
    pub(super) out: String,
    limit_bytes: usize,
    flags: Flags,
}

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%+v`: with the names of fields.
    names: bool,
    /// `%#v`: as Go's source would have it.
    source: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Printer {
    /// Prints behind a text, until it is longer than a limit.
    pub(super) fn new(out: String, limit_bytes: usize) -> Self {
        Self { out, limit_bytes, flags: Flags::default() }
    }

    /// Whether there was more to print.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() > self.limit_bytes
    }

    /// A value as `%v`.
    pub(super) fn print(&mut self, value: &Value) {
        self.verb(value, 'v');
    }

    /// A value that was handed to a function: of a pointer, Go says that it is one.
    fn print_argument(&mut self, value: &Value, verb: char) {
        if verb != 'T' && matches!(value, Value::Struct(object) if object.of.name.starts_with('*')) {
            self.out.push('&');
        }
        self.verb(value, verb);
    }

    /// As `Sprint`: a space between two that are no texts.
    pub(super) fn print_all(&mut self, values: &[Value]) {
        let mut before_was_text = true;
        for (i, value) in values.iter().enumerate() {
            let is_text = matches!(value, Value::String(_) | Value::Named(..));
            if i > 0 && !is_text && !before_was_text {
                self.out.push(' ');
            }
            self.print_argument(value, 'v');
            before_was_text = is_text;
        }
    }

    /// As `Sprintln`: spaces between all, and a line's end.
    pub(super) fn print_line(&mut self, values: &[Value]) {
        for (i, value) in values.iter().enumerate() {
            self.out.push_str(if i > 0 { " " } else { "" });
            self.print_argument(value, 'v');
        }
        self.out.push('\n');
    }

    /// As `Sprintf`.
    pub(super) fn printf(&mut self, format: &str, args: &[Value]) {
        let mut reader = Reader { rest: format, args, next: 0, reordered: false, index_is_good: true };
        while !reader.rest.is_empty() && !self.is_full() {
            let length = reader.rest.find('%').unwrap_or(reader.rest.len());
            let (text, rest) = reader.rest.split_at(length);
            self.out.push_str(text);
            let Some(directive) = rest.strip_prefix('%') else { return self.extra(&reader) };
            reader.rest = directive;
            self.directive(&mut reader);
        }
        self.extra(&reader);
    }

    /// Arguments that no directive used.
    fn extra(&mut self, reader: &Reader<'_>) {
        let unused = reader.args.get(reader.next..).unwrap_or_default();
        if reader.reordered || unused.is_empty() {
            return;
        }
        self.flags = Flags::default();
        self.out.push_str("%!(EXTRA ");
        for (i, value) in unused.iter().enumerate() {
            self.out.push_str(if i > 0 { ", " } else { "" });
            if !matches!(value, Value::Nil) {
                self.out.push_str(value.type_name());
                self.out.push('=');
            }
            self.print(value);
        }
        self.out.push(')');
    }

    fn directive(&mut self, reader: &mut Reader<'_>) {
        self.flags = Flags::default();
        reader.index_is_good = true;
        while let Some(flag) = reader.rest.chars().next() {
            match flag {
                '#' => self.flags.sharp = true,
                '0' => self.flags.zero = true,
                '+' => self.flags.plus = true,
                '-' => self.flags.minus = true,
                ' ' => self.flags.space = true,
                _ => break,
            }
            reader.skip(1);
        }
        let mut behind_index = reader.index();
        if reader.takes('*') {
            match reader.int_argument() {
                Some(width) => {
                    self.flags.minus |= width < 0;
                    self.flags.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => self.out.push_str("%!(BADWIDTH)"),
            }
            behind_index = false;
        } else {
            self.flags.width = reader.number();
            reader.index_is_good &= !(behind_index && self.flags.width.is_some());
        }
        if reader.takes('.') {
            reader.index_is_good &= !behind_index;
            behind_index = reader.index();
            if reader.takes('*') {
                let given = reader.int_argument();
                self.flags.precision = given.and_then(|precision| usize::try_from(precision).ok());
                if given.is_none() {
                    self.out.push_str("%!(BADPREC)");
                }
                behind_index = false;
            } else {
                self.flags.precision = Some(reader.number().unwrap_or(0));
            }
        }
        if !behind_index {
            reader.index();
        }
        let Some(verb) = reader.rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return;
        };
        reader.skip(verb.len_utf8());
        if verb == '%' {
            return self.out.push('%');
        }
        if !reader.index_is_good {
            return self.out.extend(["%!", verb.encode_utf8(&mut [0; 4]), "(BADINDEX)"]);
        }
        let Some(value) = reader.args.get(reader.next) else {
            return self.out.extend(["%!", verb.encode_utf8(&mut [0; 4]), "(MISSING)"]);
        };
        reader.next += 1;
        if verb == 'v' {
            (self.flags.source, self.flags.sharp) = (self.flags.sharp, false);
            (self.flags.names, self.flags.plus) = (self.flags.plus, false);
        }
        self.print_argument(value, verb);
    }

    fn verb(&mut self, value: &Value, verb: char) {
        if self.is_full() {
            return;
        }
        match (value, verb) {
            (_, 'T') => self.text(value.type_name(), 's'),
            (Value::Nil, 'v') => self.pad("<nil>"),
            (Value::Bool(truth), 't' | 'v') => self.pad(if *truth { "true" } else { "false" }),
            (Value::Int(number), _) => self.int(*number, verb, value),
            (Value::Float(number), _) => self.float(*number, verb, value),
            (Value::String(text) | Value::Named(_, text), 'v' | 's' | 'x' | 'X' | 'q') => {
                self.text(text, verb);
            }
            (Value::Time(time), 'v') if self.flags.source => self.pad(&time.source()),
            (Value::Duration(number) | Value::Enum(_, number, _), 'v') if self.flags.source => {
                self.int(*number, verb, value);
            }
            (Value::Time(time), 'v' | 's' | 'x' | 'X' | 'q') => self.text(&time.shown(), verb),
            (Value::Duration(nanos), 'v' | 's' | 'x' | 'X' | 'q') => {
                self.text(&duration_shown(*nanos), verb);
            }
            (Value::Enum(_, _, name), 'v' | 's' | 'x' | 'X' | 'q') => self.text(name, verb),
            (Value::Duration(number) | Value::Enum(_, number, _), _) => self.int(*number, verb, value),
            (Value::List(_) | Value::Map(_) | Value::Struct(_), _) => self.parts(value, verb),
            _ => self.bad_verb(value, verb),
        }
    }

    /// Each part with the same verb.
    fn parts(&mut self, value: &Value, verb: char) {
        let source = self.flags.source;
        let (open, close, gap) = match value {
            _ if source => ("{", "}", ", "),
            Value::Struct(_) => ("{", "}", " "),
            _ => ("[", "]", " "),
        };
        match value {
            _ if source => self.out.push_str(value.type_name().trim_start_matches('*')),
            Value::Map(_) => self.out.push_str("map"),
            _ => {}
        }
        self.out.push_str(open);
        match value {
            Value::List(list) => {
                for (i, item) in list.items().iter().enumerate() {
                    self.out.push_str(if i > 0 { gap } else { "" });
                    self.verb(item, verb);
                    if self.is_full() {
                        return;
                    }
                }
            }
            Value::Map(map) => {
                for (i, (key, item)) in map.entries().iter().enumerate() {
                    self.out.push_str(if i > 0 { gap } else { "" });
                    self.verb(&Value::String(std::sync::Arc::clone(key)), verb);
                    self.out.push(':');
                    self.verb(item, verb);
                    if self.is_full() {
                        return;
                    }
                }
            }
            Value::Struct(object) => {
                for (i, (name, item)) in object.fields().iter().enumerate() {
                    self.out.push_str(if i > 0 { gap } else { "" });
                    if source || self.flags.names {
                        self.out.extend([*name, ":"]);
                    }
                    self.verb(item, verb);
                }
            }
            _ => {}
        }
        self.out.push_str(close);
    }

    fn bad_verb(&mut self, value: &Value, verb: char) {
        self.out.extend(["%!", verb.encode_utf8(&mut [0; 4]), "("]);
        match value {
            Value::Nil => self.print(value),
            // No method is called here, nor `String`; and of what a pointer points to, there is no address.
            Value::Duration(number) | Value::Enum(_, number, _) => {
                self.out.extend([value.type_name().trim_start_matches('*'), "="]);
                self.print(&Value::Int(*number));
            }
            _ => {
                self.out.extend([value.type_name(), "="]);
                self.print(value);
            }
        }
        self.out.push(')');
    }

    /// Spaces, or zeros, up to the width in characters.
    fn pad(&mut self, text: &str) {
        let padding = self.flags.width.map_or(0, |width| width.saturating_sub(text.chars().count()));
        let pad = if self.flags.zero && !self.flags.minus { '0' } else { ' ' };
        let padding = std::iter::repeat_n(pad, padding);
        match self.flags.minus {
            true => {
                self.out.push_str(text);
                self.out.extend(padding);
            }
            false => {
                self.out.extend(padding);
                self.out.push_str(text);
            }
        }
    }

    /// Like [`Printer::pad`], with spaces only.
    fn pad_with_spaces(&mut self, text: &str) {
        let zero = std::mem::take(&mut self.flags.zero);
        self.pad(text);
        self.flags.zero = zero;
    }

    fn text(&mut self, text: &str, verb: char) {
        let end = match self.flags.precision {
            Some(most) if !matches!(verb, 'x' | 'X') => {
                text.char_indices().nth(most).map_or(text.len(), |(at, _)| at)
            }
            _ => text.len(),
        };
        let text = text.get(..end).unwrap_or_default();
        match verb {
            'q' => self.quoted(text),
            'x' | 'X' => self.hexadecimal(text, verb),
            _ if self.flags.source => self.quoted(text),
            _ => self.pad(text),
        }
    }

    fn quoted(&mut self, text: &str) {
        let can_be_raw = !text.chars().any(|c| c == '`' || c == '\u{FEFF}' || (c.is_control() && c != '\t'));
        match self.flags.sharp && can_be_raw {
            true => self.pad(&format!("`{text}`")),
            false if self.flags.plus => self.pad(&ascii_only(&crate::model::Quoted(text).to_string())),
            false => self.pad(&crate::model::Quoted(text).to_string()),
        }
    }

    fn hexadecimal(&mut self, text: &str, verb: char) {
        use std::fmt::Write as _;
        let bytes = text.as_bytes();
        let bytes = bytes.get(..self.flags.precision.unwrap_or(usize::MAX).min(bytes.len())).unwrap_or(bytes);
        let (prefix, mut shown) = (if verb == 'x' { "0x" } else { "0X" }, String::new());
        for (i, byte) in bytes.iter().enumerate() {
            shown.push_str(if self.flags.space && i > 0 { " " } else { "" });
            shown.push_str(if self.flags.sharp && (self.flags.space || i == 0) { prefix } else { "" });
            // Writing to a text cannot fail.
            let _ = if verb == 'x' { write!(shown, "{byte:02x}") } else { write!(shown, "{byte:02X}") };
        }
        self.pad(&shown);
    }

    fn int(&mut self, number: i64, verb: char, value: &Value) {
        let magnitude = number.unsigned_abs();
        let (digits, prefix) = match verb {
            'v' | 'd' => (magnitude.to_string(), ""),
            'b' => (format!("{magnitude:b}"), "0b"),
            'o' => (format!("{magnitude:o}"), "0"),
            'O' => (format!("{magnitude:o}"), "0o"),
            'x' => (format!("{magnitude:x}"), "0x"),
            'X' => (format!("{magnitude:X}"), "0X"),
            'c' | 'q' | 'U' => return self.character(number, verb),
            _ => return self.bad_verb(value, verb),
        };
        let (sign, flags) = (self.sign(number < 0), self.flags);
        let digits_wanted = match (flags.precision, flags.width) {
            // Nothing at all, but the padding.
            (Some(0), _) if number == 0 => return self.pad_with_spaces(""),
            (Some(precision), _) => precision,
            (None, Some(width)) if flags.zero && !flags.minus => width.saturating_sub(sign.len()),
            _ => 0,
        };
        let zeros = "0".repeat(digits_wanted.saturating_sub(digits.len()));
        // The sign of octal numbers besides `0o`.
        let zeros = if verb == 'O' && flags.sharp && !format!("{zeros}{digits}").starts_with('0') {
            format!("0{zeros}")
        } else {
            zeros
        };
        let shows_prefix = verb == 'O' || (flags.sharp && !prefix.is_empty());
        let prefix = match shows_prefix && !(verb == 'o' && format!("{zeros}{digits}").starts_with('0')) {
            true => prefix,
            false => "",
        };
        self.pad_with_spaces(&format!("{sign}{prefix}{zeros}{digits}"));
    }

    fn sign(&self, negative: bool) -> &'static str {
        match negative {
            true => "-",
            false if self.flags.plus => "+",
            false if self.flags.space => " ",
            false => "",
        }
    }

    fn character(&mut self, number: i64, verb: char) {
        let known = u32::try_from(number).ok().and_then(char::from_u32);
        let c = known.unwrap_or(char::REPLACEMENT_CHARACTER);
        match verb {
            'c' => self.pad(c.encode_utf8(&mut [0; 4])),
            'q' => {
                let text = match c {
                    '\'' => "'\\''".to_owned(),
                    '"' => "'\"'".to_owned(),
                    c => {
                        let quoted = crate::model::Quoted(c.encode_utf8(&mut [0; 4])).to_string();
                        format!("'{}'", quoted.get(1..quoted.len() - 1).unwrap_or_default())
                    }
                };
                self.pad(&if self.flags.plus { ascii_only(&text) } else { text });
            }
            _ => {
                let digits = format!("{number:X}");
                let zeros = "0".repeat(self.flags.precision.unwrap_or(4).max(4).saturating_sub(digits.len()));
                let shown = known.filter(|c| self.flags.sharp && is_printable(*c));
                let shown = shown.map(|c| format!(" '{c}'")).unwrap_or_default();
                self.pad_with_spaces(&format!("U+{zeros}{digits}{shown}"));
            }
        }
    }

    fn float(&mut self, number: f64, verb: char, value: &Value) {
        let flags = self.flags;
        let text = match verb {
            'v' if flags.precision.is_none() => shortest(number),
            'v' => format_float(number, 'g', flags.precision),
            'e' | 'E' | 'f' | 'F' => format_float(number, verb, Some(flags.precision.unwrap_or(6))),
            'g' | 'G' | 'x' | 'X' | 'b' => format_float(number, verb, flags.precision),
            _ => return self.bad_verb(value, verb),
        };
        let unsigned = text.trim_start_matches(['+', '-']);
        if !number.is_finite() {
            let sign = match text.strip_suffix(unsigned) {
                Some("-") => "-",
                _ if flags.plus => "+",
                _ if flags.space => " ",
                _ if number.is_nan() => "",
                _ => "+",
            };
            return self.pad_with_spaces(&format!("{sign}{unsigned}"));
        }
        let sign = self.sign(text.starts_with('-'));
        let whole = match flags.sharp {
            true => with_point(unsigned, verb, flags.precision),
            false => unsigned.to_owned(),
        };
        let width = flags.width.unwrap_or(0);
        match flags.zero && !flags.minus && width > sign.len() + whole.len() {
            true => {
                let zeros = "0".repeat(width - sign.len() - whole.len());
                self.out.extend([sign, &zeros, &whole]);
            }
            false => self.pad(&format!("{sign}{whole}")),
        }
    }
}

/// A quoted text with escapes for all that is not ASCII.
fn ascii_only(quoted: &str) -> String {
    let escaped = |c: char| match u32::from(c) {
        number @ 0x80..0x1_0000 => format!("\\u{number:04x}"),
        number @ 0x1_0000.. => format!("\\U{number:08x}"),
        _ => c.to_string(),
    };
    quoted.chars().map(escaped).collect()
}

/// `%#g` and its like: always with a point, and with the zeros that `g` leaves out. Of `x`, Go counts the letter among the
/// digits, and `b` stays as it is.
fn with_point(unsigned: &str, verb: char, precision: Option<usize>) -> String {
    let exponents: &[char] = match verb {
        'b' => return unsigned.to_owned(),
        'x' | 'X' => &['p', 'P'],
        _ => &['e', 'E'],
    };
    let (mantissa, exponent) = match unsigned.find(exponents) {
        Some(at) => unsigned.split_at(at),
        None => (unsigned, ""),
    };
    let mut mantissa = mantissa.to_owned();
    if matches!(verb, 'g' | 'G' | 'v' | 'x') {
        let significant = mantissa.trim_start_matches(['0', '.']).bytes().filter(|b| *b != b'.').count();
        let missing = precision.unwrap_or(6).max(1).saturating_sub(significant.max(1));
        if !mantissa.contains('.') {
            mantissa.push('.');
        }
        mantissa.push_str(&"0".repeat(missing));
    } else if !mantissa.contains('.') {
        mantissa.push('.');
    }
    mantissa + exponent
}

/// A format and its arguments, part by part.
struct Reader<'a> {
    rest: &'a str,
    args: &'a [Value],
    next: usize,
    /// An index was given: arguments may be left over.
    reordered: bool,
    index_is_good: bool,
}

impl Reader<'_> {
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn takes(&mut self, c: char) -> bool {
        let takes = self.rest.starts_with(c);
        self.skip(if takes { c.len_utf8() } else { 0 });
        takes
    }

    /// Digits; too large a number is none.
    fn number(&mut self) -> Option<usize> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = self.rest.get(..digits).and_then(|digits| digits.parse::<i64>().ok());
        if digits > 0 && number.is_none_or(|number| number > WIDEST) {
            // Go gives up on the whole format.
            self.rest = "";
            return None;
        }
        self.skip(digits);
        number.and_then(|number| usize::try_from(number).ok())
    }

    /// `[3]`: which argument is next; says whether that stood here.
    fn index(&mut self) -> bool {
        let Some(inner) = self.rest.strip_prefix('[') else { return false };
        self.reordered = true;
        let Some(end) = inner.find(']') else {
            self.index_is_good = false;
            self.skip(1);
            return false;
        };
        let index = inner.get(..end).and_then(|digits| digits.parse::<usize>().ok());
        self.skip(end + 2);
        match index.and_then(|index| index.checked_sub(1)).filter(|index| *index < self.args.len()) {
            Some(index) => self.next = index,
            None => self.index_is_good = false,
        }
        true
    }

    /// A width or precision from the arguments.
    fn int_argument(&mut self) -> Option<i64> {
        let value = self.args.get(self.next)?;
        self.next += 1;
        value.as_int().filter(|number| (-WIDEST..=WIDEST).contains(number))
    }
}
