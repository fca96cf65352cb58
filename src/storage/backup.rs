//! A copy of a whole store in a file, and a store made of such a file. The form is the same for
//! both stores, so what was copied from one can become the other.
//!
//! The file is text, a JSON value a line: a head, the records, and an end with their number and the
//! SHA-256 of all lines before it. A file without its end, or with another sum, is not read.
//!
//! Who calls it: the composition root, for `steward backup` and `steward restore`. What never
//! happens here: a copy that is of two moments, a record whose version or body changes.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use steward_actors::hex;
use steward_actors::store::{Body, Collection, Record};
use steward_actors::time::Timestamp;

/// The number of the form that is written here.
const FORM: u32 = 1;
/// Bytes of the longest line that is read; MongoDB's documents are no longer than 16 MB.
const LONGEST_LINE: u64 = 64 << 20;

/// Why a store was not copied, or not made of a copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be written or read.
    #[error("{0}")]
    File(#[from] io::Error),
    /// The file is no whole backup.
    #[error("line {line}: {reason}")]
    Broken {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// There are records already where the copy is to go.
    #[error("there are records in {0} already: restore into an empty database or data directory")]
    NotEmpty(&'static str),
    /// The store does not answer, or does not take a record.
    #[error("the store: {0}")]
    Store(String),
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<mongodb::error::Error> for BackupError {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Store(error.to_string())
    }
}

/// What stands at the head of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The form; see the module.
    form: u32,
    /// The version of Steward that made it.
    pub version: String,
    /// When the copy was begun, by the store's clock.
    pub at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Record {
        #[serde(rename = "in")]
        collection: String,
        id: String,
        version: u64,
        body: Body,
    },
    End {
        records: u64,
        sha256: String,
    },
}

/// Writes a copy. Dropped before [`Writer::end`] it leaves a file that is not read.
pub struct Writer<W: Write> {
    to: W,
    sum: Sha256,
    records: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a copy of a store as it was at `at`.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub fn begin(to: W, at: Timestamp) -> Result<Self, BackupError> {
        let mut writer = Self { to, sum: Sha256::new(), records: 0 };
        writer.line(&Head { form: FORM, version: env!("CARGO_PKG_VERSION").to_owned(), at })?;
        Ok(writer)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub fn add(&mut self, collection: &Collection, record: Record) -> Result<(), BackupError> {
        let Record { id, version, body } = record;
        self.records += 1;
        self.line(&Line::Record { collection: collection.name.to_owned(), id, version, body })
    }

    /// Writes the end; how many records there are, and what was written to.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub fn end(mut self) -> Result<(u64, W), BackupError> {
        let sha256 = hex::encode(self.sum.clone().finalize().as_slice());
        let records = self.records;
        self.line(&Line::End { records, sha256 })?;
        self.to.flush()?;
        Ok((records, self.to))
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), BackupError> {
        let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
        line.push(b'\n');
        self.sum.update(&line);
        self.to.write_all(&line)?;
        Ok(())
    }
}

/// Reads a copy, record by record. Only [`Reader::next`]'s last answer says that all of it was
/// there, so read it to its end before anything is made of it.
pub struct Reader<R: BufRead> {
    from: R,
    head: Head,
    schema: &'static [&'static Collection],
    sum: Sha256,
    records: u64,
    line: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn begin(from: R, schema: &'static [&'static Collection]) -> Result<Self, BackupError> {
        let nothing = Head { form: 0, version: String::new(), at: Timestamp::from_millis(0) };
        let mut reader = Self { from, head: nothing, schema, sum: Sha256::new(), records: 0, line: 0 };
        let line = reader.take()?;
        let head: Head =
            serde_json::from_slice(&line).map_err(|_| reader.broken("is no head of a backup"))?;
        if head.form != FORM {
            return Err(reader.broken(&format!("has form {}; this version reads {FORM}", head.form)));
        }
        reader.sum.update(&line);
        reader.head = head;
        Ok(reader)
    }

    /// What stands at the head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next record; none at the end, if all that belongs to the copy was there.
    ///
    /// # Errors
    /// [`BackupError`].
    #[allow(clippy::should_implement_trait, reason = "it fails, and ends for good then")]
    pub fn next(&mut self) -> Result<Option<(&'static Collection, Record)>, BackupError> {
        let line = self.take()?;
        match serde_json::from_slice(&line) {
            Ok(Line::Record { collection: name, id, version, body }) => {
                let collection = self.schema.iter().find(|collection| collection.name == name);
                let collection =
                    collection.ok_or_else(|| self.broken(&format!("{name} is unknown to this version")))?;
                self.sum.update(&line);
                self.records += 1;
                Ok(Some((collection, Record { id, version, body })))
            }
            Ok(Line::End { records, sha256 }) => {
                let sum = hex::encode(self.sum.clone().finalize().as_slice());
                if records != self.records || sha256 != sum {
                    return Err(self.broken("the sum is another: something was changed or left out"));
                }
                Ok(None)
            }
            Err(error) => Err(self.broken(&error.to_string())),
        }
    }

    fn take(&mut self) -> Result<Vec<u8>, BackupError> {
        use std::io::Read;
        let mut line = Vec::new();
        self.line += 1;
        self.from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') { Ok(line) } else { Err(self.broken("the file ends too early")) }
    }

    fn broken(&self, reason: &str) -> BackupError {
        BackupError::Broken { line: self.line, reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use steward_actors::users::USERS;

    use super::*;

    static SCHEMA: &[&Collection] = &[&USERS];

    fn copy() -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), Timestamp::from_millis(7)).unwrap();
        for n in 0..3 {
            let serde_json::Value::Object(body) = json!({"name": "a\nb", "n": n}) else { unreachable!() };
            writer.add(&USERS, Record { id: format!("u{n}"), version: n + 1, body }).unwrap();
        }
        let (records, file) = writer.end().unwrap();
        assert_eq!(records, 3);
        file
    }

    fn read(file: &[u8]) -> Result<Vec<Record>, BackupError> {
        let mut reader = Reader::begin(file, SCHEMA)?;
        let mut records = Vec::new();
        while let Some((collection, record)) = reader.next()? {
            assert_eq!(collection.name, "users");
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn what_was_written_is_read() {
        let records = read(&copy()).unwrap();
        assert_eq!(
            records.iter().map(|r| (r.id.as_str(), r.version)).collect::<Vec<_>>(),
            [("u0", 1), ("u1", 2), ("u2", 3)]
        );
        assert_eq!(records[2].body["name"], "a\nb");
    }

    #[test]
    fn a_file_that_lacks_something_or_was_changed_is_not_read_to_its_end() {
        let whole = copy();
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let text = String::from_utf8(whole).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let without = [&lines[..1], &lines[2..]].concat().join("\n") + "\n";
        assert!(read(without.as_bytes()).is_err());
        assert!(read(text.replace("\"n\":1", "\"n\":2").as_bytes()).is_err());
        assert!(read(text.replace("\"users\"", "\"rabbits\"").as_bytes()).is_err());
        assert!(read(text.replace("\"form\":1", "\"form\":2").as_bytes()).is_err());
        assert!(read(b"{}\n").is_err());
    }
}
