//! The guard: who may call which route, by what each route's own `security` says in the OpenAPI
//! document. `security(("bearer" = ["catalog:write"]))` beside a handler is the one place; from it
//! come the document, this check, and the tests. So it is with the query: where a route's `params`
//! name none, none is taken.
//!
//! Called by [`super::server`], inside the frame and before anything of the request is read. What
//! never happens here: a decision that needs the id in the path (whose it is); handlers and
//! services make those.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage};

use super::caller::Caller;
use super::openapi::{self, Access, Terms};
use super::problem::Problem;
use super::query;
use super::routes::Served;
use super::template::Template;

struct Rule {
    method: &'static str,
    template: Template,
    terms: Terms,
}

/// The rules of what a server serves. Every request is looked up here.
pub(super) struct Rules {
    /// Of paths without a parameter, by method and path: they name most, so they come first.
    fixed: HashMap<&'static str, HashMap<String, Terms>>,
    /// Of all others, by how many segments they have.
    others: Vec<Vec<Rule>>,
}

impl Rules {
    /// Those of what is served.
    pub(super) fn of(served: &Served) -> Self {
        let mut rules = Self { fixed: HashMap::new(), others: Vec::new() };
        for (method, path, terms) in openapi::terms(served) {
            for template in Template::all_of(&path) {
                rules.add(method, template, terms.clone());
            }
        }
        rules
    }

    fn add(&mut self, method: &'static str, template: Template, terms: Terms) {
        match template.fixed() {
            Some(path) => _ = self.fixed.entry(method).or_default().insert(path, terms),
            None => {
                let length = template.len();
                self.others.resize_with(self.others.len().max(length + 1), Vec::new);
                self.others[length].push(Rule { method, template, terms });
            }
        }
    }

    /// What this method of this path asks for; nothing where there is no such route.
    fn terms(&self, method: &str, path: &str) -> Option<&Terms> {
        let path = path.trim_end_matches('/');
        let fixed = self.fixed.get(method).and_then(|paths| paths.get(path));
        fixed.or_else(|| self.other(method, path))
    }

    fn other(&self, method: &str, path: &str) -> Option<&Terms> {
        let segments: Vec<&str> = path.split('/').collect();
        let rules = self.others.get(segments.len())?.iter();
        let fitting = rules.filter(|rule| rule.method == method && rule.template.matches(&segments));
        fitting.max_by_key(|rule| rule.template.literals()).map(|rule| &rule.terms)
    }
}

/// The middleware: 401 without a session where one is asked for, 403 without the permission, 422 for
/// a query where none is taken.
pub(super) async fn check<B: MessageBody + 'static>(
    rules: Arc<Rules>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    // The path as the router reads it: with `%75sers` decoded to `users`.
    let path = request.match_info().get_ref().path();
    if let Some(terms) = rules.terms(request.method().as_str(), path)
        && let Err(problem) = admit(&request, terms).await
    {
        return Ok(request.error_response(problem).map_into_right_body());
    }
    next.call(request).await.map(ServiceResponse::map_into_left_body)
}

async fn admit(request: &ServiceRequest, terms: &Terms) -> Result<(), Problem> {
    if let Access::Session(permissions) = &terms.access {
        let caller = Caller::extract(request.request()).await?;
        permissions.iter().try_for_each(|permission| caller.require(permission))?;
        request.extensions_mut().insert(caller);
    }
    if terms.takes_no_query {
        query::refuse_all(request.query_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(method: &str, path: &str) -> Option<Vec<String>> {
        match &Rules::of(&Served::all()).terms(method, path)?.access {
            Access::All => None,
            Access::Session(permissions) => Some(permissions.clone()),
        }
    }

    #[test]
    fn a_route_asks_for_what_is_written_beside_it_with_and_without_its_version() {
        for path in ["/v1/products", "/products", "/products/"] {
            assert_eq!(permissions("POST", path), Some(vec!["catalog:write".to_owned()]), "{path}");
            assert_eq!(permissions("GET", path), None, "{path}");
        }
        assert_eq!(permissions("GET", "/v1/users/me"), Some(Vec::new()));
        assert_eq!(permissions("POST", "/v1/users/register"), None);
        assert_eq!(permissions("POST", "/v1/nothing"), None);
    }

    #[test]
    fn a_query_is_taken_where_it_is_documented_and_where_others_make_up_the_url() {
        let rules = Rules::of(&Served::all());
        let takes_none = |method: &str, path: &str| rules.terms(method, path).unwrap().takes_no_query;
        for (method, path) in
            [("GET", "/v1/orders/o1"), ("GET", "/orders/o1/timeline/"), ("POST", "/v1/orders")]
        {
            assert!(takes_none(method, path), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/v1/orders"),
            ("GET", "/products"),
            ("POST", "/v1/webhooks/stripe"),
            ("GET", "/healthz"),
            ("GET", "/metrics"),
            ("GET", "/docs"),
            ("GET", "/verify-email"),
        ] {
            assert!(!takes_none(method, path), "{method} {path}");
        }
    }
}
