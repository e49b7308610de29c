//! The dashboards of deploy/grafana, against what the processes show at `/metrics`.

mod prometheus;
mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::post;
use contracts::{OrderState, ReturnState};
use embedded::child::{Child, Signal, bound_to_parent};
use embedded::free_port;
use prometheus::Prometheus;
use promql::{Selector, parts};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::waiting::{SOON, eventually_equal};
use tests::{Api, Database, eventually, programs, shop};

const DASHBOARDS: [&str; 3] = ["services.json", "queues.json", "promises.json"];
/// What Grafana puts in place of its macros.
const MACROS: [(&str, &str); 2] = [("$__rate_interval", "5m"), ("$__range", "1h")];
/// Labels that Prometheus itself adds.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];
/// Prometheus' own metric.
const ALERTS: &str = "ALERTS";
/// Counters of trouble that this test does not make on purpose. While there is none, their names and labels are looked for in the
/// sources.
const OF_TROUBLE: [&str; 6] = [
    "batches_halved_total",
    "broker_losses_total",
    "commands_not_executed_total",
    "inbox_swept_total",
    "outbox_parked_total",
    "projection_events_dead_lettered_total",
];

/// Label → its values.
type Labels = BTreeMap<String, BTreeSet<String>>;

#[derive(Debug)]
struct Dashboard {
    file: &'static str,
    json: Value,
}

/// One expression, and the labels that its legend shows.
#[derive(Debug)]
struct Query {
    place: String,
    expression: String,
    legend: Vec<String>,
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

impl Dashboard {
    fn all() -> Vec<Self> {
        let read = |file: &'static str| {
            let path = programs::root().join("deploy/grafana").join(file);
            let json = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Self { file, json: serde_json::from_str(&json).unwrap_or_else(|error| panic!("{file}: {error}")) }
        };
        DASHBOARDS.map(read).into()
    }

    fn panels(&self) -> impl Iterator<Item = &Value> {
        list(&self.json, "/panels").iter().filter(|panel| text(panel, "/type") != "row")
    }

    fn variables(&self) -> &[Value] {
        list(&self.json, "/templating/list")
    }

    /// With macros and variables replaced as Grafana does it.
    fn plain(&self, expression: &str) -> String {
        let variables =
            self.variables().iter().map(|variable| (format!("${}", text(variable, "/name")), ".*".to_owned()));
        let macros = MACROS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        macros
            .into_iter()
            .chain(variables)
            .fold(expression.to_owned(), |plain, (name, value)| plain.replace(&name, &value))
    }

    fn queries(&self) -> Vec<Query> {
        let of_panels = self.panels().flat_map(|panel| {
            list(panel, "/targets")
                .iter()
                .map(move |target| (text(panel, "/title"), text(target, "/expr"), text(target, "/legendFormat")))
        });
        let notes = list(&self.json, "/annotations/list").iter().map(|note| ("annotation", text(note, "/expr"), ""));
        let query = |(title, expression, legend): (&str, &str, &str)| Query {
            place: format!("{}: {title}", self.file),
            expression: self.plain(expression),
            legend: legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.to_owned())).collect(),
        };
        of_panels.chain(notes).map(query).collect()
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    let mut dashboards = BTreeSet::new();
    for dashboard in Dashboard::all() {
        let Dashboard { file, json } = &dashboard;
        assert!(json["id"].is_null() && json["schemaVersion"].as_u64() >= Some(42), "{file} is of no installation");
        assert!(dashboards.insert(text(json, "/uid").to_owned()), "{file}: another dashboard has its uid");
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in list(json, "/panels") {
            let title = text(panel, "/title");
            assert!(
                !title.is_empty() && ids.insert(panel["id"].as_u64()),
                "{file}: {title:?} has no number of its own"
            );
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{file}: {title}: {name}"));
            assert!(at("x") + at("w") <= 24, "{file}: {title} is beyond the edge");
            for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
                assert!(cells.insert((at("x") + x, at("y") + y)), "{file}: {title} lies on another panel");
            }
        }
        for panel in dashboard.panels() {
            let title = text(panel, "/title");
            let unit = match text(panel, "/type") {
                "heatmap" => "/options/yAxis/unit",
                _ => "/fieldConfig/defaults/unit",
            };
            assert!(text(panel, "/description").ends_with('.') && !text(panel, unit).is_empty(), "{file}: {title}");
            let targets = list(panel, "/targets");
            assert!(!targets.is_empty(), "{file}: {title} asks nothing");
            for source in targets.iter().chain([panel]) {
                assert_eq!(text(source, "/datasource/uid"), "${datasource}", "{file}: {title}");
            }
            for target in targets.iter().filter(|target| text(target, "/expr").contains("_bucket")) {
                assert_eq!(target["exemplar"], true, "{file}: {title} shows no exemplars");
            }
        }
    }
}

