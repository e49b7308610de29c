//! A new order: checks, amounts, document.

use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use contracts::{Address, EntityType, OrderDocument, OrderItemDocument, OrderState, TaxTermsDocument};
use domain::{DraftLine, GstRate, OrderDraft, OrderTotals};
use iso_currency::Currency;
use runtime::ApiError;
use runtime::http::RequestContext;
use serde_json::json;
use uuid::Uuid;

use crate::App;
use crate::api::Answer;
use crate::api::body::{Checks, PlaceOrder};
use crate::intent::{Conditions, Origin};
use crate::store::{Placement, PlacementItem, PlacementOutcome};
use crate::taxing::{self, Taxation};

/// A made-up order number is 40 random bits on a day; when it is taken all the same, another is made.
const NUMBER_ATTEMPTS: usize = 3;
const MAX_ADDRESS_FIELDS: usize = 20;

/// Places an order.
pub(crate) async fn place(
    app: &App,
    context: RequestContext,
    headers: &HeaderMap,
    body: PlaceOrder,
) -> Result<Answer, ApiError> {
    let at = app.clock.now();
    let priced = check(&body, &app.taxation, at)?;
    let conditions = Conditions::read(headers, "orders", &context, &body)?;
    let key = conditions.idempotency;
    let origin = Origin::new(context, body.actor.clone(), None, at);
    let guard = app.in_flight.enter(key.as_ref())?;
    let attempts = match (&body.order_number, &key) {
        (None, _) => NUMBER_ATTEMPTS,
        // The number may have been taken a moment ago by this very request in another process: looked at once more,
        // its answer is known.
        (Some(_), Some(_)) => 2,
        (Some(_), None) => 1,
    };
    for _ in 0..attempts {
        let id = app.ids.next();
        let number = body.order_number.clone().unwrap_or_else(|| made_up_number(id, origin.at));
        let document = document(app, id, number, &body, &priced, origin.at);
        let mut command = placement(app, &document, &origin)?;
        command.idempotency.clone_from(&key);
        match app.placements.execute(command).await? {
            PlacementOutcome::Placed { body } => {
                return Ok(Answer {
                    status: StatusCode::CREATED,
                    entity: EntityType::Order,
                    id,
                    version: 1,
                    body,
                    replayed: false,
                });
            }
            PlacementOutcome::Known(known) => return Answer::known(known, key.as_ref(), EntityType::Order),
            PlacementOutcome::NumberTaken => {}
        }
    }
    drop(guard);
    let number = body.order_number.unwrap_or_default();
    Err(ApiError::conflict(
        "ORDER_NUMBER_EXISTS",
        format!("there is an order with the number {number:?}; choose another"),
    )
    .with_details(json!({ "order_number": number })))
}

/// What an order comes to.
struct Priced {
    totals: OrderTotals,
    rates: Vec<Option<GstRate>>,
    terms: Option<TaxTermsDocument>,
}

fn check(body: &PlaceOrder, taxation: &Taxation, at: DateTime<Utc>) -> Result<Priced, ApiError> {
    let mut checks = Checks::default();
    if let Some(number) = &body.order_number {
        check_number(&mut checks, number);
    }
    checks.text("customer_id", &body.customer_id, 64);
    if let Some(email) = &body.customer_email
        && !is_email(email)
    {
        checks.wrong("customer_email", "must be an e-mail address of at most 254 characters, like name@example.com");
    }
    if let Some(currency) = &body.currency
        && Currency::from_code(currency).is_none()
    {
        checks.wrong("currency", "must be an ISO 4217 code in upper case, like INR");
    }
    checks.optional("payment_method", body.payment_method.as_ref(), 64);
    checks.optional("actor", body.actor.as_ref(), 64);
    check_address(&mut checks, "shipping_address", body.shipping_address.as_ref());
    check_address(&mut checks, "billing_address", body.billing_address.as_ref());
    for (index, item) in body.items.iter().enumerate().take(domain::MAX_LINES) {
        let field = |name: &str| format!("items[{index}].{name}");
        checks.text(&field("sku"), &item.sku, 64);
        checks.text(&field("title"), &item.title, 255);
        checks.optional(&field("hsn"), item.hsn.as_ref(), 16);
    }
    let terms = taxation.terms(&mut checks, body);
    let rates = taxation.rates(&mut checks, &body.items, at);
    let draft = OrderDraft {
        lines: body
            .items
            .iter()
            // What is beyond the limit is refused, whatever it bears.
            .zip(rates.iter().copied().chain(std::iter::repeat(None)))
            .map(|(item, rate)| DraftLine {
                quantity: item.quantity,
                unit_price_minor: item.unit_price_minor,
                rate: rate.filter(|_| terms.is_some()),
            })
            .collect(),
        discount_minor: body.discount_minor,
        shipping_minor: body.shipping_minor,
        terms: taxing::rules(terms.as_ref()),
    };
    let totals = draft.totals();
    for error in totals.as_ref().err().into_iter().flatten() {
        checks.wrong(error.field.clone(), error.message.clone());
    }
    checks.done()?;
    let totals = totals.map_err(|errors| ApiError::internal(format!("unreported problems: {errors:?}")))?;
    Ok(Priced { totals, rates, terms })
}

/// The number becomes part of a file name (`invoice_<order_number>.pdf`), so it must be harmless in one.
fn check_number(checks: &mut Checks, number: &str) {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !(1..=32).contains(&number.len())
        || !number.chars().all(harmless)
        || !number.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        checks.wrong(
            "order_number",
            "must be 1 to 32 letters, digits, '.', '_' or '-', and begin with a letter or digit",
        );
    }
}

