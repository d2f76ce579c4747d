//! Which format a scraper gets, and what it is called in `Content-Type`.
//!
//! Source: Prometheus's content negotiation. The first acceptable format by `q` wins, exact types
//! before wildcards; an `escaping` parameter counts even on a type that is not ours; whoever asks
//! for nothing we have gets text 0.0.4. Types with `q=0` are refused, as RFC 9110 says.

use std::fmt::Write;

/// A text format and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// Prometheus text 0.0.4.
    Text004,
    /// Prometheus text 1.0.0: 0.0.4 that may quote UTF-8 names.
    Text100,
    /// OpenMetrics 0.0.1, the draft that older scrapers name. Written as 1.0.
    OpenMetrics001,
    /// OpenMetrics 1.0.
    OpenMetrics100,
}

impl Syntax {
    /// Whether this is OpenMetrics in any version.
    pub const fn is_open_metrics(self) -> bool {
        matches!(self, Self::OpenMetrics001 | Self::OpenMetrics100)
    }

    /// The syntax that a response's `Content-Type` names; `None` for types that are not ours.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let range = MediaRange::parse(content_type)?;
        range.syntax()
    }
}

/// What becomes of a metric or label name outside `[a-zA-Z_:][a-zA-Z0-9_:]*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// Written as it is, in quotes.
    AllowUtf8,
    /// Every other character becomes `_`.
    #[default]
    Underscores,
    /// `.` becomes `_dot_`, `_` and every other character become `__`.
    Dots,
    /// `U__`, then `_` doubled and every other character as `_hex_`: reversible.
    Values,
}

impl Escaping {
    const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    /// The scheme's name in an `escaping` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == name)
    }
}

/// What [`encode`](super::encode) writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// The format and version.
    pub syntax: Syntax,
    /// How names that are not classic are written.
    pub escaping: Escaping,
}

impl Format {
    /// Text 0.0.4, names escaped with underscores: what anybody can read.
    pub const TEXT: Self = Self { syntax: Syntax::Text004, escaping: Escaping::Underscores };
    /// OpenMetrics 1.0, names escaped with underscores.
    pub const OPEN_METRICS: Self = Self { syntax: Syntax::OpenMetrics100, escaping: Escaping::Underscores };

    /// The `Content-Type` of a response in this format, in the spelling of Go's client.
    pub fn content_type(self) -> String {
        let (media_type, version) = match self.syntax {
            Syntax::Text004 => (TEXT_TYPE, "0.0.4"),
            Syntax::Text100 => (TEXT_TYPE, "1.0.0"),
            Syntax::OpenMetrics001 => (OPEN_METRICS_TYPE, "0.0.1"),
            Syntax::OpenMetrics100 => (OPEN_METRICS_TYPE, "1.0.0"),
        };
        let mut text = String::with_capacity(96);
        let escaping = self.escaping.as_str();
        // Writing to a String cannot fail.
        let _ = write!(text, "{media_type}; version={version}; charset=utf-8; escaping={escaping}");
        text
    }
}

const TEXT_TYPE: &str = "text/plain";
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text";

/// Media ranges considered in one `Accept` header; Prometheus sends five.
const MAX_RANGES: usize = 32;

/// The format to answer with. `accept` is the request's `Accept` header, if it has one.
pub fn negotiate(accept: Option<&str>) -> Format {
    let ranges = accept.unwrap_or_default().split(',').take(MAX_RANGES);
    let mut ranges: Vec<MediaRange<'_>> = ranges.filter_map(MediaRange::parse).collect();
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.wildcards().cmp(&b.wildcards())));
    let mut escaping = Escaping::default();
    for range in ranges.iter().filter(|r| r.quality > 0.0) {
        escaping = range.parameter("escaping").and_then(Escaping::named).unwrap_or(escaping);
        if let Some(syntax) = range.syntax() {
            return Format { syntax, escaping };
        }
    }
    Format { syntax: Syntax::Text004, escaping }
}

/// Whether this `Content-Type` names what [`parse_protobuf`](super::parse_protobuf) reads.
pub fn is_delimited_protobuf(content_type: &str) -> bool {
    MediaRange::parse(content_type).is_some_and(|range| {
        range.kind.eq_ignore_ascii_case("application")
            && range.subtype.eq_ignore_ascii_case("vnd.google.protobuf")
            && range.parameter("proto").is_none_or(|proto| proto == "io.prometheus.client.MetricFamily")
            && range.parameter("encoding").is_some_and(|encoding| encoding == "delimited")
    })
}

/// One element of an `Accept` header, or a whole `Content-Type`.
struct MediaRange<'a> {
    kind: &'a str,
    subtype: &'a str,
    parameters: &'a str,
    quality: f32,
}

