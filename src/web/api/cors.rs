//! Cross-origin requests: `--web.cors.origin`, and the answer to `OPTIONS`.
//!
//! Source: Prometheus `util/httputil/cors.go`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use regex::Regex;

/// Which pages of other origins may read answers.
#[derive(Clone, Debug)]
pub(super) enum Origins {
    /// Of none.
    None,
    /// Of all.
    All,
    /// Of those that the expression fits as a whole.
    Some(Regex),
}

impl Origins {
    /// From the flag's expression.
    pub(super) fn new(allowed: Option<&Regex>) -> Self {
        match allowed {
            None => Self::None,
            Some(regex) if ["^(?s:.*)$", "^(?:.*)$"].contains(&regex.as_str()) => Self::All,
            Some(regex) => Self::Some(regex.clone()),
        }
    }

    fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let Some(origin) = request.get(header::ORIGIN) else { return };
        let allowed = match self {
            Self::All => HeaderValue::from_static("*"),
            Self::Some(allowed) if origin.to_str().is_ok_and(|text| allowed.is_match(text)) => origin.clone(),
            Self::None | Self::Some(_) => return,
        };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ] {
            response.insert(name, HeaderValue::from_static(value));
        }
        response.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Answers `OPTIONS` and puts the headers on every other answer.
pub(super) async fn cross_origin(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    origins.allow(&headers, response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::anchored_regex;

    #[test]
    fn origins_are_allowed_as_the_flag_says() {
        for (flag, origin, answer) in [
            (".*", Some("https://a.example"), Some("*")),
            (".*", None, None),
            (r"https?://(a|b)\.example", Some("https://a.example"), Some("https://a.example")),
            (r"https?://(a|b)\.example", Some("https://a.example.evil"), None),
        ] {
            let mut request = HeaderMap::new();
            if let Some(origin) = origin {
                request.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let mut response = HeaderMap::new();
            Origins::new(Some(&anchored_regex(flag).unwrap())).allow(&request, &mut response);
            let allowed = response.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|v| v.to_str().unwrap());
            assert_eq!(allowed, answer, "{flag} {origin:?}");
            assert_eq!(response.contains_key(header::ACCESS_CONTROL_ALLOW_METHODS), answer.is_some());
        }
    }
}
