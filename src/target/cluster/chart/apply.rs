//! One chart on its way into the cluster: its archive handed over, HelmChart and Secret written, the controller followed, and
//! word left that it was. Does not know how they differ from the live ones.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::bundle::{Applying, Bundle};
use super::super::look::{Found, Look};
use super::super::object::{Object, Ref};
use super::order::{ChartOrder, SETTLED, STATIC, Source, Supported};
use super::{archive, follow, repair};
use crate::run::{ActionContext, StepError, Upload};
use crate::target::artifact;
use crate::target::inputs::wrong;
use crate::target::script::Script;

/// Largest archive of a chart that is handed over at all, in bytes.
const LONGEST_ARCHIVE: u64 = 256 << 20;

/// Longest archive, in base64, that is put into an object: etcd takes 1.5 MiB, and the controller copies it to a ConfigMap,
/// which may hold 1 MiB.
const LONGEST_CONTENT: usize = 900_000;

impl ChartOrder {
    /// Writes HelmChart and Secret, and follows the controller to the end.
    ///
    /// # Errors
    /// When the release fails: in Helm's and the Job's own words.
    pub async fn apply(
        &self,
        applying: &Applying<'_>,
        context: &ActionContext<'_>,
    ) -> Result<(), StepError> {
        let supported = follow::defined(applying, &Self::definition_at(), |look| {
            Self::supported(look)
        })
        .await?;
        if self.secret_values.is_some() && !supported.has("valuesSecrets") {
            return Err(StepError::Failed {
                message: format!(
                    "the cluster's HelmChart has no `valuesSecrets`: the secret values of {} would have to stand in the open",
                    self.name
                ),
                output: String::new(),
                hint: Some(
                    "a newer K3s has it: from 1.27 on in all of its supported releases".to_owned(),
                ),
                status: None,
            });
        }
        if !supported.has("failurePolicy") {
            (applying.say)(
                "the cluster's HelmChart has no `failurePolicy`: a failed upgrade makes this version uninstall the release",
            );
        }
        // With `abort` a Job only says that it waits for a person once the release has failed; without, it may be at work.
        let aborts = supported.has("failurePolicy");
        let (before, releases) = follow::idle(applying, self, aborts).await?;
        let stuck = !repair::in_the_way(releases.records(&self.namespace, &self.name)).is_empty();
        if stuck || before.job_failed() {
            let job = before.has_job().then(|| self.job_at());
            repair::repair(
                &applying.api,
                &releases,
                (&self.namespace, &self.name),
                job.as_ref(),
                applying.say,
            )
            .await?;
        }
        if self.create_namespace {
            self.make_namespace(applying).await?;
        }
        let source = self.source(context).await?;
        self.bundle(&source, &supported).apply(applying).await?;
        let written = self.look(applying).await?;
        follow::follow(applying, self, &before, &written).await?;
        self.settle(applying, &source, &supported).await
    }

    /// Makes the namespace unless it is there: somebody else's is as good.
    async fn make_namespace(&self, applying: &Applying<'_>) -> Result<(), StepError> {
        let at = [Ref::new("v1", "Namespace", None, &self.namespace)];
        let place = &at;
        let look = applying
            .api
            .patiently(|cluster| async move { Look::at(&cluster, place).await })
            .await?;
        let [at] = at;
        if matches!(look.find(&at)?, Found::There(_)) {
            return Ok(());
        }
        let object = Object {
            body: json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.namespace } }),
            kind: "Namespace".to_owned(),
            at,
        };
        let bundle = Bundle {
            objects: vec![object],
            waits: Vec::new(),
            timeout: self.timeout,
        };
        bundle.apply(applying).await
    }

    /// Gets the chart to where the cluster will find it.
    async fn source(&self, context: &ActionContext<'_>) -> Result<Source, StepError> {
        let mirrors = &context.stack.mirrors;
        let wanted = archive::Wanted {
            chart: &self.chart,
            repo: &self.repo,
            version: &self.version,
            sha256: &self.sha256,
        };
        // Where the way to the repository leads through a mirror, no cluster is to need the repository.
        if self.sha256.is_empty() && !wanted.is_mirrored(mirrors) {
            return Ok(Source::Repository);
        }
        let (path, sha256) = archive::fetch(wanted, mirrors).await.map_err(wrong)?;
        let file = self.file_name(&sha256);
        let archive = artifact::read_again(&path, &sha256, LONGEST_ARCHIVE)
            .await
            .map_err(wrong)?;
        let content = STANDARD.encode(archive);
        if content.len() <= LONGEST_CONTENT {
            return Ok(Source::Content(content));
        }
        if context.hosts.is_empty() {
            return Err(wrong(format!(
                "the archive of {} is too large for an object ({} bytes in base64), and no host is known to put it on",
                self.name,
                content.len()
            )));
        }
        for &host in context.hosts {
            let writer = context.writers.writer(host).await?;
            Script::new(
                "enter \"$folder\" root\nchmod 0755 -- .\n",
                Duration::from_secs(30),
                &[("folder", STATIC.0)],
            )
            .run(&*writer)
            .await?;
            let upload = Upload {
                from: path.clone(),
                to: format!("{}/{file}", STATIC.0),
                owner: "root:root".to_owned(),
                mode: "0644".to_owned(),
                sha256: sha256.clone(),
            };
            writer.upload(&upload).await?;
        }
        Ok(Source::Static(file))
    }

    /// Leaves word that what is written was released.
    async fn settle(
        &self,
        applying: &Applying<'_>,
        source: &Source,
        supported: &Supported,
    ) -> Result<(), StepError> {
        let look = self.look(applying).await?;
        let mut bundle = self.bundle(source, supported);
        let mark = self.mark(&look)?;
        bundle.objects.retain(|object| object.kind == "HelmChart");
        for object in &mut bundle.objects {
            object.annotate(SETTLED, &mark);
        }
        bundle.apply(applying).await
    }

    /// Deletes HelmChart and Secret; the controller uninstalls the release before it lets the HelmChart go.
    ///
    /// # Errors
    /// When it does not come to that.
    pub async fn remove(&self, applying: &Applying<'_>) -> Result<(), StepError> {
        let nothing = Supported(Vec::new());
        let removed = self
            .bundle(&Source::Repository, &nothing)
            .remove(applying)
            .await;
        follow::explain_removal(applying, self, removed).await
    }
}
