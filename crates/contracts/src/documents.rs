//! Orders, returns, invoices, credit notes and refunds as clients and events see them.
//!
//! These are documents, not models: the process that decides writes them, and the other processes only read them. Fields
//! are only ever added, and a reader ignores fields that it does not know.

mod order;
mod returns;
mod invoice;
mod e_invoice;
mod credit_note;
mod refund;
mod tax;
mod address;
mod own;

pub use address::Address;
pub use credit_note::CreditNoteDocument;
pub use e_invoice::{EInvoiceDocument, EditionDocument, irn};
pub use invoice::InvoiceDocument;
pub use order::{InvoiceLineDocument, OrderDocument, OrderItemDocument};
pub use own::without_the_shops_own;
pub use refund::{RefundDocument, RefundItemDocument, RefundKind};
pub use returns::{FeeDocument, FeeKind, PartDocument, ReturnDocument, ReturnItemDocument};
pub use tax::{SupplierDocument, TaxDocument, TaxSummaryDocument, TaxSummaryLine, TaxTermsDocument};
