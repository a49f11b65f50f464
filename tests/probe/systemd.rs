//! Units on a real systemd, in a lab.

use base64::Engine as _;

use super::support::lab::{LabGuard, lab};
use super::*;

/// Runs `before` and, in the same round trip, what `asks` ask.
fn look_there(lab: &LabGuard, before: &str, asks: Vec<Ask>) -> Answer {
    let batch = Batch::new(asks.into_iter().map(Arc::new), None, nonce());
    let program = format!("{before}\n{}", batch.program().text.expose());
    let program = base64::engine::general_purpose::STANDARD.encode(program);
    let output = lab.try_ssh(
        0,
        &format!("echo {program} | base64 -d | sudo sh -c 'eval \"$(cat)\"'"),
    );
    let reply = Reply {
        stdout: output.stdout,
        stderr: output.stderr,
        status: output.status.code(),
    };
    batch.read(&reply)
}

fn fresh(unit: &str) -> Ask {
    let paths = Value::List(vec![
        text("/etc/held.conf"),
        text("/etc/held.link"),
        text("/etc/held.gone"),
    ]);
    ask(vec![
        question(
            Collector::Fresh,
            map([("unit", text(unit)), ("paths", paths)]),
        ),
        Question {
            prefix: "unit".into(),
            ..question(Collector::Unit, text(unit))
        },
    ])
}

#[test]
fn units_are_seen_and_freshness_is_told_within_a_second() {
    let Some(lab) = lab(1) else { return };
    let unit = "[Unit]\\nDescription=held\\nStartLimitIntervalSec=0\\n[Service]\\nExecStartPre=/usr/bin/sleep 0.02\\nExecStart=/usr/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n";
    let setup = format!(
        "printf '{unit}' >/etc/systemd/system/held.service; ln -sf held.conf /etc/held.link; echo 0 >/etc/held.conf
         systemctl daemon-reload"
    );
    let first = look_there(
        &lab,
        &setup,
        vec![fresh("held"), fresh("no-such-unit"), fresh("ssh.socket")],
    );
    let [held, gone, socket] = &first.facts[..] else {
        panic!("{first:?}")
    };
    let held = held.as_ref().unwrap();
    assert_eq!(
        (fact(held, "unit.enabled"), fact(held, "unit.active")),
        ("disabled", "inactive")
    );
    assert_eq!(
        (fact(held, "unit.started"), fact(held, "fresh")),
        ("absent", "no")
    );
    let gone = gone.as_ref().unwrap();
    for name in [
        "fresh",
        "unit.load",
        "unit.enabled",
        "unit.active",
        "unit.sub",
        "unit.started",
    ] {
        assert_eq!(fact(gone, name), "absent", "{name}");
    }
    assert!(socket.is_ok(), "{socket:?}");

    for turn in 1..=5 {
        let written_first = format!("echo {turn} >/etc/held.conf; systemctl restart held");
        let facts = look_there(&lab, &written_first, vec![fresh("held.service")])
            .facts
            .remove(0)
            .unwrap();
        assert_eq!(
            (fact(&facts, "fresh"), fact(&facts, "newer")),
            ("yes", ""),
            "turn {turn}"
        );
        assert_eq!(fact(&facts, "unit.active"), "active");
        let written_last = format!("systemctl restart held; echo {turn}b >/etc/held.conf");
        let facts = look_there(&lab, &written_last, vec![fresh("held")])
            .facts
            .remove(0)
            .unwrap();
        assert_eq!(
            (fact(&facts, "fresh"), fact(&facts, "newer")),
            ("no", "/etc/held.conf /etc/held.link"),
            "turn {turn}: a link is as new as what it leads to"
        );
    }
    let changed = "systemctl enable -q held; echo >>/etc/systemd/system/held.service; systemctl stop held; systemctl mask -q held 2>/dev/null";
    let facts = look_there(&lab, changed, vec![fresh("held")])
        .facts
        .remove(0)
        .unwrap();
    assert_eq!(
        (fact(&facts, "unit.active"), fact(&facts, "unit.enabled")),
        ("inactive", "enabled")
    );
    assert_eq!(fact(&facts, "unit.needs_reload"), "yes");
}
