//! `foundry graph`: the steps and what comes before what, for Graphviz, Mermaid or programs. Connects to nothing.

use super::Global;
use super::exit::{CliError, CliResult};
use super::print::{print, print_data, print_json};
use super::session::Session;
use crate::graph::{Hosts, Links, dot, json, mermaid};
use crate::terminal::Page;

/// Shows the steps of a stack and what comes before what
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  foundry graph stack --format dot | dot -Tsvg > stack.svg
  foundry graph openbao --format mermaid
  foundry graph stack --format waves       what runs at the same time, and the longest path
  foundry graph openbao:service --hosts    one node a host, not one for all of them")]
pub struct GraphArgs {
    /// What to show: labels or expressions over them, with all that they need
    #[arg(default_value = "stack", value_name = "TARGET")]
    targets: Vec<String>,
    /// In which form
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// One node for every host, not one for all hosts that do the same
    #[arg(long)]
    hosts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// Graphviz
    #[default]
    Dot,
    /// Everything, for programs
    Json,
    /// Mermaid, for Markdown
    Mermaid,
    /// Waves of steps that can run at once, for people
    Waves,
}

/// Runs `foundry graph`.
pub fn graph(args: &GraphArgs, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let steps = session.select(&args.targets)?.steps;
    let hosts = if args.hosts {
        Hosts::Expanded
    } else {
        Hosts::Collapsed
    };
    match args.format {
        Format::Dot => print_data(&dot(&session.graph, &steps, hosts)),
        Format::Mermaid => print_data(&mermaid(&session.graph, &steps, hosts)),
        Format::Json => print_json(&json(&session.graph, &steps)),
        Format::Waves => {
            let links = Links::new(&session.graph);
            let waves = links.waves(&steps).map_err(CliError::usage)?;
            let (longest, _) = links.longest_path(&steps, |_| 1).map_err(CliError::usage)?;
            let mut out = Page::new();
            for (number, wave) in waves.iter().enumerate() {
                let _ = writeln!(out, "wave {} ({} steps)", number + 1, wave.len());
                for id in wave {
                    let _ = writeln!(out, "  {}", session.graph.step(*id).label);
                }
            }
            let _ = writeln!(
                out,
                "{} steps; the longest path, {} of them:",
                waves.iter().map(Vec::len).sum::<usize>(),
                longest.len()
            );
            for id in longest {
                let _ = writeln!(out, "  {}", session.graph.step(id).label);
            }
            print(&out)
        }
    }
}
