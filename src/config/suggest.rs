//! "Did you mean ...?": the known word closest to a misspelt one.

/// Words longer than this are never a slip of a short key, and comparing them would cost.
const LONGEST_WORD_CHARS: usize = 64;

/// The candidate closest to `word`, if it is close enough to be meant: at most a third of its
/// characters added, dropped, changed or swapped.
pub fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word: Vec<char> = normal(word);
    if word.is_empty() || word.len() > LONGEST_WORD_CHARS {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    let near = |candidate: &&str| {
        let other = normal(candidate);
        word.len().abs_diff(other.len()) <= allowed && other.len() <= LONGEST_WORD_CHARS
    };
    candidates
        .into_iter()
        .filter(near)
        .map(|candidate| (distance(&word, &normal(candidate)), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `listenAddress`, `listen-address` and `listen_address` are one word to whoever mistypes them.
fn normal(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '_' | '-' | '.')).flat_map(char::to_lowercase).collect()
}

/// Edits between two words, a swap of neighbours counted as one (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (row, a_char) in a.iter().enumerate() {
        let mut current = Vec::with_capacity(b.len() + 1);
        current.push(row + 1);
        let mut previous_b = None;
        for (column, b_char) in b.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&last, column) + usize::from(a_char != b_char);
            let mut edits = replaced.min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            if previous_a == Some(b_char) && previous_b == Some(a_char) && column > 0 {
                edits = edits.min(at(&before_last, column - 1) + 1);
            }
            current.push(edits);
            previous_b = Some(b_char);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_a = Some(a_char);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_was_meant_and_nothing_far_off() {
        let known = ["listen_addresses", "telemetry_path", "timeout", "level", "url"];
        for (word, meant) in [
            ("listen_adress", Some("listen_addresses")),
            ("telemetryPath", Some("telemetry_path")),
            ("tiemout", Some("timeout")),
            ("levle", Some("level")),
            ("uri", Some("url")),
            ("password", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), meant, "{word}");
        }
        assert_eq!(closest(&"x".repeat(10_000), known), None);
    }

    #[test]
    fn a_swap_is_one_edit() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, edits) in [("ab", "ba", 1), ("abc", "abc", 0), ("", "abc", 3), ("abcd", "acbd", 1)] {
            assert_eq!(distance(&chars(a), &chars(b)), edits, "{a} {b}");
        }
    }
}
