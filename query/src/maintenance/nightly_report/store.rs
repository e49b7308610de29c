//! The statements of the nightly report, the only writer of `read.daily_reports`.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgPool};

/// Counts the events from before midnight that the projector has not passed yet, up to 1,000.
pub(super) async fn unprojected_before(messaging: &PgPool, midnight: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        select count(*) as "missing!"
        from (
            select
            from messaging.outbox as event
            join messaging.last_marks as last on last.consumer = 'projections' and last.shard = event.shard
            where event.position > (select min(mark) from messaging.last_marks where consumer = 'projections')
              and event.position > last.mark and occurred_at < $1
            limit 1000
        ) as missing
        "#,
        midnight,
    )
    .fetch_one(messaging)
    .await
}

/// The days without a report among the last `look_back_days` up to `last`, no earlier than the first report; `last` itself
/// even when there is no earlier report.
pub(super) async fn days_without_report(
    read: &PgPool,
    last: NaiveDate,
    look_back_days: i32,
) -> sqlx::Result<Vec<NaiveDate>> {
    sqlx::query_scalar!(
        r#"
        select wanted::date as "day!"
        from generate_series(
                 greatest(coalesce((select min(day) from read.daily_reports), $1), $1 - $2::int)::timestamp, $1::timestamp,
                 interval '1 day') as wanted
        where not exists (select from read.daily_reports where day = wanted::date)
        order by 1
        "#,
        last,
        look_back_days,
    )
    .fetch_all(read)
    .await
}

/// One figure of a report.
pub(super) struct Figure {
    pub(super) currency: String,
    /// Its place among the figures of its currency, from 1.
    pub(super) place: i32,
    pub(super) name: String,
    pub(super) count: i64,
    pub(super) amount_minor: i64,
}

/// Stores a report, unless the day has one.
pub(super) async fn insert(
    read: &PgPool,
    day: NaiveDate,
    made_at: DateTime<Utc>,
    figures: &[Figure],
) -> sqlx::Result<()> {
    let places: Vec<i32> = figures.iter().map(|figure| figure.place).collect();
    let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
    let currencies: Vec<&str> = figures.iter().map(|figure| figure.currency.as_str()).collect();
    let counts: Vec<i64> = figures.iter().map(|figure| figure.count).collect();
    let amounts: Vec<i64> = figures.iter().map(|figure| figure.amount_minor).collect();
    sqlx::query!(
        r#"
        insert into read.daily_reports (day, made_at, place, figure, currency, count, amount_minor)
        select $1, $2, made.* from unnest($3::int[], $4::text[], $5::text[], $6::int8[], $7::int8[]) as made
        where not exists (select from read.daily_reports where day = $1)
        "#,
        day,
        made_at,
        &places,
        &names as &[&str],
        &currencies as &[&str],
        &counts,
        &amounts,
    )
    .execute(read)
    .await?;
    Ok(())
}

/// The returns requested and the returns completed on a day.
pub(super) struct ReturnsOfDay {
    pub(super) currency: String,
    pub(super) requested: i64,
    pub(super) requested_minor: i64,
    pub(super) completed: i64,
    pub(super) completed_minor: i64,
}

pub(super) async fn returns_of_day(conn: &mut PgConnection, day: NaiveDate) -> sqlx::Result<Vec<ReturnsOfDay>> {
    sqlx::query_as!(
        ReturnsOfDay,
        r#"
        select currency,
               count(*) filter (where requested_on = $1) as "requested!",
               read.figure(coalesce(sum(amount_minor) filter (where requested_on = $1), 0)) as "requested_minor!",
               count(*) filter (where completed_on = $1) as "completed!",
               read.figure(coalesce(sum(amount_minor) filter (where completed_on = $1), 0)) as "completed_minor!"
        from read.return_facts where requested_on = $1 or completed_on = $1
        group by currency order by currency
        "#,
        day,
    )
    .fetch_all(conn)
    .await
}
