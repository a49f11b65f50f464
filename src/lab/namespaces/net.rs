//! The network of a lab: one bridge, one network namespace and veth per host, a way out by masquerading. Knows no
//! processes.

use std::fmt::Write as _;
use std::path::Path;

use crate::lab::command::{run, run_with_input};
use crate::lab::{LabError, LabName};

use super::record::{Record, RecordHost};
use super::subnet;

/// Returns the name of a host's network namespace, as `ip netns` shows it.
pub(super) fn namespace(lab: &LabName, host: &LabName) -> String {
    // A name has no dot in it, so no two hosts share a namespace.
    format!("foundry.{lab}.{host}")
}

/// Returns the bridge's name. Interface names have 15 characters at most, so it is a digest of the lab's.
pub(super) fn bridge(lab: &LabName) -> String {
    format!("fl{}", &blake3::hash(lab.as_str().as_bytes()).to_hex()[..8])
}

fn veth(lab: &LabName, index: usize) -> String {
    format!("{}h{index}", bridge(lab))
}

/// Returns the networks this machine has routes to.
///
/// # Errors
/// If `ip` fails.
pub(super) fn routes() -> Result<Vec<ipnet::IpNet>, LabError> {
    subnet::routes(&run("ip", &["-json", "route", "show", "table", "all"])?)
}

/// Makes the bridge and the way out, if they are not there.
///
/// # Errors
/// If `ip` fails. A machine without iptables, or one that forbids forwarding, gives hosts without a way out.
pub(super) fn make_bridge(record: &Record) -> Result<(), LabError> {
    let name = bridge(&record.lab);
    if !exists(&name) {
        let address = format!(
            "{}/{}",
            subnet::gateway(record.subnet),
            record.subnet.prefix_len()
        );
        let mtu = mtu();
        let lines = format!(
            "link add {name} mtu {mtu} type bridge\naddress add {address} dev {name}\nlink set {name} up\n"
        );
        run_with_input("ip", &["-batch", "-"], &lines)?;
    }
    forward(record);
    Ok(())
}

/// Makes the network namespace of host number `index` anew and connects it to the bridge.
///
/// # Errors
/// If `ip` fails.
pub(super) fn connect(record: &Record, index: usize, host: &RecordHost) -> Result<(), LabError> {
    let namespace = namespace(&record.lab, &host.name);
    disconnect(&record.lab, &host.name)?;
    let (veth, bridge, mtu) = (veth(&record.lab, index), bridge(&record.lab), mtu());
    delete(&veth)?;
    let outside = format!(
        "netns add {namespace}\n\
         link add {veth} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {namespace}\n\
         link set {veth} master {bridge} up\n"
    );
    run_with_input("ip", &["-batch", "-"], &outside)?;
    let mut inside = String::from("link set lo up\n");
    let (address, prefix) = (host.address, record.subnet.prefix_len());
    let _ = writeln!(
        inside,
        "address add {address}/{prefix} dev eth0\nlink set eth0 up"
    );
    let _ = writeln!(
        inside,
        "route add default via {}",
        subnet::gateway(record.subnet)
    );
    run_with_input("ip", &["-netns", &namespace, "-batch", "-"], &inside).map(drop)
}

/// Removes the network namespace of a host, and with it its veth.
///
/// # Errors
/// If `ip` fails.
pub(super) fn disconnect(lab: &LabName, host: &LabName) -> Result<(), LabError> {
    let namespace = namespace(lab, host);
    if Path::new("/run/netns").join(&namespace).exists() {
        run("ip", &["netns", "delete", &namespace])?;
    }
    Ok(())
}

/// Removes the lab's bridge, its hosts' ends on it, and the way out.
///
/// # Errors
/// If `ip` fails.
pub(super) fn remove(record: &Record) -> Result<(), LabError> {
    for host in &record.hosts {
        disconnect(&record.lab, &host.name)?;
    }
    for rule in rules(record) {
        while rule.apply("-D") {}
    }
    for name in (0..record.hosts.len())
        .map(|i| veth(&record.lab, i))
        .chain([bridge(&record.lab)])
    {
        delete(&name)?;
    }
    Ok(())
}

/// Removes an interface by its name, if it is there: a namespace that somebody else still holds open keeps its veth, and
/// the kernel removes that of a deleted one in its own time.
fn delete(interface: &str) -> Result<(), LabError> {
    if exists(interface) {
        let deleted = run("ip", &["link", "delete", interface]);
        // Gone meanwhile is as good.
        if exists(interface) {
            deleted?;
        }
    }
    Ok(())
}

fn exists(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).exists()
}

/// Returns the MTU of the default route: what is larger than that would not get out.
fn mtu() -> u32 {
    let default = run("ip", &["-json", "route", "show", "default"]).unwrap_or_default();
    let routes: Vec<serde_json::Value> = serde_json::from_str(&default).unwrap_or_default();
    routes
        .iter()
        .filter_map(|route| route["dev"].as_str())
        .filter_map(|dev| std::fs::read_to_string(format!("/sys/class/net/{dev}/mtu")).ok())
        .filter_map(|text| text.trim().parse().ok())
        .min()
        .unwrap_or(1500)
        .min(1500)
}

/// One iptables rule; its comment names the lab.
struct Rule {
    table: &'static str,
    chain: &'static str,
    matches: Vec<String>,
}

impl Rule {
    /// Returns whether iptables did `action` (`-C`, `-I` or `-D`) with the rule.
    fn apply(&self, action: &str) -> bool {
        let mut args = ["--wait", "-t", self.table, action, self.chain]
            .map(str::to_owned)
            .to_vec();
        args.extend(self.matches.iter().cloned());
        run("iptables", &args).is_ok()
    }
}

/// Returns the rules that let hosts out and their answers in, even where the policy is to drop (dockerd sets that).
fn rules(record: &Record) -> [Rule; 3] {
    let (bridge, subnet) = (bridge(&record.lab), record.subnet.to_string());
    let comment = format!("foundry-lab:{}", record.lab);
    let rule = |table, chain, matches: &[&str]| Rule {
        table,
        chain,
        matches: matches
            .iter()
            .chain(&["-m", "comment", "--comment", &comment])
            .map(|&s| s.to_owned())
            .collect(),
    };
    let answers = [
        "-o",
        &bridge,
        "-m",
        "conntrack",
        "--ctstate",
        "RELATED,ESTABLISHED",
        "-j",
        "ACCEPT",
    ];
    [
        rule(
            "nat",
            "POSTROUTING",
            &["-s", &subnet, "!", "-d", &subnet, "-j", "MASQUERADE"],
        ),
        rule("filter", "FORWARD", &["-i", &bridge, "-j", "ACCEPT"]),
        rule("filter", "FORWARD", &answers),
    ]
}

/// Lets the hosts reach what the machine reaches, as far as this machine allows.
fn forward(record: &Record) {
    for rule in rules(record) {
        if !rule.apply("-C") {
            rule.apply("-I");
        }
    }
    let _ = std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_the_kernel() {
        let lab = "a".repeat(40).parse().unwrap();
        assert!(veth(&lab, 199).len() <= 15, "{}", veth(&lab, 199));
        assert_ne!(bridge(&lab), bridge(&"b".parse().unwrap()));
    }

    #[test]
    fn no_two_hosts_share_a_namespace() {
        let name = |lab: &str, host: &str| namespace(&lab.parse().unwrap(), &host.parse().unwrap());
        assert_ne!(name("a-b", "c"), name("a", "b-c"));
    }
}
