//! Rule 7: the numbers of invoices and credit notes, and their PDFs.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use storage::{InvoiceStore, StoreError};

use super::Sources;
use super::report::{Findings, Found, Rule};
use super::snapshot::{Snapshot, violations};

/// PDFs read at the same time.
const READERS: usize = 8;
/// An upload that is unfinished after this time was abandoned.
const UPLOAD_WITHIN: Duration = Duration::from_secs(60);

/// The invoice store, and the documents that were in it before the snapshot.
#[derive(Debug)]
pub(super) struct Filed {
    store: InvoiceStore,
    names: Vec<String>,
}

/// An edition of an invoice, or a credit note.
#[derive(Debug)]
pub(super) struct Document {
    number: String,
    /// Of an invoice.
    order_number: Option<String>,
    /// The versions of the order whose registrations may have a file.
    registrations: Vec<i32>,
    /// Null until its PDF is stored.
    path: Option<String>,
    size_bytes: Option<i64>,
    sha256: Option<String>,
}

impl Document {
    /// The files that its row announces. They are stored before the row has their path.
    fn file_names(&self) -> Vec<String> {
        let Some(order_number) = &self.order_number else {
            return vec![InvoiceStore::credit_note_name(&self.number)];
        };
        let registered = self.registrations.iter().map(|version| InvoiceStore::registered_name(order_number, *version));
        registered.chain([InvoiceStore::invoice_name(order_number)]).collect()
    }
}

pub(super) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> sqlx::Result<()> {
    findings.add(Rule::Invoices, gaps(snapshot).await?);
    findings.add(Rule::Invoices, strangers(snapshot).await?);
    findings.add(Rule::Invoices, shared_files(snapshot).await?);
    Ok(())
}

/// Opens the store and lists its documents; `None` when no store is given, or it cannot be read. What is older than the first
/// change in this database belongs to another one.
pub(super) async fn filed(pool: &PgPool, sources: &Sources, findings: &mut Findings) -> sqlx::Result<Option<Filed>> {
    let Some(url) = &sources.invoice_store else {
        findings.left_out(Rule::Invoices, "the PDFs: no store was given (--invoice-store)");
        findings
            .left_out(Rule::Leftovers, "temporary files of the invoice store: no store was given (--invoice-store)");
        return Ok(None);
    };
    let first = sqlx::query_scalar!("select min(created_at) from command.state_transitions").fetch_one(pool).await?;
    let listed = async {
        let store = storage::open_existing(url).await.map_err(|error| error.to_string())?;
        let names = match first {
            Some(first) => store.documents(SystemTime::from(first)).await.map_err(|error| error.to_string())?,
            None => Vec::new(),
        };
        Ok::<_, String>(Filed { store, names })
    };
    match listed.await {
        Ok(filed) => Ok(Some(filed)),
        Err(error) => {
            findings.could_not(Rule::Invoices, format!("the PDFs: {error}"));
            findings.could_not(Rule::Leftovers, format!("temporary files: {error}"));
            Ok(None)
        }
    }
}

pub(super) async fn documents(snapshot: &mut Snapshot) -> sqlx::Result<Vec<Document>> {
    sqlx::query_as!(
        Document,
        r#"
        select invoice_number as "number!", order_document ->> 'order_number' as order_number, registrations as "registrations!",
               case when erased_at is null then path end as path, size_bytes, sha256
        from work.invoices
        union all
        select invoice_number, order_document ->> 'order_number', '{}', earlier ->> 'path', (earlier ->> 'size_bytes')::bigint,
               earlier ->> 'sha256'
        from work.invoices cross join jsonb_array_elements(document -> 'earlier_editions') as earlier
        where erased_at is null
        union all
        select credit_note_number, null, '{}', case when erased_at is null then path end, size_bytes, sha256 from work.credit_notes
        "#
    )
    .fetch_all(snapshot.connection())
    .await
}

/// Reads every PDF that must exist, and names those that no document explains. The row with a document's number is committed
/// before its PDF is stored, and the row says so after that. A PDF is removed only after its row was erased.
pub(super) async fn check_pdfs(filed: Filed, documents: Vec<Document>, findings: &mut Findings) {
    let Filed { store, names } = filed;
    let mut found = Found::default();
    let known: HashSet<String> = documents.iter().flat_map(Document::file_names).collect();
    let unknown = names.iter().filter(|name| !known.contains(*name));
    found.extend(
        unknown.map(|name| {
            format!("{} is in the store, and belongs to no invoice or credit note", store.display_path(name))
        }),
    );
    let mut violations =
        stream::iter(documents).map(|document| examine(store.clone(), document)).buffer_unordered(READERS);
    while let Some(violation) = violations.next().await {
        found.extend(violation);
    }
    findings.add(Rule::Invoices, found);
    match store.unfinished_uploads(UPLOAD_WITHIN) {
        Ok(names) => {
            let mut found = Found::default();
            found
                .extend(names.iter().map(|name| format!("the upload {} was never finished", store.display_path(name))));
            findings.add(Rule::Leftovers, found);
        }
        Err(error) => findings.could_not(Rule::Leftovers, format!("temporary files: {error}")),
    }
}

/// What is wrong with a PDF, if anything.
async fn examine(store: InvoiceStore, document: Document) -> Option<String> {
    let Document { number, path, size_bytes, sha256, .. } = document;
    let (path, size_bytes) = (path?, size_bytes?);
    match fingerprint(&store, &path).await {
        Err(error) => Some(format!("{number}: {error}")),
        Ok((size, _)) if i64::try_from(size) != Ok(size_bytes) => {
            Some(format!("{number}: {path} has {size} bytes instead of {size_bytes}"))
        }
        Ok((_, hash)) => (Some(hash) != sha256).then(|| format!("{number}: {path} differs from what was stored")),
    }
}

async fn fingerprint(store: &InvoiceStore, name: &str) -> Result<(u64, String), StoreError> {
    let mut file = store.get(name).await?;
    let mut hash = Sha256::new();
    while let Some(chunk) = file.content.try_next().await? {
        hash.update(&chunk);
    }
    Ok((file.size, format!("{:x}", hash.finalize())))
}

async fn gaps(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('the number %s of the series %s is on no document', n, series)
        from work.document_series cross join generate_series(1, last_number) as n
        left join (select substring(number from '^(.*)/[0-9]+$') as series, substring(number from '/([0-9]+)$')::bigint as n, id
                   from (select invoice_number as number, id from work.invoices
                         union all select credit_note_number, id from work.credit_notes) as document) as given
            using (series, n)
        where given.id is null
        "#
    )
}

/// Numbers that their series never issued, or issued twice in two spellings.
async fn strangers(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        with given as (
            select number, substring(number from '^(.*)/[0-9]+$') as series, substring(number from '/([0-9]+)$')::bigint as n
            from (select invoice_number as number from work.invoices
                  union all select credit_note_number from work.credit_notes) as document
        )
        select format('the series of %s never issued that number (the last is %s)', number, coalesce(last_number, 0))
        from given left join work.document_series using (series)
        where last_number is null or n not between 1 and last_number
        union all
        select format('the number %s of the series %s is on %s documents', n, series, count(*))
        from given where series is not null group by series, n having count(*) > 1
        "#
    )
}

async fn shared_files(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s belongs to %s documents', path, count(*))
        from (select path from work.invoices union all select path from work.credit_notes) as document
        where path is not null group by path having count(*) > 1
        "#
    )
}
