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

/// As [`nearest`], for host names: a domain that both have says nothing about how alike they are.
pub fn nearest_host<'a>(word: &str, hosts: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (label, domain) = word.split_once('.').unwrap_or((word, ""));
    let mut others = Vec::new();
    let mut siblings = Vec::new();
    for host in hosts {
        match host.split_once('.').unwrap_or((host, "")) {
            (other, shared) if shared == domain => siblings.push((other, host)),
            _ => others.push(host),
        }
    }
    nearest(label, siblings.iter().map(|(label, _)| *label))
        .and_then(|meant| siblings.iter().find(|(label, _)| *label == meant))
        .map(|(_, host)| *host)
        .or_else(|| nearest(word, others))
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
    fn a_shared_domain_does_not_make_hosts_alike() {
        let hosts = ["node1.example.com", "bastion.example.com", "db.example.org"];
        for (word, meant) in [
            ("ndoe1.example.com", Some("node1.example.com")),
            ("openbao.example.com", None),
            ("db.example.com", Some("db.example.org")),
            ("bastoin.example.com", Some("bastion.example.com")),
        ] {
            assert_eq!(nearest_host(word, hosts), meant, "{word}");
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
