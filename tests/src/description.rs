//! The description of the API, as its readers find it.

use anyhow::{Context, Result};
use serde_json::Value;

/// An operation.
#[derive(Debug)]
pub struct Operation {
    /// In capitals.
    pub method: String,
    pub path: String,
    pub id: String,
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The ids of the operations that take a JSON body.
pub fn with_body(yaml: &str) -> Result<Vec<String>> {
    let description: Value = yaml_serde::from_str(yaml)?;
    let items = description["paths"].as_object().context("paths")?.values();
    let operations = items.flat_map(|item| METHODS.iter().filter_map(|method| item.get(*method)));
    let with_body = operations.filter(|operation| operation["requestBody"].is_object());
    with_body.map(|operation| Ok(operation["operationId"].as_str().context("operationId")?.to_owned())).collect()
}

/// The operations of a description. Each must have an id.
pub fn operations(yaml: &str) -> Result<Vec<Operation>> {
    let description: Value = yaml_serde::from_str(yaml)?;
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().context("paths")? {
        for (method, operation) in METHODS.iter().filter_map(|method| Some((method, item.get(*method)?))) {
            let id =
                operation["operationId"].as_str().with_context(|| format!("{method} {path} has no operationId"))?;
            operations.push(Operation { method: method.to_uppercase(), path: path.clone(), id: id.to_owned() });
        }
    }
    Ok(operations)
}
