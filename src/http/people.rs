//! Users as those see them who look after them: the list, and new ones.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use steward_actors::store::{Order, Versioned};
use steward_actors::users::{
    Age, DisplayName, Email, NewPerson, Password, User, UserFilter, UserSort, Users,
};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag;
use super::json::ValidJson;
use super::page::{Binding, CursorText, Limit, Listed};
use super::problem::Problem;
use super::query::ValidQuery;
use super::roles::are_distinct;
use super::user_view::UserView;
use super::users::checked;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_users).service(create_user);
}

/// A user to be made.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PersonInput {
    #[garde(skip)]
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Unique, whatever its case.
    #[garde(skip)]
    #[schema(max_length = 254, format = Email)]
    email: String,
    /// In years.
    #[garde(skip)]
    #[schema(minimum = 0, maximum = 150)]
    age: Option<i64>,
    /// Without one, a mail goes out by which the user chooses it.
    #[garde(skip)]
    #[schema(value_type = Option<String>, min_length = 8, max_length = 128, format = Password)]
    password: Option<SecretString>,
    /// `customer` if not given; to give any takes `roles:write` and all that they permit.
    #[garde(length(max = 20), inner(length(max = 64)), custom(are_distinct_if_any))]
    #[schema(max_items = 20)]
    roles: Option<Vec<String>>,
}

fn are_distinct_if_any(roles: &Option<Vec<String>>, context: &()) -> garde::Result {
    roles.as_deref().map_or(Ok(()), |roles| are_distinct(roles, context))
}

impl PersonInput {
    /// The values, or everything that is wrong with them.
    fn parse(self) -> Result<NewPerson, Problem> {
        let mut errors = Vec::new();
        let name = checked(&mut errors, "/name", DisplayName::parse(&self.name));
        let email = checked(&mut errors, "/email", Email::parse(&self.email));
        let age = self.age.and_then(|years| checked(&mut errors, "/age", Age::parse(years)));
        let password =
            self.password.and_then(|password| checked(&mut errors, "/password", Password::parse(password)));
        match (name, email) {
            (Some(name), Some(email)) if errors.is_empty() => {
                Ok(NewPerson { name, email, age, password, roles: self.roles })
            }
            _ => Err(Problem::invalid(errors)),
        }
    }
}

/// Makes a user.
#[utoipa::path(
    tag = "users",
    request_body = PersonInput,
    responses(
        (status = 201, body = UserView),
        (status = 409, description = "The address is taken (`email_taken`)"),
    ),
    security(("bearer" = ["users:write"])),
)]
#[post("/users")]
async fn create_user(
    caller: Caller,
    body: ValidJson<PersonInput>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let user = users.create(&caller.by(&request), body.0.parse()?).await?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/v1/users/{}", user.value.id)))
        .insert_header(etag::tag_of_user(&user.value.id, user.version))
        .json(UserView::of(user)))
}

/// What a list of users is sorted by.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
enum SortInput {
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "-name")]
    NameDown,
    #[serde(rename = "email")]
    Email,
    #[serde(rename = "-email")]
    EmailDown,
    #[serde(rename = "age")]
    Age,
    #[serde(rename = "-age")]
    AgeDown,
    #[serde(rename = "createdAt")]
    CreatedAt,
    #[serde(rename = "-createdAt")]
    CreatedAtDown,
}

impl From<SortInput> for (UserSort, Order) {
    fn from(sort: SortInput) -> Self {
        match sort {
            SortInput::Name => (UserSort::Name, Order::Ascending),
            SortInput::NameDown => (UserSort::Name, Order::Descending),
            SortInput::Email => (UserSort::Email, Order::Ascending),
            SortInput::EmailDown => (UserSort::Email, Order::Descending),
            SortInput::Age => (UserSort::Age, Order::Ascending),
            SortInput::AgeDown => (UserSort::Age, Order::Descending),
            SortInput::CreatedAt => (UserSort::Creation, Order::Ascending),
            SortInput::CreatedAtDown => (UserSort::Creation, Order::Descending),
        }
    }
}

/// What may be loaded besides.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Expand {
    Profile,
}

