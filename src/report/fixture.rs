//! A run for tests to draw.

use crate::event::{
    Counts, Event, Final, HostProbed, Masked, PathStep, Planned, Reason, RunStarted, Shown,
    StepFinished, Summary, Trouble, VERSION, Verdicts, What,
};

pub(super) fn masked(text: &str) -> Masked {
    Masked::through(&crate::secret::Masker::default(), text)
}

pub(super) fn at(ms: u64, what: What) -> Event {
    Event { ms, what }
}

pub(super) fn started(ms: u64, label: &str) -> Event {
    at(
        ms,
        What::StepStarted {
            label: label.to_owned(),
        },
    )
}

pub(super) fn step(label: &str, state: Final, ms: u64) -> StepFinished {
    StepFinished {
        label: label.to_owned(),
        host: label.split_once('@').map(|(_, host)| host.to_owned()),
        state,
        reasons: Vec::new(),
        trouble: None,
        blocked_by: None,
        ms,
        attempts: u32::from(ms > 0),
        round_trips: u32::from(ms > 0),
        elsewhere: false,
    }
}

pub(super) fn finished(step: StepFinished, ms: u64) -> Event {
    at(ms, What::StepFinished(step))
}

pub(super) fn fact(name: &str, found: &str, wanted: &str) -> Reason {
    Reason::Fact {
        name: name.to_owned(),
        found: Some(Shown::Text(found.to_owned())),
        wanted: Shown::Text(wanted.to_owned()),
    }
}

/// Asking, planning, one step drifted and mended, one in trouble that blocks another, one retried, an end.
pub(super) fn run() -> Vec<Event> {
    let id = "20261122-201455-ab12".parse().unwrap();
    let mut events = vec![
        at(
            0,
            What::RunStarted(RunStarted {
                version: VERSION,
                run: id,
                stack: "lab".to_owned(),
                command: "foundry build stack".to_owned(),
                started: "2026-11-22T20:14:55Z".to_owned(),
                hosts: 2,
                foundry: "0.1.0".to_owned(),
                shard: None,
                generation: None,
            }),
        ),
        at(
            300,
            What::HostProbed(HostProbed {
                host: "a".to_owned(),
                ms: 300,
                execs: 1,
                processes: 9,
                group: Some("demo".to_owned()),
            }),
        ),
        at(
            420,
            What::HostProbed(HostProbed {
                host: "b".to_owned(),
                ms: 420,
                execs: 1,
                processes: 9,
                group: Some("demo".to_owned()),
            }),
        ),
        at(
            430,
            What::Planned(Planned {
                verdicts: Verdicts {
                    satisfied: 2,
                    drifted: 2,
                    maybe: 1,
                    ..Verdicts::default()
                },
                hosts: 2,
            }),
        ),
        at(
            440,
            What::LockTaken {
                host: "a".to_owned(),
                from: None,
            },
        ),
        finished(step("base:time@a", Final::Satisfied, 0), 450),
        finished(step("base:time@b", Final::Satisfied, 0), 450),
        started(460, "demo:config@a"),
        started(470, "demo:service@b"),
        at(
            900,
            What::StepRetrying {
                label: "demo:service@b".to_owned(),
                attempt: 2,
                after_ms: 500,
                error: masked("b: connection reset by peer"),
            },
        ),
        at(
            1500,
            What::StepSays {
                label: "demo:service@b".to_owned(),
                text: masked("waiting for port 8200"),
            },
        ),
    ];
    let mut config = step("demo:config@a", Final::Ran, 1100);
    config.reasons = vec![
        fact("mode", "0644", "0600"),
        fact("owner", "root:root", "demo:demo"),
    ];
    events.push(finished(config, 1560));
    let mut service = step("demo:service@b", Final::Failed, 61_530);
    service.attempts = 2;
    service.reasons = vec![fact("active", "inactive", "active")];
    service.trouble = Some(Trouble {
        message: masked("applied, but still not as wanted"),
        found: vec![fact("active", "failed", "active")],
        output: Some(masked(
            "Job for demo.service failed.\nlisten tcp :8200: address already in use",
        )),
        hint: Some(masked("`journalctl -u demo` on b has the whole story")),
        status: None,
    });
    events.push(finished(service, 62_000));
    let mut join = step("demo:join@b", Final::Blocked, 0);
    join.blocked_by = Some("demo:service@b".to_owned());
    events.push(finished(join, 62_000));
    events.push(at(
        62_100,
        What::RunFinished(Summary {
            run: "20261122-201455-ab12".parse().unwrap(),
            counts: Counts {
                satisfied: 2,
                ran: 1,
                failed: 1,
                blocked: 1,
                ..Counts::default()
            },
            ms: 62_100,
            longest: vec![PathStep {
                label: "demo:service@b".to_owned(),
                ms: 61_530,
            }],
            journals: std::collections::BTreeMap::new(),
            execs: [("a".to_owned(), 3), ("b".to_owned(), 4)].into(),
            rollouts: Vec::new(),
            interrupted: false,
            refused: None,
        }),
    ));
    events
}
