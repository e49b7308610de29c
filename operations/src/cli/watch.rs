//! `--watch`: reads again and again until Ctrl-C.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{execute, queue};
use runtime::{Clock, shutdown};
use serde::Serialize;
use sqlx::PgPool;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::Common;
use super::format::{Line, Look, Page, Tone, paint};
use super::terminal;

const LONGEST: Duration = Duration::from_secs(86_400);

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Watch {
    /// Reads again every so many seconds (2 unless given), until Ctrl-C.
    #[arg(long = "watch", value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
          value_parser = interval)]
    every: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let every = runtime::config::seconds(text)?;
    if every <= LONGEST { Ok(every) } else { Err("expected at most a day, 86400 seconds".to_owned()) }
}

/// What a watch shows: the last report, and what has kept it from reading since.
struct Seen<T> {
    report: T,
    at: DateTime<Utc>,
    trouble: Option<anyhow::Error>,
}

/// Reads and prints a report, once or as `watch` says.
///
/// A watch reads over one connection, and goes on while the database is away. Its first reading must succeed.
pub(super) async fn read<T, P>(
    common: &Common,
    watch: Watch,
    read: impl AsyncFn(&PgPool) -> anyhow::Result<T>,
    page: impl Fn(&T) -> P,
) -> anyhow::Result<ExitCode>
where
    T: Serialize,
    P: Into<Page>,
{
    let Some(every) = watch.every else {
        return common.print(&read(&common.connect().await?).await?, page);
    };
    let stopped = shutdown::on_signal();
    let mut resized = signal(SignalKind::window_change())?;
    let first = async {
        let pool = common.connect_once().await?;
        let report = read(&pool).await?;
        anyhow::Ok((pool, report))
    };
    let Some(first) = stopped.run_until_cancelled(first).await else { return Ok(ExitCode::SUCCESS) };
    let (pool, report) = first?;
    let mut seen = Seen { report, at: Clock::system().now(), trouble: None };
    let output = Output::open(common.json)?;
    while output.show(&seen, every, &page)? {
        let next = Instant::now() + every;
        loop {
            tokio::select! {
                () = stopped.cancelled() => return Ok(ExitCode::SUCCESS),
                () = sleep_until(next) => break,
                _ = resized.recv() => output.fit(&seen, every, &page)?,
            }
        }
        match stopped.run_until_cancelled(common.again(&pool, &read)).await {
            None => break,
            Some(Ok(report)) => seen = Seen { report, at: Clock::system().now(), trouble: None },
            Some(Err(error)) => seen.trouble = Some(error),
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Common {
    /// One more reading. If it fails because the database is away, the error says why it is.
    async fn again<T>(&self, pool: &PgPool, read: impl AsyncFn(&PgPool) -> anyhow::Result<T>) -> anyhow::Result<T> {
        match read(pool).await {
            Ok(report) => Ok(report),
            Err(error) => {
                self.reach().await?;
                Err(error)
            }
        }
    }
}

/// Where the readings go.
enum Output {
    /// The alternate screen of a terminal, which is left when this is dropped.
    Screen,
    /// One block below the other.
    Blocks,
    /// One document on each line.
    Documents,
}

impl Output {
    fn open(json: bool) -> io::Result<Self> {
        let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        if json {
            Ok(Self::Documents)
        } else if terminal::size().is_none() || is_dumb {
            Ok(Self::Blocks)
        } else {
            execute!(io::stdout(), EnterAlternateScreen, Hide)?;
            Ok(Self::Screen)
        }
    }

    /// Shows what was read. False: there is no reader any more.
    fn show<T: Serialize, P: Into<Page>>(
        &self,
        seen: &Seen<T>,
        every: Duration,
        page: impl Fn(&T) -> P,
    ) -> anyhow::Result<bool> {
        match (self, &seen.trouble) {
            (Self::Screen, _) => self.fit(seen, every, page).map(|()| true),
            (_, Some(error)) => {
                terminal::say_error(error);
                Ok(true)
            }
            (Self::Documents, None) => terminal::print_json(&seen.report, true),
            (Self::Blocks, None) => {
                let title = Page::default().with(Line::plain(&format!("read at {}", time(seen.at))));
                let text = page(&seen.report).into().lay_out(terminal::look());
                Ok(terminal::print(&format!("{}\n{text}\n", title.lay_out(terminal::look())))?)
            }
        }
    }

    /// Draws the screen, as much as it holds.
    fn fit<T, P: Into<Page>>(&self, seen: &Seen<T>, every: Duration, page: impl Fn(&T) -> P) -> anyhow::Result<()> {
        let Some((_, height)) = terminal::size().filter(|_| matches!(self, Self::Screen)) else { return Ok(()) };
        let (look, mut out) = (terminal::look(), io::stdout());
        let mut text = title(seen, every).lay_out(look) + "\n\n";
        text += &page(&seen.report).into().lay_out(look);
        queue!(out, BeginSynchronizedUpdate, MoveTo(0, 0))?;
        out.write_all(cut(&text, height, look).as_bytes())?;
        queue!(out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        Ok(out.flush()?)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if matches!(self, Self::Screen) {
            let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        }
    }
}

fn title<T>(seen: &Seen<T>, every: Duration) -> Page {
    let words: Vec<String> = env::args().skip(1).collect();
    let line = Line::after("", None).in_pieces(0).text(&format!("ops {}", words.join(" ")), Some(Tone::Strong));
    let line = line.named("every", &format!("{} s", every.as_secs_f64()), None).named("read at", &time(seen.at), None);
    let mut page = Page::default().with(line);
    if let Some(error) = &seen.trouble {
        let text = format!("error: {error:#}");
        let lines = text.lines().map(|line| Line::after("", None).text(line, Some(Tone::Bad)));
        page = page.then(lines.collect::<Vec<_>>());
    }
    page
}

/// The lines that fit, each with its rest of the screen cleared.
fn cut(text: &str, height: usize, look: Look) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let more = format!("… and {} more lines", (lines.len() + 1).saturating_sub(height));
    let more = paint(&more, Some(Tone::Quiet), look);
    let (shown, rest) = if lines.len() > height { (height - 1, Some(&*more)) } else { (lines.len(), None) };
    let shown: Vec<_> = lines[..shown].iter().copied().chain(rest).collect();
    shown.join(&format!("{}\r\n", Clear(ClearType::UntilNewLine)))
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
