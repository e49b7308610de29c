use super::*;
use crate::documents::fixtures::{order, readable, returned, taxed_order, text_of};
use crate::documents::hostile;

fn html_of(order: &OrderDocument) -> String {
    let view = CreditNoteView {
        order,
        credited: &Credited::Return(Box::new(returned(order))),
        number: "CN/26-27/0000007",
        issued_at: "2026-04-21T06:00:00Z".parse().expect("a time"),
        invoice_number: "AC/26-27/0000123",
        invoiced_at: "2026-04-07T19:30:00Z".parse().expect("a time"),
        is_late: false,
    };
    credit_note_html(&view, &Brand::default()).into_string()
}

#[test]
fn a_credit_note_with_tax() {
    insta::assert_snapshot!(readable(&html_of(&taxed_order())));
}

#[test]
fn a_credit_note_of_a_shop_that_is_not_registered() {
    insta::assert_snapshot!(readable(&html_of(&order(&[("Vase", 2, 50_000)]))));
}

#[test]
fn a_credit_note_has_what_rule_53_requires() {
    let text = text_of(&html_of(&taxed_order()));
    for expected in [
        "Credit Note CN/26-27/0000007 Original for recipient",
        "Date 21 April 2026",
        "Against invoice AC/26-27/0000123 Invoice date 8 April 2026",
        "GSTIN 29AAACA0000A1ZU",
        "GSTIN 29ABCDE1234F1Z5",
        "Taxable value ₹484.78 CGST ₹12.11 SGST ₹12.11",
        "Authorised signatory",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}

#[tokio::test]
async fn hostile_texts_are_printed_as_texts_on_the_page() {
    hostile::print_all(html_of).await;
}
