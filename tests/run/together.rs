//! Steps of a host that are ready at the same moment travel in one program: what becomes of each, of those that fail, hang
//! or are cut off, and that it is what would have become of them alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use foundry::event::{Final, What};
use proptest::prelude::*;

use crate::rig::{Rig, Told};

/// Returns the recipe of a step that writes `name`, or can't.
fn note(name: &str, path: &str, needs: &[String]) -> String {
    format!(
        "[steps.{name}]\nuses = \"note\"\non = \"hosts\"\nneeds = {needs:?}\n\
         with = {{ path = \"/ROOT/{path}\", text = \"text of {name}\\n\" }}\n"
    )
}

fn position(told: &Told, is: impl Fn(&What) -> bool) -> usize {
    told.events
        .iter()
        .position(|event| is(&event.what))
        .expect("it is told")
}

fn started(told: &Told, label: &str) -> usize {
    position(
        told,
        |what| matches!(what, What::StepStarted { label: of } if of == label),
    )
}

fn finished(told: &Told, label: &str) -> usize {
    position(
        told,
        |what| matches!(what, What::StepFinished(step) if step.label == label),
    )
}

#[test]
fn twelve_ready_steps_are_one_exec_and_one_that_fails_is_alone_in_it() {
    let mut recipe: String = (0..11)
        .map(|n| note(&format!("s{n:02}"), &format!("s{n:02}"), &[]))
        .collect();
    recipe += &note("s11", "nowhere/s11", &[]);
    recipe += &note("good", "good", &["s03".to_owned()]);
    recipe += &note("bad", "bad", &["s11".to_owned()]);
    let rig = Rig::new(2, &recipe);
    let told = rig.build("stack");
    assert_eq!(told.summary.counts.ran, 2 * 12);
    assert_eq!(told.of(Final::Failed), "s11@h0 s11@h1");
    assert_eq!(told.of(Final::Blocked), "bad@h0 bad@h1");
    // The probe, the twelve, and the one that was ready after them.
    assert_eq!(told.summary.execs["h0"], 3);
    let failed = told.step("demo:s11@h0");
    let trouble = failed.trouble.as_ref().unwrap();
    assert_eq!(trouble.status, Some(2));
    assert!(trouble.output.as_ref().unwrap().contains("nowhere"));
    assert_eq!((failed.attempts, failed.round_trips), (1, 1));
    assert_eq!(told.step("demo:s00@h0").round_trips, 1);
    for n in 0..12 {
        let label = format!("demo:s{n:02}@h0");
        assert!(started(&told, &label) < finished(&told, &label), "{label}");
    }
    assert!(finished(&told, "demo:s03@h0") < started(&told, "demo:good@h0"));
    assert!(!rig.machines[0].root.join("bad").exists());
    // What each has to say is told of it.
    assert!(told.events.iter().any(|event| matches!(
        &event.what,
        What::StepSays { label, text } if label == "demo:s07@h1" && text.contains("writing /ROOT/s07")
    )));
}

#[test]
fn one_that_hangs_is_stopped_in_its_own_time_and_the_others_are_done() {
    let hang = "[steps.b]\nuses = \"shell\"\non = \"hosts\"\n\
                with = { path = \"/ROOT/never\", run = \"echo begun; sleep 600\" }\n";
    let recipe = note("a", "a", &[]) + hang + &note("c", "c", &[]);
    let rig = Rig::new(1, &recipe);
    let told = rig.build("stack");
    assert_eq!(told.of(Final::Ran), "a@h0 c@h0");
    let trouble = told.step("demo:b@h0").trouble.clone().unwrap();
    assert_eq!(trouble.message.as_str(), "took longer than 2s");
    assert_eq!(trouble.output.as_deref(), Some("begun"));
    assert_eq!(told.step("demo:c@h0").attempts, 1);
    assert_eq!(rig.machines[0].read("c.log"), "ran\n");
}

