//! The document around every page.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// A text as a part of an address, or of a cookie.
pub(super) fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// What is around the content.
#[derive(Debug, Default)]
pub(super) struct Document<'a> {
    pub(super) title: &'a str,
    /// The name of the installation.
    pub(super) installation: &'a str,
    /// Where the browser goes on to by itself, if not empty.
    pub(super) next: &'a str,
}

/// A whole document: what is in the bar, below it, and at the end of the page is for those who are let in.
pub(super) fn document(document: &Document<'_>, [bar, below, end]: [Markup; 3], content: &Markup) -> Html<String> {
    let Document { title, installation, next } = document;
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) @if !installation.is_empty() { " · " (installation) } }
                @if !next.is_empty() { meta http-equiv="refresh" content={ "0; url=" (next) }; }
                link rel="icon" type="image/svg+xml" href="/console/icon.svg";
                link rel="stylesheet" href="/console/style.css";
                script src="/console/shortcuts.js" defer {}
            }
            body {
                a .skip href="#main" { "Skip to the content" }
                header {
                    a .installation href="/console" { @if installation.is_empty() { "Console" } @else { (installation) } }
                    (bar)
                }
                (below)
                main #main { h1 { (title) } (content) }
                (end)
            }
        }
    };
    Html(whole.into_string())
}
