//! Who may use the API over TCP: whoever has the token, and no web page but ours.
//!
//! A page of another site can make the user's browser send requests to 127.0.0.1. What stops it: requests whose `Host` is
//! another name than ours (the site's own name, made to lead here by DNS), whose `Origin` is another, or that the browser
//! marks as made for another site, are refused before anything else is looked at; and the cookie is kept from other sites.

use std::{fmt, hint::black_box, io};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
        header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use zeroize::Zeroizing;

use super::{page, places::Guest, response::Problem};

/// What is shown to whoever has no token, besides the page that asks for it.
const OPEN: [&str; 2] = ["/style.css", "/icon.svg"];

/// The cookie that carries the token.
const NAME: &str = "parlo_token";

/// What opens the API over TCP: 64 digits 0-9, a-f.
#[derive(Clone)]
pub(super) struct Token(Zeroizing<String>);

impl Token {
    /// A new one, of the operating system's randomness.
    pub(super) fn draw() -> io::Result<Self> {
        use std::fmt::Write as _;
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret)?;
        let mut text = Zeroizing::new(String::with_capacity(64));
        for byte in secret.iter() {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text))
    }

    /// The text of its file, read back.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let token = text.strip_suffix('\n').unwrap_or(text);
        let digits = token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (token.len() == 64 && digits).then(|| Self(Zeroizing::new(token.to_owned())))
    }

    /// The text of its file.
    pub(super) fn line(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(65));
        line.push_str(&self.0);
        line.push('\n');
        line
    }

    /// Whether this is it. Takes as long wherever the first difference is.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        own.len() == given.len() && own.iter().zip(given).fold(0, |sum, (a, b)| black_box(sum | (a ^ b))) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What requests over TCP pass.
#[derive(Debug)]
pub(super) struct Auth {
    token: Token,
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// What is to be done with a request.
#[derive(Debug)]
enum Verdict {
    /// It may pass.
    Pass,
    /// It brought the token in its address: from now on it is to come as a cookie.
    Welcome,
    /// It is a person's, who is to say the token.
    Ask,
    /// It may not.
    Refuse(Problem),
}

impl Auth {
    /// For the server at this port.
    pub(super) fn new(port: u16, token: Token) -> Self {
        let names = ["127.0.0.1", "localhost", "[::1]"];
        let mut hosts: Vec<_> = names.iter().map(|name| format!("{name}:{port}")).collect();
        if port == 80 {
            hosts.extend(names.map(str::to_owned));
        }
        let origins = hosts.iter().map(|host| format!("http://{host}")).collect();
        Self { token, hosts, origins }
    }

    fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Verdict {
        let refuse = |text: String| Verdict::Refuse(Problem::new(StatusCode::FORBIDDEN, text));
        let mut hosts = headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        let host = (hosts.next().unwrap_or_default(), hosts.next());
        let ours = |host: &[u8]| self.hosts.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(host));
        let absolute = uri.authority().is_none_or(|authority| ours(authority.as_str().as_bytes()));
        if !ours(host.0) || host.1.is_some() || !absolute {
            return refuse(format!(
                "this API answers to the Host {} only, so that no web page elsewhere can reach it",
                self.hosts.join(", ")
            ));
        }
        if headers
            .get_all(ORIGIN)
            .iter()
            .any(|origin| !self.origins.iter().any(|own| own.as_bytes() == origin.as_bytes()))
        {
            return refuse("this API answers to its own page only, and this request's Origin is another".into());
        }
        // "same-site" would be another port of this machine.
        let site = HeaderName::from_static("sec-fetch-site");
        if headers.get_all(site).iter().any(|site| site != "same-origin" && site != "none") {
            return refuse("this API answers to its own page only, and a page of another site asked for this (Sec-Fetch-Site); type or copy the address instead".into());
        }
        if given(headers).any(|given| self.token.is(given)) {
            return Verdict::Pass;
        }
        if method == Method::GET && uri.path() == "/" {
            let mut pairs = uri.query().unwrap_or_default().split('&');
            if pairs.any(|pair| pair.strip_prefix("token=").is_some_and(|given| self.token.is(given.as_bytes()))) {
                return Verdict::Welcome;
            }
        }
        if method == Method::GET {
            // What the page to log in looks like is no secret.
            if OPEN.contains(&uri.path()) {
                return Verdict::Pass;
            }
            if uri.path() == "/"
                || headers.get_all(ACCEPT).iter().any(|accept| accept.as_bytes().starts_with(b"text/html"))
            {
                return Verdict::Ask;
            }
        }
        Verdict::Refuse(Problem::new(
            StatusCode::UNAUTHORIZED,
            "this needs the daemon's token, which its owner can read in the file \"token\" beside the control socket \
             ($XDG_RUNTIME_DIR/parlo/token): send \"Authorization: Bearer TOKEN\", or open /?token=TOKEN in a browser",
        ))
    }
}

/// What a request gives as the token: in its Authorization, and in its cookies.
fn given(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
    });
    let cookies = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    let cookies = cookies.filter_map(|pair| pair.trim_ascii().strip_prefix(NAME.as_bytes())?.strip_prefix(b"="));
    bearer.chain(cookies)
}

