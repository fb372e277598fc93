//! `demo`: a simulated D3 API and an exporter of it in one process, with an application that submits operations.

use super::{Failure, LogArgs, listen_address, logs, say, stop_signal};
use crate::app::{self, Options};
use crate::clock::Clock;
use crate::config::{Config, KeySource, RateLimit, StorageUrl};
use crate::listener;
use crate::service::Service;
use crate::simulator::{Simulator, SimulatorOptions};
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::time::Duration;

/// The token with which the demo's application registers its tasks; it opens nothing but the demo.
const TOKEN: &str = "demo";
/// The secret with which the simulated API signs its webhooks; it signs nothing else.
const WEBHOOK_SECRET: &str = "demo-webhooks";
/// The group whose ends D3 announces by webhook; those of the others are found by polling.
const WEBHOOK_GROUP: &str = "invoices";
/// The kinds of work that the demo's application submits, one after the other: group, action, and the number of files.
const WORK: [(&str, &str, usize); 6] = [
    ("invoices", "convert", 2),
    ("photos", "compress", 5),
    ("invoices", "merge", 3),
    ("contracts", "lock", 1),
    ("photos", "convert", 4),
    ("archive", "zip", 6),
];
/// The time between two operations: with the default durations some twenty are under way at once.
const SUBMIT_EVERY: Duration = Duration::from_millis(1500);
/// The exporter's budget: ten requests a second, below what the simulated API allows the key.
const BUDGET: RateLimit =
    RateLimit { requests: NonZeroU32::new(600).expect("not zero"), period: Duration::from_secs(60) };

#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// Address on which the exporter listens.
    #[arg(long = "web.listen-address", value_name = "HOST:PORT", value_parser = listen_address, default_value = "127.0.0.1:10211", env = "DRAGDROPDO_EXPORTER_WEB_LISTEN_ADDRESS")]
    listen_address: String,
    /// Address on which the simulated API listens.
    #[arg(long = "simulator.listen-address", value_name = "HOST:PORT", value_parser = listen_address, default_value = crate::simulator::DEFAULT_LISTEN_ADDRESS)]
    simulator_address: String,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    simulator: SimulatorOptions,
}

pub(super) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let _log = logs::start(args.log.level, args.log.format);
    let stop = stop_signal()?;
    let folder = tempfile::Builder::new()
        .prefix("dragdropdo-exporter-demo-")
        .tempdir()
        .context("no temporary folder can be made for the demo's data")?;
    let api_key = args.simulator.api_keys.first().cloned().unwrap_or_default();
    let simulator = Simulator::new(args.simulator, Clock::system()).map_err(Failure::usage)?;
    let listener = listener::bind(&args.simulator_address).await.with_context(|| {
        format!("cannot listen on {}: choose another --simulator.listen-address", args.simulator_address)
    })?;
    let api = format!("http://{}", listener.local_addr().context("the listener has no address")?);
    let simulated = tokio::spawn(simulator.clone().serve(listener, stop.clone()));

    let config = configure(&args.listen_address, &api, &api_key, folder.path())?;
    let options = Options {
        telemetry_path: "/metrics".to_owned(),
        enable_lifecycle: false,
        read_again: None,
        service: Service::none(),
    };
    let running = app::start(config, options, Clock::system()).await?;
    let exporter = format!("http://{}", reachable(running.address));
    announce_to(&simulator, &exporter)?;
    say(&format!(
        "\nA simulated D3 API and an exporter of it are running; an application submits an operation every {} ms.\n\n\
         \u{20} {exporter}/              where to look\n\
         \u{20} {exporter}/metrics       what Prometheus scrapes: try again in half a minute, the numbers move\n\
         \u{20} {exporter}/api/v1/tasks  every tracked task\n\
         \u{20} {api}/simulator/truth    what really happened\n\n\
         The group {WEBHOOK_GROUP} is announced by webhooks, the others are found by polling: compare their latencies.\n\
         Submit an operation yourself, and register it:\n\n\
         \u{20} id=$(curl -s -H 'Authorization: Bearer {api_key}' -d '{{\"action\": \"convert\", \"file_keys\": [\"mine\"]}}' \\\n\
         \u{20}   {api}/api/v1/do | grep -o -E 'main_task_[0-9a-f]{{16}}')\n\
         \u{20} curl -H 'Authorization: Bearer {TOKEN}' -d \"{{\\\"id\\\": \\\"$id\\\", \\\"group\\\": \\\"mine\\\"}}\" \\\n\
         \u{20}   {exporter}/api/v1/tasks\n\n\
         Everything is kept in {} and removed at the end. Stop with Ctrl-C.\n",
        SUBMIT_EVERY.as_millis(),
        folder.path().display(),
    ));
    let application = tokio::spawn(stop.clone().run_until_cancelled_owned(submit_forever(api, api_key, exporter)));
    let result = running.run(stop.clone().cancelled_owned()).await.context("the exporter ended");
    stop.cancel();
    for part in [simulated, tokio::spawn(async { drop(application.await) })] {
        part.await.ok();
    }
    folder.close().context("the temporary folder cannot be removed")?;
    Ok(result?)
}

