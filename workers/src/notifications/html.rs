//! An e-mail as HTML for mail programs. It uses tables, and styles in every element, because some programs drop the style
//! sheet. It loads nothing from outside. The style sheet adds what an element cannot say: narrow screens and dark mode.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::content::{EmailContent, Good};
use super::text::sender;
use crate::documents::Brand;

const SHEET: &str = include_str!("../../assets/mail.css");

const SERIF: &str = "font-family:'Cormorant Garamond',Georgia,'Times New Roman',serif;";
const BODY: &str = "margin:0;padding:0;background:#f3ecdf;color:#26243a;\
    font-family:Mukta,'Noto Sans',-apple-system,'Segoe UI',Roboto,Arial,sans-serif;font-size:15px;line-height:1.55;";
const CARD: &str = "width:100%;max-width:600px;margin:0 auto;background:#fffdf9;border-top:3px solid #c9a35a;";
const PAD: &str = "padding:0 36px;";
const SMALL_CAPS: &str = "font-size:11px;letter-spacing:.09em;text-transform:uppercase;color:#a94f2b;font-weight:600;";
const QUIET: &str = "font-size:13px;color:#6b6570;";
const LINE: &str = "border-bottom:1px solid #e4dccd;";

pub(super) fn render(content: &EmailContent, brand: &Brand) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en-IN" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="supported-color-schemes" content="light dark";
                title { (content.subject) }
                style { (PreEscaped(SHEET)) }
            }
            body class="page" style=(BODY) {
                div style="display:none;max-height:0;overflow:hidden;" { (content.preview) }
                (table("width:100%;", &html! {
                    tr { td class="edge" style="padding:28px 12px;" align="center" { (card(content, brand)) } }
                }))
            }
        }
    }
}

/// A layout table, which screen readers do not announce.
fn table(style: &str, rows: &Markup) -> Markup {
    html! { table role="presentation" cellpadding="0" cellspacing="0" border="0" style=(style) { (rows) } }
}

fn card(content: &EmailContent, brand: &Brand) -> Markup {
    html! {
        table class="card" role="presentation" width="600" cellpadding="0" cellspacing="0" border="0" style=(CARD) {
            (row("padding:30px 36px 22px;", &masthead(brand)))
            (row("padding:0 36px 4px;", &html! {
                h1 class="ink" style=(format!("{SERIF}margin:0;font-size:27px;line-height:1.25;font-weight:600;color:#262a5b;")) {
                    (content.heading)
                }
            }))
            (row("padding:8px 36px 6px;", &html! {
                p dir="auto" style="margin:0 0 10px;" { (content.greeting) }
                @for words in &content.opening { (paragraph(words)) }
            }))
            @if !content.facts.is_empty() { (row("padding:8px 36px 14px;", &facts(content))) }
            @if !content.goods.is_empty() || content.total.is_some() { (row(PAD, &goods(content))) }
            @if let Some((name, lines)) = &content.address { (row("padding:22px 36px 0;", &address(name, lines))) }
            (row("padding:22px 36px 26px;", &html! { @for words in &content.closing { (paragraph(words)) } }))
            (row("padding:18px 36px 30px;border-top:1px solid #e4dccd;text-align:center;", &footer(brand)))
        }
    }
}

fn row(style: &str, inner: &Markup) -> Markup {
    html! { tr { td class="pad" style=(style) { (inner) } } }
}

fn paragraph(words: &str) -> Markup {
    html! { p dir="auto" style="margin:0 0 10px;overflow-wrap:anywhere;" { (words) } }
}

fn masthead(brand: &Brand) -> Markup {
    html! {
        p class="ink" style=(format!("{SERIF}margin:0;font-size:30px;line-height:1.1;font-weight:600;color:#262a5b;")) {
            (brand.name)
        }
        p class="clay" style=(format!("{SERIF}margin:2px 0 0;font-size:15px;font-style:italic;color:#a94f2b;")) { (brand.tagline) }
    }
}

fn facts(content: &EmailContent) -> Markup {
    table(
        "width:100%;background:#faf6ee;border-left:2px solid #c9a35a;",
        &html! {
            @for (index, (name, value)) in content.facts.iter().enumerate() {
                @let space = if index == 0 { "12px" } else { "4px" };
                @let last = if index + 1 == content.facts.len() { "12px" } else { "4px" };
                tr class="panel" {
                    td class="clay" style=(format!("padding:{space} 10px {last} 16px;width:34%;vertical-align:top;line-height:1.9;{SMALL_CAPS}")) {
                        (name)
                    }
                    td dir="auto" style=(format!("padding:{space} 16px {last} 0;overflow-wrap:anywhere;word-break:break-word;")) { (value) }
                }
            }
        },
    )
}

fn goods(content: &EmailContent) -> Markup {
    table(
        "width:100%;border-collapse:collapse;",
        &html! {
            @for good in &content.goods { (good_row(good)) }
            @for (index, (name, amount)) in content.sums.iter().enumerate() {
                @let space = if index == 0 { 12 } else { 3 };
                tr {
                    td class="quiet" style=(format!("padding:{space}px 0 3px;{QUIET}")) { (name) }
                    td style=(format!("padding:{space}px 0 3px 12px;text-align:right;white-space:nowrap;")) { (amount) }
                }
            }
            @if let Some((name, amount)) = &content.total {
                tr {
                    td class="ink" style=(format!("{SERIF}padding:12px 0;font-size:20px;font-weight:600;color:#262a5b;")) { (name) }
                    td class="ink" style="padding:12px 0 12px 12px;text-align:right;white-space:nowrap;font-size:18px;font-weight:600;color:#262a5b;" {
                        (amount)
                    }
                }
                tr { td colspan="2" style="border-top:1px solid #c9a35a;font-size:0;line-height:0;" { "\u{a0}" } }
            }
        },
    )
}

fn good_row(good: &Good) -> Markup {
    html! {
        tr {
            td class="line" style=(format!("padding:12px 0;vertical-align:top;overflow-wrap:anywhere;word-break:break-word;{LINE}")) {
                div dir="auto" { (good.title) @if good.quantity > 1 { span class="quiet" style=(QUIET) { " × " (good.quantity) } } }
                div class="quiet" style=(QUIET) { (good.detail) }
            }
            td class="line" style=(format!("padding:12px 0 12px 12px;vertical-align:top;text-align:right;white-space:nowrap;{LINE}")) {
                (good.amount)
            }
        }
    }
}

fn address(name: &str, lines: &[String]) -> Markup {
    html! {
        p class="clay" style=(format!("margin:0 0 4px;{SMALL_CAPS}")) { (name) }
        @for line in lines { div dir="auto" style="line-height:1.45;overflow-wrap:anywhere;" { (line) } }
    }
}

fn footer(brand: &Brand) -> Markup {
    html! {
        p class="clay" style="margin:0 0 4px;font-size:13px;color:#a94f2b;" { (brand.contact) }
        p class="quiet" dir="auto" style=(format!("margin:0;{QUIET}")) { (sender(brand)) }
    }
}
