//! A value of a closed set of `domain` as JSON: its name. For `#[serde(with = "contracts::named")]`, because `domain`
//! does without serde.

use std::fmt;
use std::marker::PhantomData;

use domain::Named;
use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

pub fn serialize<N: Named, S: Serializer>(value: &N, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.as_str())
}

pub fn deserialize<'de, N: Named, D: Deserializer<'de>>(deserializer: D) -> Result<N, D::Error> {
    deserializer.deserialize_str(Name(PhantomData))
}

struct Name<N>(PhantomData<N>);

impl<N: Named> Visitor<'_> for Name<N> {
    type Value = N;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", N::NAMES.join(", "))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<N, E> {
        N::from_name(name).ok_or_else(|| E::unknown_variant(name, N::NAMES))
    }
}
