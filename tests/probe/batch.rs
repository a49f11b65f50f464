//! Whole programs: what they start, and what a cut answer is worth.

use super::*;

#[test]
fn an_answer_that_is_cut_short_is_a_fault_never_a_wrong_fact() {
    let path = text("/etc/passwd");
    let asks = [
        ask(vec![question(Collector::Stat, path.clone())]),
        ask(vec![question(Collector::Digest, path)]),
        ask(vec![question(Collector::Package, text("dpkg"))]),
        script("echo a=1; echo b=2", &Values::new(), Duration::from_secs(9)),
    ];
    let batch = Batch::new(asks.map(Arc::new), None, nonce());
    let whole = run(batch.program());
    let right: Vec<Arc<Facts>> = batch
        .read(&whole)
        .facts
        .into_iter()
        .map(Result::unwrap)
        .collect();
    for length in 0..whole.stdout.len() {
        let reply = Reply {
            stdout: whole.stdout[..length].to_vec(),
            ..whole.clone()
        };
        for (facts, right) in batch.read(&reply).facts.iter().zip(&right) {
            assert!(
                facts.is_err() || facts.as_ref() == Ok(right),
                "{length}: {facts:?}"
            );
        }
    }
}

/// What a host of some size asks: files with content, packages, units, accounts, lines, kernel, a port and scripts.
fn forty_steps() -> Vec<Ask> {
    let mut asks = Vec::new();
    for file in [
        "passwd",
        "group",
        "hosts",
        "hostname",
        "fstab",
        "os-release",
        "shells",
        "services",
        "profile",
        "shadow",
        "gone",
    ] {
        let path = || text(format!("/etc/{file}"));
        asks.push(ask(vec![
            question(Collector::Stat, path()),
            question(Collector::Digest, path()),
        ]));
    }
    for package in ["dpkg", "coreutils", "curl", "no-such-package"] {
        asks.push(ask(vec![question(Collector::Package, text(package))]));
    }
    for unit in ["ssh", "cron", "chrony", "openbao"] {
        asks.push(ask(vec![question(Collector::Unit, text(unit))]));
        let paths = Value::List(vec![text("/etc/passwd"), text("/etc/hosts")]);
        asks.push(ask(vec![question(
            Collector::Fresh,
            map([("unit", text(unit)), ("paths", paths)]),
        )]));
    }
    for name in ["root", "daemon", "openbao"] {
        asks.push(ask(vec![question(Collector::User, text(name))]));
        asks.push(ask(vec![question(Collector::Group, text(name))]));
    }
    for line in ["127.0.0.1 localhost", "::1 localhost"] {
        asks.push(ask(vec![question(
            Collector::Line,
            map([("path", text("/etc/hosts")), ("line", text(line))]),
        )]));
    }
    for key in ["vm.swappiness", "net.ipv4.ip_forward"] {
        asks.push(ask(vec![question(Collector::Sysctl, text(key))]));
    }
    for module in ["overlay", "br_netfilter"] {
        asks.push(ask(vec![question(Collector::Module, text(module))]));
    }
    asks.push(ask(vec![question(Collector::Port, text("22"))]));
    asks.push(ask(vec![question(
        Collector::Content,
        text("/etc/hostname"),
    )]));
    let mut values = Values::new();
    for name in ["one", "two", "three"] {
        values.insert("name".to_owned(), text(name));
        asks.push(script(
            "[ -e \"/run/$name\" ] && echo there=yes || echo there=no",
            &values,
            Duration::from_secs(5),
        ));
    }
    assert_eq!(asks.len(), 40);
    asks
}

#[test]
#[expect(clippy::print_stdout, reason = "the measured number is the point")]
fn forty_steps_start_a_handful_of_processes() {
    for host in 1..=3 {
        let batch = Batch::new(
            forty_steps().into_iter().map(Arc::new),
            Some("/var/lib/foundry/none/stamps"),
            nonce(),
        );
        // In a process namespace of its own the last process number tells how many there were: one is the outer shell.
        let outer =
            "sh -c 'eval \"$(cat)\"'; read -r _ _ _ _ last </proc/loadavg; echo \"last $last\" >&2";
        let mut child = Command::new("unshare")
            .args([
                "--pid",
                "--fork",
                "--mount-proc",
                "--map-root-user",
                "sh",
                "-c",
                outer,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(batch.program().text.expose().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        let last: u32 = said.trim().rsplit("last ").next().unwrap().parse().unwrap();
        let reply = Reply {
            stdout: output.stdout,
            stderr: output.stderr,
            status: output.status.code(),
        };
        let answer = batch.read(&reply);
        let facts = answer.host.unwrap();
        println!(
            "host {host}: 40 steps, 1 program, {} processes ({} KiB sent)",
            last - 1,
            batch.program().text.expose().len() / 1024
        );
        // Where scripts end before the ticker has got to its first sleep, that one is counted and never started.
        let started = last - 1;
        assert!(
            (started..=started + 1).contains(&facts.processes),
            "the program counts what it starts: {} and not {started}",
            facts.processes
        );
        assert!(facts.processes <= 25);
        let answered = answer.facts.iter().filter(|facts| facts.is_ok()).count();
        assert!(answered >= 32, "{:?}", answer.facts);
    }
}
