//! The service's background work.

mod idempotency_keys;
mod unreviewed_returns;

use runtime::Tasks;

use crate::{App, Settings};

/// Starts all of it.
pub(crate) fn start(app: &App, settings: &Settings, tasks: &Tasks) {
    idempotency_keys::start(app, settings.idempotency_retention_hours, tasks);
    unreviewed_returns::start(app, settings, tasks);
}
