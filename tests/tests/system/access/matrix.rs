//! The table, played: role × route × whose the object is.

use std::collections::BTreeSet;

use access::Role;
use access::table::{OPEN, RULES, Reach, Rule};
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use standalone::Part;
use tests::waiting::SOON;
use tests::{Answer, System, description, eventually};

use super::{ASHA, Client, RAVI, guarded, key};

/// What a customer has: an order, a return of it, and the refund of another order.
#[derive(Debug)]
struct Goods {
    customer: &'static str,
    order: Value,
    returned: Value,
    refund: Value,
}

/// A manager sells to a customer, and takes something back.
async fn sell(manager: &Client<'_>, customer: &'static str) -> Result<Goods> {
    let place = async || {
        let body = json!({ "customer_id": customer, "items": [{ "sku": "A", "title": "Lamp", "quantity": 2, "unit_price_minor": 9_900 }] });
        anyhow::Ok(manager.post("/orders", &body).await?.expect(201).json())
    };
    let order = place().await?;
    for step in ["pay", "processing", "ship", "deliver"] {
        let path = format!("/orders/{}/{step}", text(&order, "id"));
        manager.post(&path, &json!({})).await?.expect(200);
    }
    let shown = format!("/orders/{}", text(&order, "id"));
    eventually("an invoice", SOON, async || Ok(manager.get(&shown).await?.json()["invoice"].is_object().then_some(())))
        .await?;
    let body = json!({ "order_id": order["id"], "reason": "too dark", "items": [{ "order_item_id": order["items"][0]["id"], "quantity": 1 }] });
    let returned = manager.post("/returns", &body).await?.expect(201).json();
    let paid = place().await?;
    manager.post(&format!("/orders/{}/pay", text(&paid, "id")), &json!({})).await?.expect(200);
    let goodwill = json!({ "amount_minor": 100, "reason": "a scratch" });
    let refund = manager.post(&format!("/orders/{}/refunds", text(&paid, "id")), &goodwill).await?.expect(201).json();
    for (kind, document) in [("orders", &order), ("returns", &returned), ("refunds", &refund)] {
        let path = format!("/{kind}/{}", text(document, "id"));
        eventually("it can be read", SOON, async || Ok((manager.get(&path).await?.status == 200).then_some(())))
            .await?;
    }
    Ok(Goods { customer, order, returned, refund })
}

fn text<'v>(document: &'v Value, member: &str) -> &'v str {
    document[member].as_str().expect("text")
}

/// The path of a rule for these goods, and a body that is right where it says whose it is.
fn request(rule: &Rule, goods: &Goods) -> (String, Option<Value>) {
    let path = rule.route.strip_prefix("/api/v1").expect("below /api/v1");
    let id = match path.split('/').nth(1) {
        Some("orders") => text(&goods.order, "id"),
        Some("returns") => text(&goods.returned, "id"),
        Some("refunds") => text(&goods.refund, "id"),
        _ => "00000000-0000-4000-8000-000000000000",
    };
    let path = path
        .replace("{of}", text(&goods.order, "id"))
        .replace("{id}", id)
        .replace("{queue}", "refunds")
        .replace("{sheet}", "b2b.csv");
    let body = match (rule.method, rule.route) {
        ("GET", _) => None,
        (_, "/api/v1/orders" | "/api/v1/orders/quote") => Some(json!({ "customer_id": goods.customer,
            "items": [{ "sku": "B", "title": "Bowl", "quantity": 1, "unit_price_minor": 100 }] })),
        (_, "/api/v1/returns" | "/api/v1/returns/preview") => Some(json!({ "order_id": goods.order["id"],
            "items": [{ "order_item_id": goods.order["items"][0]["id"], "quantity": 1 }] })),
        _ => Some(json!({})),
    };
    (path, body)
}

fn is_forbidden(answer: &Answer) -> bool {
    answer.status == 403 && answer.json()["error"]["code"] == "FORBIDDEN"
}

/// The object is there for others only.
fn is_hidden(answer: &Answer) -> bool {
    let codes = ["ORDER_NOT_FOUND", "RETURN_NOT_FOUND", "REFUND_NOT_FOUND"];
    answer.status == 404 && codes.iter().any(|code| answer.json()["error"]["code"] == *code)
}

