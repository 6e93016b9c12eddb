//! Who is let in over TCP, and what browsers are told.

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