/// What narrows the list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserListFilter {
    /// Each word of it begins a word of the name, the address or the username.
    #[garde(length(chars, max = 200))]
    #[param(max_length = 200)]
    q: Option<String>,
    /// With exactly this address, whatever its case.
    #[garde(length(chars, max = 254))]
    #[param(max_length = 254)]
    email: Option<String>,
    /// At least so old. A list by age, and only of those whose age is known.
    #[garde(range(min = 0, max = 150))]
    #[param(minimum = 0, maximum = 150)]
    min_age: Option<i64>,
    /// At most so old. A list by age, and only of those whose age is known.
    #[garde(range(min = 0, max = 150))]
    #[param(minimum = 0, maximum = 150)]
    max_age: Option<i64>,
    /// Who hold this role.
    #[garde(length(chars, max = 64))]
    #[param(max_length = 64)]
    role: Option<String>,
    /// Newest first if not given; with minAge or maxAge by age, which leaves only `age` and `-age`.
    #[garde(skip)]
    #[param(inline)]
    sort: Option<SortInput>,
    /// `profile`: the items are whole users.
    #[garde(skip)]
    #[param(inline)]
    expand: Option<Expand>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

impl UserListFilter {
    fn parse(&self) -> Result<UserFilter, Problem> {
        let by_age = self.min_age.is_some() || self.max_age.is_some();
        let (sort, order) = match self.sort {
            Some(sort) => sort.into(),
            None if by_age => (UserSort::Age, Order::Ascending),
            None => (UserSort::Creation, Order::Descending),
        };
        let email = self.email.as_deref().map(Email::parse).transpose();
        let email = email.map_err(|wrong| Problem::invalid_field("email", wrong.code, wrong.message))?;
        if by_age && sort != UserSort::Age && email.is_none() {
            let message = "with minAge or maxAge, a list is sorted by age or -age";
            return Err(Problem::invalid_field("sort", "unsupported", message));
        }
        Ok(UserFilter {
            words: self.q.clone().unwrap_or_default(),
            email,
            role: self.role.clone(),
            min_age: self.min_age,
            max_age: self.max_age,
            sort,
            order,
            limit: self.limit.get(),
            after: None,
        })
    }
}

/// A user in a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PersonView {
    id: String,
    #[schema(required = true)]
    username: Option<String>,
    name: String,
    email: String,
    /// In years.
    #[schema(required = true)]
    age: Option<i64>,
}

/// A user in a list, or with `expand=profile` the whole of it.
#[derive(Serialize)]
#[serde(untagged)]
enum ItemView {
    Whole(UserView),
    Short(PersonView),
}

impl PartialSchema for ItemView {
    fn schema() -> RefOr<Schema> {
        // Not oneOf, which utoipa derives: the whole of a user has all that a list has of one.
        AnyOfBuilder::new()
            .description(Some("A user in a list, or with `expand=profile` the whole of it."))
            .item(Ref::from_schema_name(UserView::name()))
            .item(Ref::from_schema_name(PersonView::name()))
            .into()
    }
}

impl ToSchema for ItemView {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((UserView::name().into_owned(), UserView::schema()));
        schemas.push((PersonView::name().into_owned(), PersonView::schema()));
        UserView::schemas(schemas);
        PersonView::schemas(schemas);
    }
}

impl ItemView {
    fn of(found: Versioned<User>, expand: Option<Expand>) -> Self {
        if let Some(Expand::Profile) = expand {
            return Self::Whole(UserView::of(found));
        }
        let User { id, username, name, email, age, .. } = found.value;
        Self::Short(PersonView { id, username, name, email, age })
    }
}

/// Users.
#[utoipa::path(
    tag = "users",
    params(UserListFilter),
    responses((status = 200, body = Listed<ItemView>)),
    security(("bearer" = ["users:read"])),
)]
#[get("/users")]
async fn list_users(
    asked: ValidQuery<UserListFilter>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let asked = asked.0;
    let mut filter = asked.parse()?;
    let narrowed = (&asked.q, &asked.email, asked.min_age, asked.max_age, &asked.role, asked.sort);
    let binding = Binding::new("users", &narrowed);
    filter.after = binding.after(asked.cursor.as_deref())?;
    let (found, next) = users.list(&filter).await?;
    let items = found.into_iter().map(|user| ItemView::of(user, asked.expand)).collect();
    Ok(Listed::new(items, next.as_ref(), &binding).respond(&request))
}
