//! How far a reader has come in the log.
//!
//! Positions commit out of order. A reader goes on from its head, and looks again at the gaps below it in the same
//! statement. That keeps the order within an aggregate: its next version is written after the one before has committed, so
//! a statement that sees the later one sees the earlier one as well.
//!
//! The mark is the position up to which nothing can come any more. It is what a successor starts from.

#[cfg(test)]
mod model;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::fence::{Fence, Point};

/// How far one reader has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    head: i64,
    mark: Mark,
    /// Ranges of positions above the mark and below the head that were not there: first → last.
    gaps: BTreeMap<i64, i64>,
    fence: Fence,
}

/// Up to this position every event is handled, and no other will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    pub position: i64,
    /// By the database's clock: no position above the mark was drawn or handled earlier. `None`: nothing is known.
    pub since: Option<DateTime<Utc>>,
}

impl Mark {
    /// Before the first event.
    pub const START: Self = Self { position: 0, since: None };
}

/// Where a statement has to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookAt {
    /// After this position.
    pub after: i64,
    /// And at these ranges, both ends included.
    pub gap_first: Vec<i64>,
    pub gap_last: Vec<i64>,
    /// Up to here a statement that starts after this was made sees everything there will ever be.
    settled: Option<Point>,
}

/// Up to here everything is handled, once the events of a statement are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered(Mark);

impl Progress {
    /// A reader that goes on from a mark.
    pub(super) const fn from_mark(mark: Mark) -> Self {
        Self { head: mark.position, mark, gaps: BTreeMap::new(), fence: Fence::Open }
    }

    /// Up to here every event is handled, and no other will come.
    pub(super) const fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether a statement has looked behind all writers since the start, or there was nothing to look at.
    pub(super) const fn has_settled(&self) -> bool {
        self.mark.since.is_some() || self.is_settled()
    }

    /// Whether nothing was seen above the mark.
    pub(super) const fn is_settled(&self) -> bool {
        self.head == self.mark.position
    }

