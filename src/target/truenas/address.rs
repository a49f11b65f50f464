//! A TrueNAS' address as people write it → host and port. Refuses whatever would send a key in the clear. Connects to nothing.

use tokio_tungstenite::tungstenite::http::Uri;

/// Where the API of a TrueNAS is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, an IPv6 one in brackets.
    pub host: String,
    /// Port of its web server.
    pub port: u16,
}

/// The version of the API that Foundry speaks. TrueNAS keeps older ones for clients: this one since 25.10.
pub const API: &str = "v25.10.0";

impl Address {
    /// Reads `https://truenas.example.com`; `wss://` and a port may be written, a path is of no matter.
    ///
    /// # Errors
    /// When it is no such address, in words. `http` and `ws` are none: TrueNAS takes back a key that it was sent in the clear.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address such as `https://truenas.example.com`");
        let uri: Uri = text.trim().parse().map_err(|_| wrong())?;
        match uri.scheme_str() {
            Some("https" | "wss") => {}
            Some("http" | "ws") => {
                return Err(format!(
                    "`{text}` is not encrypted, and TrueNAS takes back an API key that it was sent in the clear: write `https://`"
                ));
            }
            _ => return Err(wrong()),
        }
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(443),
        })
    }

    /// Returns the address of the API.
    #[must_use]
    pub fn api(&self) -> String {
        format!("wss://{self}/api/{API}")
    }

    /// Returns what to connect to, for the resolver.
    #[must_use]
    pub fn target(&self) -> (String, u16) {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        (host.to_owned(), self.port)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            443 => f.write_str(&self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_addresses_are_read() {
        for (text, shown) in [
            ("https://truenas.example.com", "truenas.example.com"),
            ("wss://nas:8443/api/current", "nas:8443"),
            ("https://10.0.0.5/", "10.0.0.5"),
            ("https://[fd00::5]:444", "[fd00::5]:444"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        let clear = Address::parse("http://nas").unwrap_err();
        assert!(clear.contains("takes back an API key"), "{clear}");
        for text in [
            "",
            "nas",
            "ws://nas",
            "ftp://nas",
            "https://",
            "https://key@nas",
        ] {
            Address::parse(text).unwrap_err();
        }
        let six = Address::parse("https://[fd00::5]").unwrap();
        assert_eq!(six.target(), ("fd00::5".to_owned(), 443));
        assert_eq!(six.api(), "wss://[fd00::5]/api/v25.10.0");
    }
}
