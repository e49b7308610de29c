//! Which GST an order bears: by the shop's registration, the buyer, the addresses and the goods.

use chrono::{DateTime, Utc};
use contracts::{Address, Hsn, TaxDocument, TaxTermsDocument, country_code, day_in_india};
use domain::{Charge, GstRate, Gstin, IndianState, RecipientNumber, Supply, TaxTerms, Taxes};
use runtime::FieldErrors;

/// The code of GST returns for goods that leave India.
const OUTSIDE_INDIA: &str = "96 Outside India";

/// ISO 3166-1.
const INDIA: &str = "IN";

/// From this taxable value on, the invoice of a buyer who is not registered has name and address: rule 46(e) of the CGST Rules.
const NAMED_FROM_MINOR: i64 = 5_000_000;

/// How the shop's orders are taxed.
#[derive(Debug, Clone)]
pub(crate) struct Taxation {
    /// Without one, no order is taxed.
    pub(crate) supplier: Option<Gstin>,
    pub(crate) prices_include_tax: bool,
    /// Of items that come without a rate, and whose HSN code has none.
    pub(crate) default_rate: Option<GstRate>,
    /// The letter of undertaking under which exports and supplies to special economic zones bear no tax.
    pub(crate) lut_reference: Option<String>,
    /// Whether supplies to registered buyers and exports are registered at the portal.
    pub(crate) e_invoicing: bool,
}

/// The two addresses of an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses<'a> {
    pub(crate) shipping: Option<&'a Address>,
    pub(crate) billing: Option<&'a Address>,
}

impl<'a> Addresses<'a> {
    fn named(self) -> [(&'static str, Option<&'a Address>); 2] {
        [("shipping_address", self.shipping), ("billing_address", self.billing)]
    }

    /// The address that shows where the goods go, or else who buys them.
    fn first(self) -> Option<(&'static str, &'a Address)> {
        self.named().into_iter().find_map(|(name, address)| Some((name, address?)))
    }

    /// Whether the buyer is registered for GST, or is a body with a UIN.
    fn has_recipient_number(self) -> bool {
        self.named().iter().any(|(_, address)| address.is_some_and(|address| address.gstin.is_some()))
    }
}

impl Taxation {
    /// How an order is taxed. `None` when the shop is not registered. Reports what does not say whose GST it is.
    pub(crate) fn terms(&self, addresses: Addresses<'_>, errors: &mut FieldErrors) -> Option<TaxTermsDocument> {
        let supplier = self.supplier.as_ref()?;
        check_countries(addresses, errors);
        check_numbers(addresses, supplier, errors);
        check_buyer(addresses, errors);
        let home = supplier.state();
        let (supply, place_of_supply) = match place_of_supply(addresses, errors) {
            Place::India(state) if state == home => (Supply::IntraState, named(state)),
            Place::India(state) => (Supply::InterState, named(state)),
            Place::Abroad => (Supply::InterState, OUTSIDE_INDIA.to_owned()),
            // No address is on record: the shop's own state. Section 10 (1) (ca) of the IGST Act.
            Place::Unknown => (Supply::IntraState, named(home)),
        };
        let sez = addresses.named().iter().any(|(_, address)| address.is_some_and(|address| address.sez));
        // Section 7 (5) (b) of the IGST Act.
        let supply = if sez { Supply::InterState } else { supply };
        let is_zero_rated = sez || place_of_supply == OUTSIDE_INDIA;
        Some(TaxTermsDocument {
            supplier_gstin: supplier.as_str().to_owned(),
            supplier_state: named(home),
            supply,
            place_of_supply,
            prices_include_tax: self.prices_include_tax,
            sez,
            lut_reference: self.lut_reference.clone().filter(|_| is_zero_rated),
        })
    }

