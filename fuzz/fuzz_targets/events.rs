//! Any bytes as posts of events: taken or refused, never a panic; what was taken is known by its id, and taken again it
//! changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::events::{EventFilter, EventLog};
use outrigger::model::Timestamp;
use outrigger::store::{Store, StoreConfig};

fuzz_target!(|posts: Vec<&[u8]>| {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let store = Store::open(StoreConfig::default(), now).expect("memory");
    let log = EventLog::open(&store, || Timestamp::from_millis(1_700_000_000_000));
    for post in posts {
        if log.post(post, now).is_ok_and(|posted| posted.ids.len() == 1) {
            let again = log.post(post, now).expect("taken again");
            assert_eq!((again.created, again.updated), (0, 0));
        }
    }
    let all = EventFilter { limit: usize::MAX, ..EventFilter::default() };
    assert_eq!(EventLog::open(&store, || Timestamp::from_millis(0)).list(&all), log.list(&all));
});
