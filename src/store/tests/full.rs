//! A disk without room.

use super::*;

/// A store whose disk is full while the switch is on.
fn flaky(folder: &Path, full: &Arc<AtomicBool>) -> Store {
    let (path, full) = (folder.join("store.redb"), Arc::clone(full));
    let medium = Medium::Made(Arc::new(move || FlakyFile::open(&path, Arc::clone(&full))));
    Store::open_medium(StoreConfig::default(), medium, None, at(0)).expect("opens")
}

#[test]
fn a_full_disk_pauses_ingestion_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let full = Arc::new(AtomicBool::new(false));
    let store = flaky(folder.path(), &full);
    let x = series("x", 1);
    let mut source = store.source("a");
    for i in 0..300 {
        source.append(at(i * 1000), &[row(&x, i as f64)]).expect("taken");
    }
    full.store(true, Ordering::SeqCst);
    for i in 300..320 {
        assert!(matches!(source.append(at(i * 1000), &[row(&x, i as f64)]), Err(StoreError::Paused(_))));
    }
    assert!(store.maintain(at(320_000)).is_err());
    assert!(store.stats().paused);
    // The tick that met the full disk is kept, those after it were refused.
    let found = all(&store);
    assert!(found[&x.to_string()].len() >= 61, "{}", found[&x.to_string()].len());
    full.store(false, Ordering::SeqCst);
    store.maintain(at(321_000)).expect("resumed");
    source.append(at(321_000), &[row(&x, 9.0)]).expect("taken");
    assert!(!store.stats().paused);
    let before = all(&store);
    assert_eq!(before[&x.to_string()].len(), 302);
    drop((source, store));
    assert_eq!(all(&open(folder.path())), before);
}

/// As a sender of remote write does.
#[test]
fn what_was_refused_for_lack_of_room_is_taken_when_it_comes_again() {
    let x = series("x", 1);
    let rows = |from: i64| -> Vec<Row> {
        let own = |ms: i64| Row { labels: x.clone(), value: ms as f64, timestamp: Some(at(ms)) };
        (from..from + 10).map(own).collect()
    };
    // Before the write: nothing of it is there.
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path()).source("a").append(at(10), &rows(1)).expect("taken");
    let no_room = StoreConfig { min_free_bytes: u64::MAX, ..in_folder(folder.path()) };
    let store = Store::open(no_room, at(0)).expect("opens");
    for _ in 0..2 {
        let refused = store.source("a").append(at(20), &rows(11));
        assert!(matches!(refused, Err(StoreError::Paused(_))), "{refused:?}");
        assert_eq!(all(&store)[&x.to_string()].len(), 10);
    }
    let stats = store.stats();
    assert!(stats.paused && stats.refused_ticks == 2, "{stats:?}");

    // While it is written: it is kept, and then is no news.
    let folder = tempfile::tempdir().expect("a folder");
    let full = Arc::new(AtomicBool::new(false));
    let store = flaky(folder.path(), &full);
    store.source("a").append(at(10), &rows(1)).expect("taken");
    let late = store.source("a").append(at(10), &rows(0)).expect("taken");
    assert_eq!((late.repeated, late.out_of_order), (0, 10), "nobody was told to send these again");
    full.store(true, Ordering::SeqCst);
    assert!(store.source("a").append(at(20), &rows(11)).is_err());
    full.store(false, Ordering::SeqCst);
    let again = store.source("a").append(at(20), &rows(11)).expect("taken");
    assert_eq!((again.added, again.repeated, again.out_of_order), (0, 10, 0));
    let mut other = rows(11);
    other[3].value = 0.5;
    let other = store.source("a").append(at(20), &other).expect("taken");
    assert_eq!((other.repeated, other.out_of_order), (9, 1));
    assert_eq!(all(&store)[&x.to_string()].len(), 20);
}
