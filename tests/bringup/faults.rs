//! What goes wrong outside of Foundry is said by name, holds up nothing that does not need it, and is mended by the next
//! run.

use std::fs;

use crate::bench::Bench;
use crate::drift::all_satisfied;
use crate::killed::shares;
use crate::support::openbao;

/// One of three hosts is off: the others are mended, and so is it once it is back.
pub fn a_host_that_is_down_holds_nobody_up(bench: &Bench) {
    let (one, three) = (bench.host(0), bench.host(2));
    bench
        .lab
        .ssh(0, "sudo rm /etc/systemd/journald.conf.d/60-foundry.conf");
    bench
        .lab
        .ssh(2, "sudo rm /etc/systemd/journald.conf.d/60-foundry.conf");
    power_off(bench, 2);

    let built = bench.build(&["stack"]).coded(1);
    eprintln!(
        "with {three} off: {:.1} s\n{}",
        built.took.as_secs_f64(),
        built.troubles()
    );
    let unreachable = built.events("host-unreachable");
    assert_eq!(unreachable.len(), 1);
    assert_eq!(unreachable[0]["host"], three);
    let ran = built.steps("ran");
    assert!(
        ran.contains(&format!("base:journald-config@{one}")),
        "{ran:?}"
    );
    assert!(ran.contains(&format!("base:journald@{one}")), "{ran:?}");
    assert!(built.steps("failed").is_empty(), "{}", built.troubles());
    // Its own steps can't be told; the others are as they were.
    let status = bench.run(&["stack", "status"]).coded(2);
    eprintln!("{}", status.out);
    status.says("2 of 3 hosts answered");

    power_on(bench);
    let built = bench.build_stack();
    let ran = built.steps("ran");
    assert!(
        ran.contains(&format!("base:journald-config@{three}")),
        "{ran:?}"
    );
    all_satisfied(bench);
}

fn power_off(bench: &Bench, index: usize) {
    bench.lab.try_ssh(index, "sudo systemctl poweroff");
    let began = std::time::Instant::now();
    let off = || {
        let listed = bench
            .lab
            .foundry()
            .args(["lab", "list", "--output", "json"])
            .output()
            .unwrap();
        let labs: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        labs[0]["hosts"][index]["state"] == "stopped"
    };
    while !off() {
        assert!(
            began.elapsed().as_secs() < 60,
            "host {index} does not go off"
        );
    }
}

fn power_on(bench: &Bench) {
    let name = bench.lab.lab().name.as_str();
    let hosts = bench.lab.hosts().len().to_string();
    // With the machine's own cache, where the image is.
    let mut up = bench.lab.foundry();
    up.args(["lab", "up", "--name", name, "--hosts", &hosts]);
    bench.finish(up).ok();
}

/// A misspelt key is shown where it stands, and no host hears of it.
pub fn a_config_with_a_misspelt_key_touches_nothing(bench: &Bench) {
    bench.components("  openbao: { log_levle: debug }\n");
    for command in [&["build", "stack"][..], &["plan"], &["config", "validate"]] {
        let refused = bench.run(command).coded(3);
        eprintln!("{}", refused.err);
        for words in ["log_levle", "log_level", ".yaml:"] {
            assert!(refused.err.contains(words), "{}", refused.err);
        }
    }
    bench.components("  openbao: {}\n");
    assert!(
        !bench
            .lab
            .try_ssh(0, "sudo test -e /var/lib/foundry")
            .status
            .success()
    );
}

