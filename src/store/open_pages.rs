//! The pages that a selection has opened last: what their series share is fetched, checked and unpacked once, not for each.
//!
//! Whoever evaluates reads series by series, each over the whole range, so the pages of a range come again and again, in the
//! same order. Where they are more than are kept, none is found again, whether the first in, the least recent or the one
//! without a second chance makes room; so the simplest way is taken. Where they are fewer, nothing makes room.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::disk::PageKey;
use super::page::OpenPage;

/// Most pages, of some ten kilobytes each. Those of a series with samples every 15 seconds hold an hour each.
const MOST_OPEN: usize = 64;

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct OpenPages {
    pages: FxHashMap<PageKey, OpenPage>,
    /// In the order in which they came.
    order: VecDeque<PageKey>,
}

impl OpenPages {
    pub(super) fn get_mut(&mut self, key: PageKey) -> Option<&mut OpenPage> {
        self.pages.get_mut(&key)
    }

    /// Adds a page; the one that was added first makes room.
    pub(super) fn add(&mut self, key: PageKey, page: OpenPage) {
        if self.order.len() >= MOST_OPEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.pages.remove(&oldest);
        }
        if self.pages.insert(key, page).is_none() {
            self.order.push_back(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::{Column, seal};
    use super::*;

    #[test]
    fn the_first_page_makes_room() {
        let column = Column { series: 1, own_instants: None, values: vec![1.0] };
        let sealed = seal(&[5], &[column], 4_000).remove(0);
        let mut pages = OpenPages::default();
        let key = |number: usize| (0, 5, u32::try_from(number).expect("small"));
        for number in 0..=MOST_OPEN {
            pages.add(key(number), OpenPage::new(&sealed.page).expect("whole"));
            pages.add(key(number), OpenPage::new(&sealed.page).expect("whole"));
        }
        assert!(pages.get_mut(key(0)).is_none() && pages.get_mut(key(MOST_OPEN)).is_some());
        assert!(pages.pages.len() <= MOST_OPEN && pages.pages.len() == pages.order.len());
    }
}
