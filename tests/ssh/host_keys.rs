//! Host keys that differ or that nothing is known of.

use super::*;

#[tokio::test]
async fn another_host_key_than_the_known_one_is_refused_and_nobody_is_asked() {
    let Some(sshd) = Sshd::start("") else { return };
    let other = generate_key("").unwrap().1;
    let person = Arc::new(Person {
        trusts: true,
        ..Person::default()
    });
    let asking = AccessSettings {
        host_keys: HostKeys::Ask,
        prompts: Some(person.clone()),
        ..settings(&sshd.path(""))
    };
    let mut pinned = host("a", &sshd);
    pinned.host_key = Some(other.clone());
    let fleet = Fleet::new(stack(vec![pinned]), asking.clone());
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    assert!(error.message.contains("`host_key` in the stack"), "{error}");

    let mut known = host("a", &sshd);
    known.host_key = None;
    std::fs::write(
        &asking.known_hosts,
        format!("# mine\n[127.0.0.1]:{} {other}\n", sshd.port),
    )
    .unwrap();
    let fleet = Fleet::new(stack(vec![known]), asking.clone());
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    let place = format!("{}:2", asking.known_hosts.display());
    assert!(error.message.contains(&place), "{error}");
    assert!(error.message.contains("expected SHA256:"), "{error}");
    assert_eq!(person.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_or_asked_about_once() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut unknown = host("a", &sshd);
    unknown.host_key = None;
    let stack = stack(vec![unknown]);
    let strict = settings(&sshd.path(""));
    let error = Fleet::new(stack.clone(), strict.clone())
        .reader(H)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    let hint = error.hint.unwrap();
    let line: Vec<&str> = sshd.host_key.split(' ').take(2).collect();
    assert!(hint.contains(&line.join(" ")), "{hint}");

    let asked = |trusts| {
        let person = Arc::new(Person {
            trusts,
            ..Person::default()
        });
        let settings = AccessSettings {
            host_keys: HostKeys::Ask,
            prompts: Some(person.clone()),
            ..strict.clone()
        };
        (person, Fleet::new(stack.clone(), settings))
    };
    let (person, fleet) = asked(false);
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    assert_eq!(person.asked().len(), 1);
    assert!(!strict.known_hosts.exists());

    let (person, fleet) = asked(true);
    fleet.reader(H).await.unwrap();
    assert_eq!(person.asked().len(), 1);
    assert!(person.asked()[0].starts_with("key a SHA256:"));
    // Written down: the next one is strict and gets in.
    Fleet::new(stack.clone(), strict).reader(H).await.unwrap();
}
