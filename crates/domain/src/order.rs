//! The life of an order.

use crate::transition::state_machine;

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
