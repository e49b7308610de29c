//! A credit note as HTML: rule 53 of the CGST Rules.

use chrono::{DateTime, Utc};
use contracts::{OrderDocument, money};
use maud::{Markup, html};

use crate::documents::{Brand, Credited, Heading, TaxTable, addresses, day, fact, masthead, page};

/// What a credit note says.
#[derive(Debug, Clone, Copy)]
pub(super) struct CreditNoteView<'a> {
    /// The order as it was invoiced. Without tax terms the credit note gives back no tax.
    pub(super) order: &'a OrderDocument,
    pub(super) credited: &'a Credited,
    pub(super) number: &'a str,
    /// Shown as dates in Asia/Kolkata.
    pub(super) issued_at: DateTime<Utc>,
    pub(super) invoice_number: &'a str,
    pub(super) invoiced_at: DateTime<Utc>,
    /// Whether it comes too late to reduce the tax.
    pub(super) is_late: bool,
}

/// Section 34 (2) of the CGST Act.
const LATE: &str = "Issued after the last day on which a credit note reduces the tax on the supply (section 34(2) of the CGST Act). \
                    The amounts contain the tax, which stays as invoiced.";

/// The whole document.
pub(super) fn credit_note_html(note: &CreditNoteView<'_>, brand: &Brand) -> Markup {
    let heading = Heading {
        title: "Credit Note",
        number: note.number,
        copy: note.order.tax_terms.is_some().then_some("Original for recipient"),
    };
    let goods = TaxTable::of_credit(note.order, note.credited);
    let body = html! {
        (masthead(&heading, brand))
        (facts(note))
        @if note.is_late { p.endorsement { (LATE) } }
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
            (fact("Reason", note.credited.reason()))
            @if note.credited.kept_minor() > 0 {
                (fact("Less fees kept back", Some(&money(note.credited.kept_minor(), &note.order.currency))))
            }
        }
    }
}

#[cfg(test)]
mod tests;
