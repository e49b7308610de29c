//! What invoices and credit notes share.
//!
//! - [`issuer`]: number, PDF and file of a document;
//! - [`numbering`]: the series that a number comes from;
//! - [`layout`]: the page, with masthead, addresses and foot; [`title`]: what the law calls a document;
//! - [`tax_table`]: the table of goods with their taxes; its [`line`]s and its [`tax_summary`]; what a credit note
//!   [gives back](self::credited);
//! - [`money`], [`words`], [`format`](self::format): amounts, dates and addresses as text, for e-mails too;
//! - [`fonts`]: the fonts that a text needs; [`shown`](self::shown): a text in letters that they have;
//! - [`store`]: the SQL over `work.document_series`.

mod issuer;
mod numbering;
mod layout;
mod title;
mod tax_table;
mod tax_summary;
mod line;
mod credited;
mod words;
mod format;
mod fonts;
mod shown;
mod store;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
pub(crate) mod hostile;

pub(crate) use credited::Credited;
pub(crate) use format::{address_lines, capitalised, day, label, together};
pub(crate) use issuer::{DocumentIssuer, StoredFile, store_failed};
pub use layout::Brand;
pub(crate) use layout::{Heading, addresses, fact, masthead, page, total_row};
pub(crate) use numbering::{check_credit_note_prefix, check_invoice_prefix};
pub(crate) use tax_summary::{tax_of_credit, tax_of_order};
pub(crate) use tax_table::TaxTable;
pub(crate) use title::{BILL_OF_SUPPLY, endorsement, invoice_title};
