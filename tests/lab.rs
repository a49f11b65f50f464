//! Real labs on this machine: what `foundry lab up` promises, and that `down` leaves nothing.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use foundry::lab::{HostState, Lab, LabState};
use support::lab::{LabGuard, foundry, fresh_home, lab, lab_with, unique_name};

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A point of `lab up` at which it is killed, and how to see that it is reached.
type Moment<'a> = (&'a str, Box<dyn Fn() -> bool>);

#[test]
fn hosts_are_debian_machines_that_find_each_other() {
    let Some(lab) = lab(2) else { return };
    check_hosts(&lab);
    check_leaves_nothing(lab);
}

#[test]
fn hosts_in_docker_are_the_same() {
    let Some(lab) = lab_with(&["--hosts", "2", "--driver", "docker"]) else {
        return;
    };
    check_hosts(&lab);
}

fn check_hosts(lab: &LabGuard) {
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
    // Kernel settings are the host's own.
    let machine = std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    lab.ssh(0, "sudo sysctl -q -w vm.swappiness=7");
    assert_eq!(lab.ssh(0, "cat /proc/sys/vm/swappiness").trim(), "7");
    assert_eq!(
        std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap(),
        machine
    );
    let listed = list(lab);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].state, LabState::Up);
    assert_eq!(listed[0].hosts, lab.hosts());
}

#[test]
fn a_host_that_reboots_comes_back_and_one_that_stopped_is_started_again() {
    let Some(lab) = lab_with(&["--hosts", "2", "--driver", "namespaces"]) else {
        return;
    };
    let boot = lab.ssh(0, "cat /proc/sys/kernel/random/boot_id");
    lab.ssh(0, "sudo touch /root/kept");
    lab.try_ssh(0, "sudo systemctl reboot");
    wait("a second boot", || {
        let answer = lab.try_ssh(0, "cat /proc/sys/kernel/random/boot_id");
        let now = String::from_utf8_lossy(&answer.stdout).into_owned();
        answer.status.success() && !now.is_empty() && now != boot
    });
    lab.ssh(0, "sudo test -e /root/kept");

    lab.try_ssh(1, "sudo systemctl poweroff");
    wait("a stopped host", || {
        list(&lab)[0].hosts[1].state == HostState::Stopped
    });
    assert_eq!(list(&lab)[0].state, LabState::Stopped);
    let name = lab.lab().name.as_str();
    let up = lab
        .foundry()
        .args(["lab", "up", "--hosts", "2", "--name", name])
        .output()
        .unwrap();
    assert!(
        up.status.success(),
        "{}",
        String::from_utf8_lossy(&up.stderr)
    );
    assert_eq!(
        list(&lab)[0].hosts,
        lab.hosts(),
        "same addresses, same host keys"
    );
    check_leaves_nothing(lab);
}

