//! The texts, and how they become mails. Pure.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use super::Occasion;
use crate::outbox::JobError;
use crate::providers::Mail;

/// Each template: its subject in the first line, an empty line, the text.
const TEMPLATES: &[(&str, &str)] = &[
    ("welcome", include_str!("templates/welcome.txt")),
    ("first_password", include_str!("templates/first_password.txt")),
    ("password_reset", include_str!("templates/password_reset.txt")),
    ("verification", include_str!("templates/verification.txt")),
    ("password_changed", include_str!("templates/password_changed.txt")),
    ("email_change_asked", include_str!("templates/email_change_asked.txt")),
    ("email_changed", include_str!("templates/email_changed.txt")),
    ("refresh_replayed", include_str!("templates/refresh_replayed.txt")),
    ("account_deleted", include_str!("templates/account_deleted.txt")),
];

/// The templates, and where links lead.
pub(super) struct Templates {
    environment: Environment<'static>,
    public_url: String,
}

impl Templates {
    pub(super) fn new(public_url: &str) -> Self {
        let mut environment = Environment::new();
        // Plain text.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, text) in TEMPLATES {
            if let Err(error) = environment.add_template(name, text) {
                unreachable!("a test parses all templates: {error}");
            }
        }
        Self { environment, public_url: public_url.to_owned() }
    }

    /// The mail about `occasion`.
    ///
    /// # Errors
    /// [`JobError::Permanent`] if its template needs a token and there is none.
    pub(super) fn mail(
        &self,
        occasion: Occasion,
        id: &str,
        to: &str,
        token: Option<&str>,
    ) -> Result<Mail, JobError> {
        let broken = |error: minijinja::Error| JobError::Permanent(error.to_string());
        let template = self.environment.get_template(occasion.name()).map_err(broken)?;
        let context = match token {
            Some(token) => context! { url => self.public_url.as_str(), email => to, token },
            None => context! { url => self.public_url.as_str(), email => to },
        };
        let rendered = template.render(context).map_err(broken)?;
        let (subject, text) = rendered.split_once("\n\n").unwrap_or((&rendered, ""));
        Ok(Mail { id: id.to_owned(), to: to.to_owned(), subject: subject.to_owned(), text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Occasion; 9] = [
        Occasion::Welcome,
        Occasion::FirstPassword,
        Occasion::PasswordReset,
        Occasion::Verification,
        Occasion::PasswordChanged,
        Occasion::EmailChangeAsked,
        Occasion::EmailChanged,
        Occasion::RefreshReplayed,
        Occasion::Deleted,
    ];

    #[test]
    fn every_occasion_has_a_text_with_one_line_of_subject() {
        let templates = Templates::new("https://api.example.org");
        assert_eq!(ALL.len(), TEMPLATES.len());
        for occasion in ALL {
            let mail = templates.mail(occasion, "id", "a@example.org", Some("t0k3n")).unwrap();
            assert!(!mail.subject.contains('\n') && mail.subject.len() > 5, "{mail:?}");
            assert!(mail.text.len() > 40 && !mail.text.contains("{{"), "{mail:?}");
            let links: Vec<&str> = mail.text.split_whitespace().filter(|word| word.contains("://")).collect();
            assert!(links.iter().all(|link| link.starts_with("https://api.example.org/")), "{links:?}");
            if templates.mail(occasion, "id", "a@example.org", None).is_err() {
                assert!(links.iter().any(|link| link.ends_with("?token=t0k3n")), "{links:?}");
            }
        }
    }
}
