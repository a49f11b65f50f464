//! The fence of a host: whose programs may change it. Puts the check into programs and reads what it says. Does not know how
//! a run comes by its number.
//!
//! A host keeps, beside a stack's stamps, the highest number of all runs that have worked on it. A program of a run with a
//! lower number is refused there and changes nothing; the first program of a run with a higher one raises the fence, and
//! first stops what older runs have left at work. See `fence.sh`.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use super::reader::{Program, Reply};
use super::shell::quote;

/// The shell functions, without comments.
static FUNCTIONS: LazyLock<String> = LazyLock::new(|| {
    include_str!("fence.sh")
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n")
});

/// Time that a program may wait for older ones to end.
pub const WAITING: Duration = Duration::from_secs(45);

/// Exit status of a program that was refused.
const REFUSED: i32 = 113;

/// The most digits of a number, here as in `fence.sh` and in the lock's script: what is longer is none.
const DIGITS: usize = 15;

/// What identifies a run on hosts, and what a host's fence says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Fence {
    /// Higher than that of every run before.
    pub number: u64,
    /// Names the holding of the lock, unlike any other; the shards of one run share it.
    pub token: String,
    /// The run's id.
    pub run: String,
    /// `user@host name`.
    pub who: String,
}

impl Fence {
    /// The highest number that a run takes over from hosts: half of what hosts can read, so that there is always one above.
    pub const MOST: u64 = 500_000_000_000_000;

    /// Reads the line that a host keeps; `None` if it is none. Reads as `__fence_read` of `fence.sh` does: what one of them
    /// took for a fence and the other did not would keep all runs off the host.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut rest = line.trim_matches(' ');
        let mut word = || {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = after.trim_start_matches(' ');
            word
        };
        let (number, token, run) = (Self::count(word()), word(), word());
        let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric());
        (number > 0 && is_token).then(|| Self {
            number,
            token: token.to_owned(),
            run: run.to_owned(),
            who: rest.to_owned(),
        })
    }

    /// Reads a number that a host keeps; 0 if it is none.
    #[must_use]
    pub fn count(word: &str) -> u64 {
        let is_number = (1..=DIGITS).contains(&word.len())
            && !word.starts_with('0')
            && word.bytes().all(|b| b.is_ascii_digit());
        if is_number {
            word.parse().unwrap_or_default()
        } else {
            0
        }
    }

    /// Returns it in words.
    #[must_use]
    pub fn words(&self) -> String {
        format!("run {} of {} (fence {})", self.run, self.who, self.number)
    }
}

/// A run's leave to change hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The stack's folder on hosts.
    pub folder: String,
    /// What identifies the run.
    pub fence: Fence,
}

/// What lets one program in.
#[derive(Debug, Clone)]
pub struct Door {
    pub(super) pass: Arc<Pass>,
    /// Names the program on the host. A word of letters and digits.
    pub(super) id: String,
    /// Earlier programs of this run whose end nobody has heard of: stopped first.
    lost: Vec<String>,
    /// The fence's number when the host was probed: with another one, what was found then is out of date.
    seen: Option<u64>,
}

/// Why a program was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The host is another run's.
    By(Fence),
    /// The fence could not be passed; the host's own words.
    Trouble(String),
}

impl Door {
    /// Makes the door for the program `id`, which names it on the host: random, letters and digits.
    #[must_use]
    pub fn new(pass: Arc<Pass>, id: String, lost: Vec<String>, seen: Option<u64>) -> Self {
        Self {
            pass,
            id,
            lost,
            seen,
        }
    }

    /// Returns the last seen number as the shell takes it.
    fn seen(&self) -> String {
        self.seen.map(|seen| seen.to_string()).unwrap_or_default()
    }

    /// Returns the name of the program.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the earlier programs that are stopped first.
    #[must_use]
    pub fn lost(&self) -> &[String] {
        &self.lost
    }

