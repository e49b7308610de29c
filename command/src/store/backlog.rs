//! How many events wait for the relay.

use sqlx::PgPool;

/// At most so many. Rather too many: positions that no event has count too.
pub(crate) async fn events_waiting(pool: &PgPool) -> sqlx::Result<u64> {
    let behind = sqlx::query_scalar!(r#"select messaging.relay_lag() as "behind!""#).fetch_one(pool).await?;
    Ok(u64::try_from(behind).unwrap_or(0))
}
