//! Datasets, shares, portals and services: missing, made, drifted field by field, mended, refused, removed.

use serde_json::json;

use super::rig::{Rig, table, text, texts};
use super::truenas::TrueNas;

#[tokio::test]
async fn a_dataset_is_made_drifts_and_is_mended() {
    let nas = TrueNas::start();
    let rig = Rig::of(&nas);
    let given = [
        ("path", text("tank/foundry")),
        ("quota", text("500Gi")),
        ("comment", text("Volumes")),
        (
            "properties",
            table(&[
                ("compression", "zstd"),
                ("atime", "inherit"),
                ("copies", "2"),
            ]),
        ),
    ];
    let wrong = rig.wrong("truenas-dataset", &given).await;
    assert_eq!(wrong, ["fact `tank/foundry` is absent, wanted there"]);
    rig.apply("truenas-dataset", &given).await.unwrap();
    let facts = rig.observe("truenas-dataset", &given).await.unwrap();
    assert_eq!(facts["mountpoint"].value(), "/mnt/tank/foundry");

    {
        let mut state = nas.state();
        let dataset = &mut state.datasets[0];
        dataset["quota"]["parsed"] = json!(1_073_741_824_u64);
        dataset["compression"]["value"] = json!("LZ4");
        dataset["atime"] = json!({ "value": "ON", "source": "LOCAL" });
        // Nobody said anything of this one.
        dataset["sync"]["value"] = json!("ALWAYS");
    }
    assert_eq!(
        rig.wrong("truenas-dataset", &given).await,
        [
            "fact `quota` is 1073741824, wanted 536870912000",
            "fact `atime` is ON, wanted INHERIT",
            "fact `compression` is LZ4, wanted ZSTD",
        ]
    );
    rig.apply("truenas-dataset", &given).await.unwrap();
    assert_eq!(nas.count("pool.dataset.update"), 1);
    assert_eq!(nas.state().datasets[0]["sync"]["value"], "ALWAYS");
}

#[tokio::test]
async fn what_truenas_refuses_is_said_in_its_words() {
    let nas = TrueNas::start();
    let rig = Rig::of(&nas);
    let nowhere = [("path", text("lake/foundry"))];
    let failed = rig.apply("truenas-dataset", &nowhere).await.unwrap_err();
    assert_eq!(
        failed.message,
        "TrueNAS answers pool.dataset.create: [EINVAL] pool_dataset_create.name: \
         Please specify a pool which exists for the dataset/volume to be created"
    );
    let strange = [
        ("path", text("tank/a")),
        ("properties", table(&[("colour", "red")])),
    ];
    let failed = rig.apply("truenas-dataset", &strange).await.unwrap_err();
    assert!(
        failed
            .message
            .contains("pool_dataset_create.colour: Extra inputs"),
        "{failed:?}"
    );
    for (path, quota, why) in [
        ("tank", "0", "`tank` is no dataset"),
        ("tank//a", "0", "`tank//a` is no dataset"),
        ("tank/a", "10M", "below 1Gi"),
    ] {
        let given = [("path", text(path)), ("quota", text(quota))];
        let fault = rig.observe("truenas-dataset", &given).await.unwrap_err();
        assert!(fault.message.contains(why), "{}", fault.message);
    }
    let failed = rig
        .apply("truenas-pool", &[("name", text("lake"))])
        .await
        .unwrap_err();
    assert_eq!(failed.message, "TrueNAS has no pool `lake`: it has tank");
    assert!(
        failed.hint.contains("Foundry overwrites no disks"),
        "{}",
        failed.hint
    );
    nas.state().pools[0]["status"] = json!("FAULTED");
    nas.state().pools[0]["status_detail"] = json!("One or more devices are unavailable");
    let failed = rig
        .apply("truenas-pool", &[("name", text("tank"))])
        .await
        .unwrap_err();
    assert_eq!(
        failed.message,
        "pool `tank` is FAULTED: One or more devices are unavailable"
    );
}

#[tokio::test]
async fn no_data_is_deleted_unless_it_is_named() {
    let nas = TrueNas::start();
    let rig = Rig::of(&nas);
    let mut given = vec![("path", text("tank/foundry"))];
    rig.apply("truenas-dataset", &given).await.unwrap();
    rig.apply("truenas-dataset", &[("path", text("tank/foundry/pvc-1"))])
        .await
        .unwrap();
    let failed = rig.remove("truenas-dataset", &given).await.unwrap_err();
    assert_eq!(
        failed.message,
        "dataset tank/foundry stays, with the 98304 bytes in it"
    );
    given.push(("erase", text("tank/other")));
    rig.remove("truenas-dataset", &given).await.unwrap_err();
    assert_eq!(nas.state().datasets.len(), 2);
    given[1].1 = text("tank/foundry");
    rig.remove("truenas-dataset", &given).await.unwrap();
    assert_eq!(nas.state().datasets.len(), 0);
    assert!(rig.said().contains("deleting tank/foundry, 98304 bytes"));
    rig.remove("truenas-dataset", &given).await.unwrap();
}

