//! What GST an order bears: by the shop's registration, the delivery address and the goods.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use contracts::{Address, TaxDocument, TaxTermsDocument};
use domain::{Charge, GstRate, Gstin, IndianState, Supply, TaxTerms, Taxes};

use crate::api::body::{Checks, PlaceItem, PlaceOrder};

/// The code that GST returns have for what leaves India.
const OUTSIDE_INDIA: &str = "96 Outside India";

/// How the shop's orders are taxed.
#[derive(Debug, Clone)]
pub(crate) struct Taxation {
    /// Without one, no order is.
    pub(crate) supplier: Option<Gstin>,
    pub(crate) prices_include_tax: bool,
    /// Where a day begins.
    pub(crate) timezone: Tz,
}

impl Taxation {
    /// How this order is taxed; `None` when the shop is not registered. Reports what is wrong with the addresses for it.
    pub(crate) fn terms(&self, checks: &mut Checks, body: &PlaceOrder) -> Option<TaxTermsDocument> {
        let supplier = self.supplier.as_ref()?;
        let home = supplier.state();
        let (supply, place_of_supply) = match place_of_supply(checks, body) {
            Place::India(state) if state == home => (Supply::IntraState, named(state)),
            Place::India(state) => (Supply::InterState, named(state)),
            Place::Abroad => (Supply::InterState, OUTSIDE_INDIA.to_owned()),
            // Whoever leaves no address is supplied where the shop is: section 10 (1) (ca) of the IGST Act.
            Place::Unsaid => (Supply::IntraState, named(home)),
        };
        Some(TaxTermsDocument {
            supplier_gstin: supplier.as_str().to_owned(),
            supplier_state: named(home),
            supply,
            place_of_supply,
            prices_include_tax: self.prices_include_tax,
        })
    }

    /// The rate of each item, as far as there may be items: the one it comes with, or that of its HSN code on the day.
    pub(crate) fn rates(&self, checks: &mut Checks, items: &[PlaceItem], at: DateTime<Utc>) -> Vec<Option<GstRate>> {
        let day = at.with_timezone(&self.timezone).date_naive();
        let mut rate = |(index, item): (usize, &PlaceItem)| match item.gst_rate {
            None => item.hsn.as_deref().and_then(|hsn| domain::default_rate(hsn, day)),
            Some(per_cent) => GstRate::from_per_cent(per_cent)
                .inspect_err(|error| checks.wrong(format!("items[{index}].gst_rate"), error.to_string()))
                .ok(),
        };
        items.iter().take(domain::MAX_LINES).enumerate().map(&mut rate).collect()
    }
}

/// Where goods are supplied: where their way ends.
enum Place {
    India(IndianState),
    Abroad,
    Unsaid,
}

fn place_of_supply(checks: &mut Checks, body: &PlaceOrder) -> Place {
    let addresses =
        [("shipping_address", body.shipping_address.as_ref()), ("billing_address", body.billing_address.as_ref())];
    let Some((name, address)) =
        addresses.into_iter().find_map(|(name, address)| address.map(|address| (name, address)))
    else {
        return Place::Unsaid;
    };
    if address.country.as_deref().is_some_and(|country| !is_india(country)) {
        return Place::Abroad;
    }
    let Some(state) = &address.state else { return Place::Unsaid };
    IndianState::from_text(state).map_or_else(
        || {
            checks.wrong(
                format!("{name}.state"),
                "must be a state of India, like Karnataka or KA, because it decides the GST",
            );
            Place::Unsaid
        },
        Place::India,
    )
}

fn is_india(country: &str) -> bool {
    ["", "in", "ind", "india", "bharat"].contains(&country.trim().to_lowercase().as_str())
}

fn named(state: IndianState) -> String {
    format!("{:02} {}", state.code, state.name)
}

/// The terms as the rules need them. Where nothing is taxed they say nothing.
pub(crate) fn rules(terms: Option<&TaxTermsDocument>) -> TaxTerms {
    TaxTerms {
        supply: terms.map_or(Supply::IntraState, |terms| terms.supply),
        prices_include_tax: terms.is_none_or(|terms| terms.prices_include_tax),
    }
}

/// The tax in a charge, for a document.
pub(crate) fn tax(charge: &Charge) -> TaxDocument {
    let Taxes { cgst, sgst, igst } = charge.taxes;
    TaxDocument {
        taxable_minor: charge.taxable(),
        cgst_minor: cgst,
        sgst_minor: sgst,
        igst_minor: igst,
        round_off_minor: charge.round_off,
    }
}

/// A charge out of a document.
pub(crate) fn charge(paid: i64, tax: Option<&TaxDocument>) -> Charge {
    let Some(tax) = tax else { return Charge { paid, ..Charge::default() } };
    let taxes = Taxes { cgst: tax.cgst_minor, sgst: tax.sgst_minor, igst: tax.igst_minor };
    Charge { paid, taxes, round_off: tax.round_off_minor }
}

/// What a GSTIN in an address must be.
pub(crate) fn check_gstin(checks: &mut Checks, name: &str, address: &Address) {
    if let Some(gstin) = &address.gstin
        && let Err(error) = Gstin::parse(gstin)
    {
        checks.wrong(format!("{name}.gstin"), error.to_string());
    }
}
