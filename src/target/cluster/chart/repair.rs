//! What is in the way of the next release: records of revisions that failed or were cut off. Takes away those records, and
//! never uninstalls: what a release has deployed stays.

use super::super::api::{self, Api};
use super::super::error::ClusterError;
use super::super::look::known_kind;
use super::super::object::Ref;
use super::release::{Record, Releases};

/// Returns the records that must go so that Helm goes on from the last revision that was deployed, or from nothing if none
/// ever was. Resources of a revision that is forgotten stay, and the next one takes them over: they bear the release's name.
#[must_use]
pub fn in_the_way(records: &[Record]) -> &[Record] {
    let Some(last) = records.last() else {
        return records;
    };
    // A record that is being uninstalled, or was, is nobody's to forget.
    if !(last.status == "failed" || last.status.starts_with("pending-")) {
        return &[];
    }
    let good = records
        .iter()
        .rposition(|record| matches!(record.status.as_str(), "deployed" | "superseded"));
    &records[good.map_or(0, |at| at + 1)..]
}

/// Takes what is in the way of the next release away: records, and the Job that has given up, which the controller makes
/// anew.
///
/// # Errors
/// When the server refuses.
pub async fn repair(
    api: &Api<'_>,
    releases: &Releases,
    (namespace, name): (&str, &str),
    job: Option<&Ref>,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), ClusterError> {
    let records = releases.records(namespace, name);
    let stuck = in_the_way(records);
    for record in stuck {
        say(&format!(
            "revision {} of {name} is {}: forgetting it, so that the release can go on",
            record.revision, record.status
        ));
        api.patiently(|cluster| async move {
            let kind = known_kind(&cluster, "v1", "Secret").await?;
            api::delete(&cluster, &kind, &record.at).await
        })
        .await?;
    }
    if let Some(job) = job {
        api.patiently(|cluster| async move {
            let kind = known_kind(&cluster, "batch/v1", "Job").await?;
            api::delete(&cluster, &kind, job).await
        })
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deployed_is_never_forgotten() {
        let table: &[(&[&str], &[u64])] = &[
            (&[], &[]),
            (&["deployed"], &[]),
            (&["superseded", "deployed"], &[]),
            (&["failed"], &[1]),
            (&["pending-install"], &[1]),
            (&["failed", "failed"], &[1, 2]),
            (&["deployed", "failed"], &[2]),
            (&["superseded", "deployed", "pending-upgrade"], &[3]),
            (&["deployed", "failed", "pending-rollback"], &[2, 3]),
            // An upgrade that was cut off after it had put the one before aside.
            (&["superseded", "failed"], &[2]),
            (&["deployed", "uninstalling"], &[]),
            (&["uninstalled"], &[]),
        ];
        for (statuses, wanted) in table {
            let records: Vec<Record> = (1..)
                .zip(*statuses)
                .map(|(revision, status)| Record {
                    revision,
                    status: (*status).to_owned(),
                    at: Ref::new("v1", "Secret", None, "x"),
                })
                .collect();
            let found: Vec<u64> = in_the_way(&records)
                .iter()
                .map(|record| record.revision)
                .collect();
            assert_eq!(found, *wanted, "{statuses:?}");
        }
    }
}
