//! `ops keys list | create | rotate | revoke`.

use std::process::ExitCode;
use std::time::Duration;

use access::Role;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use contracts::CustomerId;
use ipnet::IpNet;
use runtime::Clock;
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::Common;
use super::format::{Cell, Table, table};
use super::write::Justified;
use crate::format::{age_of, or_dash};
use crate::read::keys::{self as read, KeyStatus, Keys};
use crate::values;
use crate::write::keys::{self, MadeKey, NewKey};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists the keys, without the keys themselves
    List(List),
    /// Makes a key, and prints it this once
    Create(Box<Create>),
    /// Makes another key of the same name and role; the earlier one works for some time more
    Rotate(Rotate),
    /// Ends a key; no service accepts it after 5 s
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    common: Common,
    /// Only those that are accepted now.
    #[arg(long)]
    valid: bool,
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    common: Common,
    /// The actor in the audit, as `shop-front` or `meera`; one valid key has it.
    #[arg(long)]
    name: String,
    /// What its caller may do.
    #[arg(long, value_parser = values::role())]
    role: Role,
    /// Whose orders and returns it sees: for the role customer, and required there.
    #[arg(long, value_name = "ID", value_parser = CustomerId::parse)]
    customer: Option<CustomerId>,
    /// A CIDR block that it may be used from, as 203.0.113.0/24; may be given several times. Unset: from everywhere.
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<IpNet>,
    /// How long it is valid, as 90d. Unset: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    #[command(flatten)]
    justified: Justified,
}

#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    common: Common,
    /// Id of the key.
    id: Uuid,
    /// How long the earlier key still works.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    overlap: Duration,
    #[command(flatten)]
    justified: Justified,
}

#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    common: Common,
    /// Id of the key.
    id: Uuid,
    #[command(flatten)]
    justified: Justified,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(List { common, valid, limit }) => {
                let keys = read::list(&common.connect().await?, valid, limit).await?;
                common.print(&keys, |keys| list(Clock::system().now(), keys))
            }
            Self::Create(create) => {
                let Create { common, name, role, customer, networks, expires_in, justified } = *create;
                let operator = justified.operator()?;
                let expires_at = expires_in.map(|time| Clock::system().now() + time);
                let new = NewKey::new(&name, role, customer, networks, expires_at)?;
                let made = keys::create(&common.connect().await?, new, operator).await?;
                common.print(&made, made_key)
            }
            Self::Rotate(Rotate { common, id, overlap, justified }) => {
                let operator = justified.operator()?;
                let made = keys::rotate(&common.connect().await?, id, overlap, operator).await?;
                common.print(&made, made_key)
            }
            Self::Revoke(Revoke { common, id, justified }) => {
                let operator = justified.operator()?;
                let changed = keys::revoke(&common.connect().await?, id, operator).await?;
                common.print(&changed, |changed| match changed.rows_changed {
                    0 => format!("the key {id} was revoked before"),
                    _ => format!("the key {id} is revoked; services accept it for at most 5 s more"),
                })
            }
        }
    }
}

fn made_key(made: &MadeKey) -> String {
    let MadeKey { id, name, role, key, earlier_key_until, .. } = made;
    let mut lines = vec![
        key.expose_secret().to_owned(),
        String::new(),
        format!("This is the key of {name}, in the role {role}. It is not stored: keep it now. Its id is {id}."),
    ];
    lines.extend(
        earlier_key_until.map(|until| format!("The earlier key works until {}.", until.format("%Y-%m-%d %H:%M UTC"))),
    );
    lines.join("\n")
}

fn list(now: DateTime<Utc>, keys: &Keys) -> Table {
    let header = ["key", "name", "role", "customer", "from", "made", "by", "used", "state"];
    let rows = keys.data.iter().map(|key| {
        [
            key.id.to_string().into(),
            key.name.clone().into(),
            key.role.clone().into(),
            or_dash(key.customer_id.clone()).into(),
            if key.networks.is_empty() { "everywhere".to_owned() } else { key.networks.join(" ") }.into(),
            age_of(now, Some(key.created_at)).into(),
            key.created_by.clone().into(),
            age_of(now, key.last_used_at).into(),
            Cell::state(state(now, key)),
        ]
    });
    table(header, rows)
}

fn state(now: DateTime<Utc>, key: &KeyStatus) -> String {
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M").to_string();
    match (key.revoked_at, key.expires_at) {
        (Some(at), _) if at <= now => format!("revoked {}", day(at)),
        (_, Some(at)) if at <= now => format!("expired {}", day(at)),
        (Some(at), _) => format!("rotated, until {}", day(at)),
        (None, Some(at)) => format!("valid until {}", day(at)),
        (None, None) => "valid".to_owned(),
    }
}
