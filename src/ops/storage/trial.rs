//! One class tried: a claim, a pod that writes to its volume, another one that reads it back. Bounded in time; takes nothing
//! away (its yard does). Does not know whose volumes these are.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::target::cluster::{Cluster, quote};

/// Pause between looks.
const POLL: Duration = Duration::from_millis(500);

/// What writes: more than a page cache's worth of nothing, and its checksum.
const WRITE: &str = "dd if=/dev/urandom of=/volume/data bs=1M count=8 2>/dev/null; sha256sum /volume/data >/volume/sum; sync";

/// What reads it back, in a pod that may be on another node.
const READ: &str = "sha256sum -c /volume/sum";

/// How a class is tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Namespace in which.
    pub namespace: &'static str,
    /// Image that has `sh`, `dd` and `sha256sum`.
    pub image: String,
    /// Size of the volume, as Kubernetes writes it.
    pub size: String,
    /// Longest that all of it may take.
    pub limit: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The class.
    pub class: String,
    /// Whether the volume was bound, written and read.
    pub ok: bool,
    /// The volume, once there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Seconds until what was written had been read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Conditions, events and logs that tell of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
}

/// Why it did not come to its end.
struct Trouble {
    why: String,
    told: String,
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        Self {
            why: format!("the Kubernetes API: {error}"),
            told: String::new(),
        }
    }
}

/// Tries a class. What it made is left for the yard to be cleared of.
pub async fn try_class(
    cluster: &Arc<Cluster>,
    trial: &Trial,
    class: &str,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Outcome {
    let started = Instant::now();
    let attempt = Attempt {
        cluster,
        trial,
        class,
        end: started + trial.limit,
        claim: format!("try-{class}"),
    };
    let done = attempt.run(say).await;
    let claims = Api::<PersistentVolumeClaim>::namespaced(cluster.client.clone(), trial.namespace);
    let claim = claims.get_opt(&attempt.claim).await.ok().flatten();
    let volume = claim.and_then(|claim| claim.spec?.volume_name);
    let (why, told) = match done {
        Ok(()) => (None, Vec::new()),
        Err(trouble) => (
            Some(trouble.why),
            trouble.told.lines().map(str::to_owned).collect(),
        ),
    };
    Outcome {
        class: class.to_owned(),
        ok: why.is_none(),
        volume,
        seconds: why.is_none().then(|| started.elapsed().as_secs_f64()),
        why,
        told,
    }
}

struct Attempt<'a> {
    cluster: &'a Arc<Cluster>,
    trial: &'a Trial,
    class: &'a str,
    end: Instant,
    claim: String,
}

impl Attempt<'_> {
    async fn run(&self, say: &(dyn Fn(&str) + Send + Sync)) -> Result<(), Trouble> {
        let namespace = self.trial.namespace;
        let claims =
            Api::<PersistentVolumeClaim>::namespaced(self.cluster.client.clone(), namespace);
        let claim = object(json!({
            "metadata": { "name": self.claim },
            "spec": {
                "storageClassName": self.class,
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": self.trial.size } },
            },
        }))?;
        say(&format!("{}: a volume of {}", self.class, self.trial.size));
        claims.create(&PostParams::default(), &claim).await?;
        for (name, script, words) in [("write", WRITE, "written"), ("read", READ, "read back")] {
            let pod = format!("{name}-{}", self.class);
            self.pod(&pod, script).await?;
            say(&format!("{}: {words}", self.class));
        }
        Ok(())
    }

    /// Runs a pod to its end and takes it away, so that the volume is free for another node.
    async fn pod(&self, name: &str, script: &str) -> Result<(), Trouble> {
        let pods = Api::<Pod>::namespaced(self.cluster.client.clone(), self.trial.namespace);
        let pod = object(json!({
            "metadata": { "name": name },
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "try",
                    "image": self.trial.image,
                    "command": ["sh", "-ec", script],
                    "volumeMounts": [{ "name": "volume", "mountPath": "/volume" }],
                }],
                "volumes": [{ "name": "volume", "persistentVolumeClaim": { "claimName": self.claim } }],
            },
        }))?;
        pods.create(&PostParams::default(), &pod).await?;
        loop {
            let found = pods.get_opt(name).await?;
            let phase = found
                .as_ref()
                .and_then(|pod| pod.status.as_ref()?.phase.clone());
            match (phase.as_deref(), found) {
                (Some("Succeeded"), _) => break,
                (Some("Failed"), Some(pod)) => {
                    let why = format!("pod {name} failed");
                    return Err(self.trouble(why, "Pod", &pod).await);
                }
                (_, None) => {
                    return Err(Trouble {
                        why: format!("somebody deleted pod {name}"),
                        told: String::new(),
                    });
                }
                (phase, Some(pod)) if Instant::now() >= self.end => {
                    let phase = phase.unwrap_or("Pending").to_owned();
                    return Err(self.late(name, &phase, &pod).await);
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
        pods.delete(name, &DeleteParams::default()).await?;
        while pods.get_opt(name).await?.is_some() {
            if Instant::now() >= self.end {
                return Err(Trouble {
                    why: format!(
                        "pod {name} has ended, and can't be deleted: is its volume stuck?"
                    ),
                    told: String::new(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Finds out what it waits for: the volume, or the pod.
    async fn late(&self, pod_name: &str, phase: &str, pod: &Pod) -> Trouble {
        let seconds = self.trial.limit.as_secs();
        let claims = Api::<PersistentVolumeClaim>::namespaced(
            self.cluster.client.clone(),
            self.trial.namespace,
        );
        if let Ok(Some(claim)) = claims.get_opt(&self.claim).await {
            let bound = claim
                .status
                .as_ref()
                .and_then(|status| status.phase.clone());
            let bound = bound.unwrap_or_else(|| "Pending".to_owned());
            if bound != "Bound" {
                let name = claim.name_any();
                let why =
                    format!("no volume for claim {name} within {seconds} seconds: it is {bound}");
                let mut trouble = self.trouble(why, "PersistentVolumeClaim", &claim).await;
                // A class that waits for its first pod says there why it waits.
                trouble.told += &self.trouble(String::new(), "Pod", pod).await.told;
                return trouble;
            }
        }
        let why = format!("pod {pod_name} did not end within {seconds} seconds: it is {phase}");
        self.trouble(why, "Pod", pod).await
    }

    async fn trouble(&self, why: String, kind: &str, about: &impl Serialize) -> Trouble {
        let mut object = serde_json::to_value(about).unwrap_or(Value::Null);
        if let Some(fields) = object.as_object_mut() {
            fields.insert("kind".to_owned(), kind.into());
        }
        Trouble {
            why,
            told: quote(self.cluster, &object).await,
        }
    }
}

fn object<T: serde::de::DeserializeOwned>(written: Value) -> Result<T, kube::Error> {
    serde_json::from_value(written).map_err(kube::Error::SerdeError)
}
