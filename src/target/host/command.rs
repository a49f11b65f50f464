//! The command line of the system's own `ssh` that reaches a host the way Foundry does: for people who want a shell there.
//! Starts nothing.

use std::process::Command;

use super::fleet::Fleet;
use super::known_hosts::{KnownHosts, one_line};
use super::route::{Hop, Route};
use super::settings::{AccessSettings, HostKeys};
use super::sudo::quote;
use super::trust::files;
use crate::config::HostId;
use crate::probe::{AccessError, AccessKind};

/// Returns the command that opens a shell on `host`; arguments may be added. For the machine itself, its shell.
///
/// # Errors
/// When there is no way to the host (jump hosts in a circle, an SSH configuration that can't be read).
pub fn ssh_command(fleet: &Fleet, host: HostId) -> Result<Command, AccessError> {
    if fleet.stack().host(host).local {
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        return Ok(Command::new(shell));
    }
    let route = fleet.route(host)?;
    let arguments = arguments(&route, fleet.settings()).ok_or_else(|| {
        super::error::access(
            &route.target().name,
            AccessKind::Local,
            "the paths of its key files are no text that ssh could be given",
        )
    })?;
    let mut command = Command::new("ssh");
    command.args(arguments);
    Ok(command)
}

/// All but the program itself; `None` if a path isn't UTF-8.
fn arguments(route: &Route, settings: &AccessSettings) -> Option<Vec<String>> {
    let hop = route.target();
    let mut arguments = vec!["-p".to_owned(), hop.port.to_string()];
    for identity in &hop.identities {
        arguments.extend(["-i".to_owned(), identity.to_str()?.to_owned()]);
    }
    let mut option = |text: String| arguments.extend(["-o".to_owned(), text]);
    known_hosts(hop, settings, &mut option)?;
    if let Some(before) = route.before() {
        // Not -J: that would take nothing of what the stack says of the jump host.
        let mut jump = vec!["ssh".to_owned()];
        jump.extend(self::arguments(&before, settings)?);
        jump.insert(1, "[%h]:%p".to_owned());
        jump.insert(1, "-W".to_owned());
        let words: Vec<String> = jump
            .iter()
            .enumerate()
            // ssh replaces %h and %p, and would any other %.
            .map(|(index, word)| match index {
                2 => quote(word),
                _ => quote(&word.replace('%', "%%")),
            })
            .collect();
        option(format!("ProxyCommand={}", words.join(" ")));
    } else {
        // The way is decided; a ProxyJump in ~/.ssh/config has been followed or overruled.
        option("ProxyJump=none".to_owned());
    }
    arguments.push(format!("{}@{}", hop.user, hop.address));
    Some(arguments)
}

/// The same host keys count as for Foundry.
fn known_hosts(
    hop: &Hop,
    settings: &AccessSettings,
    option: &mut impl FnMut(String),
) -> Option<()> {
    let files = files(
        hop,
        &settings.known_hosts,
        &settings.user_known_hosts,
        &settings.global_known_hosts,
    );
    if let Some(pinned) = &hop.host_key {
        let key: Vec<&str> = pinned.split_whitespace().take(2).collect();
        let mut lines = format!("%H {}", key.join(" "));
        // What is revoked stays so, whatever is pinned; ssh itself can't be told one without the rest of those files.
        for file in files {
            let known = KnownHosts::read(std::slice::from_ref(file)).unwrap_or_default();
            for revoked in known.revoked_lines(&hop.known_as()) {
                let line = one_line(revoked).ok()?;
                lines.push_str(&format!("\\n@revoked %H {line}"));
            }
        }
        option(format!("KnownHostsCommand=/usr/bin/printf \"{lines}\\n\""));
        option("UserKnownHostsFile=/dev/null".to_owned());
        option("GlobalKnownHostsFile=/dev/null".to_owned());
        option("StrictHostKeyChecking=yes".to_owned());
        return Some(());
    }
    let files: Option<Vec<String>> = files
        .into_iter()
        .map(|file| Some(format!("\"{}\"", file.to_str()?.replace('%', "%%"))))
        .collect();
    option(format!("UserKnownHostsFile={}", files?.join(" ")));
    let checking = match settings.host_keys {
        HostKeys::Strict => "yes",
        HostKeys::Ask if hop.rules.strict => "yes",
        HostKeys::Ask => "ask",
    };
    option(format!("StrictHostKeyChecking={checking}"));
    Some(())
}