#[test]
fn a_killed_up_is_cleaned_up_by_the_next() {
    if !can_run_namespaces() {
        return;
    }
    let home = fresh_home();
    let name = unique_name();
    let state = format!("/var/lib/foundry/lab/{name}");
    let moments: [Moment<'_>; 4] = [
        ("its record is there", exists(&format!("{state}/lab.json"))),
        (
            "a disk is there",
            exists(&format!("{state}/hosts/node-1/seed.tar")),
        ),
        (
            "a network is there",
            exists(&format!("/run/netns/foundry.{name}.node-1")),
        ),
        (
            "the last network is there",
            exists(&format!("/run/netns/foundry.{name}.node-3")),
        ),
    ];
    for (what, reached) in moments {
        let mut up = up_command(home.path(), &name).spawn().unwrap();
        wait(what, || reached() || up.try_wait().unwrap().is_some());
        up.kill().unwrap();
        up.wait().unwrap();
    }
    // And once while its hosts boot, which are all there then.
    let mut up = up_command(home.path(), &name)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = BufReader::new(up.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(words.any(|line| line.starts_with("waiting until they have booted")));
    up.kill().unwrap();
    up.wait().unwrap();
    let labs = list_at(home.path());
    assert_eq!(labs[0].state, LabState::Unfinished);

    let up = up_command(home.path(), &name).output().unwrap();
    let words = String::from_utf8_lossy(&up.stderr);
    assert!(up.status.success(), "{words}");
    assert!(words.contains("unfinished"), "{words}");
    let made: Lab = serde_json::from_slice(&up.stdout).unwrap();
    assert_eq!(made.hosts.len(), 3);
    assert_eq!(list_at(home.path()), [made]);
    let down = foundry(home.path())
        .args(["lab", "down", &name])
        .output()
        .unwrap();
    assert!(
        down.status.success(),
        "{}",
        String::from_utf8_lossy(&down.stderr)
    );
    assert_no_trace(&name);
    assert_eq!(
        std::fs::read_dir(home.path().join("lab")).unwrap().count(),
        0,
        "no keys are left"
    );
}

#[test]
fn a_password_opens_the_bootstrap_user_and_its_sudo() {
    let Some(lab) = lab_with(&["--hosts", "1", "--password-login"]) else {
        return;
    };
    let file = lab.identity().with_file_name("password");
    let password = std::fs::read_to_string(&file).unwrap();
    // What sudo says to a wrong and to the right password, from the user's own session.
    let ask = |word: &str| {
        let command = format!(
            "sudo -u debian sh -c 'sudo -k; printf \"%s\\n\" {word} | sudo -S -p \"\" id -u 2>/dev/null'"
        );
        lab.try_ssh(0, &command)
    };
    assert!(!ask("wrong").status.success());
    assert_eq!(
        String::from_utf8_lossy(&ask(password.trim()).stdout).trim(),
        "0"
    );
    let settings = lab.ssh(0, "sudo sshd -T -C user=debian,host=x,addr=192.0.2.1");
    assert!(
        settings.contains("passwordauthentication yes"),
        "{settings}"
    );
}

#[test]
fn a_config_of_the_users_own_stops_everything_before_it_starts() {
    let home = fresh_home();
    let name = unique_name();
    let config = home.path().join(format!("{name}.yaml"));
    std::fs::write(&config, "version: \"1.0\"\n").unwrap();
    let up = up_command(home.path(), &name).output().unwrap();
    let words = String::from_utf8_lossy(&up.stderr);
    assert!(
        !up.status.success() && words.contains("not the lab's own"),
        "{words}"
    );
    assert_eq!(
        std::fs::read_to_string(&config).unwrap(),
        "version: \"1.0\"\n"
    );
    assert_no_trace(&name);
}

#[test]
fn down_of_nothing_is_fine() {
    let home = fresh_home();
    let down = foundry(home.path())
        .args(["lab", "down", &unique_name()])
        .output()
        .unwrap();
    assert!(
        down.status.success(),
        "{}",
        String::from_utf8_lossy(&down.stderr)
    );
}

fn up_command(home: &Path, name: &str) -> Command {
    let mut command = foundry(home);
    command.args([
        "lab",
        "up",
        "--hosts",
        "3",
        "--driver",
        "namespaces",
        "--name",
        name,
        "--output",
        "json",
    ]);
    command.stdout(Stdio::piped());
    command
}

/// Returns whether this machine can run labs without Docker, after a lab of one host that shows it.
fn can_run_namespaces() -> bool {
    lab_with(&["--hosts", "1", "--driver", "namespaces"]).is_some()
}

fn list(lab: &LabGuard) -> Vec<Lab> {
    list_at(lab.home())
}

fn list_at(home: &Path) -> Vec<Lab> {
    let output = foundry(home)
        .args(["lab", "list", "--output", "json"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn check_leaves_nothing(lab: LabGuard) {
    let (name, config) = (lab.lab().name.to_string(), lab.config());
    assert!(config.exists());
    let home = lab.take_down();
    assert_no_trace(&name);
    assert!(!config.exists(), "an unchanged config goes with its lab");
    assert_eq!(
        std::fs::read_dir(home.path().join("lab")).unwrap().count(),
        0,
        "no keys are left"
    );
}

/// Fails if anything on the machine still names the lab.
fn assert_no_trace(name: &str) {
    let output = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        output
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
            .unwrap_or_default()
    };
    let digest = &blake3::hash(name.as_bytes()).to_hex()[..8];
    let found = [
        ("network namespaces", output("ip", &["netns", "list"])),
        (
            "interfaces",
            output("ip", &["link", "show"]).replace(&format!("fl{digest}"), name),
        ),
        (
            "firewall rules",
            output("iptables", &["-S"]) + &output("iptables", &["-t", "nat", "-S"]),
        ),
        (
            "mounts",
            std::fs::read_to_string("/proc/mounts").unwrap_or_default(),
        ),
        ("processes", output("ps", &["-A", "-o", "args="])),
        (
            "cgroups",
            output(
                "find",
                &["/sys/fs/cgroup", "-path", &format!("*foundry-lab/{name}*")],
            ),
        ),
        (
            "files",
            output(
                "find",
                &["/var/lib/foundry/lab", "-maxdepth", "2", "-name", name],
            ),
        ),
    ];
    for (what, text) in found {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(name)).collect();
        assert!(lines.is_empty(), "{what} of {name} are left: {lines:?}");
    }
}

fn exists(path: &str) -> Box<dyn Fn() -> bool> {
    let path = path.to_owned();
    Box::new(move || Path::new(&path).exists())
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::yield_now();
    }
}
