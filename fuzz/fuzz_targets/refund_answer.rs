//! What the payment gateway answers, as the worker reads it.
#![no_main]

use contracts::GatewayRefund;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(refund) = serde_json::from_slice::<GatewayRefund>(body) else { return };
    let written = serde_json::to_vec(&refund).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<GatewayRefund>(&written).ok(), Some(refund));
});
