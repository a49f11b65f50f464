//! "Did you mean …?": the known word nearest to a misspelt one. Does not know what the words stand for.

/// Returns the candidate that `word` was probably meant to be, if one is near enough: at most one edit per three
/// characters (a swap of neighbours is one edit), case aside.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns a sentence that helps with an unknown word: the nearest known one, or, if there are few, all of them.
pub fn help<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(candidate) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{candidate}`?"));
    }
    let known: Vec<String> = candidates
        .into_iter()
        .map(|candidate| format!("`{candidate}`"))
        .collect();
    (1..=16)
        .contains(&known.len())
        .then(|| format!("known here: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["hosts", "components", "cluster", "node1.example.com"];
        for (word, meant) in [
            ("hosst", Some("hosts")),
            ("Hosts", Some("hosts")),
            ("component", Some("components")),
            ("node2.example.com", Some("node1.example.com")),
            ("grafana", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }

    #[test]
    fn lists_few_known_words_when_none_is_near() {
        assert_eq!(
            help("zzz", ["a1", "b2"]).as_deref(),
            Some("known here: `a1`, `b2`")
        );
        assert_eq!(help("zzz", []), None);
        assert_eq!(help("zzz", ["aaaaaaaa"; 17]), None);
    }
}
