//! What the gateway has paid out: one entry per idempotency key, in memory and optionally in a file.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use contracts::{GatewayRefund, GatewayRefundRequest, GatewayRefundStatus};

#[derive(Debug)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    refunds: Vec<GatewayRefund>,
    by_key: HashMap<String, usize>,
    file: Option<File>,
}

/// The entry under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) refund: GatewayRefund,
    /// Whether it existed before this call.
    pub(crate) replayed: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("the key belongs to another refund")]
    KeyReused(Box<GatewayRefund>),
    #[error("cannot write the ledger file: {0}")]
    File(#[from] io::Error),
}

impl Ledger {
    pub(crate) fn in_memory() -> Self {
        Self { book: Mutex::default() }
    }

    /// Reads the ledger of earlier runs.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A refund is answered only when its whole line is on disk. A crash cut off a last line that is incomplete, and
        // it was never answered.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            tracing::warn!(bytes = text.len() - whole, "the ledger file ends in half a line, which is dropped");
            file.set_len(whole as u64)?;
        }
        file.seek(SeekFrom::Start(whole as u64))?;
        let mut book = Book::default();
        for (index, line) in text[..whole].lines().enumerate() {
            let refund = serde_json::from_str(line).with_context(|| format!("line {} is not a refund", index + 1))?;
            book.remember(refund);
        }
        book.file = Some(file);
        let under_way: Vec<String> = book
            .refunds
            .iter()
            .filter(|refund| refund.status == GatewayRefundStatus::Pending)
            .map(|refund| refund.idempotency_key.clone())
            .collect();
        let ledger = Self { book: Mutex::new(book) };
        // No task waits for the end of what was under way when the gateway stopped.
        for key in under_way {
            ledger.settle(&key, GatewayRefundStatus::Success)?;
        }
        Ok(ledger)
    }

    /// Enters `refund` unless its key exists. Blocks until the entry is on disk.
    pub(crate) fn enter(&self, refund: GatewayRefund) -> Result<Entry, LedgerError> {
        let mut book = self.lock();
        if let Some(known) = book.get(&refund.idempotency_key) {
            return if is_same_request(known, &refund) {
                Ok(Entry { refund: known.clone(), replayed: true })
            } else {
                Err(LedgerError::KeyReused(Box::new(known.clone())))
            };
        }
        book.write(&refund)?;
        book.remember(refund.clone());
        Ok(Entry { refund, replayed: false })
    }

    /// Settles a refund that is under way. `None` when there is none under this key. Blocks until it is on disk.
    pub(crate) fn settle(&self, key: &str, status: GatewayRefundStatus) -> Result<Option<GatewayRefund>, LedgerError> {
        let mut book = self.lock();
        let under_way = book.get(key).filter(|known| known.status == GatewayRefundStatus::Pending);
        let Some(refund) = under_way.cloned().map(|known| GatewayRefund { status, ..known }) else { return Ok(None) };
        book.write(&refund)?;
        book.remember(refund.clone());
        Ok(Some(refund))
    }

    pub(crate) fn get(&self, key: &str) -> Option<GatewayRefund> {
        self.lock().get(key).cloned()
    }

    /// Every refund, oldest first.
    pub(crate) fn all(&self) -> Vec<GatewayRefund> {
        self.lock().refunds.clone()
    }

    /// The book changes only after everything that can fail, so it is consistent even after a panic.
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn get(&self, key: &str) -> Option<&GatewayRefund> {
        self.by_key.get(key).map(|index| &self.refunds[*index])
    }

    /// A later entry under a key replaces the earlier one.
    fn remember(&mut self, refund: GatewayRefund) {
        if let Some(index) = self.by_key.get(&refund.idempotency_key) {
            self.refunds[*index] = refund;
        } else {
            self.by_key.insert(refund.idempotency_key.clone(), self.refunds.len());
            self.refunds.push(refund);
        }
    }

    fn write(&mut self, refund: &GatewayRefund) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let end = file.stream_position()?;
        let mut line = serde_json::to_vec(refund)?;
        line.push(b'\n');
        file.write_all(&line).and_then(|()| file.sync_data()).inspect_err(|_| {
            // Half a line must not precede the next one. If this fails too, the next start drops or reports it.
            let _ = file.set_len(end);
            let _ = file.seek(SeekFrom::Start(end));
        })
    }
}

