//! Waiting until objects are as wanted, bounded in time, across servers that come and go. Changes nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::api::Api;
use super::error::ClusterError;
use super::look::{Found, Look};
use super::object::Ref;
use super::ready::{State, Wait};
use super::trouble;
use crate::run::StepError;

/// First pause between looks; each is half as long again as the one before.
const FIRST: Duration = Duration::from_millis(250);

/// Longest pause between looks.
const LONGEST: Duration = Duration::from_secs(3);

/// How one condition stands.
struct Standing {
    state: State,
    object: Option<Value>,
}

/// Returns how far each is, in words; none for those that are as wanted. `absent` for what is not there.
///
/// # Errors
/// When the API would not tell.
pub fn standings(look: &Look, waits: &[Wait]) -> Result<Vec<Option<String>>, ClusterError> {
    waits
        .iter()
        .map(|wait| {
            Ok(match look.find(&wait.at)? {
                Found::UnknownKind | Found::Absent => Some("absent".to_owned()),
                Found::There(object) => match wait.state(&typed(look, &wait.at, object)) {
                    State::Done => None,
                    State::NotYet(why) | State::Failed(why) => Some(why),
                },
            })
        })
        .collect()
}

/// Returns a listed object with its kind: lists of built-in kinds leave it out of their elements.
#[must_use]
pub fn typed(look: &Look, at: &Ref, object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(kind) = look.kind(&at.kind)
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert("kind".to_owned(), kind.resource.kind.clone().into());
        fields.insert(
            "apiVersion".to_owned(),
            kind.resource.api_version.clone().into(),
        );
    }
    object
}

/// Waits until all are as wanted.
///
/// # Errors
/// When one fails, or time is up: with what the object, its events and its pods have to say.
pub async fn wait(
    api: &Api<'_>,
    waits: &[Wait],
    limit: Duration,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), StepError> {
    let end = Instant::now() + limit;
    let mut open: Vec<&Wait> = waits.iter().collect();
    let mut pause = FIRST;
    let mut said = String::new();
    loop {
        let looked = look(api, &open).await;
        let (standings, late) = match looked {
            Ok(standings) => (standings, None),
            Err(error) if error.is_transient() => (Vec::new(), Some(error)),
            Err(error) => return Err(error.into()),
        };
        if late.is_none() {
            let mut still = Vec::new();
            let mut words = String::new();
            for (wait, standing) in open.iter().copied().zip(standings) {
                match &standing.state {
                    State::Done => continue,
                    State::Failed(why) => {
                        let message = format!("{} has failed: {why}", wait.text);
                        return Err(failure(api, message, standing.object.as_ref()).await);
                    }
                    State::NotYet(why) if Instant::now() >= end => {
                        let message = format!(
                            "{} is not {} after {}: {why}",
                            wait.text,
                            wait.wanted(),
                            shown(limit)
                        );
                        return Err(failure(api, message, standing.object.as_ref()).await);
                    }
                    State::NotYet(why) => words = format!("waiting for {}: {why}", wait.text),
                }
                still.push(wait);
            }
            if still.is_empty() {
                return Ok(());
            }
            open = still;
            if words != said {
                say(&words);
                said = words;
            }
        } else if let Some(error) = late
            && Instant::now() >= end
        {
            return Err(error.into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause + pause / 2).min(LONGEST);
    }
}

async fn look(api: &Api<'_>, waits: &[&Wait]) -> Result<Vec<Standing>, ClusterError> {
    let cluster = api.open().await?;
    let places: Vec<Ref> = waits.iter().map(|wait| wait.at.clone()).collect();
    let look = Look::at(&cluster, &places).await?;
    waits
        .iter()
        .map(|wait| {
            Ok(match look.find(&wait.at)? {
                Found::UnknownKind => Standing {
                    state: State::NotYet(format!("the API serves no kind {}", wait.at.kind)),
                    object: None,
                },
                Found::Absent => Standing {
                    state: State::NotYet("it is not there".to_owned()),
                    object: None,
                },
                Found::There(object) => {
                    let object = typed(&look, &wait.at, object);
                    Standing {
                        state: wait.state(&object),
                        object: Some(object),
                    }
                }
            })
        })
        .collect()
}

async fn failure(api: &Api<'_>, message: String, object: Option<&Value>) -> StepError {
    let output = match (object, api.open().await) {
        (Some(object), Ok(cluster)) => trouble::quote(&cluster, object).await,
        _ => String::new(),
    };
    StepError::Failed {
        message,
        output,
        hint: None,
        status: None,
    }
}

/// Returns a time as people write it.
#[must_use]
pub fn shown(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 60 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}
