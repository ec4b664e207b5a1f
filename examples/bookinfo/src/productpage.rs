//! The page: asks `details` and `reviews` at the same time and shows what came,
//! or in its place what went wrong.

mod page;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{Html, Redirect};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::call::{self, Answer, CallError};
use crate::details::Details;
use crate::identity::Identity;
use crate::reviews::Reviews;
use crate::settings::Settings;

/// The shop has one book.
pub(crate) const TITLE: &str = "The Comedy of Errors";
const DESCRIPTION: &str = "One of William Shakespeare's early plays, his shortest and one of his most farcical: \
    two sets of identical twins, separated at birth, find themselves by accident in one city.";

struct Part {
    identity: Identity,
    details: String,
    reviews: String,
}

/// The answer to `GET /api/v1/products/{id}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Product {
    pub(crate) id: u32,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    pub(crate) details: Option<Details>,
    pub(crate) reviews: Option<Reviews>,
    pub(crate) parts: Vec<PartReport>,
}

/// Where a part ran, or why it did not answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartReport {
    pub(crate) part: &'static str,
    pub(crate) served_by: Option<Identity>,
    pub(crate) error: Option<String>,
    pub(crate) took_micros: Option<u64>,
}

/// The part's pages.
pub(crate) fn router(identity: Identity, settings: &Settings) -> Router {
    let part = Part { identity, details: settings.details.clone(), reviews: settings.reviews.clone() };
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/productpage") }))
        .route("/productpage", get(html))
        .route("/api/v1/products", get(products))
        .route("/api/v1/products/{id}", get(product))
        .with_state(Arc::new(part))
}

async fn html(State(part): State<Arc<Part>>) -> Html<String> {
    Html(page::render(&assemble(&part, 0).await))
}

async fn products() -> Json<serde_json::Value> {
    Json(serde_json::json!([{"id": 0, "title": TITLE, "description": DESCRIPTION}]))
}

async fn product(State(part): State<Arc<Part>>, Path(id): Path<u32>) -> Json<Product> {
    Json(assemble(&part, id).await)
}

async fn assemble(part: &Part, id: u32) -> Product {
    let (details_path, reviews_path) = (format!("/details/{id}"), format!("/reviews/{id}"));
    let (details, reviews) = tokio::join!(
        call::get::<Details>(&part.details, &details_path),
        call::get::<Reviews>(&part.reviews, &reviews_path),
    );
    let mut parts = vec![
        PartReport { part: "productpage", served_by: Some(part.identity.clone()), error: None, took_micros: None },
        PartReport::of("details", &details, |details| &details.served_by),
        PartReport::of("reviews", &reviews, |reviews| &reviews.served_by),
    ];
    let (details, reviews) = (details.ok().map(|answer| answer.document), reviews.ok().map(|answer| answer.document));
    parts.extend(reviews.as_ref().and_then(PartReport::of_ratings));
    Product { id, title: TITLE, description: DESCRIPTION, details, reviews, parts }
}

// === impl PartReport ===

impl PartReport {
    fn of<T>(part: &'static str, answer: &Result<Answer<T>, CallError>, served_by: impl Fn(&T) -> &Identity) -> Self {
        match answer {
            Ok(answer) => Self {
                part,
                served_by: Some(served_by(&answer.document).clone()),
                error: None,
                took_micros: Some(micros(answer.took)),
            },
            Err(error) => Self { part, served_by: None, error: Some(error.to_string()), took_micros: None },
        }
    }

    /// `reviews` v1 has no stars: then there is nothing to report.
    fn of_ratings(reviews: &Reviews) -> Option<Self> {
        let (served_by, error) = (reviews.ratings_served_by.clone(), reviews.ratings_error.clone());
        (served_by.is_some() || error.is_some()).then_some(Self {
            part: "ratings",
            served_by,
            error,
            took_micros: None,
        })
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
