//! The command line, and the only printing.

mod check;
mod demo;
mod health;
mod logs;

use crate::app::{self, Options};
use crate::clock::Clock;
use crate::config;
use crate::listener;
use crate::reload::ReloadHandle;
use crate::service::Service;
use crate::simulator::{self, Simulator, SimulatorOptions};
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use logs::{LogFormat, LogLevel};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a runtime failure.
const FAILURE: u8 = 1;
/// Exit code of a wrong command line or configuration; clap's own too.
const USAGE: u8 = 2;

/// When the process is ended after a signal to stop, whatever it waits for: the shares of `app`'s shutdown are over by then,
/// and what is left is somebody who holds the output and does not read it.
const LAST_RESORT: Duration = Duration::from_millis(4800);
/// How long somebody may take to read a line that is meant for people.
const PATIENCE: Duration = Duration::from_secs(1);

/// Prometheus exporter for asynchronous DragDropDo (D3) file operations.
#[derive(Debug, Parser)]
#[command(
    name = "dragdropdo-exporter",
    version,
    long_version = LONG_VERSION,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command it serves. The flags of `serve` can also be given by their environment variables."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("DRAGDROPDO_EXPORTER_REVISION"),
    ", rustc ",
    env!("DRAGDROPDO_EXPORTER_RUSTVERSION"),
    ")"
);

#[derive(Debug, Subcommand)]
enum Command {
    /// Polls the configured tasks and serves their metrics (the default).
    Serve(ServeArgs),
    /// Checks a configuration file and contacts nothing.
    CheckConfig {
        /// The configuration file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Runs a simulated D3 API and an exporter of it: no key, no network, nothing to install.
    Demo(demo::DemoArgs),
    /// Runs the simulated D3 API alone.
    Simulate(SimulateArgs),
    /// Asks a running exporter whether it is healthy; for container health checks.
    Healthcheck(health::HealthArgs),
}

#[derive(Args, Clone, Debug)]
struct ServeArgs {
    /// Configuration file.
    #[arg(
        long = "config.file",
        value_name = "FILE",
        default_value = "config.yaml",
        env = "DRAGDROPDO_EXPORTER_CONFIG_FILE"
    )]
    config_file: PathBuf,
    /// Address to listen on, in place of web.listen_address.
    #[arg(long = "web.listen-address", value_name = "HOST:PORT", value_parser = listen_address, env = "DRAGDROPDO_EXPORTER_WEB_LISTEN_ADDRESS")]
    listen_address: Option<String>,
    /// Web config file with TLS and basic auth, in place of web.config_file.
    #[arg(long = "web.config.file", value_name = "FILE", env = "DRAGDROPDO_EXPORTER_WEB_CONFIG_FILE")]
    web_config_file: Option<OsString>,
    /// Path of the metrics.
    #[arg(long = "web.telemetry-path", value_name = "PATH", value_parser = telemetry_path, default_value = "/metrics", env = "DRAGDROPDO_EXPORTER_WEB_TELEMETRY_PATH")]
    telemetry_path: String,
    /// Allows POST /-/reload.
    #[arg(long = "web.enable-lifecycle", env = "DRAGDROPDO_EXPORTER_WEB_ENABLE_LIFECYCLE")]
    enable_lifecycle: bool,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Args, Clone, Debug)]
struct LogArgs {
    /// Least level of what is logged.
    #[arg(long = "log.level", value_enum, value_name = "LEVEL", default_value_t = LogLevel::Info, env = "DRAGDROPDO_EXPORTER_LOG_LEVEL")]
    level: LogLevel,
    /// Format of the log, on standard error.
    #[arg(long = "log.format", value_enum, value_name = "FORMAT", default_value_t = LogFormat::Logfmt, env = "DRAGDROPDO_EXPORTER_LOG_FORMAT")]
    format: LogFormat,
}

#[derive(Args, Clone, Debug)]
struct SimulateArgs {
    /// Address to listen on.
    #[arg(long = "listen-address", value_name = "HOST:PORT", value_parser = listen_address, default_value = simulator::DEFAULT_LISTEN_ADDRESS)]
    listen_address: String,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    simulator: SimulatorOptions,
}

/// Runs what the command line says; its result is the process's exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("the system gives no threads or sockets: {error}"));
            return ExitCode::from(FAILURE);
        }
    };
    let code = runtime.block_on(run(cli));
    // A name that is being looked up could hold the process for as long as the network does.
    runtime.shutdown_background();
    code
}

async fn run(cli: Cli) -> ExitCode {
    let result = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve(args).await,
        Command::CheckConfig { file } => check::run(&file),
        Command::Demo(args) => demo::run(args).await,
        Command::Simulate(args) => simulate(args).await,
        Command::Healthcheck(args) => health::run(&args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_told {
                complain(&story(&error.cause));
            }
            ExitCode::from(error.code)
        }
    }
}

/// An error with its causes; one that the text before tells already is not told again.
fn story(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told {
        _ if told.contains(&cause) => told,
        _ if told.is_empty() => cause,
        _ => format!("{told}: {cause}"),
    })
}

/// Why a command failed, and the exit code that says so.
struct Failure {
    cause: anyhow::Error,
    code: u8,
    /// Whether the log has it already.
    is_told: bool,
}

