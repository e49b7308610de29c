//! GST numbers, states, and the default rates of goods.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use domain::{BadGstin, Gstin, IndianState, default_rate};
use proptest::prelude::*;

use crate::vectors::{array, text, vectors};

const SOUND: &str = "27AAPFU0939F1ZV";

#[test]
fn a_gstin_is_told_from_what_merely_looks_like_one() {
    let vectors = vectors("gstin_mod36");
    for valid in array(&vectors["valid"]) {
        assert_eq!(Gstin::parse(text(valid)).map(|gstin| gstin.as_str().to_owned()).as_deref(), Ok(text(valid)));
    }
    for invalid in array(&vectors["invalid"]) {
        assert_eq!(Gstin::parse(text(invalid)), Err(BadGstin::CheckDigit), "{invalid}");
    }
    for malformed in ["", "27AAPFU0939F1Z", "27AAPFU0939F1ZVV", "27aapfu0939f1zv", "2 AAPFU0939F1ZV", "27AAPFU0939F1₹"]
    {
        assert_eq!(Gstin::parse(malformed), Err(BadGstin::Form), "{malformed}");
    }
}

#[test]
fn a_gstin_names_the_state_of_its_holder() {
    assert_eq!(Gstin::parse(SOUND).expect("sound").state().name, "Maharashtra");
    // The same PAN under 28, which is no state any more, with the check digit that goes with it.
    let nowhere: Vec<_> =
        ('0'..='9').chain('A'..='Z').map(|check| Gstin::parse(&format!("28{}{check}", &SOUND[2..14]))).collect();
    assert_eq!(nowhere.iter().filter(|read| **read == Err(BadGstin::State(28))).count(), 1);
    assert_eq!(nowhere.iter().filter(|read| **read == Err(BadGstin::CheckDigit)).count(), 35);
}

proptest! {
    /// What the check digit is there for.
    #[test]
    fn no_single_wrong_character_and_no_swapped_neighbours_pass(place in 0..15_usize, other in "[0-9A-Z]") {
        let mut wrong = SOUND.to_owned();
        wrong.replace_range(place..=place, &other);
        prop_assert!(wrong == SOUND || Gstin::parse(&wrong).is_err(), "{}", wrong);
        let mut swapped: Vec<char> = SOUND.chars().collect();
        swapped.swap(place, (place + 1).min(14));
        let swapped: String = swapped.into_iter().collect();
        prop_assert!(swapped == SOUND || Gstin::parse(&swapped).is_err(), "{}", swapped);
    }

    #[test]
    fn nothing_that_people_write_makes_a_state_search_fail(written in ".{0,40}") {
        if let Some(state) = IndianState::from_text(&written) {
            prop_assert_eq!(IndianState::from_code(state.code), Some(state));
        }
    }
}

#[test]
fn a_state_is_known_by_what_people_write_for_it() {
    let states = [
        ("Karnataka", 29),
        ("KARNATAKA", 29),
        (" tamil  nadu ", 33),
        ("Tamilnadu", 33),
        ("IN-MH", 27),
        ("MH", 27),
        ("27", 27),
        ("07", 7),
        ("New Delhi", 7),
        ("Orissa", 21),
        ("Jammu & Kashmir", 1),
        ("Andaman & Nicobar Islands", 35),
        ("Dadra & Nagar Haveli and Daman & Diu", 26),
        ("Pondicherry", 34),
        ("Telangana", 36),
        ("Ladakh", 38),
    ];
    for (written, code) in states {
        assert_eq!(IndianState::from_text(written).map(|state| state.code), Some(code), "{written}");
    }
    for unknown in ["", "Bavaria", "28", "99", "K"] {
        assert_eq!(IndianState::from_text(unknown), None, "{unknown}");
    }
}

#[test]
fn every_state_is_found_by_its_own_name_and_code() {
    let codes: BTreeSet<u8> = (0..=u8::MAX).filter_map(IndianState::from_code).map(|state| state.code).collect();
    assert_eq!(codes.len(), 37);
    for state in codes.into_iter().filter_map(IndianState::from_code) {
        assert_eq!(IndianState::from_text(state.name), Some(state));
        assert_eq!(IndianState::from_text(&format!("{:02}", state.code)), Some(state));
    }
}

#[test]
fn handicrafts_bear_the_rate_of_the_day() {
    let rate =
        |hsn, on: &str| default_rate(hsn, on.parse::<NaiveDate>().expect("a date")).map(domain::GstRate::per_cent);
    // Art ware of brass: 12 % until 21 September 2025, 5 % from the 22nd.
    assert_eq!(rate("74199930", "2025-09-21"), Some(12.0));
    assert_eq!(rate("7419 99 30", "2025-09-22"), Some(5.0));
    assert_eq!(rate("7419.99", "2026-11-21"), Some(5.0));
    // Carpets have had 5 % all along, silver filigree 3 %.
    assert_eq!((rate("5703", "2020-01-01"), rate("5703", "2026-01-01")), (Some(5.0), Some(5.0)));
    assert_eq!(rate("71131110", "2026-01-01"), Some(3.0));
    // Before there were such rates, and goods that are not in the table.
    assert_eq!(rate("74199930", "2018-07-26"), None);
    assert_eq!((rate("8517", "2026-01-01"), rate("7419", "2026-01-01"), rate("", "2026-01-01")), (None, None, None));
}
