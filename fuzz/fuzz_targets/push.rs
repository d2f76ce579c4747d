//! Any path and any body as pushes: never a panic, and what was taken can be written as one exposition.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::expose::{Escaping, Format, Limits, Syntax, encode, parse};
use outrigger::model::{Batch, Snapshot, Timestamp};
use outrigger::scrape::push::{Grouping, Push, PushFormat, PushGateway, PushMode, PushSettings};

fuzz_target!(|pushes: Vec<(&str, &[u8], u8)>| {
    let gateway = PushGateway::open(PushSettings::default(), None).expect("nothing to read");
    let now = Timestamp::from_millis(1_000);
    for (path, body, choice) in pushes {
        let Ok(grouping) = Grouping::from_path(&format!("/metrics/job{path}")) else { continue };
        let mode = if choice & 1 == 0 { PushMode::ReplaceGroup } else { PushMode::ReplaceFamilies };
        let format = match choice >> 1 & 3 {
            0 => PushFormat::Protobuf,
            1 => PushFormat::Text(Syntax::OpenMetrics100),
            _ => PushFormat::Text(Syntax::Text004),
        };
        let _ = gateway.push(&Push { grouping: &grouping, mode, body, format, ttl: None }, now);
    }
    gateway.rows(now);
    let mut batch = Batch::new();
    gateway.expose(now, |_, _| true, &mut batch);
    assert_eq!(batch.conflicts(), 0);
    let snapshot = Snapshot::assemble(now, vec![("fuzz", batch)]);
    assert_eq!(snapshot.duplicates(), 0);
    let mut out = Vec::new();
    encode(&snapshot, Format { syntax: Syntax::Text100, escaping: Escaping::AllowUtf8 }, &mut out);
    parse(&out, Syntax::Text100, Limits::default(), &mut Batch::new()).expect("what is written can be read");
});