    /// Positions that were not there when the reader passed them, and may still come.
    pub(super) fn gaps(&self) -> i64 {
        self.gaps.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether [`Progress::note_writers`] could move the mark.
    pub(super) fn needs_writers(&self) -> bool {
        !self.is_settled() && self.fence.settled().is_none()
    }

    /// Notes the highest position that had been drawn, and then who was writing; in this order.
    pub(super) fn note_writers(&mut self, drawn: Point, writers: Vec<String>) {
        self.fence.note(drawn, writers);
    }

    /// Where the next statement has to look.
    pub(super) fn look_at(&self) -> LookAt {
        LookAt {
            after: self.head,
            gap_first: self.gaps.keys().copied().collect(),
            gap_last: self.gaps.values().copied().collect(),
            settled: self.fence.settled(),
        }
    }

    /// Notes what a statement saw there: positions in ascending order, and whether it stopped at its limit. Call
    /// [`Progress::handled`] with the answer once all these events are handled, in the order of the reads.
    pub(super) fn saw(&mut self, looked_at: &LookAt, positions: &[i64], stopped_at_limit: bool) -> Covered {
        let head = self.head;
        for position in positions {
            if *position > self.head {
                if *position > self.head + 1 {
                    self.gaps.insert(self.head + 1, *position - 1);
                }
                self.head = *position;
            } else {
                self.fill(*position);
            }
        }
        let Some(settled) = looked_at.settled else { return Covered(self.mark) };
        self.fence.passed();
        let last = positions.last().copied().unwrap_or(0);
        let (position, since) = match stopped_at_limit {
            false => (settled.taken, Some(settled.at)),
            // It looked no further than this. What lies between here and the point was drawn earlier than the point.
            true if last >= head => (settled.taken.min(last), self.mark.since),
            true => return Covered(self.mark),
        };
        self.close_gaps_up_to(position);
        self.head = self.head.max(position);
        Covered(Mark { position, since })
    }

    /// Everything that the statement saw is handled.
    pub(super) fn handled(&mut self, covered: Covered) {
        if covered.0.position > self.mark.position {
            self.mark = covered.0;
        }
    }

    fn fill(&mut self, position: i64) {
        let Some((&first, &last)) = self.gaps.range(..=position).next_back() else { return };
        if last < position {
            return;
        }
        self.gaps.remove(&first);
        if first < position {
            self.gaps.insert(first, position - 1);
        }
        if position < last {
            self.gaps.insert(position + 1, last);
        }
    }

    fn close_gaps_up_to(&mut self, position: i64) {
        let mut open = self.gaps.split_off(&(position + 1));
        if let Some((_, &last)) = self.gaps.last_key_value()
            && last > position
        {
            open.insert(position + 1, last);
        }
        self.gaps = open;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(progress: &Progress) -> Vec<(i64, i64)> {
        progress.gaps.iter().map(|(first, last)| (*first, *last)).collect()
    }

    fn saw(progress: &mut Progress, positions: &[i64], stopped_at_limit: bool) -> Covered {
        let look_at = progress.look_at();
        progress.saw(&look_at, positions, stopped_at_limit)
    }

    fn point(taken: i64) -> Point {
        Point { taken, at: DateTime::UNIX_EPOCH }
    }

    fn settle(progress: &mut Progress, drawn: i64) {
        progress.note_writers(point(drawn), Vec::new());
    }

    #[test]
    fn what_was_not_there_is_looked_at_again_until_it_comes() {
        let mut progress = Progress::from_mark(Mark::START);
        saw(&mut progress, &[1, 2, 5, 9], false);
        assert_eq!(gaps(&progress), [(3, 4), (6, 8)]);
        let look_at = progress.look_at();
        assert_eq!((look_at.after, look_at.gap_first, look_at.gap_last), (9, vec![3, 6], vec![4, 8]));
        saw(&mut progress, &[7, 10], false);
        assert_eq!(gaps(&progress), [(3, 4), (6, 6), (8, 8)]);
        saw(&mut progress, &[3, 4, 6, 8], false);
        assert_eq!((gaps(&progress), progress.gaps(), progress.mark().position), (vec![], 0, 0));
    }

    #[test]
    fn a_reader_that_starts_in_the_past_has_settled_when_it_has_looked_behind_the_writers() {
        let mut progress = Progress::from_mark(Mark { position: 3, since: None });
        assert!(progress.has_settled(), "nothing is known to follow");
        let covered = saw(&mut progress, &[4, 5], false);
        progress.handled(covered);
        assert!(!progress.has_settled());
        settle(&mut progress, 5);
        let covered = saw(&mut progress, &[], false);
        progress.handled(covered);
        assert!(progress.has_settled());
    }

    #[test]
    fn the_mark_moves_behind_the_writers_and_only_when_a_later_statement_has_looked() {
        let mut progress = Progress::from_mark(Mark::START);
        let covered = saw(&mut progress, &[1, 2, 5], false);
        progress.handled(covered);
        assert_eq!(progress.mark().position, 0, "3 and 4 may come");
        progress.note_writers(point(5), vec!["3/7".to_owned()]);
        let covered = saw(&mut progress, &[], false);
        progress.handled(covered);
        assert_eq!(progress.mark().position, 0, "3/7 may still commit");
        settle(&mut progress, 6);
        assert_eq!(progress.mark().position, 0, "what it left has not been looked for");
        let covered = saw(&mut progress, &[3], false);
        progress.handled(covered);
        assert_eq!((progress.mark().position, gaps(&progress)), (5, vec![]), "4 never comes");
    }

    #[test]
    fn a_statement_that_stops_at_its_limit_moves_the_mark_no_further_than_it_looked() {
        let mut progress = Progress::from_mark(Mark::START);
        saw(&mut progress, &[1, 5, 9], false);
        settle(&mut progress, 20);
        let covered = saw(&mut progress, &[3], true);
        progress.handled(covered);
        assert_eq!(progress.mark().position, 0, "it has not come to the head again");
        settle(&mut progress, 20);
        let covered = saw(&mut progress, &[10, 12], true);
        progress.handled(covered);
        assert_eq!((progress.mark().position, gaps(&progress)), (12, vec![]));
        assert_eq!(progress.mark().since, None, "13 to 20 were drawn before that");
    }

    #[test]
    fn what_was_drawn_and_never_committed_does_not_hold_the_mark() {
        let mut progress = Progress::from_mark(Mark { position: 7, since: None });
        saw(&mut progress, &[8], false);
        settle(&mut progress, 11);
        let covered = saw(&mut progress, &[], false);
        progress.handled(covered);
        assert_eq!((progress.mark().position, progress.look_at().after), (11, 11));
        assert!(!progress.needs_writers());
    }

    #[test]
    fn the_mark_waits_for_what_is_read_and_not_handled() {
        let mut progress = Progress::from_mark(Mark::START);
        saw(&mut progress, &[1, 2], false);
        settle(&mut progress, 2);
        let covered = saw(&mut progress, &[], false);
        assert_eq!(progress.mark().position, 0);
        progress.handled(covered);
        assert_eq!(progress.mark().position, 2);
    }
}