/// The customers of a list.
fn listed(answer: &Answer) -> BTreeSet<String> {
    let list = answer.json();
    let customers = list["data"].as_array().into_iter().flatten().map(|one| text(one, "customer_id").to_owned());
    customers.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_lets_in_the_roles_of_the_table_and_customers_to_their_own() -> Result<()> {
    let system = guarded(|options| options.parts = Part::ALL.to_vec()).await?;
    let mut clients = Vec::new();
    for role in Role::ALL {
        let name = if role == Role::Customer { ASHA } else { role.as_str() };
        clients.push((role, Client::of(&system, &key(&system, name, role).await?)));
    }
    let manager = clients.iter().find(|(role, _)| *role == Role::Manager).map(|(_, client)| client.clone());
    let manager = manager.context("a manager")?;
    let goods = [sell(&manager, RAVI).await?, sell(&manager, ASHA).await?];
    let mut played = 0;
    for rule in RULES {
        for (role, client) in &clients {
            for goods in &goods {
                // Keys are made and revoked in other tests.
                if rule.route.starts_with("/api/v1/ops/keys") && *role == Role::Admin && rule.method == "POST" {
                    continue;
                }
                let (path, body) = request(rule, goods);
                let answer = client.call(rule.method.parse::<Method>()?, &path, body.as_ref()).await?;
                let what = format!(
                    "{role}: {} {path} of {}: {} {}",
                    rule.method,
                    goods.customer,
                    answer.status,
                    answer.text()
                );
                assert!(answer.status != 401 && answer.status < 500, "{what}");
                let is_own = goods.customer == ASHA;
                match rule.reach(*role) {
                    Reach::No => assert!(is_forbidden(&answer), "{what}"),
                    Reach::All => assert!(!is_forbidden(&answer) && !is_hidden(&answer), "{what}"),
                    Reach::Own if rule.route == "/api/v1/credit-notes" => {
                        assert_eq!(listed(&answer), BTreeSet::new(), "{what}");
                    }
                    Reach::Own if rule.method == "GET" && !rule.route.contains('{') => {
                        assert_eq!(listed(&answer), BTreeSet::from([ASHA.to_owned()]), "{what}");
                    }
                    Reach::Own => {
                        assert!(!is_forbidden(&answer), "{what}");
                        assert_eq!(is_hidden(&answer), !is_own, "{what}");
                    }
                }
                played += 1;
            }
        }
    }
    assert!(played > 700, "{played}");
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_nothing_is_let_in() -> Result<()> {
    let system = guarded(|_| ()).await?;
    let made = key(&system, ASHA, Role::Customer).await?;
    let valid = Client::of(&system, &made).credentials;
    for rule in RULES {
        let path = rule.route.strip_prefix("/api/v1").context("below /api/v1")?.replace("{queue}", "refunds");
        let path = path.replace("{id}", "00000000-0000-4000-8000-000000000000");
        let answer = system.api.call(rule.method.parse()?, &path).json(&json!({})).send().await?;
        let answer = answer.expect(401);
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{path}");
        assert_eq!(answer.json()["error"]["code"], "UNAUTHORIZED");
    }
    let unknown = valid.replace("ak_live_", "ak_live_zzzzz").chars().take(valid.len()).collect::<String>();
    for header in [
        "Bearer",
        "Bearer ",
        &format!("Basic {valid}"),
        &format!("Bearer {}", &valid[1..]),
        &format!("Bearer {valid}x"),
        &format!("Bearer {unknown}"),
        "Bearer eyJhbGciOiJub25lIn0.e30.",
    ] {
        let answer = system.api.call(Method::GET, "/orders").header("authorization", header).send().await?;
        assert_eq!(answer.status, 401, "{header}: {}", answer.text());
    }
    system
        .api
        .call(Method::GET, "/orders")
        .header("authorization", &format!("bearer {valid}"))
        .send()
        .await?
        .expect(200);
    // Health, metrics and the description are open.
    let base = tests::Api::new(system.base_url())?;
    for path in ["/health", "/health/ready", "/metrics", "/docs/"] {
        base.get(path).await?.expect(200);
    }
    system.finish().await
}

/// What the description says of the API is what the table decides.
#[test]
fn the_table_has_every_route_of_the_description() -> Result<()> {
    let operations = description::operations(contracts::API_SPECIFICATION)?;
    let described: BTreeSet<(String, &str)> = operations
        .iter()
        .filter(|operation| operation.path.starts_with("/api/") && !OPEN.contains(&operation.path.as_str()))
        .map(|operation| (operation.method.clone(), operation.path.as_str()))
        .collect();
    let decided: BTreeSet<_> = RULES.iter().map(|rule| (rule.method.to_owned(), rule.route)).collect();
    assert_eq!(described, decided);
    for open in OPEN {
        assert!(operations.iter().any(|operation| operation.path == open), "{open}");
    }
    Ok(())
}

/// Someone of the shop may act for another; a customer acts for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caller_is_the_actor() -> Result<()> {
    let system = guarded(|_| ()).await?;
    let staff = Client::of(&system, &key(&system, "till-1", Role::Staff).await?);
    let asha = Client::of(&system, &key(&system, ASHA, Role::Customer).await?);
    let body = |actor: Option<&str>| {
        let mut body = json!({ "customer_id": ASHA, "items": [{ "sku": "A", "title": "Lamp", "quantity": 1, "unit_price_minor": 9_900 }] });
        if let Some(actor) = actor {
            body["actor"] = json!(actor);
        }
        body
    };
    let placed = staff.post("/orders", &body(Some("meera"))).await?.expect(201).json();
    let own = staff.post("/orders", &body(None)).await?.expect(201).json();
    let cancel = format!("/orders/{}/cancel", text(&own, "id"));
    asha.post(&cancel, &json!({ "actor": "meera" })).await?.refused(422, "VALIDATION_FAILED");
    asha.post(&cancel, &json!({})).await?.expect(200);
    let recorded = async |order: &Value| -> Result<(String, Value)> {
        let id: uuid::Uuid = text(order, "id").parse()?;
        Ok(sqlx::query_as(
            "select actor, metadata from command.state_transitions where entity_id = $1 order by version desc limit 1",
        )
        .bind(id)
        .fetch_one(&system.database.pool)
        .await?)
    };
    let (actor, metadata) = recorded(&placed).await?;
    assert_eq!((actor.as_str(), &metadata["on_behalf_of"]), ("till-1", &json!("meera")));
    let (actor, metadata) = recorded(&own).await?;
    assert_eq!((actor.as_str(), metadata.get("on_behalf_of")), (ASHA, None));
    system.finish().await
}

/// Where money goes is not for those who ship.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_managers_correct_the_payment_and_the_fees() -> Result<()> {
    let system = guarded(|options| options.parts = Part::ALL.to_vec()).await?;
    let staff = Client::of(&system, &key(&system, "till-1", Role::Staff).await?);
    let manager = Client::of(&system, &key(&system, "meera", Role::Manager).await?);
    let goods = sell(&manager, ASHA).await?;
    let (order, returned) =
        (format!("/orders/{}", text(&goods.order, "id")), format!("/returns/{}", text(&goods.returned, "id")));
    let payment = json!({ "payment_transaction_id": "UPI-9", "reason": "typed wrong" });
    let fees = json!({ "fees": [{ "kind": "RESTOCKING", "amount_minor": 100 }], "reason": "agreed" });
    for (path, body) in [(&order, &payment), (&returned, &fees)] {
        staff.call(Method::PATCH, path, Some(body)).await?.refused(403, "FORBIDDEN");
        let answer = manager.call(Method::PATCH, path, Some(body)).await?;
        assert_ne!(answer.status, 403, "{}", answer.text());
    }
    let parcel = json!({ "carrier": "Blue Dart", "reason": "typed wrong" });
    staff.call(Method::PATCH, &order, Some(&parcel)).await?.expect(200);
    system.finish().await
}

