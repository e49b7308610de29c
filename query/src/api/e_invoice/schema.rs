//! Checks against the schema of INV-01.

use std::sync::LazyLock;

use boon::{Compiler, ErrorKind, SchemaIndex, Schemas, ValidationError};
use serde_json::Value;

/// The published schema, with the rules between fields: see its description.
const SCHEMA: &str = include_str!("../../../data/inv-01.schema.json");
const NAME: &str = "urn:inv-01";

static COMPILED: LazyLock<(Schemas, SchemaIndex)> = LazyLock::new(|| {
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource(NAME, schema).expect("the name is a URL");
    let index = compiler.compile(NAME, &mut schemas).expect("the schema is valid");
    (schemas, index)
});

/// What the portal would refuse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where it is in the document, as in `BuyerDtls.Pin`.
    pub(super) field: String,
    pub(super) message: String,
}

/// Everything that the portal would refuse. Empty: the document is valid.
pub(super) fn faults(file: &Value) -> Vec<Fault> {
    let (schemas, index) = &*COMPILED;
    let mut faults = Vec::new();
    if let Err(error) = schemas.validate(file, *index) {
        collect(&error, &mut faults);
    }
    faults.sort_by(|one, other| one.field.cmp(&other.field));
    faults.dedup();
    faults
}

fn collect(error: &ValidationError<'_, '_>, faults: &mut Vec<Fault>) {
    for cause in &error.causes {
        collect(cause, faults);
    }
    if !error.causes.is_empty() {
        return;
    }
    let at = error.instance_location.to_string().trim_start_matches('/').replace('/', ".");
    match &error.kind {
        ErrorKind::Required { want } => {
            for missing in want {
                let field = if at.is_empty() { (*missing).to_owned() } else { format!("{at}.{missing}") };
                faults.push(Fault { message: format!("is missing{}", source(&field)), field });
            }
        }
        kind => faults.push(Fault { message: format!("{kind}{}", source(&at)), field: at }),
    }
}

/// Where a fact comes from.
fn source(field: &str) -> &'static str {
    let (party, fact) = field.split_once('.').unwrap_or((field, ""));
    match (party, fact.rsplit('.').next().unwrap_or(fact)) {
        ("SellerDtls", "LglNm") => "; it is SUPPLIER_NAME",
        ("SellerDtls", "Addr1") => "; it is SUPPLIER_ADDRESS",
        ("SellerDtls", "Loc") => "; it is SUPPLIER_CITY",
        ("SellerDtls", "Pin") => "; it is SUPPLIER_POSTAL_CODE",
        ("BuyerDtls", "LglNm") => "; it is the name in the billing address, or else in the shipping address",
        ("BuyerDtls", "Addr1") => "; it is line1 of the billing address, or else of the shipping address",
        ("BuyerDtls", "Loc") => "; it is the city of the billing address, or else of the shipping address",
        ("BuyerDtls", "Pin") => "; it is the postal_code of the billing address, or else of the shipping address",
        ("ItemList", "HsnCd") => "; it is the item's hsn, of 4, 6 or 8 digits",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    /// A document that the portal accepts, and changes to it that it refuses.
    const REFUSED: &str = include_str!("../../../data/inv-01.refused.json");

    fn cases() -> (Value, Vec<Map<String, Value>>) {
        let file: Value = serde_json::from_str(REFUSED).expect("JSON");
        let cases = file["refused"].as_array().expect("a list").iter();
        (file["accepted"].clone(), cases.map(|case| case.as_object().expect("a case").clone()).collect())
    }

    #[test]
    fn a_complete_document_is_valid() {
        assert_eq!(faults(&cases().0), []);
    }

    /// The copies of the schema that go round accept any JSON.
    #[test]
    fn what_the_portal_refuses_is_named_by_its_field() {
        let (accepted, cases) = cases();
        assert!(cases.len() >= 10);
        for case in cases {
            let mut changed = accepted.clone();
            for (pointer, value) in case["change"].as_object().expect("changes") {
                let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
                let parent = changed.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
                match value {
                    Value::Null => _ = parent.remove(member),
                    value => _ = parent.insert(member.to_owned(), value.clone()),
                }
            }
            let found = faults(&changed);
            let field = case["field"].as_str().expect("a field");
            assert!(found.iter().any(|fault| fault.field == field), "{}: {found:?}", case["why"]);
        }
    }
}