/// Another key than the pinned one: nothing is sent, and both keys are named.
pub fn a_host_with_another_key_is_refused(bench: &Bench) {
    let path = bench.lab.config();
    let text = fs::read_to_string(&path).unwrap();
    let (_, another) = foundry::target::host::generate_key("").unwrap();
    let another = another.trim_end();
    let pinned = text
        .lines()
        .find(|line| line.trim_start().starts_with("host_key:"))
        .unwrap();
    let wrong = text.replace(pinned, &format!("    host_key: {another}"));
    fs::write(&path, wrong).unwrap();

    let built = bench.build(&["stack"]).coded(1);
    let unreachable = built.events("host-unreachable");
    eprintln!("{} ({})", unreachable[0]["message"], unreachable[0]["hint"]);
    let message = unreachable[0]["message"].as_str().unwrap();
    assert!(message.contains("key"), "{message}");
    assert_eq!(built.steps("ran"), [""; 0]);

    fs::write(&path, text).unwrap();
    assert!(
        !bench
            .lab
            .try_ssh(0, "sudo test -e /var/lib/foundry")
            .status
            .success()
    );
}

/// The download is another than the checksum file says: refused before it is unpacked, and the rest goes on.
pub fn a_download_with_another_digest_is_not_installed(bench: &Bench) {
    let mirror = openbao::mirror().unwrap();
    let other = bench.path("mirror");
    let release = fs::read_dir(&mirror)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    let folder = other.join(&release);
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(
        mirror.join(&release).join(openbao::asset()),
        folder.join(openbao::asset()),
    )
    .unwrap();
    let wrong = "0".repeat(64);
    fs::write(
        folder.join("checksums.txt"),
        format!("{wrong}  {}\n", openbao::asset()),
    )
    .unwrap();
    bench.configure("  openbao: {}\n", &other);

    let built = bench.build(&["stack"]).coded(1);
    let artifact = format!("openbao:artifact@{}", bench.host(0));
    assert_eq!(
        built.steps("failed"),
        [artifact.as_str()],
        "{}",
        built.troubles()
    );
    eprintln!("{}", built.troubles());
    assert!(built.troubles().contains(&wrong), "{}", built.troubles());
    let installed = bench
        .lab
        .ssh(0, "sudo find /opt/foundry -type f 2>/dev/null; true");
    assert_eq!(installed, "");
    assert!(built.steps("blocked").contains(&"openbao:init".to_owned()));
    assert!(
        built
            .steps("ran")
            .contains(&format!("openbao:user@{}", bench.host(0)))
    );
    bench.components("  openbao: {}\n");
}

/// There is no room for the download: said in the system's words, and nothing half-done is left.
pub fn a_full_disk_is_said(bench: &Bench) {
    bench.lab.ssh(
        0,
        "sudo mkdir -p /opt/foundry && sudo mount -t tmpfs -o size=32m tmpfs /opt/foundry",
    );
    let built = bench.build(&["stack"]).coded(1);
    eprintln!("{}", built.troubles());
    assert!(
        built.troubles().contains("No space left"),
        "{}",
        built.troubles()
    );
    let installed = bench.lab.ssh(0, "sudo find /opt/foundry -name bao");
    assert_eq!(installed, "");
    bench.lab.ssh(0, "sudo umount /opt/foundry");
}

/// With `seal: shamir`, a restarted server is sealed until people open it: that is what plan and build say.
pub fn a_sealed_server_is_named(bench: &Bench) {
    bench.components("  openbao: { seal: shamir }\n");
    let built = bench.build_stack();
    eprintln!("one host, shamir: {:.1} s", built.took.as_secs_f64());
    all_satisfied(bench);

    bench.lab.ssh(0, "sudo systemctl restart openbao");
    let plan = bench.run(&["plan"]);
    eprintln!("{}", plan.out);
    plan.says("sealed");
    let built = bench.build(&["stack"]).coded(1);
    eprintln!("{}", built.troubles());
    assert!(
        built.troubles().contains("nobody to ask"),
        "{}",
        built.troubles()
    );

    let keys = fs::read_to_string(bench.keys()).unwrap();
    for share in shares(&keys).into_iter().take(3) {
        bench.bao_ok(0, &format!("operator unseal {share}"));
    }
    bench.build_stack();
    all_satisfied(bench);
}
