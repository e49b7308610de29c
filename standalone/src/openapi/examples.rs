//! Whole bodies as examples. `examples.json` has what is sent; `answers.json` has what came back when the system test `examples` played
//! them, with ids and times that stay the same. The test fails when an example is refused or gets another answer.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterBuilder};
use utoipa::openapi::{OpenApi, RefOr};

const EXAMPLES: &str = include_str!("examples.json");
const ANSWERS: &str = include_str!("answers.json");

/// A call of an operation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The parameters of the path.
    #[serde(default)]
    pub path: BTreeMap<String, String>,
    #[serde(default)]
    pub request: Option<Value>,
}

/// The examples by the id of their operation.
pub fn all() -> BTreeMap<String, Example> {
    serde_json::from_str(EXAMPLES).expect("the examples")
}

/// What came back, by the id of the operation: the status and the body.
pub fn answers() -> BTreeMap<String, (String, Value)> {
    serde_json::from_str(ANSWERS).expect("the answers")
}

pub(super) fn describe(whole: &mut OpenApi) {
    let (examples, answers) = (all(), answers());
    let items = whole.paths.paths.values_mut();
    let operations = items.flat_map(|item| [&mut item.get, &mut item.post, &mut item.patch]).flatten();
    for operation in operations {
        let id = operation.operation_id.clone().unwrap_or_default();
        if let Some(example) = examples.get(&id) {
            of_request(operation, example);
        }
        let Some((status, body)) = answers.get(&id) else { continue };
        if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut(status)
            && let Some(RefOr::T(content)) = answer.content.get_mut("application/json")
        {
            content.example = Some(body.clone());
        }
    }
}

fn of_request(operation: &mut Operation, example: &Example) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        if let Some(value) = example.path.get(&parameter.name) {
            let shown = ParameterBuilder::from(std::mem::take(parameter)).example(Some(value.as_str().into()));
            *parameter = shown.build();
        }
    }
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content {
            content.example.clone_from(&example.request);
        }
    }
}
