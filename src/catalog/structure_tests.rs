//! What is and what is not a scalar of its own, form by form. Knows no recipe.

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

/// `@` stands for the value.
fn checked(format: Format, encoder: Encoder, text: &str) -> Result<(), Misplaced> {
    let mut pieces = Vec::new();
    for (number, literal) in text.split('@').enumerate() {
        if number > 0 {
            pieces.push(Piece::Encoded(encoder, Vec::new()));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
    }
    check_pieces(format, &pieces)
}

#[test]
fn quotes_are_followed_through_the_whole_text() {
    use Encoder::{B64, Hcl, Ini, Json, Sh, Systemd, Toml, Yaml};
    for (format, encoder, text) in [
        (Format::Sh, Sh, "echo @ @\n"),
        (Format::Sh, Sh, "v=\"a\n b\"\nx=@\n"),
        (Format::Sh, Sh, "# it's \"\nx=@ # it's\n"),
        (Format::Sh, Sh, "x=$(echo @)\n(cd @ && ls)\n"),
        (
            Format::Sh,
            Sh,
            "x=\"$(echo \"a'\")\" y=\"${z%\"/\"}\"\nx=@\n",
        ),
        (Format::Sh, Sh, "x=${#y}${y##*/} z=$#\nx=@\n"),
        (Format::Sh, Sh, "cat <<EOF\nit's \"\nEOF\nx=@\n"),
        (Format::Sh, Sh, "cat <<-'E' <<F\na\n\tE\n'\nF\nx=@\n"),
        (Format::Sh, Sh, "x=`echo \"`\nx=@\n"),
        (
            Format::Sh,
            Sh,
            "x=$(cat <<EOF\n'\nEOF\n)\ncase a in a) x=@;; esac\n",
        ),
        (Format::Sh, Sh, "a=\\'\nx='it'\\''s'\nx=@\n"),
        (Format::Sh, B64, "x=@\n"),
        (Format::Env, Sh, "# it's\nA=@\nB='a b'\nexport C=@\n"),
        (Format::Env, B64, "A=@\n"),
        (
            Format::Systemd,
            Systemd,
            "[Unit]\nDescription=it's\n[Service]\nEnvironment=A=@ B=@\n",
        ),
        (Format::Conf, Ini, "# it's\na=\"b\"\nkey=@\n"),
        (Format::Yaml, Yaml, "a: it's 'b\nb: @ # it's\nc: @\n"),
        (
            Format::Yaml,
            Yaml,
            "a: 'it''s\n  b'\nb: \"\\\"\n '\"\nc: @\n",
        ),
        (
            Format::Yaml,
            Yaml,
            "- a: |\n    it's \"\n\n  b: @\n- >-\n  '\n- @\n",
        ),
        (
            Format::Yaml,
            Yaml,
            "a: foo\n  'bar\nb: @\n---\n'c': @\n\"d\": [@, {e: @, @: @}]\n",
        ),
        (Format::Yaml, Yaml, "a:\n  @\nb:\n- c: d\n  @: @\n"),
        (Format::Json, Json, "{\"a\\\"\": @, \"b\": [@]}"),
        (
            Format::Toml,
            Toml,
            "# it's\na = \"\"\"\n\"x\"\n\"\"\"\nb = 'c\\'\nd = @\n",
        ),
        (
            Format::Hcl,
            Hcl,
            "# \"\n/* \" */ a = \"${b}\"\nc = <<EOF\n\"\nEOF\nd = @\n",
        ),
        (Format::Ini, Ini, "a=\"b\"\nc=@\n"),
    ] {
        assert_eq!(checked(format, encoder, text), Ok(()), "{format:?} {text}");
    }
    for (format, encoder, text, hint) in [
        (Format::Sh, Sh, "sh -c 'echo @'\n", "take the quotes away"),
        (Format::Sh, Sh, "v=\"a\n @\"\n", "into a variable first"),
        (
            Format::Sh,
            Sh,
            "cat <<EOF\na @ b\nEOF\n",
            "into a variable first",
        ),
        (Format::Sh, Sh, "cat <<-EOF\n\t@\n\tEOF\n", "variable"),
        (Format::Sh, Sh, "cat <<'EOF'\n@\nEOF\n", "variable"),
        (Format::Sh, Sh, "cat << \"E\" <<F\n\nE\n@\nF\n", "variable"),
        (Format::Sh, Sh, "cat <<@\n", "variable"),
        (Format::Sh, Sh, "cat <<EOF\nx\\\nEOF\n@\n", "before them"),
        (Format::Sh, Sh, "x=`echo @`\n", "quotes away"),
        (Format::Sh, Sh, "x=\"`echo @`\"\n", "quotes away"),
        (Format::Sh, Sh, "x=\"$(echo @)\"\n", "quotes away"),
        (Format::Sh, Sh, "x=\"$(echo \"a @\")\"\n", "quotes away"),
        (
            Format::Sh,
            Sh,
            "x=\"$(case x in a) echo \"b @\";; esac)\"\n",
            "before them",
        ),
        (Format::Sh, Sh, "x=${y:-@}\n", "quotes away"),
        (Format::Sh, Sh, "x=\"${y:-it's}\" @\n", "before them"),
        (Format::Sh, Sh, "x=$'it\\'s' @\n", "before them"),
        (Format::Sh, Sh, "x=$(y)#' @ '\n", "before them"),
        (Format::Sh, Sh, "x=$((1<<A))\n@\n", "before them"),
        (Format::Sh, Sh, "# @\n", "out of the comment"),
        (Format::Sh, Sh, "x=\\@\n", "join first"),
        (Format::Sh, Sh, "x=$@\n", "join first"),
        (Format::Sh, Sh, "echo @>f\n", "join first"),
        (Format::Sh, B64, "echo 'a @'\n", "quotes away"),
        (Format::Env, Ini, "A=@\n", "| sh }}"),
        (Format::Env, Systemd, "A=@\n", "| sh }}"),
        (Format::Env, Sh, "A=x@\n", "join first"),
        (Format::Env, Sh, "A= @\n", "join first"),
        (Format::Env, Sh, "A=@@\n", "join first"),
        (Format::Env, Sh, "A=@ b\n", "join first"),
        (Format::Env, Sh, "A='x\nB=@'\n", "quotes away"),
        (Format::Env, Sh, "# x\\\nA=@\n", "before them"),
        (
            Format::Systemd,
            Systemd,
            "ExecStart=x 'a @'\n",
            "quotes away",
        ),
        (
            Format::Systemd,
            Systemd,
            "ExecStart=x \"a \\\n # it\n@\"\n",
            "quotes away",
        ),
        (Format::Systemd, Systemd, "# @\n", "comment"),
        (Format::Conf, Sh, "a='b @'\n", "quotes away"),
        (Format::Conf, Ini, "a=\"b\n@\"\n", "quotes away"),
        (Format::Yaml, Yaml, "a: 'x: @ , y'\n", "quotes away"),
        (Format::Yaml, Yaml, "a: 'x\n  y: @\n  '\n", "quotes away"),
        (Format::Yaml, Yaml, "a: \"x\n  - @\n  \"\n", "quotes away"),
        (
            Format::Yaml,
            Yaml,
            "a: !x &y 'it''s: @\n  '\n",
            "quotes away",
        ),
        (Format::Yaml, Yaml, "a: |\n  b: @\n", "join first"),
        (Format::Yaml, Yaml, "a: &x >-\n  b\n\n  @\n", "join first"),
        (
            Format::Yaml,
            Yaml,
            "- !!x a: |2\n   b\n   c: @\n",
            "join first",
        ),
        (Format::Yaml, Yaml, "- - |\n    @\n", "join first"),
        (Format::Yaml, Yaml, "--- |\n  b: @\n", "join first"),
        (
            Format::Yaml,
            Yaml,
            "a: foo\n  'bar\nb: 'x: @, y'\n",
            "quotes away",
        ),
        (Format::Yaml, Yaml, "a: foo\n  @\n", "join first"),
        (Format::Yaml, Yaml, "a: b, @\n", "join first"),
        (Format::Yaml, Yaml, "a:@\n", "join first"),
        (Format::Yaml, Yaml, "a: [b\n  'c,\n @]\n", "before them"),
        (Format::Json, Json, "{\"a: @ , \": 1}", "quotes away"),
        (
            Format::Toml,
            Toml,
            "a = \"\"\"\nb = @\n\"\"\"\n",
            "quotes away",
        ),
        (Format::Toml, Toml, "a = '''\nb = @\n'''\n", "quotes away"),
        (Format::Hcl, Hcl, "a = <<-EOF\nb = @\nEOF\n", "join first"),
        (
            Format::Hcl,
            Hcl,
            "a = \"${f(\"x\")}\"\nb = @\n",
            "before them",
        ),
        (Format::Hcl, Hcl, "/* a = @\n*/\n", "comment"),
        (Format::Ini, Ini, "a=\"b=@\"\n", "quotes away"),
    ] {
        let wrong = checked(format, encoder, text);
        assert!(
            wrong.as_ref().is_err_and(|wrong| wrong.hint.contains(hint)),
            "{format:?} {text}{wrong:?}"
        );
    }
}
