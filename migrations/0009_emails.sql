-- E-mails that really go out. A server that has accepted one cannot be asked about it, so the row is committed before the
-- text is handed over: whoever finds a row that says SENDING knows that a message may be out, and sends no second one.
--
--   LOGGED    no server is set: the message was logged, and nothing went out
--   SENDING   committed; the text is being handed over, or whoever did that has died
--   SENT      the server has accepted it
--   REFUSED   the server has refused it after all, so that nothing is out; it may be tried again
--   IN_DOUBT  nobody knows; the job is dead, and only an operator sends it again
--
-- See docs/decisions/0012-mail-at-most-once.md.
alter table work.emails
    -- Everything before this was logged.
    add column status text not null default 'LOGGED'
        constraint emails_status_known check (status in ('LOGGED', 'SENDING', 'SENT', 'REFUSED', 'IN_DOUBT')),
    -- When SENDING was committed, last; null for what was only logged.
    add column recorded_at timestamptz,
    alter column sent_at drop not null;
alter table work.emails
    alter column status drop default,
    add constraint emails_sent_has_time check ((status in ('LOGGED', 'SENT')) = (sent_at is not null)),
    add constraint emails_recorded_has_time check ((status = 'LOGGED') = (recorded_at is null));
