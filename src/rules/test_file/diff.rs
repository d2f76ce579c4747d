//! Two texts line by line: what is in both, only in the first, only in the second.

/// Most lines of a text that are compared; the table below grows with the square.
const MOST_LINES: usize = 2_000;

/// Lines of the first alone behind `-`, of the second alone behind `+`, of both behind a space.
pub(super) fn lines(one: &str, other: &str) -> String {
    let (one, other): (Vec<&str>, Vec<&str>) = (one.lines().collect(), other.lines().collect());
    if one.len().max(other.len()) > MOST_LINES {
        return format!("  (more than {MOST_LINES} lines)");
    }
    let longest = longest_common(&one, &other);
    let common = |i: usize, j: usize| longest.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    loop {
        match (one.get(i), other.get(j)) {
            (Some(a), Some(b)) if a == b => {
                out.push(format!("  {a}"));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || common(i + 1, j) >= common(i, j + 1) => {
                out.push(format!("- {a}"));
                i += 1;
            }
            (_, Some(b)) => {
                out.push(format!("+ {b}"));
                j += 1;
            }
            _ => return out.join("\n"),
        }
    }
}

/// For each pair of places, how many lines both have in common from there on.
fn longest_common(one: &[&str], other: &[&str]) -> Vec<Vec<u16>> {
    let mut rows: Vec<Vec<u16>> = vec![vec![0; other.len() + 1]];
    for line in one.iter().rev() {
        let mut row = vec![0_u16];
        let below = rows.last().map(Vec::as_slice).unwrap_or_default();
        for (j, candidate) in other.iter().enumerate().rev() {
            let behind = row.last().copied().unwrap_or(0);
            let diagonal = below.get(j + 1).copied().unwrap_or(0);
            let down = below.get(j).copied().unwrap_or(0);
            row.push(if line == candidate { diagonal + 1 } else { behind.max(down) });
        }
        row.reverse();
        rows.push(row);
    }
    rows.reverse();
    rows
}
