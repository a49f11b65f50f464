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
    let told: Vec<String> = full
        .events("step-finished")
        .iter()
        .filter(|event| event["what"]["state"] == "failed")
        .map(|event| format!("{} {}", event["what"]["label"], event["what"]["trouble"]))
        .collect();
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
