//! Batches of transitions without HTTP and without a batcher: what this machine can do with our rows. Only the benchmarks use
//! it, so that they measure the statement of the service and not a copy of it.

use access::ConsistencyKey;
use contracts::{ActorType, OrderState, Trigger};
use runtime::{Clock, Ids, Tasks};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::batcher::Batched;
use crate::context::CommandContext;
use crate::transition::{ChangeState, Details, Transitions, new_transition};
use crate::{App, Settings};

/// Takes orders to their next states.
#[expect(missing_debug_implementations, reason = "the service's state has none")]
pub struct OrderSteps(App);

impl OrderSteps {
    /// The same settings as those of the service.
    pub fn new(pool: PgPool, settings: &Settings, clock: Clock, ids: Ids, tasks: &Tasks) -> Self {
        // Nothing here is answered with a token.
        Self(App::start(pool, settings, clock, ids, ConsistencyKey::of(&[0; 32]), tasks))
    }

    /// Takes all these orders to one state, by one statement on `conn`. Returns how many of them changed.
    ///
    /// # Errors
    /// What the database said.
    pub async fn execute(&self, conn: &mut PgConnection, orders: &[Uuid], to: OrderState) -> anyhow::Result<usize> {
        let mut batch = Vec::with_capacity(orders.len());
        for id in orders {
            let command = ChangeState { id: *id, to, details: details(to) };
            let transition = new_transition(&self.0, &self.context(), &command);
            batch.push(transition?);
        }
        let outcomes = Transitions::<OrderState>::execute(conn, &batch).await?;
        Ok(outcomes.iter().filter(|outcome| Transitions::<OrderState>::changed(outcome)).count())
    }

    /// As wide as that of a request over HTTP.
    fn context(&self) -> CommandContext {
        CommandContext {
            actor: "warehouse.jaipur".to_owned(),
            on_behalf_of: None,
            owner: None,
            decides: true,
            actor_type: ActorType::User,
            trigger: Trigger::ApiCall,
            reason: None,
            ip_address: Some("127.0.0.1".to_owned()),
            request_id: Some(self.0.ids.next().to_string()),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".to_owned()),
            at: self.0.clock.now(),
            idempotency: None,
            expected_version: None,
        }
    }
}

fn details(to: OrderState) -> Details {
    match to {
        OrderState::Paid => {
            Details { payment_transaction_id: Some("UPI-632514870011".to_owned()), ..Details::default() }
        }
        OrderState::Shipped => Details {
            carrier: Some("Blue Dart".to_owned()),
            tracking_number: Some("BD69351142IN".to_owned()),
            ..Details::default()
        },
        _ => Details::default(),
    }
}
