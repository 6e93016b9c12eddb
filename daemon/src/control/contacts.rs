//! Contacts.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use parlo_api::{Contact, ContactEntry, Failure, PskEntry};
use parlo_protocol::{
    identity::{KeyError, PublicKey},
    psk::{Psk, PskError},
};

use super::{
    app::{App, aside},
    response::{Body, Problem},
};
use crate::{
    keys::{KeysError, KnownPeer, Peers},
    sentence_of,
};

fn told(peer: &KnownPeer, peers: &Peers) -> Contact {
    Contact {
        name: peer.name.clone(),
        address: peer.address.clone(),
        key: peer.key.to_string(),
        fingerprint: peer.key.fingerprint(),
        auto_answer: peer.auto_answer,
        psk: peers.psk(&peer.key).is_some(),
    }
}

/// Whom the user knows.
#[utoipa::path(get, path = "/api/v1/contacts", tag = "contacts", responses(
    (status = 200, description = "The contacts.", body = [Contact]),
    (status = "default", description = "The list cannot be read.", body = Failure),
))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<Contact>>, Problem> {
    let known = app.extras.known;
    let peers = aside(move || known.read()).await??;
    Ok(Json(peers.iter().map(|peer| told(peer, &peers)).collect()))
}

/// Adds a contact, or changes the one of that name. A name that stands for another key is not changed: remove it first.
#[utoipa::path(put, path = "/api/v1/contacts/{name}", tag = "contacts", params(("name" = String, Path, description = "The contact's name.")),
    request_body = ContactEntry, responses(
    (status = 200, description = "The contact as it is now.", body = Contact),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn put(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(entry): Body<ContactEntry>,
) -> Result<Json<Contact>, Problem> {
    let key: PublicKey = entry.key.parse().map_err(|error: KeyError| {
        let why = sentence_of(&error);
        Problem::new(StatusCode::BAD_REQUEST, format!("\"{}\" is no key: {why}", entry.key.escape_debug()))
    })?;
    let known = app.extras.known;
    let put = move || {
        let peer = known.put(&name, entry.address.as_deref(), &key, entry.auto_answer)?;
        Ok::<_, KeysError>(told(&peer, &known.read()?))
    };
    Ok(Json(aside(put).await??))
}

/// Forgets a contact.
#[utoipa::path(delete, path = "/api/v1/contacts/{name}", tag = "contacts", params(("name" = String, Path, description = "The contact's name.")), responses(
    (status = 204, description = "The contact is removed."),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn remove(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let known = app.extras.known;
    let called = name.clone();
    match aside(move || known.remove(&called)).await?? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("nobody is called \"{}\"", name.escape_debug()))),
    }
}

/// Shares a secret with a contact, in place of any that was shared before. Calls with it need the same on the other side from now on.
#[utoipa::path(put, path = "/api/v1/contacts/{name}/psk", tag = "contacts", params(("name" = String, Path, description = "The contact's name.")),
    request_body = PskEntry, responses(
    (status = 204, description = "The secret is set."),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn put_psk(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(entry): Body<PskEntry>,
) -> Result<StatusCode, Problem> {
    // What is no secret is not shown: it may be one, mistyped.
    let psk: Psk = entry
        .psk
        .trim()
        .parse()
        .map_err(|error: PskError| Problem::new(StatusCode::BAD_REQUEST, sentence_of(&error)))?;
    set_psk(app, name, Some(psk)).await
}

/// Shares no secret with a contact any more.
#[utoipa::path(delete, path = "/api/v1/contacts/{name}/psk", tag = "contacts", params(("name" = String, Path, description = "The contact's name.")), responses(
    (status = 204, description = "The contact has no secret now."),
    (status = "default", description = "The request failed; the body says why.", body = Failure),
))]
pub(super) async fn remove_psk(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    set_psk(app, name, None).await
}

async fn set_psk(app: App, name: String, psk: Option<Psk>) -> Result<StatusCode, Problem> {
    let known = app.extras.known;
    let called = name.clone();
    match aside(move || known.set_psk(&called, psk.as_ref())).await?? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("nobody is called \"{}\"", name.escape_debug()))),
    }
}
