//! How many stars readers give.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// The answer to `GET /ratings/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ratings {
    pub(crate) id: u32,
    /// One to five stars, by reviewer.
    pub(crate) ratings: BTreeMap<String, u8>,
    pub(crate) served_by: Identity,
}

/// The part's pages.
pub(crate) fn router(identity: Identity) -> Router {
    Router::new().route("/ratings/{id}", get(ratings)).with_state(identity)
}

async fn ratings(State(served_by): State<Identity>, Path(id): Path<u32>) -> Json<Ratings> {
    let ratings = BTreeMap::from([("Reviewer1".to_owned(), 5), ("Reviewer2".to_owned(), 4)]);
    Json(Ratings { id, ratings, served_by })
}
