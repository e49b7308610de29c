//! The command line in a terminal: colours, width, watching and progress; and without one.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use contracts::OrderState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use standalone::Part;
use tests::books::count;
use tests::waiting::{SOON, eventually, eventually_equal};
use tests::{Database, System, books, programs, shop};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::{execute, ops, ops_with, untold_order};

/// An error that sets a title, clears the screen and rings the bell.
const HOSTILE: &str =
    r"E'\x1b]0;owned\x07\x1b[2J the route of the queue invoices is gone, and with it the events of this order'";
const ALTERNATE: &str = "\u{1b}[?1049h";
const MAIN_AGAIN: &str = "\u{1b}[?1049l";
const CTRL_C: &[u8] = &[3];

/// `ops` on a pseudo-terminal, which `script` of util-linux opens.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(database: &Database, columns: u16, environment: &[(&str, &str)], arguments: &str) -> Result<Self> {
        let ops = programs::folder().join("ops");
        let line = format!("stty cols {columns} rows 30; exec {} {arguments}", ops.display());
        let mut script = Command::new("script");
        script.args(["-qefc", &line, "/dev/null"]).env_clear().envs(programs::environment());
        script.envs([("DATABASE_URL", &*database.url), ("OPERATOR", "anita"), ("SHELL", "/bin/sh"), ("TERM", "xterm")]);
        script.envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut script = script.spawn()?;
        let (keys, mut screen) = (script.stdin.take().context("stdin")?, script.stdout.take().context("stdout")?);
        let shown = Arc::new(Mutex::new(String::new()));
        let written = shown.clone();
        tokio::spawn(async move {
            let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = screen.read(&mut part).await {
                bytes.extend(&part[..read]);
                *written.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        Ok(Self { script, keys, shown })
    }

    fn text(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this is shown after so many bytes, and tells how many bytes were shown then.
    async fn shows(&self, after: usize, text: &str) -> Result<usize> {
        let found = eventually(text, SOON, async || {
            let shown = self.text();
            Ok(shown.get(after..).is_some_and(|new| new.contains(text)).then_some(shown.len()))
        });
        found.await.with_context(|| self.text())
    }

    async fn interrupt(&mut self) -> Result<()> {
        Ok(self.keys.write_all(CTRL_C).await?)
    }

    /// The exit code, and all that was shown.
    async fn ended(&mut self) -> Result<(Option<i32>, String)> {
        let code = self.script.wait().await?.code();
        Ok((code, self.text()))
    }
}

async fn parked_order() -> Result<Database> {
    let (database, _) = untold_order().await?;
    let park = format!(
        "insert into messaging.outbox_exceptions
             (event_id, position, shard, aggregate_id, aggregate_version, status, attempts, last_error, parked_at, parked_reason)
         select event_id, position, shard, aggregate_id, 1, 'PARKED', 1, {HOSTILE}, now(), 'UNROUTABLE'
         from messaging.outbox where aggregate_version = 1"
    );
    execute(&database.pool, &park).await?;
    Ok(database)
}

/// The lines without what gives them colours.
fn plain_lines(shown: &str) -> Vec<String> {
    let plain = shown.split("\u{1b}[").enumerate().map(|(index, part)| match index {
        0 => part,
        _ => part.split_once(|end: char| end.is_ascii_alphabetic()).map_or("", |(_, rest)| rest),
    });
    plain.collect::<String>().lines().map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_fits_its_terminal_and_has_colours_there_only() -> Result<()> {
    let database = parked_order().await?;
    let id: String = sqlx::query_scalar("select event_id::text from messaging.outbox where aggregate_version = 1")
        .fetch_one(&database.pool)
        .await?;
    for columns in [80, 160] {
        let (code, shown) = Terminal::open(&database, columns, &[], "stuck")?.ended().await?;
        assert_eq!(code, Some(0), "{shown}");
        let lines = plain_lines(&shown);
        assert!(lines.iter().all(|line| line.chars().count() <= columns.into()), "{columns}: {lines:#?}");
        assert!(lines.iter().any(|line| line.contains(&id)), "{columns}: {lines:#?}");
        assert!(shown.contains("\u{1b}[38;5;1m") && shown.contains(r"\u{1b}[2J"), "{columns}: {shown:?}");
        assert!(!shown.contains("\u{1b}]") && !shown.contains("\u{1b}[2J") && !shown.contains('\u{7}'), "{shown:?}");
    }
    for (environment, arguments) in [(&[("NO_COLOR", "1")][..], "stuck"), (&[], "stuck --color never")] {
        let (_, shown) = Terminal::open(&database, 80, environment, arguments)?.ended().await?;
        assert!(shown.contains(&id) && !shown.contains('\u{1b}'), "{arguments}: {shown:?}");
    }

    let url = ("DATABASE_URL", &*database.url);
    let piped = ops(&database, &["stuck"]).await?.exited(0).out;
    assert!(
        piped.contains(r"\u{1b}[2J") && !piped.contains('\u{1b}') && piped.lines().any(|line| line.len() > 160),
        "{piped:?}"
    );
    let forced = ops_with(&[url, ("CLICOLOR_FORCE", "1")], &["stuck"]).await?.exited(0).out;
    let always = ops_with(&[url, ("NO_COLOR", "1")], &["--color", "always", "stuck"]).await?.exited(0).out;
    assert!(forced.contains("\u{1b}[38;5;1m"), "{forced:?}");
    assert!(always.contains("\u{1b}[38;5;1m"), "the option is above the environment: {always:?}");
    let json = ops(&database, &["stuck", "--json", "--color=always"]).await?.exited(0);
    assert!(
        !json.out.contains('\u{1b}')
            && json.json()["events"][0]["last_error"].as_str().is_some_and(|e| e.contains("\u{1b}[2J"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_while_its_database_is_away_and_leaves_a_clean_terminal() -> Result<()> {
    let database = parked_order().await?;
    let mut terminal = Terminal::open(&database, 80, &[], "status --watch=0.1")?;
    let seen = terminal.shows(0, "read at").await?;
    assert!(terminal.text().contains(ALTERNATE), "{:?}", terminal.text());
    let pool = &database.pool;
    let connections =
        "select count(*) from pg_stat_activity where application_name = 'ops' and datname = current_database()";
    let process = "select pid from pg_stat_activity where application_name = 'ops' and datname = current_database()";
    // Those that it has opened to see whether the database answers are gone soon.
    eventually_equal("one connection", SOON, 1, async || count(pool, connections).await).await?;
    let before: i32 = sqlx::query_scalar(process).fetch_one(pool).await?;
    terminal.shows(terminal.text().len(), "read at").await?;
    assert_eq!(count(pool, connections).await?, 1);
    let after: i32 = sqlx::query_scalar(process).fetch_one(pool).await?;
    assert_eq!(after, before, "one connection for all readings");

    // On one connection: no other one is let in meanwhile.
    let mut own = pool.acquire().await?;
    let allowed = |yes: bool| format!("update pg_database set datallowconn = {yes} where datname = current_database()");
    sqlx::raw_sql(AssertSqlSafe(allowed(false))).execute(&mut *own).await?;
    let cut = format!("select pg_terminate_backend(pid) from ({process}) as watch");
    sqlx::raw_sql(AssertSqlSafe(cut)).execute(&mut *own).await?;
    let gone = terminal.shows(seen, "cannot be used").await?;
    sqlx::raw_sql(AssertSqlSafe(allowed(true))).execute(&mut *own).await?;
    drop(own);
    eventually("the screen without the error", SOON, async || {
        let drawn = terminal.text();
        let last = drawn[gone..].rsplit("\u{1b}[?2026h").next().unwrap_or_default().to_owned();
        Ok((last.contains("read at") && last.contains("published/min") && !last.contains("error:")).then_some(()))
    })
    .await?;

    terminal.interrupt().await?;
    let (code, shown) = terminal.ended().await?;
    let (_, after) = shown.rsplit_once(MAIN_AGAIN).with_context(|| format!("{shown:?}"))?;
    assert_eq!((code, after), (Some(0), "\u{1b}[?25h"), "the cursor is back, and nothing follows");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_without_a_terminal_prints_a_block_or_a_document_for_each_reading() -> Result<()> {
    let database = parked_order().await?;
    for (arguments, is_json) in [(&["stuck", "--watch=0.05", "--json"][..], true), (&["stuck", "--watch=0.05"], false)]
    {
        let mut watch = Command::new(programs::folder().join("ops"));
        watch.args(arguments).env_clear().envs(programs::environment()).env("DATABASE_URL", &database.url);
        let mut watch = watch.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(watch.stdout.take().context("stdout")?).lines();
        let mut readings = 0;
        while readings < 3 {
            let line = lines.next_line().await?.context("a watch does not end")?;
            assert!(!line.contains('\u{1b}'), "{line:?}");
            if is_json {
                let document: Value = serde_json::from_str(&line)?;
                assert_eq!(document["events_total"], 1, "{document}");
            }
            readings += usize::from(is_json || line.starts_with("read at 20"));
        }
        kill(Pid::from_raw(watch.id().context("it runs")?.try_into()?), Signal::SIGINT)?;
        assert_eq!(watch.wait().await?.code(), Some(0), "{arguments:?}");
    }
    let refused = ops_with(&[("DATABASE_URL", "postgres://127.0.0.1:1/x")], &["stuck", "--watch"]).await?.exited(1);
    assert!(refused.err.contains("→ start Postgres, or correct the host and port"), "{}", refused.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_shows_how_far_it_is_and_ends_between_batches() -> Result<()> {
    let system = System::start(|options| options.parts = vec![Part::Command, Part::Relay]).await?;
    for _ in 0..3 {
        shop::order_in(&system.api, OrderState::ProcessingInWarehouse).await?;
    }
    books::delivered(&system.database.pool, SOON).await?;
    let database = system.stop().await?;
    let all = "replay --from 2020-01-01T00:00:00Z --reason tried";
    let mut terminal = Terminal::open(&database, 100, &[], &format!("{all} --rate 1"))?;
    terminal.shows(0, "1 of 9 events replayed").await?;
    terminal.interrupt().await?;
    let (code, shown) = terminal.ended().await?;
    let replayed = count(&database.pool, "select count(*) from messaging.operator_actions").await?;
    assert!(replayed < 9, "it ended early: {shown:?}");
    assert_eq!(code, Some(130), "{shown:?}");
    assert!(shown.contains(&format!("interrupted; events replayed until then: {replayed}")), "{shown:?}");

    let whole = ops(&database, &all.split(' ').collect::<Vec<_>>()).await?.exited(0);
    assert_eq!((whole.out.trim(), &*whole.err), ("events replayed: 9", ""), "no progress without a terminal");
    let (_, audited) = Terminal::open(&database, 100, &[], "audit --chain")?.ended().await?;
    assert!(audited.contains("audit, ") && audited.contains("the chain and its seals"), "{audited:?}");
    assert_eq!(ops(&database, &["audit", "--chain"]).await?.err, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completions_know_the_commands_the_queues_and_the_states() -> Result<()> {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ops_with(&[], &["completions", shell]).await?.exited(0).out;
        assert!(script.contains("stuck"), "{shell}");
        // The others complete no values.
        if ["bash", "zsh", "fish"].contains(&shell) {
            for word in ["credit_notes", "in_doubt", "order.shipped", "always"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
    let words = "source <(\"$OPS\" completions bash); COMP_WORDS=(ops pause cr); COMP_CWORD=2; _ops ops cr pause; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["-c", words]).env("OPS", programs::folder().join("ops"));
    let completed = bash.output().await?;
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "credit_notes", "{completed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_is_answered_with_what_to_do() -> Result<()> {
    let (database, _) = untold_order().await?;
    for (arguments, said) in [
        (&["pause", "refund", "--reason", "x"][..], "'refunds'"),
        (&["jobs", "--status", "deadx"], "'dead'"),
        (&["jobs", "--type", "order.shippedx"], "'order.shipped'"),
        (&["statusx"], "'status'"),
        (&["--ops-port", "1", "status"], "has no effect"),
    ] {
        let refused = ops(&database, arguments).await?.exited(2);
        assert!(refused.err.contains(said), "{arguments:?}: {}", refused.err);
    }
    let unset = ops_with(&[], &["status"]).await?.exited(2).err;
    assert!(unset.contains("DATABASE_URL is not set: put it into the environment"), "{unset}");
    let hostile = ops(&database, &["order", "\u{1b}[2J"]).await?.exited(1).err;
    assert!(!hostile.contains('\u{1b}'), "{hostile:?}");
    Ok(())
}
