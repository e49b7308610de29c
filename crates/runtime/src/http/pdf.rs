//! A PDF that a browser shows, and how it is called when the browser saves it.

use axum::http::{HeaderName, header};

/// The headers of a PDF that the browser shows, and saves under this name.
pub fn pdf_headers(name: &str, size: u64) -> [(HeaderName, String); 3] {
    [
        (header::CONTENT_TYPE, "application/pdf".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, inline_disposition(name)),
    ]
}

/// `filename` is plain ASCII for old clients, `filename*` is for all
/// others (RFC 6266, RFC 8187): an order number may be in any script.
fn inline_disposition(name: &str) -> String {
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let encoded: String = name
        .bytes()
        .map(|byte| if is_plain(byte.into()) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("inline; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_makes_a_valid_header() {
        assert_eq!(
            inline_disposition("invoice_AC-1.pdf"),
            "inline; filename=\"invoice_AC-1.pdf\"; filename*=UTF-8''invoice_AC-1.pdf"
        );
        assert_eq!(
            inline_disposition("क\"\r\n.pdf"),
            "inline; filename=\"____.pdf\"; filename*=UTF-8''%E0%A4%95%22%0D%0A.pdf"
        );
    }
}
