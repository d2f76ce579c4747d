//! What the log gives back after a restart.

use super::*;

#[test]
fn many_samples_of_few_series_in_one_tick_come_back_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let rows: Vec<Row> = (0..3)
        .flat_map(|id| {
            let labels = series("m", id);
            (0..2_001 - id as i64 * 700).map(move |i| Row {
                labels: labels.clone(),
                value: i as f64 / 8.0,
                timestamp: Some(at(i * 15)),
            })
        })
        .collect();
    store.source("a").append(at(0), &rows).expect("taken");
    assert_eq!(store.stats().head_samples, 0);
    let counts: Vec<usize> = all(&store).values().map(Vec::len).collect();
    assert_eq!(counts, [2_001, 1_301, 601]);
}

/// Slots of series that went are freed and given to those that came, many of them in one tick.
#[test]
fn series_with_instants_of_their_own_come_back_under_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let names: Vec<Labels> = (0..600).map(|i| series("m", i)).collect();
    let store = open(folder.path());
    let mut source = store.source("a");
    for tick in 0..300_i64 {
        let own = |(i, labels): (usize, &Labels)| Row {
            labels: labels.clone(),
            value: i as f64,
            timestamp: Some(at(tick * 1_000 - 1)),
        };
        let rows: Vec<Row> = names.iter().enumerate().map(own).collect();
        assert_eq!(source.append(at(tick * 1_000), &rows).expect("taken").added, 600);
    }
    let before = all(&store);
    assert!(before.values().all(|samples| samples.len() == 300));
    drop((source, store));
    let store = open(folder.path());
    assert_eq!(store.stats().damaged_rows, 0);
    assert!(all(&store) == before);
}
