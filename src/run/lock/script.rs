//! What goes to the host that the lock is on, and what comes back. Knows neither connections nor patience.

use std::time::Duration;

use super::LEASE;
use super::holder::{Found, Holder};
use crate::probe::{Program, Reply, ShellError, quote};
use crate::secret::Secret;

/// Beyond this a host that should only touch a file is stuck.
const DEADLINE: Duration = Duration::from_secs(20);

/// Reads without changing anything.
const SHOW: &str = r#"
if [ -e "$dir/lock" ]; then
  age=$(( $(date +%s) - $(stat -c %Y "$dir/lock") ))
  printf 'state held\nage %s\n' "$age"
  sed 's/^/holder /' "$dir/lock"
else
  echo 'state free'
fi
"#;

/// Judges and acts under `flock`. The new text is written beside the lock and moved over it, so that a full disk or a
/// kill leaves the lock as it was.
const CHANGE: &str = r#"
mkdir -p "$dir"
exec 9>"$dir/lock.guard"
flock -w 10 9 || { echo 'another process keeps the lock file busy' >&2; exit 75; }
found='' age=''
if [ -e "$dir/lock" ]; then
  found=$(sed -n 's/^token //p' "$dir/lock")
  age=$(( $(date +%s) - $(stat -c %Y "$dir/lock") ))
fi
tell() {
  printf 'state %s\n' "$1"
  [ -n "$age" ] || return 0
  printf 'age %s\n' "$age"
  sed 's/^/holder /' "$dir/lock"
}
put() {
  printf '%s' "$holder" >"$dir/lock.new"
  mv -f "$dir/lock.new" "$dir/lock"
}
case $op in
  take)
    if [ -z "$age" ]; then put; echo 'state taken'
    elif [ "$found" = "$token" ]; then touch "$dir/lock"; echo 'state taken'
    elif [ "$age" -ge "$lease" ] || [ "$age" -lt "-$lease" ] || { [ -n "$over" ] && [ "$found" = "$over" ]; }
    then tell over; put
    else tell held
    fi ;;
  renew)
    if [ "$found" = "$token" ]; then touch "$dir/lock"; echo 'state taken'; else tell lost; fi ;;
  release)
    if [ "$found" = "$token" ]; then rm -f "$dir/lock"; echo 'state free'; else tell lost; fi ;;
  steal)
    if [ -z "$age" ]; then echo 'state free'
    elif [ "$found" = "$over" ]; then tell over; rm -f "$dir/lock"
    else tell held
    fi ;;
esac
"#;

