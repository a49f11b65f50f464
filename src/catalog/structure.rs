//! Structured text with values to come in it: each must go through an encoder of the text's format and be a scalar of its own,
//! in no quotes of the text. Then whatever takes its place can't become anything else. Does not know what the values are.

use super::encode::Encoder;
use super::placeholder::Piece;

/// A format of text that has a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// TOML.
    Toml,
    /// HCL.
    Hcl,
    /// Sections of lines `name=value`.
    Ini,
    /// A systemd unit.
    Systemd,
    /// Lines `NAME=value` that a shell or systemd reads.
    Env,
    /// A config of whichever kind: its recipe knows which encoder it needs.
    Conf,
    /// A script of a POSIX shell.
    Sh,
}

impl Format {
    /// Returns the format with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "yaml" => Self::Yaml,
            "json" => Self::Json,
            "toml" => Self::Toml,
            "hcl" => Self::Hcl,
            "ini" => Self::Ini,
            "systemd" => Self::Systemd,
            "env" => Self::Env,
            "conf" => Self::Conf,
            "sh" => Self::Sh,
            _ => return None,
        })
    }

    /// Names of all formats.
    pub const NAMES: &'static [&'static str] = &[
        "yaml", "json", "toml", "hcl", "ini", "systemd", "env", "conf", "sh",
    ];

    /// Returns the format of a file, by the end of its name.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or_default();
        // `.env` has nothing before it.
        let (_, extension) = name.rsplit_once('.')?;
        Some(match extension {
            "yaml" | "yml" => Self::Yaml,
            "json" => Self::Json,
            "toml" => Self::Toml,
            "hcl" | "tf" => Self::Hcl,
            "ini" => Self::Ini,
            "service" | "socket" | "timer" | "mount" | "automount" | "target" | "slice"
            | "network" | "netdev" | "link" => Self::Systemd,
            "env" => Self::Env,
            "conf" | "cfg" | "cnf" | "properties" => Self::Conf,
            "sh" => Self::Sh,
            _ => return None,
        })
    }

    /// Returns the encoders whose scalars this format takes; first the one to recommend.
    #[must_use]
    pub fn encoders(self) -> &'static [Encoder] {
        use Encoder::{B64, Curl, Hcl, Ini, Json, Sh, Systemd, Toml, Yaml};
        match self {
            Self::Yaml => &[Yaml, Json],
            Self::Json => &[Json],
            Self::Toml => &[Toml],
            Self::Hcl => &[Hcl],
            Self::Ini => &[Ini, B64],
            Self::Systemd => &[Systemd],
            Self::Env => &[Sh, Systemd, Ini, B64],
            Self::Conf => &[Ini, Systemd, Sh, Json, Yaml, Toml, Hcl, Curl, B64],
            Self::Sh => &[Sh, B64],
        }
    }

    /// Returns what a scalar of its own may come after and before on its line, blanks aside; `None` where only quotes matter.
    fn neighbours(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Yaml => Some((":-?[{,", ",]}:#")),
            Self::Json => Some((":[{,", ",]}:")),
            Self::Toml => Some(("=[{,", ",]}#")),
            Self::Hcl => Some(("=[{,(:?", ",]}):?#/")),
            Self::Ini => Some(("=:", "")),
            Self::Systemd | Self::Env | Self::Conf | Self::Sh => None,
        }
    }
}

/// Why a value to come can't stand where it does, and what to write in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// What is wrong.
    pub message: String,
    /// The right form.
    pub hint: String,
}

/// Checks a text of a format, cut into pieces. A text that is nothing but one value to come is that value's own affair.
///
/// # Errors
/// About the first value that is no scalar of its own.
pub fn check_pieces(format: Format, pieces: &[Piece<'_>]) -> Result<(), Misplaced> {
    let blank = |piece: &Piece<'_>| matches!(piece, Piece::Literal(text) if text.trim().is_empty());
    let mut rest = pieces.iter().filter(|piece| !blank(piece));
    if let (Some(Piece::Placeholder(_)), None) = (rest.next(), rest.next()) {
        return Ok(());
    }
    let mut line = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Literal(text) => match text.rsplit_once('\n') {
                Some((_, last)) => last.clone_into(&mut line),
                None => line.push_str(text),
            },
            Piece::Placeholder(_) => return Err(bare(format)),
            Piece::Encoded(encoder, _) => {
                let after = match pieces.get(at + 1) {
                    Some(Piece::Literal(text)) => text.lines().next().unwrap_or_default(),
                    Some(_) => "x",
                    None => "",
                };
                check_place(format, *encoder, &line, after)?;
                // Of its own it is whole: it opens no quotes.
                line.push('x');
            }
        }
    }
    Ok(())
}

