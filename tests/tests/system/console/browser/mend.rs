//! The console in Chromium: by keyboard alone, dark and light, on a phone, and for readers of screens (axe-core).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use contracts::{OrderState, ReturnState};
use headless_chrome::protocol::cdp::Page::CaptureScreenshotFormatOption::Png;
use headless_chrome::protocol::cdp::{Emulation, Runtime};
use headless_chrome::{Browser, LaunchOptions, Tab};
use nix::unistd::Uid;
use serde_json::Value;
use standalone::Part;
use tests::programs::root;
use tests::servers::axe;
use tests::waiting::SOON;
use tests::{System, books, shop};

use super::acts::dead_mail;

/// Times a key is struck until something is reached.
const TIMES: usize = 200;
/// Widths of a desk and of a phone.
const WIDTHS: [u32; 2] = [1_280, 390];

/// The pages of which `docs/console` has pictures.
const PICTURES: [&str; 6] = ["overview", "stuck", "event", "story", "act", "bulk-new"];
/// What reaches beyond the screen and cannot be scrolled by itself.
const TOO_WIDE: &str = "[...document.body.querySelectorAll('*')]
    .filter(part => !part.closest('.scroll, pre, .hidden, .skip') && part.getBoundingClientRect().right > document.documentElement.clientWidth)
    .map(part => part.outerHTML.slice(0, 200))";

/// Chromium, and one page in it.
pub(super) struct Person {
    pub(super) tab: Arc<Tab>,
    _browser: Browser,
}

impl Person {
    pub(super) fn new() -> Result<Self> {
        let path = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_the_path);
        let options = LaunchOptions::default_builder()
            .path(Some(path.context("no Chromium on the PATH")?))
            // Chromium's sandbox does not start as root.
            .sandbox(!Uid::effective().is_root())
            .window_size(Some((WIDTHS[0], 1_000)))
            // Without a word from Chromium for so long, its connection counts as lost.
            .idle_browser_timeout(2 * SOON)
            .build()?;
        let browser = Browser::new(options)?;
        let tab = browser.new_tab()?;
        tab.set_default_timeout(SOON);
        Ok(Self { tab, _browser: browser })
    }

    pub(super) fn open(&self, url: &str) -> Result<()> {
        self.tab.navigate_to(url)?.wait_until_navigated()?;
        self.until("document.readyState === 'complete'")
    }

    /// What an expression is worth in the page.
    pub(super) fn value(&self, expression: &str) -> Result<Value> {
        let evaluate = Runtime::Evaluate {
            expression: expression.to_owned(),
            return_by_value: Some(true),
            await_promise: Some(true),
            object_group: None,
            include_command_line_api: None,
            silent: None,
            context_id: None,
            generate_preview: None,
            user_gesture: None,
            throw_on_side_effect: None,
            timeout: None,
            disable_breaks: None,
            repl_mode: None,
            allow_unsafe_eval_blocked_by_csp: Some(true),
            unique_context_id: None,
            serialization_options: None,
        };
        let answer = self.tab.call_method(evaluate)?;
        if let Some(exception) = answer.exception_details {
            anyhow::bail!("{expression}: {exception:?}");
        }
        Ok(answer.result.value.unwrap_or(Value::Null))
    }

    /// Waits until an expression is true. While a page is left there is nothing to ask.
    pub(super) fn until(&self, condition: &str) -> Result<()> {
        let started = std::time::Instant::now();
        while !self.value(condition).is_ok_and(|value| value == true) {
            ensure!(started.elapsed() < SOON, "never: {condition}: {:?}", self.value("document.body.innerText"));
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(super) fn strike(&self, keys: &[&str]) -> Result<()> {
        keys.iter().try_for_each(|key| self.tab.press_key(key).map(drop))
    }

    /// Moves on with the tabulator until this is reached.
    pub(super) fn tab_to(&self, focused: &str) -> Result<()> {
        for _ in 0..TIMES {
            self.strike(&["Tab"])?;
            if self.value(&format!("(element => {focused})(document.activeElement)"))? == true {
                return Ok(());
            }
        }
        anyhow::bail!("the tabulator does not lead to {focused}")
    }

    pub(super) fn look(&self, dark: bool, width: u32) -> Result<()> {
        let scheme = if dark { "dark" } else { "light" };
        let feature = Emulation::MediaFeature { name: "prefers-color-scheme".to_owned(), value: scheme.to_owned() };
        self.tab.call_method(Emulation::SetEmulatedMedia { media: None, features: Some(vec![feature]) })?;
        let metrics = Emulation::SetDeviceMetricsOverride {
            width,
            height: 1_000,
            device_scale_factor: 1.0,
            mobile: width < 500,
            scale: None,
            screen_width: None,
            screen_height: None,
            position_x: None,
            position_y: None,
            dont_set_visible_size: None,
            screen_orientation: None,
            viewport: None,
            display_feature: None,
            device_posture: None,
        };
        self.tab.call_method(metrics).map(drop)
    }

    /// What is wrong with the page for those who do not see it well. All that axe-core knows counts.
    pub(super) fn wrong(&self, axe: &str) -> Result<Vec<String>> {
        self.value(&format!("{axe};true"))?;
        let run = "axe.run().then(found => found.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html + ' ' + n.failureSummary).join('; ')))";
        Ok(serde_json::from_value(self.value(run)?)?)
    }

    /// Writes what is seen into `docs/console`, when `UPDATE_SCREENSHOTS` asks for it.
    fn picture(&self, name: &str) -> Result<()> {
        if std::env::var_os("UPDATE_SCREENSHOTS").is_some() {
            let png = self.tab.capture_screenshot(Png, None, None, true)?;
            std::fs::write(root().join("docs/console").join(format!("{name}.png")), png)?;
        }
        Ok(())
    }
}

fn on_the_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists())
}

