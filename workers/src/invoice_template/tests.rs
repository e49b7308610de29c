use contracts::{Supply, TaxDocument, TaxTermsDocument};
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

/// Two pots and a lamp within a state, 18.00 of shipping with them, and a booklet that bears no tax.
pub(crate) fn taxed_order() -> OrderDocument {
    let mut order = order(&[("Pot", 2, 50_000), ("Lamp", 1, 99_900), ("Booklet", 1, 10_000)]);
    let tax = |taxable_minor, half, round_off_minor| {
        Some(TaxDocument { taxable_minor, cgst_minor: half, sgst_minor: half, igst_minor: 0, round_off_minor })
    };
    order.items[0].gst_rate = Some(5.0);
    order.items[0].tax = tax(95_238, 2_381, 0);
    order.items[0].shipping_minor = 1_800;
    order.items[0].shipping_tax = tax(1_714, 43, 0);
    order.items[1].gst_rate = Some(18.0);
    order.items[1].hsn = Some("9405".to_owned());
    order.items[1].tax = tax(84_661, 7_619, 1);
    order.shipping_minor = 1_800;
    order.total_minor = order.subtotal_minor + order.shipping_minor;
    order.tax_minor = 2 * (2_381 + 43 + 7_619);
    order.tax_terms = Some(TaxTermsDocument {
        supplier_gstin: "29AAACA0000A1ZU".to_owned(),
        supplier_state: "29 Karnataka".to_owned(),
        supply: Supply::IntraState,
        place_of_supply: "29 Karnataka".to_owned(),
        prices_include_tax: true,
    });
    order
}

/// The text of a page, without its markup.
fn text_of(page: &str) -> String {
    let body = page.split_once("<body>").expect("a body").1;
    let mut text = String::new();
    for part in body.split('<') {
        let (_, shown) = part.split_once('>').unwrap_or(("", part));
        text.push_str(shown);
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_tax_invoice_has_what_rule_46_wants() {
    let text = text_of(&html_of(&taxed_order()));
    for wanted in [
        "Tax Invoice AC/26-27/000123 Original for recipient",
        "Place of supply 29 Karnataka",
        "Reverse charge No",
        "# Item Qty (NOS) Price Taxable GST Amount",
        "Sold by ArtiCurated State 29 Karnataka GSTIN 29AAACA0000A1ZU",
        "1 Pot SKU SKU-1 HSN 6913 90 00 2 ₹500.00 ₹952.38 ₹47.62 5 % ₹1,000.00",
        "3 Booklet SKU SKU-3 HSN 6913 90 00 1 ₹100.00 ₹100.00 – ₹100.00",
        "Shipping ₹17.14 ₹0.86 ₹18.00",
        "Taxable value ₹1,816.13 Not taxed ₹100.00 CGST ₹100.43 SGST ₹100.43 Round off ₹0.01 Total ₹2,117.00",
        "Total in words Two thousand, one hundred and seventeen rupees only",
        "HSN GST rate Taxable value CGST SGST Total tax 6913 90 00 5 % ₹969.52 ₹24.24 ₹24.24 ₹48.48",
        "9405 18 % ₹846.61 ₹76.19 ₹76.19 ₹152.38",
        "For ArtiCurated Authorised signatory",
    ] {
        assert!(text.contains(wanted), "{wanted:?} in {text}");
    }
    assert!(!text.contains("IGST"));
}

#[test]
fn between_states_an_invoice_has_the_one_tax() {
    let mut order = taxed_order();
    for tax in order.items.iter_mut().flat_map(|item| [&mut item.tax, &mut item.shipping_tax]).flatten() {
        tax.igst_minor = tax.cgst_minor + tax.sgst_minor;
        (tax.cgst_minor, tax.sgst_minor) = (0, 0);
    }
    let terms = order.tax_terms.as_mut().expect("taxed");
    (terms.supply, terms.place_of_supply) = (Supply::InterState, "27 Maharashtra".to_owned());
    let text = text_of(&html_of(&order));
    assert!(text.contains("IGST ₹200.86") && text.contains("Place of supply 27 Maharashtra"), "{text}");
    assert!(!text.contains("CGST") && !text.contains("SGST"));
}

#[test]
fn who_is_not_registered_sends_no_tax_invoice() {
    let text = text_of(&html_of(&order(&[("Vase", 1, 100)])));
    assert!(!text.contains("Tax Invoice") && !text.contains("GST rate") && !text.contains("Reverse charge"));
    let order = order(&[("Vase", 1, 100)]);
    let table = Goods::new(order.items.iter().map(Line::from), "INR", None, 100).table().into_string();
    assert!(table.contains("Qty") && !table.contains("Taxable") && !table.contains("GST"), "{table}");
}
