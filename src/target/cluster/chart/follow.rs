//! Follows the controller: from the HelmChart that was written to a release that is deployed, or to why it is not. Writes
//! nothing.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::api::Api;
use super::super::bundle::Applying;
use super::super::error::ClusterError;
use super::super::look::{Found, Look};
use super::super::object::{Ref, int_at, text_at};
use super::super::ready::{State, ready};
use super::super::trouble;
use super::super::wait::{shown, typed};
use super::order::ChartOrder;
use super::release::{self, Record, Releases};
use crate::run::StepError;

/// How often is looked.
const POLL: Duration = Duration::from_secs(1);

/// How long the controller may take to define its kinds on a cluster that has just come up.
const DEFINED: Duration = Duration::from_secs(90);

/// How long the controller may take to begin with what was written. After that, a release that is as wanted will do: what
/// was written made no difference to it.
const BEGIN: Duration = Duration::from_secs(30);

/// How long the status of a release may lag behind its Job.
const LAG: Duration = Duration::from_secs(10);

/// How often the Job's pods may fail where the Job itself would go on for hours.
const FAILURES: i64 = 5;

/// What was there before anything was written.
pub struct Before {
    job: Option<Value>,
    generation: Option<i64>,
    secret: Option<String>,
}

impl Before {
    /// Reads it.
    ///
    /// # Errors
    /// When the API would not tell.
    pub fn read(look: &Look, order: &ChartOrder) -> Result<Self, ClusterError> {
        Ok(Self {
            job: there(look, &order.job_at())?,
            generation: there(look, &order.chart_at())?
                .and_then(|chart| int_at(&chart, &["metadata", "generation"])),
            secret: there(look, &order.secret_at())?.and_then(|secret| {
                text_at(&secret, &["metadata", "resourceVersion"]).map(str::to_owned)
            }),
        })
    }

    /// Returns whether a Job is there.
    #[must_use]
    pub fn has_job(&self) -> bool {
        self.job.is_some()
    }

    /// Returns whether the Job has pods.
    #[must_use]
    pub fn job_runs(&self) -> bool {
        self.job
            .as_ref()
            .is_some_and(|job| int_at(job, &["status", "active"]).unwrap_or(0) > 0)
    }

    /// Returns whether the Job has given up.
    #[must_use]
    pub fn job_failed(&self) -> bool {
        self.job
            .as_ref()
            .is_some_and(|job| matches!(ready(job), State::Failed(_)))
    }

    fn job_uid(&self) -> Option<&str> {
        text_at(self.job.as_ref()?, &["metadata", "uid"])
    }
}

fn there(look: &Look, at: &Ref) -> Result<Option<Value>, ClusterError> {
    Ok(match look.find(at)? {
        Found::There(object) => Some(typed(look, at, object)),
        Found::UnknownKind | Found::Absent => None,
    })
}

