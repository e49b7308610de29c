//! Why a batch was not forwarded.

use messaging::rabbitmq::BrokerError;

/// After each of these the relay waits and retries.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}
