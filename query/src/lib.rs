//! The query service: read models made from events, and the REST reads over them.
//!
//! Invariants: nothing here reads the command side's tables, and nothing but the projector, a rebuild and the report of the night
//! writes `read`.

mod settings;
mod kolkata;
mod projector;
mod rebuild;
mod nightly;
mod applied;
mod consistency;
mod api;

use std::sync::Arc;

use contracts::Queue;
use messaging::{TransportConfig, intake};
use runtime::{Clock, Tasks};
use sqlx::PgPool;
use storage::InvoiceStore;

pub use api::{History, OrderPage, ReturnPage, reports};
pub use projector::{Outcome, Projector};
pub use rebuild::{RebuildError, Rebuilt, rebuild};
pub use settings::Settings;

use api::Api;
use applied::Applied;
use consistency::Consistency;

/// Starts the projector and, with `RabbitMQ`, the intake of its queue; returns the routes, not yet layered.
///
/// `messaging` is the database with the inbox. The read models are in it too, unless `read` is another one.
pub fn start(
    messaging: &PgPool,
    read: Option<PgPool>,
    transport: TransportConfig,
    invoices: InvoiceStore,
    settings: &Settings,
    clock: Clock,
    tasks: &Tasks,
) -> axum::Router {
    let applied = Applied::new();
    tasks.spawn("projections intake", intake::run(messaging.clone(), transport, Queue::Projections, tasks.clone()));
    Projector::announcing(messaging.clone(), read.clone(), settings, clock.clone(), applied.clone()).start(tasks);

    let read = read.unwrap_or_else(|| messaging.clone());
    nightly::start(messaging, &read, &clock, tasks);
    let consistency = Consistency::new(read.clone(), applied, settings.consistency_wait());
    let api = Arc::new(Api::new(read, consistency, invoices, clock));
    let (router, _) = api::routes().split_for_parts();
    router.with_state(api)
}

/// The description of the routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::routes().into_openapi()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_is_described() {
        let paths: Vec<_> = openapi().paths.paths.into_keys().collect();
        assert_eq!(
            paths,
            [
                "/api/v1/orders",
                "/api/v1/orders/{id}",
                "/api/v1/orders/{id}/history",
                "/api/v1/orders/{id}/invoice",
                "/api/v1/reports/daily",
                "/api/v1/reports/gst",
                "/api/v1/reports/lead-times",
                "/api/v1/reports/orders-by-state",
                "/api/v1/reports/refunds",
                "/api/v1/reports/returns",
                "/api/v1/reports/sales/daily",
                "/api/v1/returns",
                "/api/v1/returns/{id}",
                "/api/v1/returns/{id}/credit-note",
                "/api/v1/returns/{id}/history",
            ]
        );
    }
}