/// Waits until the definition of HelmCharts is there, and returns what `read` makes of it.
///
/// # Errors
/// When it does not come.
pub async fn defined<T>(
    applying: &Applying<'_>,
    definition: &Ref,
    read: impl Fn(&Look) -> Result<Option<T>, ClusterError>,
) -> Result<T, StepError> {
    let end = Instant::now() + DEFINED;
    let places = std::slice::from_ref(definition);
    loop {
        let look = applying
            .api
            .patiently(|cluster| async move { Look::at(&cluster, places).await })
            .await?;
        if let Some(found) = read(&look)? {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(StepError::Failed {
                message: "the cluster knows no HelmChart: nobody there would install a chart"
                    .to_owned(),
                output: String::new(),
                hint: Some("K3s' helm controller brings it, unless `disable-helm-controller` is set on its servers".to_owned()),
                status: None,
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until no Job is at work on the release: what is written meanwhile would have the controller cut it off. Returns what
/// is there then, or when the time that a release may take is over. `aborts` tells whether a Job leaves a failed release alone.
///
/// # Errors
/// When the API would not tell.
pub async fn idle(
    applying: &Applying<'_>,
    order: &ChartOrder,
    aborts: bool,
) -> Result<(Before, Releases), StepError> {
    let end = Instant::now() + order.timeout;
    let mut said = false;
    loop {
        let before = Before::read(&order.look(applying).await?, order)?;
        let releases = applying
            .api
            .patiently(|cluster| async move {
                Releases::one(&cluster, &order.namespace, &order.name).await
            })
            .await?;
        let latest = releases.latest(&order.namespace, &order.name);
        let given_up = aborts && latest.is_some_and(|record| record.status == "failed");
        if !before.job_runs() || given_up || Instant::now() >= end {
            return Ok((before, releases));
        }
        if !said {
            (applying.say)("a release is under way already: waiting for its end");
            said = true;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Where the release is on its way.
enum Way {
    Done(Record),
    NotYet(String),
    Failed(String),
}

/// What a look along the way saw.
struct Sight {
    chart: Option<Value>,
    job: Option<Value>,
    releases: Releases,
}

/// Waits for the release that what was written leads to.
///
/// # Errors
/// When it fails or time is up.
pub async fn follow(
    applying: &Applying<'_>,
    order: &ChartOrder,
    before: &Before,
    written: &Look,
) -> Result<(), StepError> {
    let api = &applying.api;
    let after = Before::read(written, order)?;
    let changed = before.generation != after.generation || before.secret != after.secret;
    let started = Instant::now();
    // The Job itself keeps to the time-out; its pods are started before and its end is told after.
    let end = started + order.timeout + BEGIN;
    let mut complete_since = None;
    let mut said = String::new();
    loop {
        let way = match sight(api, order).await {
            Ok(sight) => {
                let way = judge(order, before, &sight, changed, started, &mut complete_since);
                match way {
                    Way::Done(record) => match verify(api, order, &record).await {
                        Ok(None) => return Ok(()),
                        Ok(Some(why)) if started.elapsed() < BEGIN => Way::NotYet(why),
                        Ok(Some(why)) => return Err(failure(api, order, why).await),
                        Err(error) if error.is_transient() => Way::NotYet(error.to_string()),
                        Err(error) => return Err(error.into()),
                    },
                    other => other,
                }
            }
            Err(error) if error.is_transient() => Way::NotYet(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        match way {
            Way::Failed(why) => return Err(failure(api, order, why).await),
            Way::Done(_) => return Ok(()),
            Way::NotYet(why) if Instant::now() >= end => {
                let why = format!("not released after {}: {why}", shown(order.timeout));
                return Err(failure(api, order, why).await);
            }
            Way::NotYet(why) => {
                if why != said {
                    (applying.say)(&why);
                    said = why;
                }
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn sight(api: &Api<'_>, order: &ChartOrder) -> Result<Sight, ClusterError> {
    let cluster = api.open().await?;
    let look = Look::at(&cluster, &order.places()).await?;
    Ok(Sight {
        chart: there(&look, &order.chart_at())?,
        job: there(&look, &order.job_at())?,
        releases: Releases::one(&cluster, &order.namespace, &order.name).await?,
    })
}

fn judge(
    order: &ChartOrder,
    before: &Before,
    sight: &Sight,
    changed: bool,
    started: Instant,
    complete_since: &mut Option<Instant>,
) -> Way {
    let latest = sight.releases.latest(&order.namespace, &order.name);
    let Some(job) = &sight.job else {
        return match refused(sight.chart.as_ref()) {
            Some(why) if started.elapsed() > BEGIN => Way::Failed(why),
            // The controller may clear its Job away some day; what it released stays.
            None if !changed && latest.is_some_and(|record| record.status == "deployed") => {
                done(latest)
            }
            _ => Way::NotYet("waiting for the helm controller to begin".to_owned()),
        };
    };
    let fresh = text_at(job, &["metadata", "uid"]) != before.job_uid();
    if changed && !fresh && started.elapsed() < BEGIN {
        return Way::NotYet("waiting for the helm controller to take up the change".to_owned());
    }
    let failures = int_at(job, &["status", "failed"]).unwrap_or(0);
    let status = latest.map_or("absent", |record| record.status.as_str());
    match ready(job) {
        State::Done if status == "deployed" => done(latest),
        State::Done => {
            let since = *complete_since.get_or_insert_with(Instant::now);
            let why = format!("the Job is complete and the release is {status}");
            if since.elapsed() > LAG {
                Way::Failed(why)
            } else {
                Way::NotYet(why)
            }
        }
        State::Failed(why) => Way::Failed(format!("its Job has failed: {why}")),
        // With `abort`, the controller's next try only says that it waits for a person.
        State::NotYet(_) if failures > 0 && status == "failed" => {
            Way::Failed("the release has failed".to_owned())
        }
        State::NotYet(why) if failures >= FAILURES => {
            Way::Failed(format!("its Job does not succeed: {why}"))
        }
        State::NotYet(why) => Way::NotYet(format!("the release is {status}; its Job: {why}")),
    }
}

fn done(latest: Option<&Record>) -> Way {
    latest.map_or_else(
        || Way::NotYet("the release is absent".to_owned()),
        |record| Way::Done(record.clone()),
    )
}

/// Returns why the controller made no Job, if it says so.
fn refused(chart: Option<&Value>) -> Option<String> {
    let conditions = chart?["status"]["conditions"].as_array()?;
    let failed = conditions
        .iter()
        .find(|one| one["type"] == "Failed" && one["status"] == "True")?;
    let text = |name: &str| failed[name].as_str().unwrap_or_default();
    Some(format!(
        "the helm controller says: {}: {}",
        text("reason"),
        text("message")
    ))
}

/// Returns what of the release is not as wanted.
async fn verify(
    api: &Api<'_>,
    order: &ChartOrder,
    record: &Record,
) -> Result<Option<String>, ClusterError> {
    let cluster = api.open().await?;
    let release = release::read(&cluster, record).await?;
    let plain = |version: &str| version.strip_prefix('v').unwrap_or(version).to_owned();
    let found = &release.chart.metadata.version;
    if order.version.is_empty() || plain(found) == plain(&order.version) {
        return Ok(None);
    }
    Ok(Some(format!(
        "revision {} is of version {found} of the chart, wanted {}",
        record.revision, order.version
    )))
}

/// Words a failure with what Helm, the Job and its pods say.
async fn failure(api: &Api<'_>, order: &ChartOrder, why: String) -> StepError {
    let mut output = String::new();
    if let Ok(sight) = sight(api, order).await
        && let Ok(cluster) = api.open().await
    {
        if let Some(latest) = sight.releases.latest(&order.namespace, &order.name) {
            let words = release::read(&cluster, latest).await.map_or_else(
                |error| error.to_string(),
                |release| release.info.description,
            );
            let _ = writeln!(
                output,
                "release: revision {} is {}: {words}",
                latest.revision, latest.status
            );
        }
        if let Some(words) = refused(sight.chart.as_ref()) {
            let _ = writeln!(output, "{words}");
        }
        if let Some(job) = &sight.job {
            output.push_str(&trouble::quote(&cluster, job).await);
        }
    }
    StepError::Failed {
        message: format!("chart {} in {}: {why}", order.name, order.namespace),
        output,
        hint: Some(
            "once the cause is mended, run again: what failed is taken out of the way, and what was deployed before stays"
                .to_owned(),
        ),
        status: None,
    }
}

/// Adds what the uninstalling Job says to the error of a removal.
///
/// # Errors
/// The removal's own.
pub async fn explain_removal(
    applying: &Applying<'_>,
    order: &ChartOrder,
    removed: Result<(), StepError>,
) -> Result<(), StepError> {
    let Err(StepError::Failed {
        message,
        mut output,
        hint,
        status,
    }) = removed
    else {
        return removed;
    };
    let name = format!("helm-delete-{}", order.name);
    let at = Ref::new("batch/v1", "Job", Some(super::order::SYSTEM), &name);
    if let Ok(cluster) = applying.api.open().await
        && let Ok(look) = Look::at(&cluster, std::slice::from_ref(&at)).await
        && let Ok(Some(job)) = there(&look, &at)
    {
        output.push('\n');
        output.push_str(&trouble::quote(&cluster, &job).await);
    }
    Err(StepError::Failed {
        message,
        output,
        hint,
        status,
    })
}
