//! What a shop may change of an order beside its facts: e-mail address, addresses, metadata and tags, as a merge patch (RFC 7396).
//!
//! Addresses decide which GST an order bears. They may be corrected until the order is in the warehouse, as long as that stays the
//! same: otherwise the order would get another price, after the customer has agreed to its price.

use std::collections::BTreeMap;

use contracts::{Address, Email, OrderDocument, OrderState, TaxTermsDocument};
use runtime::{ApiError, FieldErrors};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::App;
use crate::addresses;
use crate::order_books::OrderBooks;
use crate::taxation::{self, Addresses};

/// Entries of an order's metadata.
pub(crate) const MAX_METADATA: usize = 50;

/// A member of a merge patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Patch<T> {
    /// It is not there: what is stored stays.
    #[default]
    Keep,
    /// It is null: what is stored goes.
    Remove,
    Set(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Remove, Self::Set))
    }
}

impl<T> Patch<T> {
    /// What it sets, if it sets something.
    pub(crate) const fn set(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Remove => None,
        }
    }
}

/// What is to be changed.
#[derive(Debug, Default)]
pub(crate) struct Amendments {
    pub(crate) customer_email: Patch<Email>,
    pub(crate) shipping_address: Patch<Map<String, Value>>,
    pub(crate) billing_address: Patch<Map<String, Value>>,
    pub(crate) metadata: Patch<BTreeMap<String, Option<String>>>,
    pub(crate) tags: Patch<Vec<String>>,
}

impl Amendments {
    /// The members of the order that change. They go before those that it was placed with; null stands for none.
    ///
    /// # Errors
    /// 409 for an address that cannot change any more or would change the GST, 422 for one that is invalid.
    pub(crate) fn of(&self, app: &App, books: &OrderBooks) -> Result<Map<String, Value>, ApiError> {
        let order = &books.order;
        let mut amended = Map::new();
        let mut enter = |name: &str, is_new: bool, value: Value| {
            if is_new {
                amended.insert(name.to_owned(), value);
            }
        };
        if self.customer_email != Patch::Keep {
            let email = self.customer_email.set();
            enter("customer_email", email != order.customer_email.as_ref(), json!(email));
        }
        let (shipping, billing) = self.addresses(app, books)?;
        enter("shipping_address", shipping != order.shipping_address, json!(shipping));
        enter("billing_address", billing != order.billing_address, json!(billing));
        let metadata = merged(&order.metadata, &self.metadata);
        if metadata.len() > MAX_METADATA {
            let mut errors = FieldErrors::default();
            errors.add("metadata", format!("would have {} entries; at most {MAX_METADATA} are kept", metadata.len()));
            errors.finish()?;
        }
        if metadata != order.metadata {
            amended.insert("metadata".to_owned(), json!(metadata));
        }
        let tags = match &self.tags {
            Patch::Keep => order.tags.as_slice(),
            Patch::Remove => &[],
            Patch::Set(tags) => tags,
        };
        if tags != order.tags {
            amended.insert("tags".to_owned(), json!(tags));
        }
        Ok(amended)
    }

    /// The addresses as they will be.
    fn addresses(&self, app: &App, books: &OrderBooks) -> Result<(Option<Address>, Option<Address>), ApiError> {
        let order = &books.order;
        let mut errors = FieldErrors::default();
        let shipping =
            patched(&mut errors, "shipping_address", order.shipping_address.as_ref(), &self.shipping_address);
        let billing = patched(&mut errors, "billing_address", order.billing_address.as_ref(), &self.billing_address);
        if shipping == order.shipping_address && billing == order.billing_address {
            errors.finish()?;
            return Ok((shipping, billing));
        }
        if !matches!(books.state, OrderState::PendingPayment | OrderState::Paid) {
            let message =
                format!("the order is {}; its addresses can be changed until it is in the warehouse", books.state);
            return Err(ApiError::conflict("FACT_IS_FINAL", message)
                .with_details(json!({ "fact": "address", "current_state": books.state.as_str() })));
        }
        addresses::check(&mut errors, "shipping_address", shipping.as_ref());
        addresses::check(&mut errors, "billing_address", billing.as_ref());
        let both = Addresses { shipping: shipping.as_ref(), billing: billing.as_ref() };
        let terms = app.taxation.terms(both, &mut errors);
        if let Some(terms) = &terms {
            taxation::check_value(taxable(order), &order.currency, both, &mut errors);
            if app.taxation.e_invoicing {
                let hsn: Vec<_> = order.items.iter().map(|item| item.hsn.as_ref()).collect();
                taxation::check_e_invoice(terms, both, &hsn, &mut errors);
            }
        }
        errors.finish()?;
        check_tax(order.tax_terms.as_ref(), terms.as_ref())?;
        Ok((shipping, billing))
    }
}

