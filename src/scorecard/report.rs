//! How the scorecard stands, as the API tells it and `outrigger scorecard` reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Least score of each grade; below the last it is F.
const GRADES: [(&str, f64); 4] = [("A", 0.9), ("B", 0.8), ("C", 0.7), ("D", 0.6)];

/// How the scorecard stands at an instant. Scores are parts of 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScorecardReport {
    /// The instant, RFC 3339.
    pub time: String,
    /// Whether the configuration has one; otherwise it is the built-in one.
    pub configured: bool,
    /// A to F; `None`: no pillar is known.
    pub grade: Option<String>,
    /// The mean of the known pillars' scores by their weights.
    pub score: Option<f64>,
    /// The pillars, in the order of the file.
    pub pillars: Vec<PillarReport>,
}

/// How a pillar stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PillarReport {
    /// Its name.
    pub pillar: String,
    /// In a word.
    pub status: PillarStatus,
    /// What is wanted.
    pub target: f64,
    /// What the formula gives now.
    pub current: Option<f64>,
    /// What both are counted in.
    pub unit: String,
    /// 1 at the target or better, 0 at `worst` or beyond.
    pub score: Option<f64>,
    /// Its part of the whole.
    pub weight: f64,
    /// Why it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the reason is a fault, not only that nothing is measured.
    #[serde(default)]
    pub failed: bool,
    /// The formula.
    pub formula: String,
    /// What it was computed from; `None`: not known.
    pub values: BTreeMap<String, Option<f64>>,
}

/// How a pillar stands, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PillarStatus {
    /// At the target or better.
    Met,
    /// Not there, but near.
    Near,
    /// Far from it.
    Missed,
    /// Nothing is known.
    Unknown,
}

impl PillarStatus {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Near => "near",
            Self::Missed => "missed",
            Self::Unknown => "unknown",
        }
    }
}

impl ScorecardReport {
    /// The whole of these pillars.
    pub(super) fn new(at: Timestamp, configured: bool, pillars: Vec<PillarReport>) -> Self {
        let known = || pillars.iter().filter_map(|pillar| Some((pillar.score?, pillar.weight)));
        let weight: f64 = known().map(|(_, weight)| weight).sum();
        let score =
            (weight > 0.0).then(|| known().map(|(score, weight)| score * weight).sum::<f64>() / weight);
        let time = jiff::Timestamp::from_millisecond(at.as_millis());
        Self {
            time: time.map_or_else(|_| String::new(), |at| at.to_string()),
            configured,
            grade: score.map(|score| grade(score).to_owned()),
            score,
            pillars,
        }
    }
}

/// The grade of a score. A sum of parts may miss a bound by a rounding.
fn grade(score: f64) -> &'static str {
    GRADES.iter().find(|(_, least)| score + 1e-9 >= *least).map_or("F", |(grade, _)| grade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_begin_at_their_bounds() {
        for (score, wanted) in [
            (1.0, "A"),
            (0.9, "A"),
            (0.1 + 0.8 - 1e-16, "A"),
            (0.89, "B"),
            (0.7, "C"),
            (0.6, "D"),
            (0.0, "F"),
        ] {
            assert_eq!(grade(score), wanted, "{score}");
        }
    }
}
