//! The database itself: schema, clock, old transactions, partitions.

use std::time::Duration;

use chrono::TimeDelta;
use messaging::RetentionConfig;
use runtime::database::interval;
use schema::MIGRATOR;
use sqlx::{PgPool, Row};

use super::{Finding, Surroundings};

/// Clocks that differ by more mislead people who compare times.
const SKEW: TimeDelta = TimeDelta::seconds(5);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) async fn findings(pool: &PgPool, surroundings: &Surroundings) -> sqlx::Result<Vec<Finding>> {
    let mut findings = migrations(pool).await?;
    findings.extend(skew(pool, surroundings).await?);
    findings.extend(old_transactions(pool).await?);
    findings.extend(partitions(pool, surroundings.retention).await?);
    Ok(findings)
}

/// Whether the schema is the one that this program knows. The first query is not checked at compile time, because the table is
/// sqlx's own and not in our migrations.
async fn migrations(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let applied = sqlx::query("select version from _sqlx_migrations where success").fetch_all(pool).await;
    let applied: Vec<i64> = match applied {
        Ok(rows) => rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>()?,
        Err(sqlx::Error::Database(error)) => {
            let remedy = "run `standalone migrate` as the owner of the schema";
            return Ok(vec![Finding::warning(
                "MIGRATIONS_UNKNOWN",
                format!("the applied migrations cannot be read: {error}"),
                remedy,
            )]);
        }
        Err(error) => return Err(error),
    };
    let known: Vec<i64> = MIGRATOR.iter().map(|migration| migration.version).collect();
    let missing: Vec<_> = known.iter().filter(|version| !applied.contains(version)).map(ToString::to_string).collect();
    let newer: Vec<_> = applied.iter().filter(|version| !known.contains(version)).map(ToString::to_string).collect();
    let mut findings = Vec::new();
    if !missing.is_empty() {
        let cause = format!("the database lacks the migrations {}", missing.join(", "));
        findings.push(Finding::problem("MIGRATIONS_MISSING", cause, "run `standalone migrate`"));
    }
    if !newer.is_empty() {
        let cause = format!("the database has the migrations {}, which this program does not know", newer.join(", "));
        let needs = sqlx::query_scalar!("select needs from messaging.oldest_program").fetch_one(pool).await?;
        findings.push(if needs <= schema::newest() {
            let remedy =
                "older programs may run on it until the upgrade is over: then use the `ops` of the newer release";
            Finding::warning("MIGRATIONS_NEWER", cause, remedy)
        } else {
            let remedy = "programs of this release are not admitted any more: use a later one";
            Finding::problem("MIGRATIONS_NEWER", cause, remedy)
        });
    }
    Ok(findings)
}

/// Half of the round trip is subtracted from the difference.
async fn skew(pool: &PgPool, surroundings: &Surroundings) -> sqlx::Result<Option<Finding>> {
    let asked = surroundings.clock.now();
    let theirs = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let ours = asked + (surroundings.clock.now() - asked) / 2;
    let ahead = theirs - ours;
    Ok((ahead.abs() > SKEW).then(|| {
        let direction = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
        let seconds = ahead.abs().num_seconds();
        let cause = format!("the database's clock is {seconds} s {direction} this machine's");
        Finding::problem(
            "CLOCK_SKEW",
            cause,
            "synchronise both clocks by NTP; leases are safe, but times in the audit are wrong",
        )
    }))
}

/// Transactions that keep vacuum from removing dead rows, and those that write from letting the marks of relays and projectors
/// move.
async fn old_transactions(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let holders = sqlx::query!(
        r#"
        select 'TRANSACTION_OPEN' as "code!",
               format('pid %s (%s as %s, %s) has held xmin back for %s s', pid, coalesce(nullif(application_name, ''), 'unnamed'), usename,
                      coalesce(state, 'state unknown'), extract(epoch from clock_timestamp() - xact_start)::bigint) as "cause!",
               format('find out what it does; to end it: select pg_terminate_backend(%s)', pid) as "remedy!"
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and (backend_xmin is not null or backend_xid is not null)
          and xact_start < clock_timestamp() - interval '1 minute'
        union all
        select 'TRANSACTION_PREPARED', format('the prepared transaction %s holds xmin back since %s', gid, prepared),
               format('end it: rollback prepared %L', gid)
        from pg_prepared_xacts where database = current_database() and prepared < clock_timestamp() - interval '1 minute'
        union all
        select 'REPLICATION_SLOT', format('the replication slot %s holds xmin back, and has no reader', slot_name),
               format('start its reader, or drop it: select pg_drop_replication_slot(%L)', slot_name)
        from pg_replication_slots where not active and (xmin is not null or catalog_xmin is not null)
        "#
    )
    .fetch_all(pool)
    .await?;
    Ok(holders.into_iter().map(|holder| Finding::problem(code(&holder.code), holder.cause, holder.remedy)).collect())
}

fn code(code: &str) -> &'static str {
    match code {
        "TRANSACTION_PREPARED" => "TRANSACTION_PREPARED",
        "REPLICATION_SLOT" => "REPLICATION_SLOT",
        _ => "TRANSACTION_OPEN",
    }
}

/// Partitions must exist ahead of time, and go when their time is over. The relay looks every hour, or every minute when they are
/// narrow.
async fn partitions(pool: &PgPool, retention: RetentionConfig) -> sqlx::Result<Vec<Finding>> {
    let found = sqlx::query!(
        r#"
        select now() + $1::interval as "soon!",
               array(select required.parent from unnest(array['outbox', 'inbox', 'claims', 'relay_batches']) as required (parent)
                     where not exists (select from messaging.partitions
                                       where partitions.parent = required.parent and not detaching
                                         and from_at <= now() + $1 and until_at > now() + $1)) as "lacking!: Vec<String>",
               array(select name from messaging.partitions
                     where parent = 'outbox' and until_at <= now() - $2::interval order by from_at) as "expired!: Vec<String>"
        "#,
        interval(DAY.min(retention.ahead() / 2)),
        interval(retention.keep + HOUR.min(retention.width())),
    )
    .fetch_one(pool)
    .await?;
    let mut findings = Vec::new();
    if !found.lacking.is_empty() {
        let (tables, soon) = (found.lacking.join(", "), found.soon.format("%Y-%m-%d %H:%M UTC"));
        let cause = format!("no partition for {soon}: {tables}; from then on commands, relays or workers would fail");
        findings.push(Finding::problem(
            "PARTITION_MISSING",
            cause,
            "start a relay: it creates partitions ahead of time, or its log says why it cannot",
        ));
    }
    if let [first, ..] = found.expired.as_slice() {
        let cause =
            format!("partitions older than the retention that still exist: {}, the first {first}", found.expired.len());
        let remedy = "the relay drops a partition when everything in it is settled: replay or skip its parked events, retry its dead jobs";
        findings.push(Finding::warning("PARTITION_EXPIRED", cause, remedy));
    }
    Ok(findings)
}
