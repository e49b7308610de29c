//! The statements of every loop, as `pg_stat_statements` measures them in the server.
//!
//! The statistics are reset at the start of each minute, so the extremes and the deviation are those of the minute. There is no
//! p99 in them: a mean, a maximum and a standard deviation stand for it.

use std::fmt::Write;

use anyhow::Result;
use sqlx::AssertSqlSafe;

use crate::figures::Figures;
use crate::system::Database;

/// What names a loop: its database role, a text in its statement, and the name. `$1` stands for any constant, because the
/// statistics leave out the constants. The first match counts. A statement without a name of its own is listed under its role
/// and its first words.
const LOOPS: [(&str, &str, &str); 22] = [
    ("articurated_command", "insert into command.orders", "command: place orders"),
    ("articurated_command", "update command.orders", "command: transitions of orders"),
    ("articurated_command", "update command.returns", "command: transitions of returns"),
    ("articurated_relay", "insert into messaging.relay_batches", "relay: forward"),
    ("articurated_relay", "outbox_backlog", "relay: gauge of the outbox"),
    ("articurated_relay", "queue_backlog", "relay: gauges of the queues"),
    ("articurated_relay", "insert into messaging.marks", "relay: store the mark"),
    ("articurated_relay", "pg_locks", "relay: fence"),
    ("articurated_relay", "shard_leases", "relay: leases"),
    ("articurated_relay", "outbox_exceptions", "relay: exceptions"),
    ("articurated_workers", "insert into messaging.claims", "workers: claim"),
    ("articurated_workers", "set status = $1, finished_at", "workers: complete"),
    ("articurated_workers", "queue_bounds", "workers: bound"),
    ("articurated_workers", "pg_locks", "workers: fence"),
    ("articurated_workers", "messaging.workers", "workers: lease"),
    ("articurated_query", "bytes_before", "projector: follow"),
    ("articurated_query", "insert into read.history", "projector: write history"),
    ("articurated_query", "insert into read.orders", "projector: write orders"),
    ("articurated_query", "insert into messaging.marks", "projector: store the mark"),
    ("articurated_query", "pg_locks", "projector: fence"),
    ("articurated_query", "from read.orders", "query: read an order"),
    ("articurated_maintenance", "messaging.unsettled", "retention: what is unsettled"),
];

/// The statements with a longer text are cut here in names.
const SHOWN: usize = 44;

/// Starts a new minute.
pub(crate) async fn reset(database: &Database) -> Result<()> {
    sqlx::raw_sql("select pg_stat_statements_reset()").execute(&database.pool).await?;
    Ok(())
}

/// Mean, maximum and standard deviation of each statement since the last reset, those that took longest in all first.
pub(crate) async fn figures(database: &Database) -> Result<Figures> {
    let rows: Vec<(String, f64, f64, f64, f64)> =
        sqlx::query_as(AssertSqlSafe(statement())).fetch_all(&database.pool).await?;
    let mut figures = Figures::default();
    for (name, calls, mean, max, deviation) in rows {
        figures.note(format!("{name} mean ms"), mean);
        figures.note(format!("{name} max ms"), max);
        figures.note(format!("{name} stddev ms"), deviation);
        figures.note(format!("{name} calls"), calls);
    }
    Ok(figures)
}

/// Adds up the statements of one name. Their variance is that of all their calls together.
fn statement() -> String {
    let mut names = String::new();
    for (role, text, name) in LOOPS {
        let text = text.replace("$1", "%");
        let _ = writeln!(names, "when rolname = '{role}' and text like '%{text}%' then '{name}'");
    }
    format!(
        "with statement as (
             select rolname, regexp_replace(query, '\\s+', ' ', 'g') as text, calls, total_exec_time, mean_exec_time,
                    max_exec_time, stddev_exec_time
             from pg_stat_statements join pg_roles on pg_roles.oid = userid
             where dbid = (select oid from pg_database where datname = current_database()) and calls > 0
         ), named as (
             select *, case {names} else rolname || ': ' || left(text, {SHOWN}) end as name from statement
         )
         select name, sum(calls)::float8, sum(total_exec_time) / sum(calls), max(max_exec_time),
                sqrt(greatest(0, sum(calls * (stddev_exec_time ^ 2 + mean_exec_time ^ 2)) / sum(calls)
                                 - (sum(total_exec_time) / sum(calls)) ^ 2))
         from named group by name order by sum(total_exec_time) desc"
    )
}
