//! What a turn of the forwarding loop did.

/// What a tick did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It forwarded a batch, and there may be more.
    Forwarded,
    /// It forwarded all there was. What is committed later sends a hint of its own.
    CaughtUp,
    Idle,
}
