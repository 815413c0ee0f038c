//! The listeners, over real sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::http::Server;

async fn start() -> (Server, Arc<Hub>) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = Settings {
        http_listen: any,
        operator_listen: any,
        ..Settings::default()
    };
    let hub = Arc::new(Hub::default());
    let engines = Arc::new(Scripted::default());
    let server = Server::start(settings, engines, Arc::clone(&hub), Arc::default(), None).await;
    (server.expect("loopback has free ports"), hub)
}

/// Sends bytes and reads until the server closes.
async fn exchange(address: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn offer() -> String {
    "POST /whip/demo HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nicy-metadata: 1\r\n\
     cache-control: no-cache\r\nConnection: close\r\nContent-Length: 5\r\n\r\nv=0\r\n"
        .to_owned()
}

#[tokio::test]
async fn a_client_that_closes_its_connection_gets_its_answer_first() {
    let (server, _) = start().await;
    let answer = exchange(server.local_addr(), &offer())
        .await
        .expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.ends_with(ANSWER));
    server.shutdown().await;
}

#[tokio::test]
async fn an_answer_comes_in_one_piece() {
    let (server, _) = start().await;
    let mut stream = TcpStream::connect(server.local_addr())
        .await
        .expect("a connection");
    stream
        .write_all(offer().as_bytes())
        .await
        .expect("a request");
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(
        text.starts_with("HTTP/1.1 201") && text.ends_with(ANSWER),
        "{text}"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_head_that_does_not_end_is_refused() {
    let (server, _) = start().await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "x".repeat(17 * 1024)
    );
    let answer = exchange(server.local_addr(), &head)
        .await
        .unwrap_or_default();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    server.shutdown().await;
}

#[tokio::test]
async fn the_operator_sees_metrics_and_probes_and_clients_do_not() {
    let (server, _) = start().await;
    exchange(server.local_addr(), &offer())
        .await
        .expect("an answer");
    let get = |address, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        async move { exchange(address, &request).await.expect("an answer") }
    };
    let metrics = get(server.operator_addr(), "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"));
    let counted =
        "plenum_http_requests_total{method=\"POST\",route=\"/whip/{room}\",status=\"201\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("plenum_join_seconds_count{stage=\"http\"} 1"));
    assert!(metrics.contains("plenum_shards_unanswered 0"));

    for (path, before, drained) in [
        ("/livez", 200, 200),
        ("/readyz", 200, 503),
        ("/nothing", 404, 404),
    ] {
        let answer = get(server.operator_addr(), path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {before} ")),
            "{path}: {answer}"
        );
        server.drain(Duration::from_secs(60));
        let answer = get(server.operator_addr(), path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {drained} ")),
            "{path}: {answer}"
        );
        server.app.drain.undo();
    }
    for path in ["/metrics", "/livez", "/readyz"] {
        assert!(
            get(server.local_addr(), path)
                .await
                .starts_with("HTTP/1.1 404 ")
        );
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_streams_and_idle_connections_and_frees_its_ports() {
    let (server, _) = start().await;
    let address = server.local_addr();
    let idle = TcpStream::connect(address).await.expect("a connection");
    let answer = exchange(address, &offer()).await.expect("an answer");
    let location = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .expect("a location");
    let request = format!("GET {location}/events HTTP/1.1\r\nHost: x\r\n\r\n");
    let reading = tokio::spawn(async move { exchange(address, &request).await });
    // The stream is open once it is counted.
    while server.app.metrics.event_streams().get() == 0 {
        tokio::task::yield_now().await;
    }
    let stopped = tokio::time::timeout(Duration::from_secs(2), server.shutdown()).await;
    assert!(stopped.is_ok(), "nothing held it up");
    let events = reading.await.expect("the reader").expect("a whole answer");
    assert!(
        events.ends_with("0\r\n\r\n"),
        "the stream ended properly: {events}"
    );
    drop(idle);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_setting() {
    let (server, _) = start().await;
    let settings = Settings {
        http_listen: server.local_addr(),
        ..Settings::default()
    };
    let engines = Arc::new(Scripted::default());
    let error = Server::start(settings, engines, Arc::default(), Arc::default(), None)
        .await
        .err();
    let text = error.expect("the port is taken").to_string();
    assert!(
        text.starts_with(&format!("--http {}", server.local_addr())),
        "{text}"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn an_operator_sees_who_is_where_and_clients_do_not() {
    let (server, _) = start().await;
    let get = |address, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        async move { exchange(address, &request).await.expect("an answer") }
    };
    let operator = server.operator_addr();
    let rooms = get(operator, "/rooms").await;
    assert!(
        rooms.starts_with("HTTP/1.1 200 ") && rooms.ends_with("[]"),
        "{rooms}"
    );
    let whole = get(operator, "/server").await;
    assert!(
        whole.starts_with("HTTP/1.1 200 ") && whole.contains(r#""refuses":null"#),
        "{whole}"
    );
    let stats = get(operator, "/rooms/demo/participants/ada/stats").await;
    assert!(stats.starts_with("HTTP/1.1 404 "), "{stats}");
    for (path, content_type) in [
        ("/admin", "text/html"),
        ("/admin/admin.js", "text/javascript"),
        ("/admin/words.js", "text/javascript"),
        ("/admin/admin.css", "text/css"),
    ] {
        let file = get(operator, path).await;
        assert!(
            file.starts_with("HTTP/1.1 200 ") && file.contains(content_type),
            "{file}"
        );
        assert_eq!(
            file.contains("content-security-policy"),
            content_type == "text/html",
            "{file}"
        );
        let outside = get(server.local_addr(), path).await;
        assert!(outside.starts_with("HTTP/1.1 404 "), "{path}: {outside}");
    }
    server.shutdown().await;
}
