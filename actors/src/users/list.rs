//! Lists of users: what can be asked for, and by which index it is answered.

use super::user::{BY_AGE, BY_CREATION, BY_EMAIL, BY_NAME, word_of_role};
use super::{Email, USERS, User, Users};
use crate::store::{Cursor, Order, Query, StoreError, Versioned, find};

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserSort {
    /// When they were made.
    #[default]
    Creation,
    /// The name shown, whatever its case.
    Name,
    /// The address, whatever its case.
    Email,
    /// Years; users whose age is not known are left out.
    Age,
}

/// Which users, and in which order.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    /// Each word of it begins a word of the name, the address or the username.
    pub words: String,
    /// With exactly this address, whatever its case.
    pub email: Option<Email>,
    /// Who hold this role.
    pub role: Option<String>,
    /// At least so many years old; only in a list by age.
    pub min_age: Option<i64>,
    /// At most so many years old; only in a list by age.
    pub max_age: Option<i64>,
    /// What the list is sorted by.
    pub sort: UserSort,
    /// In which order.
    pub order: Order,
    /// Users at most; 1 to 1,000.
    pub limit: usize,
    /// Where to begin.
    pub after: Option<Cursor>,
}

impl UserFilter {
    /// The query that answers it.
    pub fn query(&self) -> Query {
        let mut query = match (&self.email, self.sort) {
            (Some(email), _) => Query::by(&USERS, BY_EMAIL).equal(email.key()),
            (None, UserSort::Creation) => Query::by(&USERS, BY_CREATION),
            (None, UserSort::Name) => Query::by(&USERS, BY_NAME),
            (None, UserSort::Email) => Query::by(&USERS, BY_EMAIL),
            (None, UserSort::Age) => Query::by(&USERS, BY_AGE)
                .range(self.min_age.map(Into::into), self.max_age.map(|years| (years + 1).into())),
        };
        query = query.words(&self.words).limit(self.limit);
        query.words.extend(self.role.as_deref().map(word_of_role));
        query.order = self.order;
        query.after.clone_from(&self.after);
        query
    }
}

impl Users {
    /// A page of users.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        filter: &UserFilter,
    ) -> Result<(Vec<Versioned<User>>, Option<Cursor>), StoreError> {
        let (mut found, next) = find::<User>(self.store.as_ref(), filter.query()).await?;
        if filter.email.is_some() {
            // One user at most, found by another index than that of ages.
            let old_enough = |age: i64| filter.min_age.is_none_or(|least| age >= least);
            let young_enough = |age: i64| filter.max_age.is_none_or(|most| age <= most);
            let any_age = filter.min_age.is_none() && filter.max_age.is_none();
            found.retain(|user| {
                any_age || user.value.age.is_some_and(|age| old_enough(age) && young_enough(age))
            });
        }
        Ok((found, next))
    }
}
