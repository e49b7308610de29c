//! The query service: the projector makes read models from events, and the API reads them.
//!
//! Invariants: no statement here touches a table of the command side. Only the projector, a rebuild, the nightly report and exports
//! write to `read`.

mod projector;
mod rebuild;
mod api;
mod maintenance;
mod business_day;
mod words;
mod feed;
mod pools;
mod settings;
pub mod decoders;

use std::sync::Arc;

use access::Access;
use messaging::log::Follower;
use runtime::{Clock, Tasks};
use storage::InvoiceStore;

pub use api::{
    CreditNotePage, EventPage, ExportDocument, ExportFormat, ExportKind, ExportList, ExportStatus, History,
    InvoicePage, OrderPage, RefundPage, ReturnPage, reports,
};
pub use pools::{Pools, ROLE};
pub use projector::Projector;
pub use rebuild::{Lost, OnLoss, RebuildError, Rebuilt, rebuild};
pub use settings::{ReturnsPerOrder, Settings};

use api::{Api, Consistency, Exports, Waiters};
use feed::Feed;
use projector::announcements::Announcements;
use projector::follower::Projecting;

/// Starts the projector and the nightly report. Returns the routes without middleware.
///
/// `name` tells this instance from others in leases and logs; it must be unique among living projectors.
pub fn start(
    pools: Pools,
    invoices: InvoiceStore,
    settings: &Settings,
    clock: Clock,
    name: String,
    access: &Access,
    tasks: &Tasks,
) -> axum::Router {
    let announcements = Announcements::new();
    let Pools { messaging, models, requests, waiting, reports, events, consistency_key, .. } = pools;
    let projector = Projector::announcing(messaging.clone(), models, clock.clone(), announcements.clone());
    let projecting = Projecting::new(projector, messaging.clone());
    Follower::start(projecting, &messaging, name, settings.projection_batch, settings.projection_poll(), tasks);

    maintenance::nightly_report::start(&messaging, &reports, &clock, tasks);
    let waiters = Arc::new(Waiters::new(announcements));
    tasks.spawn("waiting requests", waiters.clone().run(waiting, tasks.shutdown.clone()));
    let feed = Feed::start(events, consistency_key.clone(), tasks);
    let exports = Exports::start(requests.clone(), reports.clone(), consistency_key.clone(), clock.clone(), tasks);
    let consistency = Consistency::new(requests.clone(), consistency_key, waiters, settings.consistency_wait());
    let api = Arc::new(Api::new(
        requests,
        reports,
        consistency,
        invoices,
        clock,
        settings.return_policy(),
        feed,
        exports,
        tasks.shutdown.clone(),
    ));
    let (router, _) = api::routes().split_for_parts();
    let (open, _) = api::open_routes().split_for_parts();
    access.guard(api::with_tags(router.with_state(api.clone()))).merge(open.with_state(api))
}

/// The OpenAPI description of the routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut whole = api::routes().merge(api::open_routes()).into_openapi();
    api::describe_tags(&mut whole);
    whole
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
                "/api/v1/credit-notes",
                "/api/v1/events",
                "/api/v1/exports",
                "/api/v1/exports/{id}",
                "/api/v1/exports/{id}/file",
                "/api/v1/invoices",
                "/api/v1/orders",
                "/api/v1/orders/{id}",
                "/api/v1/orders/{id}/e-invoice.json",
                "/api/v1/orders/{id}/history",
                "/api/v1/orders/{id}/invoice",
                "/api/v1/refunds",
                "/api/v1/refunds/{id}",
                "/api/v1/refunds/{id}/credit-note",
                "/api/v1/refunds/{id}/e-invoice.json",
                "/api/v1/refunds/{id}/history",
                "/api/v1/reports/daily",
                "/api/v1/reports/gst",
                "/api/v1/reports/gst/gstr1.json",
                "/api/v1/reports/gst/gstr1/{sheet}",
                "/api/v1/reports/lead-times",
                "/api/v1/reports/orders-by-state",
                "/api/v1/reports/refunds",
                "/api/v1/reports/returns",
                "/api/v1/reports/sales/daily",
                "/api/v1/returns",
                "/api/v1/returns/{id}",
                "/api/v1/returns/{id}/credit-note",
                "/api/v1/returns/{id}/e-invoice.json",
                "/api/v1/returns/{id}/history",
            ]
        );
    }
}
