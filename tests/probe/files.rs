//! Files of any name and kind, seen as they are.

use super::*;

#[test]
fn files_of_any_name_are_seen_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut asks = Vec::new();
    for name in ODD {
        fs::write(at(name), format!("of {name}\n\n")).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o4641)).unwrap();
        let subject = || text(at(name));
        asks.push(ask(vec![
            question(Collector::Stat, subject()),
            question(Collector::Digest, subject()),
            question(Collector::Content, subject()),
            Question {
                prefix: "line".into(),
                ..question(
                    Collector::Line,
                    map([
                        ("path", subject()),
                        ("line", text(format!("of {}", name.lines().next().unwrap()))),
                    ]),
                )
            },
        ]));
    }
    let answer = look(asks);
    for (name, facts) in ODD.iter().zip(answer.facts) {
        let facts = facts.unwrap();
        let content = format!("of {name}\n\n");
        assert_eq!(fact(&facts, "kind"), "file", "{name}");
        assert_eq!(fact(&facts, "mode"), "4641", "{name}");
        assert_eq!(fact(&facts, "owner"), "root:root", "{name}");
        assert_eq!(fact(&facts, "size"), content.len().to_string(), "{name}");
        assert_eq!(fact(&facts, "content"), content, "{name}");
        assert_eq!(fact(&facts, "line.present"), "yes", "{name}");
        let digest = <sha2::Sha256 as sha2::Digest>::digest(content.as_bytes());
        assert_eq!(fact(&facts, "sha256"), hex::encode(digest), "{name}");
    }
}

#[test]
fn what_is_not_there_is_absent_and_what_is_no_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| text(folder.path().join(name).to_str().unwrap());
    symlink("gone", folder.path().join("broken")).unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    fs::write(folder.path().join("large"), vec![b'x'; 300_000]).unwrap();
    fs::write(folder.path().join("nul"), "a\0b").unwrap();
    fs::write(folder.path().join("nul-end"), "a\0").unwrap();
    fs::write(folder.path().join("latin1"), b"\xe4").unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let names = [
        "gone",
        "empty/below",
        "broken",
        "pipe",
        "empty",
        "large",
        "nul",
        "nul-end",
        "latin1",
        ".",
    ];
    let asks = names
        .iter()
        .flat_map(|name| {
            [Collector::Stat, Collector::Digest, Collector::Content]
                .map(|collector| ask(vec![question(collector, at(name))]))
        })
        .collect();
    let answer = look(asks);
    let said: Vec<String> = answer
        .facts
        .chunks(3)
        .map(|facts| {
            let word = |index: usize, name: &str| match &facts[index] {
                Ok(facts) => fact(facts, name).chars().take(8).collect(),
                Err(fault) => {
                    format!(
                        "({})",
                        fault.message.replace(folder.path().to_str().unwrap(), "")
                    )
                }
            };
            format!(
                "{} {} {}",
                word(0, "kind"),
                word(1, "sha256"),
                word(2, "content")
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "absent absent absent",
            "absent absent absent",
            "symlink absent absent",
            "other other (/pipe is no regular file)",
            "file e3b0c442 ",
            "file 29927e27 (/large holds 300000 bytes, more than 262144)",
            "file 59b271ae (/nul holds NUL bytes)",
            "file ffe9aaea (/nul-end holds NUL bytes)",
            "file 5e1effe9 (/latin1 is not text)",
            "director director (/. is no regular file)",
        ]
        .map(str::to_owned)
    );
    let link = one(Collector::Stat, at("broken")).unwrap();
    assert_eq!(fact(&link, "link"), "gone");
}

#[test]
fn five_thousand_paths_fit() {
    let folder = tempfile::tempdir().unwrap();
    let mut asks = Vec::new();
    for index in 0..5000 {
        let path = folder
            .path()
            .join(format!("a file with a rather long name, number {index}"));
        if index % 2 == 0 {
            fs::write(&path, format!("{index}")).unwrap();
        }
        let path = path.to_str().unwrap();
        asks.push(ask(vec![
            question(Collector::Stat, text(path)),
            question(Collector::Digest, text(path)),
        ]));
    }
    let answer = look(asks);
    for (index, facts) in answer.facts.iter().enumerate() {
        let facts = facts.as_ref().unwrap();
        let wanted = if index % 2 == 0 { "file" } else { "absent" };
        assert_eq!(fact(facts, "kind"), wanted, "{index}");
        assert_eq!(fact(facts, "sha256") == "absent", index % 2 == 1);
    }
    assert!(answer.host.unwrap().processes < 25);
}
