//! Counts what is sent to each host and on behalf of one step. Does not know what it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;

use super::writer::{ServiceWriter, Tunnel, Upload, Writer, Writers};
use crate::config::HostId;
use crate::probe::{
    AccessError, Asked, Door, Facts, Fault, Program, Reader, Readers, Reply, ServiceReader,
};

/// Programs sent to each host, by `HostId`.
pub type Sent = Arc<[AtomicU32]>;

/// The ways of one step to its targets, with a meter in each.
pub struct Metered {
    inner: Arc<dyn Writers>,
    sent: Sent,
    round_trips: Arc<AtomicU32>,
}

/// One host or service, with the meter.
struct Counted<T: ?Sized> {
    inner: Arc<T>,
    host: Option<HostId>,
    sent: Sent,
    round_trips: Arc<AtomicU32>,
}

impl Metered {
    /// Puts a meter of its own into `inner`; what hosts are sent is added to `sent`.
    #[must_use]
    pub fn new(inner: Arc<dyn Writers>, sent: Sent) -> Self {
        Self {
            inner,
            sent,
            round_trips: Arc::default(),
        }
    }

    /// Returns how many programs and calls were sent through this.
    #[must_use]
    pub fn round_trips(&self) -> u32 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// Counts a program that was sent through the meter of another step, on behalf of this one too.
    pub fn share(&self) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    fn counted<T: ?Sized>(&self, inner: Arc<T>, host: Option<HostId>) -> Counted<T> {
        Counted {
            inner,
            host,
            sent: Arc::clone(&self.sent),
            round_trips: Arc::clone(&self.round_trips),
        }
    }
}

impl<T: ?Sized> Counted<T> {
    fn count(&self) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        if let Some(sent) = self.host.and_then(|host| self.sent.get(host.0 as usize)) {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Readers for Metered {
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async move {
            let reader: Arc<dyn Reader> =
                Arc::new(self.counted(self.inner.reader(host).await?, Some(host)));
            Ok(reader)
        })
    }

    fn service(&self, name: &str) -> Option<Arc<dyn ServiceReader>> {
        let inner = self.inner.service(name)?;
        Some(Arc::new(self.counted(inner, None)))
    }
}

impl Writers for Metered {
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        Box::pin(async move {
            let writer: Arc<dyn Writer> =
                Arc::new(self.counted(self.inner.writer(host).await?, Some(host)));
            Ok(writer)
        })
    }

    fn service_writer(&self, name: &str) -> Option<Arc<dyn ServiceWriter>> {
        let inner = self.inner.service_writer(name)?;
        Some(Arc::new(self.counted(inner, None)))
    }
}

impl Reader for Counted<dyn Reader> {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        self.count();
        self.inner.ask(program)
    }
}

impl Reader for Counted<dyn Writer> {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        self.count();
        self.inner.ask(program)
    }
}

impl Writer for Counted<dyn Writer> {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        self.count();
        self.inner.run(program)
    }

    fn follow<'a>(
        &'a self,
        program: &'a Program,
        reply: &'a mut Reply,
        heard: &'a (dyn Fn(&[u8]) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        self.count();
        self.inner.follow(program, reply, heard)
    }

    fn upload_through<'a>(
        &'a self,
        upload: &'a Upload,
        door: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        self.count();
        self.inner.upload_through(upload, door)
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        self.inner.forward(port)
    }
}

impl ServiceReader for Counted<dyn ServiceReader> {
    fn observe<'a>(&'a self, asked: &'a [Asked<'a>]) -> BoxFuture<'a, Vec<Result<Facts, Fault>>> {
        self.count();
        self.inner.observe(asked)
    }
}

impl ServiceWriter for Counted<dyn ServiceWriter> {
    fn apply<'a>(
        &'a self,
        action: &'a str,
        context: &'a super::writer::ActionContext<'a>,
    ) -> BoxFuture<'a, Result<(), super::writer::StepError>> {
        self.count();
        self.inner.apply(action, context)
    }
}
