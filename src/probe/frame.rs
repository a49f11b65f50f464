//! Frames: how the parts of one program's output are told apart. A frame mark holds a random word that nothing on the
//! host can know, so that no tool's output can pass for one. Does not know what stands inside a frame.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::fact::Fault;
use super::journal::Head;
use super::reader::Reply;

/// The random word that marks the frames of one program. Letters and digits only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nonce(String);

impl Nonce {
    /// Makes the nonce of 16 random bytes that the caller drew.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(hex::encode(random))
    }

    /// Draws one from the system's random numbers.
    ///
    /// # Errors
    /// When the system has none.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        Ok(Self::new(random))
    }

    /// Returns the word itself.
    #[must_use]
    pub fn word(&self) -> &str {
        &self.0
    }
}

/// Appends the shell functions that write frames: `__o NAME [TEXT]` opens one, with what stands in it if it is known; `__c
/// NAME` closes it with the status in `$__s` and what was said on standard error in `$__err`; `__e COUNT` ends the program.
/// `__b NAME` opens one for a script, whose standard error comes as it is.
///
/// What a program has to say before its first frame may be in `__mark`.
///
/// Every line written is a packet of SSH, and one more time that both sides wake up. So a frame's end waits for the next
/// one's beginning, and what tools say on standard error is kept: [`keeping`].
pub(super) fn prelude(out: &mut String, nonce: &Nonce) {
    let _ = write!(
        out,
        "LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         export LC_ALL PATH\n\
         unset POSIXLY_CORRECT ENV LANGUAGE GREP_OPTIONS IFS\n\
         umask 022\n\
         cd /\n\
         __held=${{__mark-}}\n\
         __o() {{ __s=0 __err=; printf '%s\\n%s o %s\\n%s' \"$__held\" {nonce} \"$1\" \"${{2-}}\"; __held=; }}\n\
         __b() {{ __o \"$1\"; printf '\\n%s o %s\\n' {nonce} \"$1\" >&2; }}\n\
         __y() {{ [ -z \"$__said\" ] || __err=\"$__err$__said\n\"; }}\n\
         __c() {{ __held=\"\n{nonce} c $1 $__s\n\"; [ -z \"$__err\" ] || __held=\"\n{nonce} x $1\n$__err$__held\"; }}\n\
         __e() {{ printf '%s\\n%s e %s\\n' \"$__held\" {nonce} \"$1\"; }}\n",
        nonce = nonce.0
    );
}

/// Appends a command of a frame, which starts one process. Its words on standard error are kept for the frame's end, and so
/// is its status if it fails. A function as `command` should `exec` what it ends with. `here` is its standard input, as what
/// stands in a here-document.
pub(super) fn keeping(out: &mut String, command: &str, here: Option<&str>) {
    let _ = match here {
        None => writeln!(
            out,
            "{{ __said=$({command} 2>&1 >&3 3>&-) || __s=$?; }} 3>&1; __y"
        ),
        Some(here) => writeln!(
            out,
            "{{ __said=$({command} <<__end__ 2>&1 >&3 3>&-\n{here}\n__end__\n) || __s=$?; }} 3>&1; __y"
        ),
    };
}

/// What stands in one frame.
#[derive(Clone, Default)]
pub struct Section {
    /// Standard output, byte for byte.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: String,
    /// Exit status of the last command in it that failed, 0 if none; `None` when the answer ends inside the frame.
    pub status: Option<i32>,
}

impl Section {
    /// Returns the output if the command ended well or with one of `fine`.
    ///
    /// # Errors
    /// When it is cut short, the tool is missing, or it ended otherwise.
    pub fn done(&self, tool: &str, fine: &[i32]) -> Result<&[u8], Fault> {
        let said = self.err.trim();
        let fault = |message, not_yet| Err(Fault { message, not_yet });
        match self.status {
            Some(status) if status == 0 || fine.contains(&status) => Ok(&self.out),
            Some(127) => fault(format!("`{tool}` is not there: {said}"), true),
            Some(status) => fault(
                format!("`{tool}` ended with status {status}: {said}"),
                false,
            ),
            None => fault(
                format!("the answer ends inside that of `{tool}`: {said}"),
                false,
            ),
        }
    }
}

