//! Reads YAML that comes from outside, such as an index of a repository or a file of a host: no longer and no deeper than it
//! can be read in a moment. Does not know what it is of. The stack's own config is read elsewhere, with places for errors.

use serde::de::DeserializeOwned;

/// Most brackets that may be open at once. The parser's time grows with the square of it.
const DEEPEST: usize = 1000;

/// Reads `text` if it is no longer than `longest` bytes.
///
/// # Errors
/// When it is too long or too deep, or not what is expected. The parser's words may quote the text.
pub fn read_yaml<T: DeserializeOwned>(text: &str, longest: usize) -> Result<T, String> {
    check_yaml(text, longest)?;
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// Checks that `text` is neither longer than `longest` bytes nor nested too deeply to be parsed.
///
/// # Errors
/// Says which, in figures, and nothing of the text.
pub fn check_yaml(text: &str, longest: usize) -> Result<(), String> {
    if text.len() > longest {
        return Err(format!("it has {} bytes, more than {longest}", text.len()));
    }
    // Brackets within texts count as well: one that has a thousand more opened than closed is nothing of use either.
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        deepest = deepest.max(depth);
    }
    if deepest > DEEPEST {
        return Err(format!("it is nested more than {DEEPEST} levels deep"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deep_or_long_is_refused_at_once() {
        let began = std::time::Instant::now();
        for deep in ["[", "{", "{a: [", "- [", "[]["] {
            let text = deep.repeat(200_000);
            assert!(
                read_yaml::<serde_json::Value>(&text, 1 << 22).is_err(),
                "{deep}"
            );
        }
        for (deep, many) in [
            ("- ", 100_000),
            ("? ", 100_000),
            ("a:\n ", 1000),
            ("&a ", 1000),
        ] {
            // Refused or read: in time either way.
            let _ = read_yaml::<serde_json::Value>(&deep.repeat(many), 1 << 22);
        }
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
        let error = read_yaml::<Vec<u8>>("[1, 2, 3]", 8).unwrap_err();
        assert_eq!(error, "it has 9 bytes, more than 8");
        assert_eq!(read_yaml::<Vec<u8>>("[1, 2, 3]", 9), Ok(vec![1, 2, 3]));
    }
}
