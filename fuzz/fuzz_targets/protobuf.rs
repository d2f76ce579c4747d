//! Any bytes as a protobuf exposition: never a panic, and what is accepted can be written as text and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::expose::{Escaping, Format, Limits, Syntax, encode, parse, parse_protobuf};
use outrigger::model::{Batch, Snapshot, Timestamp};

fuzz_target!(|bytes: &[u8]| {
    let mut batch = Batch::new();
    if parse_protobuf(bytes, Limits::default(), &mut batch).is_err() {
        return;
    }
    let snapshot = Snapshot::assemble(Timestamp::default(), vec![("fuzz", batch)]);
    for syntax in [Syntax::Text100, Syntax::OpenMetrics100] {
        let mut out = Vec::new();
        encode(&snapshot, Format { syntax, escaping: Escaping::AllowUtf8 }, &mut out);
        parse(&out, syntax, Limits::default(), &mut Batch::new()).expect("what is written can be read");
    }
});
