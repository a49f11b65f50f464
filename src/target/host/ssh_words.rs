//! The grammar of OpenSSH's configuration: options and values, quotes, tokens, conditions, and lists of algorithms. Reads no
//! file and knows no option.

use super::pattern;

/// Splits `Key value` and `Key=value`; `None` for comments and empty lines.
pub(super) fn key_value(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let value = line[end..].trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    (!value.is_empty()).then_some((&line[..end], value))
}

/// Splits a value into words as OpenSSH does: quotes hold blanks together, a word that begins with `#` ends the line.
pub(super) fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = value.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek().is_none_or(|c| *c == '#') {
            return words;
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = rest.next_if(|c| quote.is_some() || !c.is_whitespace()) {
            match (c, quote) {
                ('\\', _) => match rest.next_if(|next| {
                    matches!(next, '"' | '\'' | '\\') || (quote.is_none() && *next == ' ')
                }) {
                    Some(next) => word.push(next),
                    None => word.push(c),
                },
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (c, _) => word.push(c),
            }
        }
        words.push(word);
    }
}

/// Replaces `%x` by what `token` says, `%%` by `%`, and `${NAME}` by the variable; what is unknown stays.
pub(super) fn expand(text: &str, token: &dyn Fn(char) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let variable = rest
            .strip_prefix("${")
            .and_then(|inner| inner.split_once('}'));
        if let Some((name, after)) = variable
            && let Ok(value) = std::env::var(name)
        {
            out.push_str(&value);
            rest = after;
            continue;
        }
        let mut letters = rest.chars();
        let (first, second) = (letters.next(), letters.next());
        let said = match (first, second) {
            (Some('%'), Some('%')) => Some("%".to_owned()),
            (Some('%'), Some(c)) => token(c),
            _ => None,
        };
        match said {
            Some(said) => {
                out.push_str(&said);
                rest = letters.as_str();
            }
            None => {
                out.extend(first);
                rest = &rest[first.map_or(0, char::len_utf8)..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// When a block of options holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Host(Vec<String>),
    Match(Vec<(bool, Criterion)>),
    /// It isn't understood.
    Never,
}

/// One condition of a `Match`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Criterion {
    All,
    Host(String),
    OriginalHost(String),
    User(String),
    LocalUser(String),
}

impl Condition {
    /// Reads what stands after `Match`; `None` if it isn't understood.
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = words(value).into_iter();
        let mut criteria = Vec::new();
        while let Some(word) = words.next() {
            let (word, attached) = match word.split_once('=') {
                Some((word, value)) => (word.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let word = word.to_ascii_lowercase();
            let (holds, name) = match word.strip_prefix('!') {
                Some(name) => (false, name),
                None => (true, word.as_str()),
            };
            let mut list = || attached.clone().or_else(|| words.next());
            let criterion = match name {
                "all" => Criterion::All,
                "host" => Criterion::Host(list()?),
                "originalhost" => Criterion::OriginalHost(list()?),
                "user" => Criterion::User(list()?),
                "localuser" => Criterion::LocalUser(list()?),
                _ => return None,
            };
            criteria.push((holds, criterion));
        }
        (!criteria.is_empty()).then_some(Self::Match(criteria))
    }

    /// Returns whether it holds for `host`, as far as `address` and `user` are known by now.
    pub fn holds(
        &self,
        host: &str,
        address: Option<&str>,
        user: Option<&str>,
        local: &str,
    ) -> bool {
        let list = |list: &str, text: &str| pattern::list(list.split(','), text);
        match self {
            Self::Never => false,
            Self::Host(patterns) => pattern::list(patterns.iter().map(String::as_str), host),
            Self::Match(criteria) => criteria.iter().all(|(holds, criterion)| {
                *holds
                    == match criterion {
                        Criterion::All => true,
                        Criterion::OriginalHost(names) => list(names, host),
                        Criterion::Host(names) => {
                            let token = |c: char| (c == 'h').then(|| host.to_owned());
                            let address = address.and_then(|text| words(text).into_iter().next());
                            let address = address.map(|text| expand(&text, &token));
                            list(names, address.as_deref().unwrap_or(host))
                        }
                        Criterion::User(names) => list(names, user.unwrap_or(local)),
                        Criterion::LocalUser(names) => list(names, local),
                    }
            }),
        }
    }
}

/// Returns which of `ours` a list of algorithms leaves, in its order: `a,b` these; `+a` ours and these; `-a` ours without
/// these; `^a` these first.
pub(super) fn chosen<T: Clone>(
    list: Option<&str>,
    ours: &[T],
    name: impl Fn(&T) -> String,
) -> Vec<T> {
    let Some(list) = list else {
        return ours.to_vec();
    };
    let (kind, list) = match list.chars().next() {
        Some(kind @ ('+' | '-' | '^')) => (kind, &list[1..]),
        _ => (' ', list),
    };
    let named = |wanted: &str, one: &T| pattern::glob(wanted.trim(), &name(one));
    let any = |one: &T| list.split(',').any(|wanted| named(wanted, one));
    match kind {
        '+' => ours.to_vec(),
        '-' => ours.iter().filter(|one| !any(one)).cloned().collect(),
        '^' => {
            let (mut first, rest): (Vec<T>, Vec<T>) =
                ours.iter().cloned().partition(|one| any(one));
            first.extend(rest);
            first
        }
        _ => {
            let mut left: Vec<&T> = ours.iter().collect();
            let mut all = Vec::new();
            for wanted in list.split(',') {
                let (now, later): (Vec<&T>, Vec<&T>) =
                    left.into_iter().partition(|one| named(wanted, one));
                all.extend(now.into_iter().cloned());
                left = later;
            }
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_split_as_openssh_does() {
        for (value, wanted) in [
            ("one two", vec!["one", "two"]),
            ("\"a b\" 'c d'", vec!["a b", "c d"]),
            (r#"a\ b "q\"q" \x"#, vec!["a b", "q\"q", "\\x"]),
            ("one # two", vec!["one"]),
            ("a#b", vec!["a#b"]),
            ("", vec![]),
        ] {
            assert_eq!(words(value), wanted, "{value}");
        }
        assert_eq!(key_value(" Port = 22 "), Some(("Port", "22")));
        assert_eq!(key_value("# Port 22"), None);
    }

    #[test]
    fn tokens_are_replaced_once() {
        let token = |c: char| (c == 'h').then(|| "%d".to_owned());
        assert_eq!(expand("a%h%%h%x%", &token), "a%d%h%x%");
        assert_eq!(
            expand("${FOUNDRY_NOT_SET_AT_ALL}/k", &token),
            "${FOUNDRY_NOT_SET_AT_ALL}/k"
        );
    }

    #[test]
    fn lists_of_algorithms() {
        let ours = ["a", "b1", "b2", "c"];
        for (list, wanted) in [
            (None, "a b1 b2 c"),
            (Some("c,a,x"), "c a"),
            (Some("-b*"), "a c"),
            (Some("^c"), "c a b1 b2"),
            (Some("+x"), "a b1 b2 c"),
            (Some("x"), ""),
        ] {
            let found = chosen(list, &ours, |name| (*name).to_owned());
            assert_eq!(found.join(" "), wanted, "{list:?}");
        }
    }
}
