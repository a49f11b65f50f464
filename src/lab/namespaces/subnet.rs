//! Picks a private subnet that nothing on this machine uses. Pure: reads what `ip` printed, runs nothing.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

use crate::lab::LabError;
use crate::lab::error::system;

/// The first octets of the candidates: clear of Docker (172.17), Podman (10.88), K3s (10.42, 10.43) and flannel (10.244).
const CANDIDATES: [u8; 3] = [87, 86, 85];

/// The first host's last octet; the bridge is 1.
const FIRST_HOST: u8 = 11;

#[derive(Deserialize)]
struct Route {
    dst: String,
}

/// Returns the destinations of `ip -json route show table all`, without the default route.
///
/// # Errors
/// If the text is not what `ip` prints.
pub(super) fn routes(json: &str) -> Result<Vec<IpNet>, LabError> {
    let text = if json.trim().is_empty() { "[]" } else { json };
    let routes: Vec<Route> =
        serde_json::from_str(text).map_err(system("understand `ip -json route`"))?;
    Ok(routes
        .iter()
        .filter_map(|route| network(&route.dst))
        .collect())
}

fn network(destination: &str) -> Option<IpNet> {
    destination
        .parse()
        .ok()
        .or_else(|| destination.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Returns the first candidate that overlaps none of `taken`.
pub(super) fn free(taken: &[IpNet]) -> Option<Ipv4Net> {
    let candidates = CANDIDATES
        .iter()
        .flat_map(|second| (0..=255).map(move |third| Ipv4Addr::new(10, *second, third, 0)));
    candidates
        .filter_map(|address| Ipv4Net::new(address, 24).ok())
        .find(|candidate| {
            !taken.iter().any(|net| match net {
                IpNet::V4(net) => net.contains(candidate) || candidate.contains(net),
                IpNet::V6(_) => false,
            })
        })
}

/// Returns the bridge's address in `subnet`.
pub(super) fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    let [a, b, c, _] = subnet.network().octets();
    Ipv4Addr::new(a, b, c, 1)
}

/// Returns the address of host number `index`, counted from 0; none if the subnet is full.
pub(super) fn host(subnet: Ipv4Net, index: usize) -> Option<Ipv4Addr> {
    let [a, b, c, _] = subnet.network().octets();
    let last = u8::try_from(index).ok()?.checked_add(FIRST_HOST)?;
    (last < 255).then(|| Ipv4Addr::new(a, b, c, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::model::MOST_HOSTS;

    #[test]
    fn reads_what_ip_prints() {
        let json = r#"[{"dst":"default","gateway":"192.0.2.1"},{"dst":"192.0.2.0/24","dev":"eth0"},
            {"type":"local","dst":"127.0.0.1","dev":"lo"},{"dst":"fe80::/64"}]"#;
        let nets = routes(json).unwrap();
        assert_eq!(
            nets.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.0.2.0/24", "127.0.0.1/32", "fe80::/64"]
        );
        assert!(routes("").unwrap().is_empty());
        assert!(routes("no").is_err());
    }

    #[test]
    fn avoids_what_is_taken() {
        let taken = |nets: &[&str]| nets.iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>();
        let picked = |nets: &[&str]| free(&taken(nets)).map(|n| n.to_string());
        assert_eq!(picked(&[]).as_deref(), Some("10.87.0.0/24"));
        assert_eq!(
            picked(&["10.87.0.0/24", "10.87.1.7/32"]).as_deref(),
            Some("10.87.2.0/24")
        );
        assert_eq!(picked(&["10.87.0.0/16"]).as_deref(), Some("10.86.0.0/24"));
        assert_eq!(picked(&["10.0.0.0/8"]), None);
    }

    #[test]
    fn every_host_of_the_largest_lab_has_an_address() {
        let subnet = "10.87.3.0/24".parse().unwrap();
        assert_eq!(host(subnet, 0), Some(Ipv4Addr::new(10, 87, 3, 11)));
        assert!(host(subnet, MOST_HOSTS - 1).is_some());
        assert_eq!(host(subnet, 244), None);
        assert_eq!(gateway(subnet), Ipv4Addr::new(10, 87, 3, 1));
    }
}
