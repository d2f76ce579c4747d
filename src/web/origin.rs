//! Whether a request that changes something was sent by a page of somebody else.
//!
//! A browser sends the credentials of basic authentication and client certificates along with what any page asks it to
//! send. So a change is refused that says it comes from elsewhere; programs say nothing of the kind. A page of this
//! program behind a proxy comes from the host of `--web.external-url`.
//!
//! Source: Fetch metadata (W3C) for `Sec-Fetch-Site`; RFC 6454 for `Origin`.

use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;

use super::pages::text;

/// The answer to it.
pub(super) fn refused() -> Response {
    text(StatusCode::FORBIDDEN, "pages of other origins may change nothing here\n")
}

/// Whether it comes from a page of another origin. `uri` is the request's: HTTP/2 has its host there.
pub(super) fn is_foreign(headers: &HeaderMap, uri: &Uri, external_url: &Uri) -> bool {
    let field = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match field("sec-fetch-site") {
        Some("same-origin" | "none") => return false,
        Some(_) => return true,
        None => {}
    }
    let Some(origin) = field(header::ORIGIN.as_str()) else { return false };
    let Some((_, origin)) = origin.split_once("://") else { return true };
    let own = [
        field(header::HOST.as_str()),
        uri.authority().map(axum::http::uri::Authority::as_str),
        external_url.authority().map(axum::http::uri::Authority::as_str),
    ];
    !own.into_iter().flatten().any(|host| host.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn pages_of_others_are_told_from_programs_and_own_pages() {
        for (headers, foreign) in [
            (&[("host", "a:1")][..], false),
            (&[("host", "a:1"), ("origin", "http://a:1")], false),
            (&[("host", "a:1"), ("origin", "http://A:1")], false),
            (&[("host", "a:1"), ("origin", "http://a:2")], true),
            (&[("host", "a:1"), ("origin", "http://evil/a:1")], true),
            (&[("host", "a:1"), ("origin", "null")], true),
            (&[("host", "a:1"), ("origin", "https://o.example")], false),
            (&[("origin", "http://evil")], true),
            (&[("host", "a"), ("origin", "http://evil"), ("sec-fetch-site", "cross-site")], true),
            (&[("host", "a"), ("sec-fetch-site", "same-site")], true),
            (&[("host", "a"), ("origin", "null"), ("sec-fetch-site", "same-origin")], false),
        ] {
            let pairs = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let uri = Uri::from_static("/api/v1/events");
            let external = Uri::from_static("https://o.example/x");
            assert_eq!(is_foreign(&HeaderMap::from_iter(pairs), &uri, &external), foreign, "{headers:?}");
        }
    }
}
