//! `kill -9` at random moments of a first bring-up: the next run takes over at once, and the last one completes with one
//! cluster, initialised once, that nobody is locked out of.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::Bench;
use crate::up::voters;

/// How often a run is killed.
const KILLS: usize = 10;

/// When a run is killed.
enum Moment {
    /// After so many events of work (a step began, said something, or ran).
    Events(u32),
    /// At an event of this kind and label, with these words in it.
    At(&'static str, &'static str, &'static str),
}

/// What must not happen twice or by half.
const SORE: [Moment; 5] = [
    Moment::At("step-started", "openbao:init", ""),
    Moment::At("step-finished", "openbao:init", ""),
    Moment::At("step-started", "openbao:join@node-2", ""),
    Moment::At("step-says", "openbao:handover", "token"),
    Moment::At("step-says", "openbao:handover", "revoking"),
];

impl Moment {
    fn reached(&mut self, what: &Value) -> bool {
        let kind = what["kind"].as_str().unwrap_or_default();
        match self {
            Self::Events(left) => {
                let work = kind == "step-started"
                    || kind == "step-says"
                    || kind == "step-finished" && what["state"] == "ran";
                *left = left.saturating_sub(u32::from(work));
                *left == 0
            }
            Self::At(wanted, label, words) => {
                let text = what["text"].as_str().unwrap_or_default();
                kind == *wanted && what["label"] == *label && text.contains(*words)
            }
        }
    }
}

/// Kills, again and again; then lets one run end.
pub fn completes(bench: &Bench) {
    let seed = std::env::var("FOUNDRY_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    });
    eprintln!("FOUNDRY_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    // Anywhere at all, and then around what is sore.
    let anywhere: Vec<Moment> = (SORE.len()..KILLS)
        .map(|_| Moment::Events(dice.below(24) + 1))
        .collect();
    let mut killed = 0;
    for (number, moment) in anywhere.into_iter().chain(SORE).enumerate() {
        let grace = Duration::from_millis(u64::from(dice.below(300)));
        killed += usize::from(run_and_kill(bench, number, moment, grace));
    }
    eprintln!("killed {killed} of {KILLS} runs");
    assert!(
        killed >= KILLS / 2,
        "most runs were done before their moment came"
    );

    let began = Instant::now();
    let last = bench.build_stack();
    eprintln!(
        "the last run: {:.1} s, {} ran, {} satisfied",
        began.elapsed().as_secs_f64(),
        last.summary()["counts"]["ran"],
        last.summary()["counts"]["satisfied"]
    );
    check(bench);
    assert_eq!(bench.build_stack().steps("ran"), [""; 0]);
}

/// Builds, and kills the build `grace` after `moment`. Returns whether it still ran then.
fn run_and_kill(bench: &Bench, number: usize, mut moment: Moment, grace: Duration) -> bool {
    let began = Instant::now();
    let mut command = bench.command(&["build", "stack", "--yes", "--output", "json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = String::new();
    let mut reached = false;
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let what = &event["what"];
        if what["kind"] == "lock-waiting" {
            panic!("run {number} waits for the lock of a run that is no more: {what}");
        }
        if what["kind"] == "lock-taken" {
            eprintln!(
                "  run {number}: lock taken after {} ms, from {}",
                event["ms"], what["from"]
            );
        }
        assert_ne!(what["state"], "failed", "run {number}: {what}");
        last = format!("{} {} {}", what["kind"], what["label"], what["text"]);
        if moment.reached(what) {
            reached = true;
            break;
        }
    }
    if reached {
        // Part of the dice, not of any waiting: the moment is to fall between events, too.
        std::thread::sleep(grace);
        child.kill().unwrap();
    }
    let ended = child.wait().unwrap();
    eprintln!(
        "run {number}: {} after {:.1} s, {} ms after {last}",
        if ended.success() { "done" } else { "killed" },
        began.elapsed().as_secs_f64(),
        grace.as_millis()
    );
    assert!(reached || ended.success(), "run {number} failed by itself");
    !ended.success()
}

/// One cluster, initialised once; the keys are safe and Foundry's token works.
fn check(bench: &Bench) {
    let peers = bench.bao_ok(0, "operator raft list-peers");
    eprintln!("{peers}");
    assert_eq!(voters(&peers), (3, 1), "{peers}");

    let mut clusters = BTreeSet::new();
    let mut inits = 0;
    for index in 0..3 {
        let health = bench.lab.ssh(
            index,
            "curl -s --cacert /opt/openbao/tls/ca.pem 'https://127.0.0.1:8200/v1/sys/health?standbyok=true'",
        );
        let health: Value = serde_json::from_str(&health).unwrap();
        assert_eq!(health["initialized"], true);
        assert_eq!(health["sealed"], false);
        clusters.insert(health["cluster_id"].as_str().unwrap().to_owned());
        let journal = bench
            .lab
            .ssh(index, "sudo journalctl --quiet --unit openbao --output=cat");
        inits += journal.matches("security barrier initialized").count();
        let left = bench.lab.ssh(
            index,
            "sudo find /var/lib/foundry -name 'openbao-init.json*'",
        );
        assert_eq!(left, "", "the answer of the init is left on host {index}");
    }
    assert_eq!(clusters.len(), 1, "{clusters:?}");
    assert_eq!(inits, 1, "initialised once");

    let keys = std::fs::read_to_string(bench.keys()).unwrap();
    assert_eq!(keys.matches("  share ").count(), 5, "five shares");
    assert!(!bench.path("keys.1").exists(), "keys of two inits");
    recovery_keys_work(bench, &keys);
    bench.bao_ok(0, "token lookup");
}

/// The shares that were handed over are this cluster's: three of them make a root token.
fn recovery_keys_work(bench: &Bench, keys: &str) {
    bench.components("  openbao: { generate_root: true }\n");
    bench.build_stack();
    let call = |path: &str, body: &str| -> Value {
        let url = format!("https://127.0.0.1:8200/v1/sys/generate-root/{path}");
        let curl = "curl -s --location --cacert /opt/openbao/tls/ca.pem -X PUT";
        let answer = bench.lab.ssh(0, &format!("{curl} -d '{body}' {url}"));
        serde_json::from_str(&answer).unwrap()
    };
    let begun = call("attempt", "{}");
    let nonce = &begun["nonce"];
    let mut complete = Value::Null;
    for share in shares(keys).into_iter().take(3) {
        let answer = call("update", &format!(r#"{{"key":"{share}","nonce":{nonce}}}"#));
        complete = answer["complete"].clone();
    }
    assert_eq!(complete, true, "the shares are not this cluster's");
}

/// Returns the key shares of a file that they were handed over in.
pub fn shares(keys: &str) -> Vec<&str> {
    keys.lines()
        .filter_map(|line| line.trim().strip_prefix("share ")?.split_once(": "))
        .map(|(_, key)| key)
        .collect()
}

/// Numbers that look random and are the same for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(limit)).unwrap()
    }
}
