//! Ports that lead to a host.

use super::*;

#[tokio::test]
async fn a_tunnel_leads_to_the_hosts_loopback_until_it_is_dropped() {
    let Some(sshd) = Sshd::start("") else { return };
    let fleet = fleet(&sshd);
    let writer = fleet.writer(H).await.unwrap();
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        loop {
            let (mut stream, _) = service.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let tunnel = writer.forward(port).await.unwrap();
    let address = tunnel.address();
    let talk = |bytes: Vec<u8>| async move {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let (mut read, mut write) = stream.split();
        let mut answer = Vec::new();
        let (sent, got) = tokio::join!(
            async {
                write.write_all(&bytes).await?;
                write.shutdown().await
            },
            read.read_to_end(&mut answer)
        );
        sent.and(got.map(|_| answer == bytes))
    };
    let all = (0..8).map(|n| talk(vec![n; 700_000]));
    for whole in futures::future::join_all(all).await {
        assert!(whole.unwrap());
    }
    // Nobody else on this machine gets through.
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::process::CommandExt as _;
        let (ip, port) = (address.ip(), address.port());
        let text = format!("exec 3<>/dev/tcp/{ip}/{port}; echo hello >&3; timeout 5 head -n 1 <&3");
        let mut other = std::process::Command::new("bash");
        other
            .args(["-c", &text])
            .uid(65534)
            .gid(65534)
            .current_dir("/");
        let said = tokio::task::spawn_blocking(move || other.output().unwrap().stdout);
        assert_eq!(String::from_utf8_lossy(&said.await.unwrap()), "");
    }
    // The connection goes; the tunnel finds another.
    sshd.kill_sessions();
    let mut again = false;
    for _ in 0..50 {
        again = talk(b"hello".to_vec()).await.is_ok_and(|whole| whole);
        if again {
            break;
        }
    }
    assert!(again, "{:?}", tunnel.trouble());
    drop(tunnel);
    eventually("the port closes", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    echo.abort();
}

#[tokio::test]
async fn a_tunnel_says_what_is_wrong_at_the_far_side() {
    let Some(sshd) = Sshd::start("") else { return };
    let hosts = fleet(&sshd);
    let writer = hosts.writer(H).await.unwrap();
    let closed = writer.forward(1).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(closed.address())
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    eventually("the trouble is known", || closed.trouble().is_some()).await;
    let trouble = closed.trouble().unwrap();
    assert!(trouble.contains("nothing answers on port 1"), "{trouble}");

    let Some(forbidding) = Sshd::start("AllowTcpForwarding no") else {
        return;
    };
    let hosts = fleet(&forbidding);
    let writer = hosts.writer(H).await.unwrap();
    let error = writer.forward(1).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::Host);
    assert!(error.hint.unwrap().contains("AllowTcpForwarding"));
}
