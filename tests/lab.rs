//! Real labs on this machine: what `foundry lab up` promises, and that `down` leaves nothing.

mod support;

use support::lab::lab;

#[test]
fn hosts_are_debian_machines_that_find_each_other() {
    let Some(lab) = lab(2) else { return };
    for index in 0..2 {
        assert_eq!(
            lab.ssh(index, "hostname").trim(),
            lab.hosts()[index].name.as_str()
        );
        assert_eq!(lab.ssh(index, "sudo id -u").trim(), "0");
        assert_eq!(
            lab.ssh(index, "systemctl is-system-running").trim(),
            "running"
        );
    }
    let unit = "[Service]\nExecStart=/usr/bin/sleep infinity\nDynamicUser=yes\nProtectSystem=strict\n\
                PrivateTmp=yes\nPrivateDevices=yes\nNoNewPrivileges=yes\nProtectKernelTunables=yes\nMemoryMax=64M\n";
    lab.ssh(
        0,
        &format!("printf '{unit}' | sudo tee /etc/systemd/system/held.service >/dev/null"),
    );
    lab.ssh(
        0,
        "sudo systemctl daemon-reload && sudo systemctl start held",
    );
    assert_eq!(lab.ssh(0, "systemctl is-active held").trim(), "active");
    let banner = lab.ssh(
        1,
        "timeout 5 bash -c 'exec 3<>/dev/tcp/node-1/22; head -n 1 <&3'",
    );
    assert!(banner.starts_with("SSH-2.0-OpenSSH"), "{banner}");
}
