//! Where a refund stands, and what may follow.

use crate::state_machine::state_machine;

state_machine! {
    /// Where a refund stands. It has FAILED only when the gateway has said so.
    RefundStatus, "a refund", {
        Pending   "PENDING"   => [InDoubt, Processed, Failed],
        InDoubt   "IN_DOUBT"  => [Processed, Failed],
        Failed    "FAILED"    => [Pending],
        Processed "PROCESSED" => [],
    }
}
