//! Everything that changes something: one form, one act, one page with what came of it.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use contracts::{Email, Queue};
use maud::html;
use runtime::ApiError;
use runtime::http::RequestContext;
use serde::Deserialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::Console;
use super::cookies::{NAME, set_cookie};
use super::document::encoded;
use super::page::{Frame, page};
use super::refusal::{Answer, Refusal};
use super::visitor::Visitor;
use crate::OperationError;
use crate::read::actions;
use crate::write::replay::{self, Selection};
use crate::write::retry::{self, DeadJobs};
use crate::write::{Operator, Source, discard, investigate, pause, release, schedule, skip};

/// Events that one form names.
const MOST: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Replay,
    Skip,
    Release,
    Retry,
    Discard,
    Pause,
    Resume,
    Run,
    Investigate,
    Close,
}

impl Verb {
    /// The operation of the API that does the same.
    const fn route(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Skip => "events/{id}/skip",
            Self::Release => "events/{id}/release",
            Self::Retry => "jobs/retry",
            Self::Discard => "events/{id}/discard",
            Self::Pause => "queues/{queue}/pause",
            Self::Resume => "queues/{queue}/resume",
            Self::Run => "schedules/{name}/run",
            Self::Investigate => "investigations",
            Self::Close => "investigations/close",
        }
    }
}

