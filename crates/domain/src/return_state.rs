//! The states of a return, and which may follow which.

use crate::state_machine::state_machine;

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
