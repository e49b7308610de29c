//! Where the claims of each endpoint start.

use chrono::{DateTime, Utc};
use messaging::looks::{COMMITS_WITHIN, Looks};
use runtime::database::interval;
use sqlx::PgPool;
use uuid::Uuid;

/// Nothing of an endpoint is due earlier. Of an endpoint that is not among them nothing is known.
#[derive(Debug, Default)]
pub(in crate::webhooks) struct Bounds {
    pub(super) endpoints: Vec<Uuid>,
    pub(super) due_from: Vec<DateTime<Utc>>,
    looks: Looks,
}

impl Bounds {
    /// Looks at everything, if it is time to. If that fails, the bounds stay where they are.
    pub(in crate::webhooks) async fn renew(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        let look = sqlx::query!(
            r#"
            select id, least(first.due_at, statement_timestamp() - $1::interval) as "due_from!"
            from messaging.webhook_endpoints as endpoint
            left join lateral (
                select due_at from messaging.webhook_deliveries
                where endpoint_id = endpoint.id and due_at is not null order by due_at limit 1
            ) as first on true
            where deleted_at is null and disabled_at is null
            "#,
            interval(COMMITS_WITHIN),
        )
        .fetch_all(pool);
        if let Some(rows) = self.looks.take(look).await? {
            (self.endpoints, self.due_from) = rows.into_iter().map(|row| (row.id, row.due_from)).unzip();
        }
        Ok(())
    }
}
