//! The customers' memory: every acknowledged order and return, with its last acknowledged state.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contracts::{OrderDocument, ReturnDocument, ReturnState};
use uuid::Uuid;

/// The memory of all customers.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<Known>);

#[derive(Debug, Default, Clone)]
pub(super) struct Known {
    pub(super) orders: BTreeMap<Uuid, OrderDocument>,
    pub(super) returns: BTreeMap<Uuid, ReturnDocument>,
}

impl Book {
    /// Records an order as acknowledged.
    pub(super) fn order(&self, order: OrderDocument) {
        self.lock().orders.insert(order.id, order);
    }

    /// Records a return as acknowledged.
    pub(super) fn returned(&self, returned: ReturnDocument) {
        self.lock().returns.insert(returned.id, returned);
    }

    pub(super) fn completed_returns(&self) -> u64 {
        let completed = |returned: &&ReturnDocument| returned.state == ReturnState::Completed;
        self.lock().returns.values().filter(completed).count() as u64
    }

    pub(super) fn known(&self) -> Known {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
