//! Invoices as the browser prints them.

use super::tests::html_of;
use crate::documents::fixtures::order;
use crate::documents::hostile;
use crate::pdf::tests::{poppler, text};
use crate::pdf::{PdfSettings, Renderer, reproducible};

fn renderer() -> Renderer {
    Renderer::start(PdfSettings { tabs: 1, ..PdfSettings::default() })
}

#[tokio::test]
async fn rupees_and_indic_scripts_are_text_in_embedded_fonts() {
    let renderer = renderer();
    let titles = ["जयपुर की नीली मिट्टी", "தஞ்சாவூர் ஓவியம்", "মধুবনী চিত্রকলা", "Rug"];
    let items: Vec<_> = titles.iter().map(|title| (*title, 1, 12_345_600)).collect();
    let pdf = renderer.render(html_of(&order(&items))).await.expect("a PDF");
    let text = text(&pdf);
    for expected in ["₹1,23,456.00", "₹4,93,824.00", "जयपुर", "தஞ்சாவூர்", "Page 1 of 1", "Invoice AC/26-27/0000123"]
    {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let fonts = poppler("pdffonts", &[], &pdf);
    for expected in ["Mukta-Regular", "NotoSansTamil", "NotoSansBengali", "CormorantGaramond"] {
        assert!(fonts.contains(expected), "{expected} in {fonts}");
    }
    for font in fonts.lines().skip(2) {
        let columns: Vec<_> = font.split_whitespace().rev().collect();
        assert_eq!(columns[4], "yes", "embedded: {font}");
    }
    renderer.shutdown().await;
}

#[tokio::test]
async fn hostile_texts_are_printed_as_texts_on_the_page() {
    hostile::print_all(html_of).await;
}

#[tokio::test]
async fn a_long_invoice_repeats_its_header_and_numbers_its_pages() {
    let renderer = renderer();
    let items: Vec<_> = (1..=500).map(|price| ("Blue pottery vase, hand-painted", 2, price * 1_000)).collect();
    let pdf = renderer.render(html_of(&order(&items))).await.expect("a PDF");
    let text = text(&pdf);
    let pages: Vec<_> = text.trim_end_matches('\u{c}').split('\u{c}').collect();
    assert!(pages.len() > 20, "{}", pages.len());
    for (index, page) in pages.iter().enumerate() {
        assert!(page.contains("UNIT PRICE"), "page {}: {page}", index + 1);
        assert!(page.contains(&format!("Page {} of {}", index + 1, pages.len())), "page {}: {page}", index + 1);
    }
    let last = pages.last().expect("a page");
    for expected in ["SKU-500", "Total", "Thank you"] {
        assert!(last.contains(expected), "{expected} in {last}");
    }
    renderer.shutdown().await;
}

#[tokio::test]
async fn the_same_invoice_is_the_same_file_from_another_browser_at_another_time() {
    let html = || html_of(&order(&[("Rug", 1, 12_345_600)]));
    let (one, other) = (renderer(), renderer());
    let first = one.render(html()).await.expect("a PDF");
    // Chromium writes the time in seconds.
    let later = loop {
        let later = other.render(html()).await.expect("a PDF");
        if later != first {
            break later;
        }
    };
    let at = chrono::DateTime::from_timestamp(1_790_000_000, 0).expect("a time");
    assert_eq!(reproducible(first.into(), at), reproducible(later.into(), at));
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn the_same_invoice_is_the_same_file_after_other_documents() {
    let renderer = renderer();
    let at = chrono::DateTime::from_timestamp(1_790_000_000, 0).expect("a time");
    let print = async |title| {
        let pdf = renderer.render(html_of(&order(&[(title, 1, 12_345_600)]))).await.expect("a PDF");
        reproducible(pdf.into(), at)
    };
    let first = print("Rug").await;
    for _ in 0..3 {
        assert_ne!(print("Vase").await, first);
    }
    assert!(print("Rug").await == first, "the fifth print differs");
    renderer.shutdown().await;
}

/// The texts of a PDF that contain glyph 0, the empty box, by font. All fonts of ours are composite: two bytes for each glyph.
fn boxes(pdf: &[u8]) -> (usize, Vec<String>) {
    let document = lopdf::Document::load_mem(pdf).expect("a PDF");
    let (mut shown, mut boxes) = (0, Vec::new());
    for page in document.page_iter() {
        let content = document.get_and_decode_page_content(page).expect("a content");
        let mut font = String::new();
        for operation in &content.operations {
            if operation.operator == "Tf" {
                font = format!("{:?}", operation.operands.first());
            }
            if !matches!(operation.operator.as_str(), "Tj" | "TJ") {
                continue;
            }
            let texts = operation.operands.iter().flat_map(|operand| match operand {
                lopdf::Object::Array(parts) => parts.iter().collect::<Vec<_>>(),
                one => vec![one],
            });
            for text in texts {
                let lopdf::Object::String(bytes, _) = text else { continue };
                shown += bytes.len() / 2;
                if bytes.chunks(2).any(|glyph| glyph == [0, 0]) {
                    boxes.push(format!("{font}: {bytes:02x?}"));
                }
            }
        }
    }
    (shown, boxes)
}

#[tokio::test]
async fn no_text_shows_an_empty_box() {
    let renderer = renderer();
    let titles = [
        "北京景泰蓝花瓶",
        "こけし人形",
        "도자기 꽃병",
        "Матрёшка",
        "Αμφορέας",
        "กระถาง",
        "שטיח",
        "ལྷ་བྲིས།",
        "පිඟාන",
        "Vase 🏺 ✨",
        "\u{e000}\u{10ffff}",
        "जयपुर की नीली मिट्टी",
        "தஞ்சாவூர் ஓவியம்",
        "نیلا گلدان",
        "Vase\u{202e}\u{200b}\u{feff}",
        "½ № ™ ≪ ① Ａ",
        "क्\u{200d}ष ো",
    ];
    let items: Vec<_> = titles.iter().map(|title| (*title, 1, 12_345_600)).collect();
    let pdf = renderer.render(html_of(&order(&items))).await.expect("a PDF");
    let (shown, found) = boxes(&pdf);
    assert!(shown > 500, "{shown} glyphs");
    assert!(found.is_empty(), "{found:?}");
    let text = text(&pdf);
    for expected in ["Bei Jing", "Matr", "जयपुर"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    // What a page shows that does not go through the layout.
    let raw = renderer.render("<p>A \u{10ffff} \u{e000} B".to_owned()).await.expect("a PDF");
    assert!(!boxes(&raw).1.is_empty(), "the search finds boxes");
    renderer.shutdown().await;
}
