//! The credit note of a return: rule 53 of the CGST Rules.

use chrono::{DateTime, Utc};
use contracts::{OrderDocument, ReturnDocument};
use maud::{Markup, html};

use super::tax::{Goods, Line};
use super::{Brand, Heading, addresses, day, fact, masthead, page};

/// What a credit note says.
#[derive(Debug, Clone, Copy)]
pub struct CreditNoteView<'a> {
    /// As it was invoiced.
    pub order: &'a OrderDocument,
    pub returned: &'a ReturnDocument,
    pub number: &'a str,
    /// Shown as dates in Asia/Kolkata.
    pub issued_at: DateTime<Utc>,
    pub invoice_number: &'a str,
    pub invoiced_at: DateTime<Utc>,
}

/// The whole document.
pub fn credit_note_html(note: &CreditNoteView<'_>, brand: &Brand) -> Markup {
    let heading = Heading {
        title: "Credit Note",
        number: note.number,
        copy: note.order.tax_terms.is_some().then_some("Original for recipient"),
    };
    let CreditNoteView { order, returned, .. } = note;
    let lines = returned.items.iter().map(Line::from);
    let goods = Goods::new(lines, &returned.currency, order.tax_terms.as_ref(), returned.refund_amount_minor);
    let body = html! {
        (masthead(&heading, brand))
        (facts(note))
        (addresses(note.order, brand))
        (goods.table())
        section.after {
            (goods.closing(brand))
            div.words { p { "The total goes back to you the way it was paid." } p.contact { (brand.contact) } }
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
            (fact("Order number", Some(&note.order.order_number)))
            (fact("Place of supply", place))
            (fact("Reason", note.returned.reason.as_deref()))
        }
    }
}
