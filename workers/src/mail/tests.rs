use contracts::{InvoiceDocument, OrderDocument, RefundDocument, ReturnDocument};
use lettre::message::Mailbox;
use serde_json::json;

use super::letter::Letter;
use super::*;
use crate::invoice_template::tests::order;

const AT: &str = "2026-04-07T19:30:00Z";

fn invoice(order: &OrderDocument) -> InvoiceDocument {
    serde_json::from_value(json!({
        "id": order.id, "order_id": order.id, "order_number": order.order_number, "invoice_number": "AC/26-27/000123",
        "customer_id": "CUST-0042", "customer_email": "meera@example.in", "currency": "INR",
        "total_minor": order.total_minor, "path": "invoice_AC-2026-000123.pdf", "size_bytes": 4, "sha256": "00",
        "issued_at": AT, "generated_at": AT, "carrier": order.carrier, "tracking_number": order.tracking_number,
    }))
    .expect("an invoice")
}

fn returned(order: &OrderDocument) -> ReturnDocument {
    let item = &order.items[0];
    serde_json::from_value(json!({
        "id": order.id, "order_id": order.id, "order_number": order.order_number, "state": "APPROVED", "version": 2,
        "customer_id": "CUST-0042", "currency": "INR", "reason": "Smaller than expected",
        "items": [{ "id": item.id, "order_item_id": item.id, "sku": item.sku, "title": item.title, "quantity": 1,
                    "amount_minor": 245_000 }],
        "refund_amount_minor": 245_000, "rejection_category": "NOT_ORIGINAL_STATE",
        "rejection_reason": "the glaze is scratched", "created_at": AT, "updated_at": AT, "approved_at": AT,
        "rejected_at": AT,
    }))
    .expect("a return")
}

fn refund(order: &OrderDocument) -> RefundDocument {
    serde_json::from_value(json!({
        "id": order.id, "return_id": order.id, "order_id": order.id, "order_number": order.order_number,
        "customer_id": "CUST-0042", "status": "PROCESSED", "version": 2, "amount_minor": 12_345_600, "currency": "INR",
        "transaction_id": "txn_4711", "created_at": AT, "processed_at": AT,
    }))
    .expect("a refund")
}

/// One letter of each kind about an order.
fn letters(order: &OrderDocument) -> [Letter; 5] {
    [
        Occasion::Confirmed(Box::new(order.clone())),
        Occasion::Shipped(invoice(order)),
        Occasion::Approved(returned(order)),
        Occasion::Rejected(returned(order)),
        Occasion::Refunded(refund(order)),
    ]
    .map(|occasion| letter(&occasion, Some(order), 30))
}

fn vase() -> OrderDocument {
    order(&[("नीली मिट्टी का फूलदान", 2, 245_000), ("Dhokra elephant", 1, 12_345_600)])
}

#[test]
fn an_order_is_confirmed_in_words_that_need_no_html() {
    let [confirmation, ..] = letters(&vase());
    assert_eq!(
        text::render(&confirmation, &Brand::default()),
        "\
ARTICURATED
The handmade, chosen with care

Thank you for your order
----------------------------------------

Dear मीरा अय्यर,

Your order AC-2026-000123 has reached us, and we are glad that these pieces have found you. We write again as soon as it \
is on its way, with your invoice.

Order: AC-2026-000123
Placed on: 6 April 2026
Payment: UPI

2 x नीली मिट्टी का फूलदान
    SKU-1 · ₹2,450.00 each
    ₹4,900.00

1 x Dhokra elephant
    SKU-2 · ₹1,23,456.00 each
    ₹1,23,456.00

----------------------------------------
Subtotal: ₹1,28,356.00
Shipping: Free
Total: ₹1,28,356.00

Ships to:
मीरा अय्यर
14, Kasturba Road
Opp. Cubbon Park
Bengaluru, Karnataka, 560001
India
Phone +91 98450 12345
Delivery note: Ring the brass bell

If anything about it is not as you meant it, just answer this e-mail.

----------------------------------------
care@articurated.example · www.articurated.example
ArtiCurated
"
    );
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
    for letter in letters(&vase()) {
        let text = text::render(&letter, &Brand::default()).to_lowercase();
        let html = html::render(&letter, &Brand::default()).into_string();
        for said in shown(&html).into_iter().filter(|said| *said != letter.preview) {
            assert!(text.contains(&said.to_lowercase()), "{}: {said} is not in\n{text}", letter.subject);
        }
    }
}

