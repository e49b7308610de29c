//! Rule 6: the read models are the fold of the events.
//!
//! An event carries the whole document, so the fold of an aggregate's events is its newest one. Both sides are streamed in
//! the order of their ids and compared on the way: neither is held in memory. The read side may be another database. It is
//! read later, so it may be ahead; then the changes that it shows must be in the first database by now.

use std::cmp::Ordering;
use std::ops::Range;
use std::pin::Pin;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{Stream, TryStreamExt};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::Scope;
use super::report::{Findings, Found, Rule};
use super::snapshot::{self, Snapshot};

/// The time in the id of an aggregate and that of its first event differ by less.
const CLOSE: TimeDelta = TimeDelta::minutes(5);
/// Read models that are looked up in one statement.
const PART: usize = 1_000;

type Rows<'c, T> = Pin<Box<dyn Stream<Item = sqlx::Result<T>> + Send + 'c>>;

/// An event that a read model may show: the newest projected one, or a later one.
#[derive(Debug)]
struct Event {
    kind: String,
    id: Uuid,
    version: i32,
    /// The projector has passed it, and could read it.
    projected: bool,
    /// The projector could not read it, and an operator gave it up.
    discarded: bool,
    digest: String,
    /// Versions of this aggregate before its first event in the outbox.
    dropped: i32,
    /// Projected events of this aggregate.
    projected_events: i64,
}

/// One aggregate on the read side.
#[derive(Debug)]
struct Model {
    kind: String,
    id: Uuid,
    /// Null when the read side has only the history.
    version: Option<i32>,
    digest: Option<String>,
    /// Whether the columns agree with the document.
    agrees: Option<bool>,
    entries: i64,
}

/// The events of one aggregate.
#[derive(Debug)]
struct Fold {
    kind: String,
    id: Uuid,
    events: Vec<Event>,
}

pub(super) async fn check(
    pool: &PgPool,
    snapshot: &mut Snapshot,
    scope: &Scope,
    findings: &mut Findings,
) -> sqlx::Result<()> {
    let elsewhere = scope.sources.query_database_url.as_ref();
    let opened = match elsewhere {
        None => snapshot.twin(pool).await.map_err(anyhow::Error::from),
        Some(url) => open_elsewhere(url).await,
    };
    let mut read = match opened {
        Ok(read) => read,
        Err(error) => {
            findings.could_not(Rule::ReadModels, format!("the database of the read models: {error:#}"));
            return Ok(());
        }
    };
    let rules = Rules {
        drained: scope.drained,
        may_be_ahead: elsewhere.is_some() && !scope.drained,
        kept: snapshot.kept.clone(),
    };
    let (found, ahead) = compare(&rules, events(snapshot.connection()), models(&mut read)).await?;
    read.rollback().await?;
    findings.add(Rule::ReadModels, found);
    findings.add(Rule::ReadModels, without_cause(pool, &ahead).await?);
    Ok(())
}

async fn open_elsewhere(url: &SecretString) -> anyhow::Result<Transaction<'static, Postgres>> {
    crate::reach::reach(url).await?;
    let pool = PgPoolOptions::new().max_connections(1).connect(url.expose_secret()).await?;
    Ok(snapshot::open(&pool, None).await?)
}

