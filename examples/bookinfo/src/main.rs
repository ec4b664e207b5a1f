//! Bookinfo: a bookshop's page put together by four services, one program.
//!
//! `bookinfo productpage` calls `details` and `reviews`; `reviews` of version
//! v2 and v3 call `ratings`. Every answer says which pod on which node gave it.

mod call;
mod details;
mod identity;
mod productpage;
mod ratings;
mod reviews;
mod server;
mod settings;
#[cfg(test)]
mod tests;

use clap::Parser;

use crate::settings::Settings;

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(server::run(settings))
}
