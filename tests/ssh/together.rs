//! Several steps in one program over a real connection: one exec, each with an end of its own, told of as it comes.

use std::sync::atomic::AtomicBool;

use foundry::catalog::{Collector, Effect, Template, Value, Values};
use foundry::probe::{Application, Applications, Applied, Ask, Ended, Job, Nonce, Question, Stamp};

use super::*;

/// A stack of this test alone, whose folder on this machine goes with it.
struct Folder(String);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new("/var/lib/foundry").join(&self.0));
    }
}

/// Puts scripts into one program; each is a step that asks for `path` afterwards.
fn application(folder: &Folder, path: &Path, scripts: &[(&str, u64)]) -> Application {
    let path = path.to_str().unwrap();
    let values = Values::from_iter([("path".to_owned(), Value::Text(path.to_owned()))]);
    let mut all = Applications::new(&folder.0, Nonce::draw().unwrap(), None);
    for (number, (script, seconds)) in scripts.iter().enumerate() {
        let effect = Effect {
            script: Some((*script).to_owned()),
            stdin: Some(Template(format!("käse ☃ '{number}' \\n $HOME\n"))),
            action: None,
            timeout: Duration::from_secs(*seconds),
            tries: 1,
        };
        let ask = Ask {
            label: format!("test:s{number}"),
            questions: vec![Question {
                collector: Collector::Stat,
                prefix: String::new(),
                subject: Value::Text(format!("{path}/{number}")),
                secret: false,
            }],
            unnamed: Vec::new(),
            script: None,
            stamp: format!("test/s{number}"),
        };
        let stamp = Stamp {
            key: format!("{number:02}"),
            inputs: BTreeMap::new(),
            public: None,
        };
        let job = Job {
            effect: &effect,
            values: &values,
            ask,
            stack: &folder.0,
            stamp: Some(&stamp),
            by_stamp: true,
        };
        all.add(job).unwrap();
    }
    all.finish()
}

fn kind(applied: &Applied) -> &str {
    let found = applied.found.as_ref().unwrap();
    found.facts.as_ref().unwrap()["kind"].value()
}

fn folder(name: &str) -> Option<Folder> {
    if !nix::unistd::geteuid().is_root() {
        skip("needs root, for /var/lib/foundry");
        return None;
    }
    Some(Folder(format!("ssh-test-{name}-{}", std::process::id())))
}

#[tokio::test]
async fn twelve_steps_are_one_exec_and_each_has_its_own_end() {
    let (Some(sshd), Some(folder)) = (Sshd::start(""), folder("twelve")) else {
        return;
    };
    let fleet = fleet(&sshd);
    let place = sshd.path("place");
    std::fs::create_dir(&place).unwrap();
    let work = "cat >\"$path/${label#test:s}\"; echo did \"$label\"";
    // Goes on once the test has heard that it has begun: the answer streams.
    let heard_of = "until [ -e \"$path/heard\" ]; do sleep 0.02; done; cat >\"$path/2\"";
    let mut scripts = [(work, 30); 12];
    scripts[2] = (heard_of, 30);
    scripts[4] = ("echo no; exit 3", 30);
    scripts[7] = ("echo slow; sleep 600", 1);
    let application = application(&folder, &place, &scripts);
    let progress = Mutex::new(application.progress());
    let order = Mutex::new(Vec::new());
    let heard = |stdout: &[u8]| {
        for number in progress.lock().unwrap().begun(stdout) {
            order.lock().unwrap().push(number);
            if number == 2 {
                std::fs::write(place.join("heard"), "").unwrap();
            }
        }
    };
    let mut reply = Reply::default();
    let writer = fleet.writer(H).await.unwrap();
    writer
        .follow(application.program(), &mut reply, &heard)
        .await
        .unwrap();
    assert_eq!((fleet.execs(H), fleet.connections()), (1, 1));
    assert_eq!(*order.lock().unwrap(), (0..12).collect::<Vec<_>>());
    let all = application.read_all(&reply);
    for (number, applied) in all.iter().enumerate() {
        let wanted = match number {
            4 => Ended::Status(3),
            7 => Ended::TookTooLong,
            _ => Ended::Well,
        };
        assert_eq!(applied.ended, wanted, "{number}: {applied:?}");
        if wanted != Ended::Well {
            assert!(applied.stamped.is_none() && applied.found.is_none());
            continue;
        }
        assert_eq!(applied.stamped, Some(Ok(())));
        assert_eq!(kind(applied), "file");
        let stamp = applied.found.as_ref().unwrap().stamp.clone().unwrap();
        assert_eq!(stamp.key, format!("{number:02}"));
        let text = std::fs::read_to_string(place.join(number.to_string())).unwrap();
        assert_eq!(text, format!("käse ☃ '{number}' \\n $HOME\n"));
    }
    assert_eq!(all[4].output, "no");
    assert_eq!(all[7].output, "slow");
    assert_eq!(all[11].output, "did test:s11");
}

#[tokio::test]
async fn of_a_cut_program_what_came_is_known_and_the_rest_is_not() {
    let (Some(sshd), Some(folder)) = (Sshd::start(""), folder("cut")) else {
        return;
    };
    let fleet = fleet(&sshd);
    let place = sshd.path("place");
    std::fs::create_dir(&place).unwrap();
    let scripts = [
        ("cat >\"$path/0\"", 30),
        ("exit 9", 30),
        ("exec sleep 600", 30),
        ("cat >\"$path/3\"", 30),
    ];
    let application = application(&folder, &place, &scripts);
    let progress = Mutex::new(application.progress());
    let third = AtomicBool::new(false);
    let heard = |stdout: &[u8]| {
        if progress.lock().unwrap().begun(stdout).contains(&2) {
            third.store(true, Ordering::SeqCst);
        }
    };
    let mut reply = Reply::default();
    let writer = fleet.writer(H).await.unwrap();
    let (result, ()) = tokio::join!(
        writer.follow(application.program(), &mut reply, &heard),
        async {
            eventually("the third begins", || third.load(Ordering::SeqCst)).await;
            sshd.kill_sessions();
        }
    );
    assert_eq!(result.unwrap_err().kind, AccessKind::Lost);
    let all = application.read_all(&reply);
    let ended: Vec<Ended> = all.iter().map(|applied| applied.ended).collect();
    assert_eq!(
        ended,
        [Ended::Well, Ended::Status(9), Ended::Cut, Ended::Cut]
    );
    // It ended well, but nobody has looked at it since.
    assert!(all[0].found.as_ref().unwrap().whole.is_err());
}
