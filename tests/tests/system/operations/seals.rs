//! Seals show what a changed audit hides from its own chain.

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use contracts::audit::{Impersonal, Personal, hash};
use contracts::{ActorType, EntityType, OrderState, Trigger};
use operations::audit::{Report, Sources, Status, Verdict, audit_chain};
use operations::seal::{SealKey, make};
use runtime::Clock;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use standalone::Part;
use storage::InvoiceStore;
use tests::books::count;
use tests::{Database, System, shop};
use uuid::Uuid;

use super::{execute, ops, ops_with};

const KEY: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

/// A database with the audit of some orders, all of it sealed.
struct Sealed {
    database: Database,
    pool: PgPool,
    folder: tempfile::TempDir,
    store: InvoiceStore,
    key: SealKey,
    clock: Clock,
}

impl Sealed {
    async fn new() -> Result<Self> {
        let system = System::start(|options| options.parts = vec![Part::Command]).await?;
        shop::order_in(&system.api, OrderState::Delivered).await?;
        shop::order_in(&system.api, OrderState::Paid).await?;
        let database = system.stop().await?;
        let pool = database.pool_as(operations::ROLE).await?;
        let folder = tempfile::tempdir()?;
        let store = storage::open(&folder.path().display().to_string()).await?;
        let clock = Clock::system();
        clock.advance(TimeDelta::hours(-1));
        let sealed = Self { database, pool, folder, store, key: SealKey::parse(KEY)?, clock };
        assert_eq!(sealed.seal().await?, (1, 7));
        Ok(sealed)
    }

    /// Makes seals; returns how many, and of how many rows.
    async fn seal(&self) -> Result<(u64, u64)> {
        let made = make::seal(&self.pool, &self.store, &self.key, &self.clock).await?;
        Ok((made.seals, made.rows))
    }

    fn sources(&self) -> Sources {
        Sources {
            seal_store_url: Some(self.folder.path().display().to_string()),
            seal_public_keys: vec![self.key.public()],
            ..Sources::default()
        }
    }

    async fn audit(&self) -> Result<Report> {
        Ok(audit_chain(&self.pool, &self.sources()).await?)
    }

    /// What the rule about the chain says.
    async fn complaints(&self) -> Result<Vec<String>> {
        complaints(&self.pool, &self.sources()).await
    }
}

async fn complaints(pool: &PgPool, sources: &Sources) -> Result<Vec<String>> {
    let report = audit_chain(pool, sources).await?;
    let rule = report.rules.into_iter().find(|rule| rule.rule == 11).context("the rule")?;
    assert_eq!((rule.status == Status::Violated, rule.not_checked), (!rule.examples.is_empty(), Vec::new()));
    Ok(rule.examples)
}