impl<'a> MediaRange<'a> {
    fn parse(element: &'a str) -> Option<Self> {
        let (media_type, parameters) = element.split_once(';').unwrap_or((element, ""));
        let (kind, subtype) = match media_type.trim().split_once('/') {
            Some((kind, subtype)) if !subtype.contains('/') => (kind.trim(), subtype.trim()),
            None if media_type.trim() == "*" => ("*", "*"),
            _ => return None,
        };
        let mut range = Self { kind, subtype, parameters, quality: 1.0 };
        if let Some(quality) = range.parameter("q") {
            range.quality = quality.parse::<f32>().ok().filter(|q| !q.is_nan()).unwrap_or(0.0);
        }
        Some(range)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let pairs = self.parameters.split(';').filter_map(|pair| pair.split_once('='));
        let mut values =
            pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        values
            .next()
            .map(|value| value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value))
    }

    fn syntax(&self) -> Option<Syntax> {
        let version = self.parameter("version").unwrap_or_default();
        if self.kind.eq_ignore_ascii_case("text") && self.subtype.eq_ignore_ascii_case("plain") {
            return match version {
                "" | "0.0.4" => Some(Syntax::Text004),
                "1.0.0" => Some(Syntax::Text100),
                _ => None,
            };
        }
        let open_metrics = self.kind.eq_ignore_ascii_case("application")
            && self.subtype.eq_ignore_ascii_case("openmetrics-text");
        match version {
            // Go's client takes a missing version for the oldest.
            "" | "0.0.1" if open_metrics => Some(Syntax::OpenMetrics001),
            "1.0.0" if open_metrics => Some(Syntax::OpenMetrics100),
            _ => None,
        }
    }

    fn wildcards(&self) -> u8 {
        u8::from(self.kind == "*") + u8::from(self.subtype == "*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Prometheus 3 with default configuration sends.
    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    /// What a Prometheus 2.42 sends.
    const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,\
        application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

    #[test]
    fn negotiation() {
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        use Syntax::{OpenMetrics001, OpenMetrics100, Text004, Text100};
        for (accept, syntax, escaping) in [
            (PROMETHEUS_3, OpenMetrics100, AllowUtf8),
            (PROMETHEUS_2, OpenMetrics100, Underscores),
            ("", Text004, Underscores),
            ("*/*", Text004, Underscores),
            ("text/html", Text004, Underscores),
            ("text/plain", Text004, Underscores),
            ("text/plain;version=0.0.4;escaping=dots", Text004, Dots),
            ("text/plain;version=1.0.0;escaping=values", Text100, Values),
            ("text/plain;version=0.0.3, application/openmetrics-text", OpenMetrics001, Underscores),
            ("application/openmetrics-text;version=2.0.0", Text004, Underscores),
            (
                "application/openmetrics-text; version=\"1.0.0\"; escaping=nonsense",
                OpenMetrics100,
                Underscores,
            ),
            ("application/openmetrics-text;version=1.0.0;q=0", Text004, Underscores),
            ("application/openmetrics-text;q=0.1,text/plain;q=0.2", Text004, Underscores),
            ("application/openmetrics-text;q=oops,text/plain;q=0.2", Text004, Underscores),
            ("text/plain;version=0.0.4;q=0.5;escaping=allow-utf-8,*/*;q=0.1", Text004, AllowUtf8),
            // The parameter counts although the protobuf format is not ours.
            ("application/vnd.google.protobuf;escaping=values,text/plain;q=0.5", Text004, Values),
            ("a/b/c, ;;;, =, *;q=1, text/plain;version=1.0.0;q=0.9", Text100, Underscores),
        ] {
            assert_eq!(negotiate(Some(accept)), Format { syntax, escaping }, "{accept}");
        }
        assert_eq!(negotiate(None), Format::TEXT);
    }

    #[test]
    fn content_types_are_those_of_go() {
        assert_eq!(
            Format::TEXT.content_type(),
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
        );
        let format = negotiate(Some(PROMETHEUS_3));
        assert_eq!(
            format.content_type(),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
        );
        assert_eq!(Syntax::from_content_type(&format.content_type()), Some(Syntax::OpenMetrics100));
        assert_eq!(Syntax::from_content_type("text/plain"), Some(Syntax::Text004));
        assert_eq!(Syntax::from_content_type("text/html; charset=utf-8"), None);
        for (content_type, expected) in [
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                true,
            ),
            ("application/vnd.google.protobuf;encoding=\"delimited\"", true),
            ("application/vnd.google.protobuf; encoding=text", false),
            ("application/vnd.google.protobuf; proto=other; encoding=delimited", false),
            ("text/plain; encoding=delimited", false),
        ] {
            assert_eq!(is_delimited_protobuf(content_type), expected, "{content_type}");
        }
    }
}
