//! What each `code` of a problem means, in one table; `/problems/{code}`, the `type` of every
//! problem, answers with its row.

use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, get};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::problem::Problem;
use super::query::{InPath, PathId};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_codes).service(get_code);
}

/// What a code of a problem means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Code {
    /// The `code` of the problem.
    code: &'static str,
    /// The HTTP status that it comes with.
    status: u16,
    /// What it means, and what a client can do.
    meaning: &'static str,
}

const fn row(code: &'static str, status: u16, meaning: &'static str) -> Code {
    Code { code, status, meaning }
}

/// All of them, by status.
const CODES: &[Code] = &[
    row("bad_cursor", 400, "The cursor was made for another list or other filters. Begin at the first page."),
    row("bad_request", 400, "The request cannot be read."),
    row(
        "idempotency_key_required",
        400,
        "This command needs an Idempotency-Key header, so that repeating it counts once.",
    ),
    row("incomplete_body", 400, "The body ended or could not be read on before it was whole. Send it again."),
    row("malformed_header", 400, "A header has a value that cannot be read; errors names it."),
    row("malformed_json", 400, "The body is not JSON; detail says where it stops being."),
    row("malformed_query", 400, "The query string is not percent-encoded UTF-8."),
    row("malformed_request", 400, "What was sent is no HTTP request."),
    row("missing_field", 400, "A required key or parameter is missing; errors names it."),
    row("invalid_credentials", 401, "No user has this name with this password."),
    row("invalid_refresh_token", 401, "The refresh token is unknown, used up or ended. Log in."),
    row("unauthenticated", 401, "The session token is missing, ended or unknown. Log in."),
    row("permission_required", 403, "The caller lacks the permission that detail names."),
    row("not_found", 404, "There is no such resource, or it belongs to another."),
    row("method_not_allowed", 405, "The resource has other methods; Allow lists them."),
    row("body_too_slow", 408, "The body did not arrive in time. Send it again."),
    row("head_too_slow", 408, "The head of the request did not arrive in time. Send it again."),
    row("archived", 409, "The product is archived; nothing of it can be changed or held."),
    row("below_held", 409, "Orders and shoppers hold more units than would be left."),
    row("category_has_children", 409, "The category has others below it. Move or delete them first."),
    row("category_in_use", 409, "Products are in the category. Move them first."),
    row("conflict", 409, "Another change came first. Read the resource and try again."),
    row(
        "deleted_since",
        409,
        "A command with this Idempotency-Key was done before, and what it made was deleted since.",
    ),
    row("email_taken", 409, "Another user has this mail address."),
    row(
        "former_is_back",
        409,
        "The bank tells of another transaction under the id of what was merged, so that cannot be taken out.",
    ),
    row("hold_expired", 409, "The hold has ended. Make a new one."),
    row("hold_taken", 409, "An order has taken the hold over already."),
    row("last_admin", 409, "The last admin can be neither demoted nor disabled nor deleted."),
    row("no_step", 409, "The order has no step that could be tried again."),
    row("not_dead", 409, "Only a dead letter can be tried again or dropped."),
    row("not_paused", 409, "What should go on is not paused."),
    row("nothing_merged", 409, "Nothing was merged into the transaction, so nothing can be taken out."),
    row("out_of_stock", 409, "There are too few units of the SKUs that it names."),
    row("price_changed", 409, "The order costs something else than expected: total and currency say what."),
    row("refund_too_large", 409, "More than is left of what was captured. Ask for less."),
    row("role_fixed", 409, "The role admin permits everything and cannot be changed."),
    row("sku_taken", 409, "Another product has, or had, this SKU."),
    row("stock_held", 409, "Orders or shoppers hold units of the product. Try again when they do not."),
    row("synced", 409, "The account is synced from its bank; only accounts kept by hand can be written to."),
    row("too_many_accounts", 409, "The user has as many accounts as may be."),
    row("too_many_categories", 409, "There are as many categories as there can be."),
    row("too_many_connections", 409, "The user has as many connections as may be."),
    row("too_many_flags", 409, "There are as many flags as may be."),
    row("too_many_holds", 409, "The user has as many live holds as may be."),
    row("too_many_pauses", 409, "As much is paused as may be."),
    row("too_many_refunds", 409, "There are as many refunds of the order as there can be."),
    row("too_many_roles", 409, "There are as many roles as may be."),
    row("username_taken", 409, "Another user has this username."),
    row(
        "wrong_state",
        409,
        "The order is in a state in which this cannot be done; nextStates names what can follow.",
    ),
    row("precondition_failed", 412, "The resource is another than If-Match says. Read it again."),
    row("body_too_large", 413, "The body is larger than this route reads; detail says how much it does."),
    row(
        "unsupported_media_type",
        415,
        "The body is not of a kind that this route reads; detail says which it does.",
    ),
    row(
        "idempotency_key_reused",
        422,
        "The Idempotency-Key was used for a command that said something else.",
    ),
    row("invalid_fields", 422, "Values won't do; errors names each with a code and a reason."),
    row("no_link_page", 422, "The provider has no page for this. Link anew with a token of its own."),
    row("setup_token_refused", 422, "The provider, or Steward, refuses the setup token."),
    row("rate_limited", 429, "Too many requests. Come back after Retry-After seconds."),
    row("head_too_large", 431, "The request line and headers are too large together."),
    row("internal", 500, "Something went wrong on our side. requestId finds it in the logs."),
    row(
        "no_rates",
        503,
        "No exchange rates were ever had. Ask without currency, or after Retry-After seconds.",
    ),
    row("outcome_unknown", 503, "It may or may not have been done. Repeat it with the same Idempotency-Key."),
    row("unavailable", 503, "Nothing was done. Come back after Retry-After seconds."),
];

