//! Orders by what a caller on the telephone knows: an e-mail address, a customer, the number of a parcel or of a payment.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Orders found, at most; the newest of each kind.
pub const MOST: i64 = 50;

/// An order, and what of it was asked for.
#[derive(Debug)]
pub struct FoundOrder {
    pub order_number: String,
    pub state: String,
    pub created_at: DateTime<Utc>,
    /// As `e-mail` or `parcel`.
    pub by: String,
}

/// The newest orders that have this text as e-mail address, customer, tracking number (also of a return), or transaction of the
/// payment or of a refund. Each branch has an index.
pub async fn orders(pool: &PgPool, text: &str) -> sqlx::Result<Vec<FoundOrder>> {
    sqlx::query_as!(
        FoundOrder,
        r#"
        with found as (
            (select order_number, 'e-mail' as by from read.orders
             where email = any(array[$1, lower($1)]) order by created_at desc, id desc limit $2)
            union all
            (select order_number, 'customer' from read.orders where customer_id = $1 order by created_at desc, id desc limit $2)
            union all
            (select order_number, 'parcel' from read.orders where tracking_number = $1 order by created_at desc, id desc limit $2)
            union all
            (select order_number, 'payment' from read.orders where payment_transaction_id = $1 order by created_at desc, id desc limit $2)
            union all
            (select order_number, 'parcel of a return' from read.returns
             where tracking_number = $1 order by created_at desc, id desc limit $2)
            union all
            (select order_number, 'refund' from command.refunds join command.orders on orders.id = order_id
             where transaction_id = $1 limit $2)
            union all
            (select order_number, 'refund' from command.refunds join command.orders on orders.id = order_id
             where gateway_reference = $1 limit $2)
        )
        select order_number as "order_number!", state as "state!", created_at as "created_at!", string_agg(distinct by, ', ') as "by!"
        from found join read.orders using (order_number)
        group by order_number, state, created_at
        order by created_at desc, order_number
        limit $2
        "#,
        text,
        MOST,
    )
    .fetch_all(pool)
    .await
}
