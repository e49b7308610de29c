//! The life of a return, from the request to the refund.

use crate::transition::state_machine;

state_machine! {
    /// Where a return stands.
    ReturnState, "a return", {
        Requested "REQUESTED"  => [Approved, Rejected],
        Approved  "APPROVED"   => [InTransit],
        Rejected  "REJECTED"   => [],
        InTransit "IN_TRANSIT" => [Received],
        Received  "RECEIVED"   => [Completed],
        Completed "COMPLETED"  => [],
    }
}
