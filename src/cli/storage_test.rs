//! `foundry storage test`: backends by their API, then a volume of each class in the cluster. Takes away what it made, whatever
//! happens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::look::look;
use super::print::{Output, print, print_json, seconds, warn};
use super::storage::{Backend, Reach, duration};
use super::storage_list::bytes_told;
use crate::catalog::Value;
use crate::ops::storage::{Outcome, Trial, Yard, YardError, try_class, view};
use crate::plan::Verdict;
use crate::run::lock::{Controller, Holder};
use crate::target::cluster::Cluster;
use crate::target::truenas::{self, TrueNasError};
use crate::terminal::{Page, block, line, one_line};

/// Longest that what was made may take to go away.
const CLEAR: Duration = Duration::from_secs(180);

#[derive(Debug, clap::Args)]
pub(super) struct TestArgs {
    /// Only this class, may be given several times; else all that there are
    #[arg(long, value_name = "NAME")]
    class: Vec<String>,
    /// Only backends: make nothing in the cluster
    #[arg(long, conflicts_with = "class")]
    backend_only: bool,
    /// Size of each volume; TrueNAS makes none below 1Gi
    #[arg(long, value_name = "SIZE", default_value = "1Gi", value_parser = size)]
    size: String,
    /// Image with sh, dd and sha256sum for the pods [default: as the component `storage` has it]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Longest that a class may take
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// End another test that seems to be under way
    #[arg(long)]
    take_over: bool,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn size(text: &str) -> Result<String, String> {
    crate::catalog::parse_size(text).map(|_| text.to_owned())
}

#[derive(Debug, Default, Serialize)]
struct Tested {
    ok: bool,
    backends: Vec<Checked>,
    classes: Vec<Outcome>,
    /// What was made and is still there, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<String>,
}

#[derive(Debug, Serialize)]
struct Checked {
    url: String,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    what: String,
    ok: bool,
    told: String,
}

/// Tests it all.
pub(super) async fn test(args: TestArgs, global: &Global) -> CliResult {
    let reach = Reach::open(global)?;
    let mut tested = Tested::default();
    for backend in reach.truenas().await? {
        let checked = check(&reach, &backend).await?;
        tell_backend(&checked, args.output)?;
        tested.backends.push(checked);
    }
    let mut interrupted = false;
    if args.backend_only {
        if tested.backends.is_empty() {
            return Err(
                CliError::usage("the stack has no storage backend with an API")
                    .hint("`foundry storage configure` sets one up"),
            );
        }
    } else {
        let cluster = reach.cluster().await?;
        interrupted = classes(&reach, &cluster, &args, &mut tested).await?;
    }
    reach.close();
    tested.ok = tested.left.is_none()
        && tested.classes.iter().all(|class| class.ok)
        && tested
            .backends
            .iter()
            .flat_map(|one| &one.checks)
            .all(|check| check.ok);
    if args.output == Output::Json {
        print_json(&tested)?;
    }
    match (interrupted, tested.ok) {
        (true, _) => Err(CliError::quiet(Ending::Interrupted)),
        (false, true) => Ok(()),
        (false, false) => Err(CliError::quiet(Ending::Failed)),
    }
}

/// Asks a backend whether it takes the key, and whether what the stack wants of it is there.
async fn check(reach: &Reach, backend: &Backend) -> Result<Checked, CliError> {
    let mut checks = Vec::new();
    let check = |what: &str, told: Result<String, String>| Check {
        what: what.to_owned(),
        ok: told.is_ok(),
        told: told.unwrap_or_else(|words| words),
    };
    let words = |error: TrueNasError| match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    };
    let opened = async {
        let client = reach
            .backends
            .open(backend.connection.as_ref()?)
            .await
            .map_err(words)?;
        let version = truenas::version(&client).await.map_err(words)?;
        Ok::<_, String>((client, version))
    };
    let client = match opened.await {
        Err(words) => {
            checks.push(check("login", Err(words)));
            None
        }
        Ok((client, version)) => {
            checks.push(check(
                "login",
                Ok(format!("TrueNAS {version} takes the key")),
            ));
            Some(client)
        }
    };
    if let Some(client) = client {
        match truenas::roles(&client).await {
            Err(error) => checks.push(check("roles", Err(words(error)))),
            // Where it does not tell, its answers to the steps do.
            Ok(roles) if roles.is_empty() => {}
            Ok(roles) => checks.push(check("roles", enough(reach, backend, &roles))),
        }
        match truenas::pools(&client).await {
            Err(error) => checks.push(check("pools", Err(words(error)))),
            Ok(pools) => {
                for name in &backend.pools {
                    let told = match pools.iter().find(|pool| pool.name == *name) {
                        None => Err("there is none".to_owned()),
                        Some(pool) if pool.status == "ONLINE" => {
                            let free = pool.free.map(bytes_told).unwrap_or_default();
                            Ok(format!("{}, {free} free", pool.status))
                        }
                        Some(pool) => {
                            let detail = pool.status_detail.clone().unwrap_or_default();
                            Err(format!("{}: {detail}", pool.status))
                        }
                    };
                    checks.push(check(&format!("pool {name}"), told));
                }
            }
        }
        checks.extend(steps(reach, backend).await?);
    }
    Ok(Checked {
        url: backend.url.clone(),
        checks,
    })
}