impl From<anyhow::Error> for Failure {
    fn from(cause: anyhow::Error) -> Self {
        Self { cause, code: FAILURE, is_told: false }
    }
}

impl Failure {
    fn usage(cause: impl Into<anyhow::Error>) -> Self {
        Self { cause: cause.into(), code: USAGE, is_told: false }
    }
}

impl From<app::StartError> for Failure {
    fn from(error: app::StartError) -> Self {
        let code = if error.is_about_configuration() { USAGE } else { FAILURE };
        Self { cause: error.into(), code, is_told: false }
    }
}

async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let _log = logs::start(args.log.level, args.log.format);
    let service = Service::from_environment();
    let is_json = args.log.format == LogFormat::Json;
    serve_until_stopped(args, service.clone()).await.map_err(|failure| {
        let what = story(&failure.cause);
        service.failed(&what);
        // Who reads JSON drops whatever is none.
        if is_json {
            tracing::error!("{what}");
        }
        Failure { is_told: is_json, ..failure }
    })
}

async fn serve_until_stopped(args: ServeArgs, service: Service) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let hangups = hangup_signal()?;
    let read = move || {
        let mut config = read_config(&args.config_file)?;
        if let Some(address) = &args.listen_address {
            config.web.listen_address.clone_from(address);
        }
        // As in other exporters, an empty one is none given.
        if let Some(file) = args.web_config_file.as_ref().filter(|file| !file.is_empty()) {
            config.web.config_file = Some(file.into());
        }
        Ok(config)
    };
    let options = Options {
        telemetry_path: args.telemetry_path,
        enable_lifecycle: args.enable_lifecycle,
        read_again: Some(Arc::new(read.clone())),
        service: service.clone(),
    };
    let starting = async {
        // The file may be a pipe that nobody writes to.
        let config = tokio::task::spawn_blocking(read).await.context("the configuration cannot be read")?;
        Ok::<_, Failure>(app::start(config.map_err(Failure::usage)?, options, Clock::system()).await?)
    };
    // A start may wait for a file or for the store, and ends as soon as it is told to.
    let Some(running) = stop.run_until_cancelled(starting).await.transpose()? else {
        service.stopping();
        tracing::info!("stopped before it had started");
        return Ok(());
    };
    let address = running.address;
    let scheme = if running.speaks_tls { "https" } else { "http" };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %address, "listening on {scheme}://{address}");
    if let Some(address) = running.webhook_address {
        tracing::info!(%address, "listening for webhooks on {scheme}://{address}");
    }
    tokio::spawn(reload_at(hangups, running.reload.clone()));
    running.run(stop.cancelled_owned()).await.context("the exporter ended")?;
    tracing::info!("stopped");
    Ok(())
}

/// Reloads at every SIGHUP. What came of it is in the log and on `/metrics`.
async fn reload_at(mut hangups: Signal, reload: ReloadHandle) {
    while hangups.recv().await.is_some() {
        reload.reload().await.ok();
    }
}

async fn simulate(args: SimulateArgs) -> Result<(), Failure> {
    let _log = logs::start(args.log.level, args.log.format);
    let simulator = Simulator::new(args.simulator, Clock::system()).map_err(Failure::usage)?;
    let stop = stop_signal()?;
    let listener = listener::bind(&args.listen_address)
        .await
        .with_context(|| format!("cannot listen on {}: choose another --listen-address", args.listen_address))?;
    let address = listener.local_addr().context("the listener has no address")?;
    say(&format!("The simulated D3 API listens on http://{address} (truth: http://{address}/simulator/truth)"));
    simulator.serve(listener, stop).await;
    Ok(())
}

fn read_config(path: &Path) -> Result<config::Config, config::ConfigError> {
    config::load(path, &|name| std::env::var(name).ok())
}

fn hangup_signal() -> Result<Signal, Failure> {
    Ok(signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?)
}

/// Cancelled by SIGTERM or SIGINT. When the process has not ended a while later, it is ended.
fn stop_signal() -> Result<CancellationToken, Failure> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
            std::thread::spawn(|| {
                std::thread::sleep(LAST_RESORT);
                std::process::exit(0);
            });
        }
    });
    Ok(stop)
}

fn listen_address(text: &str) -> Result<String, String> {
    if config::is_listen_address(text) {
        Ok(text.to_owned())
    } else {
        Err("write host:port, like 127.0.0.1:10211, or :10211 for all addresses".to_owned())
    }
}

fn telemetry_path(text: &str) -> Result<String, String> {
    if crate::web::is_telemetry_path(text) {
        Ok(text.to_owned())
    } else {
        Err("write an absolute path of its own, like /metrics, of letters, digits and - _ . ~ /".to_owned())
    }
}

fn say(text: &str) {
    tell(std::io::stdout(), text.to_owned());
}

fn complain(text: &str) {
    tell(std::io::stderr(), format!("dragdropdo-exporter: {text}"));
}

/// Writes a line to people. Nobody may be listening, as behind `| head -1`, or somebody may hold the line and not read it:
/// what is to be done is done all the same, and the exit code says whether something failed.
fn tell(mut out: impl Write + Send + 'static, text: String) {
    let (written, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        writeln!(out, "{text}").ok();
        written.send(()).ok();
    });
    wait.recv_timeout(PATIENCE).ok();
}