/// All frames of one reply.
#[derive(Default)]
pub struct Frames {
    sections: HashMap<String, Section>,
    /// What the program counted, if it came to its end.
    pub end: Option<u32>,
    /// How far it says that the host's journal has come.
    pub head: Option<Head>,
    /// What stands outside of all frames on standard error: words of sudo, of the shell itself.
    pub stray: String,
}

impl Frames {
    /// Takes a reply apart.
    #[must_use]
    pub fn read(nonce: &Nonce, reply: &Reply) -> Self {
        let mut frames = Self::default();
        for mark in marks(nonce, &reply.stdout) {
            match mark.words.as_slice() {
                ["o", name] => {
                    let section = frames.sections.entry((*name).to_owned()).or_default();
                    section.out.extend_from_slice(mark.body);
                }
                ["x", name] => {
                    if let Some(section) = frames.sections.get_mut(*name) {
                        section.err.push_str(&String::from_utf8_lossy(mark.body));
                    }
                }
                ["c", name, status] => {
                    if let Some(section) = frames.sections.get_mut(*name) {
                        section.status = status.parse().ok();
                    }
                }
                ["e", count] => frames.end = count.parse().ok(),
                ["j", words @ ..] => frames.head = Head::parse(words),
                _ => {}
            }
        }
        let mut stray = Vec::new();
        for mark in marks(nonce, &reply.stderr) {
            match mark.words.as_slice() {
                ["o", name] => {
                    let section = frames.sections.entry((*name).to_owned()).or_default();
                    section.err.push_str(&String::from_utf8_lossy(mark.body));
                }
                _ => stray.extend_from_slice(mark.body),
            }
        }
        frames.stray = String::from_utf8_lossy(&stray).trim().to_owned();
        frames
    }

    /// Returns the frame of this name.
    ///
    /// # Errors
    /// When the program did not come that far.
    pub fn section(&self, name: &str) -> Result<&Section, Fault> {
        self.sections.get(name).ok_or_else(|| self.cut())
    }

    /// Makes sure that the program came to its end.
    ///
    /// # Errors
    /// When it did not.
    pub fn ended(&self) -> Result<(), Fault> {
        self.end.map(drop).ok_or_else(|| self.cut())
    }

    fn cut(&self) -> Fault {
        Fault {
            message: if self.stray.is_empty() {
                "the answer was cut short".to_owned()
            } else {
                format!("the answer was cut short: {}", self.stray)
            },
            not_yet: false,
        }
    }
}

/// Finds marks in a stream that is still coming.
pub struct Heard {
    needle: Vec<u8>,
    /// All before this has been looked at.
    from: usize,
}

impl Heard {
    /// Starts at the beginning of a stream.
    pub fn new(nonce: &Nonce) -> Self {
        Self {
            needle: needle(nonce),
            from: 0,
        }
    }

    /// Returns the words of the marks that have come since the last call; `stream` is all there is by now.
    pub fn more(&mut self, stream: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(at) = find(stream, &self.needle, self.from) {
            let head = at + self.needle.len();
            let Some(length) = stream[head..].iter().position(|byte| *byte == b'\n') else {
                // The rest of the line is still to come.
                self.from = at;
                return found;
            };
            found.push(String::from_utf8_lossy(&stream[head..head + length]).into_owned());
            self.from = head + length;
        }
        // A mark may have come in half.
        self.from = self
            .from
            .max(stream.len().saturating_sub(self.needle.len()));
        found
    }
}

fn needle(nonce: &Nonce) -> Vec<u8> {
    format!("\n{} ", nonce.0).into_bytes()
}

