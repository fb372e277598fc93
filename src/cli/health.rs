//! `healthcheck`: asks a running exporter whether it is healthy. An image without a shell has nothing else to ask with.

use super::Failure;
use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Certificate, Client, Identity};
use std::path::{Path, PathBuf};
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
    /// PEM file with a certificate to show, where the exporter asks for one.
    #[arg(long, value_name = "FILE", requires = "key_file", env = "DRAGDROPDO_EXPORTER_HEALTH_CERT_FILE")]
    cert_file: Option<PathBuf>,
    /// PEM file with the private key of that certificate.
    #[arg(long, value_name = "FILE", requires = "cert_file", env = "DRAGDROPDO_EXPORTER_HEALTH_KEY_FILE")]
    key_file: Option<PathBuf>,
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
    let mut builder = Client::builder().no_proxy().timeout(TIMEOUT);
    if let Some(path) = &args.ca_file {
        let roots = Certificate::from_pem_bundle(&read(path)?).ok().filter(|roots| !roots.is_empty());
        let roots = roots.with_context(|| format!("{} holds no certificate: it must be PEM", path.display()))?;
        builder = builder.tls_certs_only(roots);
    } else if args.insecure_skip_verify {
        // Without roots of its own, an image that has none of the system's would have no client.
        builder = builder.tls_certs_only([]).tls_danger_accept_invalid_certs(true);
    }
    if let (Some(cert_file), Some(key_file)) = (&args.cert_file, &args.key_file) {
        let pem = [read(cert_file)?, b"\n".to_vec(), read(key_file)?].concat();
        let none = || format!("{} and {} hold no certificate with its key", cert_file.display(), key_file.display());
        builder = builder.identity(Identity::from_pem(&pem).with_context(none)?);
    }
    builder.build().context("no client can be made")
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
