//! What an error of the driver says about the write that met it.
//!
//! Who calls it: the adapter's commits and reads. Pure. The one question that matters: can the
//! write have happened?

use std::io;

use bson::Document;
use mongodb::error::{Error, ErrorKind, SYSTEM_OVERLOADED_ERROR, TRANSIENT_TRANSACTION_ERROR, WriteFailure};
use steward_actors::store::{Collection, Conflict};

/// Why an operation did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was never sent.
    NotSent(String),
    /// It may have been done, and the answer was lost, or is not what was needed.
    Lost(String),
    /// It was not done because another write was under way. It may be tried again.
    Contended(String),
    /// It was not done: the index with this name has its key already.
    Duplicate(String),
    /// It was not done, and never will be.
    Refused(String),
}

impl Failure {
    /// What happened, in words.
    pub(super) fn reason(self) -> String {
        match self {
            Self::NotSent(reason) | Self::Lost(reason) | Self::Contended(reason) | Self::Refused(reason) => {
                reason
            }
            Self::Duplicate(index) => format!("index {index} has the key already"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = in_words(&error);
        match error.kind.as_ref() {
            ErrorKind::ServerSelection { .. }
            | ErrorKind::Authentication { .. }
            | ErrorKind::DnsResolve { .. }
            | ErrorKind::Shutdown => Self::NotSent(reason),
            // The driver marks errors of connecting (as against those of talking) as overload.
            ErrorKind::Io(inner)
                if inner.kind() == io::ErrorKind::ConnectionRefused
                    || error.contains_label(SYSTEM_OVERLOADED_ERROR) =>
            {
                Self::NotSent(reason)
            }
            ErrorKind::Write(WriteFailure::WriteError(error)) => {
                Self::of_write_error(error.code, &error.message)
            }
            ErrorKind::Command(command) => {
                let transient = error.contains_label(TRANSIENT_TRANSACTION_ERROR);
                Self::of_command(command.code, &command.message, transient, reason)
            }
            ErrorKind::InvalidArgument { .. }
            | ErrorKind::Bson(_)
            | ErrorKind::BsonSerialization(_)
            | ErrorKind::IncompatibleServer { .. }
            | ErrorKind::SessionsNotSupported
            | ErrorKind::InvalidTlsConfig { .. } => Self::Refused(reason),
            _ => Self::Lost(reason),
        }
    }
}

impl Failure {
    /// Of an entry of `writeErrors`.
    pub(super) fn of_write_error(code: i32, message: &str) -> Self {
        match code {
            11000 | 11001 => Self::Duplicate(duplicate_index(message)),
            112 => Self::Contended(message.to_owned()),
            _ => Self::Refused(format!("{message} (error {code})")),
        }
    }

    /// Of a command that failed as a whole. The codes are those of
    /// <https://github.com/mongodb/mongo/blob/v6.0/src/mongo/base/error_codes.yml>.
    fn of_command(code: i32, message: &str, transient: bool, reason: String) -> Self {
        match code {
            11000 | 11001 => Self::Duplicate(duplicate_index(message)),
            // Server shutting down, no longer primary, deadline over, write concern: nobody knows
            // what had been done by then.
            6 | 7 | 50 | 64 | 79 | 89 | 91 | 100 | 189 | 262 | 9001 | 10058 | 10107 | 11600 | 11601
            | 11602 | 13435 | 13436 => Self::Lost(reason),
            112 => Self::Contended(reason),
            _ if transient => Self::Contended(reason),
            _ => Self::Refused(reason),
        }
    }
}

/// The first failure that the reply of a write command reports although it was executed.
/// `position` is the failed write's place in the command.
pub(super) fn in_reply(reply: &Document) -> Option<(usize, Failure)> {
    let number = |document: &Document, key: &str| match document.get(key) {
        Some(bson::Bson::Int32(number)) => Some(i64::from(*number)),
        Some(bson::Bson::Int64(number)) => Some(*number),
        _ => None,
    };
    let first = reply.get_array("writeErrors").ok()?.first()?.as_document()?;
    let code = number(first, "code").and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
    let position = number(first, "index").and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
    Some((position, Failure::of_write_error(code, first.get_str("errmsg").unwrap_or("no reason given"))))
}

/// The conflict that a taken key of `index` is for the record `id`; `None` if the index is not a
/// declared one.
pub(super) fn conflict(collection: &'static Collection, id: &str, index: &str) -> Option<Conflict> {
    if index == "_id_" {
        return Some(Conflict::Exists { collection: collection.name, id: id.to_owned() });
    }
    let index = collection.index(index)?.name;
    Some(Conflict::Unique { collection: collection.name, index })
}

/// The index that `E11000 duplicate key error collection: c index: i dup key: {…}` names.
fn duplicate_index(message: &str) -> String {
    let named = message.split_once(" index: ").and_then(|(_, rest)| rest.split_whitespace().next());
    named.unwrap_or_default().to_owned()
}

/// The error in a few words: the driver's own text repeats labels and the server's reply.
pub(super) fn in_words(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => format!("{} (error {})", command.message, command.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => {
            format!("write concern: {} (error {})", error.message, error.code)
        }
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn the_taken_index_is_named() {
        let message = "E11000 duplicate key error collection: db.things index: owner_number dup key: \
                       { owner: \" index: x\", number: 1 }";
        assert_eq!(Failure::of_write_error(11000, message), Failure::Duplicate("owner_number".to_owned()));
    }

    #[test]
    fn the_first_write_error_of_a_reply_counts() {
        let reply = doc! { "n": 1, "ok": 1.0, "writeErrors": [
            { "index": 3, "code": 11000, "errmsg": "E11000 duplicate key error collection: a.b index: _id_ dup key: {}" },
        ] };
        assert_eq!(in_reply(&reply), Some((3, Failure::Duplicate("_id_".to_owned()))));
        assert_eq!(in_reply(&doc! { "n": 1, "ok": 1.0 }), None);
    }

    #[test]
    fn an_error_of_talking_leaves_the_outcome_open_and_one_of_connecting_does_not() {
        let error = |kind: io::ErrorKind| Failure::from(Error::from(kind));
        assert!(matches!(error(io::ErrorKind::ConnectionRefused), Failure::NotSent(_)));
        for talking in [io::ErrorKind::UnexpectedEof, io::ErrorKind::TimedOut, io::ErrorKind::BrokenPipe] {
            assert!(matches!(error(talking), Failure::Lost(_)));
        }
    }

    #[test]
    fn a_lost_primary_leaves_the_outcome_open_even_if_it_is_called_transient() {
        for code in [91, 189, 10107, 11602] {
            let failure = Failure::of_command(code, "", true, String::new());
            assert_eq!(failure, Failure::Lost(String::new()), "{code}");
        }
        assert_eq!(Failure::of_command(251, "", true, String::new()), Failure::Contended(String::new()));
        assert_eq!(Failure::of_command(13, "", false, String::new()), Failure::Refused(String::new()));
    }
}
