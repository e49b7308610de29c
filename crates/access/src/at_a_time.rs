//! How many requests one customer may have answered at a time. A request takes a place of the service's from its head to its answer, and
//! a body may come slowly: one customer must not take them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::Response;
use serde_json::json;

use crate::limits::too_many;

/// More than a browser opens, and few of the places of a service.
const MOST: u32 = 16;

/// The requests of each customer that are being answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtATime(Arc<Mutex<HashMap<String, u32>>>);

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering {
    of: String,
    all: AtATime,
}

impl AtATime {
    /// # Errors
    /// 429 for a customer who has as many already.
    pub(crate) fn enter(&self, customer: &str) -> Result<Answering, Box<Response>> {
        let mut all = self.lock();
        let own = all.entry(customer.to_owned()).or_default();
        if *own >= MOST {
            return Err(Box::new(refuse()));
        }
        *own += 1;
        Ok(Answering { of: customer.to_owned(), all: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(own) = all.get_mut(&self.of) {
            *own -= 1;
            if *own == 0 {
                all.remove(&self.of);
            }
        }
    }
}

fn refuse() -> Response {
    let message = format!("more than {MOST} requests at a time; wait for the answers to those");
    too_many(message, json!({ "limit": "at a time", "most": MOST, "retry_after_seconds": 1 }), 1)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn each_customer_has_places_of_its_own_and_gives_them_back() {
        let all = AtATime::default();
        let asha: Vec<_> = (0..MOST).map(|_| all.enter("asha").expect("a place")).collect();
        assert_eq!(all.enter("asha").expect_err("none is left").status(), StatusCode::TOO_MANY_REQUESTS);
        let ravi = all.enter("ravi").expect("a place of his own");
        drop((asha, ravi));
        assert!(all.enter("asha").is_ok() && all.lock().is_empty());
    }
}
