//! Stable sorting for lists that are short or seldom sorted.
//!
//! The standard library compiles its sorts anew for each type and comparison, five kilobytes each; for a hundred places that
//! was a twentieth of the binary. Here the order is found once for all types, through a call for each comparison, and the
//! elements are then moved. Where a sort is in the way of many samples, the standard library's is right.

use std::cmp::Ordering;

/// As the methods of slices whose names end alike.
pub trait ColdSort<T> {
    /// As `sort`.
    fn cold_sort(&mut self)
    where
        T: Ord;

    /// As `sort_by`.
    fn cold_sort_by(&mut self, compare: impl FnMut(&T, &T) -> Ordering);

    /// As `sort_by_key`.
    fn cold_sort_by_key<K: Ord>(&mut self, key: impl FnMut(&T) -> K);
}

impl<T> ColdSort<T> for [T] {
    fn cold_sort(&mut self)
    where
        T: Ord,
    {
        self.cold_sort_by(Ord::cmp);
    }

    fn cold_sort_by(&mut self, mut compare: impl FnMut(&T, &T) -> Ordering) {
        let mut order = in_order(self.len(), &mut |one, other| match (self.get(one), self.get(other)) {
            (Some(one), Some(other)) => compare(one, other),
            _ => Ordering::Equal,
        });
        arrange(&mut order, &mut |one, other| self.swap(one, other));
    }

    fn cold_sort_by_key<K: Ord>(&mut self, mut key: impl FnMut(&T) -> K) {
        self.cold_sort_by(|one, other| key(one).cmp(&key(other)));
    }
}

/// Places of so many elements, in the order of the elements.
fn in_order(elements: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..elements).collect();
    order.sort_by(|one, other| compare(*one, *other));
    order
}

/// Swaps elements until each place has the one that `order` says, cycle by cycle.
fn arrange(order: &mut [usize], swap: &mut dyn FnMut(usize, usize)) {
    for start in 0..order.len() {
        let mut at = start;
        while let Some(from) = order.get_mut(at).map(|from| std::mem::replace(from, at)) {
            if from == start || from == at {
                break;
            }
            swap(at, from);
            at = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_the_standard_library_sorts(numbers in proptest::collection::vec(0_u8..20, 0..100)) {
            let mut want: Vec<(u8, usize)> = numbers.into_iter().zip(0..).collect();
            let (mut by_key, mut by, mut all) = (want.clone(), want.clone(), want.clone());
            all.reverse();
            want.sort_by_key(|(number, _)| *number);
            by_key.cold_sort_by_key(|(number, _)| *number);
            by.cold_sort_by(|(one, _), (other, _)| one.cmp(other));
            all.cold_sort();
            prop_assert_eq!(&by_key, &want);
            prop_assert_eq!(&by, &want);
            prop_assert_eq!(&all, &want);
        }
    }
}
