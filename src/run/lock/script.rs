//! What goes to the host that the lock is on, and what comes back. Knows neither connections nor patience.

use std::time::Duration;

use super::holder::{Found, Holder, Party};
use crate::probe::{Program, Reply, ShellError, quote};
use crate::secret::Secret;

/// Beyond this a host that should only touch a file is stuck.
const DEADLINE: Duration = Duration::from_secs(20);

/// How old a sign of life is, by what no step of a clock changes: the time since the host was started. A host that was
/// started since has not heard of the holder for at least as long. A lock that an older Foundry wrote has only its file's time.
const LOOK: &str = r#"
IFS=' .' read -r up rest </proc/uptime
read -r boot </proc/sys/kernel/random/boot_id
age_of() {
  age='' then_boot='' then_up=''
  [ -e "$1" ] || return 0
  alive=$dir/alive${1#"$dir/lock"}
  if [ -e "$alive" ]; then read -r then_boot then_up <"$alive" || :; fi
  case $then_up in '' | *[!0-9-]*) then_boot='' ;; esac
  case $then_boot in
    '') age=$(( $(date +%s) - $(stat -c %Y "$1") )) ;;
    "$boot") age=$(( up - then_up )) ;;
    *) age=$up ;;
  esac
}
"#;

/// Reads without changing anything.
const SHOW: &str = r#"
age_of "$dir/lock"
if [ -n "$age" ]; then
  printf 'state held\nage %s\n' "$age"
  sed 's/^/holder /' "$dir/lock"
  for other in "$dir"/lock.shard-*; do
    age_of "$other"
    [ -z "$age" ] || [ "$age" -ge "$lease" ] || sed -n 's/^shard /member /p' "$other"
  done
else
  echo 'state free'
fi
"#;

/// Judges and acts under `flock`. The new text is written beside the lock and moved over it, so that a full disk or a
/// kill leaves the lock as it was. A shard has a file of its own too, by which two processes of the same shard are told
/// apart. Each holding has a number, higher than any before.
const CHANGE: &str = r#"
mkdir -p "$dir"
exec 9>"$dir/lock.guard"
flock -w 10 9 || { echo 'another process keeps the lock file busy' >&2; exit 75; }
look() {
  at=$1 found=''
  age_of "$at"
  [ -z "$age" ] || found=$(sed -n 's/^token //p' "$at")
}
tell() {
  printf 'state %s\n' "$1"
  [ -n "$age" ] || return 0
  printf 'age %s\n' "$age"
  sed 's/^/holder /' "$at"
}
put() {
  printf '%s' "$2" >"$dir/lock.new"
  mv -f "$dir/lock.new" "$1"
}
sign() {
  for at in "$@"; do printf '%s %s\n' "$boot" "$up" >"$dir/alive${at#"$dir/lock"}"; done
}
free_for_us() {
  [ "$age" -ge "$lease" ] || [ "$age" -lt "-$lease" ] || { [ -n "$over" ] && [ "$found" = "$over" ]; }
}
number() {
  kept=0
  [ ! -e "$dir/lock.number" ] || read -r kept <"$dir/lock.number" || kept=0
  case $kept in '' | 0* | *[!0-9]* | ????????????????*) kept=0 ;; esac
}
higher() {
  number
  number=$kept
  [ "$number" -ge "$seen" ] || number=$seen
  number=$(( number + 1 + jump ))
  put "$dir/lock.number" "$number
"
}
begin() {
  rm -f "$dir"/lock.shard-* "$dir"/alive.shard-*
  higher
  sign "$dir/lock"
  put "$dir/lock" "${holder}number $number
before $kept
"
  [ ! -e "$dir/lock.stolen" ] || { rm -f "$dir/lock.stolen"; echo 'stolen yes'; }
  [ -z "$shard" ] || { sign "$mine"; put "$mine" "$member"; }
}
again() {
  higher
  before=$(sed -n 's/^before //p' "$dir/lock")
  put "$dir/lock" "$(sed '/^number /d; /^before /d' "$dir/lock")
number $number
before ${before:-0}
"
}
numbers() { sed -n 's/^number /number /p; s/^before /before /p' "$dir/lock"; }
mine=$dir/lock.shard-$shard
look "$dir/lock"
case $op in
  take)
    if [ -z "$age" ]; then begin; echo 'state taken'; numbers
    elif [ "$found" != "$token" ]; then
      if free_for_us; then tell over; begin; numbers; else tell held; fi
    elif [ -z "$shard" ]; then sign "$dir/lock"; touch "$dir/lock"; echo 'state taken'; numbers
    else
      look "$mine"
      if [ -z "$age" ] || [ "$found" = "$own" ]; then
        sign "$mine" "$dir/lock"; put "$mine" "$member"; touch "$dir/lock"
        of=$(sed -n 's/^number //p' "$dir/lock")
        [ "${of:-0}" -gt "$seen" ] || again
        echo 'state taken'; numbers
      elif free_for_us; then
        tell over
        sign "$mine" "$dir/lock"; put "$mine" "$member"; touch "$dir/lock"
        again; numbers
      else tell held
      fi
    fi ;;
  renew)
    if [ "$found" != "$token" ]; then tell lost
    elif [ -z "$shard" ]; then sign "$dir/lock"; touch "$dir/lock"; echo 'state taken'; numbers
    else
      look "$mine"
      if [ "$found" = "$own" ]; then sign "$mine" "$dir/lock"; touch "$mine" "$dir/lock"; echo 'state taken'; numbers; else tell lost; fi
    fi ;;
  release)
    if [ "$found" != "$token" ]; then tell lost
    elif [ -z "$shard" ]; then rm -f "$dir/lock"; echo 'state free'
    else
      look "$mine"
      if [ "$found" = "$own" ]; then rm -f "$mine"; fi
      alive=no
      for other in "$dir"/lock.shard-*; do
        look "$other"
        if [ -n "$age" ] && [ "$age" -lt "$lease" ]; then alive=yes; fi
      done
      [ "$alive" = yes ] || rm -f "$dir/lock" "$dir"/lock.shard-*
      echo 'state free'
    fi ;;
  steal)
    if [ -z "$age" ]; then echo 'state free'
    elif [ "$found" = "$over" ]; then tell over; : >"$dir/lock.stolen"; rm -f "$dir/lock" "$dir"/lock.shard-*
    else tell held
    fi ;;
