//! RabbitMQ: connection, alarms, queues, bindings, consumers, and what it lost or gave up lately.

use messaging::TransportConfig;
use messaging::rabbitmq::{Defect, examine};
use sqlx::PgPool;

use super::Finding;

pub(super) async fn findings(transport: &TransportConfig) -> Vec<Finding> {
    let defects = examine(transport).await.unwrap_or_default();
    defects.iter().map(finding).collect()
}

fn finding(defect: &Defect) -> Finding {
    let (code, remedy) = match defect {
        Defect::Unreachable(_) => {
            ("BROKER_UNREACHABLE", "start RabbitMQ, or correct RABBITMQ_URL; events wait in the outbox")
        }
        Defect::Blocked => (
            "BROKER_BLOCKED",
            "free memory or disk on RabbitMQ's machine; rabbitmq-diagnostics alarms says which of them",
        ),
        Defect::ExchangeMissing => ("EXCHANGE_MISSING", "restart a relay: it declares exchange, queues and bindings"),
        Defect::OtherArguments(..) => {
            ("QUEUE_MISMATCH", "delete the queue as it says; relays and workers cannot connect while it exists")
        }
        Defect::QueueMissing(_) => {
            ("QUEUE_MISSING", "restart a relay or the queue's consumers, then replay what is parked")
        }
        Defect::BindingMissing(_) => {
            ("BINDING_MISSING", "restart a relay or the queue's consumers, then replay what is parked")
        }
        Defect::NoConsumer(..) => ("NO_CONSUMER", "start workers: they consume it"),
        Defect::DeadLetters(_) => {
            let remedy = "a relay puts those of our events into the inbox within seconds; the others belong to no event of the \
                          outbox: read them in RabbitMQ's console, and delete them there";
            return Finding::warning("DEAD_LETTERS", defect.to_string(), remedy);
        }
    };
    Finding::problem(code, defect.to_string(), remedy)
}

/// What the relays had to bring to its queue in the last day. The events have arrived, but the cause is still there.
pub(super) async fn losses(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"
        select queue, reason, sum(cardinality(event_ids))::bigint as "events!", to_char(max(seen_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as "last!"
        from messaging.broker_losses
        where seen_at > clock_timestamp() - interval '1 day'
        group by queue, reason
        order by queue, reason
        "#
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| loss(&row.queue, &row.reason, row.events, &row.last)).collect())
}

fn loss(queue: &str, reason: &str, events: i64, last: &str) -> Finding {
    let found =
        format!("{events} events of the queue articurated.{queue} in the last day, most recently at {last} UTC");
    if let Some(setting) = policy_behind(reason) {
        let cause = format!(
            "RabbitMQ gave up messages because of a policy with {setting}; a relay put them into the inbox: {found}"
        );
        let remedy = format!(
            "find the policy: rabbitmqctl list_policies and list_operator_policies, with the --vhost of RABBITMQ_URL; \
             it must not apply {setting} to queues whose names begin with articurated"
        );
        return Finding::warning("BROKER_POLICY", cause, remedy);
    }
    if reason == "rejected" {
        let cause = format!("consumers could not decode or store messages; a relay put them into the inbox: {found}");
        let remedy =
            format!("find out why: the log of workers; what cannot be handled is dead: ops jobs --queue {queue}");
        return Finding::warning("MESSAGES_REJECTED", cause, remedy);
    }
    let cause = format!("RabbitMQ confirmed events that did not arrive; a relay sent them again: {found}");
    let remedy = "check whether someone purged or deleted the queue, or a node of RabbitMQ lost its disk";
    Finding::warning("EVENTS_SENT_AGAIN", cause, remedy)
}

/// The setting of a policy that makes RabbitMQ dead-letter a message for this reason.
fn policy_behind(reason: &str) -> Option<&'static str> {
    match reason {
        "delivery_limit" => Some("delivery-limit"),
        "expired" => Some("message-ttl"),
        "maxlen" => Some("max-length"),
        _ => None,
    }
}
