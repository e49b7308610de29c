-- The function that appends to the audit, without the chain: no predecessor is looked up, and nothing is hashed.
create or replace function command.append_transitions(transitions command.new_transition[]) returns bigint
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    appended bigint;
begin
    insert into command.state_transitions
        (entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata, ip_address,
         request_id, trace_id, created_at, salt, hash)
    select entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata, ip_address,
           request_id, trace_id, created_at, '', ''
    from unnest(transitions);
    get diagnostics appended = row_count;
    return appended;
end $$