esac
"#;

/// What to do with the lock.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order<'a> {
    /// Look only.
    Show,
    /// Take it if it is free, its lease has ended, or its token is `over`; with a number higher than `seen`, by `jump` more
    /// than needed.
    Take {
        holder: &'a Holder,
        over: Option<&'a str>,
        seen: u64,
        jump: u64,
    },
    /// Give a sign of life.
    Renew { holder: &'a Holder },
    /// Give it back.
    Release { holder: &'a Holder },
    /// Remove it if its token is still `over`; empty for a garbled lock.
    Steal { over: &'a str },
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody holds it.
    Free,
    /// We hold it.
    Taken(Numbers),
    /// It was this one's, and no longer is.
    Over(Found, Numbers),
    /// It is this one's.
    Held(Found),
    /// It was ours and is no longer; whose it is now, if anybody's.
    Lost(Option<Found>),
}

/// What the host counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Numbers {
    /// Of this holding.
    pub number: u64,
    /// Of the last one before.
    pub before: u64,
    /// The last one did not give it back: somebody took it away.
    pub stolen: bool,
}

/// Returns the program for `order` on a lock in the folder `dir`.
///
/// # Errors
/// When a value can't be handed to a shell.
pub(super) fn program(dir: &str, order: Order<'_>, lease: Duration) -> Result<Program, ShellError> {
    let (mut seen, mut jump) = (0, 0);
    let (op, holder, over) = match order {
        Order::Show => ("show", None, ""),
        Order::Take {
            holder,
            over,
            seen: highest,
            jump: more,
        } => {
            (seen, jump) = (highest, more);
            ("take", Some(holder), over.unwrap_or_default())
        }
        Order::Renew { holder } => ("renew", Some(holder), ""),
        Order::Release { holder } => ("release", Some(holder), ""),
        Order::Steal { over } => ("steal", None, over),
    };
    let shared = holder.map(Holder::shared);
    let token = shared.as_ref().map_or("", |shared| shared.token.as_str());
    let own = holder.map_or("", |holder| holder.token.as_str());
    let party = holder.and_then(|holder| holder.party.as_ref());
    let shard = party.map(Party::file).unwrap_or_default();
    // Only taking it writes it.
    let taking = matches!(order, Order::Take { .. });
    let written = |holder: Option<&Holder>| {
        holder
            .filter(|_| taking)
            .map(Holder::encode)
            .unwrap_or_default()
    };
    let (holder, member) = (written(shared.as_ref()), written(holder));
    let mut text = String::from("set -eu\numask 077\nexport LC_ALL=C\n");
    let lease = lease.as_secs().to_string();
    for (name, value) in [
        ("dir", dir),
        ("op", op),
        ("token", token),
        ("own", own),
        ("shard", &shard),
        ("over", over),
        ("holder", &holder),
        ("member", &member),
        ("lease", &lease),
        ("seen", &seen.to_string()),
        ("jump", &jump.to_string()),
    ] {
        text.push_str(&format!("{name}={}\n", quote(value)?));
    }
    text.push_str(LOOK);
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
        let holder = holder.join("\n");
        let number = holder
            .lines()
            .find_map(|line| line.strip_prefix("number ")?.parse().ok());
        Found {
            holder: Holder::decode(&holder),
            age,
            number: number.unwrap_or_default(),
            shards: stdout
                .lines()
                .filter_map(|line| line.strip_prefix("member "))
                .map(ToOwned::to_owned)
                .collect(),
        }
    });
    // What is no number is too high for all: see `SeenRuns::limit`.
    let count = |name| value(name).map_or(0, |text| text.parse().unwrap_or(u64::MAX));
    let numbers = Numbers {
        number: count("number"),
        before: count("before"),
        stolen: value("stolen").is_some(),
    };
    match (value("state"), found) {
        (Some("free"), _) => Ok(Answer::Free),
        (Some("taken"), _) => Ok(Answer::Taken(numbers)),
        (Some("over"), Some(found)) => Ok(Answer::Over(found, numbers)),
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
    use crate::run::lock::LEASE;

    /// Does `order` in `dir` with the real shell.
    fn act(dir: &Path, order: Order<'_>) -> Result<Answer, String> {
        let program = program(dir.join("it's a stack").to_str().unwrap(), order, LEASE).unwrap();
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
            party: None,
        }
    }

    fn shard(token: &str, generation: &str, shard: &str) -> Holder {
        Holder {
            party: Some(Party {
                generation: generation.to_owned(),
                shard: shard.parse().unwrap(),
            }),
            ..holder(token)
        }
    }

    fn take(dir: &Path, token: &str, over: Option<&str>) -> Answer {
        act(
            dir,
            Order::Take {
                holder: &holder(token),
                over,
                seen: 0,
                jump: 0,
            },
        )
        .unwrap()
    }

    /// Makes the last sign of life of the lock, or of a shard's file, so many seconds older.
    fn age_of(dir: &Path, file: &str, seconds: i64) {
        let path = dir.join("it's a stack").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let (boot, up) = text.trim().split_once(' ').unwrap();
        let up: i64 = up.parse().unwrap();
        std::fs::write(&path, format!("{boot} {}\n", up - seconds)).unwrap();
    }

    fn age(dir: &Path, seconds: i64) {
        age_of(dir, "alive", seconds);
    }

    fn taken(answer: &Answer) -> bool {
        matches!(answer, Answer::Taken(_))
    }

    fn number(answer: &Answer) -> u64 {
        match answer {
            Answer::Taken(numbers) | Answer::Over(_, numbers) => numbers.number,
            other => panic!("no number in {other:?}"),
        }
    }

    fn token(answer: &Answer) -> &str {
        match answer {
            Answer::Over(found, _) | Answer::Held(found) | Answer::Lost(Some(found)) => {
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
        assert!(taken(&take(dir, "aa", None)));
        assert_eq!(token(&take(dir, "bb", None)), "aa");
        // Taken once more after a lost connection.
        assert!(taken(&take(dir, "aa", None)));
        let Answer::Held(found) = act(dir, Order::Show).unwrap() else {
            panic!()
        };
        assert_eq!(found.holder, Some(holder("aa")));
        assert_eq!(found.number, 1);
        assert!((0..5).contains(&found.age));
        assert_eq!(
            act(
                dir,
                Order::Release {
                    holder: &holder("aa")
                }
            )
            .unwrap(),
            Answer::Free
        );
        assert!(taken(&take(dir, "bb", None)));
        assert_eq!(
            token(
                &act(
                    dir,
                    Order::Renew {
                        holder: &holder("aa")
                    }
                )
                .unwrap()
            ),
            "bb"
        );
        assert_eq!(
            token(
                &act(
                    dir,
                    Order::Release {
                        holder: &holder("aa")
                    }
                )
                .unwrap()
            ),
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
        let renewed = act(
            dir,
            Order::Renew {
                holder: &holder("aa"),
            },
        );
        assert!(taken(&renewed.unwrap()));
        assert!(matches!(take(dir, "bb", None), Answer::Held(_)));
        age(dir, 61);
        let over = take(dir, "bb", None);
        assert!(
            matches!(over, Answer::Over(..)) && token(&over) == "aa",
            "{over:?}"
        );
        assert_eq!(
            token(
                &act(
                    dir,
                    Order::Renew {
                        holder: &holder("aa")
                    }
                )
                .unwrap()
            ),
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
        assert!(matches!(take(dir, "bb", Some("aa")), Answer::Over(..)));
        assert!(matches!(
            act(dir, Order::Steal { over: "bb" }).unwrap(),
            Answer::Over(..)
        ));
        assert_eq!(act(dir, Order::Show).unwrap(), Answer::Free);
        assert_eq!(act(dir, Order::Steal { over: "bb" }).unwrap(), Answer::Free);
        assert_eq!(
            act(
                dir,
                Order::Renew {
                    holder: &holder("bb")
                }
            )
            .unwrap(),
            Answer::Lost(None)
        );
    }

    #[test]
    fn shards_of_one_run_share_it_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let take = |holder: &Holder, over| {
            act(
                dir,
                Order::Take {
                    holder,
                    over,
                    seen: 0,
                    jump: 0,
                },
            )
            .unwrap()
        };
        let (one, two) = (shard("a1", "4711", "1/2"), shard("a2", "4711", "2/2"));
        assert!(taken(&take(&one, None)));
        assert!(taken(&take(&two, None)));
        assert!(taken(&take(&two, None)));
        let Answer::Held(found) = act(dir, Order::Show).unwrap() else {
            panic!()
        };
        assert_eq!(found.shards, ["1/2", "2/2"]);

        // Another run, sharded or not, and a second process of the same shard.
        assert!(matches!(
            take(&shard("b1", "4712", "1/2"), None),
            Answer::Held(_)
        ));
        assert!(matches!(take(&holder("cc"), None), Answer::Held(_)));
        assert_eq!(token(&take(&shard("x1", "4711", "1/2"), None)), "a1");

        // The first is killed, seen to be gone, and started again; its old self has lost its place.
        let again = shard("y1", "4711", "1/2");
        assert_eq!(token(&take(&again, Some("a1"))), "a1");
        assert_eq!(
            token(&act(dir, Order::Renew { holder: &one }).unwrap()),
            "y1"
        );
        assert!(taken(&act(dir, Order::Renew { holder: &again }).unwrap()));

        // The last one gives it back.
        assert_eq!(
            act(dir, Order::Release { holder: &again }).unwrap(),
            Answer::Free
        );
        assert!(matches!(take(&holder("cc"), None), Answer::Held(_)));
        assert!(taken(&act(dir, Order::Renew { holder: &two }).unwrap()));
        assert_eq!(
            act(dir, Order::Release { holder: &two }).unwrap(),
            Answer::Free
        );
        assert_eq!(act(dir, Order::Show).unwrap(), Answer::Free);
        assert!(taken(&take(&holder("cc"), None)));
        assert!(matches!(take(&one, None), Answer::Held(_)));
    }

    #[test]
    fn a_shard_that_died_long_ago_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (one, two) = (shard("a1", "4711", "1/2"), shard("a2", "4711", "2/2"));
        for holder in [&one, &two] {
            assert!(taken(
                &act(
                    dir,
                    Order::Take {
                        holder,
                        over: None,
                        seen: 0,
                        jump: 0
                    }
                )
                .unwrap()
            ));
        }
        age_of(dir, "alive.shard-1of2", 100);
        assert_eq!(
            act(dir, Order::Release { holder: &two }).unwrap(),
            Answer::Free
        );
        assert_eq!(act(dir, Order::Show).unwrap(), Answer::Free);
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
            Answer::Over(..)
        ));
        assert!(taken(&take(dir, "bb", None)));
    }

    #[test]
    fn each_holding_has_a_higher_number_whatever_happens_to_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let order = |token: &str, seen, jump| {
            let holder = holder(token);
            let order = Order::Take {
                holder: &holder,
                over: None,
                seen,
                jump,
            };
            act(dir, order).unwrap()
        };
        assert_eq!(number(&order("aa", 0, 0)), 1);
        // Asked for once more after a lost answer.
        assert_eq!(number(&order("aa", 0, 0)), 1);
        act(
            dir,
            Order::Release {
                holder: &holder("aa"),
            },
        )
        .unwrap();
        // Hosts know of a higher one.
        assert_eq!(number(&order("bb", 7, 0)), 8);
        age(dir, 100);
        let Answer::Over(_, numbers) = order("cc", 3, 0) else {
            panic!()
        };
        assert_eq!((numbers.number, numbers.before), (9, 8));
        act(dir, Order::Steal { over: "cc" }).unwrap();
        let Answer::Taken(numbers) = order("dd", 0, 1000) else {
            panic!()
        };
        assert_eq!((numbers.number, numbers.stolen), (1010, true));
        act(
            dir,
            Order::Release {
                holder: &holder("dd"),
            },
        )
        .unwrap();
        std::fs::write(dir.join("it's a stack/lock.number"), "garbled\n").unwrap();
        assert_eq!(number(&order("ee", 0, 0)), 1);
    }

    #[test]
    fn shards_share_a_number_and_one_that_comes_again_raises_it_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let take = |holder: &Holder, over, seen| {
            let order = Order::Take {
                holder,
                over,
                seen,
                jump: 0,
            };
            number(&act(dir, order).unwrap())
        };
        let (one, two) = (shard("a1", "4711", "1/2"), shard("a2", "4711", "2/2"));
        assert_eq!(take(&one, None, 4), 5);
        assert_eq!(take(&two, None, 2), 5);
        let again = shard("y1", "4711", "1/2");
        assert_eq!(take(&again, Some("a1"), 0), 6);
        assert_eq!(number(&act(dir, Order::Renew { holder: &two }).unwrap()), 6);
    }

    #[test]
    fn a_step_of_the_clock_ends_no_lease_and_a_reboot_does_only_after_as_long() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        take(dir, "aa", None);
        // The clock goes forward by an hour: the file looks that old.
        let lock = std::fs::File::options()
            .write(true)
            .open(dir.join("it's a stack/lock"))
            .unwrap();
        lock.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
        assert_eq!(token(&take(dir, "bb", None)), "aa");
        let alive = dir.join("it's a stack/alive");
        std::fs::write(&alive, "another-boot 5\n").unwrap();
        let Answer::Held(found) = act(dir, Order::Show).unwrap() else {
            panic!()
        };
        let up = std::fs::read_to_string("/proc/uptime").unwrap();
        let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
        assert!((found.age - up as i64).abs() <= 2, "{} {up}", found.age);
        // An older Foundry leaves only the file's time.
        std::fs::remove_file(&alive).unwrap();
        assert!(matches!(take(dir, "bb", None), Answer::Over(..)));
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
            .filter(|answer| matches!(answer, Answer::Over(..) | Answer::Taken(_)))
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
                seen: 0,
                jump: 0,
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
