//! DER, as far as certificates need it: elements one after the other, and the names a certificate is for.
//!
//! A whole X.509 parser would be the largest dependency of those who ask. Reads strictly forward, without recursion;
//! whatever does not look as expected ends the reading, so that a malformed certificate has nothing.
//!
//! Source: X.690; RFC 5280 sections 4.1 and 4.2.1.6.

/// A number, big-endian, two's complement.
pub(crate) const INTEGER: u8 = 0x02;
/// Bytes.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// The name of a kind of thing.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// A time with a year of two digits.
pub(crate) const UTC_TIME: u8 = 0x17;
/// A time with a year of four digits.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// A text in UTF-16.
pub(crate) const BMP_STRING: u8 = 0x1e;
/// Elements in an order.
pub(crate) const SEQUENCE: u8 = 0x30;
/// Elements in any order.
pub(crate) const SET: u8 = 0x31;

/// `[0] EXPLICIT`: the version of a `TBSCertificate`.
pub(crate) const VERSION: u8 = 0xa0;
/// `[3] EXPLICIT`: its extensions.
const EXTENSIONS: u8 = 0xa3;
/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Of a `GeneralName`, as those that follow: an e-mail address.
pub(crate) const EMAIL: u8 = 0x81;
/// A name of the DNS.
pub(crate) const DNS: u8 = 0x82;
/// A URI.
pub(crate) const URI: u8 = 0x86;
/// An address, 4 or 16 bytes.
pub(crate) const IP: u8 = 0x87;

/// The elements of a constructed value: tag and content.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Long form: up to four bytes of length; more, or none, is not DER of a certificate.
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

/// The content of the first element, if it has this tag.
#[must_use]
pub(crate) fn child(der: &[u8], tag: u8) -> Option<&[u8]> {
    Elements(der).next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// What is signed of a certificate: the content of its `TBSCertificate`.
#[must_use]
pub(crate) fn to_be_signed(certificate: &[u8]) -> Option<&[u8]> {
    child(child(certificate, SEQUENCE)?, SEQUENCE)
}

/// The subject alternative names among the fields of a `TBSCertificate`: kind, as [`DNS`], and content of each.
pub(crate) fn subject_alt_names<'a>(
    mut fields: impl Iterator<Item = (u8, &'a [u8])>,
) -> Option<Elements<'a>> {
    let (_, extensions) = fields.find(|(tag, _)| *tag == EXTENSIONS)?;
    let extensions = child(extensions, SEQUENCE)?;
    let (_, extension) = Elements(extensions).find(|(tag, extension)| {
        *tag == SEQUENCE && child(extension, OBJECT_IDENTIFIER) == Some(SUBJECT_ALT_NAME)
    })?;
    // Between the identifier and the value there may be the boolean `critical`.
    let (_, value) = Elements(extension).find(|(tag, _)| *tag == OCTET_STRING)?;
    child(value, SEQUENCE).map(Elements)
}
