//! `foundry support-bundle`: what whoever helps needs to see, without secrets. Looks, and changes nothing.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::Global;
use super::config::component_schemas;
use super::exit::{CliError, CliResult};
use super::look::look;
use super::plan;
use super::print::print;
use super::session::Session;
use super::wire::Wired;
use crate::config::effective;
use crate::ops::support::{self, Document};
use crate::report;
use crate::terminal::line;

/// How many runs' logs go along.
const RUNS: usize = 5;

/// Gathers what whoever helps you needs to see: config, plan, runs, hosts; without secrets
#[derive(Debug, Args)]
#[command(
    name = "support-bundle",
    after_help = "\
In it: the effective config, the plan with its reasons, the logs of the last five runs, and of each host its system, disks, \
addresses, failed units, and the journals of the units that the stack looks after. References to secrets stay references, \
and every secret that Foundry knows is taken out of every text. What programs themselves write into their journals, Foundry \
can't know: read it before you hand it to strangers.

Examples:
  foundry support-bundle
  foundry support-bundle /tmp/help.tar.gz"
)]
pub struct SupportArgs {
    /// Where to write it [default: foundry-support-STACK-TIME.tar.gz here]
    file: Option<PathBuf>,
}

/// Runs `foundry support-bundle`.
pub async fn support(args: SupportArgs, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let now = Timestamp::now();
    let path = args.file.unwrap_or_else(|| {
        PathBuf::from(format!(
            "foundry-support-{}-{}.tar.gz",
            session.stack.name,
            now.strftime("%Y%m%dT%H%M%SZ")
        ))
    });
    let wired = Wired::new(&session, global, None, None)?;
    let text = |name: &str, text: String| Document {
        name: name.to_owned(),
        text,
    };
    let about = json!({
        "foundry": env!("CARGO_PKG_VERSION"),
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "time": now.to_string(),
        "stack": session.stack.name,
    });
    let config = effective(&session.stack, &component_schemas(&session.catalog));
    let mut documents = vec![
        text("about.json", pretty(&about)?),
        text("config.json", pretty(&config)?),
    ];
    let selection = session.select(&["stack".to_owned()])?;
    // A stack that can't be planned is what help is wanted for.
    match look(&session, &wired, &selection, &|_| {}).await {
        Ok(looked) => {
            documents.push(text(
                "plan.txt",
                plan::text(&session, &looked, &selection, true).to_string(),
            ));
            documents.push(text(
                "plan.json",
                pretty(&plan::PlanJson::of(&session, &looked, &selection))?,
            ));
        }
        Err(error) => documents.push(text("plan.txt", format!("no plan: {error}\n"))),
    }
    documents.extend(support::hosts(&session.graph, &*wired.fleet).await);
    documents.extend(runs(&session)?);
    support::write(&path, &documents, &wired.masker)
        .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
    wired.fleet.close();
    print(&line(format_args!(
        "{} with {} files. Read it before you hand it on: journals are the programs' own words",
        path.display(),
        documents.len()
    )))
}

/// Returns the logs of the last runs, which were masked when they were written.
fn runs(session: &Session) -> Result<Vec<Document>, CliError> {
    let folder = session.home.runs();
    let entries = report::list(&folder).map_err(CliError::failed)?;
    Ok(entries
        .iter()
        .rev()
        .take(RUNS)
        .filter_map(|entry| {
            let name = format!("{}.jsonl", entry.run.run);
            let text = std::fs::read_to_string(folder.join(&name)).ok()?;
            Some(Document {
                name: format!("runs/{name}"),
                text,
            })
        })
        .collect())
}

fn pretty(value: &impl serde::Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(CliError::failed)
}
