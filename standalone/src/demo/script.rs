//! The script of the demo: `examples/orders.json`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use command::Gstin;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Options;

/// A file of orders and what happens to each of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    #[serde(rename = "about")]
    _about: String,
    shop: Option<Shop>,
    pub(super) orders: Vec<OrderScript>,
}

/// The seller, unless the environment names another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shop {
    gstin: String,
    name: String,
    address: String,
}

/// One order and its steps.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderScript {
    /// The body of `POST /orders`.
    pub(super) order: Value,
    pub(super) steps: Vec<Step>,
}

/// One command. `step` is the last part of its path, or `return` for a return, which has steps of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    #[serde(rename = "step")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) body: Map<String, Value>,
    /// The expected status.
    #[serde(default = "ok")]
    pub(super) expect: u16,
    /// A repeated command: it succeeds and changes nothing.
    #[serde(default)]
    pub(super) unchanged: bool,
    #[serde(default)]
    pub(super) steps: Vec<Step>,
}

fn ok() -> u16 {
    200
}

impl Script {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let script: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is not a script of orders", path.display()))?;
        ensure!(!script.orders.is_empty(), "{} has no orders", path.display());
        Ok(script)
    }

    /// Uses the seller of the script, unless the environment names another.
    pub fn open_shop(&self, options: &mut Options) -> Result<()> {
        let (Some(shop), None) = (&self.shop, &options.command.supplier_gstin) else { return Ok(()) };
        let gstin = Gstin::parse(&shop.gstin).with_context(|| format!("the shop's GSTIN {:?}", shop.gstin))?;
        options.command.supplier_gstin = Some(gstin);
        options.workers.supplier_name.clone_from(&shop.name);
        options.workers.supplier_address.clone_from(&shop.address);
        Ok(())
    }
}

impl Step {
    pub(super) fn is_return(&self) -> bool {
        self.name == "return"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_every_kind_of_step() {
        let script = Script::read(Path::new("../examples/orders.json")).unwrap();
        let steps: Vec<&Step> = script.orders.iter().flat_map(|order| &order.steps).collect();
        let nested: Vec<&Step> = steps.iter().flat_map(|step| &step.steps).collect();
        assert_eq!(script.orders.len(), 12);
        assert!(steps.iter().any(|step| step.expect == 409), "a refused transition");
        assert!(steps.iter().any(|step| step.unchanged), "a repeat");
        assert!(steps.iter().any(|step| step.name == "cancel" && step.expect == 200), "a cancellation");
        assert!(nested.iter().any(|step| step.name == "complete"), "a return to its refund");
        assert!(nested.iter().any(|step| step.name == "reject"), "a rejected return");
        assert!(steps.iter().all(|step| step.is_return() != step.steps.is_empty()), "only returns have steps");
    }
}