#[test]
fn html_needs_nothing_from_outside_and_is_narrow() {
    for letter in letters(&vase()) {
        let html = html::render(&letter, &Brand::default()).into_string();
        for outside in ["src=", "url(", "<link", "<script", "http"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("max-width:600px") && html.len() < 100_000, "Gmail cuts off what is longer");
    }
}

#[test]
fn whatever_a_customer_may_type_is_text_and_not_markup() {
    let hostile = "<script>alert('x')</script> & </style>";
    let mut order = order(&[(hostile, 1, 100)]);
    for text in [&mut order.order_number, &mut order.items[0].sku, &mut order.currency] {
        hostile.clone_into(text);
    }
    order.payment_method = Some(hostile.to_owned());
    order.shipping_address.as_mut().expect("an address").name = Some(hostile.to_owned());
    for letter in letters(&order) {
        let html = html::render(&letter, &Brand::default()).into_string();
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"), "{html}");
        assert_eq!(html.matches("</style>").count(), 1);
    }
}

async fn post(folder: &tempfile::TempDir) -> Post {
    let files = storage::open(&folder.path().display().to_string()).await.expect("a folder");
    Post::new(&MailSettings::default(), Brand::default(), 30, files).expect("settings")
}

#[tokio::test]
async fn nothing_breaks_out_of_a_header() {
    let folder = tempfile::tempdir().expect("a folder");
    let post = post(&folder).await;
    let mut order = vase();
    order.order_number = "AC\r\nBcc: everybody@example.com\r\n\r\n\u{202e}ऑर्डर".to_owned();
    let [confirmation, ..] = letters(&order);
    let id = post.message_id(order.id);
    let attachment = Attachment { name: "invoice_\"\r\nX: ऑ.pdf".to_owned(), pdf: Bytes::from_static(b"%PDF") };
    let to = "meera@example.in".parse().expect("an address");
    let mail = post.message(&confirmation, to, &id, AT.parse().expect("a time"), Some(attachment)).expect("a message");
    let mail = String::from_utf8(mail).expect("ASCII is UTF-8");
    assert!(mail.is_ascii(), "everything else is encoded");
    // A block of headers ends with an empty line; those of a part follow its separator.
    let (head, body) = mail.split_once("\r\n\r\n").expect("a body");
    let (_, attached) = body.rsplit_once("\r\nContent-Disposition").expect("an attachment");
    for line in head.lines().chain(attached.lines()) {
        assert!(!line.starts_with("Bcc") && !line.starts_with("X:"), "{mail}");
    }
    assert_eq!(head.lines().filter(|line| line.starts_with("Subject: ")).count(), 1);
    assert!(mail.contains("Date: Tue, 07 Apr 2026 19:30:00 +0000"), "{mail}");
    assert!(mail.contains(&format!("Message-ID: {id}")) && mail.contains("Auto-Submitted: auto-generated"), "{mail}");
}

#[test]
fn a_sender_is_a_name_and_an_address_or_an_address() {
    assert_eq!(mailbox("a@example.in"), Ok(Mailbox::new(None, "a@example.in".parse().expect("an address"))));
    assert!(mailbox(FROM).is_ok());
    let refusal = mailbox("ArtiCurated").expect_err("no address");
    assert!(refusal.contains(FROM), "{refusal}");
}
