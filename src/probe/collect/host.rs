//! What every batch tells of the host itself, read by the shell as far as it can. Knows no step.

use std::fmt::Write as _;

use crate::probe::fact::{Fault, HostFacts};
use crate::probe::fence::Fence;
use crate::probe::frame::{Frames, keeping};

use super::package;
use super::paths::PathAnswers;
use super::stat::Stat;
use super::wants::{Wants, fault};

/// What Linux makes anew for each process that looks at it, so that its time is now. It saves a process where there is
/// something else to `stat`.
pub(super) const NOW: &str = "/proc/self/fd";

/// Appends the questions of the host itself; returns how many processes that starts. Other collectors answer for the
/// architecture and for the time where they are asked anyway.
pub fn render(out: &mut String, wants: &Wants) -> u32 {
    let mut processes = 0;
    out.push_str(
        "__h=\n\
         __v() { __w=; IFS= read -r __w <\"$2\" && __h=\"$__h$1 $__w\n\"; }\n\
         __v kernel /proc/sys/kernel/osrelease\n\
         __v boot /proc/sys/kernel/random/boot_id\n\
         __v uptime /proc/uptime\n\
         while IFS= read -r __w; do __h=\"${__h}os $__w\n\"; done </etc/os-release\n",
    );
    if let Some(folder) = wants.stack_folder() {
        let _ = writeln!(
            out,
            "__d={folder}\n\
             [ ! -f \"$__d/fence\" ] || __v fence \"$__d/fence\"\n\
             [ ! -f \"$__d/lock.number\" ] || __v number \"$__d/lock.number\"\n\
             for __w in \"$__d\"/work/*; do [ ! -s \"$__w\" ] || {{ __h=\"${{__h}}work yes\n\"; break; }}; done"
        );
    }
    out.push_str("__o host \"$__h\"\n");
    if !wants.stat.contains(NOW) {
        keeping(out, "date '+clock %s'", None);
        processes += 1;
    }
    if wants.packages.is_empty() {
        out.push_str(
            "if command -v dpkg >/dev/null; then printf 'arch '; dpkg --print-architecture; \
             else printf 'machine '; uname -m; fi\n",
        );
        processes += 1;
    }
    out.push_str("__c host\n");
    processes
}

pub(super) fn read(frames: &Frames, stat: &PathAnswers<Stat>) -> Result<HostFacts, Fault> {
    let section = frames.section("host")?;
    let out = String::from_utf8_lossy(section.done("date", &[])?);
    let mut facts = HostFacts {
        processes: frames.end.unwrap_or_default(),
        ..HostFacts::default()
    };
    let mut uptime = None;
    let unquote = |text: &str| text.trim_matches(['"', '\'']).to_owned();
    for line in out.lines() {
        match line.split_once(' ') {
            Some(("kernel", text)) => text.clone_into(&mut facts.kernel),
            Some(("boot", text)) => text.clone_into(&mut facts.boot_id),
            Some(("uptime", text)) => {
                uptime = text.split('.').next().and_then(|text| text.parse().ok());
            }
            Some(("clock", text)) => facts.clock = text.parse().unwrap_or_default(),
            Some(("arch", text)) => text.clone_into(&mut facts.arch),
            Some(("fence", text)) => facts.fence = Fence::parse(text),
            Some(("number", text)) => {
                facts.lock_number = Fence::count(text.trim_matches([' ', '\t']));
            }
            Some(("work", _)) => facts.at_work = true,
            Some(("machine", text)) => facts.arch = debian(text).to_owned(),
            Some(("os", text)) => match text.split_once('=') {
                Some(("ID", id)) => facts.os = unquote(id),
                Some(("VERSION_CODENAME", name)) => facts.codename = unquote(name),
                _ => {}
            },
            _ => {}
        }
    }
    if let Some(Ok(Some(now))) = stat.get(NOW) {
        let seconds = now.mtime.div_euclid(1_000_000_000);
        facts.clock = seconds.try_into().unwrap_or_default();
    }
    facts.booted = uptime.map(|uptime: i64| facts.clock - uptime);
    if facts.arch.is_empty() {
        facts.arch = package::read(frames)
            .ok()
            .and_then(|installed| installed.native)
            .unwrap_or_default();
    }
    if facts.arch.is_empty() || facts.kernel.is_empty() || facts.clock == 0 {
        let said = format!("{} {}", frames.stray, section.err);
        let said = said.trim();
        return Err(fault(format!(
            "the host says neither what it is nor what time: {said}"
        )));
    }
    Ok(facts)
}

/// Debian's word for what `uname -m` says.
fn debian(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