    /// Returns whose it is.
    #[must_use]
    pub fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Appends the functions and what they need to know. `noted`: the program is one that changes the host.
    pub(super) fn functions(&self, out: &mut String, noted: bool) {
        let Pass { folder, fence } = &*self.pass;
        for (name, value) in [
            ("dir", folder.as_str()),
            ("number", &fence.number.to_string()),
            ("token", &fence.token),
            ("run", &fence.run),
            ("who", &fence.who),
            ("id", if noted { &self.id } else { "" }),
            ("lost", &self.lost.join(" ")),
            ("seen", &self.seen()),
        ] {
            // Controller's and stack's names without NUL; an empty one would let nobody in.
            let value = quote(value).unwrap_or_default();
            let _ = writeln!(out, "fence_{name}={value}");
        }
        out.push_str(&FUNCTIONS);
    }

    /// Returns the file that notes the program, as a word of the shell.
    pub(super) fn work(&self) -> String {
        quote(&format!("{}/work/{}", self.pass.folder, self.id)).unwrap_or_default()
    }

    /// Returns what the shell does that was not let in: says so and ends.
    fn turn_away(&self) -> String {
        format!(
            "{{ [ -n \"$__fence_why\" ] || __fence_why=\" $__fence_n $__fence_t $__fence_r $__fence_w\"; \
             printf \"%s\\n\" \"foundry-fence {}$__fence_why\"; exit {REFUSED}; }}",
            self.id
        )
    }

    /// Returns `program` behind this door, in a session of its own: what it leaves behind there can be found and stopped,
    /// and is killed when it ends.
    #[must_use]
    pub fn around(&self, program: &Program) -> Program {
        let mut text = Zeroizing::new(String::new());
        let (id, work) = (&self.id, self.work());
        let _ = writeln!(text, "setsid sh <<'__{id}__' &");
        self.functions(&mut text, true);
        let _ = writeln!(text, "__fence_enter || {}\n(", self.turn_away());
        text.push_str(program.text.expose());
        let _ = write!(
            text,
            "\n) </dev/null\n\
             __{id}__\n\
             __p=$!\n\
             wait \"$__p\"; __w=$?\n\
             kill -s KILL -- \"-$__p\" 2>/dev/null\n\
             [ ! -e {work} ] || : >{work}\n\
             exit \"$__w\"\n"
        );
        Program {
            deadline: program.deadline + WAITING,
            text: std::mem::take(&mut *text).into(),
        }
    }

    /// Returns `program`, which changes nothing, after the host's fence has been raised and what is left of earlier programs
    /// has been stopped.
    #[must_use]
    pub fn before(&self, program: &Program) -> Program {
        let mut text = Zeroizing::new("(\n".to_owned());
        self.functions(&mut text, false);
        let _ = writeln!(
            text,
            "__fence_enter || {}\n) </dev/null || exit",
            self.turn_away()
        );
        text.push_str(program.text.expose());
        Program {
            deadline: program.deadline + WAITING,
            text: std::mem::take(&mut *text).into(),
        }
    }

    /// Returns what a command line begins with that is to go through this door: no single quote is in it. What it needs to
    /// know comes as arguments, from `$5` on: [`Self::arguments`].
    #[must_use]
    pub fn script(&self) -> String {
        let mut text = String::new();
        for (at, name) in (5..).zip(["dir", "number", "token", "run", "who", "id", "lost", "seen"])
        {
            let _ = writeln!(text, "fence_{name}=${{{at}}}");
        }
        text.push_str(&FUNCTIONS);
        let _ = writeln!(text, "__fence_enter || {}", self.turn_away());
        text
    }

