//! Plays `docs/order.arazzo.yml` on both transports, as a client that knows nothing but that file and the API's description.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use messaging::TransportConfig;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use standalone::Part;
use tests::description::Operation;
use tests::programs::root;
use tests::services::Broker;
use tests::{Answer, Api, System, description};
use tokio::net::TcpListener;

#[derive(Debug, Deserialize)]
struct Document {
    workflows: Vec<Workflow>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Workflow {
    steps: Vec<Step>,
    outputs: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    #[serde(rename = "stepId")]
    name: String,
    operation_id: String,
    #[serde(default)]
    parameters: Vec<Parameter>,
    request_body: Option<RequestBody>,
    success_criteria: Vec<Criterion>,
    #[serde(default)]
    on_failure: Vec<Retry>,
    #[serde(default)]
    outputs: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Parameter {
    name: String,
    #[serde(rename = "in")]
    place: String,
    value: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestBody {
    content_type: String,
    payload: Value,
}

#[derive(Debug, Deserialize)]
struct Criterion {
    condition: String,
}

#[derive(Debug, Deserialize)]
struct Retry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "retryAfter")]
    seconds: f64,
    #[serde(rename = "retryLimit")]
    most: u32,
}

/// What the expressions of a workflow refer to.
#[derive(Debug, Default)]
struct Known {
    inputs: BTreeMap<String, Value>,
    outputs: BTreeMap<(String, String), Value>,
}

impl Known {
    /// The value of a runtime expression; any other text is itself.
    fn value(&self, text: &str, answer: Option<&Answer>) -> Result<Value> {
        if let Some(input) = text.strip_prefix("$inputs.") {
            return self.inputs.get(input).cloned().with_context(|| format!("{text} is not there"));
        }
        if let Some(rest) = text.strip_prefix("$steps.") {
            let (step, output) = rest.split_once(".outputs.").with_context(|| format!("{text} names no output"))?;
            let known = self.outputs.get(&(step.to_owned(), output.to_owned()));
            return known.cloned().with_context(|| format!("{text} is not there"));
        }
        match answer {
            Some(answer) if text == "$statusCode" => Ok(answer.status.into()),
            Some(answer) if text.starts_with("$response.header.") => {
                Ok(answer.header(text.trim_start_matches("$response.header.")).into())
            }
            Some(answer) if text.starts_with("$response.body") => {
                let pointer = text.trim_start_matches("$response.body").trim_start_matches('#');
                Ok(answer.json().pointer(pointer).cloned().unwrap_or_default())
            }
            _ if text.starts_with('$') => bail!("the expression {text} is not known here"),
            _ => Ok(text.into()),
        }
    }

    /// A payload with its expressions replaced.
    fn filled(&self, payload: &Value) -> Result<Value> {
        Ok(match payload {
            Value::String(text) => self.value(text, None)?,
            Value::Array(elements) => elements.iter().map(|one| self.filled(one)).collect::<Result<_>>()?,
            Value::Object(members) => {
                let filled = members.iter().map(|(name, value)| Ok((name.clone(), self.filled(value)?)));
                Value::Object(filled.collect::<Result<_>>()?)
            }
            other => other.clone(),
        })
    }

    /// `<expression> == <expression or literal>`.
    fn holds(&self, condition: &str, answer: &Answer) -> Result<bool> {
        let (left, right) = condition.split_once(" == ").with_context(|| format!("{condition} has no =="))?;
        let right = match right.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
            Some(text) => text.into(),
            None if right.starts_with('$') => self.value(right, Some(answer))?,
            None => serde_json::from_str(right)?,
        };
        Ok(self.value(left, Some(answer))? == right)
    }
}

/// Method and path of each operation.
fn operations() -> Result<BTreeMap<String, (Method, String)>> {
    let mut operations = BTreeMap::new();
    for Operation { method, path, id } in description::operations(contracts::API_SPECIFICATION)? {
        let known = operations.insert(id.clone(), (method.parse()?, path));
        ensure!(known.is_none(), "{id} is there twice");
    }
    Ok(operations)
}

async fn send(api: &Api, context: &Known, step: &Step, (method, path): &(Method, String)) -> Result<Answer> {
    let (mut path, mut query, mut headers) = (path.clone(), Vec::new(), Vec::new());
    for Parameter { name, place, value } in &step.parameters {
        let value = context.value(value.as_str().context("a text")?, None)?;
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match place.as_str() {
            "path" => path = path.replace(&format!("{{{name}}}"), &value),
            "query" => query.push(format!("{name}={value}")),
            "header" => headers.push((name.clone(), value)),
            other => bail!("a parameter in {other}"),
        }
    }
    let path = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
    let call = headers.iter().fold(api.call(method.clone(), &path), |call, (name, value)| call.header(name, value));
    match &step.request_body {
        None => call.send().await,
        Some(RequestBody { content_type, payload }) => {
            call.body(Some(content_type), context.filled(payload)?.to_string().into_bytes()).send().await
        }
    }
}

async fn play(api: &Api, workflow: &Workflow, context: &mut Known) -> Result<()> {
    let operations = operations()?;
    for step in &workflow.steps {
        let operation = operations.get(&step.operation_id);
        let operation = operation.with_context(|| format!("there is no operation {}", step.operation_id))?;
        let mut attempts = 0;
        let answer = loop {
            let answer = send(api, context, step, operation).await?;
            let mut failed = None;
            for Criterion { condition } in &step.success_criteria {
                if !context.holds(condition, &answer)? {
                    failed = Some(condition);
                    break;
                }
            }
            let Some(condition) = failed else { break answer };
            attempts += 1;
            let retry = step.on_failure.iter().find(|retry| retry.kind == "retry" && attempts <= retry.most);
            let retry =
                retry.with_context(|| format!("{}: {condition} does not hold: {}", step.name, answer.text()))?;
            tokio::time::sleep(Duration::from_secs_f64(retry.seconds)).await;
        };
        for (name, expression) in &step.outputs {
            let value = context.value(expression, Some(&answer))?;
            context.outputs.insert((step.name.clone(), name.clone()), value);
        }
    }
    for expression in workflow.outputs.values() {
        ensure!(!context.value(expression, None)?.is_null(), "{expression} is null");
    }
    Ok(())
}

async fn played_on(transport: TransportConfig) -> Result<()> {
    let text = std::fs::read_to_string(root().join("docs/order.arazzo.yml"))?;
    let document: Document = yaml_serde::from_str(&text)?;
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.transport = transport;
        options.workers.webhooks.webhook_allow_private = true;
    })
    .await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let router = Router::new().route("/", post(|| async { StatusCode::NO_CONTENT }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let api = Api::new(system.base_url())?;
    for workflow in &document.workflows {
        let inputs = [("idempotency_key".to_owned(), "cart-17".into()), ("webhook_url".to_owned(), url.clone().into())];
        let mut context = Known { inputs: BTreeMap::from(inputs), ..Known::default() };
        play(&api, workflow, &mut context).await?;
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_workflow_ends_with_a_refund_and_a_webhook_on_the_postgres_queue() -> Result<()> {
    played_on(TransportConfig::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_workflow_ends_with_a_refund_and_a_webhook_on_rabbitmq() -> Result<()> {
    let broker = Broker::new().await?;
    played_on(broker.transport()).await
}