/// A mark and what follows it up to the next one.
struct Mark<'a> {
    words: Vec<&'a str>,
    body: &'a [u8],
}

/// Cuts a stream at its marks. What stands before the first one comes as a mark without words.
fn marks<'a>(nonce: &Nonce, stream: &'a [u8]) -> Vec<Mark<'a>> {
    let needle = needle(nonce);
    let mut found = Vec::new();
    let mut words = Vec::new();
    let mut start = 0;
    let mut from = 0;
    while let Some(at) = find(stream, &needle, from) {
        let head = at + needle.len();
        let Some(length) = stream[head..].iter().position(|byte| *byte == b'\n') else {
            break;
        };
        let body = &stream[start..at];
        let line = std::str::from_utf8(&stream[head..head + length]).unwrap_or_default();
        found.push(Mark {
            words: std::mem::take(&mut words),
            body,
        });
        words = line.split(' ').collect();
        start = head + length + 1;
        from = start;
    }
    let body = stream.get(start..).unwrap_or_default();
    found.push(Mark { words, body });
    found
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let (&first, rest) = needle.split_first()?;
    let mut at = from;
    while at + needle.len() <= haystack.len() {
        let step = haystack[at..].iter().position(|byte| *byte == first)?;
        at += step;
        if haystack.get(at + 1..at + needle.len()) == Some(rest) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(stdout: &str, stderr: &str) -> (Nonce, Reply) {
        let nonce = Nonce::new([7; 16]);
        let fill = |text: &str| text.replace("N", nonce.word()).into_bytes();
        let reply = Reply {
            stdout: fill(stdout),
            stderr: fill(stderr),
            status: Some(0),
        };
        (nonce, reply)
    }

    #[test]
    fn bodies_keep_every_byte() {
        let (nonce, reply) = reply(
            "motd\n\nN o a\nx\n\n\nN c a 3\n\nN o b\n\nN c b 0\n\nN e 9\n",
            "",
        );
        let frames = Frames::read(&nonce, &reply);
        let a = frames.section("a").unwrap();
        assert_eq!((a.out.as_slice(), a.status), (b"x\n\n".as_slice(), Some(3)));
        assert_eq!(frames.section("b").unwrap().out, b"");
        assert_eq!(frames.end, Some(9));
        assert!(frames.section("c").is_err());
    }

    #[test]
    fn a_cut_answer_is_a_fault_and_names_the_words_said() {
        let (nonce, reply) = reply("\nN o a\nhalf", "sh: oops\n\nN o a\nbad\n");
        let frames = Frames::read(&nonce, &reply);
        let fault = frames.section("a").unwrap().done("stat", &[]).unwrap_err();
        assert_eq!(fault.message, "the answer ends inside that of `stat`: bad");
        let fault = frames.section("b").err().unwrap();
        assert_eq!(fault.message, "the answer was cut short: sh: oops");
    }

    #[test]
    fn marks_are_heard_once_however_the_stream_is_cut() {
        let (nonce, reply) = reply("hello\nN o a\nN o b\nx\nN c a 0\n\nN o c\n", "");
        for step in 1..=reply.stdout.len() {
            let mut heard = Heard::new(&nonce);
            let mut all = Vec::new();
            for end in (0..reply.stdout.len()).step_by(step) {
                all.extend(heard.more(&reply.stdout[..end]));
            }
            all.extend(heard.more(&reply.stdout));
            assert_eq!(
                all,
                ["o a", "o b", "c a 0", "o c"],
                "{step} bytes at a time"
            );
        }
    }

    #[test]
    fn garbage_forges_nothing() {
        let (nonce, reply) = reply("\nN o a\nc a 0\n0707 c a 0\n N c a 5\nx\nNN c a 5\n", "");
        assert_eq!(
            Frames::read(&nonce, &reply).section("a").unwrap().status,
            None
        );
    }
}