/// The fields that every form has.
#[derive(Debug, Deserialize)]
pub(super) struct Justified {
    form_token: String,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Act {
    #[serde(rename = "act")]
    verb: Verb,
    /// With blanks between them.
    #[serde(default)]
    event_ids: String,
    #[serde(default)]
    queue: String,
    #[serde(default)]
    schedule: String,
    #[serde(default)]
    customer_email: String,
    #[serde(flatten)]
    justified: Justified,
}

/// What an act does, and to what.
#[derive(Debug)]
struct Wanted {
    verb: Verb,
    event_ids: Vec<Uuid>,
    queue: Option<Queue>,
    schedule: String,
    customer_email: Option<Email>,
}

/// What a form was filled in with.
pub(super) type Sent<T> = Result<Form<T>, FormRejection>;

/// # Errors
/// 422 for a form that lacks a field.
pub(super) fn filled_in<T>(form: Sent<T>) -> Answer<T> {
    let message = "the form lacks a field; load its page again";
    form.map(|Form(form)| form).map_err(|_| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_FORM", message))
}

/// Who acts and why, of a form that this visitor's page had.
pub(super) fn operator(visitor: &Visitor, context: RequestContext, form: &Justified) -> Answer<Operator> {
    let Justified { form_token, actor, reason } = form;
    visitor.must_send(form_token)?;
    Ok(Operator::new(visitor.actor(actor), Source::Console, reason, Some(context.request_id))?)
}

/// `POST /console/act`
pub(super) async fn act(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    context: RequestContext,
    headers: HeaderMap,
    form: Sent<Act>,
) -> Answer<Response> {
    let act = filled_in(form)?;
    let (wanted, request_id) = (act.wanted()?, context.request_id.clone());
    let operator = operator(&visitor, context, &act.justified)?;
    visitor.must("POST", wanted.verb.route())?;
    let refused = wanted.carry_out(&console, &operator).await?;
    let remember = remembering(&visitor, &act.justified, &headers);
    let next = match actions::first_of_request(&console.shared.pool, &request_id).await? {
        Some(id) => {
            let refused = refused.map(|error| format!("?refused={}", encoded(&error))).unwrap_or_default();
            Redirect::to(&format!("/console/acts/{id}{refused}")).into_response()
        }
        None => nothing_changed(&console, &visitor),
    };
    Ok((remember, next).into_response())
}

/// The cookie that spares a person without a key from giving the name once more.
pub(super) fn remembering(
    visitor: &Visitor,
    form: &Justified,
    headers: &HeaderMap,
) -> Option<AppendHeaders<[(HeaderName, String); 1]>> {
    (!visitor.is_known()).then(|| AppendHeaders([(header::SET_COOKIE, set_cookie(NAME, form.actor.trim(), headers))]))
}

fn nothing_changed(console: &Console, visitor: &Visitor) -> Response {
    let content = html! {
        p role="status" .fine { "Nothing was changed: none of it was in a state that this act changes any more." }
        p { a href="/console/stuck" { "What is stuck now" } }
    };
    page(&Frame::of(console, "Nothing was changed").for_visitor(visitor), &content).into_response()
}

impl Act {
    fn wanted(&self) -> Answer<Wanted> {
        let invalid = |field: &'static str, message: String| ApiError::invalid_field(field, message);
        let event_ids = self.event_ids.split_whitespace().map(Uuid::try_parse).collect::<Result<Vec<_>, _>>();
        let event_ids =
            event_ids.map_err(|_| invalid("event_ids", "must be UUIDs with blanks between them".to_owned()))?;
        if event_ids.len() > MOST {
            return Err(invalid("event_ids", format!("must be at most {MOST}")).into());
        }
        let queue = (!self.queue.is_empty()).then(|| self.queue.parse::<Queue>()).transpose();
        let queue = queue.map_err(OperationError::from)?;
        let customer_email =
            Some(self.customer_email.trim()).filter(|text| !text.is_empty()).map(Email::parse).transpose();
        let customer_email = customer_email.map_err(|error| invalid("customer_email", error.to_string()))?;
        let needs_queue = matches!(self.verb, Verb::Pause | Verb::Resume);
        if needs_queue && queue.is_none() {
            return Err(invalid("queue", "is required".to_owned()).into());
        }
        if !needs_queue && self.verb != Verb::Run && event_ids.is_empty() {
            return Err(invalid("event_ids", "must name at least one event".to_owned()).into());
        }
        Ok(Wanted { verb: self.verb, event_ids, queue, schedule: self.schedule.clone(), customer_email })
    }
}

impl Wanted {
    /// Does it. `Some`: some of it was refused, for this reason; the rest is done.
    ///
    /// # Errors
    /// When nothing of it was done.
    async fn carry_out(self, console: &Console, operator: &Operator) -> Result<Option<String>, OperationError> {
        let Self { verb, event_ids, queue, schedule, customer_email } = self;
        let pool = &console.shared.pool;
        match (verb, queue) {
            (Verb::Replay, _) => {
                let selection = Selection { ids: event_ids, ..Selection::default() };
                replay::replay(pool, &selection, None, operator).await?;
            }
            (Verb::Retry, queue) => {
                let selection = DeadJobs { event_ids, queue, all: false, customer_email };
                retry::retry(pool, &selection, operator).await?;
            }
            (Verb::Investigate, _) => drop(investigate::begin(pool, &event_ids, operator).await?),
            (Verb::Close, _) => drop(investigate::close(pool, &event_ids, operator).await?),
            (Verb::Pause, Some(queue)) => drop(pause::pause(pool, queue, operator.clone()).await?),
            (Verb::Resume, Some(queue)) => drop(pause::resume(pool, queue, operator.clone()).await?),
            (Verb::Pause | Verb::Resume, None) => {}
            (Verb::Run, _) => {
                drop(schedule::run_now(pool, schedule, &console.shared.surroundings.clock, operator.clone()).await?);
            }
            (Verb::Skip | Verb::Release | Verb::Discard, queue) => {
                return one_by_one(pool, verb, &event_ids, queue, operator).await;
            }
        }
        Ok(None)
    }
}

/// Acts on one event after the other. What one refuses, another may not: it may be done by now, or under way.
async fn one_by_one(
    pool: &PgPool,
    verb: Verb,
    event_ids: &[Uuid],
    queue: Option<Queue>,
    operator: &Operator,
) -> Result<Option<String>, OperationError> {
    let (mut done, mut first) = (0_usize, None);
    for id in event_ids {
        let acted = match verb {
            Verb::Skip => skip::skip(pool, *id, operator.clone()).await,
            Verb::Release => release::release(pool, *id, queue, operator.clone()).await,
            _ => discard::discard(pool, *id, queue, operator.clone()).await,
        };
        match acted {
            Ok(_) => done += 1,
            Err(error @ OperationError::Database(_)) => return Err(error),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    match first {
        Some(error) if done == 0 => Err(error),
        Some(error) => Ok(Some(format!("{} of {}: {error}", event_ids.len() - done, event_ids.len()))),
        None => Ok(None),
    }
}
