//! `healthcheck`: asks a running exporter whether it is healthy. An image without a shell has nothing else to ask with.

use super::Failure;
use anyhow::{Context, bail};
use clap::Args;
use std::time::Duration;

/// The longest that a healthy exporter may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(super) struct HealthArgs {
    /// What to ask.
    #[arg(long, default_value = "http://127.0.0.1:10211/-/healthy", env = "DRAGDROPDO_EXPORTER_HEALTH_URL")]
    url: String,
}

pub(super) async fn run(args: &HealthArgs) -> Result<(), Failure> {
    ask(&args.url).await.map_err(Failure::from)
}

async fn ask(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().context("no client can be made")?;
    let answer = client.get(url).send().await.with_context(|| format!("{url} does not answer"))?;
    if !answer.status().is_success() {
        bail!("{url} answers {}: {}", answer.status(), answer.text().await.unwrap_or_default().trim());
    }
    Ok(())
}
