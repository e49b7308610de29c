//! A message of RabbitMQ, as the intake reads it, and the payload, as the workers read it.
#![no_main]

use contracts::{
    CreditNoteDocument, Envelope, EventType, InvoiceDocument, OrderDocument, RefundDocument, ReturnDocument,
    StateChanged,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let Ok(event) = serde_json::from_slice::<Envelope>(message) else { return };
    let written = serde_json::to_string(&event).expect("what was read can be written");
    let again: Envelope = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(again.payload.get(), event.payload.get(), "the payload passes on byte for byte");
    assert_eq!((again.event_id, again.headers), (event.event_id, event.headers.clone()));
    let payload = event.payload.get();
    let known = event.event_type.parse::<EventType>().is_ok() && event.headers.schema_is_known();
    let read = [
        serde_json::from_str::<StateChanged<OrderDocument>>(payload).is_ok(),
        serde_json::from_str::<StateChanged<ReturnDocument>>(payload).is_ok(),
        serde_json::from_str::<StateChanged<RefundDocument>>(payload).is_ok(),
        serde_json::from_str::<StateChanged<InvoiceDocument>>(payload).is_ok(),
        serde_json::from_str::<StateChanged<CreditNoteDocument>>(payload).is_ok(),
    ];
    std::hint::black_box((known, read));
});