/// What to do with the lock.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order<'a> {
    /// Look only.
    Show,
    /// Take it if it is free, its lease has ended, or its token is `over`.
    Take {
        holder: &'a Holder,
        over: Option<&'a str>,
    },
    /// Give a sign of life.
    Renew { token: &'a str },
    /// Give it back.
    Release { token: &'a str },
    /// Remove it if its token is still `over`; empty for a garbled lock.
    Steal { over: &'a str },
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody holds it.
    Free,
    /// We hold it.
    Taken,
    /// It was this one's, and no longer is.
    Over(Found),
    /// It is this one's.
    Held(Found),
    /// It was ours and is no longer; whose it is now, if anybody's.
    Lost(Option<Found>),
}

/// Returns the program for `order` on a lock in the folder `dir`.
///
/// # Errors
/// When a value can't be handed to a shell.
pub(super) fn program(dir: &str, order: Order<'_>) -> Result<Program, ShellError> {
    let (op, token, over, holder) = match order {
        Order::Show => ("show", "", "", String::new()),
        Order::Take { holder, over } => (
            "take",
            holder.token.as_str(),
            over.unwrap_or_default(),
            holder.encode(),
        ),
        Order::Renew { token } => ("renew", token, "", String::new()),
        Order::Release { token } => ("release", token, "", String::new()),
        Order::Steal { over } => ("steal", "", over, String::new()),
    };
    let mut text = String::from("set -eu\numask 077\nexport LC_ALL=C\n");
    let lease = LEASE.as_secs().to_string();
    for (name, value) in [
        ("dir", dir),
        ("op", op),
        ("token", token),
        ("over", over),
        ("holder", &holder),
        ("lease", &lease),
    ] {
        text.push_str(&format!("{name}={}\n", quote(value)?));
    }
    text.push_str(if matches!(order, Order::Show) {
        SHOW
    } else {
        CHANGE
    });
    Ok(Program {
        text: Secret::new(text),
        deadline: DEADLINE,
    })
}

/// Reads what the host said.
///
/// # Errors
/// When it is not an answer; the text has the host's own words.
pub(super) fn parse(reply: &Reply) -> Result<Answer, String> {
    let stdout = String::from_utf8_lossy(&reply.stdout);
    let garbled = || {
        let status = reply.status.map_or_else(
            || "no exit status".to_owned(),
            |status| format!("exit status {status}"),
        );
        let words = format!("{}{stdout}", String::from_utf8_lossy(&reply.stderr));
        format!(
            "the lock could not be read or written ({status}): {}",
            words.trim()
        )
    };
    if reply.status != Some(0) {
        return Err(garbled());
    }
    let value = |name: &str| {
        stdout
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    };
    let found = value("age").and_then(|age| age.parse().ok()).map(|age| {
        let holder: Vec<&str> = stdout
            .lines()
            .filter_map(|line| line.strip_prefix("holder "))
            .collect();
        Found {
            holder: Holder::decode(&holder.join("\n")),
            age,
        }
    });
    match (value("state"), found) {
        (Some("free"), _) => Ok(Answer::Free),
        (Some("taken"), _) => Ok(Answer::Taken),
        (Some("over"), Some(found)) => Ok(Answer::Over(found)),
        (Some("held"), Some(found)) => Ok(Answer::Held(found)),
        (Some("lost"), found) => Ok(Answer::Lost(found)),
        _ => Err(garbled()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    /// Does `order` in `dir` with the real shell.
    fn act(dir: &Path, order: Order<'_>) -> Result<Answer, String> {
        let program = program(dir.join("it's a stack").to_str().unwrap(), order).unwrap();
        let mut child = Command::new("dash")
            .args(["-c", "eval \"$(cat)\""])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(program.text.expose().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        parse(&Reply {
            stdout: output.stdout,
            stderr: output.stderr,
            status: output.status.code(),
        })
    }

    fn holder(token: &str) -> Holder {
        Holder {
            token: token.to_owned(),
            run: "20261122-201455-ab12".to_owned(),
            who: "ada@desk".to_owned(),
            machine: "desk/b00t/pid:[1]".to_owned(),
            pid: 7,
            born: "123".to_owned(),
            command: "foundry build 'openbao - @bao-3' $(touch /tmp/never) %s \\n".to_owned(),
            started: "2026-11-22T20:14:55Z".to_owned(),
        }
    }

    fn take(dir: &Path, token: &str, over: Option<&str>) -> Answer {
        act(
            dir,
            Order::Take {
                holder: &holder(token),
                over,
            },
        )
        .unwrap()
    }

    fn age(dir: &Path, seconds: i64) {
        let changed = std::time::SystemTime::now() - Duration::from_secs(seconds.unsigned_abs());
        let lock = std::fs::File::options()
            .write(true)
            .open(dir.join("it's a stack/lock"))
            .unwrap();
        lock.set_modified(changed).unwrap();
    }

    fn token(answer: &Answer) -> &str {
        match answer {
            Answer::Over(found) | Answer::Held(found) | Answer::Lost(Some(found)) => {
                &found.holder.as_ref().unwrap().token
            }
            other => panic!("nobody in {other:?}"),
        }
    }

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(act(dir, Order::Show).unwrap(), Answer::Free);
        assert_eq!(take(dir, "aa", None), Answer::Taken);
        assert_eq!(token(&take(dir, "bb", None)), "aa");
        // Taken once more after a lost connection.
        assert_eq!(take(dir, "aa", None), Answer::Taken);
        let Answer::Held(found) = act(dir, Order::Show).unwrap() else {
            panic!()
        };
        assert_eq!(found.holder, Some(holder("aa")));
        assert!((0..5).contains(&found.age));
        assert_eq!(
            act(dir, Order::Release { token: "aa" }).unwrap(),
            Answer::Free
        );
        assert_eq!(take(dir, "bb", None), Answer::Taken);
        assert_eq!(
            token(&act(dir, Order::Renew { token: "aa" }).unwrap()),
            "bb"
        );
        assert_eq!(
            token(&act(dir, Order::Release { token: "aa" }).unwrap()),
            "bb"
        );
    }

    #[test]
    fn an_old_lock_is_taken_over_and_a_renewed_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        take(dir, "aa", None);
        age(dir, 45);
        assert_eq!(token(&take(dir, "bb", None)), "aa");
        age(dir, 61);
        assert_eq!(
            act(dir, Order::Renew { token: "aa" }).unwrap(),
            Answer::Taken
        );
        assert!(matches!(take(dir, "bb", None), Answer::Held(_)));
        age(dir, 61);
        let over = take(dir, "bb", None);
        assert!(
            matches!(over, Answer::Over(_)) && token(&over) == "aa",
            "{over:?}"
        );
        assert_eq!(
            token(&act(dir, Order::Renew { token: "aa" }).unwrap()),
            "bb"
        );
    }

    #[test]
    fn only_the_lock_that_was_seen_is_stolen() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        take(dir, "aa", None);
        assert_eq!(token(&act(dir, Order::Steal { over: "xx" }).unwrap()), "aa");
        assert!(matches!(take(dir, "bb", Some("xx")), Answer::Held(_)));
        assert!(matches!(take(dir, "bb", Some("aa")), Answer::Over(_)));
        assert!(matches!(
            act(dir, Order::Steal { over: "bb" }).unwrap(),
            Answer::Over(_)
        ));
        assert_eq!(act(dir, Order::Show).unwrap(), Answer::Free);
        assert_eq!(act(dir, Order::Steal { over: "bb" }).unwrap(), Answer::Free);
        assert_eq!(
            act(dir, Order::Renew { token: "bb" }).unwrap(),
            Answer::Lost(None)
        );
    }

    #[test]
    fn a_garbled_lock_is_held_until_its_lease_ends_or_it_is_stolen() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        take(dir, "aa", None);
        std::fs::write(dir.join("it's a stack/lock"), "what?\n").unwrap();
        assert!(matches!(
            take(dir, "bb", None),
            Answer::Held(Found { holder: None, .. })
        ));
        assert!(matches!(
            act(dir, Order::Steal { over: "" }).unwrap(),
            Answer::Over(_)
        ));
        assert_eq!(take(dir, "bb", None), Answer::Taken);
    }

    #[test]
    fn of_many_at_once_one_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        take(dir, "old", None);
        age(dir, 100);
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8)
                .map(|n| scope.spawn(move || take(dir, &format!("t{n}"), None)))
                .collect();
            takers
                .into_iter()
                .map(|taker| taker.join().unwrap())
                .collect()
        });
        let got = answers
            .iter()
            .filter(|answer| matches!(answer, Answer::Over(_) | Answer::Taken))
            .count();
        assert_eq!(got, 1, "{answers:?}");
    }

    #[test]
    fn what_the_host_says_against_it_is_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = act(
            file.path(),
            Order::Take {
                holder: &holder("aa"),
                over: None,
            },
        )
        .unwrap_err();
        assert!(error.contains("Not a directory"), "{error}");
        let reply = Reply {
            stdout: b"bash: eval: garbage".to_vec(),
            stderr: Vec::new(),
            status: Some(0),
        };
        assert!(parse(&reply).unwrap_err().contains("bash: eval: garbage"));
    }
}
