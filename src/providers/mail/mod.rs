//! Outgoing mail: into files by default, by SMTP when configured.

mod file;
mod message;
mod smtp;

pub use file::FileMailer;
pub use smtp::SmtpMailer;
