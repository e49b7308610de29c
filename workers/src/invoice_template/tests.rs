use serde_json::{Value, json};

use super::*;

/// An order of these (title, quantity, unit price), shipped, with two addresses.
pub(crate) fn order(items: &[(&str, i64, i64)]) -> OrderDocument {
    let subtotal: i64 = items.iter().map(|(_, quantity, price)| quantity * price).sum();
    let items: Vec<Value> = items.iter().enumerate().map(|(index, item)| item_json(index + 1, *item)).collect();
    let at = "2026-04-05T20:00:00Z";
    serde_json::from_value(json!({
        "id": "0196053e-9d80-7000-8000-000000000001", "order_number": "AC-2026-000123", "state": "SHIPPED", "version": 4,
        "customer_id": "CUST-0042", "customer_email": "meera@example.in", "currency": "INR", "payment_method": "UPI",
        "billing_address": {"name": "Meera Iyer", "street": "27 Residency Road", "city": "Bengaluru",
                            "pincode": "560025", "gstin": "29ABCDE1234F1Z5"},
        "shipping_address": {"name": "मीरा अय्यर", "line1": "14, Kasturba Road", "line2": "Opp. Cubbon Park",
                             "city": "Bengaluru", "state": "Karnataka", "postal_code": "560001", "country": "India",
                             "phone": "+91 98450 12345", "delivery_note": "Ring the brass bell"},
        "items": items, "subtotal_minor": subtotal, "discount_minor": 0, "shipping_minor": 0, "total_minor": subtotal,
        "payment_transaction_id": "pay_QX7f3k29", "carrier": "Blue Dart", "tracking_number": "BD 7745 1290",
        "created_at": at, "updated_at": at, "paid_at": at, "processing_at": at, "shipped_at": at,
    }))
    .expect("an order document")
}

fn item_json(line_no: usize, (title, quantity, price): (&str, i64, i64)) -> Value {
    json!({
        "id": "0196053e-9d80-7000-8000-000000000002", "line_no": line_no, "sku": format!("SKU-{line_no}"),
        "title": title, "quantity": quantity, "unit_price_minor": price, "hsn": "6913 90 00",
        "discount_minor": 0, "paid_minor": quantity * price,
    })
}

pub(crate) fn html_of(order: &OrderDocument) -> String {
    let view = InvoiceView {
        order,
        invoice_number: "AC/26-27/000123",
        issued_at: "2026-04-07T19:30:00Z".parse().expect("a time"),
        return_window_days: 30,
    };
    invoice_html(&view, &Brand::default()).into_string()
}

#[test]
fn whatever_a_customer_may_type_is_text_and_not_markup() {
    let hostile = "<script>alert('x')</script> & </style>";
    let mut order = order(&[(hostile, 1, 100)]);
    for text in [&mut order.order_number, &mut order.customer_id, &mut order.items[0].sku] {
        hostile.clone_into(text);
    }
    let address = Address {
        name: Some(hostile.to_owned()),
        line1: Some(hostile.to_owned()),
        other: [(hostile.to_owned(), hostile.to_owned())].into(),
        ..Address::default()
    };
    order.billing_address = Some(address);
    order.currency = hostile.to_owned();
    let page = html_of(&order);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert_eq!(page.matches("</style>").count(), 1);
}

#[test]
fn nothing_in_a_footer_ends_its_string() {
    assert_eq!(css_string("A c·9"), r#""A c\b7 9""#);
    assert_eq!(css_string("\"}\\</style>"), r#""\22 \7d \5c \3c \2f style\3e ""#);
}

#[test]
fn dates_are_those_of_india() {
    let page = html_of(&order(&[("Vase", 1, 100)]));
    assert!(page.contains("8 April 2026"), "the evening of the 7th in UTC");
    assert!(page.contains("6 April 2026"));
}

#[test]
fn every_line_of_an_address_is_there_with_what_has_no_field() {
    let order = order(&[("Vase", 1, 100)]);
    assert_eq!(
        address_lines(order.shipping_address.as_ref().expect("is given")),
        [
            "14, Kasturba Road",
            "Opp. Cubbon Park",
            "Bengaluru, Karnataka, 560001",
            "India",
            "Phone +91 98450 12345",
            "Delivery note: Ring the brass bell",
        ]
    );
    let page = html_of(&order);
    assert!(page.contains("Bill to") && page.contains("Ship to") && page.contains("GSTIN 29ABCDE1234F1Z5"));
}

#[test]
fn one_address_serves_for_both_and_none_leaves_the_customer() {
    let mut order = order(&[("Vase", 1, 100)]);
    order.billing_address = None;
    let page = html_of(&order);
    assert!(page.contains("Bill and ship to") && page.contains("Ring the brass bell"));
    order.shipping_address = None;
    assert!(html_of(&order).contains("CUST-0042"));
}

#[test]
fn totals_add_up_on_the_page() {
    let mut order = order(&[("Vase", 2, 12_345_600), ("Rug", 1, 500)]);
    order.discount_minor = 250_000;
    order.shipping_minor = 75_000;
    order.total_minor = order.subtotal_minor - order.discount_minor + order.shipping_minor;
    let page = html_of(&order);
    for amount in ["₹1,23,456.00", "₹2,46,912.00", "₹5.00", "₹2,46,917.00", "-₹2,500.00", "₹750.00", "₹2,45,167.00"]
    {
        assert!(page.contains(amount), "{amount}");
    }
    assert!(page.contains("within 30 days"));
}
