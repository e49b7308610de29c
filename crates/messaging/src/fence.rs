//! When nothing can come any more: the fence behind which no open transaction writes.
//!
//! A writer of a table locks it before it takes a position or a time, and holds the lock until its transaction ends. So
//! once all transactions that hold the lock at some moment have ended, everything taken before that moment is committed or
//! never will be. A transaction that stays open holds the fence back, and delays no row.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// What has been learned about the writers of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) enum Fence {
    /// The writers are not known yet.
    #[default]
    Open,
    /// These transactions may still commit something that was taken before this point.
    Writers(Point, Vec<String>),
    /// No transaction can. What the writers left is seen by the next statement.
    Settled(Point),
}

/// The highest position that had been taken, and when, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Point {
    pub(crate) taken: i64,
    pub(crate) at: DateTime<Utc>,
}

impl Fence {
    /// Notes a point that was taken, and then who was writing. The caller must read the writers in a later statement than
    /// the point.
    pub(crate) fn note(&mut self, point: Point, now: Vec<String>) {
        *self = match std::mem::take(self) {
            Self::Open if now.is_empty() => Self::Settled(point),
            Self::Open => Self::Writers(point, now),
            Self::Writers(earlier, then) if then.iter().all(|writer| !now.contains(writer)) => Self::Settled(earlier),
            waiting => waiting,
        };
    }

    /// Up to here nothing can come that a statement which starts now does not see.
    pub(crate) const fn settled(&self) -> Option<Point> {
        match self {
            Self::Settled(point) => Some(*point),
            _ => None,
        }
    }

    /// A statement has seen what was settled: the next fence can be put up.
    pub(crate) fn passed(&mut self) {
        *self = Self::Open;
    }
}

/// The transactions that hold a writer's lock on a table. Every role may read the list of locks.
///
/// # Errors
/// When the database fails.
pub async fn writers(pool: &PgPool, table: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        select distinct virtualtransaction as "writer!" from pg_locks
        where locktype = 'relation' and relation = $1::text::regclass and mode = 'RowExclusiveLock'
          and database = (select oid from pg_database where datname = current_database())
          and pid <> pg_backend_pid()
        "#,
        table,
    )
    .fetch_all(pool)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(taken: i64) -> Point {
        Point { taken, at: DateTime::UNIX_EPOCH }
    }

    fn fence(notes: &[(i64, &[&str])]) -> Fence {
        let mut fence = Fence::default();
        for (taken, writers) in notes {
            fence.note(point(*taken), writers.iter().map(ToString::to_string).collect());
        }
        fence
    }

    #[test]
    fn without_writers_everything_is_settled() {
        assert_eq!(fence(&[]).settled(), None);
        assert_eq!(fence(&[(10, &[])]).settled(), Some(point(10)));
    }

    #[test]
    fn a_writer_holds_it_back_until_its_own_end_and_no_longer() {
        assert_eq!(fence(&[(10, &["3/7", "4/1"])]).settled(), None);
        assert_eq!(fence(&[(10, &["3/7", "4/1"]), (20, &["4/1", "5/2"])]).settled(), None, "4/1 may still commit");
        let settled = fence(&[(10, &["3/7", "4/1"]), (20, &["4/1", "5/2"]), (30, &["5/2"])]);
        assert_eq!(settled.settled(), Some(point(10)), "5/2 came later: what it has taken is above 10");
    }

    #[test]
    fn it_is_put_up_again_after_a_statement_has_seen_what_was_settled() {
        let mut fence = fence(&[(10, &[])]);
        fence.note(point(20), vec!["3/7".to_owned()]);
        assert_eq!(fence.settled(), Some(point(10)), "it waits for the statement");
        fence.passed();
        assert_eq!(fence, Fence::Open);
    }
}
