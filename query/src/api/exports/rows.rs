//! The rows of orders, returns and refunds.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::list::{PAGE, Place, Row};

#[derive(Debug, Default, Serialize)]
pub(super) struct OrderRow {
    order_number: String,
    order_id: Uuid,
    customer_id: String,
    state: String,
    placed_on: NaiveDate,
    paid_on: Option<NaiveDate>,
    cancelled_on: Option<NaiveDate>,
    currency: String,
    units: i64,
    subtotal_minor: i64,
    discount_minor: i64,
    shipping_minor: i64,
    tax_minor: i64,
    total_minor: i64,
    invoice_number: Option<String>,
    payment_transaction_id: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row for OrderRow {
    fn place(&self) -> Place {
        Place { day: self.placed_on, id: self.order_id, line_no: 0 }
    }

    async fn page(conn: &mut PgConnection, after: Place, last: NaiveDate) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as!(
            Self,
            r#"
            with page as (
                select * from read.order_facts
                where placed_on between $1 and $3 and (placed_on, order_id) > ($1, $2)
                order by placed_on, order_id limit $4
            )
            select orders.order_number, page.order_id as "order_id!", orders.customer_id, orders.state, page.placed_on as "placed_on!",
                   page.sold_on as paid_on, page.cancelled_on, page.currency as "currency!", page.units as "units!",
                   page.subtotal_minor as "subtotal_minor!", page.discount_minor as "discount_minor!",
                   page.shipping_minor as "shipping_minor!", page.tax_minor as "tax_minor!", page.total_minor as "total_minor!",
                   invoices.number as "invoice_number?", orders.payment_transaction_id, orders.created_at, orders.updated_at
            from page join read.orders on orders.id = page.order_id
                 left join read.invoices on invoices.order_id = page.order_id
            order by page.placed_on, page.order_id
            "#,
            after.day,
            after.id,
            last,
            PAGE,
        )
        .fetch_all(conn)
        .await
    }
}

#[derive(Debug, Default, Serialize)]
pub(super) struct ReturnRow {
    return_id: Uuid,
    order_number: String,
    order_id: Uuid,
    customer_id: String,
    state: String,
    requested_on: NaiveDate,
    completed_on: Option<NaiveDate>,
    currency: String,
    units: i64,
    refund_amount_minor: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row for ReturnRow {
    fn place(&self) -> Place {
        Place { day: self.requested_on, id: self.return_id, line_no: 0 }
    }

    async fn page(conn: &mut PgConnection, after: Place, last: NaiveDate) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as!(
            Self,
            r#"
            with page as (
                select * from read.return_facts
                where requested_on between $1 and $3 and (requested_on, return_id) > ($1, $2)
                order by requested_on, return_id limit $4
            )
            select page.return_id as "return_id!", returns.order_number, page.order_id as "order_id!", returns.customer_id, returns.state,
                   page.requested_on as "requested_on!", page.completed_on, page.currency as "currency!",
                   coalesce((select sum(quantity) from read.return_lines where return_lines.return_id = page.return_id), 0) as "units!",
                   page.amount_minor as "refund_amount_minor!", returns.created_at, returns.updated_at
            from page join read.returns on returns.id = page.return_id
            order by page.requested_on, page.return_id
            "#,
            after.day,
            after.id,
            last,
            PAGE,
        )
        .fetch_all(conn)
        .await
    }
}

#[derive(Debug, Default, Serialize)]
pub(super) struct RefundRow {
    refund_id: Uuid,
    order_number: String,
    order_id: Uuid,
    return_id: Option<Uuid>,
    customer_id: String,
    kind: String,
    status: String,
    made_on: NaiveDate,
    processed_on: Option<NaiveDate>,
    currency: String,
    amount_minor: i64,
    payment_transaction_id: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row for RefundRow {
    fn place(&self) -> Place {
        Place { day: self.made_on, id: self.refund_id, line_no: 0 }
    }

    async fn page(conn: &mut PgConnection, after: Place, last: NaiveDate) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as!(
            Self,
            r#"
            select id as refund_id, order_number, order_id, return_id, customer_id, kind, state as status, made_on, processed_on, currency,
                   amount_minor, payment_transaction_id, created_at, updated_at
            from read.refunds
            where made_on between $1 and $3 and (made_on, id) > ($1, $2)
            order by made_on, id limit $4
            "#,
            after.day,
            after.id,
            last,
            PAGE,
        )
        .fetch_all(conn)
        .await
    }
}
