//! serde's errors in words for the people who call the API.

use crate::error::FieldError;

/// `message` is serde's, about the value at `path`.
pub(super) fn explain(path: &str, message: &str) -> FieldError {
    // serde_path_to_error writes "." for the whole, and "?" for what it does not know, as the member whose name is being read.
    let path = if matches!(path, "." | "?") { "" } else { path.strip_suffix(".?").unwrap_or(path) };
    let message = without_position(message);
    if let Some(name) = between_backticks(message, "missing field ") {
        return FieldError::new(join(path, name), "is required");
    }
    if let Some(name) = between_backticks(message, "duplicate field ") {
        return FieldError::new(without_repeat(path, name), "is given more than once");
    }
    if let Some(name) = between_backticks(message, "unknown field ") {
        return FieldError::new(without_repeat(path, name), "is not a known field");
    }
    let message = in_words(message);
    if path.is_empty() { FieldError::new("", format!("the request {message}")) } else { FieldError::new(path, message) }
}

/// serde's message without the " at line 1 column 5" that `serde_json` appends.
pub(super) fn without_position(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(message, _)| message)
}

fn between_backticks<'m>(message: &'m str, prefix: &str) -> Option<&'m str> {
    message.strip_prefix(prefix)?.strip_prefix('`')?.split('`').next()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What stands before the values of which one is taken.
pub(super) const ONE_OF: &str = "must be one of ";

/// For a duplicate or unknown field, the path may or may not end with the field's name already.
fn without_repeat(path: &str, name: &str) -> String {
    if path == name || path.ends_with(&format!(".{name}")) { path.to_owned() } else { join(path, name) }
}

fn in_words(message: &str) -> String {
    if message.starts_with("must ") {
        return message.to_owned();
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let known: Vec<_> = rest.split('`').skip(3).step_by(2).collect();
        return format!("{ONE_OF}{}", known.join(", "));
    }
    let found_and_expected = message.split_once(": ").zip(message.rsplit_once(", expected "));
    if let Some((("invalid type", rest), (_, expected))) = found_and_expected {
        return format!("must be {}, not {}", kind(expected), found(rest));
    }
    if let Some((("invalid value", rest), (_, expected))) = found_and_expected {
        return format!("must be {}, not {}", range(expected).unwrap_or_else(|| kind(expected)), found(rest));
    }
    match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "must be a whole number".to_owned()
        }
        "number too large to fit in target type" => "is too large".to_owned(),
        "number too small to fit in target type" => "is too small".to_owned(),
        "provided string was not `true` or `false`" => "must be true or false".to_owned(),
        other if other.starts_with("UUID parsing failed") => "must be a UUID".to_owned(),
        other => format!("is not valid: {other}"),
    }
}

fn kind(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "a borrowed string" | "str" | "string" => "text",
        "a boolean" | "bool" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        struct_or_enum if struct_or_enum.starts_with("struct ") => "an object",
        "a UUID" | "a formatted UUID string" | "UUID" => "a UUID",
        other => other,
    }
    .to_owned()
}

fn range(expected: &str) -> Option<String> {
    macro_rules! range_of {
        ($($number:ident)+) => {
            match expected {
                $(stringify!($number) => Some(format!("a whole number from {} to {}", $number::MIN, $number::MAX)),)+
                _ => None,
            }
        };
    }
    range_of!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize)
}

/// The kind of the value that was found. Only numbers are repeated: texts may be long or private.
fn found(rest: &str) -> &str {
    match rest.split([' ', ',']).next().unwrap_or_default() {
        "null" => "null",
        "string" => "text",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "an object",
        "integer" | "floating" => rest.split('`').nth(1).unwrap_or("a number"),
        _ => "what was sent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_in_words() {
        for (path, serde, field, words) in [
            (
                "items[0].quantity",
                r#"invalid type: string "two", expected i32 at line 1 column 9"#,
                "items[0].quantity",
                "must be a whole number, not text",
            ),
            (
                "quantity",
                "invalid type: floating point `1.5`, expected i32",
                "quantity",
                "must be a whole number, not 1.5",
            ),
            (
                "quantity",
                "invalid value: integer `-1`, expected u8",
                "quantity",
                "must be a whole number from 0 to 255, not -1",
            ),
            ("sku", "invalid type: null, expected a string at line 3 column 4", "sku", "must be text, not null"),
            (".", "invalid type: sequence, expected struct NewOrder", "", "the request must be an object, not a list"),
            ("items[2]", "missing field `sku`", "items[2].sku", "is required"),
            (".", "missing field `sku`", "sku", "is required"),
            ("items[2].sku", "duplicate field `sku`", "items[2].sku", "is given more than once"),
            ("tags.?", "duplicate field `a` at line 1 column 9", "tags.a", "is given more than once"),
            ("colour", "unknown field `colour`, expected `sku` or `title`", "colour", "is not a known field"),
            (
                "state",
                "unknown variant `EATEN`, expected one of `PAID`, `SHIPPED`",
                "state",
                "must be one of PAID, SHIPPED",
            ),
            ("state", "unknown variant `EATEN`, expected `PAID` or `SHIPPED`", "state", "must be one of PAID, SHIPPED"),
            ("id", "UUID parsing failed: invalid length: found 3", "id", "must be a UUID"),
            ("limit", "invalid digit found in string", "limit", "must be a whole number"),
            ("name", "must be at most 64 characters", "name", "must be at most 64 characters"),
            ("name", "stolen goods", "name", "is not valid: stolen goods"),
        ] {
            assert_eq!(explain(path, serde), FieldError::new(field, words), "{serde}");
        }
    }
}
