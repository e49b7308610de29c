//! RabbitMQ: connection, alarms, queues, bindings, consumers.

use messaging::TransportConfig;
use messaging::rabbitmq::{Defect, examine};

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
        Defect::QueueMissing(_) => {
            ("QUEUE_MISSING", "restart a relay or the queue's consumers, then replay what is parked")
        }
        Defect::BindingMissing(_) => {
            ("BINDING_MISSING", "restart a relay or the queue's consumers, then replay what is parked")
        }
        Defect::NoConsumer(..) => ("NO_CONSUMER", "start workers: they consume it"),
        Defect::DeadLetters(_) => {
            let remedy = "read them in RabbitMQ's console; their events are in the outbox and can be replayed";
            return Finding::warning("DEAD_LETTERS", defect.to_string(), remedy);
        }
    };
    Finding::problem(code, defect.to_string(), remedy)
}
