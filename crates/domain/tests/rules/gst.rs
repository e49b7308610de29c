//! GST numbers, states, and the default rates of goods.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use domain::{BadGstin, Gstin, IndianState, RecipientNumber, default_rate};
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
        ("J&K", 1),
        ("J & K", 1),
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
fn the_number_of_a_buyer_is_read_as_people_write_it() {
    for written in [SOUND, "27aapfu0939f1zv", " 27 AAPFU 0939 F1ZV "] {
        let number = RecipientNumber::parse(written).expect(written);
        assert_eq!((number.as_str(), number.state().code), (SOUND, 27), "{written}");
    }
    // A UIN: an embassy in Delhi.
    let embassy = RecipientNumber::parse("0717usa12345uno").expect("a UIN");
    assert_eq!((embassy.as_str(), embassy.state().name), ("0717USA12345UNO", "Delhi"));
    for bad in ["", "0717USA12345UNO1", "0717USA12345XXO", "2817USA12345UNO", "27AAPFU0939F1ZW", "₹717USA12345UN"] {
        assert!(RecipientNumber::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_postal_code_names_its_state_or_none() {
    let state = |code| IndianState::from_postal_code(code).map(|state| state.code);
    for (code, wanted) in
        [("400001", 27), ("560 001", 29), ("110001", 7), ("403001", 30), ("600001", 33), ("700001", 19)]
    {
        assert_eq!(state(code), Some(wanted), "{code}");
    }
    // Chandigarh and Mohali, Puducherry and Cuddalore share a prefix; and these are no codes.
    for unsure in ["160017", "605001", "40001", "4000011", "000001", "MH-400001", ""] {
        assert_eq!(state(unsure), None, "{unsure}");
    }
}

#[test]
fn union_territories_without_a_legislature_have_a_tax_of_their_own() {
    let codes = (0..=u8::MAX).filter_map(IndianState::from_code).filter(|state| state.has_union_territory_tax());
    assert_eq!(codes.map(|state| state.code).collect::<Vec<_>>(), [4, 26, 31, 35, 38, 97]);
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

/// The rows of a notification as it was published: serial number, code, goods, rate of central tax.
fn notified(text: &'static str) -> Vec<(&'static str, f64, String)> {
    let row = |line: &'static str| {
        let (serial, rest) = line.split_once(',').expect("a serial number");
        let (hsn, rest) = rest.split_once(',').expect("a code");
        let (goods, rate) = rest.rsplit_once(',').expect("a rate");
        (hsn, 2.0 * rate.parse::<f64>().expect("a rate"), format!("S. No. {serial}: {goods}"))
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn each_handicraft_bears_the_rate_that_was_notified() {
    let old = notified(include_str!("../../data/notifications/21-2018.csv"));
    let new = notified(include_str!("../../data/notifications/13-2025.csv"));
    assert!(old.len() > 50 && new.len() > 50, "{} and {}", old.len(), new.len());
    let rate =
        |hsn, on: &str| default_rate(hsn, on.parse::<NaiveDate>().expect("a date")).map(domain::GstRate::per_cent);
    for (hsn, per_cent, goods) in &new {
        assert_eq!(rate(*hsn, "2025-09-22"), Some(*per_cent), "{hsn} {goods}");
    }
    for (hsn, per_cent, goods) in &old {
        // The rate of a shawl depended on its price.
        let wanted = Some(*per_cent).filter(|_| !["6117", "6214"].contains(hsn));
        assert_eq!(rate(*hsn, "2025-09-21"), wanted, "{hsn} {goods}");
        assert_eq!(rate(*hsn, "2018-07-26"), None, "{hsn}");
    }
    // What the codes of the notifications became in the tariffs of 2017 and 2022.
    for successor in ["74198030", "94015200", "94015900", "94038200", "94038900", "94051100"] {
        assert_eq!(rate(successor, "2026-01-01"), Some(5.0), "{successor}");
    }
}
