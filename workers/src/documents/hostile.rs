//! Texts that someone may type to break a document (`hostile.txt`), and what must hold when they are printed.

use contracts::{Address, CustomerId, OrderDocument, Sku};

use super::fixtures::taxed_order;
use super::shown::shown;
use crate::pdf::Renderer;
use crate::pdf::tests::{poppler, refused};

const TEXTS: &str = include_str!("hostile.txt");
/// Of a field of an address, and of a title.
const LONGEST: usize = 255;
/// Left and right of all text, in points: 16 mm, less what letters stand out.
const MARGIN: f64 = 44.0;
/// In every field, the longest text fills less than this.
const MOST_PAGES: usize = 8;
/// A document has the text at least so often: in the lines of the table and in the addresses.
const LEAST_TIMES: usize = 4;
const MOST_TIMES: usize = usize::MAX;

pub(crate) fn texts() -> Vec<String> {
    let lines = TEXTS.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    let texts: Vec<_> = lines.map(written_out).collect();
    assert!(texts.len() > 80, "{} texts", texts.len());
    texts
}

fn written_out(line: &str) -> String {
    let repeated = line.split_once("x ").and_then(|(times, text)| Some((times.parse().ok()?, text)));
    let (times, text) = repeated.unwrap_or((1, line));
    let mut parts = text.split("\\u{");
    let mut written = parts.next().unwrap_or_default().replace("\\\\", "\\");
    for part in parts {
        let (code, rest) = part.split_once('}').expect("the end of an escape");
        let letter = u32::from_str_radix(code, 16).ok().and_then(char::from_u32).expect("a character");
        written.push(letter);
        written.push_str(&rest.replace("\\\\", "\\"));
    }
    written.repeat(times)
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// An order with the text in every field that a client fills, as far as the field is long.
pub(crate) fn order_with(text: &str) -> OrderDocument {
    let mut order = taxed_order();
    let long = cut(text, LONGEST);
    for item in &mut order.items {
        item.title.clone_from(&long);
        item.sku = Sku::parse(&cut(text, 64)).unwrap_or_else(|_| item.sku.clone());
    }
    order.customer_id = CustomerId::parse(&cut(text, 64)).unwrap_or_else(|_| order.customer_id.clone());
    let field = || Some(long.clone());
    let address = Address {
        name: field(),
        line1: field(),
        line2: field(),
        city: field(),
        state: field(),
        postal_code: field(),
        country: field(),
        phone: field(),
        other: [(cut(text, 64), long.clone())].into(),
        ..Address::default()
    };
    order.shipping_address = Some(address.clone());
    order.billing_address = Some(Address { name: Some("Meera Iyer".to_owned()), ..address });
    order.payment_method = Some(cut(text, 64));
    order.carrier = Some(cut(text, 64));
    (order.payment_transaction_id, order.tracking_number) = (Some(cut(text, 128)), Some(cut(text, 128)));
    order
}

/// Prints a document of [`order_with`] every text.
pub(crate) async fn print_all(html_of: impl Fn(&OrderDocument) -> String) {
    let renderer = Renderer::start(crate::pdf::PdfSettings::default());
    let mut faults = Vec::new();
    for text in texts() {
        let html = html_of(&order_with(&text));
        let hidden = html.chars().find(|letter| contracts::is_invisible(*letter));
        faults.extend(hidden.map(|letter| format!("{text:?}: U+{:04X} is in the document", u32::from(letter))));
        let pdf = renderer.render(html).await.expect("a PDF");
        faults.extend(faults_of(&pdf, &text).into_iter().map(|fault| format!("{text:?}: {fault}")));
    }
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
    assert_eq!(refused(&renderer).await, 0, "a document asked for something outside of it");
    renderer.shutdown().await;
}

fn faults_of(pdf: &[u8], text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let pages = poppler("pdfinfo", &[], pdf);
    let pages = pages.lines().find_map(|line| line.strip_prefix("Pages:")?.trim().parse::<usize>().ok());
    if !pages.is_some_and(|pages| (1..=MOST_PAGES).contains(&pages)) {
        faults.push(format!("fills {pages:?} pages"));
    }
    // Lines break where the browser wants, and poppler orders other scripts in its own way. ASCII stays in order.
    let ascii = |text: &str| text.chars().filter(char::is_ascii_graphic).collect::<String>();
    // What other signs become is markup: ＜ is &lt;.
    let expected = shown(&cut(text, LONGEST).replace('&', "&amp;"));
    let expected =
        ascii(&expected.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"));
    let printed = ascii(&poppler("pdftotext", &["-raw"], pdf));
    let times = if expected.is_empty() { MOST_TIMES } else { printed.matches(&expected).count() };
    if times < LEAST_TIMES {
        faults.push(format!("is printed {times} times, as {expected}, in {printed}"));
    }
    if !printed.contains("Authorisedsignatory") {
        faults.push(format!("hides the end of {printed}"));
    }
    faults.extend(outside(&poppler("pdftotext", &["-bbox"], pdf)));
    faults
}

/// The words that are not between the margins of their page.
fn outside(boxes: &str) -> Vec<String> {
    let (mut page, mut outside) = ((0.0, 0.0), Vec::new());
    for line in boxes.lines() {
        if line.contains("<page ") {
            page = (number(line, "width"), number(line, "height"));
        } else if line.contains("<word ") {
            let (left, right) = (number(line, "xMin"), number(line, "xMax"));
            let (top, bottom) = (number(line, "yMin"), number(line, "yMax"));
            let is_inside = left >= MARGIN && right <= page.0 - MARGIN && top >= 0.0 && bottom <= page.1;
            if !is_inside {
                outside.push(format!("leaves the page of {page:?}: {}", line.trim()));
            }
        }
    }
    outside
}

/// An attribute of an element of `pdftotext -bbox`.
fn number(line: &str, name: &str) -> f64 {
    let value = line.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
    value.and_then(|(value, _)| value.parse().ok()).expect("a number")
}
