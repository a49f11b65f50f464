//! Stamps: what an apply leaves on the host beside its effect, as files. Does not know what a difference means.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::fact::{Fault, Stamp};
use super::frame::{self, Frames};
use super::shell::{ShellError, quote, quote_into};
use crate::graph::Label;

/// Stands for an input's name before the public key.
const PUBLIC: &str = "{public}";

/// Returns the folder of a stack's stamps on a host.
#[must_use]
pub fn stamps_folder(stack: &str) -> String {
    format!("/var/lib/foundry/{}/stamps", file_name(stack))
}

/// Returns the file of a step's stamp, below [`stamps_folder`]: the label without its host.
#[must_use]
pub fn stamp_path(label: &Label) -> String {
    let component = file_name(&label.component);
    let mut step = file_name(&label.step);
    if let Some(item) = &label.item {
        let _ = write!(step, "[{}]", file_name(item));
    }
    if step.len() > 200 {
        // A file name holds 255 bytes.
        let digest = blake3::hash(step.as_bytes()).to_hex();
        step.truncate(160);
        let _ = write!(step, "~{}", &digest[..32]);
    }
    format!("{component}/{step}")
}

/// Escapes what can't stand in a file name or would hide it.
fn file_name(text: &str) -> String {
    let escaped = escape(text, |byte| byte == b'/' || !byte.is_ascii());
    match escaped.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => escaped,
    }
}

/// Percent-encodes control characters, `%` and what `also` names.
fn escape(text: &str, also: impl Fn(u8) -> bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if byte == b'%' || byte.is_ascii_control() || also(byte) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('%') {
        bytes.extend_from_slice(head.as_bytes());
        bytes.push(u8::from_str_radix(tail.get(..2)?, 16).ok()?);
        rest = &tail[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

impl Stamp {
    /// Returns the text of the file: `key <hex>`, then `input <name> <shown>` for each input. The public key stands among
    /// them under a name that no input has, where versions that know nothing of it pass it over.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = format!("key {}\n", self.key);
        for (name, shown) in &self.inputs {
            let _ = writeln!(out, "input {name} {}", escape(shown, |_| false));
        }
        if let Some(public) = &self.public {
            let _ = writeln!(out, "input {PUBLIC} {public}");
        }
        out
    }

    /// Reads the text of the file; `None` if it is none (cut short, or of another making): the same as no stamp.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let key = lines.next()?.strip_prefix("key ")?.to_owned();
        let mut inputs = lines
            .map(|line| {
                let (name, shown) = line.strip_prefix("input ")?.split_once(' ')?;
                Some((name.to_owned(), unescape(shown)?))
            })
            .collect::<Option<BTreeMap<_, _>>>()?;
        let public = inputs.remove(PUBLIC);
        Some(Self {
            key,
            inputs,
            public,
        })
    }
}

/// Which stamps are read.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The folder they are in.
    pub folder: String,
    /// Their paths below it; all that are there if it is empty.
    pub only: Vec<String>,
}

/// Reads files with the shell's own means, as `grep` below prints them. An end without a line break stays one: half a
/// stamp is none.
const FUNCTION: &str = r#"__t() {
for __w do
[ -f "$__w" ] || continue
printf '%s\0' "$__w"
while IFS= read -r __l; do printf '%s\n' "$__l"; done <"$__w"
printf '%s\0' "$__l"
done
}
"#;

/// Appends the program that reads stamps: all at once by one process, a few that are named by none.
pub(super) fn render(wanted: Option<&Wanted>, out: &mut String) -> Result<u32, ShellError> {
    let Some(Wanted { folder, only }) = wanted else {
        return Ok(0);
    };
    if !only.is_empty() {
        out.push_str(FUNCTION);
        out.push_str("__o stamps\n__t");
        for path in only {
            out.push(' ');
            quote_into(out, &format!("{folder}/{path}"))?;
        }
        out.push_str(" || __s=$?\n__c stamps\n");
        return Ok(0);
    }
    let folder = quote(folder)?;
    let _ = write!(
        out,
        "__o stamps\nif [ -d {folder} ]; then __n=$((__n + 1))\n"
    );
    frame::keeping(out, &format!("grep -raHZz '' {folder}"), None);
    out.push_str("fi\n__c stamps\n");
    Ok(0)
}

/// Stamps that were read before, by their text: hosts of one kind share theirs.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<Vec<u8>, Arc<Stamp>>>);

impl Known {
    /// Reads the text of a stamp, unless it was read before; `None` if it is none.
    fn decode(&self, text: &[u8]) -> Option<Arc<Stamp>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stamp) = known.get(text) {
            return Some(Arc::clone(stamp));
        }
        let stamp = Arc::new(Stamp::decode(&String::from_utf8_lossy(text))?);
        known.insert(text.to_owned(), Arc::clone(&stamp));
        Some(stamp)
    }
}

/// Reads stamps by their path below `folder`. One that can't be read as a stamp is none.
pub(super) fn read(
    wanted: Option<&Wanted>,
    frames: &Frames,
    known: &Known,
) -> Result<HashMap<String, Arc<Stamp>>, Fault> {
    let Some(Wanted { folder, .. }) = wanted else {
        return Ok(HashMap::new());
    };
    let section = frames.section("stamps")?;
    // Status 1: the folder holds no file that has anything in it.
    let out = section.done("grep", &[1])?;
    let mut fields = out.split(|byte| *byte == 0);
    let mut stamps = HashMap::new();
    while let (Some(path), Some(text)) = (fields.next(), fields.next()) {
        let path = String::from_utf8_lossy(path);
        let below = path
            .strip_prefix(folder.as_str())
            .and_then(|path| path.strip_prefix('/'));
        if let (Some(below), Some(stamp)) = (below, known.decode(text)) {
            stamps.insert(below.to_owned(), stamp);
        }
    }
    Ok(stamps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_flat_and_plain() {
        let label = |item: Option<&str>| Label {
            component: "base".into(),
            step: "package".into(),
            item: item.map(Into::into),
            host: Some("a".into()),
        };
        assert_eq!(stamp_path(&label(None)), "base/package");
        assert_eq!(stamp_path(&label(Some("curl"))), "base/package[curl]");
        assert_eq!(
            stamp_path(&label(Some("/etc/a b%"))),
            "base/package[%2Fetc%2Fa b%25]"
        );
        let long = stamp_path(&label(Some(&"x".repeat(5000))));
        assert!(long.len() < 220 && long.contains('~'), "{long}");
        assert_eq!(stamps_folder("../x"), "/var/lib/foundry/%2E.%2Fx/stamps");
    }

    #[test]
    fn half_a_stamp_is_none() {
        assert_eq!(Stamp::decode(""), None);
        assert_eq!(Stamp::decode("key ab"), None);
        assert_eq!(Stamp::decode("key ab\ninput x"), None);
        let stamp = Stamp::decode("key ab\ninput x a%0Ab\ninput y \n").unwrap();
        assert_eq!(stamp.inputs["x"], "a\nb");
        assert_eq!(stamp.inputs["y"], "");
    }

    proptest! {
        #[test]
        fn stamps_come_back(shown in ".{0,60}|[%\n\r\t 0-9A-F]{0,20}", public in proptest::option::of("[0-9a-f]{8}")) {
            let stamp = Stamp { key: "00ff".into(), inputs: BTreeMap::from([("a".to_owned(), shown)]), public };
            prop_assert_eq!(Stamp::decode(&stamp.encode()), Some(stamp));
        }
    }
}
