use bytes::Bytes;
use contracts::{InvoiceDocument, RefundDocument, RefundKind, Sku};
use serde_json::json;

use super::content::EmailContent;
use super::message::{Attachment, Envelope, message};
use super::templates::content;
use super::*;
use crate::documents::Brand;
use crate::documents::fixtures::{order, readable, returned};

const AT: &str = "2026-04-07T19:30:00Z";

fn invoice(order: &OrderDocument) -> InvoiceDocument {
    serde_json::from_value(json!({
        "id": order.id, "order_id": order.id, "order_number": order.order_number, "invoice_number": "AC/26-27/0000123",
        "customer_id": "CUST-0042", "customer_email": "meera@example.in", "currency": "INR",
        "total_minor": order.total_minor, "path": "invoice_AC-2026-000123.pdf", "size_bytes": 4, "sha256": "00",
        "issued_at": AT, "generated_at": AT, "carrier": order.carrier, "tracking_number": order.tracking_number,
    }))
    .expect("an invoice")
}

fn refund(order: &OrderDocument) -> RefundDocument {
    serde_json::from_value(json!({
        "id": order.id, "return_id": order.id, "order_id": order.id, "order_number": order.order_number,
        "kind": "RETURN", "customer_id": "CUST-0042", "status": "PROCESSED", "version": 2, "amount_minor": 12_345_600,
        "currency": "INR", "transaction_id": "txn_4711", "gateway_reference": "631105280042", "created_at": AT,
        "updated_at": AT, "processed_at": AT,
    }))
    .expect("a refund")
}

/// One notification of each kind about an order.
fn notifications(order: &OrderDocument) -> [NotificationKind; 13] {
    let mut withdrawn = returned(order);
    withdrawn.rejection_category = Some("WITHDRAWN".to_owned());
    let (mut cancellation, mut unpaid) = (refund(order), order.clone());
    cancellation.kind = RefundKind::Cancellation;
    let goodwill = RefundDocument {
        kind: RefundKind::Goodwill,
        return_id: None,
        reason: Some("the glaze has a hairline crack".to_owned()),
        ..refund(order)
    };
    unpaid.paid_at = None;
    [
        NotificationKind::OrderReceived(Box::new(order.clone())),
        NotificationKind::OrderConfirmed(Box::new(order.clone())),
        NotificationKind::OrderShipped(invoice(order)),
        NotificationKind::ReturnApproved(Box::new(returned(order))),
        NotificationKind::ReturnRejected(Box::new(returned(order))),
        NotificationKind::RefundProcessed(refund(order)),
        NotificationKind::OrderCancelled(Box::new(unpaid)),
        NotificationKind::ReturnRejected(Box::new(withdrawn)),
        NotificationKind::RefundProcessed(cancellation),
        NotificationKind::RefundProcessed(goodwill),
        NotificationKind::RefundDelayed(refund(order)),
        NotificationKind::InvoiceRegistered(invoice(order)),
        NotificationKind::InvoiceAgain(Box::new(order.clone()), invoice(order)),
    ]
}

fn contents(order: &OrderDocument) -> [EmailContent; 13] {
    notifications(order).map(|kind| content(&kind, Some(order), 30))
}

fn vase() -> OrderDocument {
    order(&[("नीली मिट्टी का फूलदान", 2, 245_000), ("Dhokra elephant", 1, 12_345_600)])
}

/// Subject, text and HTML of an e-mail.
fn whole(content: &EmailContent) -> String {
    let html = html::render(content, &Brand::default()).into_string();
    let text = text::render(content, &Brand::default());
    format!("Subject: {}\n\n{text}\n{}", content.subject, readable(&html))
}

#[test]
fn each_e_mail_as_the_customer_gets_it() {
    for (kind, content) in notifications(&vase()).iter().zip(contents(&vase())) {
        let name = match kind {
            NotificationKind::RefundProcessed(refund) if refund.kind == RefundKind::Cancellation => {
                "refund_of_a_cancellation"
            }
            NotificationKind::RefundProcessed(refund) if refund.kind == RefundKind::Goodwill => "refund_as_goodwill",
            kind => kind.name(),
        };
        insta::assert_snapshot!(name, whole(&content));
    }
}

#[test]
fn a_cancelled_order_that_was_paid_says_what_is_given_back() {
    let mut paid = vase();
    paid.paid_at = Some(AT.parse().expect("a time"));
    let content = content(&NotificationKind::OrderCancelled(Box::new(paid)), None, 30);
    insta::assert_snapshot!(text::render(&content, &Brand::default()));
}

#[test]
fn a_return_that_was_not_reviewed_in_time_is_not_called_reviewed() {
    let mut expired = returned(&vase());
    expired.rejection_category = Some("REVIEW_EXPIRED".to_owned());
    expired.rejection_reason = None;
    let content = content(&NotificationKind::ReturnRejected(Box::new(expired)), Some(&vase()), 30);
    insta::assert_snapshot!(text::render(&content, &Brand::default()));
}

