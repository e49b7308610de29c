//! The names of files.

use std::fmt::Write as _;

use object_store::path::Path;

use crate::{InvoiceStore, StoreError};

const INVOICE: &str = "invoice_";
const CREDIT_NOTE: &str = "credit_note_";

impl InvoiceStore {
    /// The file name of an order's invoice: `invoice_<order_number>.pdf`.
    ///
    /// An order number is any text, and two numbers must never share a file. So characters that a file name cannot contain
    /// are percent-encoded, not replaced. Letters of other scripts stay.
    pub fn invoice_name(order_number: &str) -> String {
        name(INVOICE, order_number)
    }

    /// The file name of an invoice with the registration that the order got with this version: `invoice_AC-1%2Fregistered-7.pdf`. It
    /// is no other order's, because an order number has no slash.
    pub fn registered_name(order_number: &str, order_version: i32) -> String {
        name(INVOICE, &format!("{order_number}/registered-{order_version}"))
    }

    /// The file name of a credit note, by its own number, as an order may have several: `credit_note_CN-26-27-0000001.pdf`.
    pub fn credit_note_name(number: &str) -> String {
        name(CREDIT_NOTE, &number.replace('/', "-"))
    }
}

/// Whether a file of this name is an invoice or a credit note.
pub(crate) fn is_document(name: &str) -> bool {
    name.strip_suffix(".pdf").is_some() && [INVOICE, CREDIT_NOTE].iter().any(|kind| name.starts_with(kind))
}

fn name(kind: &str, number: &str) -> String {
    let mut name = String::from(kind);
    for c in number.chars() {
        if c.is_alphanumeric() || !c.is_ascii() && !c.is_control() || matches!(c, '-' | '_' | '.' | ' ') {
            name.push(c);
        } else {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                write!(name, "%{byte:02X}").expect("a String takes everything");
            }
        }
    }
    name.push_str(".pdf");
    name
}

/// A name is a single path segment, so input cannot name a file outside of the store.
pub(crate) fn location(name: &str) -> Result<Path, StoreError> {
    let bad = |reason: String| StoreError::BadName { name: name.to_owned(), reason };
    if name.is_empty() || name.contains('/') {
        return Err(bad("it must be a single, non-empty path segment".to_owned()));
    }
    Path::parse(name).map_err(|error| bad(error.to_string()))
}
