//! What people see, word for word.

use std::sync::{Arc, Mutex};

use super::fixture::{at, run, started};
use super::screen::screen;
use super::*;
use crate::event::{Counts, Event, LockWaiting, Summary, What};

fn picture(events: &[Event]) -> Picture {
    let mut picture = Picture::default();
    events.iter().for_each(|event| picture.fold(event));
    picture
}

/// The picture as it was before the first event later than `ms`.
fn until(ms: u64) -> Picture {
    picture(
        &run()
            .into_iter()
            .filter(|event| event.ms <= ms)
            .collect::<Vec<_>>(),
    )
}

fn drawn(picture: &Picture, ms: u64) -> String {
    screen(picture, ms, 80, Paint::new(false))
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn plain(events: &[Event]) -> String {
    let page = Page::default();
    let mut report = Plain::new(page.clone(), Paint::new(false));
    events.iter().for_each(|event| report.event(event));
    assert_eq!(report.finish(), None);
    page.text()
}

#[test]
fn plain_lines_of_a_run() {
    insta::assert_snapshot!(plain(&run()), @r#"
    2 steps to run, 1 maybe, 2 satisfied on 2 hosts, probed in 0.4s
    ↻ retrying    demo:service@b: attempt 2 in 0.5s, after: b: connection reset by peer
    ✓ ran         demo:config@a     1.1s  fact `mode` is 0644, wanted 0600 (and 1 more)
    ✗ failed      demo:service@b  1m 01s  applied, but still not as wanted: fact `active` is failed, wanted active (2 attempts)

    ✗ failed demo:service@b after 1m 01s, 2 attempts
        where │ b
        to do │ fact `active` is inactive, wanted active
          why │ applied, but still not as wanted
              │ fact `active` is failed, wanted active
       output │ Job for demo.service failed.
              │ listen tcp :8200: address already in use
         next │ `journalctl -u demo` on b has the whole story
       blocks │ 1 step: demo:join@b
         more │ foundry explain demo:service@b

    1 ran, 2 satisfied, 1 failed, 1 blocked in 1m 02s; 3 to 4 execs per host
    longest path 1m 01s: demo:service@b
    hint: foundry run failed 20261122-201455-ab12 shows each in full
    "#);
}

#[test]
fn the_screen_while_hosts_are_asked() {
    insta::assert_snapshot!(drawn(&until(300), 310), @r#"
    ━━━━━━━━━━━━━━━───────────────  Asking hosts 1/2  0.3s
    "#);
}

#[test]
fn the_screen_while_steps_run() {
    insta::assert_snapshot!(drawn(&until(1500), 1540), @r#"
    ━━━━━━━━━━━━──────────────────  2/5  1.5s  2 running
      demo:config@a     1.0s
      demo:service@b    1.0s  waiting for port 8200
    "#);
}

#[test]
fn the_screen_after_trouble() {
    let mut picture = until(62_000);
    picture.fold(&at(62_050, What::Interrupted { now: false }));
    insta::assert_snapshot!(drawn(&picture, 62_050), @r#"
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  5/5  1m 02s · 1 ran · 1 failed · 1 blocked
      Letting running steps end. Press Ctrl-C again to stop them.
    "#);
}

#[test]
fn the_screen_shows_eight_longest_and_how_many_more() {
    let mut picture = until(450);
    for n in 0..11 {
        picture.fold(&started(
            500 + n,
            &format!("demo:a-step-with-a-rather-long-name[{n}]@bao-{n}.example.com"),
        ));
    }
    insta::assert_snapshot!(screen(&picture, 3_600_000, 60, Paint::new(false)), @r#"
    ━━━━━━━━━━━━──────────────────  2/5  1h 00m  11 running
      demo:a-step-wi…o-0.example.com  59m 59s
      demo:a-step-wi…o-1.example.com  59m 59s
      demo:a-step-wi…o-2.example.com  59m 59s
      demo:a-step-wi…o-3.example.com  59m 59s
      demo:a-step-wi…o-4.example.com  59m 59s
      demo:a-step-wi…o-5.example.com  59m 59s
      demo:a-step-wi…o-6.example.com  59m 59s
      demo:a-step-wi…o-7.example.com  59m 59s
      … and 3 more
    "#);
}

#[test]
fn the_screen_of_a_fleet_has_a_line_for_each_kind_of_step() {
    let mut events = run();
    if let What::RunStarted(run) = &mut events[0].what {
        run.hosts = 10_000;
    }
    let mut picture = super::Picture::default();
    events[..5].iter().for_each(|event| picture.fold(event));
    for n in 0..900_u64 {
        let step = if n % 3 == 0 {
            "k3s:agent"
        } else {
            "base:package[curl]"
        };
        picture.fold(&started(500 + n, &format!("{step}@node-{n}")));
    }
    picture.fold(&started(1400, "k3s:ready"));
    let mut failed = super::fixture::step("base:time@node-9999", crate::event::Final::Failed, 20);
    failed.trouble = None;
    picture.fold(&super::fixture::finished(failed, 1500));
    insta::assert_snapshot!(screen(&picture, 61_000, 100, Paint::new(false)), @r#"
    ━━━━━━────────────────────────  1/5  1m 01s  901 running · 1 failed
      k3s:agent             ×300  1m 00s  longest on node-0
      base:package[curl]    ×600  1m 00s  longest on node-1
      k3s:ready               ×1   59.6s
      900 hosts at work, slowest node-0 1m 00s, node-1 1m 00s, node-2 1m 00s, node-3 1m 00s
      1 host in trouble, 0 out of reach
    "#);
}

#[test]
fn the_screen_while_the_lock_is_another_s() {
    let mut picture = until(430);
    picture.fold(&at(
        500,
        What::LockWaiting(LockWaiting {
            host: "a".to_owned(),
            holder: super::fixture::masked(
                "ada@desk (process 7) runs `foundry build stack` since 20:14",
            ),
            lease_s: 41,
        }),
    ));
    insta::assert_snapshot!(screen(&picture, 500, 140, Paint::new(false)), @r#"
    Waiting for the lock on a: ada@desk (process 7) runs `foundry build stack` since 20:14 (its lease ends in 41 s unless renewed)
    "#);
}

#[test]
fn no_line_of_the_screen_is_as_wide_as_the_terminal() {
    for width in [1, 10, 40, 79, 200] {
        for ms in [0, 300, 430, 1500, 62_000] {
            for line in screen(&until(ms), ms, width, Paint::new(true)).lines() {
                assert!(
                    crate::terminal::width(line) < width.max(2),
                    "{width}: {line:?}"
                );
            }
        }
    }
}

#[test]
fn a_run_that_was_killed_says_so() {
    let events: Vec<Event> = run().into_iter().filter(|event| event.ms <= 1500).collect();
    assert!(plain(&events).ends_with("error: the run broke off after 1.5s\n"));
}

#[test]
fn a_run_with_nothing_to_do_is_one_sentence() {
    let mut events: Vec<Event> = run().into_iter().filter(|event| event.ms <= 420).collect();
    events.push(at(
        500,
        What::RunFinished(Summary {
            run: "20261122-201455-ab12".parse().unwrap(),
            counts: Counts {
                satisfied: 43,
                ..Counts::default()
            },
            ms: 500,
            longest: Vec::new(),
            journals: std::collections::BTreeMap::new(),
            execs: [("a".to_owned(), 1), ("b".to_owned(), 1)].into(),
            rollouts: Vec::new(),
            interrupted: false,
            refused: None,
        }),
    ));
    assert_eq!(
        plain(&events),
        "0 ran, 43 satisfied, 0 failed in 0.5s; 1 exec per host\n"
    );
}

#[test]
fn a_run_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = EventLog::new(folder.path().to_owned());
    run().iter().for_each(|event| log.event(event));
    assert_eq!(log.finish(), None);
    let id = find(folder.path(), None).unwrap();
    assert_eq!(find(folder.path(), Some("ab12")).unwrap(), id);
    assert_eq!(find(folder.path(), Some("20261122")).unwrap(), id);
    assert!(matches!(
        find(folder.path(), Some("ffff")),
        Err(RecordError::Unknown { .. })
    ));
    let record = Record::read(folder.path(), &id).unwrap();
    assert_eq!(record.events, run());
    let entries = list(folder.path()).unwrap();
    assert_eq!((entries.len(), entries[0].fate), (1, Fate::Failed));

    // A kill in the middle of a line.
    let path = folder.path().join(format!("{id}.jsonl"));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    assert_eq!(
        Record::read(folder.path(), &id).unwrap().events.len(),
        run().len() - 1
    );
    assert_eq!(list(folder.path()).unwrap()[0].fate, Fate::Unfinished);
    // Something that is no event.
    std::fs::write(&path, format!("what?\n{text}")).unwrap();
    assert!(
        Record::read(folder.path(), &id)
            .unwrap_err()
            .to_string()
            .contains("jsonl:1: no event")
    );
    assert!(list(folder.path()).unwrap().is_empty());
}
