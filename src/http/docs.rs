//! The description of the API: `/openapi.json` for programs, `/docs` for people. All assets are
//! our own; the page loads nothing from elsewhere.

use std::sync::{Arc, OnceLock};

use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, get};
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_swagger_ui::Config;

use super::openapi;
use super::problem::Problem;
use super::query::InPath;

const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="UTF-8">
    <title>Steward API</title>
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <link rel="stylesheet" href="/docs/swagger-ui.css">
    <link rel="stylesheet" href="/docs/index.css">
    <link rel="icon" type="image/png" href="/docs/favicon-32x32.png" sizes="32x32">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
"#;

const START: &str = r##"window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"##;

/// The page runs its own scripts only; its style sheets set styles in place.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
                      form-action 'none'";

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(document).service(page).service(asset);
}

/// This document.
#[utoipa::path(tag = "operations", operation_id = "openapi", responses(
    (status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object),
))]
#[get("/openapi.json")]
async fn document() -> Result<HttpResponse, Problem> {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = match TEXT.get() {
        Some(text) => text.clone(),
        None => {
            let text = openapi::document().to_json().map_err(Problem::internal)?;
            TEXT.get_or_init(|| text.into()).clone()
        }
    };
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}

/// This document, to browse and to try.
#[utoipa::path(tag = "operations", operation_id = "docs", responses(
    (status = 200, description = "A page", content_type = "text/html", body = String),
))]
#[get("/docs")]
async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .body(PAGE)
}

/// What the page is made of.
#[utoipa::path(
    tag = "operations",
    operation_id = "docsAsset",
    params(("file" = String, Path, description = "A file of the page")),
    responses((status = 200, description = "The file")),
)]
#[get("/docs/{file}")]
async fn asset(file: InPath<String>) -> Result<HttpResponse, Problem> {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "public, max-age=3600"));
    if file.0 == "start.js" {
        return Ok(response.content_type("text/javascript; charset=utf-8").body(START));
    }
    let config = Arc::new(Config::from("/openapi.json"));
    match utoipa_swagger_ui::serve(&file.0, config).map_err(Problem::internal)? {
        // The index of the viewer itself names other addresses; ours is at /docs.
        Some(found) if !matches!(file.0.as_str(), "index.html" | "swagger-initializer.js") => {
            if found.gzpipped {
                response.insert_header((header::CONTENT_ENCODING, "gzip"));
            }
            Ok(response.content_type(found.content_type).body(found.bytes.into_owned()))
        }
        _ => Err(Problem::not_found()),
    }
}
