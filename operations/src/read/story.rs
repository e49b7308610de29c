//! The story of an order: each step of it and of its returns, refunds and documents, and what came of each step.
//!
//! It is made of rows, not of traces or logs, so it is there as long as the rows are: the steps for good, the events with their jobs as long
//! as the log keeps them. Nothing in it says who the customer is: no free text is shown, nor what a mail server answered.

mod look_up;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::Queue;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::actions::{self, OperatorAction};
use super::jobs::Job;
use super::show::Event;
use crate::OperationError;

/// From the time of a step to that of its event's id, which is drawn later. Clocks may differ a little.
const SOON_AFTER: (TimeDelta, TimeDelta) = (TimeDelta::milliseconds(100), TimeDelta::milliseconds(400));
/// The same of a command that waited for another one on its order.
const LATE: (TimeDelta, TimeDelta) = (TimeDelta::seconds(2), TimeDelta::seconds(30));
/// The longest number or id of anything.
const LONGEST: usize = 64;

/// The story of an order.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Story {
    /// The database's clock.
    pub at: DateTime<Utc>,
    pub order_id: Uuid,
    pub order_number: String,
    pub state: String,
    pub version: i32,
    pub currency: String,
    pub total_minor: i64,
    /// Oldest first; of more than 500 the latest.
    pub steps: Vec<Step>,
    /// Oldest first.
    pub returns: Vec<StoryReturn>,
    pub refunds: Vec<StoryRefund>,
    pub documents: Vec<StoryDocument>,
    /// Operator actions on any of these events, oldest first.
    pub actions: Vec<StoryAction>,
}

/// A step of the order, or of something that belongs to it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Step {
    pub at: DateTime<Utc>,
    /// `order`, `return`, `refund`, `invoice` or `credit_note`.
    pub entity_type: String,
    pub entity_id: Uuid,
    pub version: i32,
    /// Null: this step made it.
    pub from_state: Option<String>,
    pub to_state: String,
    /// A customer is called `customer`.
    pub actor: String,
    /// `API_CALL`, `BACKGROUND_JOB`, `SCHEDULER` or `OPS`.
    pub trigger: String,
    pub request_id: Option<String>,
    pub trace_id: Option<String>,
    /// What the step announced. Null once the log no longer keeps it.
    pub event: Option<StoryEvent>,
}

/// An event on its way: out of the outbox, to its jobs, and to the endpoints of webhooks.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoryEvent {
    pub event_id: Uuid,
    pub event_type: String,
    /// It went out, and does not wait to go out again.
    pub published: bool,
    /// When its first batch had arrived.
    pub published_at: Option<DateTime<Utc>>,
    /// `WAITING` for its next attempt, `PARKED`, `HELD` behind an earlier event, or `SKIPPED`. Null: it went or goes out with
    /// the others.
    pub exception: Option<String>,
    pub parked_reason: Option<String>,
    /// Attempts to send it.
    pub attempts: i32,
    pub last_error: Option<String>,
    pub jobs: Vec<StoryJob>,
    pub emails: Vec<StoryEmail>,
    pub webhooks: Vec<StoryWebhook>,
}

/// A job of an event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoryJob {
    pub queue: String,
    /// `ready`, `running`, `in_doubt`, `dead`, `blocked`, `done` or `discarded`.
    pub status: String,
    pub received_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub attempts: i32,
    /// Not of an e-mail: what a mail server says may name its recipient.
    pub last_error: Option<String>,
}

/// What an operator did. `GET /ops/actions` has the rest.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoryAction {
    pub id: i64,
    pub acted_at: DateTime<Utc>,
    pub actor: String,
    pub action: String,
}

/// An e-mail about an event. The address is not shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoryEmail {
    #[serde(skip)]
    event_id: Uuid,
    pub kind: String,
    /// `SENDING`, `SENT`, `REFUSED`, `IN_DOUBT`, or `LOGGED` where no mail server is configured.
    pub status: String,
    pub message_id: String,
    /// When the message was last handed to the mail server.
    pub recorded_at: Option<DateTime<Utc>>,
    pub sent_at: Option<DateTime<Utc>>,
}

/// What became of an event at the endpoint of a webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoryWebhook {
    #[serde(skip)]
    event_id: Uuid,
    pub endpoint_id: Uuid,
    pub url: String,
    /// `PENDING`, `DELIVERED`, `FAILED` or `DISCARDED`.
    pub status: String,
    pub attempts: i32,
    /// When it is tried next.
    pub due_at: Option<DateTime<Utc>>,
    pub settled_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
}

/// Goods of the order that come back.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoryReturn {
    pub id: Uuid,
    pub state: String,
    pub version: i32,
    pub created_at: DateTime<Utc>,
}

/// Money of the order that is given back.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoryRefund {
    pub id: Uuid,
    pub return_id: Option<Uuid>,
    /// `RETURN`, `CANCELLATION` or `GOODWILL`.
    pub kind: String,
    /// `PENDING`, `IN_DOUBT`, `PROCESSED` or `FAILED`.
    pub status: String,
    pub amount_minor: i64,
    /// The gateway's name of the refund.
    pub transaction_id: Option<String>,
    /// Under which the customer's bank finds the payment.
    pub gateway_reference: Option<String>,
    pub created_at: DateTime<Utc>,
    pub processed_at: Option<DateTime<Utc>>,
}

