//! All parts in one process, over loopback.

use std::net::{SocketAddr, TcpListener as StdListener};

use clap::Parser;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::call::{self, CallError};
use crate::server;
use crate::settings::Settings;

/// An address nobody listens on.
fn nobody() -> String {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn serve(role: &str, arguments: &[&str]) -> String {
    let line = ["bookinfo", role, "--node", "n1", "--pod", &format!("{role}-pod"), "--addresses", "10.0.0.1, fd00::1"];
    let settings = Settings::parse_from(line.iter().chain(arguments));
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, server::router(&settings)).await });
    address.to_string()
}

async fn page(peer: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(peer).await.unwrap();
    stream.write_all(b"GET /productpage HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.0 200"), "{text}");
    text
}

async fn shop(version: &str, ratings: &str) -> String {
    let details = serve("details", &[]).await;
    let reviews = serve("reviews", &["--version", version, "--ratings", ratings]).await;
    serve("productpage", &["--details", &details, "--reviews", &reviews]).await
}

#[tokio::test]
async fn every_part_says_where_it_ran() {
    let ratings = serve("ratings", &[]).await;
    let productpage = shop("v3", &ratings).await;
    let product: Value = call::get(&productpage, "/api/v1/products/0").await.unwrap().document;
    let parts: Vec<_> = product["parts"].as_array().unwrap().iter().map(|part| &part["servedBy"]["pod"]).collect();
    assert_eq!(parts, ["productpage-pod", "details-pod", "reviews-pod", "ratings-pod"]);
    assert_eq!(product.pointer("/reviews/reviews/0/rating/stars").unwrap(), 5);
    assert_eq!(product.pointer("/details/servedBy/addresses/1").unwrap(), "fd00::1");
    let html = page(&productpage).await;
    assert!(html.contains("stars red") && html.contains("<code>ratings-pod</code>"), "{html}");
    let health = call::get::<Value>(&productpage, "/health").await.unwrap_err();
    assert!(matches!(health, CallError::Malformed { .. }), "ok is no JSON");
}

#[tokio::test]
async fn the_version_of_reviews_decides_about_stars() {
    let ratings = serve("ratings", &[]).await;
    for (version, expected) in [("v1", None), ("v2", Some("black")), ("v3", Some("red"))] {
        let product: Value = call::get(&shop(version, &ratings).await, "/api/v1/products/0").await.unwrap().document;
        let color = product.pointer("/reviews/reviews/1/rating/color").and_then(Value::as_str);
        assert_eq!(color, expected, "{version}");
    }
}

#[tokio::test]
async fn a_broken_part_is_a_message_and_no_broken_page() {
    let gone = nobody();
    let without_ratings = page(&shop("v2", &gone).await).await;
    assert!(without_ratings.contains("The ratings part does not answer, so there are no stars"));
    assert!(without_ratings.contains(&gone) && without_ratings.contains("refused"), "{without_ratings}");

    let details = serve("details", &[]).await;
    let productpage = serve("productpage", &["--details", &details, "--reviews", &gone]).await;
    let without_reviews = page(&productpage).await;
    assert!(without_reviews.contains("The reviews part does not answer"), "{without_reviews}");
    assert!(without_reviews.contains("William Shakespeare"), "the rest is shown");
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_said_so() {
    let error = call::get::<Value>(&serve("details", &[]).await, "/nowhere").await.unwrap_err().to_string();
    assert!(error.ends_with("answered 404 Not Found"), "{error}");
}