/// Checks one encoded value between what stands before and after it on its line.
///
/// # Errors
/// When it is no scalar of its own there.
pub fn check_place(
    format: Format,
    encoder: Encoder,
    before: &str,
    after: &str,
) -> Result<(), Misplaced> {
    if !format.encoders().contains(&encoder) {
        let right = format.encoders()[0].name();
        return Err(Misplaced {
            message: format!(
                "a secret or an output of a step goes through `| {}`, which is not what this format takes",
                encoder.name()
            ),
            hint: format!("end it with `| {right}`: `{{{{ … | {right} }}}}`"),
        });
    }
    let name = encoder.name();
    let quotes = before.matches('"').count() - before.matches("\\\"").count();
    let in_quotes = quotes % 2 == 1 || before.ends_with(['"', '\'']);
    let alone = match format.neighbours() {
        None => true,
        Some((left, right)) => {
            let last = before.trim_end().chars().last();
            let first = after.trim_start().chars().next();
            last.is_none_or(|c| left.contains(c)) && first.is_none_or(|c| right.contains(c))
                // A comment needs a blank before it.
                && !after.starts_with('#')
        }
    };
    if !in_quotes && alone {
        return Ok(());
    }
    Err(Misplaced {
        message: if in_quotes {
            format!(
                "a secret or an output of a step stands within quotes, and `| {name}` brings its own"
            )
        } else {
            format!("a secret or an output of a step is joined with other text after `| {name}`")
        },
        hint: if in_quotes {
            format!(
                "take the quotes away, or put all of it through the filter: `{{{{ ('…' ~ x ~ '…') | {name} }}}}`"
            )
        } else {
            format!("join first, then end with the filter: `{{{{ ('…' ~ x ~ '…') | {name} }}}}`")
        },
    })
}

/// Says that a value to come is put in as it is.
#[must_use]
pub fn bare(format: Format) -> Misplaced {
    let name = format.encoders()[0].name();
    Misplaced {
        message: "a secret or an output of a step is put into a structured text as it is: what stands in it could become \
                  more than one value"
            .to_owned(),
        hint: format!("end it with `| {name}`, without quotes around it: `{{{{ … | {name} }}}}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Placeholder;

    #[test]
    fn a_value_is_a_scalar_of_its_own_or_refused() {
        let bare = Piece::Placeholder(Placeholder(0));
        let encoded = |encoder| Piece::Encoded(encoder, vec![Piece::Placeholder(Placeholder(0))]);
        let check = |format, before, piece, after| {
            check_pieces(
                format,
                &[Piece::Literal(before), piece, Piece::Literal(after)],
            )
        };
        for (format, encoder, before, after) in [
            (Format::Yaml, Encoder::Yaml, "a: ", "\nb: 1\n"),
            (Format::Yaml, Encoder::Yaml, "a: \"x\"\nb: ", " # it's\n"),
            (Format::Yaml, Encoder::Json, "- { a: ", ", b: 1 }"),
            (Format::Yaml, Encoder::Yaml, "- ", ""),
            (Format::Json, Encoder::Json, "{ \"a\": ", " }"),
            (Format::Toml, Encoder::Toml, "a = ", "\n"),
            (Format::Hcl, Encoder::Hcl, "  a = ", "\n}\n"),
            (Format::Ini, Encoder::Ini, "[x]\na=", "\n"),
            (Format::Systemd, Encoder::Systemd, "Environment=", "\n"),
            (Format::Sh, Encoder::Sh, "x=", "\n"),
            (Format::Conf, Encoder::Ini, "api-key=", "\n"),
        ] {
            let piece = encoded(encoder);
            assert_eq!(
                check(format, before, piece, after),
                Ok(()),
                "{before:?} {after:?}"
            );
            assert!(
                check(format, before, bare.clone(), after).is_err(),
                "{before:?}"
            );
        }
        for (format, encoder, before, after) in [
            (Format::Yaml, Encoder::Yaml, "a: \"", "\""),
            (Format::Yaml, Encoder::Yaml, "a: '", "'"),
            (Format::Yaml, Encoder::Yaml, "a: \"x ", " y\""),
            (Format::Yaml, Encoder::Yaml, "a: K10", "\n"),
            (Format::Yaml, Encoder::Yaml, "a: ", "x\n"),
            (Format::Yaml, Encoder::Yaml, "a: ", "# x\n"),
            (Format::Yaml, Encoder::Yaml, "a: |\n  b=", "\n"),
            (Format::Yaml, Encoder::Sh, "a: ", "\n"),
            (Format::Json, Encoder::Yaml, "{ \"a\": ", " }"),
            (Format::Hcl, Encoder::Hcl, "a = \"", "\""),
            (Format::Ini, Encoder::Ini, "a=", " x\n"),
            (Format::Sh, Encoder::Sh, "x=\"a ", "\"\n"),
        ] {
            let piece = encoded(encoder);
            assert!(
                check(format, before, piece, after).is_err(),
                "{before:?} {after:?}"
            );
        }
        // A whole document is somebody's own.
        assert_eq!(check(Format::Json, "\n", bare, "\n"), Ok(()));
    }

    #[test]
    fn a_file_s_format_is_seen_from_its_name() {
        for (path, want) in [
            ("/etc/x/40-agents.yaml", Some(Format::Yaml)),
            ("credentials.json", Some(Format::Json)),
            (".env", Some(Format::Env)),
            ("/etc/a.b/members", None),
            ("kubeconfig", None),
            ("x.service", Some(Format::Systemd)),
        ] {
            assert_eq!(Format::of_path(path), want, "{path}");
        }
        for name in Format::NAMES {
            assert!(Format::named(name).is_some());
        }
    }
}