fn events(conn: &mut PgConnection) -> Rows<'_, Event> {
    Box::pin(
        sqlx::query_as!(
            Event,
            r#"
            with event as (
                -- snapshot.taken repeats a version; it counts where the event itself was dropped.
                select distinct on (aggregate_type, aggregate_id, aggregate_version)
                       event_id, position, shard, aggregate_type, aggregate_id, aggregate_version
                from messaging.outbox
                order by aggregate_type, aggregate_id, aggregate_version, event_type = 'snapshot.taken', event_id
            ), passed as (
                -- The projector has rows only for what it could not read. Above its mark it may have read more.
                select event.*, position <= mark and coalesce(job.status = 'done', true) as projected,
                       coalesce(job.status = 'discarded', false) as discarded
                from event
                join messaging.last_marks as last on last.consumer = 'projections' and last.shard = event.shard
                left join messaging.inbox as job on job.queue = 'projections' and job.event_id = event.event_id
            ), counted as (
                select event_id, aggregate_version as version, projected, discarded,
                       min(aggregate_version) over aggregate - 1 as dropped,
                       count(*) filter (where projected) over aggregate as projected_events,
                       coalesce(max(aggregate_version) filter (where projected) over aggregate, 0) as newest
                from passed
                window aggregate as (partition by aggregate_type, aggregate_id)
            )
            select aggregate_type as "kind!", aggregate_id as "id!", version as "version!", projected as "projected!",
                   discarded as "discarded!", md5((payload::jsonb -> 'snapshot')::text) as "digest!", dropped as "dropped!",
                   projected_events as "projected_events!"
            from counted join messaging.events using (event_id)
            where version >= newest
            order by aggregate_type collate "C", aggregate_id, version
            "#
        )
        .fetch(conn),
    )
}

fn models(conn: &mut PgConnection) -> Rows<'_, Model> {
    Box::pin(
        sqlx::query_as!(
            Model,
            r#"
            with shown as (
                select 'order' as kind, id, version, document::jsonb as document,
                       jsonb_build_object('version', version, 'state', state, 'order_number', order_number, 'customer_id', customer_id) as columns
                from read.orders
                union all
                select 'return', id, version, document::jsonb,
                       jsonb_build_object('version', version, 'state', state, 'order_number', order_number, 'customer_id', customer_id, 'order_id', order_id)
                from read.returns
                union all
                select 'invoice', (document ->> 'id')::uuid, version, document::jsonb,
                       jsonb_build_object('path', path, 'sha256', sha256, 'order_id', order_id, 'customer_id', customer_id,
                                          'order_number', order_number, 'invoice_number', number)
                from read.invoices
                union all
                select 'credit_note', (document ->> 'id')::uuid, version, document::jsonb,
                       jsonb_build_object('path', path, 'sha256', sha256, 'order_id', order_id, 'customer_id', customer_id,
                                          'order_number', order_number,
                                          case when document::jsonb ? 'refund_id' then 'refund_id' else 'return_id' end, source_id)
                from read.credit_notes
                union all
                select 'refund', id, version, document::jsonb,
                       jsonb_strip_nulls(jsonb_build_object('version', version, 'order_id', order_id, 'return_id', return_id, 'kind', kind,
                                                            'status', state, 'amount_minor', amount_minor))
                from read.refunds
            ), model as (
                select kind, id, version, md5(document::text) as digest, document @> columns as agrees from shown
            ), history as (
                select aggregate_type as kind, aggregate_id as id, count(*) as entries from read.history group by 1, 2
            )
            select kind as "kind!", id as "id!", version as "version?", digest as "digest?", agrees as "agrees?",
                   coalesce(entries, 0) as "entries!"
            from model full join history using (kind, id)
            order by kind collate "C", id
            "#
        )
        .fetch(conn),
    )
}

/// Of what is ahead of the snapshot, that for which there is no change in the database now. It has been lost: a change is
/// committed before it is shown.
async fn without_cause(pool: &PgPool, ahead: &[Ahead]) -> sqlx::Result<Found> {
    let mut found = Found::default();
    for part in ahead.chunks(PART) {
        let lost = sqlx::query_scalar!(
            r#"
            select place - 1 as "index!"
            from unnest($1::text[], $2::uuid[], $3::bigint[]) with ordinality as shown (kind, id, version, place)
            where version > coalesce((select max(transition.version) from command.state_transitions as transition
                                      where (entity_type, entity_id) = (kind, id)), 0)
            order by place
            "#,
            &part.iter().map(|ahead| ahead.kind.clone()).collect::<Vec<_>>(),
            &part.iter().map(|ahead| ahead.id).collect::<Vec<_>>(),
            &part.iter().map(|ahead| ahead.version).collect::<Vec<_>>(),
        )
        .fetch_all(pool)
        .await?;
        let lost = lost.into_iter().filter_map(|index| part.get(usize::try_from(index).ok()?));
        found.extend(lost.map(|ahead| ahead.violation.clone()));
    }
    Ok(found)
}

