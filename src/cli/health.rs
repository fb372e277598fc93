//! `healthcheck`: asks a running exporter whether it is healthy. An image without a shell has nothing else to ask with.

use super::Failure;
use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Certificate, Client};
use std::path::PathBuf;
use std::time::Duration;

/// The longest that a healthy exporter may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(super) struct HealthArgs {
    /// What to ask.
    #[arg(long, default_value = "http://127.0.0.1:10211/-/healthy", env = "DRAGDROPDO_EXPORTER_HEALTH_URL")]
    url: String,
    /// PEM file with the CA of the exporter's certificate, in place of the system's.
    #[arg(long, value_name = "FILE", env = "DRAGDROPDO_EXPORTER_HEALTH_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Takes any certificate of the exporter: for asking over loopback, whose name it does not have.
    #[arg(long, conflicts_with = "ca_file", env = "DRAGDROPDO_EXPORTER_HEALTH_INSECURE_SKIP_VERIFY")]
    insecure_skip_verify: bool,
}

pub(super) async fn run(args: &HealthArgs) -> Result<(), Failure> {
    ask(args).await.map_err(Failure::from)
}

async fn ask(args: &HealthArgs) -> anyhow::Result<()> {
    let url = &args.url;
    let answer = client(args)?.get(url).send().await.with_context(|| format!("{url} does not answer"))?;
    if !answer.status().is_success() {
        bail!("{url} answers {}: {}", answer.status(), answer.text().await.unwrap_or_default().trim());
    }
    Ok(())
}

fn client(args: &HealthArgs) -> anyhow::Result<Client> {
    let builder = Client::builder().no_proxy().timeout(TIMEOUT);
    let builder = match &args.ca_file {
        Some(path) => {
            let pem = std::fs::read(path).with_context(|| format!("cannot read --ca-file {}", path.display()))?;
            let roots = Certificate::from_pem_bundle(&pem).ok().filter(|roots| !roots.is_empty());
            let none = || format!("--ca-file {} holds no certificate: it must be PEM", path.display());
            builder.tls_certs_only(roots.with_context(none)?)
        }
        // Without roots of its own, an image that has none of the system's would have no client.
        None if args.insecure_skip_verify => builder.tls_certs_only([]).tls_danger_accept_invalid_certs(true),
        None => builder,
    };
    builder.build().context("no client can be made")
}
