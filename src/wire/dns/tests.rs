//! Records of every kind, answers that lie, and any bytes.

use proptest::prelude::*;

use super::testing::{answer, question_of};
use super::*;

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(ToString::to_string).collect()
}

#[test]
fn records_read_as_in_zone_files() {
    let asked = question(7, "example.org.", 255, 1, true).unwrap();
    assert_eq!(question_of(&asked), ("example.org.".to_owned(), 255));
    let numbers: Vec<u8> = [1_u32, 2, 3, 4, 5].iter().flat_map(|n| n.to_be_bytes()).collect();
    let soa = [b"\xc0\x0c\x01m\0".as_slice(), &numbers].concat();
    let first: &[(u16, Vec<u8>)] = &[
        (1, vec![192, 0, 2, 1]),
        (28, vec![0; 16]),
        (15, b"\0\x0a\x02mx\xc0\x0c".to_vec()),
        (16, b"\x03a\"b\x01\x07".to_vec()),
        (6, soa),
        (33, b"\0\x01\0\x02\0\x50\xc0\x0c".to_vec()),
        (257, b"\0\x05issueca.org".to_vec()),
        (99, vec![0xab]),
    ];
    let reply = answer(&asked, 3, [first, &[(2, b"\x02ns\0".to_vec())], &[(41, vec![])]]);
    let read = read_answer(&reply, 7).unwrap().unwrap();
    let line = |kind: &str, value: &str| format!("example.org.\t60\tIN\t{kind}\t{value}");
    assert_eq!(
        texts(&read.answer),
        [
            line("A", "192.0.2.1"),
            line("AAAA", "::"),
            line("MX", "10 mx.example.org."),
            line("TXT", "\"a\\\"b\" \"\\007\""),
            line("SOA", "example.org. m. 1 2 3 4 5"),
            line("SRV", "1 2 80 example.org."),
            line("CAA", "0 issue \"ca.org\""),
            line("TYPE99", "\\# 1 ab"),
        ]
    );
    assert_eq!(read.code, 3);
    assert_eq!(
        (texts(&read.authority), texts(&read.additional)),
        (vec![line("NS", "ns.")], vec![line("TYPE41", "\\# 0")])
    );
    assert_eq!(read_answer(&reply, 8), Ok(None));
    assert_eq!(read_answer(&asked, 7), Ok(None));
}

#[test]
fn answers_that_lie_are_refused() {
    let asked = question(7, "a", 1, 1, false).unwrap();
    // A length beyond the end, a pointer to itself, more records than there are, a name that is no name.
    let mut long = answer(&asked, 0, [&[(1, vec![1, 2, 3, 4])], &[], &[]]);
    let at = long.len() - 5;
    long[at] = 200;
    let itself = answer(&asked, 0, [&[(2, vec![0xc0, 31])], &[], &[]]);
    let mut many = answer(&asked, 0, [&[(1, vec![1, 2, 3, 4])], &[], &[]]);
    many[7] = 9;
    let short = answer(&asked, 0, [&[(1, vec![1, 2, 3])], &[], &[]]);
    for wrong in [&long, &itself, &many, &short, &many[..13].to_vec()] {
        assert!(read_answer(wrong, 7).is_err(), "{wrong:?}");
    }
    assert!(read_answer(&[0, 7], 7).is_err());
    // One that was cut, and says so, is as long as it is.
    many[2] |= 0x02;
    let read = read_answer(&many, 7).unwrap().unwrap();
    assert!(read.truncated && read.answer.len() == 1);
    assert_eq!(question(1, "a..b", 1, 1, true), None);
    assert_eq!(question(1, &"a".repeat(64), 1, 1, true), None);
    assert_eq!(question(1, &"a.".repeat(200), 1, 1, true), None);
    assert_eq!(question(1, ".", 1, 1, true).map(|message| message.len()), Some(17));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 12..160)) {
        bytes[2] |= 0x80;
        let id = u16::from_be_bytes([bytes[0], bytes[1]]);
        if let Ok(Some(read)) = read_answer(&bytes, id) {
            texts(&read.answer);
        }
    }
}