/// What every code means.
#[utoipa::path(tag = "operations", operation_id = "problems", responses(
    (status = 200, description = "By status; as HTML for browsers", body = Vec<Code>),
))]
#[get("/problems")]
async fn list_codes(request: HttpRequest) -> HttpResponse {
    answer(&request, CODES, CODES)
}

/// What this code means: the `type` of a problem leads here.
#[utoipa::path(
    tag = "operations",
    operation_id = "problem",
    params(("code" = String, Path)),
    responses((status = 200, description = "As HTML for browsers", body = Code)),
)]
#[get("/problems/{code}")]
async fn get_code(request: HttpRequest, code: InPath<PathId>) -> Result<HttpResponse, Problem> {
    let row = CODES.iter().find(|row| row.code == code.0.0).ok_or_else(Problem::not_found)?;
    Ok(answer(&request, std::slice::from_ref(row), row))
}

fn answer(request: &HttpRequest, rows: &[Code], json: impl Serialize) -> HttpResponse {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut response = HttpResponse::Ok();
    response.insert_header(("vary", "Accept")).insert_header(("cache-control", "public, max-age=3600"));
    if !accept.contains("text/html") {
        return response.json(json);
    }
    // The table is ours and has nothing in it that HTML would read.
    let rows: String = rows
        .iter()
        .map(|Code { code, status, meaning }| {
            format!("<dt>{status} <code>{code}</code></dt><dd>{meaning}</dd>")
        })
        .collect();
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"UTF-8\"><title>Problems</title></head>\
         <body><dl>{rows}</dl></body></html>"
    );
    response.content_type("text/html; charset=utf-8").body(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_there_once_and_reads_as_html() {
        let mut seen = std::collections::BTreeSet::new();
        for Code { code, meaning, .. } in CODES {
            assert!(seen.insert(code), "{code} twice");
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
            assert!(!meaning.contains(['<', '>', '&']), "{code}");
        }
        assert!(CODES.is_sorted_by_key(|row| (row.status, row.code)));
    }

    #[test]
    fn what_every_route_can_answer_is_in_the_table_with_its_status() {
        for problem in [
            Problem::missing("x"),
            Problem::invalid(Vec::new()),
            Problem::unauthorized(),
            Problem::forbidden("x"),
            Problem::not_found(),
            Problem::method_not_allowed("GET"),
            Problem::precondition_failed(),
            Problem::too_large(1),
            Problem::unsupported_media_type("x"),
            Problem::too_many(std::time::Duration::ZERO),
            Problem::unavailable("x"),
            Problem::outcome_unknown("x"),
            Problem::internal("x"),
            Problem::key_reused(),
        ] {
            let row = CODES.iter().find(|row| row.code == problem.code());
            assert_eq!(row.map(|row| row.status), Some(problem.status().as_u16()), "{problem}");
        }
    }
}
