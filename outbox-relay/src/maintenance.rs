//! What a relay does beside forwarding: one file for each background service.

pub(crate) mod gauges;
pub(crate) mod partitions;
