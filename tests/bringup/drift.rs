//! What was changed by hand or in the config is named, and mended with no more restarts than it takes.

use std::time::{Duration, Instant};

use crate::bench::Bench;

/// Three kinds of trouble on three hosts, each by name; only the stopped service is started.
pub fn drift_is_named_and_mended(bench: &Bench) {
    let (one, two) = (bench.host(0), bench.host(1));
    bench.lab.ssh(0, "sudo chmod 644 /opt/openbao/tls/key.pem");
    bench.lab.ssh(1, "sudo systemctl stop openbao");
    bench.components("  base: { journald: { max_use: 400M } }\n  openbao: {}\n");

    let plan = bench.run(&["plan"]).ok();
    eprintln!("{}", plan.out);
    plan.says(&format!("cert@{one}"));
    plan.says("fact `key.mode` is 0644, wanted 0640");
    plan.says(&format!("service@{two}"));
    plan.says("fact `active` is inactive, wanted active");
    plan.says("journald-config@");
    plan.says("input `content` is another text than before");
    bench.run(&["stack", "status"]).coded(2).says("not healthy");
    bench.run(&["plan", "--detailed-exitcode"]).coded(2);

    let before = [0, 2].map(|index| bench.started(index, "openbao"));
    let journals = [0, 1, 2].map(|index| bench.started(index, "systemd-journald"));
    let built = bench.build_stack();
    eprintln!("mended: {:?}", built.steps("ran"));
    assert_eq!(before, [0, 2].map(|index| bench.started(index, "openbao")));
    for (index, journal) in journals.into_iter().enumerate() {
        assert!(bench.started(index, "systemd-journald") > journal);
    }
    all_satisfied(bench);
}

/// A setting that OpenBAO reads when it starts: each node restarts once, one after the other.
pub fn a_changed_setting_restarts_each_once(bench: &Bench) {
    bench.components("  openbao: { log_level: debug }\n");
    let plan = bench.run(&["plan"]).ok();
    eprintln!("{}", plan.out);
    plan.says("changed");
    plan.says("config@");

    let before = [0, 1, 2].map(|index| bench.started(index, "openbao"));
    let built = bench.build_stack();
    eprintln!("restarted: {:.1} s", built.took.as_secs_f64());
    let mut after = [0, 1, 2].map(|index| bench.started(index, "openbao"));
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| after > before)
    );
    // One machine's clock: the hosts were started one after the other, a whole start apart.
    after.sort_unstable();
    assert!(
        after.windows(2).all(|pair| pair[1] - pair[0] > 100_000),
        "{after:?}"
    );
    for index in 0..3 {
        let starts = bench.lab.ssh(
            index,
            "sudo journalctl --quiet --unit openbao --output=cat --grep '^Started openbao.service|^Stopped openbao.service' | tail -n 2",
        );
        eprintln!("{starts}");
        bench.lab.ssh(
            index,
            "sudo grep -q 'log_level.*debug' /etc/openbao/openbao.hcl",
        );
    }
    all_satisfied(bench);
}

/// Fails the test unless nothing is left to do. OpenBAO's autopilot looks at its members every few seconds: on a busy machine
/// it may notice a restart only once that is over, and takes as long to be content again.
pub fn all_satisfied(bench: &Bench) {
    let began = Instant::now();
    loop {
        let plan = bench.run(&["plan", "--detailed-exitcode"]);
        let others = plan
            .out
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .any(|line| line.contains(" drifted ") && !line.starts_with("health "));
        assert!(!others, "{}", plan.out);
        if plan.code == 0 {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{}{}{}",
            plan.out,
            plan.err,
            bench.run(&["explain", "openbao:health"]).out
        );
    }
}
