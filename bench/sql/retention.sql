-- Retention's question for each partition of the outbox: why it cannot be dropped yet.
select messaging.unsettled(name, messaging.lowest_event_id(from_at), messaging.lowest_event_id(until_at))
from messaging.partitions
where parent = 'outbox'
