//! The page: static files, part of the program.

use axum::{
    http::{
        Method, Uri,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use super::response::Problem;

/// A file of the page.
struct File {
    /// The path of its address.
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// Files of `clients/web/`, served under their own names: `NAME => KIND`.
macro_rules! files {
    ($($name:literal => $kind:expr),+ $(,)?) => {
        &[$(File {
            path: concat!("/", $name),
            kind: $kind,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/web/", $name)),
        }),+]
    };
}

/// All of them, the page itself first.
static FILES: &[File] = files! {
    "index.html" => HTML,
    "login.html" => HTML,
    "style.css" => STYLE,
    "icon.svg" => PICTURE,
    "api.js" => SCRIPT,
    "app.js" => SCRIPT,
    "budget.js" => SCRIPT,
    "calls.js" => SCRIPT,
    "colours.js" => SCRIPT,
    "dom.js" => SCRIPT,
    "help.js" => SCRIPT,
    "meter.js" => SCRIPT,
    "paints.js" => SCRIPT,
    "people.js" => SCRIPT,
    "recordings.js" => SCRIPT,
    "scope.js" => SCRIPT,
    "shortcuts.js" => SCRIPT,
    "sound.js" => SCRIPT,
    "strip.js" => SCRIPT,
    "timeline.js" => SCRIPT,
    "units.js" => SCRIPT,
};

fn answer(file: &File) -> Response {
    // Asked for again each time: a few kilobytes of this machine, which change with the program.
    ([(CONTENT_TYPE, file.kind), (CACHE_CONTROL, "no-cache")], file.bytes).into_response()
}

/// The page. Over TCP, `?token=TOKEN` makes the browser keep the token, and leads here again.
#[utoipa::path(get, path = "/", tag = "page", responses((status = 200, description = "The page.", content_type = "text/html", body = String)))]
pub(super) async fn index() -> Response {
    answer(&FILES[0])
}

/// The page that asks for the token.
pub(super) fn login() -> Response {
    ([(CONTENT_TYPE, HTML)], FILES[1].bytes).into_response()
}

/// Any other file of the page, or nothing.
pub(super) async fn file(method: Method, uri: Uri) -> Response {
    match FILES.iter().find(|file| file.path == uri.path()) {
        Some(file) if method == Method::GET || method == Method::HEAD => answer(file),
        _ => Problem::not_found("there is nothing here; the API is described at /api/v1/openapi.json").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served_with_its_kind() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/web");
        let there: BTreeSet<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".md"))
            .collect();
        let served: BTreeSet<_> = FILES.iter().map(|file| file.path[1..].to_owned()).collect();
        assert_eq!(there, served);
        for file in FILES {
            let kind = match file.path.rsplit_once('.').unwrap().1 {
                "html" => HTML,
                "css" => STYLE,
                "js" => SCRIPT,
                "svg" => "image/svg+xml",
                other => panic!("{other}"),
            };
            assert_eq!(file.kind, kind, "{}", file.path);
        }
        assert_eq!((FILES[0].path, FILES[1].path), ("/index.html", "/login.html"));
    }
}
