//! The adapter for steps on `service:truenas`: each names its TrueNAS; those on the same one share a connection and a look.

use std::sync::Arc;

use futures::future::{BoxFuture, join_all};

use super::error::TrueNasError;
use super::look::{Look, Wants};
use super::session::{Connection, Patience, Sessions};
use super::steps::Job;
use crate::probe::{Asked, Facts, Fault, ServiceReader};
use crate::run::{ActionContext, ServiceWriter, StepError};
use crate::target::group::senseless;
use crate::target::inputs::wrong;

pub use super::steps::SERVICE_ACTIONS;

/// Observes and changes TrueNAS.
#[derive(Default)]
pub struct TrueNasService {
    sessions: Arc<Sessions>,
}

/// A step's question, read.
struct Question {
    to: Connection,
    job: Job,
}

impl TrueNasService {
    /// Makes the adapter over these connections; connects to nothing yet.
    #[must_use]
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions }
    }

    async fn round(&self, to: &Connection, jobs: &[&Job]) -> Result<Look, TrueNasError> {
        let mut wants = Wants::default();
        for job in jobs {
            job.want(&mut wants);
        }
        let wants = &wants;
        self.sessions
            .patiently(to, Patience::Little, |client| async move {
                Look::at(&client, wants).await
            })
            .await
    }
}

impl ServiceReader for TrueNasService {
    fn observe<'a>(&'a self, asked: &'a [Asked<'a>]) -> BoxFuture<'a, Vec<Result<Facts, Fault>>> {
        Box::pin(async move {
            let questions: Vec<Result<Question, String>> = asked
                .iter()
                .map(|asked| {
                    let to = Connection::of(asked.inputs)?;
                    let job = Job::read(asked.action, asked.inputs)?;
                    Ok(Question { to, job })
                })
                .collect();
            let mut places: Vec<&Connection> = Vec::new();
            for question in questions.iter().flatten() {
                if !places.contains(&&question.to) {
                    places.push(&question.to);
                }
            }
            let looks = join_all(places.iter().map(|to| {
                let of_it = questions
                    .iter()
                    .flatten()
                    .filter(|question| question.to == **to);
                let jobs: Vec<&Job> = of_it.map(|question| &question.job).collect();
                async move { self.round(to, &jobs).await }
            }))
            .await;
            questions
                .iter()
                .map(|question| {
                    let question = question.as_ref().map_err(|why| senseless(why.clone()))?;
                    let at = places.iter().position(|to| **to == question.to);
                    match at.and_then(|at| looks.get(at)) {
                        Some(Ok(look)) => Ok(question.job.facts(look)),
                        Some(Err(error)) => Err(error.clone().into()),
                        None => Err(senseless("it was not asked".to_owned())),
                    }
                })
                .collect()
        })
    }
}

impl ServiceWriter for TrueNasService {
    fn apply<'a>(
        &'a self,
        action: &'a str,
        context: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let to = Connection::of(context.inputs).map_err(wrong)?;
            let job = Job::read(action, context.inputs).map_err(wrong)?;
            let (job, say) = (&job, context.say);
            // A call whose answer was cut off may have been carried out: so each try begins with a look.
            self.sessions
                .patiently(&to, Patience::Much, |client| async move {
                    let mut wants = Wants::default();
                    job.want(&mut wants);
                    let look = Look::at(&client, &wants).await?;
                    job.apply(&client, &look, say).await
                })
                .await
                .map_err(StepError::from)
        })
    }
}
