//! Output of libraries that style it themselves (help, source snippets, questions), brought back to marks. Their styles become ours;
//! whatever else begins with an escape stays text, and is shown.

use super::style::{RESET, mark};

/// Turns SGR sequences in `text` into marks. Colours that we have no mark for are left out.
#[must_use]
pub fn from_ansi(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        let sequence = after.strip_prefix('[').and_then(|after| {
            let end = after.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            after[end..]
                .starts_with('m')
                .then_some((&after[..end], &after[end + 1..]))
        });
        let Some((numbers, after)) = sequence else {
            out.push('\u{1b}');
            rest = after;
            continue;
        };
        marks(numbers, &mut out);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn marks(numbers: &str, out: &mut String) {
    let mut numbers = numbers
        .split(';')
        .map(|number| number.parse::<u8>().unwrap_or(0));
    while let Some(number) = numbers.next() {
        match number {
            // A colour by number or by its parts.
            38 | 48 | 58 => {
                let skipped = if numbers.next() == Some(2) { 3 } else { 1 };
                numbers.by_ref().take(skipped).for_each(drop);
            }
            39 | 22 | 24 | 23 => out.push(RESET),
            90..=97 => out.extend(mark(number - 60)),
            number => out.extend(mark(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::style::{plain, style};
    use super::*;

    #[test]
    fn styles_become_marks_and_nothing_else_does() {
        let red = style("x").red().to_string();
        assert_eq!(from_ansi("\u{1b}[31mx\u{1b}[0m"), red);
        assert_eq!(from_ansi("\u{1b}[91mx\u{1b}[m"), red);
        assert_eq!(plain(&from_ansi("\u{1b}[38;2;1;2;3mx\u{1b}[39m")), "x");
        assert_eq!(plain(&from_ansi("\u{1b}[1;38;5;9mx")), "x");
        for other in [
            "\u{1b}[2J",
            "\u{1b}]0;x\u{7}",
            "\u{1b}[",
            "\u{1b}",
            "a\u{1b}[3",
        ] {
            assert_eq!(from_ansi(other), other);
        }
    }
}
