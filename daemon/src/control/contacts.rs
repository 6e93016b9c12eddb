//! Contacts.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use parlo_control::{Contact, ContactEntry, Failure};
use parlo_protocol::identity::PublicKey;

use super::{
    app::{App, aside},
    response::{Body, Problem},
};
use crate::keys::Peer;

fn told(peer: &Peer) -> Contact {
    Contact {
        name: peer.name.clone(),
        address: peer.address.clone(),
        key: peer.key.to_string(),
        fingerprint: peer.key.fingerprint(),
        auto_answer: peer.auto_answer,
    }
}

/// Whom the user knows.
#[utoipa::path(get, path = "/api/v1/contacts", tag = "contacts", responses(
    (status = 200, description = "These.", body = [Contact]),
    (status = "default", description = "The list cannot be read.", body = Failure),
))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<Contact>>, Problem> {
    let known = app.extras.known;
    let peers = aside(move || known.read()).await??;
    Ok(Json(peers.iter().map(told).collect()))
}

/// Adds a contact, or changes the one of that name. A name that stands for another key is not changed: remove it first.
#[utoipa::path(put, path = "/api/v1/contacts/{name}", tag = "contacts", params(("name" = String, Path, description = "Its name.")),
    request_body = ContactEntry, responses(
    (status = 200, description = "So it is now.", body = Contact),
    (status = "default", description = "It was not done.", body = Failure),
))]
pub(super) async fn put(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(entry): Body<ContactEntry>,
) -> Result<Json<Contact>, Problem> {
    let key: PublicKey = entry.key.parse().map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("\"{}\" is no key: {error}", entry.key.escape_debug()))
    })?;
    let known = app.extras.known;
    let put = move || known.put(&name, entry.address.as_deref(), &key, entry.auto_answer);
    Ok(Json(told(&aside(put).await??)))
}

/// Forgets a contact.
#[utoipa::path(delete, path = "/api/v1/contacts/{name}", tag = "contacts", params(("name" = String, Path, description = "Its name.")), responses(
    (status = 204, description = "It is forgotten."),
    (status = "default", description = "It was not done.", body = Failure),
))]
pub(super) async fn remove(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let known = app.extras.known;
    let called = name.clone();
    match aside(move || known.remove(&called)).await?? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("nobody is called \"{}\"", name.escape_debug()))),
    }
}