#[tokio::test]
async fn a_share_is_made_drifts_and_is_mended() {
    let nas = TrueNas::start();
    let rig = Rig::of(&nas);
    let given = [
        ("path", text("/mnt/tank/media/")),
        ("networks", texts(&["10.0.0.0/24", "10.1.0.0/24"])),
        ("maproot_user", text("root")),
        ("maproot_group", text("wheel")),
    ];
    let failed = rig.apply("truenas-nfs-share", &given).await.unwrap_err();
    assert!(
        failed
            .message
            .ends_with("sharingnfs_create.path: This path does not exist."),
        "{failed:?}"
    );
    rig.apply("truenas-dataset", &[("path", text("tank/media"))])
        .await
        .unwrap();
    rig.apply("truenas-nfs-share", &given).await.unwrap();
    {
        let mut state = nas.state();
        let share = &mut state.shares[0];
        share["networks"] = json!(["10.1.0.0/24", "10.0.0.0/24"]);
        share["ro"] = json!(true);
        share["maproot_user"] = json!(null);
        share["hosts"] = json!(["10.9.9.9"]);
    }
    assert_eq!(
        rig.wrong("truenas-nfs-share", &given).await,
        [
            "fact `read_only` is yes, wanted no",
            "fact `hosts` is 10.9.9.9, wanted none",
            "fact `maproot_user` is none, wanted root",
        ]
    );
    rig.apply("truenas-nfs-share", &given).await.unwrap();
    assert_eq!(
        (
            nas.count("sharing.nfs.create"),
            nas.count("sharing.nfs.update")
        ),
        (2, 1)
    );
    rig.remove("truenas-nfs-share", &given).await.unwrap();
    assert_eq!(nas.state().shares.len(), 0);
    assert_eq!(nas.state().datasets.len(), 1, "the files stay");
}

#[tokio::test]
async fn a_portal_that_listens_there_is_taken_as_it_is() {
    let nas = TrueNas::start();
    let rig = Rig::of(&nas);
    let given = [("addresses", texts(&["10.0.0.5"]))];
    assert_eq!(
        rig.wrong("truenas-iscsi-portal", &given).await,
        ["fact `portal` is absent, wanted there"]
    );
    nas.state().portals.push(json!({ "id": 1, "tag": 1, "comment": "by hand", "listen": [{ "ip": "0.0.0.0", "port": 3260 }] }));
    let facts = rig.observe("truenas-iscsi-portal", &given).await.unwrap();
    assert_eq!(facts["id"].value(), "1");
    rig.apply("truenas-iscsi-portal", &given).await.unwrap();
    assert_eq!(nas.count("iscsi.portal.create"), 0);

    nas.state().portals.clear();
    rig.apply("truenas-iscsi-portal", &given).await.unwrap();
    let moved = [("addresses", texts(&["10.0.0.6"]))];
    assert_eq!(
        rig.wrong("truenas-iscsi-portal", &moved).await,
        ["fact `addresses` is 10.0.0.5, wanted 10.0.0.6"]
    );
    rig.apply("truenas-iscsi-portal", &moved).await.unwrap();
    assert_eq!(
        (
            nas.count("iscsi.portal.create"),
            nas.count("iscsi.portal.update")
        ),
        (1, 1)
    );
    let fault = rig
        .observe("truenas-iscsi-portal", &[("addresses", texts(&["nas"]))])
        .await;
    assert!(fault.unwrap_err().message.contains("is no IP address"));
}

#[tokio::test]
async fn a_round_asks_once_for_each_kind() {
    let nas = TrueNas::start();
    let rig = Rig::of(&nas);
    let mut steps = vec![
        ("truenas-pool", vec![("name", text("tank"))]),
        ("truenas-service", vec![("name", text("nfs"))]),
        ("truenas-service", vec![("name", text("iscsitarget"))]),
        ("truenas-iscsi-portal", vec![]),
        ("truenas-dataset", vec![("path", text("no dataset"))]),
    ];
    let paths: Vec<String> = (0..40).map(|n| format!("tank/d{n}")).collect();
    for path in &paths {
        steps.push(("truenas-dataset", vec![("path", text(path))]));
        steps.push((
            "truenas-nfs-share",
            vec![("path", text(format!("/mnt/{path}")))],
        ));
    }
    for round in 1..=2 {
        let answers = rig.round(&steps).await;
        assert_eq!(answers.len(), steps.len());
        for (answer, (task, given)) in answers.iter().zip(&steps) {
            let senseless = given
                .first()
                .is_some_and(|(_, value)| *value == text("no dataset"));
            assert_eq!(answer.is_err(), senseless, "{task}: {answer:?}");
        }
        for method in [
            "pool.query",
            "pool.dataset.query",
            "sharing.nfs.query",
            "iscsi.portal.query",
            "service.query",
        ] {
            assert_eq!(nas.count(method), round, "{method}");
        }
    }
    assert_eq!(nas.state().connections, 1);
    assert_eq!(
        nas.state().calls.len(),
        1 + 2 * 5,
        "a log-in and two rounds"
    );
}
