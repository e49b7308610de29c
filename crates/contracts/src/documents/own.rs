//! What the shop keeps for itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The members of an order that no customer sees.
const OWN: [&str; 2] = ["metadata", "tags"];

/// An order's document as its customer sees it: without metadata and tags.
pub fn without_the_shops_own(document: String) -> String {
    let Ok(mut members) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(&document) else { return document };
    let had = OWN.map(|name| members.remove(name).is_some());
    if !had.contains(&true) {
        return document;
    }
    let members = members.iter().map(|(name, value)| format!("\"{name}\":{}", value.get()));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_see_neither_metadata_nor_tags() {
        let document = r#"{"id":"x","tags":["vip"],"items":[{"tags":1}],"metadata":{"a":"b"},"rate":5.0}"#.to_owned();
        assert_eq!(without_the_shops_own(document), r#"{"id":"x","items":[{"tags":1}],"rate":5.0}"#);
        let plain = r#"{"rate": 5.0, "id":"x"}"#;
        assert_eq!(without_the_shops_own(plain.to_owned()), plain);
    }
}
