//! E-mails on a real SMTP server: each arrives complete, and at most once.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use contracts::{OrderDocument, OrderState, Queue, ReturnState};
use embedded::child::{Child, Signal, bound_to_parent};
use serde_json::{Value, json};
use standalone::{Options, Part};
use tests::servers::{Mail, MailServer};
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books, eventually, programs, shop};

use super::operations::act;

/// Every part, with retries in milliseconds.
fn with_mail(url: &str) -> impl FnOnce(&mut Options) {
    move |options| {
        options.parts = Part::ALL.to_vec();
        options.workers.mail.smtp_url = Some(url.into());
        options.workers.retries.document_retry = Duration::from_millis(20);
    }
}

/// The same without a browser, so no document is printed.
fn without_invoices(url: &str) -> impl FnOnce(&mut Options) {
    move |options| {
        with_mail(url)(options);
        options.workers.pdf.chromium_path = Some(PathBuf::from("/there/is/no/browser"));
    }
}

/// An order of a customer with this address.
fn order_for(email: &str) -> Value {
    let mut order = shop::order();
    order["customer_email"] = json!(email);
    order
}

/// Status, attempts and last error of the only notification.
async fn job(system: &System) -> Result<(String, i32, Option<String>)> {
    let job = "select status, attempts, last_error from messaging.inbox where queue = 'notifications'";
    Ok(sqlx::query_as(job).fetch_one(&system.database.pool).await?)
}

/// The same, once the job is done or dead.
async fn settled(system: &System) -> Result<(String, i32, String)> {
    books::delivered(&system.database.pool, SOON).await?;
    books::drained(&system.database.pool, Queue::Notifications, SOON).await?;
    let (status, attempts, error) = job(system).await?;
    Ok((status, attempts, error.unwrap_or_default()))
}

