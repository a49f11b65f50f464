//! The lock, through the ports of a run, on a real shell.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use foundry::config::HostId;
use foundry::event::{Event, What};
use foundry::run::lock::{
    LEASE, Lock, LockError, Patience, Request, SeenRuns, Standing, Terms, show, steal, take,
};
use foundry::run::{Gate, Stop};

use super::rig::{Rig, voice};

const LOCK: &str = "state/rig/lock";

async fn get(rig: &Rig, patience: Patience) -> (Result<Lock, LockError>, Vec<Event>) {
    let (tell, events) = voice();
    let hosts = [HostId(0), HostId(1)];
    let (writers, stack) = (rig.writers(), rig.graph().stack.clone());
    let (unreachable, seen, stop) = (BTreeMap::new(), SeenRuns::default(), Stop::new());
    let request = Request {
        patience,
        terms: Terms {
            // A host that can't be reached is waited out in the time of a test.
            lease: if rig.machines[0].faults.down.load(Ordering::SeqCst) {
                Duration::from_secs(3)
            } else {
                LEASE
            },
            ..Terms::default()
        },
        ..Request::new(&stack, &hosts, &unreachable, &seen, &*writers, &tell, &stop)
    };
    let lock = take(&request, &Gate::default()).await;
    let events = events.lock().unwrap().clone();
    (lock, events)
}

fn rig() -> Rig {
    Rig::new(
        2,
        "[steps.look]\nuses = \"check\"\non = \"hosts\"\nwith = { path = \"/ROOT/x\" }\n",
    )
}

/// Makes the lock look as if its holder had not been heard of for so long.
fn age(rig: &Rig, seconds: i64) {
    let text = rig.machines[0].read("state/rig/alive");
    let (boot, up) = text.trim().split_once(' ').unwrap();
    let up: i64 = up.parse().unwrap();
    rig.machines[0].write("state/rig/alive", &format!("{boot} {}\n", up - seconds));
}

/// Makes the lock another machine's, or another process's of this one.
fn disguise(rig: &Rig, line: &str, as_: &str) {
    let text = rig.machines[0].read(LOCK);
    let lines: Vec<String> = text
        .lines()
        .map(|old| {
            if old.starts_with(line) {
                format!("{line} {as_}")
            } else {
                old.to_owned()
            }
        })
        .collect();
    rig.machines[0].write(LOCK, &(lines.join("\n") + "\n"));
}

#[tokio::test]
async fn it_is_on_the_first_host_and_only_once() {
    let rig = rig();
    let (lock, events) = get(&rig, Patience::default()).await;
    let lock = lock.unwrap();
    assert_eq!((lock.host(), lock.waited()), ("h0", false));
    assert!(
        matches!(&events.last().unwrap().what, What::LockTaken { host, from: None } if host == "h0")
    );
    let (second, events) = get(&rig, Patience::For(Duration::ZERO)).await;
    let Err(error @ LockError::Held { .. }) = second else {
        panic!("two runs at once")
    };
    assert!(
        error
            .to_string()
            .starts_with("stack rig is locked, on h0: "),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("runs `foundry build stack` since "),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("foundry lock steal"));
    assert!(
        !events
            .iter()
            .any(|event| matches!(event.what, What::LockTaken { .. }))
    );
    lock.release().await.unwrap();
    assert!(!rig.machines[0].root.join(LOCK).exists());
    let (third, _) = get(&rig, Patience::default()).await;
    assert!(!third.unwrap().waited());
}

#[tokio::test]
async fn the_lease_of_a_first_host_out_of_reach_is_waited_out_and_the_next_stands_in_aloud() {
    let rig = rig();
    rig.machines[0].faults.down.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let (lock, events) = get(&rig, Patience::default()).await;
    let lock = lock.unwrap();
    assert_eq!(lock.host(), "h1");
    assert!(lock.waited(), "what was probed a minute ago is out of date");
    assert!(began.elapsed() >= Duration::from_secs(3), "not waited out");
    assert!(
        events.iter().any(|event| matches!(
            &event.what,
            What::LockWaiting(waiting) if waiting.host == "h0" && waiting.holder.as_str().starts_with(
                "h0 cannot be reached (no route to host), and a run may hold the lock on it"
            )
        )),
        "{events:?}"
    );
    assert!(
        events.iter().any(|event| matches!(
            &event.what,
            What::Warning { text } if text.as_str().starts_with("the lock belongs on h0, which cannot be reached (no route to host)")
                && text.as_str().contains("and h1 stands in")
        )),
        "{events:?}"
    );
    // Far enough ahead of whatever the first host has given away.
    let number: u64 = rig.machines[1]
        .read("state/rig/lock.number")
        .trim()
        .parse()
        .unwrap();
    assert!((1001..2001).contains(&number), "{number}");
    lock.release().await.unwrap();
    rig.machines[1].faults.down.store(true, Ordering::SeqCst);
    let (lock, _) = get(&rig, Patience::default()).await;
    let Err(error @ LockError::NoHost { .. }) = lock else {
        panic!("locked nowhere")
    };
    assert_eq!(
        error.to_string(),
        "no host of stack rig can be reached to hold the lock\n  h0: no route to host\n  h1: no route to host"
    );
}

