//! An e-mail on the wire: RFC 5322 headers, MIME parts.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment as Part, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};

use super::content::EmailContent;
use super::{html, text};
use crate::documents::Brand;

/// Who writes to whom, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope<'a> {
    pub(super) from: &'a Mailbox,
    pub(super) reply_to: Option<&'a Mailbox>,
    pub(super) to: &'a Address,
    pub(super) message_id: &'a str,
    pub(super) at: DateTime<Utc>,
}

/// A PDF.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) pdf: Bytes,
}

/// The text of the message. Attempts at one event differ only in the date and in the MIME boundaries. lettre encodes what
/// is not plain text, so nothing in the content leaves its header or part.
pub(super) fn message(
    envelope: Envelope<'_>,
    content: &EmailContent,
    brand: &Brand,
    attachment: Option<Attachment>,
) -> Result<Vec<u8>, lettre::error::Error> {
    // Given and not left to lettre, which would parse the header `To` and refuse addresses that are valid, such as
    // "a b"@example.com and a@[192.0.2.1].
    let recipients = lettre::address::Envelope::new(Some(envelope.from.email.clone()), vec![envelope.to.clone()])?;
    let mut builder = Message::builder()
        .envelope(recipients)
        .from(envelope.from.clone())
        .to(Mailbox::new(None, envelope.to.clone()))
        .subject(content.subject.as_str())
        .message_id(Some(envelope.message_id.to_owned()))
        .date(envelope.at.into())
        // RFC 3834: tells automatic responders not to answer.
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    if let Some(reply_to) = envelope.reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    let both = MultiPart::alternative()
        .singlepart(SinglePart::plain(text::render(content, brand)))
        .singlepart(SinglePart::html(html::render(content, brand).into_string()));
    let message = match attachment {
        None => builder.multipart(both)?,
        Some(Attachment { name, pdf }) => {
            let media_type = ContentType::parse("application/pdf").expect("a media type");
            builder.multipart(
                MultiPart::mixed().multipart(both).singlepart(Part::new(name).body(pdf.to_vec(), media_type)),
            )?
        }
    };
    Ok(message.formatted())
}
