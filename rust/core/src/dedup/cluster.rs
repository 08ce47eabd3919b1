//! Union-find that many threads may use at once.

use std::sync::atomic::{AtomicU32, Ordering};

/// Disjoint sets of the numbers below a size; the root of a set is its smallest member, so the
/// outcome depends on what was linked and not on the order or the thread.
pub(super) struct Clusters {
    parents: Vec<AtomicU32>,
}

impl Clusters {
    pub(super) fn new(size: usize) -> Self {
        Self { parents: (0..size as u32).map(AtomicU32::new).collect() }
    }

    fn parent(&self, member: u32) -> u32 {
        self.parents[member as usize].load(Ordering::Acquire)
    }

    /// The root, halving the path on the way. Parents only ever get smaller.
    pub(super) fn root(&self, mut member: u32) -> u32 {
        loop {
            let parent = self.parent(member);
            if parent == member {
                return member;
            }
            let grandparent = self.parent(parent);
            if parent != grandparent {
                // Lost to another thread: it shortened the path itself.
                let _ = self.parents[member as usize].compare_exchange_weak(
                    parent,
                    grandparent,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
            }
            member = parent;
        }
    }

    /// Whether two members are in one set; false may be out of date, true never is.
    pub(super) fn linked(&self, a: u32, b: u32) -> bool {
        self.root(a) == self.root(b)
    }

    /// Joins the sets of two members.
    pub(super) fn link(&self, a: u32, b: u32) {
        loop {
            let (a, b) = (self.root(a), self.root(b));
            let (low, high) = (a.min(b), a.max(b));
            // Fails when another thread gave the root a parent in between; then look again.
            let linked = low == high
                || self.parents[high as usize]
                    .compare_exchange(high, low, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
            if linked {
                return;
            }
        }
    }

    /// The smallest member of each one's set.
    pub(super) fn smallest_members(&self) -> Vec<u32> {
        (0..self.parents.len() as u32).map(|member| self.root(member)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_member_names_the_set() {
        let clusters = Clusters::new(6);
        clusters.link(5, 3);
        clusters.link(4, 5);
        clusters.link(1, 2);
        assert_eq!(clusters.smallest_members(), vec![0, 1, 1, 3, 3, 3]);
        assert!(clusters.linked(3, 4) && !clusters.linked(0, 1));
    }

    #[test]
    fn threads_agree_on_one_outcome() {
        let size = 20_000;
        let clusters = Clusters::new(size as usize);
        (0..size).into_par_iter().rev().for_each(|member| clusters.link(member, member % 7));
        let wanted: Vec<u32> = (0..size).map(|member| member % 7).collect();
        assert_eq!(clusters.smallest_members(), wanted);
    }
}
