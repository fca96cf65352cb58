//! Requests that no route answers: 404, 405 with `Allow`, and `OPTIONS`.
//!
//! What methods a path has is told by who serves it, from the OpenAPI document, which is collected from
//! the routes themselves.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::problem::Problem;
use super::template::Template;

/// The paths that this server answers, and how; in each worker's `app_data`.
pub(super) struct Templates(Vec<Entry>);

/// A template and the methods it has.
type Entry = (Template, BTreeSet<&'static str>);

impl Templates {
    /// Those of these documented paths, which have these methods.
    pub(super) fn of(operations: &BTreeMap<String, BTreeSet<&'static str>>) -> Self {
        let all = operations.iter();
        let all = all
            .flat_map(|(path, methods)| Template::all_of(path).map(|template| (template, methods.clone())));
        Self(all.collect())
    }
}

fn templates(request: &HttpRequest) -> &[Entry] {
    request.app_data::<Data<Templates>>().map_or(&[], |templates| &templates.0)
}

/// The methods of the resource at `path`.
fn methods(templates: &[Entry], path: &str) -> Option<BTreeSet<&'static str>> {
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let fitting = templates.iter().filter(|(template, _)| template.matches(&segments));
    let (_, methods) = fitting.max_by_key(|(template, _)| template.literals())?;
    let mut methods = methods.clone();
    if methods.contains("GET") {
        methods.insert("HEAD");
    }
    methods.insert("OPTIONS");
    Some(methods)
}

/// Why no route answers this request.
pub(super) fn unmatched(request: &HttpRequest) -> Problem {
    match methods(templates(request), request.path()) {
        Some(methods) if !methods.contains(request.method().as_str()) => {
            Problem::method_not_allowed(list(&methods))
        }
        _ => Problem::not_found(),
    }
}

/// The handler of what no route answers.
pub(super) async fn answer(request: HttpRequest) -> Result<HttpResponse, Problem> {
    if request.method() == actix_web::http::Method::OPTIONS
        && let Some(methods) = methods(templates(&request), request.path())
    {
        return Ok(HttpResponse::NoContent().insert_header((header::ALLOW, list(&methods))).finish());
    }
    Err(unmatched(&request))
}

fn list(methods: &BTreeSet<&'static str>) -> String {
    methods.iter().copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(path: &str) -> Option<String> {
        let routes = [
            ("/v1/users/{id}", ["GET", "DELETE"].as_slice()),
            ("/v1/users/register", &["POST"]),
            ("/v1/{kind}/register", &["PUT"]),
            ("/v2/hello", &["GET"]),
        ];
        let routes = routes.map(|(path, methods)| (path.to_owned(), methods.iter().copied().collect()));
        methods(&Templates::of(&routes.into()).0, path).map(|methods| list(&methods))
    }

    #[test]
    fn a_path_that_is_named_is_not_taken_for_one_with_a_parameter() {
        assert_eq!(allowed("/v1/users/register").as_deref(), Some("OPTIONS, POST"));
        assert_eq!(allowed("/v1/users/u1").as_deref(), Some("DELETE, GET, HEAD, OPTIONS"));
    }

    #[test]
    fn only_version_1_answers_without_its_name() {
        assert_eq!(allowed("/users/register/").as_deref(), Some("OPTIONS, POST"));
        assert_eq!(allowed("/hello"), None);
        assert_eq!(allowed("/v1/users/"), None);
        assert_eq!(allowed("/v1/users/u1/more"), None);
    }
}
