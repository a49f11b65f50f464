//! Packages, accounts, the kernel and ports of the machine that the tests run on.

use super::*;

#[test]
fn the_systems_own_tables() {
    let package = one(Collector::Package, text("dpkg")).unwrap();
    let version = Command::new("dpkg-query")
        .args(["-W", "-f=${Version}", "dpkg"])
        .output()
        .unwrap();
    assert_eq!(
        fact(&package, "version"),
        String::from_utf8(version.stdout).unwrap()
    );
    let list = Value::List(
        ["coreutils", "no-such-thing", "nor-this"]
            .map(text)
            .to_vec(),
    );
    assert_eq!(
        fact(&one(Collector::Package, list).unwrap(), "missing"),
        "no-such-thing nor-this"
    );
    assert_eq!(
        fact(
            &one(Collector::Package, text("no-such-thing")).unwrap(),
            "version"
        ),
        "absent"
    );

    let root = one(Collector::User, text("root")).unwrap();
    assert_eq!(
        (
            fact(&root, "uid"),
            fact(&root, "home"),
            fact(&root, "group")
        ),
        ("0", "/root", "root")
    );
    assert_eq!(
        fact(&one(Collector::User, text("nobody-here")).unwrap(), "uid"),
        "absent"
    );
    assert_eq!(
        fact(&one(Collector::Group, text("root")).unwrap(), "gid"),
        "0"
    );
    assert_eq!(
        fact(&one(Collector::Group, text("nobody-here")).unwrap(), "gid"),
        "absent"
    );

    let kernel =
        |key: &str| fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap();
    for key in ["vm.swappiness", "net.ipv4.tcp_rmem", "kernel.osrelease"] {
        let wanted = kernel(key).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            fact(&one(Collector::Sysctl, text(key)).unwrap(), "value"),
            wanted,
            "{key}"
        );
    }
    assert_eq!(
        fact(
            &one(Collector::Sysctl, text("net.no.such")).unwrap(),
            "value"
        ),
        "absent"
    );
    assert_eq!(
        fact(
            &one(Collector::Module, text("no-such-module")).unwrap(),
            "loaded"
        ),
        "no"
    );
    let some = fs::read_dir("/sys/module")
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    assert_eq!(
        fact(
            &one(Collector::Module, text(some.to_str().unwrap())).unwrap(),
            "loaded"
        ),
        "yes"
    );
}

#[test]
fn ports_that_somebody_listens_on() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let six = std::net::TcpListener::bind("[::1]:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let listening = |subject: String| {
        fact(&one(Collector::Port, text(subject)).unwrap(), "listening").to_owned()
    };
    assert_eq!(listening(port.to_string()), "yes");
    assert_eq!(listening(format!("127.0.0.1:{port}")), "yes");
    assert_eq!(listening(format!("127.0.0.2:{port}")), "no");
    assert_eq!(listening(format!("[::1]:{port}")), "no");
    assert_eq!(listening(format!("[::1]:{six}")), "no", "closed again");
    drop(listener);
    assert_eq!(listening(port.to_string()), "no");
    assert!(one(Collector::Port, text("http")).is_err());
}