fn configure(listen_address: &str, api: &str, api_key: &str, folder: &std::path::Path) -> anyhow::Result<Config> {
    let token_file = folder.join("token");
    std::fs::write(&token_file, TOKEN).context("the token cannot be written into the temporary folder")?;
    let secret_file = folder.join("webhook-secret");
    std::fs::write(&secret_file, WEBHOOK_SECRET).context("the secret cannot be written into the temporary folder")?;
    let mut config = Config::default();
    config.webhook.secret_file = Some(secret_file);
    config.api.base_url = api.parse().context("the simulated API's address makes no URL")?;
    config.api.key = KeySource::Inline(api_key.to_owned().into());
    config.api.rate_limit = BUDGET;
    config.web.listen_address = listen_address.to_owned();
    config.web.api_token_file = Some(token_file);
    config.storage.url = StorageUrl::Sqlite(folder.join("demo.db"));
    // Short enough that a newcomer sees tasks leave.
    config.retention = Duration::from_secs(300);
    Ok(config)
}

/// Has the simulated API send webhooks of one group to the exporter, unless they go elsewhere by option.
fn announce_to(simulator: &Simulator, exporter: &str) -> anyhow::Result<()> {
    let url = format!("{exporter}/webhooks/dragdropdo").parse().context("the exporter's address makes no URL")?;
    simulator.change(|options| {
        let webhooks = &mut options.webhooks;
        if webhooks.url.is_none() {
            webhooks.url = Some(url);
            webhooks.secret = Some(WEBHOOK_SECRET.to_owned());
            webhooks.tags = vec![WEBHOOK_GROUP.to_owned()];
        }
    })?;
    Ok(())
}

/// An address under which a listener on all addresses can be reached from here.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// Does what an application does: submits an operation to the API, and registers it with the exporter.
async fn submit_forever(api: String, api_key: String, exporter: String) {
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build() else {
        tracing::error!("the demo's application has no HTTP client");
        return;
    };
    for (count, (group, action, files)) in WORK.into_iter().cycle().enumerate() {
        if let Err(error) = submit(&client, &api, &api_key, &exporter, (group, action, files, count)).await {
            tracing::warn!("the demo's application: {error:#}");
        }
        tokio::time::sleep(SUBMIT_EVERY).await;
    }
}

async fn submit(
    client: &reqwest::Client,
    api: &str,
    api_key: &str,
    exporter: &str,
    (group, action, files, count): (&str, &str, usize, usize),
) -> anyhow::Result<()> {
    let submitted_at = Clock::system().wall().to_string();
    let file_keys: Vec<String> = (1..=files).map(|file| format!("{group}_{count}_file_{file}")).collect();
    let operation = json!({ "action": action, "file_keys": file_keys, "parameters": {}, "notes": group });
    let answer = client.post(format!("{api}/api/v1/do")).bearer_auth(api_key).json(&operation).send().await?;
    let answer: Value = answer.error_for_status()?.json().await?;
    let id = answer["data"]["main_task_id"].as_str().context("the simulated API named no main_task_id")?;
    let task = json!({ "id": id, "group": group, "submitted_at": submitted_at });
    let registered = client.post(format!("{exporter}/api/v1/tasks")).bearer_auth(TOKEN).json(&task).send().await?;
    registered.error_for_status().context("the exporter refused the registration")?;
    Ok(())
}
