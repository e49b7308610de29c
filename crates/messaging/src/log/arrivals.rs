//! Up to where the events that are out have arrived in the inboxes of their queues, and where a relay looks for those that
//! have not.
//!
//! The mark stops at the first event that has not arrived. A consumer that is away would hold it there for weeks, so the
//! relay looks for lost events above it as well: in windows, from the mark to the head and from the mark again.

#[cfg(test)]
mod model;

/// How far one relay has followed the arrivals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Arrivals {
    mark: i64,
    sent: i64,
    /// Where the last window of the sweep ended, and where this round of it ends. It must not follow the head: then it would
    /// never come back to the mark.
    swept: i64,
    round_until: i64,
}

/// Positions to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// After this position.
    pub after: i64,
    /// Up to and including this one.
    pub until: i64,
}

impl Arrivals {
    /// Notes the marks that are stored: everything up to `arrived` has arrived, and everything up to `sent` is out.
    pub fn stand_at(&mut self, arrived: i64, sent: i64) {
        (self.mark, self.sent) = (arrived, sent);
    }

    /// Where the mark may move, at most so many positions. `None` when all that is out has arrived.
    pub fn ahead(&self, width: i64) -> Option<Window> {
        self.window(self.mark, width)
    }

    /// Moves the mark up to the first event of the window that has not arrived, and returns it.
    pub fn saw(&mut self, window: Window, first_missing: Option<i64>) -> i64 {
        if window.after == self.mark {
            self.mark = first_missing.map_or(window.until, |position| position - 1);
        }
        self.mark
    }

    /// The next window of the sweep for lost events.
    pub fn sweep(&mut self, width: i64) -> Option<Window> {
        if self.swept >= self.round_until {
            (self.swept, self.round_until) = (self.mark, self.sent);
        }
        let window = self.window(self.swept.max(self.mark), width)?;
        self.swept = window.until;
        Some(window)
    }

    fn window(&self, after: i64, width: i64) -> Option<Window> {
        (after < self.sent).then(|| Window { after, until: self.sent.min(after + width) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(arrived: i64, sent: i64) -> Arrivals {
        let mut arrivals = Arrivals::default();
        arrivals.stand_at(arrived, sent);
        arrivals
    }

    #[test]
    fn the_mark_stops_below_the_first_event_that_has_not_arrived() {
        let mut arrivals = at(5, 40);
        let window = arrivals.ahead(10).expect("something is out");
        assert_eq!(window, Window { after: 5, until: 15 });
        assert_eq!(arrivals.saw(window, None), 15);
        let window = arrivals.ahead(10).expect("something is out");
        assert_eq!(arrivals.saw(window, Some(19)), 18);
        assert_eq!(arrivals.saw(window, None), 18, "this window began at an older mark");
        assert_eq!(at(40, 40).ahead(10), None);
    }

    #[test]
    fn the_sweep_goes_round_between_the_mark_and_what_is_out() {
        let mut arrivals = at(5, 30);
        assert_eq!(arrivals.sweep(10), Some(Window { after: 5, until: 15 }));
        assert_eq!(arrivals.sweep(10), Some(Window { after: 15, until: 25 }));
        arrivals.stand_at(5, 50);
        assert_eq!(arrivals.sweep(10), Some(Window { after: 25, until: 35 }));
        arrivals.stand_at(5, 60);
        assert_eq!(arrivals.sweep(10), Some(Window { after: 5, until: 15 }), "it does not follow the head");
        arrivals.stand_at(58, 60);
        assert_eq!(arrivals.sweep(10), Some(Window { after: 58, until: 60 }), "the mark has overtaken it");
        arrivals.stand_at(60, 60);
        assert_eq!((arrivals.sweep(10), arrivals.ahead(10)), (None, None));
    }
}
