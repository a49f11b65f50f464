//! One file for each kind of step on the cluster: what its inputs mean. None knows of the others.

mod manifest;
mod namespace;
mod nodes;
mod url;
mod workloads;

use super::bundle::{Applying, Bundle};
use super::chart::ChartOrder;
use super::object::{Owner, Ref};
use super::service::Seen;
use crate::catalog::Values;
use crate::config::Stack;
use crate::probe::{Facts, Fault};
use crate::run::{ActionContext, StepError};

/// Names of the actions that the adapter knows.
pub const SERVICE_ACTIONS: &[&str] = &[
    MANIFEST,
    MANIFEST_REMOVE,
    URL,
    URL_REMOVE,
    NAMESPACE,
    NAMESPACE_REMOVE,
    WORKLOADS,
    NODES,
    CHART,
    CHART_REMOVE,
];

/// Name of the action that applies objects.
pub const MANIFEST: &str = "cluster.manifest";
const MANIFEST_REMOVE: &str = "cluster.manifest-remove";
const URL: &str = crate::target::artifact::MANIFEST;
const URL_REMOVE: &str = "cluster.manifest-url-remove";
const NAMESPACE: &str = "cluster.namespace";
const NAMESPACE_REMOVE: &str = "cluster.namespace-remove";
const WORKLOADS: &str = "cluster.workloads";
const NODES: &str = "cluster.nodes";
/// Name of the action that releases a chart.
pub const CHART: &str = "cluster.chart";
const CHART_REMOVE: &str = "cluster.chart-remove";

/// What a step is to do.
pub enum Job {
    /// Objects and conditions.
    Apply(Bundle),
    /// Conditions alone.
    Wait(Bundle),
    /// Objects that are to go.
    Remove(Bundle),
    /// A chart.
    Chart(Box<ChartOrder>),
    /// A chart that is to go.
    RemoveChart(Box<ChartOrder>),
}

impl Job {
    /// Reads a step's inputs.
    ///
    /// # Errors
    /// When they make no sense, or a file they name can't be had.
    pub async fn read(action: &str, inputs: &Values, stack: &Stack) -> Result<Self, String> {
        Ok(match action {
            MANIFEST => Self::Apply(manifest::read(inputs)?),
            MANIFEST_REMOVE => Self::Remove(manifest::read(inputs)?),
            URL => Self::Apply(url::read(inputs, stack).await?),
            URL_REMOVE => Self::Remove(url::read(inputs, stack).await?),
            NAMESPACE => Self::Apply(namespace::read(inputs)?),
            NAMESPACE_REMOVE => Self::Remove(namespace::read(inputs)?),
            WORKLOADS => Self::Wait(workloads::read(inputs)?),
            NODES => Self::Wait(nodes::read(inputs)?),
            CHART => Self::Chart(Box::new(ChartOrder::read(inputs)?)),
            CHART_REMOVE => Self::RemoveChart(Box::new(ChartOrder::read(inputs)?)),
            other => return Err(format!("the cluster's adapter knows no action `{other}`")),
        })
    }

    /// Returns whether it is about a chart.
    pub fn is_chart(&self) -> bool {
        matches!(self, Self::Chart(_) | Self::RemoveChart(_))
    }

    /// Returns the objects that a look needs.
    pub fn places(&self) -> Vec<Ref> {
        match self {
            Self::Apply(bundle) | Self::Wait(bundle) | Self::Remove(bundle) => bundle.places(),
            Self::Chart(order) | Self::RemoveChart(order) => order.places(),
        }
    }

    /// Tells how things are.
    pub async fn facts(&self, seen: &Seen<'_>, owner: Owner<'_>) -> Result<Facts, Fault> {
        match self {
            Self::Apply(bundle) | Self::Remove(bundle) => {
                bundle
                    .facts(seen.cluster, seen.look, owner, &seen.veil)
                    .await
            }
            Self::Wait(bundle) => Ok([("waits".to_owned(), bundle.waits_fact(seen.look)?)].into()),
            Self::Chart(order) | Self::RemoveChart(order) => order.facts(seen, owner).await,
        }
    }

    /// Makes it so.
    pub async fn apply(
        &self,
        applying: &Applying<'_>,
        context: &ActionContext<'_>,
    ) -> Result<(), StepError> {
        match self {
            Self::Apply(bundle) | Self::Wait(bundle) => bundle.apply(applying).await,
            Self::Remove(bundle) => bundle.remove(applying).await,
            Self::Chart(order) => order.apply(applying, context).await,
            Self::RemoveChart(order) => order.remove(applying).await,
        }
    }
}
