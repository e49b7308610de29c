//! What a seal says, and the files that it is made of.

use chrono::{DateTime, Utc};
use contracts::audit::Hash;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex;

/// A position of 8 bytes, and a hash of 32.
const ROW_BYTES: usize = 40;

/// The file of a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealFile {
    /// A [`Statement`] as JSON: what is signed is this text.
    pub statement: String,
    /// Ed25519, in hexadecimal digits.
    pub signature: String,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    /// 1 for the first seal, and one more with each.
    pub(crate) number: i64,
    /// The rows with a position above `after`, and up to `until`.
    pub(crate) after: i64,
    pub(crate) until: i64,
    pub(crate) rows: u64,
    /// Of the Merkle tree of their positions and hashes (RFC 6962), in hexadecimal digits.
    pub(crate) root: String,
    /// SHA-256 of the statement before, in hexadecimal digits. `None` in the first.
    pub(crate) previous: Option<String>,
    pub(crate) sealed_at: DateTime<Utc>,
    /// With which the signature is checked, in hexadecimal digits.
    pub(crate) public_key: String,
}

/// A row of the audit, as a seal keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedRow {
    pub(crate) position: i64,
    pub(crate) hash: Hash,
}

impl SealedRow {
    pub(crate) fn new(position: i64, hash: &[u8]) -> Self {
        // A hash of another length was never written: it is sealed, and differs, as what is left of it.
        let mut whole = [0; 32];
        let length = hash.len().min(32);
        whole[..length].copy_from_slice(&hash[..length]);
        Self { position, hash: whole }
    }

    fn bytes(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        bytes[..8].copy_from_slice(&self.position.to_be_bytes());
        bytes[8..].copy_from_slice(&self.hash);
        bytes
    }
}

/// The name of a seal's file in the store.
pub(crate) fn seal_name(number: i64) -> String {
    format!("audit-seal-{number:08}.json")
}

/// The name of the file with the sealed rows.
pub(crate) fn rows_name(number: i64) -> String {
    format!("audit-seal-{number:08}.rows")
}

/// The content of the file with the sealed rows.
pub(crate) fn bytes_of(rows: &[SealedRow]) -> Vec<u8> {
    rows.iter().flat_map(SealedRow::bytes).collect()
}

/// The rows of such a file; `None` when it is no such file.
pub(crate) fn rows_of(bytes: &[u8]) -> Option<Vec<SealedRow>> {
    let (rows, rest) = bytes.as_chunks::<ROW_BYTES>();
    let row = |row: &[u8; ROW_BYTES]| {
        let (position, hash) = row.split_first_chunk::<8>()?;
        Some(SealedRow { position: i64::from_be_bytes(*position), hash: hash.try_into().ok()? })
    };
    if rest.is_empty() { rows.iter().map(row).collect() } else { None }
}

impl Statement {
    /// Whether these are the rows that it seals.
    pub(crate) fn seals(&self, rows: &[SealedRow]) -> bool {
        self.rows == rows.len() as u64 && self.root == root(rows)
    }
}

/// The link to a statement from the next.
pub(crate) fn link(statement: &str) -> String {
    hex(&Sha256::digest(statement))
}

/// The root of the Merkle tree of the rows: RFC 6962, section 2.1.
pub(crate) fn root(rows: &[SealedRow]) -> String {
    let mut level: Vec<Hash> =
        rows.iter().map(|row| Sha256::new_with_prefix([0]).chain_update(row.bytes()).finalize().into()).collect();
    if level.is_empty() {
        return hex(&Sha256::digest([]));
    }
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into(),
                alone => alone[0],
            })
            .collect();
    }
    hex(&level[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: i64) -> Vec<SealedRow> {
        (1..=count).map(|n| SealedRow { position: n * 3, hash: [u8::try_from(n).unwrap_or(0); 32] }).collect()
    }

    /// The tree split at the largest power of two below the number of leaves, as RFC 6962 defines it.
    fn by_definition(rows: &[SealedRow]) -> Vec<u8> {
        if let [row] = rows {
            return Sha256::new_with_prefix([0]).chain_update(row.bytes()).finalize().to_vec();
        }
        let (left, right) = rows.split_at(rows.len().next_power_of_two() / 2);
        let (left, right) = (by_definition(left), by_definition(right));
        Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().to_vec()
    }

    #[test]
    fn the_root_is_that_of_the_rfc() {
        for count in 1..=17 {
            assert_eq!(root(&rows(count)), hex(&by_definition(&rows(count))), "{count}");
        }
    }

    #[test]
    fn the_files_read_back_and_every_row_counts() {
        let some = rows(5);
        assert_eq!(rows_of(&bytes_of(&some)), Some(some.clone()));
        assert_eq!(rows_of(&bytes_of(&some)[1..]), None);
        let statement = Statement {
            number: 1,
            after: 0,
            until: 15,
            rows: 5,
            root: root(&some),
            previous: None,
            sealed_at: DateTime::UNIX_EPOCH,
            public_key: String::new(),
        };
        assert!(statement.seals(&some));
        let mut moved = some.clone();
        moved[4].position += 1;
        let mut changed = some.clone();
        changed[0].hash[31] ^= 1;
        for others in [&moved, &changed, &rows(4), &rows(6), &Vec::new()] {
            assert!(!statement.seals(others), "{others:?}");
        }
    }
}
