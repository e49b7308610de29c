//! Commands are refused while too many events wait for the relay: an outbox that only grows ends on a full disk, and then nothing works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use runtime::{ApiError, Tasks};
use sqlx::PgPool;

use crate::App;
use crate::store;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether too many events wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backpressure(Arc<AtomicBool>);

impl Backpressure {
    /// Looks every second how many events wait.
    pub(crate) fn start(pool: &PgPool, most: u64, tasks: &Tasks) -> Self {
        let full = Self::default();
        let (pool, shutdown, state) = (pool.clone(), tasks.shutdown.clone(), full.clone());
        tasks.spawn("backpressure", async move {
            let mut turns = tokio::time::interval(LOOK_EVERY);
            while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
                // While the database cannot be asked, no command is executed anyway.
                if let Ok(waiting) = store::events_waiting(&pool).await {
                    state.note(waiting, most);
                }
            }
        });
        full
    }

    fn note(&self, waiting: u64, most: u64) {
        let is_full = waiting > most;
        if self.0.swap(is_full, Ordering::Relaxed) != is_full {
            if is_full {
                tracing::error!(
                    alert = true,
                    waiting,
                    most,
                    "commands are refused: too many events wait for the relay"
                );
            } else {
                tracing::info!(waiting, "commands are accepted again");
            }
        }
    }

    fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The routes of commands, closed while too many events wait.
pub(crate) fn guard(app: &App, routes: axum::Router) -> axum::Router {
    routes.layer(middleware::from_fn_with_state(app.backpressure.clone(), refuse))
}

async fn refuse(State(backpressure): State<Backpressure>, request: Request, next: Next) -> Response {
    // Questions write no event.
    let is_question = ["/quote", "/preview"].iter().any(|end| request.uri().path().ends_with(end));
    if backpressure.is_full() && !is_question {
        let message = "too many events wait for the relay; nothing was done, try again later";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "OUTBOX_FULL", message).into_response();
    }
    next.run(request).await
}