/// Says whether a key's roles are enough for the steps on its backend.
fn enough(reach: &Reach, backend: &Backend, roles: &BTreeSet<String>) -> Result<String, String> {
    const ALL: &str = "FULL_ADMIN";
    if roles.contains(ALL) {
        return Ok(ALL.to_owned());
    }
    let actions = backend.steps.iter().filter_map(|step| {
        let task = reach.session.graph.step(*step).task.as_ref()?;
        task.apply.as_ref()?.action.as_deref()
    });
    let lacking: BTreeSet<String> = actions
        .map(truenas::roles_for)
        .filter(|wanted| !wanted.iter().any(|role| roles.contains(*role)))
        .map(|wanted| wanted.join(" or "))
        .collect();
    if lacking.is_empty() {
        return Ok("all that the stack's steps need".to_owned());
    }
    let lacking: Vec<String> = lacking.into_iter().collect();
    Err(format!("the key's user lacks {}", lacking.join(", ")))
}

/// Looks at what the stack wants of a backend, as a plan does.
async fn steps(reach: &Reach, backend: &Backend) -> Result<Vec<Check>, CliError> {
    let graph = &reach.session.graph;
    let labels: Vec<String> = backend
        .steps
        .iter()
        .map(|step| graph.step(*step).label.to_string())
        .collect();
    let selection = reach.session.select(&labels)?;
    let looked = look(&reach.session, &reach.wired, &selection, &|_| {}).await?;
    let told = backend.steps.iter().filter_map(|id| {
        let decision = looked.plan.decision(*id)?;
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        let ok = decision.verdict == Verdict::Satisfied;
        Some(Check {
            what: graph.step(*id).label.to_string(),
            ok,
            told: if ok {
                "as wanted".to_owned()
            } else {
                reasons.join("; ")
            },
        })
    });
    Ok(told.collect())
}

