//! Listening, in all address families, until asked to end.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::identity::Identity;
use crate::settings::{Role, Settings};
use crate::{details, productpage, ratings, reviews};

/// Serves one part.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let listener = listen(settings.port).await.with_context(|| format!("cannot listen on port {}", settings.port))?;
    println!("{} {} listens on {}", settings.role.name(), settings.version, listener.local_addr()?);
    let mut ended = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    axum::serve(listener, router(&settings))
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = ended.recv() => {}
                _ = interrupted.recv() => {}
            }
        })
        .await?;
    Ok(())
}

/// The pages of the part these settings name.
pub(crate) fn router(settings: &Settings) -> Router {
    let identity = Identity::of(settings);
    let part = match settings.role {
        Role::Productpage => productpage::router(identity, settings),
        Role::Details => details::router(identity),
        Role::Reviews => reviews::router(identity, settings),
        Role::Ratings => ratings::router(identity),
    };
    part.route("/health", get(|| async { "ok\n" }))
}

/// An IPv6 socket takes IPv4 as well; some nodes have no IPv6.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
    }
}
