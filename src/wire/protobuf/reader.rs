//! Reads a message field by field, borrowing from it.

/// Where a message is broken, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {problem}")]
pub struct WireError {
    /// Offset in the outermost message, from 0.
    pub at: usize,
    /// What is wrong there.
    pub problem: WireProblem,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireProblem {
    /// The message ends within a field.
    #[error("the message is cut off")]
    CutOff,
    /// A number of more than 64 bits.
    #[error("a number has more than 64 bits")]
    Overlong,
    /// Field 0, or one beyond 2^29-1.
    #[error("no such field number")]
    FieldNumber,
    /// A wire type that is not read.
    #[error("unknown wire type {0}")]
    WireType(u8),
    /// The field has another wire type than its schema says.
    #[error("field {0} is not of the type that its schema says")]
    Mismatch(u32),
    /// A text that is not UTF-8.
    #[error("field {0} is not valid UTF-8")]
    NotUtf8(u32),
}

type Wire<T> = Result<T, WireError>;

/// A message, or what is left of it. A copy costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Offset of `rest` in the outermost message.
    at: usize,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its number in the schema.
    pub number: u32,
    /// Where it begins in the outermost message.
    pub at: usize,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(Reader<'a>),
    /// No schema here has one; it is stepped over.
    Fixed32,
}

impl<'a> Reader<'a> {
    /// Reads a whole message.
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: message, at: 0 }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Offset of the next byte in the outermost message.
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Whether all has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn fail<T>(&self, problem: WireProblem) -> Wire<T> {
        Err(WireError { at: self.at, problem })
    }

    fn take(&mut self, length: usize) -> Wire<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return self.fail(WireProblem::CutOff);
        };
        self.rest = rest;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Wire<[u8; N]> {
        let Some(array) = self.rest.first_chunk::<N>() else { return self.fail(WireProblem::CutOff) };
        self.take(N)?;
        Ok(*array)
    }

    /// The next number in base-128 digits, the lowest first.
    ///
    /// # Errors
    /// It is cut off or has more than 64 bits.
    pub fn varint(&mut self) -> Wire<u64> {
        let mut value = 0_u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            let digit = u64::from(byte & 0x7f);
            // The tenth digit is bit 63 alone.
            if at == 9 && digit > 1 {
                return self.fail(WireProblem::Overlong);
            }
            value |= digit << (7 * at);
            if byte & 0x80 == 0 {
                self.take(at + 1)?;
                return Ok(value);
            }
        }
        self.fail(if self.rest.len() < 10 { WireProblem::CutOff } else { WireProblem::Overlong })
    }

    /// The next message that is preceded by its length.
    ///
    /// # Errors
    /// It is cut off.
    pub fn delimited(&mut self) -> Wire<Self> {
        let start = *self;
        let Ok(length) = usize::try_from(self.varint()?) else { return start.fail(WireProblem::CutOff) };
        let at = self.at;
        match self.take(length) {
            Ok(rest) => Ok(Self { rest, at }),
            Err(_) => start.fail(WireProblem::CutOff),
        }
    }

    /// The next field; `None` at the end.
    ///
    /// # Errors
    /// It is cut off, or no field at all.
    pub fn field(&mut self) -> Wire<Option<Field<'a>>> {
        if self.is_empty() {
            return Ok(None);
        }
        let start = *self;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let Some(number) = number else { return start.fail(WireProblem::FieldNumber) };
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.delimited()?),
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            // Below 8.
            other => return start.fail(WireProblem::WireType(u8::try_from(other).unwrap_or_default())),
        };
        Ok(Some(Field { number, at: start.at, value }))
    }
}

impl<'a> Field<'a> {
    fn fail<T>(&self, problem: WireProblem) -> Wire<T> {
        Err(WireError { at: self.at, problem })
    }

    const fn mismatch(&self) -> WireProblem {
        WireProblem::Mismatch(self.number)
    }