/// Lets a request pass, or answers it.
pub(super) async fn enter(State(gate): State<Arc<Auth>>, request: Request, next: Next) -> Response {
    match gate.judge(request.method(), request.uri(), request.headers()) {
        Verdict::Pass => {
            // Not of what is shown to anybody.
            if let Some(guest) = request.extensions().get::<Guest>()
                && given(request.headers()).any(|given| gate.token.is(given))
            {
                guest.is_owner();
            }
            next.run(request).await
        }
        Verdict::Welcome => {
            let cookie = format!("{NAME}={}; HttpOnly; SameSite=Strict; Path=/", *gate.token.0);
            let headers = [(SET_COOKIE, cookie.as_str()), (LOCATION, "/"), (CACHE_CONTROL, "no-store")];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Verdict::Ask => (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], page::login()).into_response(),
        Verdict::Refuse(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            ([(WWW_AUTHENTICATE, "Bearer")], problem).into_response()
        }
        Verdict::Refuse(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_different_and_never_shown() {
        let (a, b) = (Token::draw().unwrap(), Token::draw().unwrap());
        assert!(a.is(a.0.as_bytes()) && !a.is(b.0.as_bytes()));
        assert!(!a.is(b"") && !a.is(&a.0.as_bytes()[1..]) && !a.is(a.line().as_bytes()));
        for at in [0, 31, 63] {
            let mut near = a.0.as_bytes().to_vec();
            near[at] ^= 1;
            assert!(!a.is(&near));
        }
        assert!(!format!("{:?}", Auth::new(1, a.clone())).contains(a.0.as_str()));
    }

    #[test]
    fn the_matrix_of_hosts_origins_sites_and_tokens() {
        let token = Token::draw().unwrap();
        let gate = Auth::new(7276, token.clone());
        let judge = |uri: &str, headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    value.replace("TOKEN", &token.0).parse().unwrap(),
                );
            }
            match gate.judge(&Method::GET, &uri.replace("TOKEN", &token.0).parse().unwrap(), &map) {
                Verdict::Pass => 200,
                Verdict::Welcome => 303,
                Verdict::Ask => 1401,
                Verdict::Refuse(problem) => problem.status().as_u16(),
            }
        };
        let host = ("host", "127.0.0.1:7276");
        let bearer = ("authorization", "Bearer TOKEN");
        for name in ["127.0.0.1:7276", "localhost:7276", "LOCALHOST:7276", "[::1]:7276"] {
            assert_eq!(judge("/x", &[("host", name), bearer]), 200, "{name}");
        }
        for name in [
            "",
            "127.0.0.1",
            "127.0.0.1:7277",
            "evil.example",
            "evil.example:7276",
            "localhost.evil:7276",
            "127.0.0.2:7276",
        ] {
            assert_eq!(judge("/x", &[("host", name), bearer]), 403, "{name}");
        }
        assert_eq!(judge("/x", &[bearer]), 403, "no Host");
        assert_eq!(judge("/x", &[host, ("host", "evil.example"), bearer]), 403, "two Hosts");
        assert_eq!(judge("http://evil.example/x", &[host, bearer]), 403, "another Host in the first line");
        assert_eq!(judge("http://localhost:7276/x", &[host, bearer]), 200);

        for origin in ["http://127.0.0.1:7276", "http://localhost:7276", "http://[::1]:7276"] {
            assert_eq!(judge("/x", &[host, bearer, ("origin", origin)]), 200, "{origin}");
        }
        for origin in
            ["null", "", "http://evil.example", "https://127.0.0.1:7276", "http://127.0.0.1", "http://127.0.0.1:72760"]
        {
            assert_eq!(judge("/x", &[host, bearer, ("origin", origin)]), 403, "{origin}");
        }
        for (site, status) in [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("", 403)]
        {
            assert_eq!(judge("/x", &[host, bearer, ("sec-fetch-site", site)]), status, "{site}");
        }

        for (header, status) in [
            (bearer, 200),
            (("authorization", "bearer  TOKEN "), 200),
            (("authorization", "TOKEN"), 401),
            (("authorization", "Basic TOKEN"), 401),
            (("authorization", "Bearer TOKEN0"), 401),
            (("authorization", "Bearer "), 401),
            (("authorization", "é"), 401),
            (("cookie", "parlo_token=TOKEN"), 200),
            (("cookie", "a=b; parlo_token=TOKEN;c=d"), 200),
            (("cookie", "xparlo_token=TOKEN"), 401),
            (("cookie", "parlo_token=TOKENx"), 401),
            (("cookie", "parlo_token="), 401),
            (("x-token", "TOKEN"), 401),
        ] {
            assert_eq!(judge("/x", &[host, header]), status, "{header:?}");
        }
        assert_eq!(judge("/?token=TOKEN", &[host]), 303);
        assert_eq!(judge("/?a=b&token=TOKEN", &[host, ("sec-fetch-site", "none")]), 303);
        assert_eq!(judge("/?token=TOKEN", &[host, ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(judge("/x?token=TOKEN", &[host]), 401, "only the page's address may bring it");
        // People are asked for it; programs, and pages elsewhere, are refused.
        let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        for (uri, headers, status) in [
            ("/?token=TOKE", &[host] as &[_], 1401),
            ("/", &[host], 1401),
            ("/", &[host, html, ("sec-fetch-site", "none")], 1401),
            ("/api/v1/status", &[host, html], 1401),
            ("/", &[host, html, ("sec-fetch-site", "cross-site")], 403),
            ("/", &[("host", "evil.example"), html], 403),
            ("/api/v1/status", &[host, ("accept", "application/json")], 401),
            ("/style.css", &[host], 200),
            ("/style.css", &[host, ("sec-fetch-site", "cross-site")], 403),
            ("/app.js", &[host], 401),
        ] {
            assert_eq!(judge(uri, headers), status, "{uri} {headers:?}");
        }
    }
}
