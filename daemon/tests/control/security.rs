//! Who is let in over TCP, and what browsers are told.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};

use crate::stand::{Answer, Stand, ask};

async fn tcp(stand: &Stand, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(stand.tcp().await, method, path, headers, "").await
}

#[tokio::test]
async fn over_tcp_everything_needs_the_token_and_our_own_name() {
    let stand = Stand::new();
    let (port, token) = (stand.port(), stand.token());
    let host = format!("127.0.0.1:{port}");
    let bearer = format!("Bearer {token}");
    let wrong = format!("Bearer {}", "0".repeat(64));
    let origin = format!("http://localhost:{port}");
    for path in [
        "/",
        "/app.js",
        "/metrics",
        "/api/v1/status",
        "/api/v1/openapi.json",
        "/api/v1/events",
        "/api/v1/calls/7/feed",
        "/nothing",
    ] {
        let refused = tcp(&stand, "GET", path, &[("host", &host)]).await;
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(refused.header("www-authenticate"), "Bearer", "{path}");
        // People are asked for it, programs told.
        if path == "/" {
            assert_eq!(refused.header("content-type"), "text/html; charset=utf-8");
        } else {
            assert!(refused.error().contains("token"), "{refused:?}");
        }
        assert_eq!(tcp(&stand, "GET", path, &[("host", &host), ("authorization", &wrong)]).await.status, 401, "{path}");
        for (name, value, word) in [
            ("host", "evil.example", "Host"),
            ("origin", "http://evil.example", "Origin"),
            ("origin", "null", "Origin"),
            ("sec-fetch-site", "cross-site", "Sec-Fetch-Site"),
        ] {
            let mut headers = vec![("authorization", bearer.as_str()), (name, value)];
            if name != "host" {
                headers.push(("host", &host));
            }
            let refused = tcp(&stand, "GET", path, &headers).await;
            assert_eq!(refused.status, 403, "{path} {name} {value}");
            assert!(refused.error().contains(word), "{}", refused.error());
        }
    }
    for method in ["POST", "DELETE", "OPTIONS", "PUT"] {
        assert_eq!(tcp(&stand, method, "/api/v1/shutdown", &[("host", &host)]).await.status, 401, "{method}");
    }
    assert!(stand.asked().is_empty());
    let right =
        [("host", host.as_str()), ("authorization", &bearer), ("origin", &origin), ("sec-fetch-site", "same-origin")];
    assert_eq!(tcp(&stand, "GET", "/api/v1/status", &right).await.status, 200);
    assert_eq!(tcp(&stand, "POST", "/api/v1/calls/7/answer", &right).await.status, 200);
    // No answer invites other sites.
    assert!(tcp(&stand, "GET", "/api/v1/status", &right).await.headers.get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn a_browser_brings_the_token_once_and_then_a_cookie() {
    let stand = Stand::new();
    let (host, token) = (format!("localhost:{}", stand.port()), stand.token());
    let welcome = tcp(&stand, "GET", &format!("/?token={token}"), &[("host", &host), ("sec-fetch-site", "none")]).await;
    assert_eq!((welcome.status, welcome.header("location")), (303, "/"));
    let cookie = welcome.header("set-cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap();
    let page = tcp(&stand, "GET", "/", &[("host", &host), ("cookie", pair)]).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(tcp(&stand, "GET", "/api/v1/status", &[("host", &host), ("cookie", pair)]).await.status, 200);
    assert_eq!(tcp(&stand, "GET", "/?token=no", &[("host", &host)]).await.status, 401);
    // Another daemon, elsewhere, has another token.
    let other = Stand::new();
    assert_ne!(other.token(), token);
    let host = format!("localhost:{}", other.port());
    assert_eq!(tcp(&other, "GET", "/", &[("host", &host), ("cookie", pair)]).await.status, 401);
}

#[tokio::test]
async fn event_streams_are_guarded_as_everything_else() {
    let stand = Stand::new();
    let (port, bearer) = (stand.port(), format!("Bearer {}", stand.token()));
    let connect = async |headers: &[(&'static str, &str)]| {
        let mut request = format!("ws://127.0.0.1:{port}/api/v1/events").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::client_async(request, stand.tcp().await).await {
            Ok(_) => 101,
            Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    let own = format!("http://127.0.0.1:{port}");
    assert_eq!(connect(&[("authorization", &bearer)]).await, 101);
    assert_eq!(connect(&[("authorization", &bearer), ("origin", &own)]).await, 101);
    assert_eq!(connect(&[]).await, 401);
    assert_eq!(connect(&[("authorization", &bearer), ("origin", "http://evil.example")]).await, 403);
    assert_eq!(connect(&[("authorization", &bearer), ("host", "evil.example")]).await, 403);
}

#[tokio::test]
async fn every_answer_tells_browsers_what_they_may_do_with_it() {
    let stand = Stand::new();
    for path in ["/", "/index.html", "/style.css", "/app.js", "/api/v1/status", "/metrics", "/nothing"] {
        let answer = stand.get(path).await;
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'self'", "connect-src 'self'", "media-src 'self' blob:", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert!(["no-store", "no-cache"].contains(&answer.header("cache-control")), "{path}");
    }
    for (path, kind) in [("/", "text/html"), ("/style.css", "text/css"), ("/app.js", "text/javascript")] {
        let answer = stand.get(path).await;
        assert!(answer.header("content-type").starts_with(kind) && !answer.body.is_empty(), "{path}");
        let head = stand.ask("HEAD", path, "").await;
        assert!(head.status == 200 && head.body.is_empty(), "{path}");
        assert!(stand.ask("POST", path, "").await.status >= 404, "{path}");
    }
}

#[tokio::test]
async fn slow_strangers_keep_the_owner_from_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let stand = Stand::new();
    let (host, bearer) = (format!("127.0.0.1:{}", stand.port()), format!("Bearer {}", stand.token()));
    let owner = [("host", host.as_str()), ("authorization", &bearer)];
    // An owner's stream that was there before stays, whoever comes.
    let mut request = format!("ws://{host}/api/v1/events").into_client_request().unwrap();
    request.headers_mut().insert("authorization", bearer.parse().unwrap());
    let (mut events, _) = tokio_tungstenite::client_async(request, stand.tcp().await).await.unwrap();
    let mut strangers = Vec::new();
    for n in 0..600 {
        let Ok(mut stream) = tokio::net::TcpStream::connect(host.as_str()).await else { break };
        // Half a head; or a body that never comes, of a request without the token, and of one to log in.
        let begun: &[u8] = match n % 3 {
            0 => b"GET / HTTP/1.1\r\nHost: ",
            1 => b"POST /api/v1/calls HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
            _ => b"",
        };
        let _ = stream.write_all(begun).await;
        strangers.push(stream);
        if n % 100 == 99 {
            let begun = std::time::Instant::now();
            assert_eq!(tcp(&stand, "GET", "/api/v1/status", &owner).await.status, 200);
            assert!(begun.elapsed().as_secs_f64() < 1.5, "{n} strangers: {:?}", begun.elapsed());
        }
    }
    assert!(strangers.len() > 300);
    events.send(tungstenite::Message::Ping(vec![1].into())).await.unwrap();
    while !matches!(events.next().await.unwrap().unwrap(), tungstenite::Message::Pong(_)) {}
}

#[tokio::test]
async fn heads_and_bodies_that_do_not_come_are_not_waited_for() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let stand = Stand::new();
    let ends = async |begun: &[u8], least: f64, most: f64| {
        let mut stream = stand.unix().await;
        stream.write_all(begun).await.unwrap();
        let start = std::time::Instant::now();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let waited = start.elapsed().as_secs_f64();
        assert!((least..most).contains(&waited), "{waited} s for {}", String::from_utf8_lossy(begun));
        String::from_utf8_lossy(&answer).into_owned()
    };
    let head = b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nX: ";
    let body = b"POST /api/v1/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let (_, answer) = tokio::join!(ends(head, 4.0, 7.5), ends(body, 9.0, 13.0));
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("10 seconds"), "{answer}");
    assert!(stand.asked().is_empty());
}
