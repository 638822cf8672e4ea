/// The known word that `word` was probably meant to be.
pub(super) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    /// Words longer than any known one are not worth a comparison.
    const WORD_BYTES_MAX: usize = 64;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    known
        .iter()
        .map(|known| (edit_distance(word, known), *known))
        // A third of the letters may be wrong; with more, the guess is noise.
        .filter(|(distance, known)| *distance <= (known.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Words in a sentence: `` `a`, `b` or `c` ``.
pub(super) fn alternatives(words: &[&str], conjunction: &str) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to get from one to the other.
///
/// Source: the optimal string alignment distance, a dynamic program over prefixes.
fn edit_distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().flat_map(char::to_lowercase).collect();
    let right: Vec<char> = right.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_changes() {
        assert_eq!(edit_distance("weights", "weights"), 0);
        assert_eq!(edit_distance("wieghts", "weights"), 1);
        assert_eq!(edit_distance("weight", "weights"), 1);
        assert_eq!(edit_distance("", "bits"), 4);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let known = ["weights", "activations", "baseline"];

        assert_eq!(nearest("wieghts", &known), Some("weights"));
        assert_eq!(nearest("Baseline", &known), Some("baseline"));
        assert_eq!(nearest("budget", &known), None);
        assert_eq!(nearest(&"w".repeat(1_000_000), &known), None);
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(alternatives(&["a"], "or"), "`a`");
        assert_eq!(alternatives(&["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
