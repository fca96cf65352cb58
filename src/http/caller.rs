//! Who is calling: [`Caller`], from `Authorization: Bearer <token>` and nothing else.
//!
//! What never happens here: a token in a query string or a cookie, or telling why a token is bad.

use std::ops::Deref;
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, ready};
use steward_actors::audit::By;
use steward_actors::session::{AuthError, Principal, SessionsHandle};

use super::address::ClientAddress;
use super::limiting::Count;
use super::problem::Problem;
use super::request_id::RequestId;

/// Recognises callers. One per worker thread, so its futures may stay there.
#[async_trait(?Send)]
pub trait Authenticate {
    /// Whose token this is.
    ///
    /// # Errors
    /// [`AuthError`].
    async fn authenticate(&self, token: &str) -> Result<Principal, AuthError>;
}

#[async_trait(?Send)]
impl Authenticate for SessionsHandle {
    async fn authenticate(&self, token: &str) -> Result<Principal, AuthError> {
        Self::authenticate(self, token).await
    }
}

/// What the composition root puts into each worker's `app_data`.
pub type Authenticator = Rc<dyn Authenticate>;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 4096;

/// An authenticated caller; a request without one is answered 401.
#[derive(Clone, Debug)]
pub struct Caller(pub Principal);

impl Caller {
    /// Checks that the caller has this permission. The guard does, for what a route's `security`
    /// names; this is for what only shows in the request.
    ///
    /// # Errors
    /// 403.
    pub fn require(&self, permission: &str) -> Result<(), Problem> {
        if self.0.may(permission) { Ok(()) } else { Err(Problem::forbidden(permission)) }
    }

    /// Checks that the caller is this user, or has this permission over others. Whoever has
    /// neither must not learn whether the user exists.
    ///
    /// # Errors
    /// 404.
    pub fn require_self_or(&self, user_id: &str, permission: &str) -> Result<(), Problem> {
        if self.0.user_id == user_id || self.0.may(permission) { Ok(()) } else { Err(Problem::not_found()) }
    }
}

impl Caller {
    /// Whose act this request is, for the audit log.
    pub fn by(&self, request: &HttpRequest) -> By {
        let from = ClientAddress::of(request).map(|address| address.to_string());
        let id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
        By::user(&self.0.user_id, from, id)
    }
}

impl Deref for Caller {
    type Target = Principal;
    fn deref(&self) -> &Principal {
        &self.0
    }
}

/// Who is calling, where nobody is an answer too. Bad credentials are still 401.
#[derive(Clone, Debug)]
pub struct MaybeCaller(pub Option<Caller>);

impl MaybeCaller {
    /// Whether there is a caller with this permission.
    pub fn may(&self, permission: &str) -> bool {
        self.0.as_ref().is_some_and(|caller| caller.may(permission))
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // The guard has asked already, where the route's description says that it needs a caller.
        if let Some(known) = request.extensions().get::<Self>() {
            return ready(Ok(known.clone())).boxed_local();
        }
        let token = bearer(request);
        let authenticator = request.app_data::<Authenticator>().cloned();
        let count = request.extensions().get::<Rc<Count>>().cloned();
        async move {
            let token = token?.ok_or_else(Problem::unauthorized)?;
            recognise(authenticator, count, &token).await
        }
        .boxed_local()
    }
}

impl FromRequest for MaybeCaller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let token = bearer(request);
        let authenticator = request.app_data::<Authenticator>().cloned();
        let count = request.extensions().get::<Rc<Count>>().cloned();
        async move {
            match token? {
                None => Ok(Self(None)),
                Some(token) => recognise(authenticator, count, &token).await.map(|caller| Self(Some(caller))),
            }
        }
        .boxed_local()
    }
}

async fn recognise(
    authenticator: Option<Authenticator>,
    count: Option<Rc<Count>>,
    token: &str,
) -> Result<Caller, Problem> {
    let authenticator = authenticator.ok_or_else(|| Problem::internal("no authenticator in app_data"))?;
    let principal = authenticator.authenticate(token).await;
    match (&count, &principal) {
        (Some(count), Ok(principal)) => count.on_user(&principal.user_id).await?,
        (Some(count), Err(AuthError::Unauthenticated)) => count.on_address().await?,
        _ => {}
    }
    let principal = principal?;
    tracing::Span::current().record("user_id", principal.user_id.as_str());
    Ok(Caller(principal))
}

/// The token of the one `Authorization` header; `None` without one.
pub(super) fn bearer(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(header::AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| value.split_once(' ')).and_then(|(scheme, token)| {
        let token = token.trim_matches(' ');
        // `to_str` lets spaces and tabs pass, and nothing else that cannot be seen.
        let visible = !token.is_empty() && !token.contains([' ', '\t']);
        (scheme.eq_ignore_ascii_case("bearer") && visible && token.len() <= MAX_TOKEN)
            .then(|| token.to_owned())
    });
    match (token, values.next()) {
        (Some(token), None) => Ok(Some(token)),
        _ => Err(Problem::unauthorized()),
    }
}
