//! The routes: landing page and the management endpoints, with Prometheus's texts and codes.
//!
//! Source: Prometheus's "Management API" page and `web/web.go`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use tower::ServiceExt as _;

use super::api;
use super::body::{self, BodyLimits};
use super::gate::{self, Gate};
use super::origin::{self, is_foreign};
use super::scrape::{self, Scrapes};
use super::{WebConfig, WebState, instrument, push, rule_pages, write};

/// All routes, instrumented and guarded.
pub(super) fn router(config: &WebConfig, state: WebState, gate: Arc<Gate>) -> Router {
    let metrics = state.metrics.clone();
    let scrapes = Scrapes::new(&state, &config.limits);
    let push =
        state.push.clone().map(|api| push::router(api, state.now, &state.external_url, &config.limits));
    let write = write::router(state.write.clone(), state.now, &state.external_url, &config.limits);
    let landing = (config.metrics_path != "/").then(|| landing_page(&config.metrics_path, &state.version));
    let state = Arc::new(state);
    let post_or_put = MethodFilter::POST.or(MethodFilter::PUT);
    let for_people = state.api.clone().map(rule_pages::router);
    let api = state.api.clone().map(api::router);
    let mut pages = Router::new()
        .route(&config.metrics_path, get(scrape::metrics).with_state(scrapes))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", on(post_or_put, reload).fallback(reload_not_allowed));
    if let Some(page) = landing {
        pages = pages.route("/", get(move || async move { html(page.clone()) }));
    }
    // These want no body. The routes merged below read theirs, within the same limits.
    let pages =
        pages.fallback(not_found).layer(from_fn_with_state(BodyLimits::from(&config.limits), body::discard));
    pages
        .merge(api.unwrap_or_default())
        .merge(for_people.unwrap_or_default())
        .merge(push.unwrap_or_default())
        .merge(write)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(gate, gate::guard))
        .layer(from_fn_with_state(metrics, instrument::observe))
        .with_state(state)
}

/// The same routes below a prefix, as Prometheus's `--web.route-prefix`; the root leads there.
pub(super) fn below(prefix: &str, router: Router) -> Router {
    if prefix.is_empty() {
        return router;
    }
    let prefix: Arc<str> = prefix.into();
    Router::new().fallback(move |mut request: Request| {
        let (prefix, router) = (Arc::clone(&prefix), router.clone());
        async move {
            if request.uri().path() == "/" || request.uri().path() == &*prefix {
                return redirect(&format!("{prefix}/"));
            }
            match without_prefix(request.uri(), &prefix) {
                Some(uri) => *request.uri_mut() = uri,
                None => return not_found().await,
            }
            match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    })
}

fn redirect(to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The URI with a path that begins behind the prefix.
fn without_prefix(uri: &Uri, prefix: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix).filter(|rest| rest.starts_with('/'))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest.parse().ok()?);
    Uri::from_parts(parts).ok()
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

async fn reload(State(state): State<Arc<WebState>>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(handle) = &state.reload else {
        return text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.");
    };
    if is_foreign(&headers, &uri, &state.external_url) {
        return origin::refused();
    }
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

pub(super) async fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

pub(super) async fn method_not_allowed() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// A plain-text answer that no browser takes for anything else.
pub(super) fn text(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, body.into()).into_response()
}

/// A page that holds nothing but its own text and style; forms go to this program only, which is told their origin.
pub(super) fn html(page: String) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    ];
    (StatusCode::OK, headers, page).into_response()
}

fn landing_page(metrics_path: &str, version: &str) -> String {
    let (metrics_path, version) = (escaped(metrics_path.trim_start_matches('/')), escaped(version));
    document(
        "Outrigger",
        &format!(
            r#"<p>Metrics of this machine in Prometheus format.</p>
<p>Version: {version}</p>
<ul>
<li><a href="{metrics_path}">Metrics</a></li>
<li><a href="-/healthy">Health</a></li>
<li><a href="-/ready">Readiness</a></li>
</ul>
"#
        ),
    )
}

/// A whole page; `body` is markup already.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #1b2733; background: #fff; }}
header {{ padding: 1rem; background: #0b4f6c; color: #fff; }}
header a {{ color: #fff; margin-right: 1rem; }}
h1 {{ margin: 0; font-size: 1.5rem; }}
main {{ padding: 1rem; }}
a {{ color: #0b4f6c; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; }}
code {{ overflow-wrap: anywhere; }}
.firing, .err {{ color: #b00020; }}
.pending {{ color: #8a5a00; }}
@media (prefers-color-scheme: dark) {{
body {{ color: #e4eaf0; background: #12181f; }} a {{ color: #7cc4e4; }}
.firing, .err {{ color: #ff8a80; }} .pending {{ color: #ffca6b; }}
}}
</style>
</head>
<body>
<header><h1>{title}</h1><a href="./">Outrigger</a><a href="alerts">Alerts</a><a href="rules">Rules</a><a href="graph">Query</a></header>
<main>
{body}
</main>
</body>
</html>
"#
    )
}

pub(super) fn escaped(text: &str) -> String {
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
    fn a_prefix_is_taken_off_whole_parts_of_a_path() {
        for (uri, rest) in [
            ("/a/b?c=/a", Some("/b?c=/a")),
            ("/a/", Some("/")),
            ("/a/a/x", Some("/a/x")),
            ("http://h/a/b", Some("http://h/b")),
            ("/ab", None),
            ("/a", None),
            ("/x/a/b", None),
        ] {
            let rest: Option<Uri> = rest.map(|rest| rest.parse().unwrap());
            assert_eq!(without_prefix(&uri.parse().unwrap(), "/a"), rest, "{uri}");
        }
    }

    #[test]
    fn the_landing_page_escapes_what_it_is_given() {
        let page = landing_page("/m?a=\"b\"", "1 <script>");
        assert!(page.contains(r#"href="m?a=&quot;b&quot;""#) && page.contains("1 &lt;script&gt;"), "{page}");
    }
}
