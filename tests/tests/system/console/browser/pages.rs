//! Every page on every screen: nothing is wider than it, axe-core finds nothing, and Chromium does not complain.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use contracts::ReturnState;
use serde_json::json;
use tests::servers::axe;
use tests::waiting::SOON;
use tests::{System, books, shop};

use super::super::acts::dead_mail;
use super::person::{DESK, Person};
use crate::operations::{act, execute};

/// Widths of a phone, of a desk, and of a wide screen.
const PHONE: u32 = 390;
const WIDE: u32 = 2_560;

/// The pages of which `docs/console` has a picture on a phone, in the dark, too.
const ON_A_PHONE: [&str; 4] = ["overview", "stuck", "event", "story"];
/// What reaches beyond the screen and cannot be scrolled by itself.
const TOO_WIDE: &str = "[...document.body.querySelectorAll('*')]
    .filter(part => !part.closest('.scroll, pre, .hidden, .skip') && part.getBoundingClientRect().right > document.documentElement.clientWidth)
    .map(part => part.outerHTML.slice(0, 200))";

/// Looks at a page on every screen, in the light and in the dark, with everything on it unfolded. Of axe-core's rules, one depends on the
/// colours.
pub(super) fn look_at(person: &Person, axe: &str, name: &str) -> Result<()> {
    unfold(person, true)?;
    for width in [PHONE, DESK, WIDE] {
        person.look(false, width)?;
        let wide = person.value(TOO_WIDE)?;
        let wider = person.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")?;
        ensure!(wide == json!([]) && wider == 0, "{name} is {wider} wider than a screen of {width}: {wide:#}");
        let pale = person.pale(axe)?;
        ensure!(pale.is_empty(), "{name}, light, {width} wide: {pale:#?}");
        person.look(true, width)?;
        let wrong = person.wrong(axe)?;
        ensure!(wrong.is_empty(), "{name}, dark, {width} wide: {wrong:#?}");
    }
    unfold(person, false)?;
    person.look(false, DESK)
}

fn unfold(person: &Person, open: bool) -> Result<()> {
    let details = "document.querySelectorAll('main details')";
    person.value(&format!("{details}.forEach(details => details.open = {open})")).map(drop)
}

/// Takes the pictures of a page.
fn draw(person: &Person, name: &str) -> Result<()> {
    if ON_A_PHONE.contains(&name) {
        person.look(true, PHONE)?;
        person.picture(&format!("{name}-dark-phone"))?;
    }
    if name == "overview" {
        person.look(true, WIDE)?;
        person.picture(&format!("{name}-dark-wide"))?;
    }
    person.look(false, DESK)?;
    person.picture(&format!("{name}-light"))
}

/// Figures of an hour, with a wave in it: the plots have something to draw.
async fn fill_figures(system: &System) -> Result<()> {
    let figures = "insert into messaging.hop_figures
        select date_trunc('minute', clock_timestamp()) - make_interval(mins => n), 'notifications', 300 + (200 * sin(n / 9.0))::integer, 300,
               case when n = 20 then 40 else 0 end, 2 + sin(n / 5.0), 9 + 3 * sin(n / 3.0), 3, 14 + n % 7, 40, case when n between 18 and 22 then 900 else 120 end
        from generate_series(3, 58) as n on conflict do nothing";
    execute(&system.database.pool, figures).await
}

/// Something on every page, and where the pages are.
async fn fill(system: &System) -> Result<BTreeMap<&'static str, String>> {
    let api = &system.api;
    let returned = shop::return_in(api, ReturnState::Completed).await?;
    let event = dead_mail(system).await?;
    act(api, "/ops/queues/refunds/pause", &json!({ "reason": "the bank is closed" })).await?.expect(200);
    let new = json!({ "url": "https://hooks.example.in/shop", "reason": "a test" });
    let made = act(api, "/ops/webhooks", &new).await?.expect(201).json();
    let endpoint = made["id"].as_str().context("an id")?;
    act(api, &format!("/ops/webhooks/{endpoint}/test"), &json!({ "reason": "a test" })).await?.expect(202);
    let new = json!({ "name": "shop-front", "role": "staff", "reason": "a test" });
    act(api, "/ops/keys", &new).await?.expect(201);
    let new = json!({ "act": "replay", "events": { "event_type": "order.created" }, "reason": "a new consumer" });
    let started = act(api, "/ops/bulk-acts", &new).await?.expect(202).json();
    let bulk = started["id"].as_str().context("an id")?;
    let looks = json!({ "event_ids": [event], "reason": "asks the mail provider" });
    act(api, "/ops/investigations", &looks).await?.expect(200);
    fill_figures(system).await?;
    books::projected(&system.database.pool, SOON).await?;
    Ok(BTreeMap::from([
        ("overview", "/console".to_owned()),
        ("stuck", "/console/stuck".to_owned()),
        ("jobs", "/console/jobs".to_owned()),
        ("event", format!("/console/events/{event}")),
        ("story", format!("/console/orders/{}", returned.order_number)),
        ("return", format!("/console/returns/{}", returned.id)),
        ("bulk", "/console/bulk".to_owned()),
        ("bulk-new", "/console/bulk/new?act=retry&queue=notifications&error=said".to_owned()),
        ("bulk-act", format!("/console/bulk/{bulk}")),
        ("processes", "/console/processes".to_owned()),
        ("schedules", "/console/schedules".to_owned()),
        ("webhooks", "/console/webhooks".to_owned()),
        ("webhook", format!("/console/webhooks/{endpoint}")),
        ("keys", "/console/keys".to_owned()),
        ("audit", "/console/audit".to_owned()),
        ("log", "/console/log".to_owned()),
        ("act", "/console/acts/1".to_owned()),
        ("nothing-found", "/console/find?q=nothing".to_owned()),
        ("refused", "/console/jobs?status=gone".to_owned()),
    ]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_for_everyone() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let pages = fill(&system).await?;
    let base = system.base_url().to_owned();
    tokio::task::spawn_blocking(move || -> Result<()> {
        let (person, axe) = (Person::new()?, axe()?);
        for (name, path) in &pages {
            person.open(&format!("{base}{path}"))?;
            look_at(&person, &axe, name)?;
            draw(&person, name)?;
            let mut complaints = person.complaints()?;
            // Chromium says so, as the page does.
            complaints.retain(|text| *name != "refused" || !text.contains("the server responded with a status of 422"));
            ensure!(complaints.is_empty(), "{name}: {complaints:#?}");
        }
        Ok(())
    })
    .await??;
    system.finish().await
}
