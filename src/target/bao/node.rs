//! What a host says of its own OpenBAO, as the tasks' probe scripts print it. Asks nothing itself.

use crate::probe::{Facts, Fault};
use crate::target::group::fact;

/// How OpenBAO is on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// It does not answer, in curl's words.
    Silent(String),
    /// It belongs to no cluster.
    New,
    /// It belongs to one and is sealed.
    Sealed,
    /// It is unsealed, in the cluster of this id.
    Open(String),
}

impl Node {
    /// Reads the facts that the probe script printed.
    #[must_use]
    pub fn read(facts: &Facts) -> Self {
        match (
            fact(facts, "", "initialized"),
            fact(facts, "", "sealed"),
            fact(facts, "", "cluster_id"),
        ) {
            ("false", _, _) => Self::New,
            ("true", "true", _) => Self::Sealed,
            ("true", "false", id) if id != "absent" => Self::Open(id.to_owned()),
            _ => Self::Silent(match fact(facts, "", "error") {
                "absent" => "it gave no answer that could be read".to_owned(),
                words => words.trim_end().to_owned(),
            }),
        }
    }
}

/// Returns the facts of a step on one host as they are, or a fault while its OpenBAO does not answer.
///
/// # Errors
/// When it does not answer: worth asking again once it was started.
pub fn one_host(seen: &[crate::probe::Seen]) -> Result<Facts, Fault> {
    let answers = crate::target::group::all(seen)?;
    let Some((name, facts)) = answers.first() else {
        return Err(crate::target::group::senseless(
            "this step is for one host".to_owned(),
        ));
    };
    if let Node::Silent(words) = Node::read(facts) {
        return Err(Fault {
            message: format!("OpenBAO on {name} does not answer: {words}"),
            not_yet: true,
        });
    }
    Ok((*facts).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fixture::{facts, seen};

    #[test]
    fn the_script_s_facts_tell_the_state() {
        let table = [
            (
                vec![("initialized", "false"), ("sealed", "true")],
                Node::New,
            ),
            (
                vec![
                    ("initialized", "true"),
                    ("sealed", "true"),
                    ("cluster_id", "absent"),
                ],
                Node::Sealed,
            ),
            (
                vec![
                    ("initialized", "true"),
                    ("sealed", "false"),
                    ("cluster_id", "id-1"),
                ],
                Node::Open("id-1".into()),
            ),
            (
                vec![("initialized", "absent"), ("error", "refused ")],
                Node::Silent("refused".into()),
            ),
        ];
        for (told, wanted) in table {
            assert_eq!(Node::read(&facts(&told)), wanted);
        }
    }

    #[test]
    fn silence_is_a_fault_that_may_pass() {
        let fault = one_host(&[seen("bao-1", facts(&[("error", "refused")]))]).unwrap_err();
        assert!(fault.not_yet);
        assert_eq!(fault.message, "OpenBAO on bao-1 does not answer: refused");
    }
}
