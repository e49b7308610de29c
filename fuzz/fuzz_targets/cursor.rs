//! The cursor of a list: one text for one place.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(written) = query::decoders::cursor(text) {
        assert_eq!(written, text, "a place has one cursor");
    }
});
