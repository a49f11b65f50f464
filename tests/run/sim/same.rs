//! The simulated host against a real shell: the same programs, sent to both, are answered alike.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foundry::config::HostId;
use foundry::probe::{
    AccessError, Door, Fence, Pass, Program, Reader, Readers, Reply, ServiceReader,
};
use foundry::run::fence::Held;
use foundry::run::lock::{
    BootClock, Clock, Controller, Lease, Patience, Request, SeenRuns, Terms, show, steal, take,
};
use foundry::run::{Fenced, Gate, ServiceWriter, Stop, Tunnel, Upload, Writer, Writers};
use futures::future::BoxFuture;

use super::super::rig::{Rig, voice};
use super::host::Host;
use super::random::Random;

/// Sends everything to both.
struct Twins {
    real: Arc<dyn Writers>,
    model: Arc<Host>,
    told: Arc<Mutex<u32>>,
}

struct Twin {
    real: Arc<dyn Writer>,
    model: Arc<Host>,
    told: Arc<Mutex<u32>>,
}

/// Ages may differ by the second that passes between the two.
fn alike(real: &str, model: &str) -> bool {
    let (real, model): (Vec<&str>, Vec<&str>) = (real.lines().collect(), model.lines().collect());
    let age = |line: &str| line.strip_prefix("age ")?.parse::<i64>().ok();
    real.len() == model.len()
        && real
            .iter()
            .zip(&model)
            .all(|(real, model)| match (age(real), age(model)) {
                (Some(real), Some(model)) => (real - model).abs() <= 1,
                _ => real == model,
            })
}

impl Writer for Twin {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(async move {
            let real = self.real.run(program).await?;
            let exec = self.model.exec(program.text.expose());
            loop {
                let news = exec.done.notified();
                if exec.is_over() {
                    break;
                }
                news.await;
            }
            let model = exec.reply();
            let (said, simulated) = (
                String::from_utf8(real.stdout.clone()).unwrap(),
                String::from_utf8(model.stdout).unwrap(),
            );
            assert!(
                real.status == model.status && alike(&said, &simulated),
                "the shell ({:?}):\n{said}{}\nthe simulation ({:?}):\n{simulated}\nof:\n{}",
                real.status,
                String::from_utf8_lossy(&real.stderr),
                model.status,
                program.text.expose()
            );
            *self.told.lock().unwrap() += 1;
            Ok(real)
        })
    }

    fn upload_through<'a>(
        &'a self,
        upload: &'a Upload,
        door: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        self.real.upload_through(upload, door)
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        self.real.forward(port)
    }
}

impl Reader for Twin {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        self.run(program)
    }
}

impl Readers for Twins {
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async move { Ok(self.writer(host).await? as Arc<dyn Reader>) })
    }

    fn service(&self, _: &str) -> Option<Arc<dyn ServiceReader>> {
        None
    }
}

impl Writers for Twins {
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        Box::pin(async move {
            Ok(Arc::new(Twin {
                real: self.real.writer(host).await?,
                model: Arc::clone(&self.model),
                told: Arc::clone(&self.told),
            }) as Arc<dyn Writer>)
        })
    }

    fn service_writer(&self, _: &str) -> Option<Arc<dyn ServiceWriter>> {
        None
    }
}

/// Sends one program through a fence.
async fn program(twins: &Arc<Twins>, random: &mut Random) {
    let (number, token) = (1 + random.below(6), ["aa", "bb"][random.below(2) as usize]);
    let gate = Gate::default();
    let clock: Arc<dyn Clock> = Arc::new(BootClock::default());
    let now = clock.now();
    let seen = random.once_in(3).then(|| (HostId(0), random.below(6)));
    gate.open(Held {
        pass: Pass {
            folder: "/var/lib/foundry/rig".to_owned(),
            fence: Fence {
                number,
                token: token.to_owned(),
                run: format!("run{number}{token}"),
                who: "it's ada@a desk".to_owned(),
            },
        },
        lease: Lease::new(clock, Terms::default(), now),
        host: "h0".into(),
        seen: seen.into_iter().collect(),
        waited: random.once_in(2),
        tell: voice().0,
        stop: Stop::new(),
    });
    let fenced = Fenced::new(
        Arc::clone(twins) as Arc<dyn Writers>,
        gate,
        ["h0".into()].into(),
    );
    let writer = fenced.writer(HostId(0)).await.unwrap();
    let program = Program {
        text: ":".to_owned().into(),
        deadline: Duration::from_secs(20),
    };
    // Refused or not: both say the same.
    let _ = writer.run(&program).await;
}

#[tokio::test]
async fn the_simulated_host_answers_as_a_real_shell_does() {
    let mut random = Random::new(11);
    let mut sent = 0;
    for _ in 0..30 {
        let rig = Rig::new(1, super::RECIPE);
        let stack = rig.graph().stack.clone();
        let twins = Arc::new(Twins {
            real: rig.writers(),
            model: Host::new("h0", random.fork(), true),
            told: Arc::default(),
        });
        let mut locks = Vec::new();
        for _ in 0..14 {
            match random.below(8) {
                0..3 => {
                    let (tell, _) = voice();
                    let stop = Stop::new();
                    let seen = SeenRuns {
                        highest: random.below(12),
                        ..SeenRuns::default()
                    };
                    let unreachable = BTreeMap::new();
                    let mut here = Controller::here();
                    if random.once_in(3) {
                        "1".clone_into(&mut here.born);
                    }
                    let request = Request {
                        here,
                        patience: Patience::For(Duration::ZERO),
                        ..Request::new(
                            &stack,
                            &[HostId(0)],
                            &unreachable,
                            &seen,
                            &*twins,
                            &tell,
                            &stop,
                        )
                    };
                    locks.extend(take(&request, &Gate::default()).await.ok());
                }
                3 => {
                    if let Some(lock) = locks.pop() {
                        let _ = lock.release().await;
                    }
                }
                4 => {
                    let seconds = [17, 47, 67, 400][random.below(4) as usize];
                    let alive = rig.machines[0].read("state/rig/alive");
                    if let Some((boot, up)) = alive.trim().split_once(' ') {
                        let up: i64 = up.parse().unwrap();
                        rig.machines[0]
                            .write("state/rig/alive", &format!("{boot} {}\n", up - seconds));
                        twins.model.age(seconds);
                    }
                }
                5 => {
                    let shown = show(&stack, &*twins).await.unwrap();
                    if let Some(found) = shown.held.filter(|_| random.once_in(2)) {
                        let _ = steal(&stack, &*twins, &found).await;
                    }
                }
                _ => program(&twins, &mut random).await,
            }
            let fence = std::fs::read_to_string(rig.machines[0].root.join("state/rig/fence")).ok();
            assert_eq!(fence, twins.model.fence_text());
        }
        sent += *twins.told.lock().unwrap();
    }
    assert!(sent > 300, "{sent}");
}