/// Figures of an hour, with a wave in it: the plots have something to draw.
async fn fill_figures(system: &System) -> Result<()> {
    let figures = "insert into messaging.hop_figures
        select date_trunc('minute', clock_timestamp()) - make_interval(mins => n), 'notifications', 300 + (200 * sin(n / 9.0))::integer, 300,
               case when n = 20 then 40 else 0 end, 2 + sin(n / 5.0), 9 + 3 * sin(n / 3.0), 3, 14 + n % 7, 40, case when n between 18 and 22 then 900 else 120 end
        from generate_series(3, 58) as n on conflict do nothing";
    crate::operations::execute(&system.database.pool, figures).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_for_everyone() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
    let id = dead_mail(&system).await?;
    let act = serde_json::json!({ "reason": "the bank is closed" });
    crate::operations::act(&system.api, "/ops/queues/refunds/pause", &act).await?.expect(200);
    let new = serde_json::json!({ "url": "https://hooks.example.in/shop", "reason": "a test" });
    let made = crate::operations::act(&system.api, "/ops/webhooks", &new).await?.expect(201).json();
    let endpoint = format!("/console/webhooks/{}", made["id"].as_str().context("an id")?);
    let new = serde_json::json!({ "name": "shop-front", "role": "staff", "reason": "a test" });
    crate::operations::act(&system.api, "/ops/keys", &new).await?.expect(201);
    let new =
        serde_json::json!({ "act": "replay", "events": { "event_type": "order.created" }, "reason": "a new consumer" });
    let started = crate::operations::act(&system.api, "/ops/bulk-acts", &new).await?.expect(202).json();
    let bulk = format!("/console/bulk/{}", started["id"].as_str().context("an id")?);
    let looks = serde_json::json!({ "event_ids": [id], "reason": "asks the mail provider" });
    crate::operations::act(&system.api, "/ops/investigations", &looks).await?.expect(200);
    fill_figures(&system).await?;
    books::projected(&system.database.pool, SOON).await?;
    let base = system.base_url().to_owned();
    let pages = BTreeMap::from([
        ("overview", "/console".to_owned()),
        ("stuck", "/console/stuck".to_owned()),
        ("jobs", "/console/jobs".to_owned()),
        ("event", format!("/console/events/{id}")),
        ("story", format!("/console/orders/{}", returned.order_number)),
        ("return", format!("/console/returns/{}", returned.id)),
        ("bulk", "/console/bulk".to_owned()),
        ("bulk-new", "/console/bulk/new?act=retry&queue=notifications&error=said".to_owned()),
        ("bulk-act", bulk),
        ("processes", "/console/processes".to_owned()),
        ("schedules", "/console/schedules".to_owned()),
        ("webhooks", "/console/webhooks".to_owned()),
        ("webhook", endpoint),
        ("keys", "/console/keys".to_owned()),
        ("audit", "/console/audit".to_owned()),
        ("log", "/console/log".to_owned()),
        ("act", "/console/acts/1".to_owned()),
        ("nothing-found", "/console/find?q=nothing".to_owned()),
        ("refused", "/console/jobs?status=gone".to_owned()),
    ]);
    tokio::task::spawn_blocking(move || -> Result<()> {
        let (person, axe) = (Person::new()?, axe()?);
        for (name, path) in &pages {
            for (dark, width) in [(false, WIDTHS[0]), (true, WIDTHS[1])] {
                person.look(dark, width)?;
                person.open(&format!("{base}{path}"))?;
                person.value("document.querySelectorAll('details').forEach(details => details.open = true)")?;
                let wrong = person.wrong(&axe)?;
                ensure!(wrong.is_empty(), "{path}, dark: {dark}, {width} wide: {wrong:#?}");
                let wide = person.value(TOO_WIDE)?;
                let wider =
                    person.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")?;
                ensure!(
                    wide == serde_json::json!([]) && wider == 0,
                    "{path} is {wider} wider than a screen of {width}: {wide:#}"
                );
                person.value("document.querySelectorAll('details').forEach(details => details.open = false)")?;
                if PICTURES.contains(name) {
                    person.picture(&format!("{name}-{}", if dark { "dark-phone" } else { "light" }))?;
                }
            }
        }
        Ok(())
    })
    .await??;
    system.finish().await
}

