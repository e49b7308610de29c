//! Background services of the query process beside the projector.

pub(crate) mod nightly_report;
