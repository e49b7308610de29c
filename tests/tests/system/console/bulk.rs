//! Acts on all that a filter matches, and names at what people look into.

use anyhow::Result;
use tests::waiting::SOON;
use tests::{System, books, eventually};

use super::Browser;
use crate::operations::bulk::dead_mails;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_cause_are_retried_from_the_page_of_what_is_stuck() -> Result<()> {
    let system = System::start(|_| {}).await?;
    dead_mails(&system, 8).await?;
    let mut browser = Browser::of(&system)?;
    let stuck = browser.open("/console/stuck").await?.expect(200);
    let like = "/console/bulk/new?act=retry&amp;queue=notifications&amp;error=mail%20server%20said";
    stuck.has(&format!("href=\"{like}\""));
    browser
        .open("/console/jobs?status=dead&error=timed+out")
        .await?
        .expect(200)
        .has("act=discard&amp;error=timed%20out");

    let preview = browser.open(&like.replace("&amp;", "&")).await?.expect(200);
    preview.has("<strong>6</strong> would be retried").has("(hidden)").has("Retry 6").lacks("@example.in");
    let (token, until) = (preview.form_token(), hidden(&preview.text, "until"));
    let whole = [
        ("act", "retry"),
        ("queue", "notifications"),
        ("error", "mail server said"),
        ("until", &*until),
        ("per_second", ""),
        ("actor", "anita"),
        ("reason", "the mail server is back"),
        ("form_token", &*token),
    ];
    for (field, value, code) in
        [("form_token", "AAAA", 403), ("reason", " ", 422), ("per_second", "fast", 422), ("act", "forget", 422)]
    {
        let wrong = whole.map(|(name, sent)| (name, if name == field { value } else { sent }));
        browser.send("/console/bulk", &wrong).await?.expect(code);
    }
    assert_eq!(books::count(&system.database.pool, "select count(*) from messaging.bulk_acts").await?, 0);

    let started = browser.send("/console/bulk", &whole).await?.expect(200);
    let mut seen = String::new();
    let done = eventually("the act is done", SOON, async || {
        seen = browser.open(&started.path).await?.expect(200).text;
        Ok(seen.contains("6 of 6 retried.").then_some(()))
    });
    done.await?;
    for text in ["6 retried: 6 waiting for a worker.", "DONE", "the mail server is back", "anita, by CONSOLE"] {
        assert!(seen.contains(text), "{text}: {seen}");
    }
    let dead = "select count(*) from messaging.dead_letters";
    assert_eq!(books::count(&system.database.pool, dead).await?, 2);
    browser.send("/console/bulk", &whole).await?.expect(409).has("NOTHING_SELECTED");
    browser.send(&format!("{}/cancel", started.path), &whole).await?.expect(409).has("BULK_ACT_ENDED");
    browser.open("/console/bulk").await?.expect(200).has(&started.path).lacks("There was none yet");
    browser.open("/console/log?action=START_BULK").await?.expect(200).has("the mail server is back");
    system.finish().await
}

/// The value of a hidden field.
fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).expect("the field");
    rest.split('"').next().expect("its value").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_into_it_is_said_where_it_is_shown() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let id = dead_mails(&system, 1).await?[0].to_string();
    let mut browser = Browser::of(&system)?;
    let token = browser.open("/console/stuck").await?.expect(200).form_token();
    let act = |verb, actor| {
        [("act", verb), ("event_ids", &*id), ("actor", actor), ("reason", "asks the provider"), ("form_token", &*token)]
    };
    browser.send("/console/act", &act("investigate", "anita")).await?.expect(200).has("It has your name now");
    browser.open("/console/stuck").await?.expect(200).has("under investigation</span> by anita");
    let event = format!("/console/events/{id}");
    browser.open(&event).await?.expect(200).has("by anita").has("asks the provider").has("I take it over");
    browser.send("/console/act", &act("investigate", "ravi")).await?.expect(200);
    browser.open("/console/stuck").await?.expect(200).has("by ravi").lacks("by anita");
    browser.send("/console/act", &act("close", "ravi")).await?.expect(200).has("It has no name any more");
    browser.open(&event).await?.expect(200).lacks("under investigation").has("I look into it");
    system.finish().await
}
