//! Who is at the other end of a connection over the loopback: a process of this user, or somebody else's. Knows no tunnel.

use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Returns whether whoever connected from `peer` runs as the same user as this process. Linux says so; elsewhere everybody
/// counts as such.
pub(super) fn is_ours(peer: SocketAddr, stream: &TcpStream) -> bool {
    #[cfg(target_os = "linux")]
    {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let own = nix::unistd::geteuid().as_raw();
        stream
            .local_addr()
            .is_ok_and(|to| owner(&table, peer, to) == Some(own))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (peer, stream);
        true
    }
}

/// Finds the user of the socket that is bound to `from` and connected to `to` in the kernel's table.
#[cfg(target_os = "linux")]
fn owner(table: &str, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let (from, to) = (written(from)?, written(to)?);
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = (fields.next()?, fields.next()?);
        (ends == (&from, &to))
            .then(|| fields.nth(4)?.parse().ok())
            .flatten()
    })
}

/// Returns an address as the table has it: the bytes of the address as one number of this machine.
#[cfg(target_os = "linux")]
fn written(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let number = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{number:08X}:{:04X}", address.port()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_whose_a_connection_is() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \u{20}  0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100\n\
            \u{20}  1: 0100007F:9C40 0100007F:0050 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20\n\
            \u{20}  2: 0100007F:0050 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20\n";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        if cfg!(target_endian = "little") {
            assert_eq!(owner(table, at(40000), at(80)), Some(1000));
            assert_eq!(owner(table, at(80), at(40000)), Some(0));
        }
        assert_eq!(owner(table, at(40001), at(80)), None);
        assert_eq!(owner("", at(40000), at(80)), None);
    }

    #[tokio::test]
    async fn a_connection_of_this_process_is_ours() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let from = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert!(is_ours(peer, &stream));
        assert!(!is_ours(SocketAddr::from(([127, 0, 0, 1], 1)), &stream));
        drop(from);
    }
}
