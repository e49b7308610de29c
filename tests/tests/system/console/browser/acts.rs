//! Every act of the console, with what came of it on the page and in the database.

mod events;

use access::Role;
use access::settings::Auth;
use anyhow::{Context, Result, ensure};
use operations::write::keys::{NewKey, create};
use operations::write::{Operator, Source};
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, PgPool};
use tests::servers::axe;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books};
use tokio::runtime::Handle;
use uuid::Uuid;

use self::events::{Events, ORDERS};
use super::pages::look_at;
use super::person::{Person, control};
use crate::operations::execute;
use crate::webhooks::{Receiver, with_workers};

/// A person at a console, who sees what they do, and whose acts are looked up in the database.
struct Desk {
    person: Person,
    base: String,
    pool: PgPool,
    receiver: Receiver,
    /// axe-core, for a desk that looks at the pages that only an act shows.
    axe: Option<String>,
}

impl Desk {
    fn open(&self, path: &str) -> Result<()> {
        self.person.open(&format!("{}{path}", self.base))
    }

    /// Does this with a form on the page, and reads what came of it.
    fn act(&self, (place, name): (&str, &str), more: &[(&str, &str)], said: &str) -> Result<()> {
        let fields: Vec<_> = more.iter().copied().chain([("reason", "a trial")]).collect();
        self.person.act(place, name, &fields).with_context(|| format!("{name} in {place}"))?;
        self.person.sees(said).with_context(|| format!("{name} in {place}"))
    }

    /// Waits until the database has one row like this.
    fn has(&self, one: &str) -> Result<()> {
        let query = format!("select count(*) from {one}");
        let found =
            eventually_equal(one, SOON, 1, async || books::count(&self.pool, AssertSqlSafe(query.clone())).await);
        Handle::current().block_on(found)
    }

    fn id(&self, query: &'static str) -> Result<Uuid> {
        Ok(Handle::current().block_on(sqlx::query_scalar(query).fetch_one(&self.pool))?)
    }

    /// Looks at a page on every screen, where this desk does.
    fn look(&self, name: &str) -> Result<()> {
        self.axe.as_ref().map_or(Ok(()), |axe| look_at(&self.person, axe, name))
    }

    fn draw(&self, name: &str) -> Result<()> {
        self.axe.as_ref().map_or(Ok(()), |_| self.person.picture(&format!("{name}-light")))
    }

    fn signs_in(&self, key: &str) -> Result<()> {
        self.open("/console/stuck")?;
        self.look("sign-in")?;
        self.draw("sign-in")?;
        self.person.fill("document.getElementById('key')", key)?;
        self.person.go(&control("main", "button", "Sign in"))?;
        self.person.sees("Stuck")?;
        self.has("access.sessions")
    }

    fn signs_out(&self) -> Result<()> {
        let has_keys = self.person.value("document.body.innerText.includes('shows the keys')")?;
        ensure!(has_keys == self.axe.is_some(), "keys are offered where they work: {has_keys}");
        self.person.go(&control("header", "button", "Sign out"))?;
        self.person.sees("Sign in")?;
        let sessions = Handle::current().block_on(books::count(&self.pool, "select count(*) from access.sessions"))?;
        ensure!(sessions == 0, "the session has ended");
        Ok(())
    }

    fn acts_on_queues_and_schedules(&self) -> Result<()> {
        let refunds = "tr:has([value=refunds])";
        self.open("/console")?;
        self.act((refunds, "Pause"), &[], "The queue was paused")?;
        self.has("messaging.queues where name = 'refunds' and paused_reason = 'a trial' and paused_by = 'anita'")?;
        self.open("/console")?;
        self.act((refunds, "Resume"), &[], "The queue was resumed")?;
        self.has("messaging.queues where name = 'refunds' and paused_at is null")?;
        self.has("messaging.schedules where name = 'partition_maintenance' and lease_owner is not null")?;
        self.open("/console/schedules")?;
        self.act(("tr:has([value=partition_maintenance])", "Run now"), &[], "partition_maintenance has run: {")?;
        self.has("messaging.operator_actions where action = 'RUN_SCHEDULE'")?;
        self.open("/console/audit")?;
        self.person.go(&control("main", "button", "Check now"))?;
        self.person.sees("Snapshot of")?;
        self.look("audit-run")?;
        self.draw("audit-run")
    }

