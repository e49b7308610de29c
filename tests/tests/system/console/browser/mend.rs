//! From what needs a person to what came of it: in five clicks, and by keyboard alone.

use anyhow::{Result, ensure};
use contracts::OrderState;
use standalone::Part;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books, shop};

use super::super::acts::dead_mail;
use super::person::{DESK, Person};

/// One picture per step: one after the other they show how a stuck row is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_row_is_found_understood_and_mended_in_five_clicks() -> Result<()> {
    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    let order = shop::order_in(&system.api, OrderState::PendingPayment).await?;
    books::settled(&system.database.pool).await?;
    let event = dead_mail(&system).await?;
    let base = system.base_url().to_owned();
    let person = tokio::task::spawn_blocking(move || -> Result<Person> {
        let person = Person::new()?;
        let click = |link: &str| person.go(&format!("document.querySelector({link:?})"));
        person.look(false, DESK)?;
        person.open(&format!("{base}/console"))?;
        person.picture("mend-1-overview")?;
        click(".alert a")?;
        person.picture("mend-2-stuck")?;
        click(&format!("a[href='/console/events/{event}']"))?;
        person.sees("mail server said 451")?;
        let fields = [("actor", "anita"), ("reason", "the mail server is back")];
        let button = person.fill_in("main", "Edit and retry", &fields)?;
        person.picture("mend-3-event")?;
        person.go(&button)?;
        person.sees("1 retried: 1 done")?;
        person.picture("mend-4-what-came-of-it")?;
        click("a[href='/console']")?;
        person.sees("Nothing needs a person")?;
        Ok(person)
    })
    .await??;
    let acted = "select count(*) from messaging.operator_actions where actor = 'anita' and action = 'RETRY'";
    assert_eq!(books::count(&system.database.pool, acted).await?, 1);

    let number = shop::bring(&system.api, order, OrderState::Shipped).await?.order_number;
    books::settled(&system.database.pool).await?;
    let story = format!("{}/console/orders/{number}", system.base_url());
    tokio::task::spawn_blocking(move || -> Result<()> {
        person.open(&story)?;
        person.choose(&person.fill_in("main", "Open the PDF", &[("reason", "the customer asks for a copy")])?)?;
        person.sees("What happened")
    })
    .await??;
    let opened = "select count(*) from messaging.operator_actions where action = 'REVEAL' and reason = 'the customer asks for a copy'";
    let pool = &system.database.pool;
    eventually_equal("it opens beside the console", SOON, 1, async || books::count(pool, opened).await).await?;
    system.finish().await
}

/// Each key that `?` shows leads where it says, and `/` finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_job_is_mended_with_the_keyboard_alone() -> Result<()> {
    let system = System::start(|_| {}).await?;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    dead_mail(&system).await?;
    let base = system.base_url().to_owned();
    tokio::task::spawn_blocking(move || -> Result<()> {
        let person = Person::new()?.by_keyboard();
        person.open(&format!("{base}/console"))?;
        person.strike(&["Tab", "Enter"])?;
        person.until("location.hash === '#main'")?;
        person.strike(&["Tab"])?;
        let skipped = "document.getElementById('main').contains(document.activeElement)";
        ensure!(person.value(skipped)? == true, "the first link skips what is above the content");
        person.strike(&["?"])?;
        person.until("document.getElementById('help').open")?;
        let keys = "[...document.querySelectorAll('#help dt')].map(dt => [...dt.querySelectorAll('kbd'), dt.nextElementSibling].map(part => part.textContent))";
        let keys: Vec<Vec<String>> = serde_json::from_value(person.value(keys)?)?;
        person.strike(&["Escape"])?;
        person.until("!document.getElementById('help').open")?;
        let mut pages = 0;
        for line in &keys {
            if let [first, second, page] = line.as_slice() {
                person.leave(|| person.strike(&[first, second]))?;
                let at = person.value("document.querySelector('nav [aria-current]').textContent")?;
                ensure!(at == **page, "{first} {second} leads to {at}, and not to {page}");
                pages += 1;
            }
        }
        ensure!(pages == 10, "a key for each part of the console: {keys:?}");

        person.leave(|| person.strike(&["g", "s"]))?;
        let fields = [("actor", "anita"), ("reason", "the mail server is back")];
        person.act("main", "Retry (1)", &fields)?;
        person.sees("1 retried")?;
        ensure!(person.value("location.pathname.startsWith('/console/acts/')")? == true);
        person.strike(&["/"])?;
        person.write("state:dead")?;
        person.leave(|| person.strike(&["Enter"]))?;
        person.sees("No such job")?;
        ensure!(person.value("location.pathname")? == "/console/jobs");
        ensure!(person.complaints()?.is_empty());
        Ok(())
    })
    .await??;
    let acted =
        "select count(*) from messaging.operator_actions where actor = 'anita' and reason = 'the mail server is back'";
    assert_eq!(books::count(&system.database.pool, acted).await?, 1);
    system.finish().await
}