/// An address with the changes of a merge patch.
fn patched(
    errors: &mut FieldErrors,
    name: &str,
    stored: Option<&Address>,
    patch: &Patch<Map<String, Value>>,
) -> Option<Address> {
    let patch = match patch {
        Patch::Keep => return stored.cloned(),
        Patch::Remove => return None,
        Patch::Set(patch) => patch,
    };
    let mut members = match json!(stored) {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (field, value) in patch {
        let field = Address::usual_name(field);
        if value.is_null() {
            members.remove(field);
        } else if members.insert(field.to_owned(), value.clone()).is_some() && patch_names(patch, field) > 1 {
            errors.add(format!("{name}.{field}"), "is there twice, under two names");
        }
    }
    match serde_json::from_value::<Address>(Value::Object(members)) {
        Ok(mut address) => {
            addresses::write_as_usual(&mut address);
            Some(address)
        }
        Err(error) => {
            errors.add(name, format!("must have texts as its members, and sez true or false: {error}"));
            None
        }
    }
}

/// How often a patch names a field.
fn patch_names(patch: &Map<String, Value>, field: &str) -> usize {
    patch.keys().filter(|name| Address::usual_name(name) == field).count()
}

fn merged(
    stored: &BTreeMap<String, String>,
    patch: &Patch<BTreeMap<String, Option<String>>>,
) -> BTreeMap<String, String> {
    let patch = match patch {
        Patch::Keep => return stored.clone(),
        Patch::Remove => return BTreeMap::new(),
        Patch::Set(patch) => patch,
    };
    let mut merged = stored.clone();
    for (name, value) in patch {
        match value {
            Some(value) => merged.insert(name.clone(), value.clone()),
            None => merged.remove(name),
        };
    }
    merged
}

fn taxable(order: &OrderDocument) -> i64 {
    let taxes = order.items.iter().flat_map(|item| [item.tax, item.shipping_tax]).flatten();
    taxes.map(|tax| tax.taxable_minor).sum()
}

/// The price was agreed upon with its tax.
fn check_tax(was: Option<&TaxTermsDocument>, will_be: Option<&TaxTermsDocument>) -> Result<(), ApiError> {
    let (Some(was), Some(will_be)) = (was, will_be) else { return Ok(()) };
    let of = |terms: &TaxTermsDocument| (terms.supply, terms.place_of_supply.clone(), terms.sez);
    if of(was) == of(will_be) {
        return Ok(());
    }
    let message = format!(
        "with this address the place of supply would be {} and not {}, and the order would bear another GST; cancel the order and place \
         it again",
        will_be.place_of_supply, was.place_of_supply
    );
    Err(ApiError::conflict("TAX_WOULD_CHANGE", message).with_details(
        json!({ "place_of_supply": was.place_of_supply, "place_of_supply_with_this_address": will_be.place_of_supply }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_adds_and_removes() {
        let stored = Address { name: Some("Asha".to_owned()), phone: Some("1".to_owned()), ..Address::default() };
        let patch = json!({ "phone": null, "city": "Jaipur", "pincode": "302001", "landmark": "Hawa Mahal" });
        let Value::Object(patch) = patch else { panic!("an object") };
        let mut errors = FieldErrors::default();
        let address = patched(&mut errors, "shipping_address", Some(&stored), &Patch::Set(patch)).expect("an address");
        errors.finish().expect("valid");
        assert_eq!((address.name.as_deref(), address.phone.as_deref()), (Some("Asha"), None));
        assert_eq!((address.city.as_deref(), address.postal_code.as_deref()), (Some("Jaipur"), Some("302001")));
        assert_eq!(address.other["landmark"], "Hawa Mahal");
        let renamed = |patch: Value| {
            let Value::Object(patch) = patch else { panic!("an object") };
            let mut errors = FieldErrors::default();
            let address = patched(&mut errors, "shipping_address", Some(&address), &Patch::Set(patch));
            errors.finish().map(|()| address.expect("an address").postal_code)
        };
        assert_eq!(renamed(json!({ "zip": "302002" })).ok(), Some(Some("302002".to_owned())));
        assert_eq!(renamed(json!({ "pin_code": null })).ok(), Some(None));
        assert!(renamed(json!({ "zip": "302002", "pincode": "302003" })).is_err());
        assert_eq!(patched(&mut FieldErrors::default(), "x", Some(&stored), &Patch::Remove), None);
        assert_eq!(patched(&mut FieldErrors::default(), "x", Some(&stored), &Patch::Keep), Some(stored));
    }

    #[test]
    fn metadata_is_merged_by_name() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let patch = BTreeMap::from([("a".to_owned(), None), ("c".to_owned(), Some("3".to_owned()))]);
        assert_eq!(merged(&of(&[("a", "1"), ("b", "2")]), &Patch::Set(patch)), of(&[("b", "2"), ("c", "3")]));
        assert_eq!(merged(&of(&[("a", "1")]), &Patch::Remove), of(&[]));
    }
}
