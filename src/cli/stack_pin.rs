//! `foundry stack pin`: writes down which digest everything that the stack downloads has. Connects to no host.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::print::{Output, print, print_json, say, warn};
use super::session::Session;
use crate::catalog::ImageRef;
use crate::config::{Pin, PinKey, Pins};
use crate::graph::Download;
use crate::ops::pins::{Alarm, Asked, Change, Settled, ask, missing, settle};
use crate::terminal::{Page, style};

/// Writes down which digest everything that the stack downloads has
#[derive(Debug, clap::Args)]
#[command(after_help = "\
stack.pins lies beside the config and belongs into version control. Entries that are there stay as they are; what the stack \
needs and the file lacks is asked for, through `mirrors`, and what nothing needs any more goes. A digest that is another one for the \
same version is never written without --accept.

Examples:
  foundry stack pin                     after the config, a version or Foundry itself has changed
  foundry stack pin --dry-run           what would change; exit code 2 if anything would
  foundry stack pin --update            ask for all of it anew: is upstream still what was pinned?
  foundry stack pin --accept grafana    take the new digest of a chart that was published again")]
pub struct PinArgs {
    /// Components, or expressions over labels; others' entries stay as they are
    #[arg(default_value = "stack", value_name = "COMPONENT")]
    components: Vec<String>,
    /// Ask for what has an entry, too
    #[arg(long)]
    update: bool,
    /// Name, address or image whose digest may become another one for the same version
    #[arg(long, value_name = "NAME")]
    accept: Vec<String>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a str,
    written: bool,
    added: &'a [Change],
    changed: &'a [Change],
    removed: &'a [Change],
    kept: usize,
    alarms: &'a [Alarm],
    missing: &'a [String],
    notes: &'a [String],
}

/// Runs `foundry stack pin`.
pub async fn pin(args: PinArgs, global: &Global) -> CliResult {
    let (session, pins) = Session::open_without_pins(global)?;
    let path = session.home.pins_path(global.config.as_deref())?;
    let whole = session.select(&["stack".to_owned()])?;
    let chosen = session.select(&args.components)?;
    let all = session.graph.downloads(&whole.steps);
    for step in &all.unknown {
        warn(&format!(
            "{step}: what it downloads is known only during a run, so it can't be pinned"
        ));
    }
    let mut work = Work {
        pins: &pins,
        used: all.list.iter().map(|one| one.key.clone()).collect(),
        chosen: keys(&session.graph.downloads(&chosen.steps).list),
        asked: Asked::default(),
        // What is to be accepted has to be asked for.
        update: args.update,
        accept: &args.accept,
        mirrors: &session.stack.mirrors,
    };
    work.ask(&all.list).await;
    work.images_of_manifests().await;
    for name in &args.accept {
        let mut known = pins.iter().chain(&work.asked.pins);
        if !known.any(|pin| pin.is_called(name)) {
            return Err(CliError::usage(format!(
                "nothing that the stack downloads is called `{name}`"
            ))
            .hint("`--accept` takes the name of an artifact or chart, an address, or an image with its tag"));
        }
    }
    let Asked {
        pins: found,
        missing,
        notes,
    } = work.asked;
    let settled = settle(&pins, &work.used, found, &args.accept);
    let (settled, alarms) = match settled {
        Ok(settled) => (Some(settled), Vec::new()),
        Err(alarms) => (None, alarms),
    };
    let good = settled.as_ref().filter(|_| missing.is_empty());
    let write = good.filter(|settled| !args.dry_run && !settled.is_same());
    if let Some(settled) = write {
        save(&path, &settled.pins)?;
    }
    let file = &pins.source.name;
    if args.output == Output::Json {
        let none: &[Change] = &[];
        print_json(&Report {
            file,
            written: write.is_some(),
            added: settled.as_ref().map_or(none, |settled| &settled.added),
            changed: settled.as_ref().map_or(none, |settled| &settled.changed),
            removed: settled.as_ref().map_or(none, |settled| &settled.removed),
            kept: settled.as_ref().map_or(0, |settled| settled.kept),
            alarms: &alarms,
            missing: &missing,
            notes: &notes,
        })?;
    }
    for note in &notes {
        say(note);
    }
    refuse(&alarms, &missing, file)?;
    let Some(settled) = settled else {
        return Ok(());
    };
    if args.output == Output::Text {
        print(&text(&settled, file, args.dry_run))?;
    }
    match args.dry_run && !settled.is_same() {
        true => Err(CliError::quiet(Ending::Pending)),
        false => Ok(()),
    }
}

fn keys(downloads: &[Download]) -> BTreeSet<PinKey> {
    downloads.iter().map(|one| one.key.clone()).collect()
}

struct Work<'a> {
    pins: &'a Pins,
    /// All that the stack downloads.
    used: BTreeSet<PinKey>,
    /// What was asked for on the command line.
    chosen: BTreeSet<PinKey>,
    asked: Asked,
    update: bool,
    accept: &'a [String],
    mirrors: &'a [crate::config::Mirror],
}