fn is_email(text: &str) -> bool {
    let sound =
        |part: &str| !part.is_empty() && part.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '@');
    text.len() <= 254 && text.split_once('@').is_some_and(|(name, host)| sound(name) && sound(host))
}

fn check_address(checks: &mut Checks, name: &str, address: Option<&Address>) {
    let Some(address) = address else { return };
    let named = [
        ("name", &address.name),
        ("line1", &address.line1),
        ("line2", &address.line2),
        ("city", &address.city),
        ("state", &address.state),
        ("postal_code", &address.postal_code),
        ("country", &address.country),
        ("phone", &address.phone),
        ("gstin", &address.gstin),
    ];
    for (field, text) in named {
        checks.optional(&format!("{name}.{field}"), text.as_ref(), 255);
    }
    if address.other.len() > MAX_ADDRESS_FIELDS {
        checks.wrong(name, format!("must not have more than {MAX_ADDRESS_FIELDS} further fields"));
    }
    for (field, text) in &address.other {
        checks.text(&format!("{name}.{field}"), text, 255);
        checks.text(name, field, 64);
    }
    taxing::check_gstin(checks, name, address);
}

/// `AC-20261121-7K3M9QXP`: the day in UTC, and the id's last 40 bits in Crockford's base 32.
fn made_up_number(id: Uuid, at: DateTime<Utc>) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bits = id.as_u128();
    let tail: String = (0..8).rev().map(|place| char::from(ALPHABET[(bits >> (5 * place)) as usize & 31])).collect();
    format!("AC-{}-{tail}", at.format("%Y%m%d"))
}

fn document(
    app: &App,
    id: Uuid,
    number: String,
    body: &PlaceOrder,
    priced: &Priced,
    at: DateTime<Utc>,
) -> OrderDocument {
    let Priced { totals, rates, terms } = priced;
    let taxed = |rate: &Option<GstRate>, charge| terms.as_ref().and(rate.as_ref()).map(|_| taxing::tax(charge));
    let items = (1..)
        .zip(body.items.iter().zip(rates).zip(&totals.lines))
        .map(|(line_no, ((item, rate), amounts))| OrderItemDocument {
            id: app.ids.next(),
            line_no,
            sku: item.sku.clone(),
            title: item.title.clone(),
            quantity: i32::try_from(item.quantity).unwrap_or(i32::MAX),
            unit_price_minor: item.unit_price_minor,
            hsn: item.hsn.clone(),
            gst_rate: rate.map(GstRate::per_cent),
            discount_minor: amounts.discount.minor(),
            paid_minor: amounts.goods.paid,
            tax: taxed(rate, &amounts.goods),
            shipping_minor: amounts.shipping.paid,
            shipping_tax: taxed(rate, &amounts.shipping).filter(|_| amounts.shipping.paid > 0),
        })
        .collect();
    OrderDocument {
        id,
        order_number: number,
        state: OrderState::PendingPayment,
        version: 1,
        customer_id: body.customer_id.clone(),
        customer_email: body.customer_email.clone(),
        currency: body.currency.clone().unwrap_or_else(|| "INR".to_owned()),
        payment_method: body.payment_method.clone(),
        shipping_address: body.shipping_address.clone(),
        billing_address: body.billing_address.clone(),
        items,
        subtotal_minor: totals.subtotal.minor(),
        discount_minor: totals.discount.minor(),
        shipping_minor: totals.shipping.minor(),
        tax_minor: totals.tax.minor(),
        total_minor: totals.total.minor(),
        tax_terms: terms.clone(),
        payment_transaction_id: None,
        carrier: None,
        tracking_number: None,
        created_at: at,
        updated_at: at,
        paid_at: None,
        processing_at: None,
        shipped_at: None,
        delivered_at: None,
        cancelled_at: None,
        invoice: None,
    }
}

fn placement(app: &App, order: &OrderDocument, origin: &Origin) -> Result<Placement, ApiError> {
    let items = order.items.iter().map(|item| PlacementItem {
        id: item.id,
        sku: item.sku.clone(),
        title: item.title.clone(),
        quantity: item.quantity,
        unit_price_minor: item.unit_price_minor,
        paid_minor: item.paid_minor,
        shipping_minor: item.shipping_minor,
    });
    Ok(Placement {
        id: order.id,
        order_number: order.order_number.clone(),
        customer_id: order.customer_id.clone(),
        currency: order.currency.clone(),
        total_minor: order.total_minor,
        document: serde_json::to_value(order).map_err(ApiError::internal)?,
        items: items.collect(),
        transition: origin.transition("order", order.id, OrderState::PendingPayment.as_str(), &json!({})),
        event_id: app.ids.next(),
        headers: origin.headers(),
        at: origin.at,
        idempotency: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_numbers_are_short_and_differ() {
        let ids = runtime::Ids::system();
        let numbers: std::collections::HashSet<_> =
            (0..10_000).map(|_| made_up_number(ids.next(), DateTime::UNIX_EPOCH)).collect();
        assert_eq!(numbers.len(), 10_000);
        assert!(numbers.iter().all(|number| number.len() == 20 && number.starts_with("AC-19700101-")));
    }

    #[test]
    fn e_mail_addresses_are_told_from_other_text() {
        for good in ["a@b", "name.surname+tag@example.com", "नाम@उदाहरण.भारत"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n"] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn an_order_number_is_harmless_in_a_file_name() {
        let problems = |number| {
            let mut checks = Checks::default();
            check_number(&mut checks, number);
            checks.done().is_err()
        };
        for good in ["AC-1", "2026.11_x", "A"] {
            assert!(!problems(good), "{good}");
        }
        for bad in ["", "../x", "a/b", ".hidden", "a b", "é", "-x", "123456789012345678901234567890123"] {
            assert!(problems(bad), "{bad}");
        }
    }
}