#[test]
fn after_a_lost_answer_each_is_looked_at_and_none_is_done_twice() {
    for cut in [false, true] {
        let recipe: String = (0..5)
            .map(|n| note(&format!("s{n}"), &format!("s{n}"), &[]))
            .collect();
        let rig = Rig::new(1, &recipe);
        let faults = &rig.machines[0].faults;
        let fault = if cut { &faults.cut } else { &faults.lose };
        fault.store(1, Ordering::SeqCst);
        let told = rig.build("stack");
        assert_eq!(told.summary.counts.ran, 5);
        for n in 0..5 {
            assert_eq!(told.step(&format!("demo:s{n}@h0")).attempts, 2);
            assert_eq!(rig.machines[0].read(&format!("s{n}.log")), "ran\n");
        }
        assert_eq!(rig.build("stack").summary.counts.satisfied, 5);
        // They shared one place, and go on in it.
        assert_eq!(rig.machines[0].most.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn what_has_not_begun_when_the_run_is_told_to_stop_is_left_alone() {
    // The first is at work until the program has been recalled.
    let first = "[steps.s0]\nuses = \"shell\"\non = \"hosts\"\nwith = { path = \"/ROOT/s0\", run = \": >/ROOT/begun; \
                 until ls -A /var/lib/foundry/rig/stamps | grep -q recall; do sleep 0.02; done\" }\n";
    let recipe = (1..4).fold(first.to_owned(), |recipe, n| {
        recipe + &note(&format!("s{n}"), &format!("s{n}"), &[])
    });
    let rig = Rig::new(1, &recipe);
    let (stop, begun) = (rig.stop.clone(), rig.machines[0].root.join("begun"));
    let pressing = std::thread::spawn(move || {
        let began = std::time::Instant::now();
        while !begun.exists() && began.elapsed().as_secs() < 30 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        stop.press();
    });
    let told = rig.build("stack");
    pressing.join().unwrap();
    assert!(told.summary.interrupted);
    assert_eq!(told.of(Final::Ran), "s0@h0");
    assert_eq!(told.of(Final::Skipped), "s1@h0 s2@h0 s3@h0");
    assert!(!rig.machines[0].root.join("s1").exists());
    let left = rig.machines[0].root.join("state/rig/stamps");
    for entry in std::fs::read_dir(left).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().contains("recall"), "{name:?}");
    }
    assert!(
        !told.events.iter().any(
            |event| matches!(&event.what, What::StepStarted { label } if label == "demo:s2@h0")
        )
    );
}

#[test]
fn a_step_that_lies_is_found_out_in_company_and_what_needs_it_does_not_run() {
    let lie = "[steps.lie]\nuses = \"lie\"\non = \"hosts\"\nwith = { path = \"/ROOT/never\" }\n";
    let recipe = note("a", "a", &[]) + lie + &note("after", "after", &["lie".to_owned()]);
    let rig = Rig::new(1, &recipe);
    let told = rig.build("stack");
    assert_eq!(told.of(Final::Ran), "a@h0");
    assert_eq!(told.of(Final::Blocked), "after@h0");
    let trouble = told.step("demo:lie@h0").trouble.clone().unwrap();
    assert_eq!(
        trouble.found[0].to_string(),
        "fact `kind` is absent, wanted file"
    );
    assert_eq!(trouble.output.unwrap().as_str(), "all done, trust me");
    assert!(!rig.machines[0].root.join("after").exists());
}

#[test]
fn a_secret_of_one_is_kept_out_of_what_all_of_them_say() {
    let recipe = r#"
[settings]
password = { type = "text", secret = true, default = "none", doc = "Secret" }
[steps.file]
uses = "note"
on   = "hosts"
with = { path = "/ROOT/password", text = "{{ settings.password }}" }
[steps.other]
uses = "shell"
on   = "hosts"
with = { path = "/ROOT/nowhere/other", run = "echo trying; env; set; cat /proc/[0-9]*/cmdline" }
"#;
    let mut rig = Rig::new(1, recipe);
    rig.set("{ password: \"${secret:demo:password}\" }");
    let canary = "c4nary-0f-the-mine";
    let secrets = BTreeMap::from([
        ("FOUNDRY_SECRET_demo_password", canary),
        ("FOUNDRY_SECRET_foundry_demo_password", canary),
    ]);
    let told = rig.build_with("stack", &secrets);
    assert_eq!(told.of(Final::Ran), "file@h0");
    assert_eq!(rig.machines[0].read("password"), canary);
    assert!(!told.json().contains(canary), "{}", told.json());
}

/// A step of a random recipe: what becomes of it, and which of the earlier ones it needs.
#[derive(Debug, Clone)]
struct Random {
    kind: Kind,
    needs: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Works,
    /// It is there already.
    There,
    Fails,
    Lies,
    /// It uses an output of the step before, if that is a note.
    Copies,
}

fn random() -> impl Strategy<Value = Vec<Random>> {
    let kind = prop_oneof![
        6 => Just(Kind::Works),
        1 => Just(Kind::There),
        1 => Just(Kind::Fails),
        1 => Just(Kind::Lies),
        1 => Just(Kind::Copies),
    ];
    let step = (
        kind,
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    );
    prop::collection::vec(step, 1..10).prop_map(|steps| {
        let steps = steps.into_iter().enumerate().map(|(at, (kind, needs))| {
            let needs = needs
                .iter()
                .filter(|_| at > 0)
                .map(|need| need.index(at))
                .collect();
            Random { kind, needs }
        });
        steps.collect()
    })
}

fn recipe(steps: &[Random]) -> String {
    let mut recipe = String::new();
    for (at, step) in steps.iter().enumerate() {
        let name = format!("s{at}");
        let needs: Vec<String> = step.needs.iter().map(|need| format!("s{need}")).collect();
        let source = (0..at)
            .rev()
            .find(|at| matches!(steps[*at].kind, Kind::Works | Kind::There));
        match (step.kind, source) {
            (Kind::Fails, _) => recipe += &note(&name, &format!("nowhere/{name}"), &needs),
            (Kind::Lies, _) => {
                let _ = writeln!(
                    recipe,
                    "[steps.{name}]\nuses = \"lie\"\non = \"hosts\"\nneeds = {needs:?}\nwith = {{ path = \"/ROOT/never\" }}"
                );
            }
            (Kind::Copies, Some(source)) => {
                let _ = writeln!(
                    recipe,
                    "[steps.{name}]\nuses = \"note\"\non = \"hosts\"\nneeds = {needs:?}\n\
                     with = {{ path = \"/ROOT/{name}\", text = \"{{{{ steps.s{source}.sha256 }}}}\" }}"
                );
            }
            _ => recipe += &note(&name, &name, &needs),
        }
    }
    recipe
}

/// Builds it with so many steps in one program; returns how each ended, and with what trouble.
fn outcomes(steps: &[Random], together: u32) -> (BTreeMap<String, (Final, String)>, u32) {
    let mut rig = Rig::new(2, &recipe(steps));
    rig.limits.together = together;
    for (at, step) in steps.iter().enumerate() {
        if matches!(step.kind, Kind::There) {
            for machine in &rig.machines {
                machine.write(&format!("s{at}"), &format!("text of s{at}\n"));
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
                std::fs::set_permissions(machine.root.join(format!("s{at}")), mode).unwrap();
            }
        }
    }
    let told = rig.build("stack");
    for (at, step) in steps.iter().enumerate() {
        for (need, host) in step.needs.iter().flat_map(|need| [(need, 0), (need, 1)]) {
            let label = format!("demo:s{at}@h{host}");
            let runs =
                |what: &What| matches!(what, What::StepStarted { label: of } if *of == label);
            let Some(begun) = told.events.iter().position(|event| runs(&event.what)) else {
                continue;
            };
            let need = format!("demo:s{need}@h{host}");
            assert!(finished(&told, &need) < begun, "{label} before {need}");
            assert!(told.step(&need).state.is_done(), "{label} after {need}");
        }
    }
    let ends = told.events.iter().filter_map(|event| match &event.what {
        What::StepFinished(step) => {
            let trouble = step
                .trouble
                .as_ref()
                .map(|trouble| trouble.message.as_str().to_owned());
            Some((
                step.label.clone(),
                (step.state, trouble.unwrap_or_default()),
            ))
        }
        _ => None,
    });
    (ends.collect(), told.summary.execs["h0"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn in_company_everything_ends_as_it_would_have_alone(steps in random()) {
        let (together, few) = outcomes(&steps, 32);
        let (alone, many) = outcomes(&steps, 1);
        prop_assert_eq!(together, alone);
        prop_assert!(few <= many, "{} execs in company, {} alone", few, many);
    }
}