/// Two callers may use the same idempotency key, for different things.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_is_the_callers_own() -> Result<()> {
    let system: System = guarded(|_| ()).await?;
    let mut numbers = BTreeSet::new();
    for name in ["till-1", "till-2"] {
        let client = Client::of(&system, &key(&system, name, Role::Staff).await?);
        let call = || {
            let body = json!({ "customer_id": ASHA, "items": [{ "sku": "A", "title": "Lamp", "quantity": 1, "unit_price_minor": 9_900 }] });
            system
                .api
                .call(Method::POST, "/orders")
                .header("authorization", &format!("Bearer {}", client.credentials))
                .header("idempotency-key", "same")
                // The header changes nothing.
                .header("x-actor", "till-1")
                .json(&body)
        };
        let first = call().send().await?.expect(201).json();
        let again = call().send().await?.expect(201).json();
        assert_eq!(first["id"], again["id"]);
        numbers.insert(text(&first, "order_number").to_owned());
    }
    assert_eq!(numbers.len(), 2);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_a_route_lacks_is_another_thing_than_one_that_a_role_may_not_use() -> Result<()> {
    let system = guarded(|_| ()).await?;
    let client = Client::of(&system, &key(&system, "reports", Role::Reporting).await?);
    let answer = client.call(Method::DELETE, "/orders", None).await?.expect(405);
    assert_eq!((answer.header("allow"), &answer.json()["error"]["code"]), ("POST,GET", &json!("METHOD_NOT_ALLOWED")));
    assert!(is_forbidden(&client.post("/orders", &json!({})).await?));
    assert_eq!(client.get("/secrets").await?.expect(404).json()["error"]["code"], "ROUTE_NOT_FOUND");
    system.abandon().await
}
