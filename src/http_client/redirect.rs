//! URLs as people and servers write them, and where a redirect leads.
//!
//! Source: RFC 3986; what Go's `net/url` takes and how it sends it.

use std::fmt::Write as _;

use hyper::Uri;
use hyper::http::uri::InvalidUri;

/// A URL with a scheme and a host. What a path or query holds that may not stand there is escaped, as Go does it: spaces,
/// letters beyond ASCII.
///
/// # Errors
/// It is none, all the same.
pub fn lenient_url(text: &str) -> Result<Uri, InvalidUri> {
    let Some((scheme, rest)) = text.split_once("://") else { return text.parse() };
    let (host, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/".to_owned() } else { escaped(path, br#" "<>\^`{|}"#) };
    // Here Go sends what it finds, but spaces are the end to servers, and quotes to `Uri`.
    format!("{}://{host}{path}{}", scheme.to_ascii_lowercase(), escaped(query, br#" "<>"#)).parse()
}

fn escaped(text: &str, special: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii() && !special.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The URL that `location`, a header's value, means on the page at `base`; `None` if it means none that can be asked.
pub fn next_url(base: &Uri, location: &[u8]) -> Option<Uri> {
    // In whatever encoding the letters are, they go back as they came.
    let location: String = location
        .iter()
        .map(|byte| if byte.is_ascii() { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let location = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let own_scheme = location.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let text = if matches!(own_scheme.as_deref(), Some("http" | "https")) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') || location.is_empty() {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else if location.split('/').next().is_some_and(|first| first.contains(':')) {
        // Another scheme.
        return None;
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{}", without_dots(&format!("{folder}/{location}")))
    };
    lenient_url(&text).ok().filter(|url: &Uri| url.host().is_some_and(|host| !host.is_empty()))
}

/// RFC 3986 section 5.2.4: `.` and `..` taken out of a path.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_relative_to_the_page() {
        let base: Uri = "http://h:1/a/b?c=d".parse().unwrap();
        for (location, url) in [
            ("https://x/y", Some("https://x/y")),
            ("//x/y", Some("http://x/y")),
            ("/y?z", Some("http://h:1/y?z")),
            ("y", Some("http://h:1/a/y")),
            ("../y#f", Some("http://h:1/y")),
            ("./y?../z", Some("http://h:1/a/y?../z")),
            ("?q", Some("http://h:1/a/b?q")),
            ("ftp://x/", None),
            ("javascript:alert(1)", None),
            ("http:///x", None),
            ("HTTPS://x?y", Some("https://x/?y")),
            ("/a b/<c>", Some("http://h:1/a%20b/%3Cc%3E")),
            ("/café", Some("http://h:1/caf%C3%A9")),
            ("/see?http://x/", Some("http://h:1/see?http://x/")),
        ] {
            let next = next_url(&base, location.as_bytes());
            assert_eq!(next.map(|u| u.to_string()).as_deref(), url, "{location}");
        }
        let latin = next_url(&base, b"/caf\xe9").unwrap();
        assert_eq!(latin.to_string(), "http://h:1/caf%E9");
    }

    #[test]
    fn what_may_not_stand_in_a_url_is_escaped() {
        for (text, url) in [
            ("http://h/a?b=c", Some("http://h/a?b=c")),
            ("HTTP://h:1?x=1", Some("http://h:1/?x=1")),
            ("https://h", Some("https://h/")),
            ("http://h#f?/", Some("http://h/")),
            (
                "http://h/a b/<x>^`|\\{}\"%20?a={\"b\": \"<c>\"}#d e",
                Some("http://h/a%20b/%3Cx%3E%5E%60%7C%5C%7B%7D%22%20?a={%22b%22:%20%22%3Cc%3E%22}"),
            ),
            ("http://h/café?é", Some("http://h/caf%C3%A9?%C3%A9")),
            ("http://h/a\nb", None),
            ("http://h/a\0b", None),
            ("http://h h/", None),
            ("http:///x", None),
            ("", None),
        ] {
            let got = lenient_url(text).ok().map(|url| url.to_string());
            assert_eq!(got.as_deref(), url, "{text}");
        }
    }
}