    /// Returns the arguments of [`Self::script`].
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let Pass { folder, fence } = &*self.pass;
        vec![
            folder.clone(),
            fence.number.to_string(),
            fence.token.clone(),
            fence.run.clone(),
            fence.who.clone(),
            self.id.clone(),
            self.lost.join(" "),
            self.seen(),
        ]
    }

    /// Returns why the program was refused, in the words that [`Refused::read`] reads; `None` if it was not.
    #[must_use]
    pub fn refused(&self, reply: &Reply) -> Option<String> {
        if reply.status != Some(REFUSED) {
            return None;
        }
        let stdout = String::from_utf8_lossy(&reply.stdout);
        let mark = format!("foundry-fence {}", self.id);
        let why = stdout.lines().find_map(|line| line.strip_prefix(&mark))?;
        let said = String::from_utf8_lossy(&reply.stderr);
        let said = said.trim();
        Some(if why.starts_with(' ') || said.is_empty() {
            why.to_owned()
        } else {
            format!("{why}: {said}")
        })
    }

    /// Reads whether the program was refused.
    #[must_use]
    pub fn refusal(&self, reply: &Reply) -> Option<Refused> {
        self.refused(reply).map(|why| Refused::read(&why))
    }
}

impl Refused {
    /// Reads why a program was not let in. Whose the host is comes after a blank.
    #[must_use]
    pub fn read(why: &str) -> Self {
        match why.strip_prefix(' ').and_then(Fence::parse) {
            Some(fence) => Self::By(fence),
            None => Self::Trouble(why.trim().to_owned()),
        }
    }
}

/// Returns the folder of a stack on hosts.
#[must_use]
pub fn stack_folder(stack: &str) -> String {
    let stamps = super::stamp::stamps_folder(stack);
    stamps
        .rsplit_once('/')
        .map_or(stamps.clone(), |(folder, _)| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What `fence.sh` and [`Fence::parse`] make of a host's file; the latter of the line that the probe brings along.
    fn both(text: &str) -> ((u64, String), (u64, String)) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("fence"), text).unwrap();
        let script = format!(
            "fence_dir=$1\n{}__fence_read\nprintf '%s %s\\n' \"$__fence_n\" \"$__fence_t\"\n\
             IFS= read -r w <\"$1/fence\" && printf '%s\\n' \"$w\"; :",
            *FUNCTIONS
        );
        let output = Command::new("dash")
            .args(["-c", &script, "dash"])
            .arg(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (shell, probed) = said.split_once('\n').unwrap();
        let (number, token) = shell.split_once(' ').unwrap();
        // As the probe's answer is taken apart.
        let fence = probed.lines().next().and_then(Fence::parse);
        (
            (number.parse().unwrap(), token.to_owned()),
            fence.map_or((0, String::new()), |fence| (fence.number, fence.token)),
        )
    }

    #[test]
    fn the_shell_and_foundry_read_the_same_fence() {
        let none = [
            "",
            "\n",
            "12\n",
            "12 \n",
            "12 \r\n",
            "12\r\n",
            "12 aa run ada@desk",
            "0 aa run ada@desk\n",
            "012 aa run ada@desk\n",
            "+12 aa run ada@desk\n",
            "-12 aa run ada@desk\n",
            "12x aa run ada@desk\n",
            "\t12 aa run ada@desk\n",
            "12\taa run ada@desk\n",
            "12 a-a run ada@desk\n",
            "12 ä run ada@desk\n",
            "\n12 aa run ada@desk\n",
            "1000000000000000 x y z\n",
            "1000000000000001 x y z\n",
            "9999999999999999 x y z\n",
            "99999999999999999999999 x y z\n",
        ];
        for text in none {
            let (shell, foundry) = both(text);
            assert_eq!((shell.0, foundry.0), (0, 0), "{text:?}");
        }
        let some = [
            ("12 aa\n", 12),
            ("12 aa run ada@my desk\n", 12),
            ("  12   aa  run  ada@desk  \nmore\n", 12),
            ("12 aa run ada@desk\r\n", 12),
            ("12 aa run ada\\n'\"$(x)\n", 12),
            ("999999999999999 x y z\n", 999_999_999_999_999),
        ];
        for (text, number) in some {
            let (shell, foundry) = both(text);
            assert_eq!(shell.0, number, "{text:?}");
            assert_eq!(shell, foundry, "{text:?}");
        }
        let fence = Fence::parse("12 aa run ada@my desk").unwrap();
        assert_eq!((&*fence.run, &*fence.who), ("run", "ada@my desk"));
    }
}
