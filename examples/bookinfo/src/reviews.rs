//! What readers say: v1 without stars, v2 with black ones, v3 with red ones.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::call;
use crate::identity::Identity;
use crate::ratings::Ratings;
use crate::settings::Settings;

/// The answer to `GET /reviews/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reviews {
    pub(crate) id: u32,
    pub(crate) reviews: Vec<Review>,
    pub(crate) served_by: Identity,
    /// Who gave the stars; nobody in v1, or if `ratings` is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ratings_served_by: Option<Identity>,
    /// Why there are no stars, though there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ratings_error: Option<String>,
}

/// One reader's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Review {
    pub(crate) reviewer: String,
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rating: Option<Rating>,
}

/// Stars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rating {
    pub(crate) stars: u8,
    pub(crate) color: String,
}

struct Part {
    identity: Identity,
    ratings: String,
}

/// The part's pages.
pub(crate) fn router(identity: Identity, settings: &Settings) -> Router {
    let part = Part { identity, ratings: settings.ratings.clone() };
    Router::new().route("/reviews/{id}", get(reviews)).with_state(Arc::new(part))
}

async fn reviews(State(part): State<Arc<Part>>, Path(id): Path<u32>) -> Json<Reviews> {
    let mut answer = Reviews {
        id,
        reviews: texts(),
        served_by: part.identity.clone(),
        ratings_served_by: None,
        ratings_error: None,
    };
    if let Some(color) = star_color(&part.identity.version) {
        match call::get::<Ratings>(&part.ratings, &format!("/ratings/{id}")).await {
            Ok(ratings) => {
                for review in &mut answer.reviews {
                    let stars = ratings.document.ratings.get(&review.reviewer);
                    review.rating = stars.map(|stars| Rating { stars: *stars, color: color.to_owned() });
                }
                answer.ratings_served_by = Some(ratings.document.served_by);
            }
            Err(error) => answer.ratings_error = Some(error.to_string()),
        }
    }
    Json(answer)
}

fn star_color(version: &str) -> Option<&'static str> {
    match version {
        "v1" => None,
        "v2" => Some("black"),
        _ => Some("red"),
    }
}

fn texts() -> Vec<Review> {
    [
        (
            "Reviewer1",
            "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!",
        ),
        (
            "Reviewer2",
            "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.",
        ),
    ]
    .map(|(reviewer, text)| Review { reviewer: reviewer.to_owned(), text: text.to_owned(), rating: None })
    .into()
}
