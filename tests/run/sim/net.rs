//! The way from a controller to the hosts of the simulation, and what goes wrong on it: delay, loss, parting, pauses of the
//! controller. Knows nothing of what is sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use foundry::config::HostId;
use foundry::probe::{
    AccessError, AccessKind, Door, Program, Reader, Readers, Reply, ServiceReader,
};
use foundry::run::lock::Clock;
use foundry::run::{ServiceWriter, Tunnel, Upload, Writer, Writers};
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until};

use super::host::Host;
use super::random::Random;

/// From when to when, since the beginning.
pub type Span = (Duration, Duration);

/// One controller's view of the world.
pub struct Net {
    pub began: Instant,
    pub hosts: Vec<Arc<Host>>,
    /// When the process stands still.
    pub pauses: Vec<Span>,
    /// When each host can't be reached from here.
    pub cuts: Vec<Vec<Span>>,
    /// One in so many programs, or answers, is lost; 0 for none.
    pub loss: u64,
    pub random: Mutex<Random>,
}

impl Net {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn unpaused(&self) {
        let now = self.now();
        if let Some((_, until)) = self
            .pauses
            .iter()
            .find(|(from, until)| *from <= now && now < *until)
        {
            sleep_until(self.began + *until).await;
        }
    }

    fn is_cut(&self, host: usize) -> bool {
        let now = self.now();
        self.hosts[host].is_down()
            || self.cuts[host]
                .iter()
                .any(|(from, until)| *from <= now && now < *until)
    }

    /// Waits until the link is cut.
    async fn cut(&self, host: usize) {
        while !self.is_cut(host) {
            sleep(Duration::from_secs(2)).await;
        }
    }

    fn below(&self, most: u64) -> u64 {
        self.random.lock().unwrap().below(most)
    }

    fn loses(&self) -> bool {
        self.loss > 0 && self.below(self.loss) == 0
    }

    async fn delay(&self) {
        let ms = match self.below(20) {
            0 => self.below(8000),
            _ => self.below(60),
        };
        sleep(Duration::from_millis(ms)).await;
    }

    fn error(&self, host: usize, kind: AccessKind, message: &str) -> AccessError {
        AccessError {
            host: Arc::clone(&self.hosts[host].name),
            kind,
            message: message.to_owned(),
            hint: None,
        }
    }

    async fn reach(&self, host: usize) -> Result<(), AccessError> {
        self.unpaused().await;
        if self.is_cut(host) {
            sleep(Duration::from_secs(8)).await;
            self.unpaused().await;
            return Err(self.error(host, AccessKind::Unreachable, "no route to host"));
        }
        Ok(())
    }

    async fn send(
        &self,
        host: usize,
        program: &Program,
        reply: &mut Reply,
        heard: &(dyn Fn(&[u8]) + Send + Sync),
    ) -> Result<(), AccessError> {
        let lost = |what| self.error(host, AccessKind::Lost, what);
        self.unpaused().await;
        self.delay().await;
        if self.is_cut(host) || self.loses() {
            sleep(Duration::from_secs(5)).await;
            self.unpaused().await;
            return Err(lost("the connection was lost"));
        }
        let machine = &self.hosts[host];
        let exec = machine.exec(program.text.expose());
        let deadline = Instant::now() + program.deadline;
        let over = async {
            loop {
                let news = exec.done.notified();
                if exec.is_over() || !machine.is_running(exec.number) {
                    return;
                }
                news.await;
            }
        };
        tokio::select! {
            biased;
            () = over => {}
            () = self.cut(host) => {
                sleep(Duration::from_secs(15)).await;
                *reply = Reply { status: None, ..exec.reply() };
                self.unpaused().await;
                return Err(lost("the connection was lost while a program ran"));
            }
            () = sleep_until(deadline) => {
                machine.kill(exec.number);
                self.unpaused().await;
                *reply = exec.reply();
                return Err(self.error(host, AccessKind::Deadline, "the program did not end in time"));
            }
        }
        self.delay().await;
        if self.is_cut(host) || self.loses() {
            sleep(Duration::from_secs(5)).await;
            self.unpaused().await;
            return Err(lost("the answer was lost"));
        }
        self.unpaused().await;
        *reply = exec.reply();
        heard(&reply.stdout);
        Ok(())
    }
}

struct Way {
    net: Arc<Net>,
    host: usize,
}

impl Reader for Way {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        self.run(program)
    }
}

impl Writer for Way {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(async move {
            let mut reply = Reply::default();
            self.net
                .send(self.host, program, &mut reply, &|_| {})
                .await?;
            Ok(reply)
        })
    }

    fn follow<'a>(
        &'a self,
        program: &'a Program,
        reply: &'a mut Reply,
        heard: &'a (dyn Fn(&[u8]) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(self.net.send(self.host, program, reply, heard))
    }

    fn upload_through<'a>(
        &'a self,
        _: &'a Upload,
        _: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(async {
            Err(self
                .net
                .error(self.host, AccessKind::Local, "no uploads here"))
        })
    }

    fn forward(&self, _: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        Box::pin(async {
            Err(self
                .net
                .error(self.host, AccessKind::Local, "no tunnels here"))
        })
    }
}

/// A controller's ways to all hosts.
pub struct Ways(pub Arc<Net>);

impl Readers for Ways {
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async move { Ok(self.writer(host).await? as Arc<dyn Reader>) })
    }

    fn service(&self, _: &str) -> Option<Arc<dyn ServiceReader>> {
        None
    }
}

impl Writers for Ways {
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        Box::pin(async move {
            let host = host.0 as usize;
            self.0.reach(host).await?;
            Ok(Arc::new(Way {
                net: Arc::clone(&self.0),
                host,
            }) as Arc<dyn Writer>)
        })
    }

    fn service_writer(&self, _: &str) -> Option<Arc<dyn ServiceWriter>> {
        None
    }
}

/// A clock in virtual time.
pub struct Virtual(pub Instant);

impl Clock for Virtual {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
