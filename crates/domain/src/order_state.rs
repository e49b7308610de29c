//! The states of an order, and which may follow which.

use crate::state_machine::state_machine;

state_machine! {
    /// Where an order stands.
    OrderState, "an order", {
        PendingPayment        "PENDING_PAYMENT"         => [Paid, Cancelled],
        Paid                  "PAID"                    => [ProcessingInWarehouse, Cancelled],
        ProcessingInWarehouse "PROCESSING_IN_WAREHOUSE" => [Shipped],
        Shipped               "SHIPPED"                 => [Delivered],
        Delivered             "DELIVERED"               => [],
        Cancelled             "CANCELLED"               => [],
    }
}
