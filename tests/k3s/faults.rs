//! What goes wrong on a host while it becomes a node: it is named, and the next run repairs it.

use crate::bench::Bench;

/// A new agent has no room for what K3s unpacks; once there is room, the same command completes it.
pub fn a_full_disk_is_named_and_the_next_run_repairs(bench: &Bench) {
    const HOST: usize = 4;
    let name = bench.host(HOST).to_owned();
    bench.lab.ssh(
        HOST,
        "sudo sh -c 'mkdir -p /var/lib/rancher && mount -t tmpfs -o size=20m tmpfs /var/lib/rancher'",
    );
    let add = [
        "cluster", "node", "add", &name, "--role", "worker", "--yes", "--output", "json",
    ];
    let full = bench.run(&add).coded(1);
    eprintln!(
        "node add {name} without room: {:.1} s",
        full.took.as_secs_f64()
    );
    let told = full.failures();
    assert!(
        told.iter()
            .any(|words| words.to_lowercase().contains("no space left on device")),
        "{told:#?}"
    );
    bench.lab.ssh(
        HOST,
        "sudo sh -c 'systemctl stop k3s-agent; umount /var/lib/rancher'",
    );
    bench.build().ok();
    assert!(bench.ready().contains(&name));
}

/// The `vip` is another machine's: nothing of the cluster is touched for it.
pub fn an_address_that_another_machine_has_is_not_taken(bench: &Bench) {
    const OTHER: usize = 5;
    let own = bench.lab.ssh(OTHER, "hostname -I");
    let (network, _) = own.trim().rsplit_once('.').unwrap();
    let vip = format!("{network}.250");
    bench
        .lab
        .ssh(OTHER, &format!("sudo ip address add {vip}/32 dev eth0"));
    let config = bench.config();
    let with = config.replace("    ha: true\n", &format!("    ha: true\n    vip: {vip}\n"));
    assert_ne!(with, config);
    std::fs::write(bench.lab.config(), with).unwrap();
    let refused = bench.build().coded(1);
    let told = refused.failures();
    assert!(
        told.iter()
            .any(|words| words.contains("another machine has it")),
        "{told:#?}"
    );
    assert!(
        refused
            .timeline()
            .iter()
            .all(|ran| !ran.label.starts_with("k3s:server@")),
        "a server was restarted"
    );
    bench
        .lab
        .ssh(OTHER, &format!("sudo ip address del {vip}/32 dev eth0"));
    std::fs::write(bench.lab.config(), config).unwrap();
    bench.build().ok();
    assert_eq!(bench.ready().len(), 5);
}