#[test]
fn each_alert_has_a_panel_that_leads_to_its_runbook() {
    let alerts: Value = yaml_serde::from_str(&file("deploy/prometheus/alerts.yml")).expect("YAML");
    let alerts: BTreeSet<_> =
        list(&alerts, "/groups/0/rules").iter().map(|rule| text(rule, "/alert").to_owned()).collect();
    let mut linked = BTreeSet::new();
    for dashboard in Dashboard::all() {
        for link in dashboard.panels().flat_map(|panel| list(panel, "/links")) {
            let name = text(link, "/url").strip_prefix("${runbooks}/").and_then(|rest| rest.strip_suffix(".md"));
            linked.insert(name.unwrap_or_else(|| panic!("{}: {link}", dashboard.file)).to_owned());
        }
    }
    assert_eq!(linked, alerts);
}

fn file(name: &str) -> String {
    std::fs::read_to_string(programs::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn prometheus_understands_every_query() -> Result<()> {
    let queries: Vec<_> = Dashboard::all().iter().flat_map(Dashboard::queries).collect();
    assert!(queries.len() > 80, "{} queries", queries.len());
    for query in &queries {
        assert!(
            !query.expression.contains('$'),
            "{}: a variable that the dashboard lacks: {}",
            query.place,
            query.expression
        );
    }
    let rules: Vec<_> = (0..)
        .zip(&queries)
        .map(|(n, query)| json!({ "record": format!("dashboard:query:{n}"), "expr": query.expression, "labels": { "of": query.place } }))
        .collect();
    let mut rule_file = tempfile::Builder::new().suffix(".yml").tempfile()?;
    serde_json::to_writer(&mut rule_file, &json!({ "groups": [{ "name": "dashboards", "rules": rules }] }))?;
    let checked = Command::new("promtool").args(["check", "rules"]).arg(rule_file.path()).output();
    let checked = checked.context("promtool: scripts/setup.sh test installs it")?;
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{}{said}", String::from_utf8_lossy(&checked.stdout));
    Ok(())
}

/// What a process shows.
fn shown(metrics: &str) -> BTreeMap<String, Labels> {
    let mut shown: BTreeMap<String, Labels> = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line} has no value"));
        let (selectors, _) = parts(series);
        for Selector { metric, matchers } in selectors {
            let labels = shown.entry(metric).or_default();
            for (label, _, value) in matchers {
                labels.entry(label).or_default().insert(value);
            }
        }
    }
    shown
}

/// The labels with which the sources count a metric.
fn counted_in_sources(metric: &str) -> Labels {
    let folders = ["crates", "command", "outbox-relay", "workers", "query"].map(|folder| programs::root().join(folder));
    let found = Command::new("grep")
        .args(["-rhF", "-A3", "--include=*.rs", &format!("counter!(\"{metric}\"")])
        .args(folders)
        .output();
    let found = String::from_utf8(found.expect("grep").stdout).expect("text");
    let call = found.split_once(';').unwrap_or_else(|| panic!("no process counts {metric}")).0;
    let labels = call.split('"').skip(3).step_by(2).map(str::to_owned);
    labels.map(|label| (label, BTreeSet::new())).collect()
}

/// The labels of `ALERTS`: those of all alerts, and those by which their expressions group.
fn labels_of_alerts() -> Labels {
    let alerts: Value = yaml_serde::from_str(&file("deploy/prometheus/alerts.yml")).expect("YAML");
    let rules = list(&alerts, "/groups/0/rules");
    let mut labels: Labels =
        rules.iter().flat_map(|rule| parts(text(rule, "/expr")).1).map(|label| (label, BTreeSet::new())).collect();
    labels.insert("alertname".to_owned(), rules.iter().map(|rule| text(rule, "/alert").to_owned()).collect());
    labels.insert("severity".to_owned(), rules.iter().map(|rule| text(rule, "/labels/severity").to_owned()).collect());
    labels.insert("alertstate".to_owned(), ["pending", "firing"].map(str::to_owned).into());
    labels
}