async fn compare(
    rules: &Rules,
    mut events: Rows<'_, Event>,
    mut models: Rows<'_, Model>,
) -> sqlx::Result<(Found, Vec<Ahead>)> {
    let (mut found, mut ahead) = (Found::default(), Vec::new());
    // Both databases sort before they answer, so both are asked at the same time.
    let (mut event, mut model) = tokio::try_join!(events.try_next(), models.try_next())?;
    while event.is_some() || model.is_some() {
        let side = match (&event, &model) {
            (Some(event), Some(model)) => (&event.kind, event.id).cmp(&(&model.kind, model.id)),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let fold = if side == Ordering::Greater { None } else { next_fold(&mut event, &mut events).await? };
        let shown = if side == Ordering::Less { None } else { model.take() };
        if shown.is_some() {
            model = models.try_next().await?;
        }
        let violation = match (fold, shown) {
            (Some(fold), shown) => rules.with_events(&fold, shown.as_ref()),
            (None, Some(shown)) => rules.without_events(&shown),
            (None, None) => None,
        };
        match violation {
            Some(Wrong::Ahead(one)) if rules.may_be_ahead => ahead.push(one),
            Some(Wrong::Ahead(Ahead { violation, .. }) | Wrong::Otherwise(violation)) => found.push(violation),
            None => {}
        }
    }
    Ok((found, ahead))
}

/// Reads the events of the aggregate whose first event is `next`.
async fn next_fold(next: &mut Option<Event>, events: &mut Rows<'_, Event>) -> sqlx::Result<Option<Fold>> {
    let Some(first) = next.take() else { return Ok(None) };
    let mut fold = Fold { kind: first.kind.clone(), id: first.id, events: vec![first] };
    while let Some(event) = events.try_next().await? {
        if (&event.kind, event.id) != (&fold.kind, fold.id) {
            *next = Some(event);
            break;
        }
        fold.events.push(event);
    }
    Ok(Some(fold))
}

/// What is wrong with a read model.
#[derive(Debug)]
enum Wrong {
    Ahead(Ahead),
    Otherwise(String),
}

/// A read model that shows more than its events tell. Where the read side is read later, the events may have come meanwhile.
#[derive(Debug)]
struct Ahead {
    kind: String,
    id: Uuid,
    version: i64,
    violation: String,
}

/// What the read side may and must show.
#[derive(Debug)]
struct Rules {
    /// Every event must be projected.
    drained: bool,
    /// The read side was read later than the events.
    may_be_ahead: bool,
    /// The times whose events are in the outbox.
    kept: Vec<Range<DateTime<Utc>>>,
}

impl Rules {
    /// What is wrong with the read model of an aggregate with events, if anything.
    fn with_events(&self, fold: &Fold, shown: Option<&Model>) -> Option<Wrong> {
        let Fold { kind, id, events } = fold;
        let required = |event: &&Event| event.projected || self.drained && !event.discarded;
        let least = events.iter().filter(required).map(|event| event.version).max();
        let most = events.iter().map(|event| event.version).max().unwrap_or_default();
        let Some(Model { version: Some(version), digest, agrees, entries, .. }) = shown else {
            let violation = |least| format!("{kind} {id} is not shown, its events are at {least}");
            return least.map(|least| Wrong::Otherwise(violation(least)));
        };
        if let Some(least) = least.filter(|least| version < least) {
            return Some(Wrong::Otherwise(format!("{kind} {id} is shown at {version}, its events are at {least}")));
        }
        if *version > most {
            let violation = format!("{kind} {id} is shown at {version}, its events are only at {most}");
            return Some(Wrong::Ahead(Ahead { kind: kind.clone(), id: *id, version: i64::from(*version), violation }));
        }
        let expected = events.iter().find(|event| event.version == *version);
        if expected.is_none_or(|event| Some(&event.digest) != digest.as_ref()) {
            return Some(Wrong::Otherwise(format!("{kind} {id} at version {version} differs from its event")));
        }
        if *agrees != Some(true) {
            return Some(Wrong::Otherwise(format!("{kind} {id} has columns that differ from its document")));
        }
        self.history(fold, *entries)
    }

    fn history(&self, fold: &Fold, entries: i64) -> Option<Wrong> {
        let Fold { kind, id, events } = fold;
        let first = events.first()?;
        let unprojected = events.iter().filter(|event| !event.projected && !event.discarded).count();
        let pending = if self.drained { i64::try_from(unprojected).unwrap_or(i64::MAX) } else { 0 };
        let least = i64::from(first.dropped) + first.projected_events + pending;
        let most = events.last().map_or(0, |event| i64::from(event.version));
        if entries < least {
            let violation = format!("the history of {kind} {id} has {entries} entries instead of {least}");
            return Some(Wrong::Otherwise(violation));
        }
        let violation = || format!("the history of {kind} {id} has {entries} entries, and its events are at {most}");
        (entries > most)
            .then(|| Wrong::Ahead(Ahead { kind: kind.clone(), id: *id, version: entries, violation: violation() }))
    }

    /// What is wrong with a read model without events in the outbox, if anything.
    fn without_events(&self, shown: &Model) -> Option<Wrong> {
        let Model { kind, id, version, entries, .. } = shown;
        // Retention may have dropped its events, unless their time is still in the outbox.
        let dropped = created_at(*id)
            .is_some_and(|at| !self.kept.iter().any(|times| times.start <= at - CLOSE && at + CLOSE < times.end));
        let version = version.map_or(*entries, i64::from);
        let violation = format!("{kind} {id} is shown and has no events");
        (!dropped).then(|| Wrong::Ahead(Ahead { kind: kind.clone(), id: *id, version, violation }))
    }
}

/// When an aggregate was created, by its `UUIDv7`.
fn created_at(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn event(version: i32, projected: bool) -> Event {
        Event {
            kind: "order".to_owned(),
            id: Uuid::from_u128(7),
            version,
            projected,
            discarded: false,
            digest: format!("document {version}"),
            dropped: 0,
            projected_events: if projected { i64::from(version) } else { 0 },
        }
    }

    fn model(version: i32) -> Model {
        Model {
            kind: "order".to_owned(),
            id: Uuid::from_u128(7),
            version: Some(version),
            digest: Some(format!("document {version}")),
            agrees: Some(true),
            entries: i64::from(version),
        }
    }

    async fn violations(rules: &Rules, events: Vec<Event>, models: Vec<Model>) -> Vec<String> {
        let events = Box::pin(stream::iter(events.into_iter().map(Ok)));
        let models = Box::pin(stream::iter(models.into_iter().map(Ok)));
        let (found, _) = compare(rules, events, models).await.expect("no database");
        found.examples
    }

    #[tokio::test]
    async fn what_is_read_later_and_ahead_is_looked_up_once_more() {
        for (rules, expected) in [(BUSY, 0), (ELSEWHERE, 3)] {
            let of = |n: u128| Uuid::from_u128(n);
            let later = vec![
                Ok(Model { id: of(1), ..model(3) }),
                Ok(Model { id: of(2), entries: 3, ..model(2) }),
                Ok(Model { id: of(3), ..model(2) }),
            ];
            let events = [1, 2].map(|n| Ok(Event { id: of(n), ..event(2, true) }));
            let compared = compare(&rules, Box::pin(stream::iter(events)), Box::pin(stream::iter(later))).await;
            let (found, ahead) = compared.expect("no database");
            assert_eq!((found.total, ahead.len()), (3 - expected, usize::try_from(expected).expect("small")));
            assert!(
                ahead
                    .iter()
                    .zip([(1, 3), (2, 3), (3, 2)])
                    .all(|(ahead, at)| (ahead.id, ahead.version) == (of(at.0), at.1))
            );
        }
    }

    const BUSY: Rules = Rules { drained: false, may_be_ahead: false, kept: Vec::new() };
    const DRAINED: Rules = Rules { drained: true, may_be_ahead: false, kept: Vec::new() };
    const ELSEWHERE: Rules = Rules { drained: false, may_be_ahead: true, kept: Vec::new() };

    #[tokio::test]
    async fn a_read_model_is_its_newest_event_or_the_difference_is_named() {
        let given_up = || Event { discarded: true, ..event(3, false) };
        let other_document = || Model { digest: Some("another".to_owned()), ..model(2) };
        let other_columns = || Model { agrees: Some(false), ..model(2) };
        let short_history = || Model { entries: 1, ..model(2) };
        let long_history = || Model { entries: 3, ..model(2) };
        let only_history = || Model { version: None, digest: None, agrees: None, ..model(2) };
        for (what, rules, events, models, fine) in [
            ("nothing", DRAINED, vec![], vec![], true),
            ("shown", DRAINED, vec![event(2, true)], vec![model(2)], true),
            ("not projected yet", BUSY, vec![event(1, false)], vec![], true),
            ("never projected", DRAINED, vec![event(1, false)], vec![], false),
            ("projected and not shown", BUSY, vec![event(2, true)], vec![], false),
            ("a history and nothing else", BUSY, vec![event(2, true)], vec![only_history()], false),
            ("shown while being projected", BUSY, vec![event(2, true), event(3, false)], vec![model(2)], true),
            ("out of date", DRAINED, vec![event(2, true), event(3, false)], vec![model(2)], false),
            ("out of date for good", DRAINED, vec![event(2, true), given_up()], vec![model(2)], true),
            ("shown although given up", DRAINED, vec![event(2, true), given_up()], vec![model(3)], true),
            ("behind", BUSY, vec![event(2, true)], vec![model(1)], false),
            ("ahead of all events", BUSY, vec![event(2, true)], vec![model(3)], false),
            ("read later", ELSEWHERE, vec![event(2, true)], vec![model(3)], true),
            ("another document", BUSY, vec![event(2, true)], vec![other_document()], false),
            ("other columns", BUSY, vec![event(2, true)], vec![other_columns()], false),
            ("too little history", BUSY, vec![event(2, true)], vec![short_history()], false),
            ("too much history", BUSY, vec![event(2, true)], vec![long_history()], false),
            ("no events", BUSY, vec![], vec![model(2)], false),
            ("no events yet", ELSEWHERE, vec![], vec![model(2)], true),
        ] {
            let violations = violations(&rules, events, models).await;
            assert_eq!(violations.is_empty(), fine, "{what}: {violations:?}");
        }
    }

    #[tokio::test]
    async fn a_read_model_older_than_the_outbox_needs_no_events() {
        let id: Uuid = "019aa2b5-2c00-7000-8000-000000000000".parse().expect("a UUIDv7");
        let old = || Model { id, ..model(2) };
        let at = created_at(id).expect("a time");
        let (before, after) = (at - TimeDelta::hours(1), at + TimeDelta::hours(1));
        let gap = vec![before..at, after..after + CLOSE];
        for (kept, expected) in [(vec![], 0), (vec![before..after], 1), (vec![at..after], 0), (gap, 0)] {
            let rules = Rules { kept: kept.clone(), ..BUSY };
            assert_eq!(violations(&rules, vec![], vec![old()]).await.len(), expected, "{kept:?}");
        }
    }

    #[tokio::test]
    async fn each_aggregate_is_compared_with_its_own_read_model() {
        let of = |n: u128| {
            (Event { id: Uuid::from_u128(n), ..event(1, true) }, Model { id: Uuid::from_u128(n), ..model(1) })
        };
        let (first, second, third) = (of(1), of(2), of(3));
        let violations = violations(&BUSY, vec![first.0, second.0], vec![first.1, third.1]).await;
        let named: Vec<_> = violations.iter().map(|text| text.contains("is not shown")).collect();
        assert_eq!(named, [true, false], "{violations:?}");
    }
}
