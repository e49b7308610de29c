//! Values that are one of a few: a shell completes them, and a mistyped one is told the nearest.

use access::Role;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use contracts::{EventType, Queue};

/// The name of a queue.
pub(crate) fn queue() -> impl TypedValueParser<Value = Queue> {
    PossibleValuesParser::new(Queue::ALL.map(Queue::as_str)).try_map(|name| name.parse::<Queue>())
}

/// The type of an event.
pub(crate) fn event_type() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(EventType::ALL.map(EventType::as_str))
}

/// The role of a key.
pub(crate) fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(|name| name.parse::<Role>())
}
