//! Which GST an order bears: by the shop's registration, the delivery address and the goods.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use contracts::{Address, TaxDocument, TaxTermsDocument};
use domain::{Charge, GstRate, Gstin, IndianState, Supply, TaxTerms, Taxes};
use runtime::FieldErrors;

/// The code of GST returns for goods that leave India.
const OUTSIDE_INDIA: &str = "96 Outside India";

/// How the shop's orders are taxed.
#[derive(Debug, Clone)]
pub(crate) struct Taxation {
    /// Without one, no order is taxed.
    pub(crate) supplier: Option<Gstin>,
    pub(crate) prices_include_tax: bool,
    /// The time zone in which a day begins.
    pub(crate) timezone: Tz,
}

impl Taxation {
    /// How an order is taxed that goes to the first of these addresses, each given with its field's name. `None` when
    /// the shop is not registered. Reports a state that does not say whose GST it is.
    pub(crate) fn terms(
        &self,
        addresses: [(&str, Option<&Address>); 2],
        errors: &mut FieldErrors,
    ) -> Option<TaxTermsDocument> {
        let supplier = self.supplier.as_ref()?;
        let home = supplier.state();
        let (supply, place_of_supply) = match place_of_supply(addresses, errors) {
            Place::India(state) if state == home => (Supply::IntraState, named(state)),
            Place::India(state) => (Supply::InterState, named(state)),
            Place::Abroad => (Supply::InterState, OUTSIDE_INDIA.to_owned()),
            // Without an address the place of supply is the shop's: section 10 (1) (ca) of the IGST Act.
            Place::Unknown => (Supply::IntraState, named(home)),
        };
        Some(TaxTermsDocument {
            supplier_gstin: supplier.as_str().to_owned(),
            supplier_state: named(home),
            supply,
            place_of_supply,
            prices_include_tax: self.prices_include_tax,
        })
    }

    /// The rate of an item: the one it comes with, or that of its HSN code on the day. Reports a rate that is invalid.
    pub(crate) fn rate(
        &self,
        per_cent: Option<f64>,
        hsn: Option<&str>,
        at: DateTime<Utc>,
        field: impl FnOnce() -> String,
        errors: &mut FieldErrors,
    ) -> Option<GstRate> {
        match per_cent {
            None => domain::default_rate(hsn?, at.with_timezone(&self.timezone).date_naive()),
            Some(per_cent) => {
                GstRate::from_per_cent(per_cent).inspect_err(|error| errors.add(field(), error.to_string())).ok()
            }
        }
    }
}

/// Where goods are supplied: where their transport ends.
enum Place {
    India(IndianState),
    Abroad,
    Unknown,
}

fn place_of_supply(addresses: [(&str, Option<&Address>); 2], errors: &mut FieldErrors) -> Place {
    let first = addresses.into_iter().find_map(|(name, address)| Some((name, address?)));
    let Some((name, address)) = first else { return Place::Unknown };
    if address.country.as_deref().is_some_and(|country| !is_india(country)) {
        return Place::Abroad;
    }
    let Some(state) = &address.state else { return Place::Unknown };
    IndianState::from_text(state).map_or_else(
        || {
            let message = "must be a state of India, like Karnataka or KA, because it decides the GST";
            errors.add(format!("{name}.state"), message);
            Place::Unknown
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

/// The terms as `domain` needs them. Without terms nothing is taxed, and these have no effect.
pub(crate) fn rules(terms: Option<&TaxTermsDocument>) -> TaxTerms {
    TaxTerms {
        supply: terms.map_or(Supply::IntraState, |terms| terms.supply),
        prices_include_tax: terms.is_none_or(|terms| terms.prices_include_tax),
    }
}

/// The tax in a charge, as documents show it.
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

/// The charge that a document shows.
pub(crate) fn charge(paid: i64, tax: Option<&TaxDocument>) -> Charge {
    let Some(tax) = tax else { return Charge { paid, ..Charge::default() } };
    let taxes = Taxes { cgst: tax.cgst_minor, sgst: tax.sgst_minor, igst: tax.igst_minor };
    Charge { paid, taxes, round_off: tax.round_off_minor }
}
