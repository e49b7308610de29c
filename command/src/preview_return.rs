//! What a return would refund, without requesting it. Nothing is written, and nothing is locked.

use chrono::NaiveDate;
use contracts::{EntityType, ReturnItemDocument};
use domain::{RequestedItem, decide_return, returnable_units};
use runtime::ApiError;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::order_books::OrderBooks;
use crate::outcome::unknown_entity;
use crate::request_return::{ReturnItem, refusal_details, refusal_message};
use crate::store;

/// The question: would these units be taken back?
#[derive(Debug)]
pub(crate) struct PreviewReturn {
    pub(crate) order_id: Uuid,
    /// `None`: all that may be returned.
    pub(crate) items: Option<Vec<ReturnItem>>,
}

/// Whether a return may be requested, and what it would refund.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReturnPreview {
    pub(crate) order_id: Uuid,
    pub(crate) eligible: bool,
    /// Why not. The same as `details.reason` of the refused request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "OUTSIDE_RETURN_WINDOW")]
    pub(crate) reason: Option<&'static str>,
    /// Why not, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// What else the refused request would say.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub(crate) details: Map<String, Value>,
    /// The last day on which a return may be requested, in `BUSINESS_TIMEZONE`, once the order is delivered. Units that were missing in an
    /// earlier return may have more time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_day: Option<NaiveDate>,
    pub(crate) currency: String,
    /// The units with what they would refund. They have no ids.
    #[schema(value_type = Vec<ReturnPreviewItem>)]
    pub(crate) items: Vec<ReturnPreviewItem>,
    /// The sum: an estimate, before fees. What is refunded is fixed when the return is completed.
    pub(crate) refund_amount_minor: i64,
}

/// Units of one item, with what they would refund.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReturnPreviewItem {
    pub(crate) order_item_id: Uuid,
    pub(crate) sku: String,
    pub(crate) title: String,
    /// 0 where only shipping is refunded, for units that were returned before.
    pub(crate) quantity: i32,
    /// With the tax and the refunded shipping.
    pub(crate) amount_minor: i64,
    /// The tax in the refund of the goods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tax: Option<contracts::TaxDocument>,
    /// The refunded shipping, with the tax. Part of `amount_minor`.
    pub(crate) shipping_minor: i64,
    /// The tax in `shipping_minor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shipping_tax: Option<contracts::TaxDocument>,
}

impl From<ReturnItemDocument> for ReturnPreviewItem {
    fn from(item: ReturnItemDocument) -> Self {
        Self {
            order_item_id: item.order_item_id,
            sku: item.sku.as_str().to_owned(),
            title: item.title,
            quantity: item.quantity,
            amount_minor: item.amount_minor,
            tax: item.tax,
            shipping_minor: item.shipping_minor,
            shipping_tax: item.shipping_tax,
        }
    }
}

/// Answers the question.
///
/// # Errors
/// 404 for an unknown order, or one of another customer.
pub(crate) async fn preview(
    app: &App,
    owner: Option<&str>,
    question: PreviewReturn,
) -> Result<ReturnPreview, ApiError> {
    let (order_id, policy, now) = (question.order_id, app.policy, app.clock.now());
    let order = store::read_order(&app.pool, order_id, owner).await?;
    let books = OrderBooks::read(order.ok_or_else(|| unknown_entity(EntityType::Order, order_id))?)?;
    let for_return = books.for_return(policy)?;
    let wanted = match &question.items {
        Some(items) => items.iter().map(|item| (item.order_item_id, item.quantity)).collect(),
        None => returnable_units(&for_return, policy, now).map(all_units).unwrap_or_default(),
    };
    let requested: Vec<_> =
        wanted.into_iter().map(|(order_item_id, quantity)| RequestedItem { order_item_id, quantity }).collect();
    let ids: Vec<Uuid> = requested.iter().map(|item| item.order_item_id).collect();
    let elsewhere = store::items_elsewhere(&mut *app.pool.acquire().await?, order_id, &ids).await?;
    let mut preview = ReturnPreview {
        order_id,
        eligible: false,
        reason: None,
        message: None,
        details: Map::new(),
        last_day: for_return.delivered_at.map(|at| policy.last_day(at)),
        currency: books.order.currency.clone(),
        items: Vec::new(),
        refund_amount_minor: 0,
    };
    match decide_return(&for_return, &requested, &elsewhere, &policy, now) {
        Ok(lines) => {
            for line in &lines {
                // It is never stored, so its id is never seen.
                let mut item = books.item_of(line.order_item_id, Uuid::nil())?;
                item.quantity = i32::try_from(line.quantity).map_err(ApiError::internal)?;
                books.price(&mut item, line)?;
                preview.refund_amount_minor += item.amount_minor;
                preview.items.push(item.into());
            }
            preview.eligible = true;
        }
        Err(refusal) => {
            preview.reason = Some(refusal.reason());
            preview.message = Some(refusal_message(&refusal, &books.order));
            preview.details = refusal_details(&refusal);
        }
    }
    Ok(preview)
}

fn all_units(units: Vec<(Uuid, u32)>) -> Vec<(Uuid, i64)> {
    units.into_iter().filter(|(_, units)| *units > 0).map(|(id, units)| (id, i64::from(units))).collect()
}
