//! A letter as an e-mail: RFC 5322 headers, MIME parts.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment as Part, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};

use super::letter::Letter;
use super::{Post, html, text};

/// A PDF.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) name: String,
    pub(crate) pdf: Bytes,
}

impl Post {
    /// The same for every attempt, but for the date and the separators of its parts. Nothing in a letter gets out of the
    /// header or part it is in: lettre encodes what is not plain text.
    pub(crate) fn message(
        &self,
        letter: &Letter,
        to: Address,
        message_id: &str,
        at: DateTime<Utc>,
        attachment: Option<Attachment>,
    ) -> Result<Vec<u8>, lettre::error::Error> {
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(one_line(&letter.subject))
            .message_id(Some(message_id.to_owned()))
            .date(at.into())
            // RFC 3834: nobody's out-of-office note answers it.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        let both = MultiPart::alternative()
            .singlepart(SinglePart::plain(text::render(letter, &self.brand)))
            .singlepart(SinglePart::html(html::render(letter, &self.brand).into_string()));
        let message = match attachment {
            None => builder.multipart(both)?,
            Some(Attachment { name, pdf }) => {
                let kind = ContentType::parse("application/pdf").expect("a media type");
                builder.multipart(
                    MultiPart::mixed().multipart(both).singlepart(Part::new(name).body(pdf.to_vec(), kind)),
                )?
            }
        };
        Ok(message.formatted())
    }

    /// The same for every attempt at an event, so that a mailbox may notice what comes twice.
    pub(crate) fn message_id(&self, event_id: uuid::Uuid) -> String {
        format!("<{event_id}@{}>", self.from.email.domain())
    }
}

/// Subjects have no line breaks, whatever is in an order's number.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