fn is_same_request(known: &GatewayRefund, refund: &GatewayRefund) -> bool {
    let request = |refund: &GatewayRefund| GatewayRefundRequest {
        return_id: refund.return_id,
        refund_id: refund.refund_id,
        payment_transaction_id: refund.payment_transaction_id.clone(),
        amount: refund.amount,
        currency: refund.currency.clone(),
    };
    request(known) == request(refund)
}

/// Minor units paid out, by currency. Wider than an amount, so that the sum of many large amounts does not overflow.
pub(crate) fn total_by_currency(refunds: &[GatewayRefund]) -> BTreeMap<String, i128> {
    let mut totals = BTreeMap::new();
    for refund in refunds.iter().filter(|refund| refund.status == GatewayRefundStatus::Success) {
        *totals.entry(refund.currency.clone()).or_default() += i128::from(refund.amount);
    }
    totals
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    use super::*;

    fn refund(key: &str, amount: i64, transaction: &str) -> GatewayRefund {
        GatewayRefund {
            status: GatewayRefundStatus::Success,
            transaction_id: transaction.to_owned(),
            reference: None,
            return_id: Some(Uuid::nil()),
            refund_id: None,
            payment_transaction_id: None,
            idempotency_key: key.to_owned(),
            amount,
            currency: "INR".to_owned(),
            created_at: DateTime::<Utc>::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_key_is_entered_once() {
        let ledger = Ledger::in_memory();
        assert!(!ledger.enter(refund("k", 100, "txn_1")).expect("entered").replayed);
        let again = ledger.enter(refund("k", 100, "txn_2")).expect("known");
        assert_eq!((again.replayed, again.refund.transaction_id.as_str()), (true, "txn_1"));
        assert!(matches!(ledger.enter(refund("k", 101, "txn_3")), Err(LedgerError::KeyReused(_))));
        assert_eq!(ledger.all().len(), 1);
    }

    #[test]
    fn a_restart_keeps_every_entry_and_drops_half_a_line() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ledger.jsonl");
        let ledger = Ledger::open(&path)?;
        ledger.enter(refund("a", 100, "txn_1"))?;
        ledger.enter(refund("b", 200, "txn_2"))?;
        drop(ledger);
        OpenOptions::new().append(true).open(&path)?.write_all(br#"{"status":"SUC"#)?;

        let ledger = Ledger::open(&path)?;
        assert!(ledger.enter(refund("a", 100, "txn_9"))?.replayed);
        ledger.enter(refund("c", 300, "txn_3"))?;
        drop(ledger);
        let ids: Vec<_> = Ledger::open(&path)?.all().into_iter().map(|refund| refund.transaction_id).collect();
        assert_eq!(ids, ["txn_1", "txn_2", "txn_3"]);
        Ok(())
    }

    #[test]
    fn what_was_under_way_is_settled_once() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ledger.jsonl");
        let ledger = Ledger::open(&path)?;
        let pending = |key| GatewayRefund { status: GatewayRefundStatus::Pending, ..refund(key, 100, "txn_1") };
        ledger.enter(pending("a"))?;
        ledger.enter(pending("b"))?;
        let failed = ledger.settle("a", GatewayRefundStatus::Failed)?.expect("it was under way");
        assert_eq!(
            (failed.status, ledger.settle("a", GatewayRefundStatus::Success)?),
            (GatewayRefundStatus::Failed, None)
        );
        assert_eq!(ledger.settle("c", GatewayRefundStatus::Success)?, None);
        drop(ledger);
        let statuses: Vec<_> = Ledger::open(&path)?.all().into_iter().map(|refund| refund.status).collect();
        assert_eq!(statuses, [GatewayRefundStatus::Failed, GatewayRefundStatus::Success]);
        assert!(Ledger::open(&path)?.enter(pending("b"))?.replayed);
        Ok(())
    }

    #[test]
    fn a_file_that_is_not_a_ledger_is_refused() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ledger.jsonl");
        std::fs::write(&path, "notes\n")?;
        let error = Ledger::open(&path).expect_err("not a ledger");
        assert_eq!(error.to_string(), "line 1 is not a refund");
        Ok(())
    }

    #[test]
    fn totals_do_not_overflow() {
        let totals = total_by_currency(&[refund("a", i64::MAX, "txn_1"), refund("b", i64::MAX, "txn_2")]);
        assert_eq!(totals["INR"], 2 * i128::from(i64::MAX));
    }
}
