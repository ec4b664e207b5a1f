//! What is printed on the book.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// The answer to `GET /details/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Details {
    pub(crate) id: u32,
    pub(crate) author: String,
    pub(crate) year: u32,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) pages: u32,
    pub(crate) publisher: String,
    pub(crate) language: String,
    #[serde(rename = "ISBN-10")]
    pub(crate) isbn_10: String,
    #[serde(rename = "ISBN-13")]
    pub(crate) isbn_13: String,
    pub(crate) served_by: Identity,
}

/// The part's pages.
pub(crate) fn router(identity: Identity) -> Router {
    Router::new().route("/details/{id}", get(details)).with_state(identity)
}

async fn details(State(served_by): State<Identity>, Path(id): Path<u32>) -> Json<Details> {
    Json(Details {
        id,
        author: "William Shakespeare".to_owned(),
        year: 1595,
        kind: "paperback".to_owned(),
        pages: 200,
        publisher: "PublisherA".to_owned(),
        language: "English".to_owned(),
        isbn_10: "1234567890".to_owned(),
        isbn_13: "123-1234567890".to_owned(),
        served_by,
    })
}