/// One picture per step: one after the other they show how a stuck row is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_row_is_found_understood_and_mended_in_five_clicks() -> Result<()> {
    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    books::settled(&system.database.pool).await?;
    let event = dead_mail(&system).await?;
    let base = system.base_url().to_owned();
    tokio::task::spawn_blocking(move || -> Result<()> {
        let person = Person::new()?;
        let go = |link: &str, arrived: &str| -> Result<()> {
            person.tab.find_element(link)?.click()?;
            person.until(&format!("document.readyState === 'complete' && {arrived}"))
        };
        person.look(false, WIDTHS[0])?;
        person.open(&format!("{base}/console"))?;
        person.picture("mend-1-overview")?;
        go(".alert a", "location.pathname === '/console/stuck'")?;
        person.picture("mend-2-stuck")?;
        go(&format!("a[href='/console/events/{event}']"), "location.pathname.startsWith('/console/events/')")?;
        ensure!(person.value("document.body.innerText.includes('mail server said 451')")? == true, "it says why");
        person.tab.find_element_by_xpath("//summary[text()='Edit and retry']")?.click()?;
        person.tab.find_element("details[open] input[name=actor]")?.type_into("anita")?;
        person.tab.find_element("details[open] input[name=reason]")?.type_into("the mail server is back")?;
        person.picture("mend-3-event")?;
        go("details[open] button", "document.body.innerText.includes('1 retried: 1 done')")?;
        person.picture("mend-4-what-came-of-it")?;
        go("a[href='/console']", "document.body.innerText.includes('Nothing needs a person')")
    })
    .await??;
    let acted = "select count(*) from messaging.operator_actions where actor = 'anita' and action = 'RETRY'";
    assert_eq!(books::count(&system.database.pool, acted).await?, 1);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_job_is_mended_with_the_keyboard_alone() -> Result<()> {
    let system = System::start(|_| {}).await?;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    dead_mail(&system).await?;
    let base = system.base_url().to_owned();
    tokio::task::spawn_blocking(move || -> Result<()> {
        let person = Person::new()?;
        person.open(&format!("{base}/console"))?;
        person.strike(&["?"])?;
        person.until("document.getElementById('help').open")?;
        person.strike(&["Escape"])?;
        person.until("!document.getElementById('help').open")?;
        person.strike(&["g", "s"])?;
        person.until("location.pathname === '/console/stuck' && document.readyState === 'complete'")?;
        person.tab_to("element.tagName === 'SUMMARY' && element.textContent.startsWith('Retry')")?;
        person.strike(&["Enter"])?;
        person.tab_to("element.name === 'actor'")?;
        person.tab.type_str("anita")?;
        person.tab_to("element.name === 'reason'")?;
        person.tab.type_str("the mail server is back")?;
        person.strike(&["Enter"])?;
        person
            .until("location.pathname.startsWith('/console/acts/') && document.body.innerText.includes('1 retried')")?;
        person.strike(&["/"])?;
        person.tab.type_str("state:dead")?;
        person.strike(&["Enter"])?;
        person.until("location.pathname === '/console/jobs' && document.body.innerText.includes('No such job')")
    })
    .await??;
    let acted =
        "select count(*) from messaging.operator_actions where actor = 'anita' and reason = 'the mail server is back'";
    assert_eq!(books::count(&system.database.pool, acted).await?, 1);
    system.finish().await
}
