//! The lock, through the ports of a run, on a real shell.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use foundry::config::HostId;
use foundry::event::{Event, What};
use foundry::run::Stop;
use foundry::run::lock::{Lock, LockError, Patience, Standing, show, steal, take};

use super::rig::{Rig, voice};

const LOCK: &str = "state/rig/lock";

async fn get(rig: &Rig, patience: Patience) -> (Result<Lock, LockError>, Vec<Event>) {
    let (tell, events) = voice();
    let hosts = [HostId(0), HostId(1)];
    let lock = take(
        &rig.graph().stack,
        &hosts,
        &*rig.writers(),
        None,
        patience,
        &tell,
        &Stop::new(),
    )
    .await;
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
fn age(rig: &Rig, seconds: u64) {
    let file = std::fs::File::options()
        .write(true)
        .open(rig.machines[0].root.join(LOCK))
        .unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
        .unwrap();
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
async fn it_is_on_the_next_host_if_the_first_is_out_of_reach() {
    let rig = rig();
    rig.machines[0].faults.down.store(true, Ordering::SeqCst);
    let (lock, _) = get(&rig, Patience::default()).await;
    assert_eq!(lock.unwrap().host(), "h1");
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
