//! Writes a message field by field into one buffer.

/// A message being written. Fields that hold their default are written too: whether to leave them out is the
/// schema's question.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// Bytes of the longest length that [`Writer::message`] expects; a longer one is made room for.
const LENGTH_BYTES: usize = 1;

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What has been written, for good.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Forgets what has been written, keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    fn varint(&mut self, value: u64) {
        let (digits, count) = varint_digits(value);
        self.bytes.extend(digits.into_iter().take(count));
    }

    fn tag(&mut self, number: u32, wire_type: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    /// A field of type `uint64`, `uint32`, `bool` or an enumeration.
    pub fn unsigned(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.varint(value);
    }

    /// A field of type `int64` or `int32`.
    pub fn signed(&mut self, number: u32, value: i64) {
        self.unsigned(number, value.cast_unsigned());
    }

    /// A field of type `double`.
    pub fn double(&mut self, number: u32, value: f64) {
        self.tag(number, 1);
        self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// A field of type `string`.
    pub fn text(&mut self, number: u32, value: &str) {
        self.raw(number, value.as_bytes());
    }

    /// A field of type `bytes`, or a message that stands already.
    pub fn raw(&mut self, number: u32, value: &[u8]) {
        self.tag(number, 2);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// A field that is a message, or numbers written with [`Writer::item`].
    pub fn message(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        self.tag(number, 2);
        self.delimited(write);
    }

    /// The fields of another message, behind those of this one.
    pub fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// One number of a packed field.
    pub fn item(&mut self, value: u64) {
        self.varint(value);
    }

    /// A message preceded by its length, without a field number: an element of a delimited stream.
    pub fn delimited(&mut self, write: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        write(self);
        let (digits, count) = varint_digits((self.bytes.len() - start - LENGTH_BYTES) as u64);
        // Most messages are short, and what is written stays where it is.
        self.bytes.splice(start..start + LENGTH_BYTES, digits.into_iter().take(count));
    }
}

/// The base-128 digits of a number, the lowest first, and how many they are.
fn varint_digits(mut value: u64) -> ([u8; 10], usize) {
    let mut digits = [0; 10];
    for (at, digit) in digits.iter_mut().enumerate() {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            *digit = low & 0x7f;
            return (digits, at + 1);
        }
        *digit = low | 0x80;
    }
    (digits, digits.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::protobuf::Reader;

    #[test]
    fn the_examples_of_the_documentation() {
        let mut writer = Writer::new();
        writer.unsigned(1, 150);
        writer.text(2, "testing");
        writer.message(3, |w| w.unsigned(1, 150));
        writer.message(6, |w| [3, 270, 86_942].into_iter().for_each(|n| w.item(n)));
        let expected = [
            &[0x08_u8, 0x96, 0x01, 0x12, 0x07] as &[u8],
            b"testing",
            &[0x1a, 0x03, 0x08, 0x96, 0x01, 0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05],
        ];
        assert_eq!(writer.bytes(), expected.concat());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            number in 1_u32..1 << 29,
            unsigned: u64,
            signed: i64,
            bits: u64,
            text in ".{0,200}",
            items in proptest::collection::vec(any::<u64>(), 0..40),
        ) {
            let mut writer = Writer::new();
            writer.delimited(|w| {
                w.unsigned(number, unsigned);
                w.signed(number, signed);
                w.double(number, f64::from_bits(bits));
                w.message(number, |w| w.text(number, &text));
                w.message(number, |w| items.iter().for_each(|item| w.item(*item)));
            });
            let bytes = writer.into_bytes();
            let mut stream = Reader::new(&bytes);
            let mut reader = stream.delimited().unwrap();
            prop_assert!(stream.is_empty());
            let mut next = || reader.field().unwrap().unwrap();
            prop_assert_eq!(next().unsigned().unwrap(), unsigned);
            prop_assert_eq!(next().signed().unwrap(), signed);
            prop_assert_eq!(next().double().unwrap().to_bits(), bits);
            let inner = next().message().unwrap().field().unwrap().unwrap();
            prop_assert_eq!((inner.number, inner.text().unwrap()), (number, text.as_str()));
            let read: Vec<u64> = next().packed().unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(read, items);
            prop_assert!(reader.field().unwrap().is_none());
        }
    }
}
