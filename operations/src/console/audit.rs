//! Checks everything that must hold, when a person asks for it.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;

use super::Console;
use super::page::{Frame, Part, exactly, page, state, table, told};
use super::refusal::Answer;
use super::visitor::Visitor;
use crate::audit::{Checked, Report, Rule, Status, Verdict};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    form_token: String,
    #[serde(default)]
    drained: String,
}

/// `GET /console/audit`
pub(super) async fn show(State(console): State<Arc<Console>>, visitor: Visitor) -> Answer<Html<String>> {
    visitor.must_read("audit")?;
    let content = html! {
        (form(&visitor))
        h2 { "What is checked" }
        ol { @for rule in Rule::ALL { li { (rule.title()) } } }
    };
    Ok(whole(&console, &visitor, &content))
}

/// `POST /console/audit`: it changes nothing, but reads the whole database, so no link leads to it.
pub(super) async fn run(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    form: Result<Form<Asked>, FormRejection>,
) -> Answer<Html<String>> {
    visitor.must_read("audit")?;
    let asked = form.map(|Form(asked)| asked).unwrap_or_default();
    visitor.must_send(&asked.form_token)?;
    let report = console.shared.audit(!asked.drained.is_empty()).await?;
    let content = html! { (outcome(&report)) (self::form(&visitor)) };
    Ok(whole(&console, &visitor, &content))
}

fn whole(console: &Console, visitor: &Visitor, content: &Markup) -> Html<String> {
    page(&Frame::of(console, "Audit").in_part(Part::Audit).for_visitor(visitor), content)
}

fn form(visitor: &Visitor) -> Markup {
    html! {
        form method="post" action="/console/audit" .filter {
            input type="hidden" name="form_token" value=(visitor.form_token());
            label { span { input type="checkbox" name="drained" value="yes"; " A backlog is a violation, too" } }
            button { "Check now" }
        }
        p .quiet { "It reads one snapshot of the whole database while everything runs: about half a minute for a million events. Where that is
                    longer than a request may take, use " code { "ops audit" } "." }
    }
}

fn outcome(report: &Report) -> Markup {
    let (class, verdict) = match report.verdict {
        Verdict::Holds => ("fine", "Everything holds."),
        Verdict::Violated => ("alert", "Something does not hold."),
        Verdict::Incomplete => ("alert", "Nothing is violated, but not everything could be checked."),
    };
    html! {
        p role="status" class=(class) { strong { (verdict) } " Snapshot of " (exactly(report.at)) "." }
        (table("Rules", &["Rule", "What must hold", "", "Violations", "Examples, and what was not checked"],
               &report.rules.iter().map(rule).collect::<Vec<_>>()))
    }
}

fn rule(checked: &Checked) -> Markup {
    let status = match checked.status {
        Status::Holds => "holds",
        Status::Violated => "violated",
        Status::NotChecked => "not checked",
    };
    html! {
        td .number { (checked.rule) }
        th scope="row" { (checked.title) }
        td { (state(status)) }
        td .number { (checked.violations) }
        td .error { @for example in &checked.examples { (told(Some(example))) br; } @for reason in &checked.not_checked { span .quiet { (reason) } br; } }
    }
}
