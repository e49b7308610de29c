//! The consumer queues, and which events go to which. Both transports use this one table: the Postgres queue joins with
//! it, and RabbitMQ's bindings are declared from it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::envelope::EventType;
use crate::transition::EntityType;

/// A consumer queue. The name is the same in `messaging.inbox`, in RabbitMQ and in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    Invoices,
    CreditNotes,
    Refunds,
    Notifications,
    Projections,
}

impl Queue {
    pub const ALL: [Self; 5] =
        [Self::Invoices, Self::CreditNotes, Self::Refunds, Self::Notifications, Self::Projections];

    /// The queues of the workers: each event that one of them wants becomes a job in its inbox. The projector has no jobs; it
    /// follows the outbox.
    pub const JOBS: [Self; 4] = [Self::Invoices, Self::CreditNotes, Self::Refunds, Self::Notifications];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invoices => "invoices",
            Self::CreditNotes => "credit_notes",
            Self::Refunds => "refunds",
            Self::Notifications => "notifications",
            Self::Projections => "projections",
        }
    }

    /// Whether this queue receives events of that type. The projector reads all of them.
    pub const fn wants(self, event: EventType) -> bool {
        match self {
            Self::Invoices => matches!(event, EventType::OrderShipped | EventType::OrderRegistered),
            Self::CreditNotes => matches!(event, EventType::ReturnCompleted | EventType::RefundGranted),
            Self::Refunds => {
                matches!(event, EventType::RefundInitiated | EventType::RefundGranted | EventType::RefundRetried)
            }
            // The shipping mail carries the invoice, so it waits for `invoice.generated`, not `order.shipped`.
            Self::Notifications => matches!(
                event,
                EventType::OrderCreated
                    | EventType::OrderPaid
                    | EventType::OrderCancelled
                    | EventType::OrderInvoiceRequested
                    | EventType::InvoiceGenerated
                    | EventType::InvoiceRegistered
                    | EventType::ReturnApproved
                    | EventType::ReturnRejected
                    | EventType::RefundProcessed
                    | EventType::RefundDelayed
            ),
            Self::Projections => true,
        }
    }

    /// Whether this queue receives any event of such an aggregate. If the queue is ordered, it receives all of them.
    pub fn wants_some_of(self, aggregate: EntityType) -> bool {
        EventType::ALL.into_iter().any(|event| event.aggregate_type() == Some(aggregate) && self.wants(event))
    }

    /// Every pair of an event type and a queue of the workers that receives it.
    pub fn routes() -> impl Iterator<Item = (EventType, Self)> {
        EventType::ALL.into_iter().flat_map(|event| {
            Self::JOBS.into_iter().filter(move |queue| queue.wants(event)).map(move |queue| (event, queue))
        })
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A queue name that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown queue {0:?}: the queues are invoices, credit_notes, refunds, notifications, projections")]
pub struct UnknownQueue(String);

impl FromStr for Queue {
    type Err = UnknownQueue;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|queue| queue.as_str() == name).ok_or_else(|| UnknownQueue(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_but_that_of_the_projector_has_jobs() {
        for queue in Queue::ALL {
            let has_jobs = Queue::routes().any(|(_, to)| to == queue);
            assert_eq!(has_jobs, queue != Queue::Projections, "{queue}");
        }
        assert!(EventType::ALL.into_iter().all(|event| Queue::Projections.wants(event)));
    }

    #[test]
    fn a_queue_wants_aggregates_of_whose_events_it_receives_some() {
        assert!(Queue::Invoices.wants_some_of(EntityType::Order));
        assert!(!Queue::Invoices.wants_some_of(EntityType::Return));
        assert!(Queue::Notifications.wants_some_of(EntityType::Invoice));
        assert!(!Queue::Notifications.wants_some_of(EntityType::CreditNote));
        let nameless = EventType::ALL.into_iter().filter(|event| event.aggregate_type().is_none());
        assert_eq!(nameless.collect::<Vec<_>>(), [EventType::SnapshotTaken]);
    }

    #[test]
    fn names_parse_back() {
        for queue in Queue::ALL {
            assert_eq!(queue.as_str().parse::<Queue>().expect("known"), queue);
        }
        for event in EventType::ALL {
            assert_eq!(event.as_str().parse::<EventType>().expect("known"), event);
        }
        assert!("order.eaten".parse::<EventType>().is_err());
        assert!("jobs".parse::<Queue>().is_err());
    }
}
