//! A bucket of S3, or of a server with the same API.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use crate::OpenError;

/// One call starts its last retry within this time. After that the job's own retries take over.
const RETRY_FOR: Duration = Duration::from_secs(8);
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// A whole answer with its body, also for a client that reads the PDF slowly.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long the check of a bucket may take.
const PROBE_WITHIN: Duration = Duration::from_secs(6);

const CREDENTIALS: &str = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; they must allow s3:ListBucket, \
     s3:GetObject and s3:PutObject";
const REGION: &str = "check AWS_REGION and AWS_ENDPOINT_URL";
/// S3's codes for permanent errors, and what to do about them. They are searched for in the text of the error: the type
/// in which `object_store` holds the answer to a listing is private.
const REFUSALS: [(&str, &str); 7] = [
    ("NoSuchBucket", "create the bucket, or correct its name; check AWS_REGION and AWS_ENDPOINT_URL"),
    ("InvalidAccessKeyId", CREDENTIALS),
    ("SignatureDoesNotMatch", CREDENTIALS),
    ("AccessDenied", CREDENTIALS),
    ("403 Forbidden", CREDENTIALS),
    ("PermanentRedirect", REGION),
    ("AuthorizationHeaderMalformed", REGION),
];

/// The parts of `s3://<name>/<prefix>`.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    name: String,
    prefix: Path,
}

impl Bucket {
    /// From what follows `s3://`.
    pub(crate) fn parse(url: &str, rest: &str) -> Result<Self, OpenError> {
        let wrong = |reason: &str| OpenError::BadBucket { url: url.to_owned(), reason: reason.to_owned() };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
            return Err(wrong("a bucket's name has letters, digits, dots and hyphens, as in s3://bucket/invoices"));
        }
        let prefix = Path::parse(prefix).map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { name: name.to_owned(), prefix })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Without a trailing slash.
    pub(crate) fn url(&self) -> String {
        let url = format!("s3://{}/{}", self.name, self.prefix);
        url.trim_end_matches('/').to_owned()
    }

    /// A client for the bucket. Nothing is sent yet. Credentials, region and endpoint come from the `AWS_*` variables.
    pub(crate) fn client(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Arc<dyn ObjectStore>, OpenError> {
        runtime::tls::install();
        let mut plain_http = false;
        let mut builder = AmazonS3Builder::new();
        for (variable, value) in environment {
            let Ok(key) = variable.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
            if !variable.starts_with("AWS_") || value.is_empty() {
                continue;
            }
            plain_http |= matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint)
                && value.to_ascii_lowercase().starts_with("http://");
            builder = builder.with_config(key, value);
        }
        let options = ClientOptions::new()
            .with_connect_timeout(CONNECT_WITHIN)
            .with_timeout(ANSWER_WITHIN)
            .with_allow_http(plain_http);
        let retry = RetryConfig { max_retries: 3, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
        let built = builder.with_bucket_name(&self.name).with_client_options(options).with_retry(retry).build();
        let client = built.map_err(|error| self.refused(&error, "check the variables AWS_*"))?;
        Ok(Arc::new(PrefixStore::new(client, self.prefix.clone())))
    }

    /// Whether the bucket can be used. Only a listing tells a missing bucket from an empty one.
    pub(crate) async fn probe(&self, store: &dyn ObjectStore) -> Result<(), OpenError> {
        let mut listing = store.list(None);
        match tokio::time::timeout(PROBE_WITHIN, listing.next()).await {
            Ok(None | Some(Ok(_))) => Ok(()),
            Ok(Some(Err(error))) => Err(self.explained(&error)),
            Err(_elapsed) => Err(OpenError::Unreachable {
                url: self.url(),
                reason: format!(
                    "no answer within {PROBE_WITHIN:?}. Check AWS_ENDPOINT_URL and the network; without \
                     AWS_ACCESS_KEY_ID, the credentials come from the machine's own role"
                ),
            }),
        }
    }

    fn explained(&self, error: &object_store::Error) -> OpenError {
        let words = error.to_string();
        match REFUSALS.iter().find(|(code, _)| words.contains(code)) {
            Some((_, advice)) => self.refused(error, advice),
            None => OpenError::Unreachable {
                url: self.url(),
                reason: format!("{}. Check AWS_ENDPOINT_URL, AWS_REGION and the network", one_line(&words)),
            },
        }
    }

    fn refused(&self, error: &object_store::Error, advice: &str) -> OpenError {
        OpenError::Bucket { url: self.url(), reason: one_line(&error.to_string()), advice: advice.to_owned() }
    }
}

/// S3 answers in XML of several lines.
fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