/// An invoice or a credit note.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoryDocument {
    pub id: Uuid,
    /// `invoice` or `credit_note`.
    pub kind: String,
    /// What it documents: the order, or the return or refund that it is a credit note for.
    pub source_id: Uuid,
    pub number: String,
    pub issued_at: DateTime<Utc>,
    /// When its PDF was stored.
    pub stored_at: Option<DateTime<Utc>>,
    pub size_bytes: Option<i64>,
}

/// Tells the story of the order that is meant: by its number or id, or by the id of one of its returns, refunds, documents or events, or
/// by the number of one of its documents.
///
/// # Errors
/// [`OperationError::OrderNotFound`].
pub async fn tell(pool: &PgPool, of: &str) -> Result<Story, OperationError> {
    told(pool, order_of(pool, of).await?, None).await
}

/// Tells what of an order's story belongs to this return: its own steps, and those of its refund and its credit note.
///
/// # Errors
/// [`OperationError::ReturnNotFound`].
pub async fn tell_return(pool: &PgPool, id: Uuid) -> Result<Story, OperationError> {
    let order_id = sqlx::query_scalar!("select order_id from command.returns where id = $1", id);
    let order_id = order_id.fetch_optional(pool).await?.ok_or(OperationError::ReturnNotFound(id))?;
    told(pool, order_id, Some(id)).await
}

async fn told(pool: &PgPool, order_id: Uuid, only: Option<Uuid>) -> Result<Story, OperationError> {
    let head = sqlx::query!(
        r#"
        select clock_timestamp() as "at!", order_number, state, version, currency, total_minor
        from command.orders where id = $1
        "#,
        order_id
    )
    .fetch_one(pool)
    .await?;
    let mut rows = look_up::steps(pool, order_id).await?;
    let mut returns = look_up::returns(pool, order_id).await?;
    let mut refunds = look_up::refunds(pool, order_id).await?;
    let mut documents = look_up::documents(pool, order_id).await?;
    if let Some(only) = only {
        returns.retain(|one| one.id == only);
        refunds.retain(|refund| refund.return_id == Some(only));
        let sources: Vec<Uuid> = refunds.iter().map(|refund| refund.id).chain([only]).collect();
        documents.retain(|document| sources.contains(&document.source_id));
        let entities: Vec<Uuid> = documents.iter().map(|document| document.id).chain(sources).collect();
        rows.retain(|row| entities.contains(&row.entity_id));
    }
    look_up::find_events(pool, &mut rows, SOON_AFTER).await?;
    look_up::find_events(pool, &mut rows, LATE).await?;
    let ids: Vec<Uuid> = rows.iter().filter_map(|row| row.event_id).collect();
    let mut events = look_up::events(pool, &ids).await?;
    let steps = rows.into_iter().map(|row| row.with_its(&mut events)).collect();
    let actions = actions::of_events(pool, &ids).await?.into_iter().map(StoryAction::from);
    Ok(Story {
        at: head.at,
        order_id,
        order_number: head.order_number,
        state: head.state,
        version: head.version,
        currency: head.currency,
        total_minor: head.total_minor,
        steps,
        returns,
        refunds,
        documents,
        actions: actions.collect(),
    })
}

/// Whether a return has this id.
///
/// # Errors
/// When the database does not answer.
pub async fn is_return(pool: &PgPool, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from command.returns where id = $1) as "is!""#, id)
        .fetch_one(pool)
        .await
}

/// The number of the order that is meant, as for [`tell`].
///
/// # Errors
/// As [`tell`].
pub async fn number_of(pool: &PgPool, of: &str) -> Result<String, OperationError> {
    let order_id = order_of(pool, of).await?;
    let number = sqlx::query_scalar!("select order_number from command.orders where id = $1", order_id);
    Ok(number.fetch_one(pool).await?)
}

async fn order_of(pool: &PgPool, of: &str) -> Result<Uuid, OperationError> {
    let not_found = || OperationError::OrderNotFound(of.chars().take(LONGEST).collect());
    if of.chars().count() > LONGEST || of.chars().any(char::is_control) {
        return Err(not_found());
    }
    look_up::find(pool, of).await?.ok_or_else(not_found)
}

impl From<Event> for StoryEvent {
    fn from(event: Event) -> Self {
        Self {
            event_id: event.event_id,
            event_type: event.event_type,
            published: event.published,
            published_at: event.published_at,
            exception: event.exception,
            parked_reason: event.parked_reason,
            attempts: event.attempts,
            last_error: event.last_error,
            jobs: Vec::new(),
            emails: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}

impl From<Job> for StoryJob {
    fn from(job: Job) -> Self {
        let may_name_the_recipient = job.queue == Queue::Notifications.as_str();
        Self {
            queue: job.queue,
            status: job.status,
            received_at: job.received_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            attempts: job.attempts,
            last_error: job.last_error.filter(|_| !may_name_the_recipient),
        }
    }
}

impl From<OperatorAction> for StoryAction {
    fn from(action: OperatorAction) -> Self {
        let OperatorAction { id, acted_at, actor, action, .. } = action;
        Self { id, acted_at, actor, action }
    }
}
