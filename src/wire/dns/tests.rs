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
        (65_280, vec![0xab]),
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
            "example.org.\t60\tCLASS1\tTYPE65280\t\\# 1 ab".to_owned(),
        ]
    );
    assert_eq!(read.code, 3);
    assert_eq!(
        (texts(&read.authority), texts(&read.additional)),
        (
            vec![line("NS", "ns.")],
            vec!["\n;; OPT PSEUDOSECTION:\n; EDNS: version 0; flags: ; udp: 1".to_owned()]
        )
    );
    assert_eq!(read_answer(&reply, 8), Ok(None));
    assert_eq!(read_answer(&asked, 7), Ok(None));
}

/// As blackbox_exporter 0.23 shows them when it looks for expressions in them.
#[test]
fn records_print_as_its_users_know_them() {
    let rows: &[(u16, u16, &[u8], &str)] = &[
        (16, 3, b"\x079.9 \"x\"", "a.\t60\tCH\tTXT\t\"9.9 \\\"x\\\"\""),
        (16, 7, b"\x01x", "a.\t60\tCLASS7\tTXT\t\"x\""),
        (13, 1, b"\x05cpu x\x02os", "a.\t60\tIN\tHINFO\t\"cpu x\" \"os\""),
        (17, 1, b"\x03a.b\x01c\0\x02ex\x03org\0", "a.\t60\tIN\tRP\ta\\.b.c. ex.org."),
        (18, 1, b"\0\x01\x02ex\x03org\0", "a.\t60\tIN\tAFSDB\t1 ex.org."),
        (36, 1, b"\0\x01\x02ex\x03org\0", "a.\t60\tIN\tKX\t1 ex.org."),
        (35, 1, b"\0\x0a\0\x14\x01u\x07E2U+sip\x13!^.*$!sip:\\1@x \"q\"!\0", "a.\t60\tIN\tNAPTR\t10 20 \"u\" \"E2U+sip\" \"!^.*$!sip:\\\\1@x \\\"q\\\"!\" ."),
        (37, 1, b"\0\x01\0\x02\x08abcdef", "a.\t60\tIN\tCERT\tPKIX 2 RSASHA256 YWJjZGVm"),
        (39, 1, b"\x02ex\x03org\0", "a.\t60\tIN\tDNAME\tex.org."),
        (43, 1, b"\x124\x08\x02\xab\xcd\xef\x01#", "a.\t60\tIN\tDS\t4660 8 2 ABCDEF0123"),
        (44, 1, b"\x01\x02\xab\xcd\xef", "a.\t60\tIN\tSSHFP\t1 2 ABCDEF"),
        (46, 1, b"\0\x01\x08\x02\0\0\x01,hN\xe1\x80g\xb6K\0\x124\x02ex\x03org\0sig\xff\xfe", "a.\t60\tIN\tRRSIG\tA 8 2 300 20250615150640 20250219212000 4660 ex.org. c2ln//4="),
        (47, 1, b"\x02ex\x03org\0\0\x06@\x01\0\0\0\x03\x01\x01@\xff\x01@", "a.\t60\tIN\tNSEC\tex.org. A MX RRSIG NSEC CAA TYPE65281"),
        (48, 1, b"\x01\x01\x03\x08key\xff\xfe", "a.\t60\tIN\tDNSKEY\t257 3 8 a2V5//4="),
        (50, 1, b"\x01\0\0\x0a\x02\xab\xcd\x05hello\0\x01@", "a.\t60\tIN\tNSEC3\t1 0 10 ABCD D1IMOR3F A"),
        (50, 1, b"\x01\0\0\x0a\0\x05hello\0\x01@", "a.\t60\tIN\tNSEC3\t1 0 10 - D1IMOR3F A"),
        (51, 1, b"\x01\0\0\x0a\x02\xab\xcd", "a.\t60\tIN\tNSEC3PARAM\t1 0 10 ABCD"),
        (51, 1, b"\x01\0\0\x0a\0", "a.\t60\tIN\tNSEC3PARAM\t1 0 10 -"),
        (52, 1, b"\x03\x01\x01\xab\xcd\xef", "a.\t60\tIN\tTLSA\t3 1 1 abcdef"),
        (53, 1, b"\x03\x01\x01\xab\xcd\xef", "a.\t60\tIN\tSMIMEA\t3 1 1 abcdef"),
        (59, 1, b"\x124\x08\x02\xab\xcd\xef\x01#", "a.\t60\tIN\tCDS\t4660 8 2 ABCDEF0123"),
        (60, 1, b"\x01\x01\x03\x08key\xff\xfe", "a.\t60\tIN\tCDNSKEY\t257 3 8 a2V5//4="),
        (61, 1, b"key\xff\xfe", "a.\t60\tIN\tOPENPGPKEY\ta2V5//4="),
        (64, 1, b"\0\x01\x02ex\x03org\0\0\0\0\x04\0\x01\0\x03\0\x01\0\x06\x02h2\x02h3\0\x02\0\0\0\x03\0\x02\x01\xbb\0\x04\0\x08\x01\x02\x03\x04\x05\x06\x07\x08\0\x05\0\x03abc\0\x06\0\x10 \x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x07\0\x05/q{d}\xff\0\0\x07a b\"\\;\xff", "a.\t60\tIN\tSVCB\t1 ex.org. mandatory=\"alpn,port\" alpn=\"h2,h3\" no-default-alpn=\"\" port=\"443\" ipv4hint=\"1.2.3.4,5.6.7.8\" ech=\"YWJj\" ipv6hint=\"2001::1\" dohpath=\"/q{d}\" key65280=\"a\\ b\\\"\\\\\\;\\255\""),
        (64, 1, b"\0\0\x02ex\x03org\0", "a.\t60\tIN\tSVCB\t0 ex.org."),
        (65, 1, b"\0\x01\0\0\x01\0\x03\x02h2", "a.\t60\tIN\tHTTPS\t1 . alpn=\"h2\""),
        (99, 1, b"\x0bv=spf1 -all\x01x", "a.\t60\tIN\tSPF\t\"v=spf1 -all\" \"x\""),
        (256, 1, b"\0\x01\0\x02http://x/\"a\"", "a.\t60\tIN\tURI\t1 2 \"http://x/\\\"a\\\"\""),
        (16, 1, b"\x07a\"\\\xff\x09~\x7f", "a.\t60\tIN\tTXT\t\"a\\\"\\\\\\255\\009~\\127\""),
        (16, 1, b"\0", "a.\t60\tIN\tTXT\t\"\""),
        (2, 1, b"\x03a.b\x03c d\x09e@\\f;\"()$\x02\xff\x01\0", "a.\t60\tIN\tNS\ta\\.b.c\\ d.e\\@\\\\f\\;\\\"\\(\\)$.\\255\\001."),
        (257, 1, b"\0\x05issueca.org \"x\"", "a.\t60\tIN\tCAA\t0 issue \"ca.org \\\"x\\\"\""),
        (257, 1, b"\x80\x05iodefmailto:x", "a.\t60\tIN\tCAA\t128 iodef \"mailto:x\""),
        (65280, 1, b"\xab\xcd", "a.\t60\tCLASS1\tTYPE65280\t\\# 2 abcd"),
        (65280, 1, b"", "a.\t60\tCLASS1\tTYPE65280\t\\# 0 "),
        (65280, 3, b"\x01", "a.\t60\tCLASS3\tTYPE65280\t\\# 1 01"),
        (41, 1232, b"", "\n;; OPT PSEUDOSECTION:\n; EDNS: version 0; flags: do; udp: 1232"),
        (28, 1, b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04", "a.\t60\tIN\tAAAA\t1.2.3.4"),
        (28, 1, b" \x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", "a.\t60\tIN\tAAAA\t2001::1"),
        (15, 1, b"\0\x0a\x02mx\0", "a.\t60\tIN\tMX\t10 mx."),
        (33, 1, b"\0\x01\0\x02\0P\x02ex\x03org\0", "a.\t60\tIN\tSRV\t1 2 80 ex.org."),
        (6, 1, b"\x02ex\x03org\0\x03m.x\x01y\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05", "a.\t60\tIN\tSOA\tex.org. m\\.x.y. 1 2 3 4 5"),
        (12, 1, b"\0", "a.\t60\tIN\tPTR\t."),
    ];
    for (kind, class, data, want) in rows {
        let ttl = if *kind == 41 { 0x8000 } else { 60 };
        let read = Reader { message: data, at: 0 }.data(*kind).unwrap_or_else(|| panic!("{kind}: {want}"));
        let record = Record { name: "a.".to_owned(), kind: *kind, class: *class, ttl, data: read };
        assert_eq!(record.to_string(), *want);
        // Cut off, they are none, or shorter; never more than that.
        for end in 0..data.len() {
            let _ = Reader { message: &data[..end], at: 0 }.data(*kind);
        }
    }
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
