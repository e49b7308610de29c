//! A row of the inbox: the first line is the headers, the second the envelope. Its payload becomes rows of read models.
#![no_main]

use contracts::{Envelope, Queue};
use libfuzzer_sys::fuzz_target;
use messaging::decoders;

fuzz_target!(|lines: &str| {
    let Some((headers, envelope)) = lines.split_once('\n') else { return };
    let Ok(event) = serde_json::from_str::<Envelope>(envelope) else { return };
    for queue in Queue::ALL {
        let payload = event.payload.get().to_owned();
        let Some(job) = decoders::job(queue, &event, headers.to_owned(), Some(payload)) else { return };
        let readable = query::decoders::is_readable(&job);
        assert!(!readable || (job.undecodable.is_none() && job.unknown.is_none()), "{job:?}");
        assert!(!readable || job.payload.get() == event.payload.get());
    }
});
