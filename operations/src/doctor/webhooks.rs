//! Webhook endpoints that are disabled or fail, and deliveries that were given up.

use sqlx::PgPool;

use super::Finding;

/// Deliveries that are counted, at most, of each endpoint and state.
const COUNTED: i64 = 1_000;

pub(super) async fn findings(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let endpoints = sqlx::query!(
        r#"
        select id, split_part(split_part(url, '://', 2), '/', 1) as "host!", disabled_at, disabled_reason,
               to_char(failing_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') as failing_since,
               failing_since < clock_timestamp() - interval '15 minutes' as "fails_for_long?",
               (select count(*) from (select from messaging.webhook_deliveries
                                      where endpoint_id = endpoint.id and status = 'PENDING' limit $1) as pending) as "pending!",
               (select count(*) from (select from messaging.webhook_deliveries
                                      where endpoint_id = endpoint.id and status = 'FAILED' limit $1) as failed) as "failed!"
        from messaging.webhook_endpoints as endpoint
        where deleted_at is null
        order by id
        "#,
        COUNTED,
    )
    .fetch_all(pool)
    .await?;
    let mut findings = Vec::new();
    for endpoint in endpoints {
        let (id, host) = (endpoint.id, endpoint.host);
        if let Some(reason) = endpoint.disabled_reason {
            let cause = format!("the webhook endpoint {id} at {host} is disabled and gets nothing: {reason}");
            let remedy = "when it works again, PATCH /api/v1/ops/webhooks/{id} with {\"enabled\": true}, then POST …/recover; if it does not \
                          come back, POST …/delete";
            findings.push(Finding::warning("WEBHOOK_DISABLED", cause, remedy));
        } else if let (Some(since), Some(true)) = (endpoint.failing_since, endpoint.fails_for_long) {
            let cause = format!(
                "nothing has reached the webhook endpoint {id} at {host} since {since}; {} deliveries wait",
                number(endpoint.pending)
            );
            let remedy = "GET /api/v1/ops/webhooks/{id}/deliveries?status=PENDING says what it answers; after three days it is disabled";
            findings.push(Finding::warning("WEBHOOK_FAILING", cause, remedy));
        }
        if endpoint.failed > 0 {
            let cause =
                format!("{} deliveries to the webhook endpoint {id} at {host} were given up", number(endpoint.failed));
            let remedy = "POST /api/v1/ops/webhooks/{id}/recover makes those since a time again; GET …/deliveries?status=FAILED lists them";
            findings.push(Finding::warning("WEBHOOKS_GIVEN_UP", cause, remedy));
        }
    }
    Ok(findings)
}

fn number(counted: i64) -> String {
    if counted < COUNTED { counted.to_string() } else { format!("at least {counted}") }
}
