//! Jobs: calls that TrueNAS answers with a number, and goes on with on its own. Followed to their end by what it tells, and by
//! asking. Does not know what a job does.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::client::{ASK, CHANGE, Client};
use super::error::TrueNasError;

/// How often it is asked where nothing is told.
const POLL: Duration = Duration::from_secs(5);

/// Where a job is.
#[derive(Debug, Clone, Deserialize)]
struct State {
    id: i64,
    state: String,
    #[serde(default)]
    progress: Option<Progress>,
    #[serde(default)]
    result: Value,
    error: Option<String>,
    logs_excerpt: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Progress {
    percent: Option<f64>,
    description: Option<String>,
}

impl Client {
    /// Calls a method that is a job, follows it to its end and returns its result. `say` hears how far it is; `limit` is how
    /// long it may take.
    ///
    /// # Errors
    /// When TrueNAS refuses, the job fails, is aborted or too slow, or the connection is cut: it goes on then.
    pub async fn job(
        &self,
        method: &str,
        params: &Value,
        limit: Duration,
        say: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Value, TrueNasError> {
        let end = Instant::now() + limit;
        let mut told = self.jobs().await?;
        let answer = self.call(method, params, CHANGE).await?;
        let Some(id) = answer.as_i64() else {
            // A server that was told so answers with the result itself.
            return Ok(answer);
        };
        let mut said = String::new();
        let mut state = self.ask(method, id).await?;
        loop {
            match state.state.as_str() {
                "SUCCESS" => return Ok(state.result),
                "FAILED" => return Err(state.failure(method, "failed")),
                "ABORTED" => return Err(state.failure(method, "was aborted")),
                _ => {}
            }
            let words = state.words();
            if !words.is_empty() && words != said {
                say(&format!("job {id}: {words}"));
                said = words;
            }
            state = tokio::select! {
                told = next(&mut told, id) => match told {
                    Some(state) => state,
                    None => self.ask(method, id).await?,
                },
                () = tokio::time::sleep(POLL) => self.ask(method, id).await?,
                () = tokio::time::sleep_until(end) => {
                    return Err(TrueNasError::Slow {
                        method: format!("{method} (its job {id} goes on)"),
                        after: limit,
                    });
                }
            };
        }
    }

    async fn ask(&self, method: &str, id: i64) -> Result<State, TrueNasError> {
        let found = self
            .call("core.get_jobs", &json!([[["id", "=", id]]]), ASK)
            .await?;
        let unreadable = |why: String| TrueNasError::Unreadable {
            method: format!("core.get_jobs of {method}"),
            why,
        };
        let states: Vec<State> =
            serde_json::from_value(found).map_err(|error| unreadable(error.to_string()))?;
        let found = states.into_iter().find(|state| state.id == id);
        found.ok_or_else(|| unreadable(format!("it knows no job {id}")))
    }
}

/// Returns the next that is told of a job; `None` when something may have been missed.
async fn next(told: &mut Receiver<Value>, id: i64) -> Option<State> {
    loop {
        match told.recv().await {
            Ok(fields) => {
                if fields["id"].as_i64() == Some(id) {
                    return serde_json::from_value(fields).ok();
                }
            }
            Err(RecvError::Lagged(_)) => return None,
            // The connection is gone, as asking will tell.
            Err(RecvError::Closed) => return None,
        }
    }
}

impl State {
    fn words(&self) -> String {
        let Some(progress) = &self.progress else {
            return String::new();
        };
        let words = progress.description.as_deref().unwrap_or_default().trim();
        match progress.percent {
            Some(percent) if percent > 0.0 => format!("{percent:.0} % {words}").trim().to_owned(),
            _ => words.to_owned(),
        }
    }

    fn failure(self, method: &str, state: &str) -> TrueNasError {
        let words = self
            .error
            .as_deref()
            .map_or("it does not say why", str::trim);
        TrueNasError::Job {
            method: method.to_owned(),
            id: self.id,
            state: state.to_owned(),
            words: words.to_owned(),
            log: self.logs_excerpt.unwrap_or_default(),
        }
    }
}
