//! Listening TCP ports, from `/proc/net/tcp` and `tcp6` by one `awk`. Does not know who listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::wants::{Found, Plain, Wants, asked, fault, yes};
use crate::catalog::Value;
use crate::probe::fact::Fault;
use crate::probe::frame::{Frames, keeping};

/// An address and port that something listens on.
pub(super) type Listener = SocketAddr;

/// What is asked: a port on any address, or on one.
fn subject(value: &Value) -> Result<(Option<IpAddr>, u16), String> {
    let text = super::wants::text(value)?;
    if let Ok(port) = text.parse() {
        return Ok((None, port));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok((Some(address.ip()), address.port())),
        Err(_) => Err("is no port and no address:port".to_owned()),
    }
}

pub(super) fn want(wants: &mut Wants, value: &Value) -> Result<(), String> {
    subject(value)?;
    wants.ports = true;
    Ok(())
}

pub(super) fn render(wants: &Wants, out: &mut String) -> u32 {
    if !wants.ports {
        return 0;
    }
    out.push_str(
        "__o port\n\
         set -- /proc/net/tcp; [ -r /proc/net/tcp6 ] && set -- \"$@\" /proc/net/tcp6\n",
    );
    keeping(out, "awk '$4 == \"0A\" { print $2 }' \"$@\"", None);
    out.push_str("__c port\n");
    1
}

pub(super) fn read(frames: &Frames) -> Result<Vec<Listener>, Fault> {
    let out = String::from_utf8_lossy(frames.section("port")?.done("awk", &[])?);
    out.lines()
        .map(|line| {
            address(line).ok_or_else(|| fault(format!("the kernel lists address {line:?}")))
        })
        .collect()
}

/// Reads `0100007F:1F90`: words of four bytes in the host's order, which is little-endian on all that Debian runs on
/// here.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = hex::decode(ip).ok()?;
    for word in bytes.chunks_mut(4) {
        word.reverse();
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// An address is listened on too by who listens on all of them.
pub(super) fn facts(found: &Found, value: &Value) -> Result<Plain, Fault> {
    asked(value)?;
    let (ip, port) = subject(value).map_err(fault)?;
    let listeners = found.ports.as_ref().map_err(Clone::clone)?;
    let covers = |listener: &SocketAddr| {
        listener.port() == port
            && match ip {
                None => true,
                Some(ip) => {
                    listener.ip() == ip
                        || listener.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                        || (listener.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && ip.is_ipv4())
                }
            }
    };
    Ok(vec![("listening", yes(listeners.iter().any(covers)))])
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_of_the_kernel() {
        for (text, wanted) in [
            ("0100007F:1F90", "127.0.0.1:8080"),
            ("00000000:0016", "0.0.0.0:22"),
            ("00000000000000000000000000000000:0016", "[::]:22"),
            ("00000000000000000000000001000000:20D0", "[::1]:8400"),
            ("0000000000000000FFFF00000100007F:0050", "127.0.0.1:80"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), wanted);
        }
        assert_eq!(address("xyz:1"), None);
    }
}