/// What HTML shows, without its tags.
fn shown(html: &str) -> Vec<String> {
    let (_, body) = html.split_once("<body").expect("a body");
    let texts = body.split('>').skip(1).filter_map(|piece| piece.split_once('<')).map(|(text, _)| text.trim());
    let plain =
        |text: &str| text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    texts.filter(|text| !text.is_empty() && !text.starts_with('×') && *text != "\u{a0}").map(plain).collect()
}

#[test]
fn the_text_says_everything_that_the_html_says() {
    for content in contents(&vase()) {
        let text = text::render(&content, &Brand::default()).to_lowercase();
        let html = html::render(&content, &Brand::default()).into_string();
        for said in shown(&html).into_iter().filter(|said| *said != content.preview) {
            assert!(text.contains(&said.to_lowercase()), "{}: {said} is not in\n{text}", content.subject);
        }
    }
}

#[test]
fn html_needs_nothing_from_outside_and_is_narrow() {
    for content in contents(&vase()) {
        let html = html::render(&content, &Brand::default()).into_string();
        for outside in ["src=", "url(", "<link", "<script", "http"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("max-width:600px") && html.len() < 100_000, "Gmail cuts off what is longer");
    }
}

#[test]
fn what_a_customer_types_is_text_and_not_markup() {
    let hostile = "<script>alert('x')</script> & </style>";
    let mut order = order(&[(hostile, 1, 100)]);
    order.items[0].sku = Sku::parse(hostile).expect("any text");
    order.currency = hostile.to_owned();
    order.payment_method = Some(hostile.to_owned());
    order.shipping_address.as_mut().expect("an address").name = Some(hostile.to_owned());
    for content in contents(&order) {
        let html = html::render(&content, &Brand::default()).into_string();
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"), "{html}");
        assert_eq!(html.matches("</style>").count(), 1);
    }
}

/// The confirmation of an order, on the wire.
fn confirmation_to(email: &str, attachment: Option<Attachment>) -> String {
    let [_, confirmation, ..] = contents(&vase());
    let recipient = Email::parse(email).expect(email);
    let envelope = Envelope {
        from: &MailSettings::default().mail_from,
        reply_to: None,
        to: recipient.address(),
        message_id: "<0196053e-9d80-7000-8000-000000000001@articurated.example>",
        at: AT.parse().expect("a time"),
    };
    let mail = message(envelope, &confirmation, &Brand::default(), attachment).expect(email);
    String::from_utf8(mail).expect("UTF-8")
}

/// The addresses of which the tests of `contracts::Email` and of the API say that they are accepted.
#[test]
fn every_address_that_the_api_accepts_gets_its_e_mail() {
    let longest_name = format!("{}@example.com", "n".repeat(64));
    for address in [
        "a@b",
        "name.surname+tag@example.com",
        "meera@mail.example.co.in",
        "o'brien@example.com",
        "नाम@उदाहरण.भारत",
        "\"meera k\"@example.com",
        "\"a@b\"@example.com",
        "meera@[192.0.2.1]",
        &longest_name,
    ] {
        let mail = confirmation_to(address, None);
        assert!(mail.contains(&format!("\r\nTo: {address}\r\n")), "{mail}");
    }
}

#[test]
fn the_mailer_refuses_every_address_that_the_api_refuses() {
    let name_too_long = format!("{}@example.com", "n".repeat(65));
    for address in
        ["meera..k@example.com", "meera@example.com.", "meera@-x.com", "x@-", "a b@c", "a@b@c", &name_too_long]
    {
        assert!(Email::parse(address).is_err() && address.parse::<lettre::Address>().is_err(), "{address}");
    }
}

#[test]
fn nothing_breaks_out_of_a_header() {
    let attachment = Attachment { name: "invoice_\"\r\nX: ऑ.pdf".to_owned(), pdf: Bytes::from_static(b"%PDF") };
    let mail = confirmation_to("meera@example.in", Some(attachment));
    assert!(mail.is_ascii(), "everything else is encoded");
    // An empty line ends the headers of the message; the headers of a part follow its boundary.
    let (head, body) = mail.split_once("\r\n\r\n").expect("a body");
    let (_, attached) = body.rsplit_once("\r\nContent-Disposition").expect("an attachment");
    for line in head.lines().chain(attached.lines()) {
        assert!(!line.starts_with("X:"), "{mail}");
    }
    assert_eq!(head.lines().filter(|line| line.starts_with("Subject: ")).count(), 1);
    assert!(mail.contains("Date: Tue, 07 Apr 2026 19:30:00 +0000"), "{mail}");
    assert!(mail.contains("Message-ID: <0196053e-9d80-7000-8000-000000000001@articurated.example>"), "{mail}");
    assert!(mail.contains("Auto-Submitted: auto-generated"), "{mail}");
}
