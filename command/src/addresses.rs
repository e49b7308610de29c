//! Which addresses an order may have.

use contracts::Address;
use domain::RecipientNumber;
use runtime::FieldErrors;

/// Members beside those that the description names.
const MAX_OTHER_FIELDS: usize = 20;
const MAX_TEXT: usize = 255;
const MAX_NAME: usize = 64;

/// Writes the number of a registered buyer as it is usually written. One that is invalid stays as it is, and is reported.
pub(crate) fn write_as_usual(address: &mut Address) {
    if let Some(Ok(number)) = address.gstin.as_deref().map(RecipientNumber::parse) {
        address.gstin = Some(number.as_str().to_owned());
    }
}

/// Reports what is invalid in the address of this name.
pub(crate) fn check(errors: &mut FieldErrors, name: &str, address: Option<&Address>) {
    let Some(address) = address else { return };
    let named = [
        ("name", &address.name),
        ("line1", &address.line1),
        ("line2", &address.line2),
        ("city", &address.city),
        ("state", &address.state),
        ("postal_code", &address.postal_code),
        ("country", &address.country),
        ("phone", &address.phone),
        ("gstin", &address.gstin),
    ];
    for (field, text) in named {
        if let Some(text) = text {
            check_line(errors, &format!("{name}.{field}"), text, MAX_TEXT);
        }
    }
    if address.other.len() > MAX_OTHER_FIELDS {
        errors.add(name, format!("must not have more than {MAX_OTHER_FIELDS} further fields"));
    }
    for (field, text) in &address.other {
        check_line(errors, &format!("{name}.{field}"), text, MAX_TEXT);
        check_line(errors, name, field, MAX_NAME);
    }
    if let Some(gstin) = &address.gstin
        && let Err(error) = RecipientNumber::parse(gstin)
    {
        errors.add(format!("{name}.gstin"), error.to_string());
    }
}

fn check_line(errors: &mut FieldErrors, field: &str, text: &str, max: usize) {
    if let Err(error) = contracts::check_text(text, max, |_| false) {
        errors.add(field, error.to_string());
    }
}