impl Work<'_> {
    async fn ask(&mut self, downloads: &[Download]) {
        let is_accepted = |one: &&Download| {
            let pin = self.pins.get(&one.key);
            pin.is_some_and(|pin| self.accept.iter().any(|name| pin.is_called(name)))
        };
        let mut wanted = missing(self.pins, downloads, &self.chosen, self.update);
        for one in downloads.iter().filter(is_accepted) {
            if !wanted.contains(one) {
                wanted.push(one.clone());
            }
        }
        if wanted.is_empty() {
            return;
        }
        say(&format!(
            "asking for {} digest{}",
            wanted.len(),
            if wanted.len() == 1 { "" } else { "s" }
        ));
        let asked = ask(wanted, self.mirrors).await;
        self.asked.pins.extend(asked.pins);
        self.asked.missing.extend(asked.missing);
        self.asked.notes.extend(asked.notes);
    }

    /// Images that manifests name are known once those are here, or stand in their entries.
    async fn images_of_manifests(&mut self) {
        let found: BTreeSet<PinKey> = self.asked.pins.iter().map(Pin::key).collect();
        let kept = self.pins.iter().filter(|pin| !found.contains(&pin.key()));
        let manifests: Vec<(PinKey, Vec<String>)> = kept
            .chain(&self.asked.pins)
            .filter(|pin| self.used.contains(&pin.key()) && !pin.images.is_empty())
            .map(|pin| (pin.key(), pin.images.clone()))
            .collect();
        let mut named: Vec<Download> = Vec::new();
        for (manifest, images) in manifests {
            let images = images
                .iter()
                .filter_map(|image| ImageRef::parse(image).ok());
            for download in images.filter_map(|image| Download::image(&image)) {
                if self.chosen.contains(&manifest) {
                    self.chosen.insert(download.key.clone());
                }
                self.used.insert(download.key.clone());
                if !found.contains(&download.key) && !named.contains(&download) {
                    named.push(download);
                }
            }
        }
        self.ask(&named).await;
    }
}

/// Says what stands in the way, all of it.
fn refuse(alarms: &[Alarm], missing: &[String], file: &str) -> CliResult {
    if !alarms.is_empty() {
        let mut message =
            format!("{file} was not written. The same version has another digest now:");
        for alarm in alarms {
            let _ = write!(
                message,
                "\n  {}\n    pinned {}\n    found  {} ({}, {})",
                alarm.what, alarm.pinned, alarm.found, alarm.source, alarm.url
            );
        }
        let accept: Vec<String> = alarms
            .iter()
            .map(|alarm| format!("--accept {}", alarm.name))
            .collect();
        let accept: BTreeSet<String> = accept.into_iter().collect();
        let accept: Vec<String> = accept.into_iter().collect();
        return Err(CliError::failed(message).hint(format!(
            "a published version should never change: find out who replaced it, and why. Then `foundry stack pin {}`",
            accept.join(" ")
        )));
    }
    if !missing.is_empty() {
        return Err(CliError::failed(format!(
            "{file} was not written, {} of what the stack downloads can't be had:\n  {}",
            missing.len(),
            missing.join("\n  ")
        ))
        .hint(
            "name the components that can be pinned from here, or set `mirrors:` in the config",
        ));
    }
    Ok(())
}

fn save(path: &Path, pins: &Pins) -> CliResult {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |error: std::io::Error| {
        CliError::failed(format!("can't write {}: {error}", path.display()))
    };
    let mut part = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        part.permissions(std::fs::Permissions::from_mode(0o644));
    }
    let mut part = part.prefix(".pins-").tempfile_in(folder).map_err(failed)?;
    part.write_all(pins.text().as_bytes()).map_err(failed)?;
    part.as_file().sync_all().map_err(failed)?;
    part.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn text(settled: &Settled, file: &str, dry_run: bool) -> Page {
    let mut out = Page::new();
    let short = |digest: &Option<String>| {
        let digest = digest.as_deref().unwrap_or_default();
        digest.get(..12).unwrap_or(digest).to_owned()
    };
    for one in &settled.added {
        let from = match &one.moved_from {
            Some(version) => format!(", was {version}"),
            None => String::new(),
        };
        let _ = writeln!(
            out,
            "{} {}  sha256 {} ({}{from})",
            style("+").green(),
            one.what,
            short(&one.after),
            one.source.as_deref().unwrap_or_default()
        );
    }
    for one in &settled.changed {
        let _ = writeln!(
            out,
            "{} {}  sha256 {} → {} (accepted)",
            style("~").yellow(),
            one.what,
            short(&one.before),
            short(&one.after)
        );
    }
    for one in &settled.removed {
        let _ = writeln!(out, "{} {}  no longer used", style("-").red(), one.what);
    }
    let _ = writeln!(
        out,
        "{file}: {} added, {} changed, {} removed, {} unchanged{}",
        settled.added.len(),
        settled.changed.len(),
        settled.removed.len(),
        settled.kept,
        if dry_run && !settled.is_same() {
            " (not written)"
        } else {
            ""
        }
    );
    out
}
