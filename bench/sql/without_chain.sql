-- The functions of the audit without its chain: nothing is hashed, and no salt is stored.
create or replace function command.linked(link bytea, link_version integer, of_type text, of_id uuid, before integer, digest bytea)
    returns bytea language sql volatile return null::bytea;

create or replace function command.append_linked(transitions command.new_transition[], hashes bytea[]) returns bigint
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