#[tokio::test]
async fn a_first_host_that_comes_back_meanwhile_is_the_one() {
    let rig = rig();
    rig.machines[0].faults.down.store(true, Ordering::SeqCst);
    let back = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        rig.machines[0].faults.down.store(false, Ordering::SeqCst);
    };
    let ((lock, _), ()) = tokio::join!(get(&rig, Patience::default()), back);
    assert_eq!(lock.unwrap().host(), "h0");
}

#[tokio::test]
async fn a_lock_whose_process_is_gone_is_taken_over_at_once() {
    let rig = rig();
    // Dropped as by a kill: nothing gives it back.
    drop(get(&rig, Patience::default()).await);
    disguise(&rig, "born", "1");
    let (lock, events) = get(&rig, Patience::For(Duration::ZERO)).await;
    assert!(lock.unwrap().waited());
    let What::LockTaken {
        from: Some(from), ..
    } = &events.last().unwrap().what
    else {
        panic!("{events:?}")
    };
    assert!(from.ends_with("which is no more"), "{from}");
}

#[tokio::test]
async fn a_lock_of_elsewhere_is_kept_until_its_lease_ends() {
    let rig = rig();
    drop(get(&rig, Patience::default()).await);
    disguise(&rig, "machine", "elsewhere/b00t/pid:[1]");
    disguise(&rig, "born", "1");
    let (lock, events) = get(&rig, Patience::For(Duration::ZERO)).await;
    assert!(matches!(lock, Err(LockError::Held { .. })));
    assert!(
        !events
            .iter()
            .any(|event| matches!(event.what, What::LockTaken { .. }))
    );
    age(&rig, 61);
    let (lock, events) = get(&rig, Patience::For(Duration::ZERO)).await;
    assert!(lock.unwrap().waited());
    let What::LockTaken {
        from: Some(from), ..
    } = &events.last().unwrap().what
    else {
        panic!("{events:?}")
    };
    assert!(from.ends_with("whose lease has ended"), "{from}");
}

#[tokio::test]
async fn a_killed_run_is_waited_out() {
    let rig = rig();
    drop(get(&rig, Patience::default()).await);
    disguise(&rig, "machine", "elsewhere/b00t/pid:[1]");
    age(&rig, 57);
    let (lock, events) = get(&rig, Patience::UntilAlive).await;
    assert!(lock.unwrap().waited());
    assert!(
        events
            .iter()
            .any(|event| matches!(&event.what, What::LockWaiting(waiting) if waiting.lease_s <= 3))
    );
}

#[tokio::test]
async fn it_is_shown_and_stolen() {
    let rig = rig();
    let stack = rig.graph().stack.clone();
    assert!(show(&stack, &*rig.writers()).await.unwrap().held.is_none());
    let (lock, _) = get(&rig, Patience::default()).await;
    let shown = show(&stack, &*rig.writers()).await.unwrap();
    assert_eq!(
        (shown.host.as_str(), shown.standing),
        ("h0", Some(Standing::Held))
    );
    let found = shown.held.unwrap();
    assert!(steal(&stack, &*rig.writers(), &found).await.unwrap());
    assert!(
        !steal(&stack, &*rig.writers(), &found).await.unwrap(),
        "it is gone already"
    );
    // Whoever took it since is left alone, by the thief and by who had it before.
    let (next, _) = get(&rig, Patience::default()).await;
    let next = next.unwrap();
    assert!(matches!(
        steal(&stack, &*rig.writers(), &found).await,
        Err(LockError::Held { .. })
    ));
    lock.unwrap().release().await.unwrap();
    assert!(rig.machines[0].root.join(LOCK).exists());
    next.release().await.unwrap();
    assert!(!rig.machines[0].root.join(LOCK).exists());
}
