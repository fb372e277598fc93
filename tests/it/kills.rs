//! Nothing is shown before it is durable: the exporter is killed again and again while it works, and in the end every
//! total is the truth.
//!
//! An application submits operations to a simulated API that fails, answers in every form and shows older states, and
//! registers each with the exporter. The real binary is killed at random moments and started again on the same database.
//! A witness scrapes all the time and finds no series of the durable families gone or fallen. When all is over, each
//! group's totals are those of the simulator's plans: what a kill interrupts is counted after all, and nothing twice.
//!
//! `DRAGDROPDO_TEST_KILLS` and `DRAGDROPDO_TEST_SEED` set the number of kills and the seed of all chance.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

mod application;
mod life;
mod truth;
mod witness;

use crate::harness::{PATIENCE, Setup, number_from_environment};
use application::Application;
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::simulator::{
    DEFAULT_API_KEY, DurationRange, FaultOptions, RateLimit, Simulator, SimulatorOptions,
};
use life::{Life, Manner};
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng, TryRng};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use witness::Witness;

/// Ten of each [`Manner`], and half a minute at most.
const KILLS: usize = 30;
/// During the first of so many parts of the kills, files vanish from answers.
const THINNED_PART: usize = 5;
/// The group of what is submitted meanwhile. What is not shown cannot be counted: only bounds hold for it.
const THINNED: &str = "thinned";
/// The groups whose totals are exact.
const EXACT: [&str; 3] = ["invoices", "photos", "contracts"];
/// Token for registrations.
const TOKEN: &str = "the-token-for-registrations";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_takes_back_what_was_shown_or_makes_anything_count_twice_or_never() {
    let kills = number_from_environment("DRAGDROPDO_TEST_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    let seed = number_from_environment("DRAGDROPDO_TEST_SEED").unwrap_or_else(|| SysRng.try_next_u64().unwrap());
    let mut story = Story { seed, kills: 0, scrapes: 0, operations: 0 };
    let mut random = StdRng::seed_from_u64(seed);

    let simulator = Simulator::new(options(seed), Clock::system()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut setup = setup(&format!("http://{}", listener.local_addr().unwrap()));
    let stop = CancellationToken::new();
    let _stopped_at_the_end = stop.clone().drop_guard();
    tokio::spawn(simulator.clone().serve(listener, stop.clone()));
    let (address, watched) = watch::channel(None);
    let witness = Witness::start(watched.clone());
    let application = Application::start(simulator.clone(), watched, &[THINNED], random.random());

    simulator.set_faults(FaultOptions { vanished: 0.2, ..faults() }).unwrap();
    for kill in 0..kills {
        if kill == kills / THINNED_PART {
            simulator.set_faults(faults()).unwrap();
            application.submit_to(&EXACT);
        }
        let manner = Manner::ALL[kill % Manner::ALL.len()];
        Life::begin(&mut setup, manner, &address).last_until_killed(&mut random).await;
        story.kills += 1;
        story.scrapes = witness.is_content();
    }

    // A last life in peace, in which everything comes to its end.
    simulator.set_faults(FaultOptions::default()).unwrap();
    let exporter = Life::begin(&mut setup, Manner::AtAnyMoment, &address).go_on().await;
    story.operations = application.finish().await;
    let truth = simulator.truth();
    assert_eq!(truth.planned.operations, story.operations);
    exporter
        .until("every task that was registered settles", |scrape| {
            scrape.sum("dragdropdo_tasks_finished_total") >= truth.planned.operations as f64
        })
        .await;
    truth::holds(&exporter.scrape().await, &truth);

    // One more, after which nothing happens: what is read back is what was shown.
    address.send_replace(None);
    exporter.kill().await;
    let exporter = Life::begin(&mut setup, Manner::AtAnyMoment, &address).go_on().await;
    truth::holds(&exporter.scrape().await, &truth);
    let before = witness.is_content();
    let seen = async {
        while witness.is_content() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("the witness scrapes the last life too");
}

/// Tells at the end what was done; after a failure, how to do the same again.
struct Story {
    seed: u64,
    kills: usize,
    scrapes: usize,
    operations: u64,
}

impl Drop for Story {
    #[expect(clippy::print_stderr, reason = "shown when the test fails, or on demand")]
    fn drop(&mut self) {
        let Self { seed, kills, scrapes, operations } = self;
        eprintln!("DRAGDROPDO_TEST_SEED={seed}: {kills} kills, {scrapes} scrapes, {operations} operations");
    }
}

/// Operations that last about as long as a life of the exporter.
fn options(seed: u64) -> SimulatorOptions {
    let mut options = SimulatorOptions {
        latency: Duration::from_millis(5),
        latency_jitter: Duration::from_millis(20),
        rate_limit: RateLimit { requests: NonZeroU32::new(1000).unwrap(), period: Duration::from_secs(1) },
        seed,
        ..SimulatorOptions::default()
    };
    options.plan.duration = DurationRange { shortest: Duration::from_millis(300), longest: Duration::from_secs(3) };
    options.plan.failure_share = 0.3;
    options.plan.codeless_share = 0.1;
    options.style.mixed = true;
    options
}

/// What goes wrong while totals stay exact. Left out are answers that vanish files, and 403, which slows everything down.
fn faults() -> FaultOptions {
    FaultOptions {
        server_error: 0.02,
        unavailable: 0.005,
        not_found: 0.02,
        hang: 0.005,
        stall: 0.005,
        disconnect: 0.02,
        garbage: 0.02,
        truncated: 0.02,
        oversized: 0.01,
        stale: 0.15,
        shuffled: 0.3,
        vanished: 0.0,
        fresh_not_found: 0.1,
        fresh_for: Duration::from_millis(300),
        hang_for: Duration::from_secs(2),
        unavailable_for: Duration::from_secs(1),
        oversized_bytes: 40 << 10,
        ..FaultOptions::default()
    }
}

fn setup(api: &str) -> Setup {
    let setup = Setup::at(
        api,
        &format!(
            "
            api: {{api_key: {DEFAULT_API_KEY}, rate_limit: 500/s, timeout: 1s, max_response_size: 32KiB}}
            poll: {{interval: 300ms, min_interval: 100ms}}
            # Short enough that tasks leave the gauges, and are remembered, all the time.
            retention: 500ms
            web: {{api_token_file: token}}
            metrics: {{latency_buckets: [0.5, 1, 2, 4], per_task_limit: 5}}
            "
        ),
    );
    std::fs::write(setup.path("token"), TOKEN).unwrap();
    setup
}
