//! What an image runs on, `linux/arm64` or `linux/arm/v7`, and which of a list's manifests is for it. Asks nobody.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a processor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// As Go and Debian call it: `amd64`, `arm64`.
    pub architecture: String,
    /// Kind of the processor, such as `v7`, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Returns that of hosts of an architecture, in Debian's words.
    #[must_use]
    pub fn linux(architecture: &str) -> Self {
        let (architecture, variant) = match architecture {
            "armhf" => ("arm", Some("v7".to_owned())),
            "i386" => ("386", None),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant,
        }
    }

    /// Returns whether what is made for `other` runs on it. A variant that nobody asked for does.
    #[must_use]
    pub fn takes(&self, other: &Self) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_none() || self.variant == other.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture, variant @ ..]
                if variant.len() < 2 && parts.iter().all(word) && *os == "linux" =>
            {
                Ok(Self {
                    os: (*os).to_owned(),
                    architecture: (*architecture).to_owned(),
                    variant: variant.first().map(|&variant| variant.to_owned()),
                })
            }
            _ => Err(format!(
                "`{text}` is no platform: `linux/amd64`, `linux/arm64`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_and_compared() {
        let read = |text: &str| text.parse::<Platform>();
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "linux",
            "amd64",
            "windows/amd64",
            "linux/",
            "linux/arm/v7/x",
            "linux/a b",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(
            read("linux/arm64")
                .unwrap()
                .takes(&read("linux/arm64/v8").unwrap())
        );
        assert!(
            !read("linux/arm/v7")
                .unwrap()
                .takes(&read("linux/arm/v6").unwrap())
        );
        assert!(
            !read("linux/amd64")
                .unwrap()
                .takes(&read("linux/arm64").unwrap())
        );
        assert_eq!(Platform::linux("armhf"), read("linux/arm/v7").unwrap());
    }
}
