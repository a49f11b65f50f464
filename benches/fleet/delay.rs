//! A connection over a long wire: what comes in is handed on only after the wire's latency, now and then after that of a
//! packet sent again. Does not know what is said.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// What a lost packet costs: the least that TCP waits before it sends again.
const SENT_AGAIN: Duration = Duration::from_millis(200);

/// How a wire behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire {
    /// There and back.
    pub latency: Duration,
    /// Which part of what is received was lost once.
    pub loss: f64,
}

/// One end of such a wire.
pub struct Delayed {
    stream: TcpStream,
    wire: Wire,
    /// What was received and from when on it may be read; a place in the first that was read in part.
    arrived: VecDeque<(Instant, Vec<u8>)>,
    read: usize,
    ended: bool,
    alarm: Pin<Box<Sleep>>,
    /// For what is lost.
    dice: u64,
}

impl Delayed {
    pub fn new(stream: TcpStream, wire: Wire, seed: u64) -> Self {
        Self {
            stream,
            wire,
            arrived: VecDeque::new(),
            read: 0,
            ended: false,
            alarm: Box::pin(sleep_until(Instant::now())),
            dice: seed | 1,
        }
    }

    fn latency(&mut self) -> Duration {
        // xorshift: nothing depends on its being any good.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let lost = (self.dice % 10_000) < (self.wire.loss * 10_000.0) as u64;
        self.wire.latency + if lost { SENT_AGAIN } else { Duration::ZERO }
    }

    /// Takes in whatever there is.
    fn receive(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.ended {
            let mut space = [0; 16 << 10];
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.ended = true,
                Poll::Ready(Ok(())) => {
                    let bytes = buffer.filled().to_vec();
                    let mut at = Instant::now() + self.latency();
                    if let Some((before, _)) = self.arrived.back() {
                        at = at.max(*before);
                    }
                    self.arrived.push_back((at, bytes));
                }
            }
        }
        Ok(())
    }
}

impl AsyncRead for Delayed {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.receive(context)?;
        loop {
            let Some((at, bytes)) = this.arrived.front() else {
                return if this.ended {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            };
            if *at > Instant::now() {
                this.alarm.as_mut().reset(*at);
                ready!(this.alarm.as_mut().poll(context));
                continue;
            }
            let left = &bytes[this.read..];
            let taken = left.len().min(buffer.remaining());
            buffer.put_slice(&left[..taken]);
            this.read += taken;
            if this.read == bytes.len() {
                this.arrived.pop_front();
                this.read = 0;
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for Delayed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
