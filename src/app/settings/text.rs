//! Texts to values and back, with messages that say what would fit.

use std::str::FromStr;
use std::time::Duration;

use crate::config::closest;
use crate::model::{ByteSize, PromDuration};
use crate::web::WebConfig;

/// One of some words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names = || choices.iter().map(|(name, _)| *name);
    let hint = closest(text, names()).map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
    Err(format!("expected one of {}, found {text:?}{hint}", names().collect::<Vec<_>>().join(", ")))
}

/// A whole number, zero included.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    // `parse` alone would take "+5".
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| format!("expected a whole number, found {text:?}"))
}

/// A whole number above zero.
pub(super) fn positive<T: FromStr + Default + PartialEq>(text: &str) -> Result<T, String> {
    match number::<T>(text)? {
        zero if zero == T::default() => Err("expected a number above 0".to_owned()),
        number => Ok(number),
    }
}

/// A size in Prometheus's notation, as a number of bytes above zero.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let size: ByteSize = text.parse().map_err(|error: crate::model::SizeError| error.to_string())?;
    match usize::try_from(size.bytes()) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        Ok(_) => Err("expected a size above 0".to_owned()),
        Err(_) => Err(format!("size out of range: {text:?}")),
    }
}

/// A number of bytes in Prometheus's notation.
pub(super) fn shown_size(bytes: &usize) -> String {
    ByteSize::new(*bytes as u64).to_string()
}

/// A duration in Prometheus's notation.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<PromDuration>().map(PromDuration::get).map_err(|error| error.to_string())
}

/// A duration above zero.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a duration above 0s".to_owned()),
        duration => Ok(duration),
    }
}

/// A duration in Prometheus's notation.
pub(super) fn shown_duration(duration: &Duration) -> String {
    PromDuration::new(*duration).to_string()
}

/// A URL that others can open, without slashes at its end; an empty text is none.
pub(super) fn external_url(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let uri: hyper::Uri = text.parse().map_err(|error| format!("not a URL: {error}: {text:?}"))?;
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if !matches!(uri.scheme_str(), Some("http" | "https")) || !has_host {
        return Err(format!("expected a URL such as \"https://host.example:9780\", found {text:?}"));
    }
    if text.contains(['?', '#']) {
        return Err(format!("a URL without \"?\" and \"#\": links are put behind it; found {text:?}"));
    }
    Ok(Some(text.trim_end_matches('/').to_owned()))
}

/// The path that all routes have before their own, without a slash at its end; an empty text is none said.
pub(super) fn route_prefix(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = text.trim_matches('/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !path.bytes().all(plain)
        || path.split('/').any(|part| !path.is_empty() && part.trim_matches('.').is_empty())
    {
        return Err(format!("expected a path such as \"/outrigger\", found {text:?}"));
    }
    Ok(Some(format!("/{path}")))
}

/// The path of the metrics, as the server wants it.
pub(super) fn url_path(text: &str) -> Result<String, String> {
    let config = WebConfig { metrics_path: text.to_owned(), ..WebConfig::default() };
    config.check().map_err(|error| error.to_string())?;
    Ok(config.metrics_path)
}
