//! Orders and returns for the tests of documents and e-mails.

use contracts::{Hsn, OrderDocument, ReturnDocument, Supply, TaxDocument, TaxTermsDocument};
use serde_json::{Value, json};

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

/// Two pots and a lamp within a state, 18.00 of shipping with them, and a booklet without tax.
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
    order.items[1].hsn = Hsn::parse("9405").ok();
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
        sez: false,
        lut_reference: None,
    });
    order
}

/// A return of one pot of [`taxed_order`] with half of the shipping, or of one piece of another order.
pub(crate) fn returned(order: &OrderDocument) -> ReturnDocument {
    let item = &order.items[0];
    let half = |tax: TaxDocument| {
        let each = tax.cgst_minor / 2;
        let taxable_minor = (tax.taxable_minor + tax.cgst_minor + tax.sgst_minor) / 2 - 2 * each;
        TaxDocument { taxable_minor, cgst_minor: each, sgst_minor: each, ..TaxDocument::default() }
    };
    let amount = item.unit_price_minor + item.shipping_minor / 2;
    let at = "2026-04-07T19:30:00Z";
    serde_json::from_value(json!({
        "id": order.id, "order_id": order.id, "order_number": order.order_number, "state": "APPROVED", "version": 2,
        "customer_id": "CUST-0042", "currency": order.currency, "reason": "Smaller than expected",
        "items": [{ "id": item.id, "order_item_id": item.id, "sku": item.sku, "title": item.title, "quantity": 1,
                    "hsn": item.hsn, "gst_rate": item.gst_rate, "tax": item.tax.map(half), "amount_minor": amount,
                    "shipping_minor": item.shipping_minor / 2, "shipping_tax": item.shipping_tax.map(half) }],
        "refund_amount_minor": amount, "rejection_category": "NOT_ORIGINAL_STATE",
        "rejection_reason": "the glaze is scratched", "created_at": at, "updated_at": at, "approved_at": at,
        "rejected_at": at,
    }))
    .expect("a return document")
}

/// A page for a snapshot: one element per line. In place of the style sheet stand the names of the embedded fonts and the
/// footer, and drawings are left out.
pub(crate) fn readable(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").expect("a style sheet");
    let (style, rest) = rest.split_once("</style>").expect("its end");
    let fonts = style.split("@font-face{font-family:").skip(1).filter_map(|face| Some(face.split_once(';')?.0));
    let fonts: Vec<_> = fonts.collect();
    let footer = style.rsplit_once("@page{@bottom-left").map_or("", |(_, footer)| footer);
    let style = format!("{} {footer}", fonts.join(", "));
    let rest = match (rest.find("<svg"), rest.find("</svg>")) {
        (Some(start), Some(end)) => format!("{}<svg>{}", &rest[..start], &rest[end..]),
        _ => rest.to_owned(),
    };
    format!("{head}<style>{}</style>{rest}\n", style.trim()).replace("><", ">\n<")
}

/// The text of a page, without its markup.
pub(crate) fn text_of(page: &str) -> String {
    let body = page.split_once("<body>").expect("a body").1;
    let mut text = String::new();
    for part in body.split('<') {
        let (_, shown) = part.split_once('>').unwrap_or(("", part));
        text.push_str(shown);
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
