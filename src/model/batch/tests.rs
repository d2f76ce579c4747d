//! A batch from outside: what it shows, and that what it remembers does not show.

use proptest::prelude::*;

use super::*;

fn shown(batch: &Batch) -> Vec<String> {
    let mut out = Vec::new();
    for family in batch.families() {
        for s in family.samples() {
            let labels: Vec<_> = s.labels().iter().map(|(n, v)| format!("{n}={v}")).collect();
            out.push(format!(
                "{}{}{{{}}} {}",
                family.name(),
                s.suffix().as_str(),
                labels.join(","),
                s.value()
            ));
        }
    }
    out
}

#[test]
fn samples_of_a_family_stay_together_and_labels_are_sorted() {
    let mut b = Batch::new();
    for device in ["eth0", "lo"] {
        b.counter("rx_total", "Received.", &[("device", device), ("a", "1")], 1.0);
        b.counter("tx_total", "Sent.", &[("device", device)], 2.0);
    }
    assert_eq!(
        shown(&b),
        [
            "rx_total{a=1,device=eth0} 1",
            "rx_total{a=1,device=lo} 1",
            "tx_total{device=eth0} 2",
            "tx_total{device=lo} 2"
        ]
    );
}

#[test]
fn clear_keeps_families_without_showing_them() {
    let mut b = Batch::new();
    b.gauge("a", "A.", &[], 1.0);
    b.gauge("b", "B.", &[], 1.0);
    b.clear();
    b.gauge("b", "New help.", &[], 2.0);
    assert_eq!(shown(&b), ["b{} 2"]);
    assert_eq!(b.families().next().map(|f| f.help().to_owned()).as_deref(), Some("New help."));
}

/// Everything but values.
fn outline_of(batch: &Batch) -> Vec<String> {
    let family = |f: FamilyView<'_>| {
        let series = |s: SampleView<'_>| {
            format!("{:?} {:?} {:?}", s.suffix(), s.labels().iter().collect::<Vec<_>>(), s.timestamp())
        };
        format!(
            "{} {} {} {:?} {:?}",
            f.name(),
            f.help(),
            f.unit(),
            f.kind(),
            f.samples().map(series).collect::<Vec<_>>()
        )
    };
    batch.families().map(family).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

proptest! {
    /// What was there in earlier ticks must not show, whatever comes again or does not; and of two that take each
    /// other for the same, as a pass's batch and the one before it do, nothing but values differs.
    #[test]
    fn a_batch_that_is_used_again_is_as_a_new_one(
        ticks in proptest::collection::vec(
            proptest::collection::vec(
                (
                    "[ab]",
                    proptest::collection::vec(("[lm]", "[xy]?"), 0..3),
                    (any::<bool>(), "[hi]", "[u]?", proptest::option::of(0_i64..2)),
                    0.0_f64..9.0,
                ),
                0..4,
            ),
            1..4,
        ),
        order in proptest::collection::vec(0_usize..4, 1..12),
    ) {
        let mut turns = [Batch::new(), Batch::new()];
        for tick in order.iter().filter_map(|at| ticks.get(*at)) {
            let mut new = Batch::new();
            turns.swap(0, 1);
            let [used, last] = &mut turns;
            used.clear();
            for batch in [&mut *used, &mut new] {
                for (name, labels, (is_gauge, help, unit, at), value) in tick {
                    let labels: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                    let kind = if *is_gauge { Kind::Gauge } else { Kind::Counter };
                    let family = batch.family(name, help, kind);
                    batch.set_unit(family, unit);
                    batch.sample_full(family, Suffix::None, &labels, *value, at.map(Timestamp::from_millis));
                }
                batch.settle();
            }
            prop_assert_eq!(sorted(shown(used)), sorted(shown(&new)));
            prop_assert_eq!(sorted(outline_of(used)).len(), sorted(outline_of(&new)).len());
            prop_assert_eq!((used.len(), used.conflicts()), (new.len(), new.conflicts()));
            if used.takes_outline_of(last) {
                prop_assert_eq!(outline_of(used), outline_of(last));
            }
        }
    }
}

#[test]
fn samples_that_come_again_in_their_place_cost_no_memory() {
    let mut b = Batch::new();
    for tick in 0..3 {
        b.clear();
        let (samples, text) = (b.samples.len(), b.text.len());
        for device in ["eth0", "lo"] {
            b.counter("rx_total", "Received.", &[("device", device)], f64::from(tick));
        }
        assert!(tick == 0 || (b.samples.len(), b.text.len()) == (samples, text));
    }
    assert_eq!(shown(&b), ["rx_total{device=eth0} 2", "rx_total{device=lo} 2"]);
}

#[test]
fn names_that_change_for_ever_do_not_grow_the_table() {
    let mut b = Batch::new();
    for tick in 0..50 {
        b.clear();
        for i in 0..100 {
            b.gauge(&format!("m_{tick}_{i}"), "", &[], 0.0);
        }
    }
    assert!(b.families.len() <= IDLE_FAMILIES + 300, "{}", b.families.len());
}

#[test]
fn limit_and_conflicts_are_counted() {
    let mut b = Batch::new();
    b.set_limit(2);
    for i in 0..5 {
        b.gauge("a", "", &[], f64::from(i));
    }
    b.counter("a", "", &[], 0.0);
    assert_eq!((b.len(), b.over_limit(), b.conflicts()), (2, 4, 1));
}
