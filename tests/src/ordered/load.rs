//! The events of a run: every aggregate has all its versions, and the aggregates take turns at random.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use anyhow::Result;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use runtime::Ids;
use uuid::Uuid;

use super::{EVENT_TYPE, Event, Plan, Run, VERSIONS};

/// Events in one transaction.
const BATCH: usize = 500;
/// Part of the events that no release knows.
const UNKNOWN: f64 = 0.001;

/// The events, in the order in which they are appended.
pub(super) fn events(plan: &Plan, chance: &mut StdRng) -> Vec<Event> {
    let ids = Ids::system();
    let mut open: Vec<(Uuid, i32)> = (0..plan.aggregates).map(|_| (ids.next(), 0)).collect();
    let mut events = Vec::new();
    while !open.is_empty() {
        let at = chance.random_range(..open.len());
        // Often several versions at once, so that they wait for each other.
        for _ in 0..*[1, 1, 2, 5].choose(chance).unwrap_or(&1) {
            let (aggregate_id, version) = &mut open[at];
            *version += 1;
            let unknown = chance.random_bool(UNKNOWN);
            events.push(Event { id: ids.next(), aggregate_id: *aggregate_id, version: *version, unknown });
            if *version == VERSIONS {
                open.swap_remove(at);
                break;
            }
        }
    }
    events
}

pub(super) fn aggregates(events: &[Event]) -> Vec<Uuid> {
    events.iter().map(|event| event.aggregate_id).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Appends all events to the outbox.
pub(super) async fn append(run: &Run) -> Result<()> {
    for batch in run.events.chunks(BATCH) {
        sqlx::query(
            "select messaging.append_events('order', $1, $2, $3, $4, array_fill('{}'::jsonb, array[$5]),
                        array_fill(null::text, array[$5]), array_fill(clock_timestamp(), array[$5]))",
        )
        .bind(batch.iter().map(|event| event.id).collect::<Vec<_>>())
        .bind(batch.iter().map(|event| event.aggregate_id).collect::<Vec<_>>())
        .bind(batch.iter().map(|event| event.version).collect::<Vec<_>>())
        .bind(
            batch
                .iter()
                .map(|event| if event.unknown { "order.eaten" } else { EVENT_TYPE.as_str() })
                .collect::<Vec<_>>(),
        )
        .bind(i32::try_from(batch.len())?)
        .execute(&run.database.pool)
        .await?;
        run.appended.fetch_add(batch.len(), Ordering::Relaxed);
    }
    Ok(())
}
