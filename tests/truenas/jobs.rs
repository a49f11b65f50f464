//! Jobs: followed to their end, well or badly, over connections that are cut.

use std::sync::Arc;

use super::rig::{Rig, text};
use super::truenas::{Cut, Plan, TrueNas};

#[tokio::test]
async fn a_slow_job_is_followed_to_its_end() {
    let nas = Arc::new(TrueNas::start());
    let rig = Rig::of(&nas);
    nas.state().plans.push_back(Plan::Held);
    let nfs = [("name", text("nfs"))];
    let other = nas.clone();
    let server = tokio::task::spawn_blocking(move || {
        // Foundry looks once by itself; the rest it is told.
        other.wait_until("asked about the job", |state| {
            state
                .calls
                .iter()
                .any(|(method, _)| method == "core.get_jobs")
        });
        other.progress(40, "Starting nfsd");
        other.finish();
    });
    let (applied, served) = tokio::join!(rig.apply("truenas-service", &nfs), server);
    served.unwrap();
    applied.unwrap();
    assert_eq!(nas.count("core.get_jobs"), 1, "told, not asked");
    assert_eq!(rig.said(), "job 41: 40 % Starting nfsd");
    assert_eq!(nas.count("service.update"), 1);
    // As wanted: nothing is called again.
    rig.apply("truenas-service", &nfs).await.unwrap();
    assert_eq!(nas.count("service.control"), 1);
}

#[tokio::test]
async fn a_failed_job_says_why_in_its_own_words() {
    let nas = TrueNas::start();
    let rig = Rig::of(&nas);
    nas.state()
        .plans
        .push_back(Plan::Fails("[EFAULT] nfs: service failed to start"));
    let failed = rig
        .apply("truenas-service", &[("name", text("nfs"))])
        .await
        .unwrap_err();
    assert_eq!(
        failed.message,
        "TrueNAS' job 41 (service.control) failed: [EFAULT] nfs: service failed to start"
    );
    assert_eq!(
        failed.output,
        "nfs-server.service: Failed with result 'exit-code'."
    );
    assert_eq!(
        nas.count("service.control"),
        1,
        "what fails is not tried again"
    );
}

#[tokio::test]
async fn a_change_that_is_cut_off_is_looked_at_before_it_is_made_again() {
    let nas = TrueNas::start();
    let rig = Rig::of(&nas);
    let given = [("path", text("tank/foundry")), ("quota", text("2Gi"))];
    nas.state().cuts.push(("pool.dataset.create", Cut::After));
    rig.apply("truenas-dataset", &given).await.unwrap();
    assert_eq!(
        nas.count("pool.dataset.create"),
        1,
        "it was made the first time"
    );
    assert_eq!(nas.state().connections, 2);

    // A job goes on while nobody listens.
    nas.state().cuts.push(("core.get_jobs", Cut::Before));
    rig.apply("truenas-service", &[("name", text("nfs"))])
        .await
        .unwrap();
    assert_eq!(nas.count("service.control"), 1);
}
