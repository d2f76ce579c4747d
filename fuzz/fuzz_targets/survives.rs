//! The body of both targets.

use outrigger::expose::{Escaping, Format, Limits, Scanner, Syntax, encode, parse};
use outrigger::model::{Batch, Snapshot, Timestamp};

/// Reads whatever it is; what is accepted must read and look the same after having been written.
pub fn survives(bytes: &[u8], syntax: Syntax) {
    scan(bytes, syntax);
    let Some(once) = written(bytes, syntax) else { return };
    let twice = written(&once, syntax).expect("what is written can be read");
    assert_eq!(String::from_utf8_lossy(&once), String::from_utf8_lossy(&twice));
}

/// The scraper's own reader, which is more lenient.
fn scan(bytes: &[u8], syntax: Syntax) {
    let mut scanner = Scanner::new(bytes, syntax.is_open_metrics());
    let mut labels = Vec::new();
    while let Ok(Some(_)) = scanner.step() {
        let _ = scanner.labels(&mut labels);
    }
}

fn written(bytes: &[u8], syntax: Syntax) -> Option<Vec<u8>> {
    let mut batch = Batch::new();
    parse(bytes, syntax, Limits::default(), &mut batch).ok()?;
    let snapshot = Snapshot::assemble(Timestamp::default(), vec![("fuzz", batch)]);
    let mut out = Vec::new();
    encode(&snapshot, Format { syntax, escaping: Escaping::AllowUtf8 }, &mut out);
    Some(out)
}
