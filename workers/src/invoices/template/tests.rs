use contracts::{Address, CustomerId, Sku, Supply};

use super::*;
use crate::documents::fixtures::{order, readable, taxed_order, text_of};

pub(super) fn html_of(order: &OrderDocument) -> String {
    let view = InvoiceView {
        order,
        invoice_number: "AC/26-27/0000123",
        issued_at: "2026-04-07T19:30:00Z".parse().expect("a time"),
        e_invoice: None,
        return_window_days: 30,
    };
    invoice_html(&view, &Brand::default()).into_string()
}

fn discounted_order() -> OrderDocument {
    let mut order = order(&[("नीली मिट्टी का फूलदान", 2, 12_345_600), ("Rug", 1, 500)]);
    order.discount_minor = 250_000;
    order.shipping_minor = 75_000;
    order.total_minor = order.subtotal_minor - order.discount_minor + order.shipping_minor;
    order
}

#[test]
fn an_invoice_of_a_shop_that_is_not_registered() {
    insta::assert_snapshot!(readable(&html_of(&discounted_order())));
}

#[test]
fn a_tax_invoice() {
    insta::assert_snapshot!(readable(&html_of(&taxed_order())));
}

#[test]
fn what_a_customer_types_is_text_and_not_markup() {
    let hostile = "<script>alert('x')</script> & </style>";
    let mut order = order(&[(hostile, 1, 100)]);
    order.customer_id = CustomerId::parse(hostile).expect("any text");
    order.items[0].sku = Sku::parse(hostile).expect("any text");
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
fn dates_are_those_of_india() {
    let page = html_of(&order(&[("Vase", 1, 100)]));
    assert!(page.contains("8 April 2026"), "it is the evening of the 7th in UTC");
    assert!(page.contains("6 April 2026"));
}

#[test]
fn an_address_shows_every_line_and_fields_we_do_not_know() {
    let order = order(&[("Vase", 1, 100)]);
    assert_eq!(
        crate::documents::address_lines(order.shipping_address.as_ref().expect("is given")),
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
fn one_address_serves_both_purposes_and_without_one_the_customer_id_is_shown() {
    let mut order = order(&[("Vase", 1, 100)]);
    order.billing_address = None;
    let page = html_of(&order);
    assert!(page.contains("Bill and ship to") && page.contains("Ring the brass bell"));
    order.shipping_address = None;
    assert!(html_of(&order).contains("CUST-0042"));
}

#[test]
fn totals_add_up_on_the_page() {
    let text = text_of(&html_of(&discounted_order()));
    for expected in [
        "2 ₹1,23,456.00 ₹2,46,912.00",
        "1 ₹5.00 ₹5.00",
        "Subtotal ₹2,46,917.00 Discount -₹2,500.00 Shipping ₹750.00 Total ₹2,45,167.00",
        "within 30 days",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}

#[test]
fn a_tax_invoice_has_what_rule_46_requires() {
    let text = text_of(&html_of(&taxed_order()));
    for expected in [
        "Tax Invoice AC/26-27/0000123 Original for recipient",
        "Place of supply 29 Karnataka",
        "Reverse charge No",
        "# Item Qty (NOS) Price Taxable GST Amount",
        "Sold by ArtiCurated State 29 Karnataka GSTIN 29AAACA0000A1ZU",
        "1 Pot SKU SKU-1 HSN 69139000 2 ₹500.00 ₹952.38 ₹47.62 5 % ₹1,000.00",
        "3 Booklet SKU SKU-3 HSN 69139000 1 ₹100.00 ₹100.00 – ₹100.00",
        "Shipping ₹17.14 ₹0.86 ₹18.00",
        "Taxable value ₹1,816.13 Not taxed ₹100.00 CGST ₹100.43 SGST ₹100.43 Round off ₹0.01 Total ₹2,117.00",
        "Total in words Two thousand, one hundred and seventeen rupees only",
        "HSN GST rate Taxable value CGST SGST Total tax 69139000 5 % ₹969.52 ₹24.24 2.5 % ₹24.24 2.5 % ₹48.48",
        "9405 18 % ₹846.61 ₹76.19 9 % ₹76.19 9 % ₹152.38",
        "For ArtiCurated Authorised signatory",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    assert!(!text.contains("IGST"));
}

#[test]
fn between_states_an_invoice_has_igst_only() {
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

/// The title of an invoice of these rates, for a buyer who is registered or not.
fn title(rates: [f64; 3], registered: bool) -> String {
    let mut order = taxed_order();
    for (item, rate) in order.items.iter_mut().zip(rates) {
        item.gst_rate = Some(rate);
    }
    for address in [&mut order.shipping_address, &mut order.billing_address].into_iter().flatten() {
        address.gstin = registered.then(|| "27AAPFU0939F1ZV".to_owned());
    }
    let text = text_of(&html_of(&order));
    let (before, _) = text.split_once(" AC/26-27/").expect("a number");
    before.rsplit_once("care ").map_or(before, |(_, title)| title).to_owned()
}

#[test]
fn a_document_is_called_what_the_law_calls_it() {
    for (rates, registered, called) in [
        ([5.0, 18.0, 12.0], false, "Tax Invoice"),
        ([5.0, 18.0, 12.0], true, "Tax Invoice"),
        ([0.0, 0.0, 0.0], false, "Bill of Supply"),
        ([0.0, 0.0, 0.0], true, "Bill of Supply"),
        ([5.0, 0.0, 0.0], false, "Invoice-cum-Bill of Supply"),
        ([5.0, 0.0, 0.0], true, "Tax Invoice"),
    ] {
        assert_eq!(title(rates, registered), called, "{rates:?} {registered}");
    }
}

#[test]
fn goods_that_leave_india_and_union_territories_are_named_as_the_law_does() {
    let mut order = taxed_order();
    assert!(!html_of(&order).contains("SUPPLY MEANT FOR EXPORT"));
    let mut supplied = |place: &str, supply| {
        let terms = order.tax_terms.as_mut().expect("taxed");
        (terms.supply, terms.place_of_supply) = (supply, place.to_owned());
        text_of(&html_of(&order))
    };
    let chandigarh = supplied("04 Chandigarh", Supply::IntraState);
    assert!(chandigarh.contains("CGST UTGST") && !chandigarh.contains("SGST"), "{chandigarh}");
    let abroad = supplied("96 Outside India", Supply::InterState);
    assert!(abroad.contains("SUPPLY MEANT FOR EXPORT ON PAYMENT OF INTEGRATED TAX"), "{abroad}");
}

#[test]
fn a_shop_that_is_not_registered_issues_no_tax_invoice() {
    let text = text_of(&html_of(&order(&[("Vase", 1, 100)])));
    assert!(!text.contains("Tax Invoice") && !text.contains("GST rate") && !text.contains("Reverse charge"));
    let order = order(&[("Vase", 1, 100)]);
    let table = TaxTable::of_order(&order).table().into_string();
    assert!(table.contains("Qty") && !table.contains("Taxable") && !table.contains("GST"), "{table}");
}
