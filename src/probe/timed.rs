//! Scripts that run in processes of their own and are stopped when they take too long: the shell functions for it, shared
//! by what asks and by what changes. Does not know what the scripts do, nor how their answers are framed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexSet;

use super::enter::functions_for;
use super::shell::{ShellError, quote};

/// Status that stands for a script which was stopped for taking too long.
pub(super) const TOOK_TOO_LONG: i32 = -1;

/// Processes that the functions start for a program: the ticker and its first sleep.
pub(super) const TICKER: u32 = 2;

/// `__r SCRIPT` is a script in the process that it is called in, with variables from `__i`; `__body` is its text, for what it
/// may have to do as another user. Called in the background, with
/// its process in `__p`, it is waited for by `__t SECONDS GRACE`, which leaves its status in `__s`. One ticker for the whole
/// program wakes the waiting shell once a second, and `__n` counts that. A script over its time is told to end, if it has a
/// grace, and killed with all its descendants after that; its time is counted from the first second's end. The ticker takes
/// its sleep with it when it goes.
///
/// All of this may be in a subshell, whose process is not `$$`.
///
/// SIGUSR1 is 10 on all of Linux that Debian and Ubuntu run on here, so an interrupted wait ends with status 138.
const FUNCTIONS: &str = r#"cd -P /proc/self; __me=${PWD##*/}; cd /
trap '__n=$((__n + 1))' USR1
{ trap 'kill "$__z" 2>/dev/null; exit 0' TERM
while :; do sleep 1 & __z=$!; wait "$__z"; kill -USR1 "$__me" 2>/dev/null || exit 0; done; } </dev/null >/dev/null 2>&1 &
__ticker=$!
__r() { trap - USR1; set -eu; __i; __body=$1; eval "$1"; set --; __f; }
__u() { IFS=' .' read -r __up __w </proc/uptime; }
__t() {
__end= __late=
while :; do
wait "$__p"; __s=$?
[ "$__s" -eq 138 ] || break
__u
: "${__end:=$((__up + $1))}"
[ "$__up" -gt "$__end" ] || continue
if [ -z "$__late" ] && [ "$2" -gt 0 ]; then __x TERM "$__p"
elif [ "$__up" -gt $((__end + $2)) ]; then __x KILL "$__p"; wait "$__p"; __s=-1; break
fi
__late=1
done 2>/dev/null
[ -z "$__late" ] || __s=-1
}
__x() {
__all=$2
kill -STOP "$2"
while :; do
__more=
for __d in /proc/[0-9]*; do
IFS= read -r __w <"$__d/stat" || continue
__d=${__d#/proc/}
set -- "$1" ${__w##*) }
case " $__all " in *" $__d "*) ;; *" $3 "*) kill -STOP "$__d"; __all="$__all $__d"; __more=1 ;; esac
done
[ "$__more" ] || break
done
kill -s "$1" $__all
kill -CONT $__all
} 2>/dev/null
"#;

/// Ends the ticker.
const END: &str = "kill \"$__ticker\" 2>/dev/null; wait \"$__ticker\"\ntrap '' USR1\n";

/// The scripts of one program.
#[derive(Default)]
pub(super) struct Timed {
    /// Texts that the program has by now, each of them once.
    known: IndexSet<Arc<str>>,
    /// Whether the functions for work by path are defined.
    entering: bool,
}

impl Timed {
    /// Makes the program ready to call a script: its text, of which `$__p<number>` is the shell's, and `__i` for its
    /// `variables`, which are assignments in sh. Returns the number. A script that is refused leaves nothing behind.
    pub fn ready(
        &mut self,
        script: &str,
        label: &str,
        variables: &str,
        out: &mut String,
    ) -> Result<usize, ShellError> {
        let label = quote(label)?;
        let known = self.known.get_index_of(script);
        // Held as text and made a function only in the process that calls it: a script that is no shell at all breaks
        // itself and nobody else.
        let text = match known {
            Some(_) => None,
            None => Some(quote(&format!("__f() {{\n{script}\n}}"))?),
        };
        if self.known.is_empty() {
            out.push_str(FUNCTIONS);
        }
        let entering = functions_for(script);
        if !self.entering && !entering.is_empty() {
            out.push_str(entering);
            self.entering = true;
        }
        let index = known.unwrap_or_else(|| self.known.insert_full(Arc::from(script)).0);
        if let Some(text) = text {
            let _ = writeln!(out, "__p{index}={text}");
        }
        let _ = write!(out, "__i() {{\nlabel={label}\n{variables}}}\n");
        Ok(index)
    }

    /// Ends the program's part that has scripts.
    pub fn end(&self, out: &mut String) {
        if !self.known.is_empty() {
            out.push_str(END);
        }
    }
}

/// Returns a time-out as `__t` takes it.
pub(super) fn seconds(timeout: Duration) -> u64 {
    timeout.as_secs_f64().ceil() as u64
}