    fn acts_on_events(&self, events: &Events) -> Result<()> {
        let Events { refused: [first, _], wrong_address, old, later, parked, waiting } = events;
        let of = |event: &Uuid| self.open(&format!("/console/events/{event}"));
        of(first)?;
        self.act(("main", "I look into it"), &[], "It has your name now")?;
        of(first)?;
        self.act(("main", "I take it over"), &[], "It has your name now")?;
        self.has(&format!("messaging.investigations where event_id = '{first}'"))?;
        of(first)?;
        self.act(("main", "No one looks into it"), &[], "It has no name any more")?;
        self.has("(select where not exists (select from messaging.investigations)) as none")?;
        of(first)?;
        self.act(("main", "Replay"), &[], "1 replayed: 1 delivered.")?;
        of(first)?;
        self.person.choose(&control("main", "summary", "Payload and headers"))?;
        self.act(("main", "Show everything"), &[], "meera@example.com")?;
        self.look("revealed")?;
        self.open("/console/stuck?older_than_seconds=0")?;
        self.act((&format!("section:has([value*='{first}'])"), "Retry (2)"), &[], "2 retried: 2 done.")?;
        of(wrong_address)?;
        self.act(("main", "Edit and retry"), &[("customer_email", "meera@example.in")], "1 retried: 1 done.")?;
        self.has(&format!(
            "work.email_corrections where event_id = '{wrong_address}' and recipient = 'meera@example.in'"
        ))?;
        of(old)?;
        self.act(("main", "Discard"), &[], "1 discarded: 1 discarded.")?;
        self.has(&format!("messaging.inbox where event_id = '{old}' and status = 'discarded'"))?;
        of(later)?;
        self.act(("main", "Run now"), &[], "1 released: 1 done.")?;
        self.has(&format!("messaging.inbox where event_id = '{later}' and status = 'done'"))?;
        of(parked)?;
        self.act(("main", "Skip"), &[], "1 skipped: 1 skipped.")?;
        self.has(&format!("messaging.outbox_exceptions where event_id = '{parked}' and status = 'SKIPPED'"))?;
        of(waiting)?;
        self.act(("main", "Send now"), &[], "1 released: 1 delivered.")?;
        self.has(&format!(
            "messaging.inbox where event_id = '{waiting}' and queue = 'notifications' and status = 'done'"
        ))
    }

    fn acts_on_all_that_match(&self) -> Result<()> {
        let show = |form: &str| self.person.go(&control(form, "button", "Show what that is"));
        let dead = "form:has([value=retry])";
        self.open("/console/bulk")?;
        self.person.fill("document.querySelector('[name=error]')", "timed out")?;
        show(dead)?;
        self.person.sees("2 would be retried")?;
        self.person.fill("document.querySelector('.start [name=reason]')", "the network is back")?;
        self.person.go(&control(".start", "button", "Retry 2"))?;
        self.person.sees("2 of 2 retried.")?;
        self.has("messaging.bulk_acts where act = 'RETRY' and status = 'DONE' and reason = 'the network is back'")?;
        let replay = "form:has([value=replay])";
        self.open("/console/bulk")?;
        self.person.fill(&format!("document.querySelector('{replay} [name=event_type]')"), "order.created")?;
        show(replay)?;
        self.person.fill("document.querySelector('.start [name=per_second]')", "1")?;
        self.person.fill("document.querySelector('.start [name=reason]')", "a new consumer")?;
        self.person.go("document.querySelector('.start button')")?;
        let later = "update messaging.bulk_acts set next_batch_at = clock_timestamp() + interval '1 hour' where status = 'RUNNING'";
        Handle::current().block_on(execute(&self.pool, later))?;
        self.act(("main", "Cancel"), &[], "CANCELLED")?;
        self.has("messaging.bulk_acts where act = 'REPLAY' and status = 'CANCELLED'")
    }

    fn acts_on_webhooks(&self, url: &str) -> Result<()> {
        let heard = |number: usize| Handle::current().block_on(self.receiver.receive(number)).map(drop);
        self.open("/console/webhooks")?;
        self.act(("main", "Add an endpoint"), &[("url", url), ("event_types", "order.created")], "whsec_")?;
        self.look("endpoint-made")?;
        let page = format!("/console/webhooks/{}", self.id("select id from messaging.webhook_endpoints")?);
        self.act(("main", "Send a test event"), &[], "It is on its way")?;
        heard(1)?;
        self.has("messaging.webhook_deliveries where status = 'DELIVERED' and attempts = 1")?;
        self.open(&page)?;
        self.act(("tr:has([value=redeliver])", "Redeliver"), &[], "It is on its way")?;
        heard(2)?;
        self.has("messaging.webhook_deliveries where status = 'DELIVERED' and attempts = 2")?;
        self.act(("main", "Disable"), &[], "The endpoint is disabled.")?;
        self.has("messaging.webhook_endpoints where disabled_at is not null")?;
        self.act(("main", "Enable"), &[], "The endpoint is enabled.")?;
        self.has("messaging.webhook_endpoints where disabled_at is null")?;
        self.act(("main", "Recover"), &[], &format!("Deliveries that will be made: {ORDERS}."))?;
        heard(2 + ORDERS)?;
        self.act(("main", "Rotate the secret"), &[], "Earlier secret signs until")?;
        self.has("messaging.webhook_endpoints where previous_until is not null")?;
        self.act(("main", "Delete"), &[], "There is no endpoint")?;
        self.has("(select where not exists (select from messaging.webhook_endpoints where deleted_at is null)) as none")
    }

