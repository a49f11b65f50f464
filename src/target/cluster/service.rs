//! The adapter for steps on `service:cluster`: all of a round's questions in one list call for each kind. Does not make the
//! cluster.

use std::sync::Arc;

use futures::future::{BoxFuture, join_all};

use super::api::Api;
use super::bundle::Applying;
use super::chart::Releases;
use super::error::ClusterError;
use super::look::Look;
use super::object::{Owner, Ref};
use super::session::{Access, Cluster, Sessions};
use super::steps::Job;
use super::veil::Veil;
use crate::config::Stack;
use crate::probe::{Asked, Facts, Fault, ServiceReader};
use crate::run::{ActionContext, ServiceWriter, StepError, Writers};
use crate::secret::Masker;
use crate::target::group::senseless;
use crate::target::inputs::wrong;

pub use super::steps::SERVICE_ACTIONS;

/// Observes and changes the cluster.
pub struct ClusterService {
    sessions: Sessions,
    stack: Arc<Stack>,
    masker: Arc<Masker>,
    force: bool,
}

impl ClusterService {
    /// Makes the adapter; connects to nothing yet. `masker` knows what may not be shown; with `force_conflicts` fields that
    /// other managers set are taken over.
    #[must_use]
    pub fn new(
        writers: Arc<dyn Writers>,
        access: Access,
        stack: Arc<Stack>,
        masker: Arc<Masker>,
        force_conflicts: bool,
    ) -> Self {
        Self {
            sessions: Sessions::new(writers, access),
            stack,
            masker,
            force: force_conflicts,
        }
    }

    /// Returns the connection that steps use, for commands that ask the cluster something themselves.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    fn veil(&self) -> Veil<'_> {
        Veil(&self.masker)
    }

    fn owner<'a>(&'a self, component: &'a str) -> Owner<'a> {
        Owner {
            stack: &self.stack.name,
            component,
        }
    }

    async fn round(&self, asked: &[Asked<'_>]) -> Result<Vec<Result<Facts, Fault>>, ClusterError> {
        let hosts = asked.first().map_or(&[][..], |asked| asked.hosts);
        let cluster = self.sessions.open(hosts).await?;
        let reads: Vec<_> = asked.iter().map(|asked| self.read(asked)).collect();
        let jobs = join_all(reads).await;
        let places: Vec<Ref> = jobs.iter().flatten().flat_map(Job::places).collect();
        let look = Look::at(&cluster, &places).await?;
        tracing::debug!(
            steps = asked.len(),
            objects = places.len(),
            lists = look.requests(),
            "looked at the cluster"
        );
        let releases = if jobs.iter().flatten().any(Job::is_chart) {
            Releases::all(&cluster).await?
        } else {
            Releases::default()
        };
        let seen = Seen {
            cluster: &cluster,
            look: &look,
            releases: &releases,
            veil: self.veil(),
        };
        let answers: Vec<_> = jobs
            .iter()
            .zip(asked)
            .map(|(job, asked)| self.answer(&seen, job, asked))
            .collect();
        Ok(join_all(answers).await)
    }

    async fn read(&self, asked: &Asked<'_>) -> Result<Job, Fault> {
        Job::read(asked.action, asked.inputs, &self.stack)
            .await
            .map_err(senseless)
    }

    async fn answer(
        &self,
        seen: &Seen<'_>,
        job: &Result<Job, Fault>,
        asked: &Asked<'_>,
    ) -> Result<Facts, Fault> {
        match job {
            Ok(job) => job.facts(seen, self.owner(&asked.label.component)).await,
            Err(fault) => Err(fault.clone()),
        }
    }
}

/// What a round of questions shares.
pub struct Seen<'a> {
    /// The connection.
    pub cluster: &'a Cluster,
    /// The objects.
    pub look: &'a Look,
    /// Releases of charts.
    pub releases: &'a Releases,
    /// What may be shown.
    pub veil: Veil<'a>,
}

impl ServiceReader for ClusterService {
    fn observe<'a>(&'a self, asked: &'a [Asked<'a>]) -> BoxFuture<'a, Vec<Result<Facts, Fault>>> {
        Box::pin(async move {
            match self.round(asked).await {
                Ok(facts) => facts,
                Err(error) => asked.iter().map(|_| Err(error.clone().into())).collect(),
            }
        })
    }
}

impl ServiceWriter for ClusterService {
    fn apply<'a>(
        &'a self,
        action: &'a str,
        context: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let job = Job::read(action, context.inputs, &self.stack)
                .await
                .map_err(wrong)?;
            let label = context.label.to_string();
            let applying = Applying {
                api: Api {
                    sessions: &self.sessions,
                    hosts: context.hosts,
                },
                owner: self.owner(&context.label.component),
                key: context.key,
                label: &label,
                force: self.force,
                say: context.say,
            };
            job.apply(&applying, context).await
        })
    }
}