/// Tries all classes at once; returns whether the person interrupted it.
async fn classes(
    reach: &Reach,
    cluster: &Arc<Cluster>,
    args: &TestArgs,
    tested: &mut Tested,
) -> Result<bool, CliError> {
    let there: Vec<String> = view(&cluster.client)
        .await
        .map_err(CliError::failed)?
        .classes
        .into_iter()
        .map(|class| class.name)
        .collect();
    if let Some(missing) = args.class.iter().find(|name| !there.contains(name)) {
        return Err(
            CliError::usage(format!("the cluster has no storage class `{missing}`"))
                .hint(format!("it has {}", there.join(", "))),
        );
    }
    let wanted = if args.class.is_empty() {
        &there
    } else {
        &args.class
    };
    if wanted.is_empty() {
        return Err(CliError::failed("the cluster has no storage class")
            .hint("`foundry build storage` makes those of the config"));
    }
    let image = image(reach, args)?;
    let here = Controller::here();
    let yard = Yard::take(
        &cluster.client,
        &holder(&here)?,
        &here,
        args.timeout + CLEAR,
        args.take_over,
    )
    .await
    .map_err(shown)?;
    let trial = Trial {
        namespace: yard.namespace(),
        image,
        size: args.size.clone(),
        limit: args.timeout,
    };
    let say = |words: &str| tracing::info!("{words}");
    let trials = wanted
        .iter()
        .map(|class| try_class(cluster, &trial, class, &say));
    let interrupted = tokio::select! {
        outcomes = futures::future::join_all(trials) => {
            tested.classes = outcomes;
            false
        }
        _ = tokio::signal::ctrl_c() => true,
    };
    if interrupted {
        warn("interrupted: taking away what was made; a second Ctrl-C leaves it to the next test");
    }
    let cleared = tokio::select! {
        cleared = yard.clear(CLEAR) => cleared.map_err(|error| error.to_string()),
        _ = tokio::signal::ctrl_c() => Err(format!("namespace {} is", yard.namespace())),
    };
    if args.output == Output::Text {
        for outcome in &tested.classes {
            print(&told(outcome))?;
        }
    }
    if let Err(left) = cleared {
        warn(&format!(
            "not all that was made is gone: {left}; the next test takes it away"
        ));
        tested.left = Some(left);
    }
    Ok(interrupted)
}

fn shown(error: YardError) -> CliError {
    let held = matches!(error, YardError::Held(_));
    let shown = CliError::failed(error);
    if held {
        shown.hint("if it is not, `--take-over` ends it")
    } else {
        shown
    }
}

fn holder(here: &Controller) -> Result<Holder, CliError> {
    let mut token = [0; 8];
    getrandom::fill(&mut token).map_err(|error| {
        CliError::failed(format!("this machine gives no random numbers: {error}"))
    })?;
    Ok(Holder {
        token: hex::encode(token),
        run: "storage-test".to_owned(),
        who: here.who.clone(),
        machine: here.machine.clone(),
        pid: here.pid,
        born: here.born.clone(),
        command: "foundry storage test".to_owned(),
        started: Timestamp::now().to_string(),
        party: None,
    })
}

/// Returns the image of the table of versions, unless the person gave one.
fn image(reach: &Reach, args: &TestArgs) -> Result<String, CliError> {
    if let Some(image) = &args.image {
        return Ok(image.clone());
    }
    let field = |value: &Value, name: &str| match value {
        Value::Map(entries) => entries.get(name).cloned(),
        _ => None,
    };
    let known = reach.session.catalog.versions.get("storage");
    let images = known.and_then(|known| field(&known.values, "images"));
    match images.and_then(|images| field(&images, "busybox")) {
        Some(Value::Text(image)) => Ok(image),
        _ => Err(
            CliError::usage("the table of versions names no image to test with")
                .hint("give one by `--image`"),
        ),
    }
}

fn tell_backend(checked: &Checked, output: Output) -> CliResult {
    if output == Output::Json {
        return Ok(());
    }
    let mut text = line(format_args!("TrueNAS {}", checked.url));
    for check in &checked.checks {
        let mark = if check.ok { '✓' } else { '✗' };
        let told = one_line(&check.told);
        text.line(format_args!("  {mark} {}: {told}", check.what));
    }
    print(&text)
}

fn told(outcome: &Outcome) -> Page {
    match (&outcome.why, outcome.seconds) {
        (Some(why), _) => {
            let mut text = block(format_args!("✗ class {}: {why}", outcome.class));
            for told in &outcome.told {
                text.words("    ", told);
            }
            text
        }
        (None, took) => line(format_args!(
            "✓ class {}: volume {} bound, written and read back, in {}",
            outcome.class,
            outcome.volume.as_deref().unwrap_or("?"),
            seconds(Duration::from_secs_f64(took.unwrap_or_default())),
        )),
    }
}