/// What is wrong with a query.
fn complaints(query: &Query, shown: &BTreeMap<String, Labels>) -> Vec<String> {
    let (selectors, by) = parts(&query.expression);
    let mut wrong = Vec::new();
    for Selector { metric, matchers } in &selectors {
        let Some(labels) = shown.get(metric) else {
            wrong.push(format!("{}: no process has {metric}", query.place));
            continue;
        };
        for label in by.iter().chain(matchers.iter().map(|(label, ..)| label)) {
            if !labels.contains_key(label) && !OF_PROMETHEUS.contains(&label.as_str()) {
                wrong.push(format!("{}: {metric} has no label {label}", query.place));
            }
        }
        for (label, _, pattern) in
            matchers.iter().filter(|(.., value)| value.chars().all(|c| c.is_ascii_lowercase() || "_|".contains(c)))
        {
            let values = labels.get(label).cloned().unwrap_or_default();
            for value in pattern.split('|').filter(|value| !values.is_empty() && !values.contains(*value)) {
                wrong.push(format!("{}: {metric} has no {label}={value:?} but {values:?}", query.place));
            }
        }
    }
    wrong.extend(
        query
            .legend
            .iter()
            .filter(|label| !by.contains(*label))
            .map(|label| format!("{}: the legend has {label}", query.place)),
    );
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_finds_its_metrics_and_labels_in_a_running_system() -> Result<()> {
    let (process, address, _folder, database) = start().await?;
    let base = Api::new(&address)?;
    play(&base, &Api::new(&format!("{address}/api/v1"))?).await?;
    let due =
        "update messaging.schedules set next_due_at = date_trunc('hour', now()) where name = 'partition_maintenance'";
    eventually_equal("a schedule is due", SOON, 1, async || {
        Ok(sqlx::query(due).execute(&database.pool).await?.rows_affected())
    })
    .await?;
    let mut queries = Vec::new();
    for dashboard in Dashboard::all() {
        queries.extend(dashboard.queries());
        for variable in dashboard.variables().iter().filter(|variable| text(variable, "/type") == "query") {
            let inner =
                text(variable, "/query/query").strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) =
                inner.and_then(|inner| inner.split_once(", ")).context("label_values(metric, label)")?;
            let place = format!("{}: variable {}", dashboard.file, text(variable, "/name"));
            queries.push(Query { place, expression: format!("count by ({label}) ({metric})"), legend: Vec::new() });
        }
    }
    eventually_equal("every query finds what it asks for", SOON, Vec::<String>::new(), async || {
        let mut shown = shown(&base.get("/metrics").await?.expect(200).text());
        for name in OF_TROUBLE {
            shown.entry(name.to_owned()).or_insert_with(|| counted_in_sources(name));
        }
        shown.insert(ALERTS.to_owned(), labels_of_alerts());
        Ok(queries.iter().flat_map(|query| complaints(query, &shown)).collect())
    })
    .await?;
    let prometheus = Prometheus::start(&address)?;
    prometheus.scrapes_with_exemplars().await?;
    for query in &queries {
        prometheus.ask(&query.expression).await.with_context(|| query.place.clone())?;
    }
    drop(prometheus);
    process.signal(Signal::SIGTERM);
    eventually("it has stopped", SOON, async || Ok(process.exited().map(drop))).await
}

/// All processes in one, with a gateway that declines refunds.
async fn start() -> Result<(Child, String, TempDir, Database)> {
    let (database, folder, port) = (Database::new().await?, tempfile::tempdir()?, free_port()?);
    let programs = tokio::task::spawn_blocking(programs::folder).await?;
    let mut command = bound_to_parent(Signal::SIGKILL, programs.join("standalone"));
    command.env_clear().envs(programs::environment()).env("DATABASE_URL", &database.url);
    command
        .env("PORT", port.to_string())
        .env("GATEWAY_PORT", free_port()?.to_string())
        .env("GATEWAY_FAULTS", "declined");
    command.env("DATA_DIR", folder.path().join("data")).env("INVOICE_STORE_URL", folder.path().join("invoices"));
    let log = folder.path().join("log");
    let written = std::fs::File::create(&log)?;
    // Only what is traced has exemplars.
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector().await?);
    command.env("WEBHOOK_ALLOW_PRIVATE", "true").stdout(written.try_clone()?).stderr(written);
    let process = Child::spawn("standalone", command)?;
    let address = format!("http://127.0.0.1:{port}");
    let base = Api::new(&address)?;
    eventually("it is ready", SOON, async || {
        Ok(base.get("/health/ready").await.is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .await
    .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
    Ok((process, address, folder, database))
}

/// A collector that takes every trace.
async fn collector() -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(|| async {}))).await });
    Ok(address)
}

/// One order with everything that comes of it, and a webhook.
async fn play(base: &Api, api: &Api) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", post(|| async {}))).await });
    let endpoint = json!({ "url": url, "reason": "to see its metrics" });
    base.call(reqwest::Method::POST, "/api/v1/ops/webhooks")
        .header("X-Actor", "anita")
        .json(&endpoint)
        .send()
        .await?
        .expect(201);
    let order = shop::order_in(api, OrderState::Delivered).await?;
    shop::bring_return(api, shop::request_return(api, &order, 0, 1).await?, ReturnState::Completed).await?;
    Ok(())
}