/// The statuses in our own record of e-mails.
async fn record(system: &System) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("select status from work.emails").fetch_all(&system.database.pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_in_another_script_needs_no_special_server() -> Result<()> {
    let server = MailServer::start()?;
    let system = System::start(without_invoices(&server.url)).await?;
    shop::place(&system.api, &order_for("asha@उदाहरण.भारत")).await?;
    let (status, _, error) = settled(&system).await?;
    assert_eq!(status, "done", "{error}");
    let recipients: Vec<_> = server.mails()?.into_iter().map(|mail| mail.recipient).collect();
    assert_eq!(recipients, ["asha@xn--p1b6ci4b4b3a.xn--h2brj9c"]);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_six_e_mails_arrive_once_and_whole() -> Result<()> {
    let server = MailServer::start()?;
    let system = System::start(|options| {
        with_mail(&server.url)(options);
        options.workers.mail.mail_reply_to = Some("care@articurated.example".parse().expect("an address"));
    })
    .await?;
    let order = invoiced_order(&system).await?;
    let refunded = shop::request_return(&system.api, &order, 0, 1).await?;
    shop::bring_return(&system.api, refunded, ReturnState::Completed).await?;
    let rejected = shop::request_return(&system.api, &order, 0, 1).await?;
    shop::bring_return(&system.api, rejected, ReturnState::Rejected).await?;
    books::settled(&system.database.pool).await?;

    let number = order.order_number.as_str();
    let mails = server.mails()?;
    let subjects: Vec<_> = mails.iter().map(|mail| mail.subject.clone()).collect();
    assert_eq!(
        subjects,
        [
            format!("About your return for order {number}"),
            format!("We have received your order {number}"),
            format!("Your order {number} is confirmed"),
            format!("Your order {number} is on its way"),
            format!("Your refund for order {number} is on its way"),
            format!("Your return for order {number} is approved"),
        ]
    );
    let saying: [&[&str]; 6] = [
        &["Worn", "The glaze is scratched."],
        &["नीली मिट्टी <b>", "₹3,00,000.00", "Meera Nair", "as soon as your payment"],
        &["नीली मिट्टी <b>", "₹1,25,000.00", "Meera Nair", "UPI"],
        &["नीली मिट्टी <b>", "₹3,00,000.00", "AC/", "within 30 days"],
        &["₹1,25,000.00", "UPI"],
        &["₹1,25,000.00"],
    ];
    for (mail, wanted) in mails.iter().zip(saying) {
        assert_eq!(mail.recipient, "meera@example.com");
        complete(mail, number, wanted);
    }
    let invoice = system.api.get(&format!("/orders/{}", order.id)).await?.expect(200).order().invoice.context("it")?;
    for mail in &mails {
        let wanted = mail.subject.starts_with("Your order") && mail.subject.ends_with("on its way");
        let attached = (invoice.path.clone(), "application/pdf".to_owned(), invoice.sha256.clone());
        assert_eq!(mail.attachment, wanted.then_some(attached), "{}", mail.subject);
    }
    let mut ids: Vec<String> = sqlx::query_scalar("select message_id from work.emails where status = 'SENT'")
        .fetch_all(&system.database.pool)
        .await?;
    let mut sent: Vec<_> = mails.into_iter().map(|mail| mail.message_id).collect();
    ids.sort();
    sent.sort();
    assert_eq!(sent, ids);
    system.finish().await
}

/// A delivered order; its titles contain HTML and Devanagari.
async fn invoiced_order(system: &System) -> Result<OrderDocument> {
    let body = json!({
        "customer_id": "cust-1", "customer_email": "meera@example.com", "payment_method": "UPI",
        "shipping_address": { "name": "Meera Nair", "line1": "12 MG Road", "city": "Kochi", "postal_code": "682011" },
        "items": [
            { "sku": "JBP-1", "title": "नीली मिट्टी <b>", "quantity": 2, "unit_price_minor": 12_500_000 },
            { "sku": "JBP-2", "title": "Bowl", "quantity": 1, "unit_price_minor": 5_000_000 },
        ],
    });
    let order = shop::place(&system.api, &body).await?;
    shop::bring(&system.api, order, OrderState::Delivered).await
}

/// Asserts the text and HTML parts and the headers.
fn complete(mail: &Mail, number: &str, wanted: &[&str]) {
    for wanted in wanted.iter().copied().chain([number, "articurated.example"]) {
        let escaped = wanted.replace('<', "&lt;").replace('>', "&gt;");
        assert!(mail.text.contains(wanted), "{}: {wanted} is not in the text:\n{}", mail.subject, mail.text);
        assert!(mail.html.contains(&escaped), "{}: {escaped} is not in the HTML", mail.subject);
    }
    for (name, value) in [
        ("From", "ArtiCurated <orders@articurated.example>"),
        ("Reply-To", "care@articurated.example"),
        ("To", "meera@example.com"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
    ] {
        assert_eq!(mail.header(name).as_deref(), Some(value), "{}: {name}", mail.subject);
    }
    assert!(mail.header("Date").is_some());
}

/// To the address that the order has by then, with the same file; once for each request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_is_sent_again_on_request() -> Result<()> {
    let server = MailServer::start()?;
    let system = System::start(with_mail(&server.url)).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let order = shop::place(api, &order_for("asha@example.in")).await?;
    let path = format!("/orders/{}", order.id);
    let again = format!("{path}/invoice/send");
    api.post(&again, &json!({})).await?.refused(404, "INVOICE_NOT_FOUND");
    shop::bring(api, order, OrderState::Shipped).await?;
    eventually("the invoice is sent", SOON, async || {
        Ok(server.mails()?.iter().any(|mail| mail.subject.contains("on its way")).then_some(()))
    })
    .await?;

    api.patch(&path, &json!({ "customer_email": "meera@example.in" })).await?.expect(200);
    let before = api.get(&path).await?.expect(200).json()["version"].clone();
    let body = json!({ "reason": "lost it", "actor": "support.ravi" });
    for _ in 0..2 {
        let call = api.call(reqwest::Method::POST, &again).header("Idempotency-Key", "resend-1").json(&body);
        let sent = call.send().await?.expect(200).json();
        assert!(sent["version"].as_i64() > before.as_i64(), "{sent}");
    }
    let (mails, invoices) = eventually("it is sent again", SOON, async || {
        let mails = server.mails()?;
        let invoices: Vec<_> = mails.iter().filter(|mail| mail.attachment.is_some()).cloned().collect();
        Ok((invoices.len() == 2).then_some((mails, invoices)))
    })
    .await?;
    books::settled(pool).await?;
    assert_eq!(server.mails()?.len(), mails.len(), "once");
    let [first, second] = &invoices[..] else { unreachable!("there are two") };
    let both = [first, second].map(|mail| (mail.recipient.as_str(), mail.attachment.clone()));
    assert_ne!(both[0].0, both[1].0, "to the new address");
    assert_eq!(both[0].1, both[1].1, "the same file");
    let history = api.get(&format!("{path}/history")).await?.expect(200).history();
    let entry = history.last().context("an entry")?;
    assert_eq!((entry.reason.as_deref(), entry.actor.as_str()), (Some("lost it"), "support.ravi"));

    api.patch(&path, &json!({ "customer_email": null })).await?.expect(200);
    api.post(&again, &json!({})).await?.refused(409, "NO_EMAIL_ADDRESS");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_e_mail_that_the_server_refuses_temporarily_is_sent_later_once() -> Result<()> {
    let server = MailServer::start()?;
    // The server refuses before the text, and after it.
    for recipient in ["later@example.com", "full@example.com"] {
        let system = System::start(without_invoices(&server.url)).await?;
        shop::place(&system.api, &order_for(recipient)).await?;
        let (status, attempts, _) = settled(&system).await?;
        assert_eq!((status.as_str(), attempts), ("done", 2), "{recipient}");
        let mails = server.mails()?;
        assert_eq!(mails.iter().filter(|mail| mail.recipient == recipient).count(), 1);
        assert_eq!(record(&system).await?, ["SENT"]);
        system.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_e_mail_that_the_server_refuses_for_good_is_dead_and_its_error_has_no_address() -> Result<()> {
    let server = MailServer::start()?;
    for (recipient, words, recorded) in [
        ("unknown@example.com", "no such mailbox", &[][..]),
        ("virus@example.com", "not wanted here", &["REFUSED"][..]),
    ] {
        let system = System::start(without_invoices(&server.url)).await?;
        shop::place(&system.api, &order_for(recipient)).await?;
        let (status, attempts, error) = settled(&system).await?;
        assert_eq!((status.as_str(), attempts), ("dead", 1), "{recipient}: {error}");
        assert!(error.contains(words) && !error.contains("example"), "{error}");
        assert_eq!(record(&system).await?, recorded);
        system.finish().await?;
    }
    assert!(server.mails()?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e_mails_wait_for_a_server_that_is_down_and_lose_no_attempt() -> Result<()> {
    // The server stops at once, and its port stays free.
    let port = MailServer::start()?.port;
    let system = System::start(without_invoices(&format!("smtp://127.0.0.1:{port}"))).await?;
    let pool = &system.database.pool;
    for customer in ["meera@example.com", "anita@example.com", "ravi@example.com"] {
        shop::place(&system.api, &order_for(customer)).await?;
    }
    let failed = "select coalesce(max(failures), 0)::bigint from messaging.outages where queue = 'notifications'";
    eventually("three probes have failed", SOON, async || Ok((books::count(pool, failed).await? >= 4).then_some(())))
        .await?;
    let reason: String = sqlx::query_scalar("select reason from messaging.outages").fetch_one(pool).await?;
    assert!(reason.contains("the mail server cannot be reached"), "{reason}");
    let charged = "select count(*) from messaging.inbox where status <> 'running' and attempts > 0";
    assert_eq!(books::count(pool, charged).await?, 0);
    assert!(record(&system).await?.is_empty(), "no e-mail was handed over");

    let server = MailServer::start_at(port)?;
    let done = "select count(*) from messaging.inbox where status = 'done' and attempts = 1";
    eventually_equal("every e-mail is sent", SOON, 3, async || books::count(pool, done).await).await?;
    assert_eq!(server.mails()?.len(), 3);
    assert_eq!(books::count(pool, failed).await?, 0, "the outage has ended");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_takes_long_is_waited_for() -> Result<()> {
    let server = MailServer::start()?;
    let system = System::start(without_invoices(&server.url)).await?;
    shop::place(&system.api, &order_for("slow@example.com")).await?;
    let (status, attempts, error) = settled(&system).await?;
    assert_eq!((status.as_str(), attempts), ("done", 1), "{error}");
    assert_eq!((record(&system).await?, server.mails()?.len()), (vec!["SENT".to_owned()], 1));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_e_mail_whose_answer_is_lost_is_in_doubt_and_not_sent_again() -> Result<()> {
    let server = MailServer::start()?;
    let system = System::start(without_invoices(&server.url)).await?;
    shop::place(&system.api, &order_for("silent@example.com")).await?;
    let (status, attempts, error) = settled(&system).await?;
    assert_eq!((status.as_str(), attempts), ("dead", 1));
    assert!(error.contains("may have gone out") && error.contains("answer was lost"), "{error}");
    assert_eq!(record(&system).await?, ["IN_DOUBT"]);
    assert_eq!(server.mails()?.len(), 1);
    system.finish().await
}

/// The real program, with these additional variables.
async fn workers(system: &System, url: &str, more: &[(&str, &str)]) -> Result<Child> {
    let folder = tokio::task::spawn_blocking(programs::folder).await?;
    let mut command = bound_to_parent(Signal::SIGKILL, folder.join("workers"));
    command.env_remove("RABBITMQ_URL").env("DATABASE_URL", &system.database.url).env("SMTP_URL", url);
    command.env("WORKERS_PORT", embedded::free_port()?.to_string()).env("INVOICE_STORE_URL", system.invoices());
    // A failed job waits longer than the test takes.
    command.env("CHROMIUM_PATH", "/there/is/no/browser").env("DOCUMENT_RETRY_SECONDS", "36000");
    command.envs(more.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
    Child::spawn("workers", command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_operator_resends_an_e_mail_that_a_killed_worker_may_have_sent() -> Result<()> {
    // The worker is killed before it hands the e-mail over, and between the server's acceptance and the commit.
    for (place, sent) in [("notification.recorded", 0), ("notification.sent", 1)] {
        let server = MailServer::start()?;
        let system = System::start(|_| ()).await?;
        shop::place(&system.api, &order_for("meera@example.com")).await?;
        let killed = workers(&system, &server.url, &[("FAULT_POINT", &format!("{place}:1"))]).await?;
        eventually("the worker is killed", SOON, async || Ok(killed.exited())).await?;
        assert_eq!((record(&system).await?, server.mails()?.len()), (vec!["SENDING".to_owned()], sent), "{place}");

        let expire = "update messaging.workers set expires_at = clock_timestamp()";
        sqlx::query(expire).execute(&system.database.pool).await?;
        let successor = workers(&system, &server.url, &[]).await?;
        eventually_equal("another worker takes over", SOON, "dead".to_owned(), async || Ok(job(&system).await?.0))
            .await?;
        let (_, attempts, error) = job(&system).await?;
        assert!(attempts == 1 && error.is_some_and(|error| error.contains("may have gone out")), "{place}");
        assert_eq!((record(&system).await?, server.mails()?.len()), (vec!["IN_DOUBT".to_owned()], sent), "{place}");

        // The customer has another address by now. It is corrected for one e-mail, not for a whole queue.
        let mut again = json!({ "reason": "the customer has nothing", "queue": "notifications",
                                "customer_email": "asha@example.com" });
        act(&system.api, "/ops/jobs/retry", &again).await?.refused(422, "VALIDATION_FAILED");
        let event_id: uuid::Uuid =
            sqlx::query_scalar("select event_id from messaging.inbox where queue = 'notifications'")
                .fetch_one(&system.database.pool)
                .await?;
        again["event_ids"] = json!([event_id]);
        act(&system.api, "/ops/jobs/retry", &again).await?.expect(200);
        eventually_equal("the e-mail is sent", SOON, "done".to_owned(), async || Ok(job(&system).await?.0)).await?;
        let mails = server.mails()?;
        assert_eq!((record(&system).await?, mails.len()), (vec!["SENT".to_owned()], sent + 1), "{place}");
        assert!(mails.iter().all(|mail| mail.message_id == mails[0].message_id), "both copies have one message id");
        assert_eq!(mails.iter().filter(|mail| mail.recipient == "asha@example.com").count(), 1, "{place}");
        tokio::task::spawn_blocking(move || successor.stop(Signal::SIGTERM, SOON)).await?;
        system.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_in_the_url_no_e_mail_is_sent_without_it() -> Result<()> {
    for from_the_first_byte in [true, false] {
        let server = MailServer::start_with_tls(from_the_first_byte)?;
        let url = |port| {
            if from_the_first_byte {
                format!("smtps://localhost:{port}")
            } else {
                format!("smtp://localhost:{port}?tls=required")
            }
        };
        let plain = MailServer::start()?;
        let certificate = server.certificate().display().to_string();
        let system = System::start(|_| ()).await?;
        shop::place(&system.api, &order_for("meera@example.com")).await?;
        // A server without TLS, then one with an untrusted certificate.
        for (port, more) in [(plain.port, &[("SSL_CERT_FILE", certificate.as_str())][..]), (server.port, &[][..])] {
            let refusing = workers(&system, &url(port), more).await?;
            let tried = "select count(*) from messaging.outages where queue = 'notifications'";
            eventually_equal("the worker has tried to send the e-mail", SOON, 1, async || {
                books::count(&system.database.pool, tried).await
            })
            .await?;
            tokio::task::spawn_blocking(move || refusing.stop(Signal::SIGTERM, SOON)).await?;
            let now = "with outage as (delete from messaging.outages)
                       update messaging.inbox set run_at = clock_timestamp() where status = 'ready'";
            sqlx::query(now).execute(&system.database.pool).await?;
        }
        assert!(record(&system).await?.is_empty() && plain.mails()?.is_empty() && server.mails()?.is_empty());
        let trusting = workers(&system, &url(server.port), &[("SSL_CERT_FILE", &certificate)]).await?;
        eventually_equal("the e-mail is sent", SOON, "done".to_owned(), async || Ok(job(&system).await?.0)).await?;
        assert_eq!((record(&system).await?, server.mails()?.len()), (vec!["SENT".to_owned()], 1));
        tokio::task::spawn_blocking(move || trusting.stop(Signal::SIGTERM, SOON)).await?;
        system.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_e_mails_are_logged() -> Result<()> {
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.workers.pdf.chromium_path = Some(PathBuf::from("/there/is/no/browser"));
    })
    .await?;
    shop::place(&system.api, &order_for("meera@example.com")).await?;
    assert_eq!(settled(&system).await?.0, "done");
    assert_eq!(record(&system).await?, ["LOGGED"]);
    system.finish().await
}
