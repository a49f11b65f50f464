//! Whether a member may leave an etcd cluster. Pure: counts votes, asks nobody.

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Its host.
    pub name: String,
    /// Whether it is a voter that answers and knows a leader.
    pub healthy: bool,
}

/// Says whether the member called `leaving` may be taken away: those that stay must have a majority among themselves that
/// answers, and so must all that are there now, or the cluster can't even agree on it.
///
/// # Errors
/// Why not, in words for people.
pub fn may_leave(votes: &[Vote], leaving: &str) -> Result<(), String> {
    let majority = |of: usize| of / 2 + 1;
    let healthy = votes.iter().filter(|vote| vote.healthy).count();
    if votes.len() <= 1 {
        return Err(format!(
            "{leaving} is the only server: without it there is no cluster"
        ));
    }
    let down = |but: &str| {
        let names: Vec<&str> = votes
            .iter()
            .filter(|vote| !vote.healthy && vote.name != but)
            .map(|vote| vote.name.as_str())
            .collect();
        names.join(", ")
    };
    if healthy < majority(votes.len()) {
        return Err(format!(
            "etcd has lost its quorum ({healthy} of {} answer; down: {}): bring one of these back first, or restore a snapshot",
            votes.len(),
            down("")
        ));
    }
    let stay: Vec<&Vote> = votes.iter().filter(|vote| vote.name != leaving).collect();
    let healthy = stay.iter().filter(|vote| vote.healthy).count();
    if healthy < majority(stay.len()) {
        return Err(format!(
            "without {leaving}, {healthy} of {} servers would answer, and etcd needs {}: its quorum would be lost. Down: {}; bring that back or remove it first",
            stay.len(),
            majority(stay.len()),
            down(leaving)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn votes(up: &[bool]) -> Vec<Vote> {
        up.iter()
            .enumerate()
            .map(|(at, healthy)| Vote {
                name: format!("s{at}"),
                healthy: *healthy,
            })
            .collect()
    }

    #[test]
    fn majorities() {
        let table: &[(&[bool], usize, bool)] = &[
            (&[true], 0, false),
            (&[true, true], 1, true),
            (&[true, false], 1, false),
            (&[true, true, true], 2, true),
            // One is down: the other two are all there is, and only the one that is down may go.
            (&[true, true, false], 1, false),
            (&[true, true, false], 2, true),
            (&[true, false, false], 2, false),
            (&[true, true, true, false], 0, true),
            (&[true, true, true, false, false], 0, false),
            (&[true, true, true, false, false], 4, true),
        ];
        for (up, leaving, allowed) in table {
            let answer = may_leave(&votes(up), &format!("s{leaving}"));
            assert_eq!(
                answer.is_ok(),
                *allowed,
                "{up:?} without {leaving}: {answer:?}"
            );
        }
    }

    #[test]
    fn the_words_name_who_is_down() {
        let error = may_leave(&votes(&[true, true, false]), "s1").unwrap_err();
        assert_eq!(
            error,
            "without s1, 1 of 2 servers would answer, and etcd needs 2: its quorum would be lost. Down: s2; bring that back or remove it first"
        );
    }

    proptest! {
        #[test]
        fn whoever_may_leave_leaves_a_quorum(up in prop::collection::vec(any::<bool>(), 1..8), at in 0usize..8) {
            let leaving = at % up.len();
            if may_leave(&votes(&up), &format!("s{leaving}")).is_ok() {
                let stay: Vec<bool> = up.iter().enumerate().filter(|(i, _)| *i != leaving).map(|(_, up)| *up).collect();
                prop_assert!(stay.iter().filter(|up| **up).count() * 2 > stay.len());
            }
        }
    }
}