    /// The rate of an item: the one it comes with, that of its HSN code on the day, or the shop's. Reports a rate that is invalid. A
    /// registered shop sells nothing without one: the tax would be owed all the same.
    pub(crate) fn rate(
        &self,
        per_cent: Option<f64>,
        hsn: Option<&Hsn>,
        at: DateTime<Utc>,
        field: impl FnOnce() -> String,
        errors: &mut FieldErrors,
    ) -> Option<GstRate> {
        let (rate, is_registered) = (per_cent.map(GstRate::from_per_cent), self.supplier.is_some());
        match rate {
            Some(Err(error)) => {
                errors.add(field(), error.to_string());
                None
            }
            Some(Ok(rate)) if is_registered && !rate.is_notified() => {
                let rates = "0, 0.1, 0.25, 1, 1.5, 3, 5, 7.5, 12, 18, 28 or 40";
                errors.add(field(), format!("must be a rate at which goods are taxed: {rates}"));
                None
            }
            Some(Ok(rate)) => Some(rate),
            None => {
                let known =
                    hsn.and_then(|hsn| domain::default_rate(hsn.as_str(), day_in_india(at))).or(self.default_rate);
                if known.is_none() && is_registered {
                    let message =
                        "is required: no rate is known for this item's HSN code; name one, 0 for exempt goods";
                    errors.add(field(), message);
                }
                known
            }
        }
    }
}

/// What an invoice over so much needs to name. Reports what is missing.
pub(crate) fn check_value(taxable_minor: i64, currency: &str, addresses: Addresses<'_>, errors: &mut FieldErrors) {
    if currency != "INR" {
        let message =
            "must be INR: a registered shop accounts for GST in rupees; convert the prices at the rate of rule 34";
        errors.add("currency", message);
    }
    if taxable_minor < NAMED_FROM_MINOR || addresses.has_recipient_number() {
        return;
    }
    let (name, address) = addresses.first().unzip();
    let given = |of: fn(&Address) -> &Option<String>| address.is_some_and(|address| of(address).is_some());
    let is_complete = given(|address| &address.name) && given(|address| &address.line1);
    if !is_complete || !(given(|address| &address.state) || given(|address| &address.country)) {
        let message = "must have name, line1 and state: an invoice of 50,000 rupees and more names its buyer";
        errors.add(name.unwrap_or("shipping_address"), message);
    }
}

/// What the registration portal requires of a supply to a registered buyer or an export. Reports what is missing.
pub(crate) fn check_e_invoice(
    terms: &TaxTermsDocument,
    addresses: Addresses<'_>,
    hsn: &[Option<&Hsn>],
    errors: &mut FieldErrors,
) {
    let is_export = terms.is_export();
    if !is_export && !addresses.has_recipient_number() {
        return;
    }
    let buyer = addresses.billing.map(|address| ("billing_address", address)).or_else(|| addresses.first());
    let Some((name, address)) = buyer else { return };
    let long_enough =
        |text: &Option<String>, least| text.as_deref().is_some_and(|text| text.trim().chars().count() >= least);
    let why = "the invoice is registered at the portal";
    for (field, text, least) in [("name", &address.name, 3), ("line1", &address.line1, 1), ("city", &address.city, 3)] {
        if !long_enough(text, least) {
            errors.add(format!("{name}.{field}"), format!("is required, with at least {least} characters: {why}"));
        }
    }
    let digits = address.postal_code.as_deref().unwrap_or_default().chars().filter(char::is_ascii_digit).count();
    if !is_export && digits != 6 {
        errors.add(format!("{name}.postal_code"), format!("is required, with 6 digits: {why}"));
    }
    // Notification 78/2020 – Central Tax: six digits above a turnover of five crore rupees, from which invoices are registered.
    for (index, _) in hsn.iter().enumerate().filter(|(_, hsn)| hsn.is_none_or(|hsn| hsn.as_str().len() < 6)) {
        errors.add(format!("items[{index}].hsn"), format!("is required, with 6 or 8 digits: {why}"));
    }
}

/// What is no country would be sold as an export, without tax.
fn check_countries(addresses: Addresses<'_>, errors: &mut FieldErrors) {
    for (name, address) in addresses.named() {
        let country =
            address.and_then(|address| address.country.as_deref()).filter(|country| !country.trim().is_empty());
        if country.is_some_and(|country| country_code(country).is_none()) {
            let message = "must be a country: its English name or its code of ISO 3166, like United States or US";
            errors.add(format!("{name}.country"), message);
        }
    }
}

