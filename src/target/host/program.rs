//! Runs programs as root on a machine, and stops those that hang or that nobody waits for any more. Knows nothing of what
//! they do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::words;
use super::machine::Machine;
use super::sudo::Sudo;
use super::wire::{Heard, unheard};
use crate::probe::{AccessError, AccessKind, Program, Reply};

/// Said first on standard error by every program, and taken away again: the process to stop if it hangs. sshd itself
/// takes no signals for root's sessions, and none for what runs under sudo. A shell reads files byte by byte; its folder in
/// `/proc` takes three calls of the system.
const SAY_PID: &str = "cd -P /proc/self; echo \"foundry-pid ${PWD##*/}\" >&2; cd /\n";
const PID: &str = "foundry-pid ";

/// Stops the process `$root` and all that descend from it, if it still is what we started.
const STOP: &str = include_str!("stop.sh");

/// Time for stopping a program.
const STOPPING: Duration = Duration::from_secs(10);

impl Machine {
    pub(super) async fn shell(
        &self,
        sudo: &Sudo,
        program: &Program,
        reply: &mut Reply,
        heard: &Heard<'_>,
    ) -> Result<(), AccessError> {
        let shell = sudo.shell(&self.title);
        let text = [SAY_PID.as_bytes(), program.text.expose().as_bytes()];
        let mut running = Running {
            machine: self,
            sudo,
            reply: Reply::default(),
        };
        self.execs.fetch_add(1, Ordering::Relaxed);
        let result = self
            .wire
            .program(&shell, &text, program.deadline, &mut running.reply, heard)
            .await;
        let pid;
        (*reply, pid) = running.ended();
        match result {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind, AccessKind::Deadline | AccessKind::Host) => {
                if let Some(pid) = pid {
                    self.stop(sudo, pid).await;
                }
                Err(with_words(error, &reply.stderr))
            }
            Err(error) => Err(error),
        }
    }

    /// Stops what a program started; as good as it gets.
    async fn stop(&self, sudo: &Sudo, pid: u32) {
        let text = format!("root={pid}\n{STOP}");
        self.execs.fetch_add(1, Ordering::Relaxed);
        let mut reply = Reply::default();
        let (shell, text) = (sudo.shell(&self.title), [text.as_bytes()]);
        let stopped = self
            .wire
            .program(&shell, &text, STOPPING, &mut reply, &unheard);
        if let Err(error) = stopped.await {
            tracing::warn!(host = %self.wire.host(), pid, "a program could not be stopped: {}", error.message);
        }
    }
}

/// A program under way. Dropped before its end (nobody waits for it any more), it is stopped.
struct Running<'a> {
    machine: &'a Machine,
    sudo: &'a Sudo,
    reply: Reply,
}

impl Running<'_> {
    /// Takes the answer, and the process that gave it.
    fn ended(mut self) -> (Reply, Option<u32>) {
        let pid = take_pid(&mut self.reply.stderr);
        (std::mem::take(&mut self.reply), pid)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(pid) = take_pid(&mut self.reply.stderr) else {
            return;
        };
        if let (Some(machine), Ok(runtime)) = (
            self.machine.me.upgrade(),
            tokio::runtime::Handle::try_current(),
        ) {
            let sudo = self.sudo.clone();
            runtime.spawn(async move { machine.stop(&sudo, pid).await });
        }
    }
}

/// Cuts the line of [`SAY_PID`] out of what was said.
fn take_pid(stderr: &mut Vec<u8>) -> Option<u32> {
    // sudo may have had something to say first.
    let start = stderr
        .windows(PID.len())
        .position(|window| window == PID.as_bytes())?;
    let end = start + stderr[start..].iter().position(|&byte| byte == b'\n')?;
    let pid = std::str::from_utf8(&stderr[start + PID.len()..end])
        .ok()?
        .parse()
        .ok()?;
    stderr.drain(start..=end);
    Some(pid)
}

fn with_words(mut error: AccessError, stderr: &[u8]) -> AccessError {
    let said = words(stderr, 512);
    if !said.is_empty() {
        error.message.push_str("; it last said: ");
        error.message.push_str(&said);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_taken_out_of_what_was_said() {
        for (said, pid, left) in [
            ("foundry-pid 17\nrest\n", Some(17), "rest\n"),
            (
                "sudo: unable to resolve host\nfoundry-pid 17\n",
                Some(17),
                "sudo: unable to resolve host\n",
            ),
            ("foundry-pid 17", None, "foundry-pid 17"),
            ("foundry-pid x\n", None, "foundry-pid x\n"),
            ("nothing", None, "nothing"),
        ] {
            let mut stderr = said.as_bytes().to_vec();
            assert_eq!(take_pid(&mut stderr), pid, "{said}");
            assert_eq!(String::from_utf8(stderr).unwrap(), left);
        }
    }
}
