/// Whether `name` has the form of `pattern`, in which `*` stands for any text, also for none.
///
/// Everything else stands for itself; the whole name must match. Takes time in the product of both lengths at most.
pub fn matches(pattern: &str, name: &str) -> bool {
    // Bytes are enough: `*` is ASCII, so no byte inside another character equals it.
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at_pattern, mut at_name) = (0, 0);
    let mut retry = None;
    while at_name < name.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            at_pattern += 1;
            retry = Some((at_pattern, at_name));
        } else if pattern.get(at_pattern) == Some(&name[at_name]) {
            at_pattern += 1;
            at_name += 1;
        } else if let Some((after_star, start)) = retry {
            // Only the last star has to take more: what stands before it has matched as early as it can.
            retry = Some((after_star, start + 1));
            (at_pattern, at_name) = (after_star, start + 1);
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_without_stars_matches_only_itself() {
        assert!(matches("conv1.weight", "conv1.weight"));
        assert!(!matches("conv1.weight", "conv1.weights"));
        assert!(!matches("conv1.weight", "conv1xweight"));
        assert!(!matches("", "conv1"));
        assert!(matches("", ""));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches("*", ""));
        assert!(matches("*", "block1.conv1.weight"));
        assert!(matches("*.weight", "block1.conv1.weight"));
        assert!(matches("block*.weight", "block1.conv1.weight"));
        assert!(matches("block1.*.*", "block1.conv1.weight"));
        assert!(matches("*ab*ab", "abcabab"));
        assert!(matches("größe*", "größe.weight"));
        assert!(!matches("*.weight", "block1.relu1.output"));
        assert!(!matches("*.weight", "block1.conv1.weight.output"));
        assert!(!matches("block2.*", "block1.conv1.weight"));
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let name = "a".repeat(2000);

        assert!(!matches(&format!("{}b", "*a".repeat(500)), &name));
    }
}