/// A number that names another state than its address does is of another person. Who is in a special economic zone has one.
fn check_numbers(addresses: Addresses<'_>, supplier: &Gstin, errors: &mut FieldErrors) {
    for (name, address) in addresses.named() {
        let Some(address) = address else { continue };
        if address.sez && address.gstin.is_none() {
            errors.add(
                format!("{name}.gstin"),
                "is required: units and developers of special economic zones are registered",
            );
        }
        let Some(Ok(number)) = address.gstin.as_deref().map(RecipientNumber::parse) else { continue };
        if matches!(&number, RecipientNumber::Registered(gstin) if gstin == supplier) {
            errors.add(format!("{name}.gstin"), "is the shop's own, and the buyer must be another person");
        }
        let of_number = number.state();
        if let Some(Place::India(state)) = place_of(address)
            && state != of_number
        {
            let message = format!("is of {}, and the address of {}", named(of_number), named(state));
            errors.add(format!("{name}.gstin"), message);
        }
    }
}

/// The buyer is who the billing address names, if there is one: GSTIN and special economic zone are facts of the buyer.
fn check_buyer(addresses: Addresses<'_>, errors: &mut FieldErrors) {
    let (Some(billing), Some(shipping)) = (addresses.billing, addresses.shipping) else { return };
    if billing.gstin.is_none() && shipping.gstin.is_some() {
        let message = "is required where the shipping address has one: the invoice is the buyer's, whom the billing address names";
        errors.add("billing_address.gstin", message);
    }
    if billing.sez != shipping.sez {
        // Section 16 (1) (b) of the IGST Act: to a unit or developer, for authorised operations, which are in the zone.
        let message = "must be the same in both addresses: only what a unit buys and gets in its zone is zero-rated";
        errors.add(if billing.sez { "shipping_address.sez" } else { "billing_address.sez" }, message);
    }
}

/// Where goods are supplied.
enum Place {
    India(IndianState),
    Abroad,
    Unknown,
}

fn place_of_supply(addresses: Addresses<'_>, errors: &mut FieldErrors) -> Place {
    // Section 10 (1) (b) of the IGST Act: goods that are delivered to another person at the direction of a registered buyer are supplied
    // where the buyer is.
    if let Some(Ok(buyer)) = addresses.billing.and_then(|address| address.gstin.as_deref()).map(RecipientNumber::parse)
    {
        return Place::India(buyer.state());
    }
    // Section 10 (1) (ca): without an address on record.
    let Some((name, first)) = addresses.first() else { return Place::Unknown };
    // Section 10 (1) (a) and (ca): where the transport ends, which is the address on record. One that does not say its state does by
    // its postal code, or else the buyer's other address does.
    if let Some(place) = place_of(first) {
        return place;
    }
    if first.state.is_some() {
        let message = "must be a state of India, like Karnataka or KA, because it decides the GST";
        errors.add(format!("{name}.state"), message);
        return Place::Unknown;
    }
    if let Some(Place::India(state)) = addresses.billing.and_then(place_of) {
        return Place::India(state);
    }
    errors.add(format!("{name}.state"), "is required: a state of India, like Karnataka or KA, decides the GST");
    Place::Unknown
}

/// `None` when the address does not say it, or says something that is no state of India.
fn place_of(address: &Address) -> Option<Place> {
    match address.country.as_deref().filter(|country| !country.trim().is_empty()).map(country_code) {
        // No country at all, which is reported.
        Some(None) => return Some(Place::Unknown),
        Some(Some(code)) if code != INDIA => return Some(Place::Abroad),
        _ => {}
    }
    let state = match &address.state {
        Some(state) => IndianState::from_text(state),
        None => address.postal_code.as_deref().and_then(IndianState::from_postal_code),
    };
    state.map(Place::India)
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
