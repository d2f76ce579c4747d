//! The routes: landing page and the management endpoints, with Prometheus's texts and codes.
//!
//! Source: Prometheus's "Management API" page and `web/web.go`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};

use super::body::{self, BodyLimits};
use super::gate::{self, Gate};
use super::scrape::{self, Scrapes};
use super::{WebConfig, WebState, instrument};

/// All routes, instrumented and guarded.
pub(super) fn router(config: &WebConfig, state: WebState, gate: Arc<Gate>) -> Router {
    let metrics = state.metrics.clone();
    let scrapes = Scrapes::new(&state, &config.limits);
    let landing = (config.metrics_path != "/").then(|| landing_page(&config.metrics_path, &state.version));
    let state = Arc::new(state);
    let post_or_put = MethodFilter::POST.or(MethodFilter::PUT);
    let mut router = Router::new()
        .route(&config.metrics_path, get(scrape::metrics).with_state(scrapes))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", on(post_or_put, reload).fallback(reload_not_allowed));
    if let Some(page) = landing {
        router = router.route("/", get(move || async move { html(page.clone()) }));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(BodyLimits::from(&config.limits), body::discard))
        .layer(from_fn_with_state(gate, gate::guard))
        .layer(from_fn_with_state(metrics, instrument::observe))
        .with_state(state)
}

async fn healthy() -> Response {
    text(StatusCode::OK, "Outrigger is Healthy.\n")
}

async fn ready(State(state): State<Arc<WebState>>) -> Response {
    if state.ready.is_ready() {
        text(StatusCode::OK, "Outrigger is Ready.\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable\n")
    }
}

async fn reload(State(state): State<Arc<WebState>>) -> Response {
    let Some(handle) = &state.reload else {
        return text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.");
    };
    match handle.reload().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let message = format!("failed to reload config: {error}\n");
            text(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    }
}

async fn reload_not_allowed() -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed.\n");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST, PUT"));
    response
}

async fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

async fn method_not_allowed() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// A plain-text answer that no browser takes for anything else.
pub(super) fn text(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, body.into()).into_response()
}

fn html(page: String) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    (StatusCode::OK, headers, page).into_response()
}

fn landing_page(metrics_path: &str, version: &str) -> String {
    let (metrics_path, version) = (escaped(metrics_path), escaped(version));
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Outrigger</title>
<style>
body {{ margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #1b2733; background: #fff; }}
header {{ padding: 1rem; background: #0b4f6c; color: #fff; }}
h1 {{ margin: 0; font-size: 1.5rem; }}
main {{ padding: 1rem; }}
a {{ color: #0b4f6c; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e4eaf0; background: #12181f; }} a {{ color: #7cc4e4; }} }}
</style>
</head>
<body>
<header><h1>Outrigger</h1></header>
<main>
<p>Metrics of this machine in Prometheus format.</p>
<p>Version: {version}</p>
<ul>
<li><a href="{metrics_path}">Metrics</a></li>
<li><a href="/-/healthy">Health</a></li>
<li><a href="/-/ready">Readiness</a></li>
</ul>
</main>
</body>
</html>
"#
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_landing_page_escapes_what_it_is_given() {
        let page = landing_page("/m?a=\"b\"", "1 <script>");
        assert!(page.contains(r#"href="/m?a=&quot;b&quot;""#) && page.contains("1 &lt;script&gt;"), "{page}");
    }
}
