//! All routes, and the OpenAPI document that is made of them.

use parlo_api::{FeedMessage, Message};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{app::App, calls, contacts, daemon, events, feed, metrics, page, recordings, sound};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Parlo's control API",
        description = "What parlod can be asked. On its Unix socket nothing more is needed; over loopback TCP every request needs the \
                       token. A request that fails is answered with a Failure and 400 (a value is not allowed), 401 (the token is \
                       missing or wrong), 403 (a web page from elsewhere asks), 404 (there is no such thing), 405 (this path does \
                       not have this method), 409 (not possible in the present state), 413 (too long), 415 (no JSON), 500 (tried, \
                       and failed) or 503 (too many event streams and feeds)."
    ),
    components(schemas(Message, FeedMessage)),
    modifiers(&Security),
    security((), ("token" = []), ("cookie" = [])),
)]
struct Base;

/// How the token is given, over TCP.
struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::new("parlo_token");
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// All routes but the page's files.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(daemon::status))
        .routes(routes!(daemon::presence, daemon::set_presence))
        .routes(routes!(daemon::shut_down))
        .routes(routes!(calls::list, calls::dial))
        .routes(routes!(calls::one, calls::change, calls::hang_up))
        .routes(routes!(calls::answer))
        .routes(routes!(calls::refuse))
        .routes(routes!(calls::record, calls::stop_recording))
        .routes(routes!(sound::audio, sound::change))
        .routes(routes!(sound::devices))
        .routes(routes!(contacts::list))
        .routes(routes!(contacts::put, contacts::remove))
        .routes(routes!(contacts::put_psk, contacts::remove_psk))
        .routes(routes!(recordings::list))
        .routes(routes!(recordings::file, recordings::remove))
        .routes(routes!(events::stream))
        .routes(routes!(feed::stream))
        .routes(routes!(daemon::openapi))
        .routes(routes!(metrics::scrape))
        .routes(routes!(page::index))
}

/// The document, as JSON.
pub(super) fn text() -> String {
    let (_, mut document) = routes().split_for_parts();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    // Maps with text keys and plain values: there is nothing in it that JSON cannot say.
    document.to_json().unwrap_or_default()
}