/// The last row of an order, changed so that the chain does not show it. Returns its name.
async fn forge(pool: &PgPool) -> Result<String> {
    type Row =
        (Uuid, i32, String, Value, Option<String>, Option<String>, Option<String>, DateTime<Utc>, Vec<u8>, Vec<u8>);
    let row: Row = sqlx::query_as(
        "select last.entity_id, last.version, last.to_state, last.metadata, host(last.ip_address), last.request_id, last.trace_id,
                last.created_at, last.salt, before.hash
         from command.state_transitions as last join command.state_transitions as before
             on before.entity_id = last.entity_id and before.version = last.version - 1
         where last.to_state = 'DELIVERED'",
    )
    .fetch_one(pool)
    .await?;
    let (id, version, to_state, metadata, ip_address, request_id, trace_id, created_at, salt, before) = row;
    let personal = Personal { actor: "mallory", reason: None, metadata: &metadata, ip_address: ip_address.as_deref() }
        .digest(&salt);
    let impersonal = Impersonal {
        entity_type: EntityType::Order,
        entity_id: id,
        to_state: &to_state,
        actor_type: ActorType::User,
        trigger: Trigger::ApiCall,
        request_id: request_id.as_deref(),
        trace_id: trace_id.as_deref(),
        created_at,
    };
    let before = before.as_slice().try_into()?;
    execute(pool, "alter table command.state_transitions disable trigger user").await?;
    sqlx::query(
        "update command.state_transitions set actor = 'mallory', hash = $3 where entity_id = $1 and version = $2",
    )
    .bind(id)
    .bind(version)
    .bind(&hash(Some(&before), &impersonal.digest(&personal))[..])
    .execute(pool)
    .await?;
    Ok(format!("order {id}@{version}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_row_is_named_though_its_hash_fits() -> Result<()> {
    let sealed = Sealed::new().await?;
    assert_eq!(sealed.audit().await?.verdict, Verdict::Holds);
    let name = forge(&sealed.database.pool).await?;
    assert_eq!(sealed.complaints().await?, [format!("{name} was changed since the seal 1, and its hash too")]);
    Ok(())
}

/// Who erases a row by hand, and names another actor, keeps its hash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_erased_without_an_erasure_is_named() -> Result<()> {
    let sealed = Sealed::new().await?;
    let pool = &sealed.database.pool;
    let row = "select actor, metadata, host(ip_address), salt, entity_id from command.state_transitions where to_state = 'DELIVERED'";
    let (actor, metadata, ip_address, salt, id): (String, Value, Option<String>, Vec<u8>, Uuid) =
        sqlx::query_as(row).fetch_one(pool).await?;
    let personal = Personal { actor: &actor, reason: None, metadata: &metadata, ip_address: ip_address.as_deref() };
    execute(pool, "alter table command.state_transitions disable trigger user").await?;
    let erase = "update command.state_transitions
                 set actor = 'anita', reason = null, metadata = '{}', ip_address = null, salt = null, personal_digest = $1
                 where to_state = 'DELIVERED'";
    sqlx::query(erase).bind(&personal.digest(&salt)[..]).execute(pool).await?;
    let unvouched = format!("order {id}@5: rows up to here were erased, and no erasure is recorded");
    assert_eq!(sealed.complaints().await?, [unvouched.as_str()]);
    execute(pool, "update command.state_transitions set reason = 'revenge' where to_state = 'DELIVERED'").await?;
    let speaks = format!("order {id}@5 was erased, and says something since");
    assert_eq!(sealed.complaints().await?, [speaks, unvouched]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_are_rows_that_were_removed_or_put_in() -> Result<()> {
    let sealed = Sealed::new().await?;
    execute(&sealed.database.pool, "alter table command.state_transitions disable trigger user").await?;
    let moved = "update command.state_transitions set entity_id = gen_random_uuid() where to_state = 'DELIVERED'";
    execute(&sealed.database.pool, moved).await?;
    let complaints = sealed.complaints().await?;
    assert!(complaints.iter().any(|found| found.contains("@1 was removed: the next row is @5")), "{complaints:?}");

    execute(&sealed.database.pool, "delete from command.state_transitions where to_state = 'DELIVERED'").await?;
    assert_eq!(sealed.complaints().await?, ["the row at position 5 was removed since the seal 1"]);

    let put_in = "insert into command.state_transitions overriding system value
                  select entity_type, gen_random_uuid(), version, from_state, to_state, actor, actor_type, trigger, reason, metadata,
                         ip_address, request_id, trace_id, created_at, 5, salt, personal_digest, hash
                  from command.state_transitions where version = 1 limit 1";
    execute(&sealed.database.pool, put_in).await?;
    let complaints = sealed.complaints().await?;
    assert!(
        complaints.iter().any(|found| found.ends_with("was changed since the seal 1, and its hash too")),
        "{complaints:?}"
    );
    Ok(())
}

/// The row of an order knows the last hash of its chain, which saves a look-up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_goes_on_where_the_hash_has_to_be_looked_up_and_a_false_one_is_named() -> Result<()> {
    let sealed = Sealed::new().await?;
    let (operator, sources) = (sealed.pool.clone(), sealed.sources());
    let system = System::start_on(sealed.database, |options| options.parts = vec![Part::Command]).await?;
    let (pool, api) = (&system.database.pool, &system.api);
    let [unknown, known, false_one] = [
        shop::order_in(api, OrderState::Paid).await?,
        shop::order_in(api, OrderState::Paid).await?,
        shop::order_in(api, OrderState::Paid).await?,
    ];
    let set = async |link: &str, id: Uuid| {
        sqlx::query(AssertSqlSafe(format!("update command.orders set {link} where id = $1")))
            .bind(id)
            .execute(pool)
            .await
    };
    set("link_version = 1", unknown.id).await?;
    set("link = sha256('mallory')", false_one.id).await?;
    let forged = format!("order {}@3", false_one.id);
    for order in [unknown, known, false_one] {
        shop::bring(api, order, OrderState::Delivered).await?;
    }
    let knows_all = "select count(*) from command.orders join command.state_transitions as last
                         on last.entity_id = orders.id and last.version = orders.version
                     where link = hash and link_version = orders.version";
    assert_eq!(count(pool, knows_all).await?, 5, "those of before, too");
    let complaints = complaints(&operator, &sources).await?;
    assert!(complaints.len() == 1 && complaints[0].contains(&forged), "{complaints:?}");
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seals_follow_on_one_another_and_only_their_signer_makes_them() -> Result<()> {
    let sealed = Sealed::new().await?;
    assert_eq!(sealed.seal().await?, (0, 0), "nothing was added");
    let system = System::start_on(sealed.database, |options| options.parts = vec![Part::Command]).await?;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let sealed = Sealed { database: system.stop().await?, ..sealed };

    // A process dies when the seal is in the store and not in the database. The next one takes it over.
    let pool = &sealed.database.pool;
    assert_eq!(sealed.seal().await?, (1, 1));
    execute(pool, "alter table command.audit_seals disable trigger user").await?;
    execute(pool, "delete from command.audit_seals where number = 2").await?;
    assert_eq!(
        sealed.complaints().await?,
        ["audit-seal-00000002.json is in the store, and the database does not know it"]
    );
    let files = || std::fs::read(sealed.folder.path().join("audit-seal-00000002.json"));
    let before = files()?;
    assert_eq!(sealed.seal().await?, (1, 1));
    assert_eq!((sealed.complaints().await?, files()?), (Vec::new(), before));

    // Another key signs the same.
    let file = sealed.folder.path().join("audit-seal-00000002.json");
    let mut seal: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    seal["signature"] = json!("00".repeat(64));
    std::fs::write(&file, serde_json::to_vec(&seal)?)?;
    let complaints = sealed.complaints().await?;
    assert!(
        complaints.iter().any(|found| found == "the seal 2 is not signed with a key that is trusted"),
        "{complaints:?}"
    );
    std::fs::remove_file(&file)?;
    assert_eq!(sealed.complaints().await?, ["audit-seal-00000002.json is missing in the store"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_seal_and_check_on_the_command_line() -> Result<()> {
    let sealed = Sealed::new().await?;
    let folder = sealed.folder.path().join("others").display().to_string();
    execute(&sealed.database.pool, "alter table command.audit_seals disable trigger user").await?;
    execute(&sealed.database.pool, "delete from command.audit_seals").await?;
    let made = ops(&sealed.database, &["seal", "--new-key"]).await?.exited(0).out;
    let keys: Vec<_> = made.lines().filter_map(|line| line.split_once('=')).collect();
    let [("SEAL_KEY", key), ("SEAL_PUBLIC_KEY", public)] = keys[..] else { panic!("{made}") };
    let environment = [
        ("DATABASE_URL", sealed.database.url.as_str()),
        ("SEAL_KEY", key),
        ("SEAL_STORE_URL", folder.as_str()),
        ("SEAL_PUBLIC_KEY", public),
    ];
    let made = ops_with(&environment, &["seal"]).await?.exited(0).out;
    assert_eq!(made, "7 row(s) sealed in 1 seal(s); the last is number 1\n");
    ops_with(&environment, &["audit", "--chain"]).await?.exited(0);
    let name = forge(&sealed.database.pool).await?;
    let audited = ops_with(&environment, &["audit", "--chain"]).await?.exited(1).out;
    assert!(audited.contains(&format!("{name} was changed since the seal 1")), "{audited}");
    let unset = ops(&sealed.database, &["seal"]).await?.exited(1).err;
    assert!(unset.contains("SEAL_KEY is not set"), "{unset}");
    Ok(())
}
