//! The grouping key of a push: the labels in its path, which name the group and are set on all its metrics.
//!
//! Source: the Pushgateway's README, "URL"; where that is silent, what a Pushgateway 1.5 answers, in its words.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::model::{ColdSort, Quoted, valid_label_name};

/// Says that the next part of the path is encoded.
const ENCODED: &str = "@base64";

/// Where a path with a grouping key begins.
const PREFIX: &str = "/metrics/job";

/// As lenient as Go's: padding may be absent, the last bits may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// The labels of a group, `job` included, sorted by name. A value may be empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grouping(Vec<(String, String)>);

/// Why a path holds no grouping key. The texts are the Pushgateway's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupingError {
    /// `%` without two digits.
    #[error("the path is not percent-encoded")]
    Escape,
    /// A part that is not UTF-8 once decoded.
    #[error("the value of {0} is not valid UTF-8")]
    NotUtf8(String),
    /// An empty job.
    #[error("job name is required")]
    NoJob,
    /// A label without a value.
    #[error("odd number of components in label string {}", Quoted(.0))]
    OddParts(String),
    /// A label name that Prometheus refuses or keeps for itself.
    #[error("improper label name {}", Quoted(.0))]
    LabelName(String),
    /// What should be base64 for URLs.
    #[error("invalid base64 encoding {place}: illegal base64 data at input byte {at}")]
    Base64 {
        /// Which part of the path.
        place: String,
        /// Offset of the first wrong character.
        at: usize,
    },
    /// More labels than anybody needs.
    #[error("more than {0} labels in the grouping key")]
    TooMany(usize),
}

/// Most labels of a grouping key.
const MOST_LABELS: usize = 64;

impl Grouping {
    /// The key in the path of a request, which is percent-encoded: `/metrics/job/NAME{/LABEL/VALUE}`.
    ///
    /// # Errors
    /// It is none; see [`GroupingError`].
    pub fn from_path(path: &str) -> Result<Self, GroupingError> {
        let decoded = percent_decoded(path).ok_or(GroupingError::Escape)?;
        let decoded = String::from_utf8(decoded)
            .map_err(|_| GroupingError::NotUtf8("a label in the path".to_owned()))?;
        let rest = decoded.strip_prefix(PREFIX).unwrap_or_default();
        let (rest, encoded) = match rest.strip_prefix(ENCODED) {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let (job, labels) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let job = if encoded {
            unpacked(job, "the job", || format!("in job name {}", Quoted(job)))?
        } else {
            job.to_owned()
        };
        if job.is_empty() {
            return Err(GroupingError::NoJob);
        }
        let mut pairs = label_pairs(labels)?;
        // The last of equal names counts, and the job of the path above all.
        pairs.push(("job".to_owned(), job));
        Ok(Self::from_pairs(pairs))
    }

    /// From labels in any order; of a name that comes twice the last counts.
    pub fn from_pairs(mut pairs: Vec<(String, String)>) -> Self {
        pairs.reverse();
        pairs.cold_sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        Self(pairs)
    }

    /// The labels, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether it has a label of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.binary_search_by(|(there, _)| there.as_str().cmp(name)).is_ok()
    }
}

fn label_pairs(labels: &str) -> Result<Vec<(String, String)>, GroupingError> {
    let Some(parts) = labels.strip_prefix('/').filter(|parts| !parts.is_empty()) else {
        return Ok(Vec::new());
    };
    let parts: Vec<&str> = parts.split('/').collect();
    let mut pairs = Vec::with_capacity(parts.len() / 2);
    if parts.len() > 2 * MOST_LABELS {
        return Err(GroupingError::TooMany(MOST_LABELS));
    }
    if !parts.len().is_multiple_of(2) {
        return Err(GroupingError::OddParts(labels.to_owned()));
    }
    for pair in parts.chunks_exact(2) {
        let [name, value] = pair else { continue };
        let plain = name.strip_suffix(ENCODED);
        let name = plain.unwrap_or(name);
        if !valid_label_name(name) || name.starts_with("__") {
            return Err(GroupingError::LabelName(name.to_owned()));
        }
        let value = match plain {
            Some(_) => unpacked(value, name, || format!("for label {name}={}", Quoted(value)))?,
            None => (*value).to_owned(),
        };
        pairs.push((name.to_owned(), value));
    }
    Ok(pairs)
}

/// `=` alone, or any padding, stands for nothing.
fn unpacked(text: &str, what: &str, place: impl FnOnce() -> String) -> Result<String, GroupingError> {
    use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
    let text = text.trim_end_matches('=');
    match BASE64.decode(text) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| GroupingError::NotUtf8(what.to_owned())),
        Err(error) => {
            let at = match error {
                InvalidByte(at, _) => at,
                InvalidLastSymbol { .. } | InvalidLength(_) | InvalidPadding => text.len() / 4 * 4,
            };
            Err(GroupingError::Base64 { place: place(), at })
        }
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        match Grouping::from_path(path) {
            Ok(grouping) => {
                grouping.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn paths_mean_what_they_mean_to_a_pushgateway() {
        for (path, expected) in [
            ("/metrics/job/a", r#"job="a""#),
            ("/metrics/job/a/", r#"job="a""#),
            ("/metrics/job/a/instance/i", r#"instance="i",job="a""#),
            ("/metrics/job/a/l/", r#"job="a",l="""#),
            ("/metrics/job/a/job/b", r#"job="a""#),
            ("/metrics/job/a/l/1/l/2", r#"job="a",l="2""#),
            ("/metrics/job/%C3%A4%20b+c/l/%E6%97%A5", r#"job="ä b+c",l="日""#),
            ("/metrics/job@base64/am9i", r#"job="job""#),
            ("/metrics/job@base64/am9iCg==/p@base64/L3Zhci90bXA", r#"job="job\n",p="/var/tmp""#),
            ("/metrics/job/a/p@base64/=", r#"job="a",p="""#),
            ("/metrics/job/a/p@base64/", r#"job="a",p="""#),
            ("/metrics/job/a/p@base64/ab", r#"job="a",p="i""#),
            ("/metrics/job/@base64", r#"job="@base64""#),
            ("/metrics/job@base64/=", "job name is required"),
            ("/metrics/job/", "job name is required"),
            ("/metrics/job/a/l", r#"odd number of components in label string "/l""#),
            ("/metrics/job/a/l/b%2Fc", r#"odd number of components in label string "/l/b/c""#),
            ("/metrics/job/a/1l/b", r#"improper label name "1l""#),
            ("/metrics/job/a/__l/b", r#"improper label name "__l""#),
            ("/metrics/job/a//b", r#"improper label name """#),
            ("/metrics/job/a/%E6%97%A5/b", r#"improper label name "日""#),
            (
                "/metrics/job@base64/!!",
                r#"invalid base64 encoding in job name "!!": illegal base64 data at input byte 0"#,
            ),
            (
                "/metrics/job/a/l@base64/abcde",
                r#"invalid base64 encoding for label l="abcde": illegal base64 data at input byte 4"#,
            ),
            ("/metrics/job/a/l@base64/_w", "the value of l is not valid UTF-8"),
            ("/metrics/job/%ff", "the value of a label in the path is not valid UTF-8"),
            ("/metrics/job/%f", "the path is not percent-encoded"),
            ("/metrics/job/%zz", "the path is not percent-encoded"),
        ] {
            assert_eq!(shown(path), expected, "{path}");
        }
        let many = format!("/metrics/job/a{}", "/l/v".repeat(65));
        assert_eq!(shown(&many), "more than 64 labels in the grouping key");
    }
}
