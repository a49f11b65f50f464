//! The lock, through the ports of a run, on a real shell.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foundry::config::HostId;
use foundry::event::{Event, What};
use foundry::probe::Program;
use foundry::run::lock::{
    LEASE, Lock, LockError, Patience, Request, SeenRuns, Standing, Terms, show, steal, take,
};
use foundry::run::{Fenced, Gate, Stop, Writers};

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
    // At once, as a renewal may read it meanwhile.
    let beside = format!("{LOCK}.beside");
    rig.machines[0].write(&beside, &(lines.join("\n") + "\n"));
    let root = &rig.machines[0].root;
    std::fs::rename(root.join(beside), root.join(LOCK)).unwrap();
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

/// Takes the lock with these terms; returns it, its gate, and what is told from then on.
async fn kept(rig: &Rig, terms: Terms) -> (Lock, Gate, Stop, Arc<Mutex<Vec<Event>>>) {
    let (tell, events) = voice();
    let (gate, stop, seen) = (Gate::default(), Stop::new(), SeenRuns::default());
    let (hosts, unreachable) = ([HostId(0), HostId(1)], BTreeMap::new());
    let (writers, stack) = (rig.writers(), rig.graph().stack.clone());
    let request = Request {
        terms,
        ..Request::new(&stack, &hosts, &unreachable, &seen, &*writers, &tell, &stop)
    };
    let lock = take(&request, &gate).await.unwrap();
    (lock, gate, stop, events)
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not come to be");
}

fn warned(events: &Mutex<Vec<Event>>, words: &str) -> bool {
    events
        .lock()
        .unwrap()
        .iter()
        .any(|event| matches!(&event.what, What::Warning { text } if text.as_str().contains(words)))
}

const ABSURD: &str = "h0: it gives the lock the number 999999999999999, which is far from what all other hosts know of: \
    /var/lib/foundry/rig/lock.number is wrong there";

#[tokio::test]
async fn an_absurd_number_of_the_host_of_the_lock_is_its_error_and_no_runs_number() {
    let rig = rig();
    get(&rig, Patience::default())
        .await
        .0
        .unwrap()
        .release()
        .await
        .unwrap();
    rig.machines[0].write("state/rig/lock.number", "999999999999998\n");
    let (lock, _) = get(&rig, Patience::default()).await;
    let Err(error @ LockError::Number { .. }) = lock else {
        panic!("believed")
    };
    assert_eq!(error.to_string(), ABSURD);
    assert!(error.hint().unwrap().contains("remove that file"));
    assert!(!rig.machines[0].root.join(LOCK).exists(), "given back");
    rig.machines[0].write("state/rig/lock.number", "1000001\n");
    assert!(get(&rig, Patience::default()).await.0.is_err());
    // More digits than a number has: none.
    rig.machines[0].write("state/rig/lock.number", "9999999999999999\n");
    drop(get(&rig, Patience::default()).await.0.unwrap());
}

#[tokio::test]
async fn an_absurd_number_at_a_renewal_is_no_renewal() {
    let rig = rig();
    let terms = Terms {
        lease: Duration::from_secs(3),
        renew: Duration::from_millis(200),
    };
    let (_lock, gate, stop, events) = kept(&rig, terms).await;
    disguise(&rig, "number", "999999999999999");
    until("a warning", || warned(&events, ABSURD)).await;
    assert!(warned(&events, "remove that file on that host"));
    until("the end of the lease", || stop.is_ending()).await;
    assert_eq!(gate.pass().unwrap().fence.number, 1);
    gate.check(&"h1".into()).unwrap_err();
}

#[tokio::test]
async fn a_host_that_refuses_a_run_has_the_lock_looked_at_at_once() {
    let rig = rig();
    let (_lock, gate, stop, events) = kept(&rig, Terms::default()).await;
    let folder = rig.machines[1].root.join("state/rig");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("fence"),
        "8 zz 20261130-210008-0000 eve@laptop\n",
    )
    .unwrap();
    let names = ["h0".into(), "h1".into()].into();
    let fenced = Fenced::new(rig.writers(), gate.clone(), names);
    let program = Program {
        text: ": >/ROOT/x".to_owned().into(),
        deadline: Duration::from_secs(30),
    };
    // The lock is still ours, as its next sign of life shows: only that host is lost.
    age(&rig, 40);
    let old = rig.machines[0].read("state/rig/alive");
    let (zero, one) = (
        fenced.writer(HostId(0)).await.unwrap(),
        fenced.writer(HostId(1)).await.unwrap(),
    );
    one.run(&program).await.unwrap_err();
    until("a renewal", || {
        rig.machines[0].read("state/rig/alive") != old
    })
    .await;
    zero.run(&program).await.unwrap();
    assert!(!stop.is_ending());
    // It is another's.
    disguise(&rig, "token", "zz");
    one.run(&program).await.unwrap_err();
    until("the end of the run", || stop.is_ending()).await;
    assert!(warned(&events, "the lock on h0 was taken by "));
    zero.run(&program).await.unwrap_err();
}
