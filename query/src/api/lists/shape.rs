//! Which members of each document a list shows.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};

use crate::api::parameters::Parameters;

/// All members, or those that are named, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::api) enum Shape {
    #[default]
    Whole,
    Members(Vec<String>),
}

/// Members that are not in the stored documents.
const INNER: [&str; 7] = ["invoice", "refunds", "returns", "refund", "credit_note", "items", "allowed_actions"];

impl Shape {
    /// From `view` and `fields`.
    pub(super) fn read<T: PartialSchema>(parameters: &mut Parameters, summary: &[&str]) -> Self {
        let view = parameters.take("view", "must be full or summary", |text| {
            matches!(text, "full" | "summary").then(|| text.to_owned())
        });
        let Some(fields) = parameters.given("fields").map(str::to_owned) else {
            let is_summary = view.as_deref() == Some("summary");
            return if is_summary {
                Self::Members(summary.iter().map(ToString::to_string).collect())
            } else {
                Self::Whole
            };
        };
        if view.is_some() {
            parameters.reject("fields", "must not be there together with view");
        }
        let known = members::<T>();
        let mut wanted: Vec<String> = Vec::new();
        for field in fields.split(',').map(str::trim) {
            if !wanted.iter().any(|one| one == field) {
                wanted.push(field.to_owned());
            }
        }
        if let Some(unknown) = wanted.iter().find(|field| !known.contains(field)) {
            let shown: String = unknown.chars().take(64).collect();
            parameters.reject("fields", format!("must be a list of {}; {shown:?} is none of them", known.join(", ")));
        }
        Self::Members(wanted)
    }

    /// Whether something is shown that has to be looked up beside the document.
    pub(super) fn shows_inner(&self) -> bool {
        match self {
            Self::Whole => true,
            Self::Members(members) => members.iter().any(|member| INNER.contains(&member.as_str())),
        }
    }

    /// What is shown of a document.
    pub(super) fn cut(&self, document: String) -> String {
        let Self::Members(members) = self else { return document };
        let Ok(all) = serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(&document) else { return document };
        let shown = members.iter().filter_map(|name| Some((name, all.get(name.as_str())?)));
        let shown: Vec<_> = shown.map(|(name, value)| format!("\"{name}\":{}", value.get())).collect();
        format!("{{{}}}", shown.join(","))
    }
}

/// The members of a document, as its schema has them.
fn members<T: PartialSchema>() -> Vec<String> {
    match T::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// A list of members, in the API description.
pub(super) fn members_of<T: PartialSchema>() -> Schema {
    let member = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(members::<T>()));
    ArrayBuilder::new().items(member).min_items(Some(1)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_cut_to_what_is_named() {
        let document = r#"{"id":"a","items":[{"x":1}],"name":"b\"c"}"#.to_owned();
        assert_eq!(Shape::Whole.cut(document.clone()), document);
        let named = Shape::Members(vec!["name".to_owned(), "id".to_owned(), "erased_at".to_owned()]);
        assert_eq!(named.cut(document), r#"{"name":"b\"c","id":"a"}"#);
        assert!(!named.shows_inner());
        assert!(Shape::Members(vec!["invoice".to_owned()]).shows_inner());
    }

    #[test]
    fn members_are_those_of_the_schema() {
        let known = members::<contracts::OrderDocument>();
        for member in ["id", "items", "invoice", "returns", "allowed_actions"] {
            assert!(known.iter().any(|known| known == member), "{member}");
        }
    }
}