    fn acts_on_keys(&self) -> Result<()> {
        self.open("/console/keys")?;
        self.act(("main", "Make a key"), &[("name", "shop-front"), ("role", "staff")], "It is shown this once")?;
        self.look("key-made")?;
        self.has("access.api_keys where name = 'shop-front' and role = 'staff'")?;
        let id = self.id("select id from access.api_keys where name = 'shop-front'")?;
        let row = format!("tr:has([action$='{id}'])");
        self.act((&row, "Rotate"), &[], "The earlier key works until")?;
        self.has(&format!("access.api_keys where name = 'shop-front' and id <> '{id}'"))?;
        self.act((&row, "Revoke"), &[], "The key is revoked")?;
        self.has(&format!("access.api_keys where id = '{id}' and revoked_at <= clock_timestamp()"))
    }
}

/// What the operator log has of all that, in its order. The batches of an act on all that match are counted apart.
const LOG: [&str; 28] = [
    "PAUSE",
    "RESUME",
    "RUN_SCHEDULE",
    "INVESTIGATE",
    "INVESTIGATE",
    "CLOSE_INVESTIGATION",
    "REPLAY",
    "REVEAL",
    "RETRY",
    "RETRY",
    "DISCARD",
    "RELEASE",
    "SKIP",
    "RELEASE",
    "START_BULK",
    "START_BULK",
    "CANCEL_BULK",
    "CREATE_WEBHOOK",
    "TEST_WEBHOOK",
    "REDELIVER_WEBHOOK",
    "CHANGE_WEBHOOK",
    "CHANGE_WEBHOOK",
    "RECOVER_WEBHOOK",
    "ROTATE_WEBHOOK",
    "DELETE_WEBHOOK",
    "CREATE_KEY",
    "ROTATE_KEY",
    "REVOKE_KEY",
];

async fn every_act(person: impl FnOnce() -> Result<Person> + Send + 'static, has_scripts: bool) -> Result<()> {
    let (database, events) = Box::pin(Events::prepare()).await?;
    let system = System::start_on(database, |options| {
        with_workers(options);
        options.workers.webhooks.webhook_allow_private = true;
        options.access.auth = Some(Auth::Required);
    })
    .await?;
    let pool = system.database.pool_as(operations::ROLE).await?;
    let root = Operator::new("root", Source::Cli, "a test", None)?;
    let key = create(&pool, NewKey::new("anita", Role::Admin, None, Vec::new(), None)?, root).await?.key;
    let (receiver, url) = Receiver::start().await?;
    let (base, pool) = (system.base_url().to_owned(), system.database.pool.clone());
    tokio::task::spawn_blocking(move || -> Result<()> {
        let axe = has_scripts.then(axe).transpose()?;
        let desk = Desk { person: person()?, base, pool, receiver, axe };
        desk.signs_in(key.expose_secret())?;
        let runs = desk.person.value("typeof follow")?;
        ensure!((runs == "function") == has_scripts, "scripts run, or do not: {runs}");
        desk.acts_on_queues_and_schedules()?;
        desk.acts_on_events(&events)?;
        desk.acts_on_all_that_match()?;
        desk.acts_on_webhooks(&url)?;
        desk.acts_on_keys()?;
        desk.signs_out()?;
        let complaints = desk.person.complaints()?;
        ensure!(complaints.is_empty(), "{complaints:#?}");
        Ok(())
    })
    .await??;
    let logged: Vec<String> = sqlx::query_scalar(
        "select action from messaging.operator_actions where source = 'CONSOLE' and actor = 'anita' and not target ?& array['bulk_act', 'event_ids'] order by id",
    )
    .fetch_all(&system.database.pool)
    .await?;
    assert_eq!(logged, LOG);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_act_is_done_with_the_mouse() -> Result<()> {
    Box::pin(every_act(Person::new, true)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_act_is_done_by_keyboard_and_without_a_script() -> Result<()> {
    Box::pin(every_act(|| Person::new()?.by_keyboard().without_scripts(), false)).await
}
