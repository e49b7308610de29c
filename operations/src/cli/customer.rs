//! `ops customer export | erase | erase-documents`.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use contracts::CustomerId;
use runtime::Clock;

use super::write::Justified;
use super::{Common, terminal};
use crate::write::erase::{self, Erased};
use crate::write::export::export;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints everything that is known of a customer, as JSON
    Export(Customer),
    /// Erases a customer's names, addresses, e-mails and free texts; books, numbers and amounts stay
    Erase(Erase),
    /// Erases what invoices and credit notes of erased customers print, once the law asks for it no longer, and their PDFs
    EraseDocuments(EraseDocuments),
}

#[derive(Debug, Args)]
pub struct Customer {
    #[command(flatten)]
    common: Common,
    /// The customer's id, as in its orders.
    #[arg(value_parser = CustomerId::parse)]
    id: CustomerId,
    #[command(flatten)]
    justified: Justified,
}

#[derive(Debug, Args)]
pub struct Erase {
    #[command(flatten)]
    customer: Customer,
    /// Years for which invoices and credit notes are kept as they were printed (0 to 100).
    #[arg(long, env = "TAX_DOCUMENT_YEARS", default_value_t = 8, value_parser = clap::value_parser!(i32).range(0..=100))]
    tax_document_years: i32,
}

#[derive(Debug, Args)]
pub struct EraseDocuments {
    #[command(flatten)]
    common: Common,
    /// The invoice store, as `INVOICE_STORE_URL`.
    #[arg(long = "invoice-store", env = "AUDIT_INVOICE_STORE_URL")]
    invoice_store: Option<String>,
    #[command(flatten)]
    justified: Justified,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let clock = Clock::system();
        match self {
            Self::Export(Customer { common, id, justified }) => {
                let operator = justified.operator()?;
                let exported = export(&common.connect().await?, &id, clock.now(), operator).await?;
                terminal::print_json(&exported, false)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Erase(Erase { customer: Customer { common, id, justified }, tax_document_years }) => {
                let operator = justified.operator()?;
                let erased = erase::erase(&common.connect().await?, &id, tax_document_years, &clock, operator).await?;
                common.print(&erased, show)
            }
            Self::EraseDocuments(EraseDocuments { common, invoice_store, justified }) => {
                let operator = justified.operator()?;
                let url = invoice_store.context("the PDFs are removed too: give --invoice-store")?;
                let store = storage::open_existing(&url).await?;
                let orders = erase::erase_documents(&common.connect().await?, &store, &clock, operator).await?;
                common.print(&orders, |orders| format!("the documents of {orders} order(s) are erased"))
            }
        }
    }
}

fn show(erased: &Erased) -> String {
    let Erased { pseudonym, orders, keys_revoked, documents_until } = erased;
    let documents = documents_until.map_or_else(
        || "none of its invoices and credit notes is kept".to_owned(),
        |until| {
            format!("what its invoices and credit notes print is kept until {until} (`ops customer erase-documents`)")
        },
    );
    format!("{orders} order(s) erased, {keys_revoked} key(s) revoked; the customer is {pseudonym} now; {documents}")
}
