//! The way to a TrueNAS: who it is, whether it takes the key, and what is cut on the way.

use std::time::Duration;

use foundry::secret::Secret;
use foundry::target::truenas::{Address, Client, TrueNasError, Trust, offered};
use serde_json::json;

use super::rig::{Rig, text};
use super::truenas::{Cut, KEY, TrueNas, USER};

async fn fault(rig: &Rig) -> String {
    let fault = rig.observe("truenas-pool", &[("name", text("tank"))]).await;
    fault.unwrap_err().message
}

#[tokio::test]
async fn a_key_logs_in_with_and_without_its_users_name() {
    let nas = TrueNas::start();
    let mut rig = Rig::of(&nas);
    let pool = [("name", text("tank"))];
    assert_eq!(rig.wrong("truenas-pool", &pool).await, [""; 0]);
    assert_eq!(nas.count("auth.login_with_api_key"), 1);
    rig.username = USER.to_owned();
    assert_eq!(rig.wrong("truenas-pool", &pool).await, [""; 0]);
    assert_eq!(nas.count("auth.login_ex"), 1);
    assert_eq!(nas.state().connections, 2, "a connection for each log-in");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_never_told() {
    let nas = TrueNas::start();
    let mut rig = Rig::of(&nas);
    rig.key = "1-wrong-key-wrong-key".to_owned();
    let told = fault(&rig).await;
    assert!(
        told.starts_with("TrueNAS refuses the API key: it is not valid; make a key"),
        "{told}"
    );
    rig.username = "somebody".to_owned();
    let named = fault(&rig).await;
    assert!(
        named.contains("it is not valid, or not `somebody`'s"),
        "{named}"
    );
    assert!(
        !told.contains("wrong-key") && !named.contains("wrong-key"),
        "{told}\n{named}"
    );
}

#[tokio::test]
async fn the_newest_wants_to_know_whose_key_it_is() {
    let nas = TrueNas::start();
    nas.state().newest = true;
    let mut rig = Rig::of(&nas);
    let told = fault(&rig).await;
    assert!(
        told.contains("wants to know whose key it is (`username`)"),
        "{told}"
    );
    rig.username = USER.to_owned();
    assert_eq!(
        rig.wrong("truenas-pool", &[("name", text("tank"))]).await,
        [""; 0]
    );
}

#[tokio::test]
async fn a_certificate_must_be_known() {
    let nas = TrueNas::start();
    let mut rig = Rig::of(&nas);
    rig.ca = String::new();
    let told = fault(&rig).await;
    assert!(told.contains("certificate is not to be trusted"), "{told}");
    let shown = format!("`fingerprint: {}`", nas.fingerprint());
    assert!(told.contains(&shown), "{told}");
    assert_eq!(nas.state().calls.len(), 0, "nothing is said to a stranger");

    rig.fingerprint = nas.fingerprint().to_owned();
    assert_eq!(
        rig.wrong("truenas-pool", &[("name", text("tank"))]).await,
        [""; 0]
    );

    let other = TrueNas::start();
    rig.fingerprint = other.fingerprint().to_owned();
    let told = fault(&rig).await;
    assert!(told.contains("certificate is not to be trusted"), "{told}");
    let address = Address::parse(&nas.url()).unwrap();
    assert_eq!(offered(&address).await.unwrap(), nas.fingerprint());
}

#[tokio::test]
async fn what_is_no_such_truenas_is_said_so() {
    let nas = TrueNas::start();
    let mut rig = Rig::of(&nas);
    nas.state().too_old = true;
    let told = fault(&rig).await;
    assert!(
        told.contains("does not serve API v25.10.0: its TrueNAS is older than 25.10"),
        "{told}"
    );
    rig.url = nas.url().replace("https", "http");
    let told = fault(&rig).await;
    assert!(told.contains("takes back an API key"), "{told}");
    rig.url = "https://127.0.0.1:1".to_owned();
    let told = fault(&rig).await;
    assert!(
        told.starts_with("TrueNAS does not answer: 127.0.0.1:1: "),
        "{told}"
    );
}

#[tokio::test]
async fn a_look_whose_connection_is_cut_is_made_anew() {
    let nas = TrueNas::start();
    let rig = Rig::of(&nas);
    for cut in [Cut::Before, Cut::After] {
        nas.state().cuts.push(("pool.query", cut));
        assert_eq!(
            rig.wrong("truenas-pool", &[("name", text("tank"))]).await,
            [""; 0]
        );
    }
    assert_eq!(nas.state().connections, 3);
    // Twice in a row is no accident any more.
    nas.state().cuts.extend([("pool.query", Cut::Before); 2]);
    let told = fault(&rig).await;
    assert!(told.contains("was cut during pool.query"), "{told}");
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends() {
    let nas = TrueNas::start();
    nas.state().deaf.push("pool.query");
    let address = Address::parse(&nas.url()).unwrap();
    let trust = Trust::read(nas.ca(), "").unwrap();
    let key = Secret::new(KEY.to_owned());
    let client = Client::connect(&address, &trust, "", &key).await.unwrap();
    let limit = Duration::from_millis(100);
    let slow = client
        .call("pool.query", &json!([]), limit)
        .await
        .unwrap_err();
    assert!(matches!(slow, TrueNasError::Slow { .. }), "{slow}");
    // The connection serves others meanwhile.
    let limit = Duration::from_secs(10);
    client.call("system.info", &json!([]), limit).await.unwrap();
    let refused = client
        .call("pool.explode", &json!([]), limit)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "TrueNAS answers pool.explode: Method does not exist"
    );
}
