//! How one text is written as one scalar of a structured format: whatever stands in it, a parser reads exactly that text again.
//! What a format can't hold is an error that does not quote it. Does not know templates, nor what the text is.

use base64::Engine as _;
use zeroize::Zeroizing;

/// Writes a text as one scalar. Templates call it as a filter of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoder {
    /// A double-quoted scalar of YAML.
    Yaml,
    /// A string of JSON.
    Json,
    /// A basic string of TOML.
    Toml,
    /// A string of HCL that is taken literally, `${` and `%{` included.
    Hcl,
    /// A word of a POSIX shell.
    Sh,
    /// A quoted word of a systemd unit, such as what follows `Environment=`.
    Systemd,
    /// The value of a line `name=value`, as it is: such files know no quoting.
    Ini,
    /// A quoted value of curl's config file.
    Curl,
    /// Base64.
    B64,
}

/// Why a text can't be written so, as the end of "it can't be written as … :".
pub type Why = &'static str;

impl Encoder {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Yaml,
        Self::Json,
        Self::Toml,
        Self::Hcl,
        Self::Sh,
        Self::Systemd,
        Self::Ini,
        Self::Curl,
        Self::B64,
    ];

    /// Returns the name of its filter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Toml => "toml",
            Self::Hcl => "hcl",
            Self::Sh => "sh",
            Self::Systemd => "systemd",
            Self::Ini => "ini",
            Self::Curl => "curl",
            Self::B64 => "b64",
        }
    }

    /// Returns the encoder whose filter is called `name`, its older names included.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "quote_hcl" => Some(Self::Hcl),
            "shquote" => Some(Self::Sh),
            "tojson" => Some(Self::Json),
            name => Self::ALL.into_iter().find(|encoder| encoder.name() == name),
        }
    }

    /// Writes `text`.
    ///
    /// # Errors
    /// When there is no way to write it so that it is read as it was.
    pub fn encode(self, text: &str) -> Result<Zeroizing<String>, Why> {
        Ok(Zeroizing::new(match self {
            // Every escape here is one of JSON's, which the others have as well.
            Self::Yaml | Self::Json | Self::Toml => quoted(text, |_, _| false),
            // An escape, not `$${`: OpenBAO's HCL keeps both signs of that.
            Self::Hcl => quoted(text, |c, next| matches!(c, '$' | '%') && next == Some('{')),
            Self::Sh if text.contains('\0') => return Err(NUL),
            Self::Sh => shquote(text),
            Self::Systemd => systemd(text)?,
            Self::Ini => ini(text)?.to_owned(),
            Self::Curl => curl(text)?,
            Self::B64 => base64::engine::general_purpose::STANDARD.encode(text),
        }))
    }
}

const NUL: Why = "it holds a NUL byte";

/// Quotes `text` with the escapes of JSON; what is no printable character, or what `also` says of it and its successor, by
/// its number.
fn quoted(text: &str, also: impl Fn(char, Option<char>) -> bool) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Line breaks for some readers of YAML, or nothing that it prints.
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c if also(c, rest.peek().copied()) => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Quotes `text` for a POSIX shell. A NUL byte, which no shell can hold, is for the caller to refuse.
#[must_use]
pub fn shquote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    // Not `'\''`: where systemd reads such a file, what follows that is no longer within quotes.
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

fn systemd(text: &str) -> Result<String, Why> {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '%' => out.push_str("%%"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                return Err("it holds a line break or another control character");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(out)
}

/// What no reader of such files takes for anything but the value itself: they differ in the rest.
fn ini(text: &str) -> Result<&str, Why> {
    let blank = |c: char| c.is_whitespace();
    if text.is_empty() {
        return Ok(text);
    }
    if text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
    {
        return Err("it holds a line break or another control character");
    }
    if text.starts_with(blank) || text.ends_with(blank) {
        return Err("it begins or ends with a blank");
    }
    if text.starts_with(['"', '\'', '#', ';']) || text.ends_with(['"', '\'']) {
        return Err("it begins or ends with a quote, or begins with `#` or `;`");
    }
    if text.ends_with('\\') {
        return Err("it ends with a backslash");
    }
    let mut before = ' ';
    for c in text.chars() {
        if matches!(c, '#' | ';') && blank(before) {
            return Err("it holds `#` or `;` after a blank, where a comment would begin");
        }
        before = c;
    }
    Ok(text)
}

fn curl(text: &str) -> Result<String, Why> {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\0' => return Err(NUL),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_is_read_as_it_was() {
        for text in [
            "",
            "plain",
            "yes",
            "1e3",
            "a\"b\\c\nd\te\0f\u{7}",
            " # : - {{ }} ${x} %{y} $${z}",
            "ä\u{85}\u{2028}\u{feff}\u{1f600}",
        ] {
            let yaml = Encoder::Yaml.encode(text).unwrap();
            assert_eq!(serde_yaml::from_str::<String>(&yaml).unwrap(), text);
            assert_eq!(serde_json::from_str::<String>(&yaml).unwrap(), text);
            let table: toml::Table = format!("a = {}", &*yaml).parse().unwrap();
            assert_eq!(table["a"].as_str(), Some(text));
        }
        for (encoder, text, want) in [
            (
                Encoder::Hcl,
                "a\"${b}%{c}$d",
                "\"a\\\"\\u0024{b}\\u0025{c}$d\"",
            ),
            (Encoder::Sh, "it's", r#"'it'"'"'s'"#),
            (Encoder::Sh, "a/b-c.d", "a/b-c.d"),
            (
                Encoder::Systemd,
                "a %n \"b\"\\\t$x",
                "\"a %%n \\\"b\\\"\\\\\\t$x\"",
            ),
            (Encoder::Ini, "a=b#c", "a=b#c"),
            (Encoder::Ini, "", ""),
            (Encoder::Curl, "a\"\\\nb", "\"a\\\"\\\\\\nb\""),
            (Encoder::B64, "hi", "aGk="),
        ] {
            assert_eq!(
                encoder.encode(text).as_deref().map(String::as_str),
                Ok(want)
            );
        }
    }

    #[test]
    fn what_can_t_be_held_is_refused_and_not_quoted() {
        for (encoder, texts) in [
            (Encoder::Sh, &["hunter2\0"][..]),
            (Encoder::Curl, &["hunter2\0"]),
            (
                Encoder::Systemd,
                &["hunter2\n", "\0hunter2", "\u{1b}hunter2"],
            ),
            (
                Encoder::Ini,
                &[
                    "hunter2\nx",
                    "hunter2\0",
                    " hunter2",
                    "hunter2\t",
                    "\"hunter2",
                    "hunter2'",
                    "#hunter2",
                    "hunter2 ;x",
                    "hunter2\\",
                    "hunter2\r",
                ],
            ),
        ] {
            for text in texts {
                let why = encoder.encode(text).unwrap_err();
                assert!(!why.contains("hunter2"), "{why}");
            }
        }
    }
}
