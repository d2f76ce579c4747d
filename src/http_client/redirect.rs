//! Where a redirect leads.

use hyper::Uri;

/// The URL that `location` means on the page at `base`; `None` if it means none that can be asked.
pub fn next_url(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let text = if location.starts_with("http://") || location.starts_with("https://") {
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
    text.parse().ok().filter(|url: &Uri| url.host().is_some_and(|host| !host.is_empty()))
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
        ] {
            assert_eq!(next_url(&base, location).map(|u| u.to_string()).as_deref(), url, "{location}");
        }
    }
}