    /// As `uint64`, `uint32`, `bool` or an enumeration.
    ///
    /// # Errors
    /// It is no number of variable length.
    pub fn unsigned(&self) -> Wire<u64> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => self.fail(self.mismatch()),
        }
    }

    /// As `int64` or `int32`.
    ///
    /// # Errors
    /// It is no number of variable length.
    pub fn signed(&self) -> Wire<i64> {
        self.unsigned().map(u64::cast_signed)
    }

    /// As `double`.
    ///
    /// # Errors
    /// It has not 64 bits.
    pub fn double(&self) -> Wire<f64> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => self.fail(self.mismatch()),
        }
    }

    /// As a message or as `bytes`.
    ///
    /// # Errors
    /// It has no length.
    pub fn message(&self) -> Wire<Reader<'a>> {
        match self.value {
            Value::Bytes(message) => Ok(message),
            _ => self.fail(self.mismatch()),
        }
    }

    /// As `string`.
    ///
    /// # Errors
    /// It has no length or is not UTF-8.
    pub fn text(&self) -> Wire<&'a str> {
        let bytes = self.message()?.rest;
        std::str::from_utf8(bytes).or_else(|_| self.fail(WireProblem::NotUtf8(self.number)))
    }

    /// As `repeated` numbers, packed into one field or one of them in a field of its own.
    ///
    /// # Errors
    /// It is neither.
    pub fn packed(&self) -> Wire<Packed<'a>> {
        match self.value {
            Value::Varint(value) => Ok(Packed { one: Some(value), many: Reader::new(&[]) }),
            Value::Bytes(many) => Ok(Packed { one: None, many }),
            Value::Fixed64(_) | Value::Fixed32 => self.fail(self.mismatch()),
        }
    }
}

/// Numbers of variable length. Made by [`Field::packed`]; ends after the first error.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    one: Option<u64>,
    many: Reader<'a>,
}

impl Iterator for Packed<'_> {
    type Item = Wire<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(one) = self.one.take() {
            return Some(Ok(one));
        }
        if self.many.is_empty() {
            return None;
        }
        let read = self.many.varint();
        if read.is_err() {
            self.many.rest = &[];
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn broken_messages_are_refused_where_they_break() {
        use WireProblem::{CutOff, FieldNumber, Mismatch, NotUtf8, Overlong, WireType};
        for (bytes, at, problem) in [
            (&[0x80_u8] as &[u8], 0, CutOff),
            (&[0x08], 1, CutOff),
            (&[0x09, 1, 2, 3], 1, CutOff),
            (&[0x0d, 1, 2, 3], 1, CutOff),
            (&[0x0a, 3, 1, 2], 1, CutOff),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], 1, CutOff),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], 1, Overlong),
            (&[0xff; 11], 0, Overlong),
            (&[0x00, 1], 0, FieldNumber),
            (&[0xf8, 0xff, 0xff, 0xff, 0x7f, 1], 0, FieldNumber),
            (&[0x08, 1, 0x0b], 2, WireType(3)),
            (&[0x0f], 0, WireType(7)),
            (&[0x08, 1, 0x10, 1], 2, Mismatch(2)),
            (&[0x12, 1, 0xff], 0, NotUtf8(2)),
        ] {
            let mut reader = Reader::new(bytes);
            let error = loop {
                match reader.field() {
                    Ok(Some(field)) if field.number == 2 => break field.text().unwrap_err(),
                    Ok(field) => assert!(field.is_some(), "{bytes:?}: no error"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error, WireError { at, problem }, "{bytes:?}");
        }
    }

    #[test]
    fn the_longest_number_is_read() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reader::new(&bytes).varint(), Ok(u64::MAX));
    }

    fn walk(mut reader: Reader<'_>, depth: usize) {
        while let Ok(Some(field)) = reader.field() {
            let _ = (field.signed(), field.double(), field.text());
            if let Ok(packed) = field.packed() {
                assert!(packed.count() <= 200);
            }
            if let (Ok(inner), true) = (field.message(), depth < 8) {
                walk(inner, depth + 1);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            walk(Reader::new(&bytes), 0);
        }
    }
}
