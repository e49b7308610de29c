//! The query service: the projector makes read models from events, and the API reads them.
//!
//! Invariants: no statement here touches a table of the command side. Only the projector, a rebuild and the nightly report write
//! to `read`.

mod projector;
mod rebuild;
mod api;
mod maintenance;
mod business_day;
mod settings;

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
use projector::announcements::Announcements;

/// Starts the projector, the intake of its queue (with `RabbitMQ`) and the nightly report. Returns the routes without middleware.
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
    let announcements = Announcements::new();
    tasks.spawn("projections intake", intake::run(messaging.clone(), transport, Queue::Projections, tasks.clone()));
    Projector::announcing(messaging.clone(), read.clone(), settings, clock.clone(), announcements.clone()).start(tasks);

    let read = read.unwrap_or_else(|| messaging.clone());
    maintenance::nightly_report::start(messaging, &read, &clock, tasks);
    let api = Arc::new(Api::new(read, announcements, settings.consistency_wait(), invoices, clock));
    let (router, _) = api::routes().split_for_parts();
    router.with_state(api)
}

/// The OpenAPI description of the routes.
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
