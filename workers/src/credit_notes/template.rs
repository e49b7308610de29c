//! A credit note as HTML: rule 53 of the CGST Rules.

use chrono::{DateTime, Utc};
use contracts::{OrderDocument, ReturnDocument};
use maud::{Markup, html};

use crate::documents::{Brand, Heading, TaxTable, addresses, day, fact, masthead, page};

/// What a credit note says.
#[derive(Debug, Clone, Copy)]
pub(super) struct CreditNoteView<'a> {
    /// The order as it was invoiced.
    pub(super) order: &'a OrderDocument,
    pub(super) returned: &'a ReturnDocument,
    pub(super) number: &'a str,
    /// Shown as dates in Asia/Kolkata.
    pub(super) issued_at: DateTime<Utc>,
    pub(super) invoice_number: &'a str,
    pub(super) invoiced_at: DateTime<Utc>,
}

/// The whole document.
pub(super) fn credit_note_html(note: &CreditNoteView<'_>, brand: &Brand) -> Markup {
    let heading = Heading {
        title: "Credit Note",
        number: note.number,
        copy: note.order.tax_terms.is_some().then_some("Original for recipient"),
    };
    let goods = TaxTable::of_return(note.order, note.returned);
    let body = html! {
        (masthead(&heading, brand))
        (facts(note))
        (addresses(note.order, brand))
        (goods.table())
        section.after {
            (goods.closing(brand))
            div.words { p { "We refund the total to the payment method that you used." } p.contact { (brand.contact) } }
        }
    };
    page(&heading, &body, brand)
}

fn facts(note: &CreditNoteView<'_>) -> Markup {
    let place = note.order.tax_terms.as_ref().map(|terms| terms.place_of_supply.as_str());
    html! {
        dl.facts {
            (fact("Date", Some(&day(note.issued_at))))
            (fact("Against invoice", Some(note.invoice_number)))
            (fact("Invoice date", Some(&day(note.invoiced_at))))
            (fact("Order number", Some(note.order.order_number.as_str())))
            (fact("Place of supply", place))
            (fact("Reason", note.returned.reason.as_deref()))
        }
    }
}

#[cfg(test)]
mod tests;
