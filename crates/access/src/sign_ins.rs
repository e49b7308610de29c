//! Sign-ins at the identity provider that are under way. The browser keeps a secret in a cookie, and the database has its SHA-256, so each
//! sign-in ends once, in time, and in the browser where it started; in any process.

use sqlx::PgPool;

use crate::secret::Secret;

/// Sign-ins that are kept. Beyond it, the oldest ones give way.
const KEPT: i64 = 10_000;

/// The session that the browser had before, by its hash.
#[derive(Debug, Clone)]
pub struct Earlier(pub(crate) Option<Vec<u8>>);

/// A sign-in that has come back.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// Where the person wanted to go.
    pub back: String,
    pub earlier: Earlier,
}

/// The sign-ins in the database.
#[derive(Debug, Clone)]
pub struct SignIns {
    pool: PgPool,
}

impl SignIns {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Notes a sign-in that starts now. It must end within ten minutes.
    pub async fn start(&self, secret: &Secret, back: &str, earlier: Option<&Secret>) -> sqlx::Result<()> {
        let earlier = earlier.map(Secret::hash);
        let started = sqlx::query!(
            r#"
            with given_way as (
                delete from access.sign_ins
                where expires_at < clock_timestamp()
                   or hash in (select hash from access.sign_ins order by expires_at desc offset $1)
            )
            insert into access.sign_ins (hash, back, session_hash, expires_at)
            values ($2, $3, $4, clock_timestamp() + interval '10 minutes')
            "#,
            KEPT - 1,
            &secret.hash(),
            back,
            earlier.as_ref().map(<[u8; 32]>::as_slice),
        );
        started.execute(&self.pool).await.map(drop)
    }

    /// Takes a sign-in out: it does not come back again. `None`: there is none, it came back before, or its time is over.
    pub async fn take(&self, secret: &Secret) -> sqlx::Result<Option<SignIn>> {
        let taken = sqlx::query!(
            r#"
            with taken as (delete from access.sign_ins where hash = $1 returning back, session_hash, expires_at)
            select back as "back!", session_hash from taken where expires_at > clock_timestamp()
            "#,
            &secret.hash(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(taken.map(|row| SignIn { back: row.back, earlier: Earlier(row.session_hash) }))
    }
}
