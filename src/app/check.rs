//! What `steward doctor` finds at one look.

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, such as `data.dir`.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
}

/// How something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Well; and what it is.
    Ok(String),
    /// It works, but.
    Warn {
        /// What is odd.
        what: String,
        /// What would do.
        remedy: String,
    },
    /// Steward won't start, or won't work.
    Fail {
        /// What is wrong.
        what: String,
        /// What would do.
        remedy: String,
    },
}

impl Check {
    /// All is well.
    pub fn ok(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Ok(what.into()) }
    }

    /// It works, but.
    pub fn warn(name: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Warn { what: what.into(), remedy: remedy.into() } }
    }

    /// It won't work.
    pub fn fail(name: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Fail { what: what.into(), remedy: remedy.into() } }
    }
}
