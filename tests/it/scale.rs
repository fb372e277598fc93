//! More tasks than the budget can poll as often as configured: the requests come at the configured rate, and all tasks
//! are equally late.
//!
//! The real binary follows the operations of a simulated API in a process of its own. A relay between them notes what is
//! asked for and when, so that nothing is taken from the exporter's own word.
//!
//! `DRAGDROPDO_TEST_TASKS` sets the number of tasks, and with it the duration. `benches/scale` measures with ten thousand.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

mod relay;
mod simulated;

use crate::harness::{Exporter, PATIENCE, Scrape, Setup, number_from_environment};
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::simulator::DEFAULT_API_KEY;
use relay::Relay;
use simulated::Simulated;
use std::collections::BTreeMap;
use std::time::Duration;

/// Tasks in an ordinary run: few enough for several rounds in some seconds, and more than the rate can keep up with.
const TASKS: u64 = 500;
/// Requests a second.
const RATE: u64 = 200;
/// How often every task is polled before the numbers are looked at.
const ROUNDS: usize = 4;
/// Scrapes that are timed.
const SCRAPES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_tasks_than_the_budget_allows_are_polled_at_its_rate_and_all_equally_late() {
    let tasks = number_from_environment("DRAGDROPDO_TEST_TASKS").unwrap_or(TASKS);
    let simulated = Simulated::start(tasks).await;
    let clock = Clock::system();
    let relay = Relay::start(simulated.address(), clock.clone()).await;
    let ids = simulated.operations(tasks).await;
    assert_eq!(ids.len() as u64, tasks);
    let setup = Setup::at(
        &relay.url(),
        &format!(
            "
            api: {{api_key: {DEFAULT_API_KEY}, rate_limit: {RATE}/s}}
            poll: {{interval: 500ms, min_interval: 500ms}}
            tasks: [{}]
            ",
            ids.join(", ")
        ),
    );
    let exporter = setup.start().await;

    // In the first round a burst goes out; a steady state begins with the second.
    let round = Duration::from_secs_f64(tasks as f64 / RATE as f64);
    let in_time = round * 2 * u32::try_from(ROUNDS).unwrap() + PATIENCE;
    relay.until_each_is_asked(&ids, 1, in_time).await;
    let (used, begun) = (exporter.cpu(), clock.elapsed());
    relay.until_each_is_asked(&ids, ROUNDS, in_time).await;
    let (used, ended) = (exporter.cpu() - used, clock.elapsed());
    let after = exporter.scrape().await;
    let polls = Polls::of(&relay, &ids);
    tell(&polls, (begun, ended), used, &after, &exporter).await;

    // Most of the budget is used; a busy machine may cost some of it.
    let requests = polls.within(begun, ended);
    let most = RATE as f64 * (ended - begun).as_secs_f64();
    assert!(requests as f64 >= 0.7 * most, "{requests} requests where {most} might have been");
    // Never more than one second's worth beyond it; a tenth of a second is for what comes late and then close together.
    for stretch in [1, 3] {
        let (found, most) = (polls.most_within(Duration::from_secs(stretch)), RATE as f64 * (stretch as f64 + 1.1));
        assert!(found as f64 <= most, "{found} requests within {stretch} s, and at most {most} are allowed");
    }
    // Equally late: nobody's turn comes again long before everybody else's has come.
    let counts = || polls.by_task.values().map(Vec::len);
    let (fewest, most) = (counts().min().unwrap(), counts().max().unwrap());
    assert!(most - fewest <= 2, "a task was polled {fewest} times, and another {most} times");
    let average = (ended - begun).div_f64((ROUNDS - 1) as f64);
    let longest = polls.gaps().pop().unwrap();
    assert!(longest <= average * 2, "a task waited {longest:?}, and the average is {average:?}");
    // The exporter and the API tell the same, but for what is under way. The API closes a connection that has been idle
    // for long, as any does, and now and then that meets a request.
    let (told, seen) = (after.sum("dragdropdo_api_requests_total{outcome=success}"), simulated.answered().await);
    assert!(told <= seen as f64, "the exporter tells of {told} successes, and the API of {seen}");
    let failed = after.sum("dragdropdo_api_requests_total") - told;
    assert!(failed <= told / 1000.0, "{failed} requests failed");
    assert_eq!(after.sum("dragdropdo_tasks"), tasks as f64);
    assert_eq!(after.sum("dragdropdo_tasks{state=unknown}"), 0.0);
}

/// When was asked, in order, and for which task.
struct Polls {
    all: Vec<Duration>,
    by_task: BTreeMap<String, Vec<Duration>>,
}

impl Polls {
    fn of(relay: &Relay, ids: &[String]) -> Self {
        let mut polls = Self { all: Vec::new(), by_task: ids.iter().map(|id| (id.clone(), Vec::new())).collect() };
        for (at, id) in relay.asked() {
            polls.all.push(at);
            polls.by_task.get_mut(&id).unwrap_or_else(|| panic!("nobody named {id}")).push(at);
        }
        polls
    }

    fn within(&self, begun: Duration, ended: Duration) -> usize {
        self.all.iter().filter(|at| (begun..ended).contains(*at)).count()
    }

    fn most_within(&self, stretch: Duration) -> usize {
        let within = |first: usize| self.all[first..].partition_point(|at| *at < self.all[first] + stretch);
        (0..self.all.len()).map(within).max().unwrap_or(0)
    }

    /// The times between two polls of the same task, the shortest first, without those that a first round began.
    fn gaps(&self) -> Vec<Duration> {
        let of_task =
            |polls: &Vec<Duration>| polls.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
        let mut gaps: Vec<Duration> = self.by_task.values().flat_map(of_task).collect();
        gaps.sort_unstable();
        gaps
    }
}

/// Tells what was measured.
#[expect(clippy::print_stderr, reason = "shown when the test fails, or on demand")]
async fn tell(
    polls: &Polls,
    (begun, ended): (Duration, Duration),
    used: Duration,
    after: &Scrape,
    exporter: &Exporter,
) {
    let clock = Clock::system();
    let mut scrapes = Vec::with_capacity(SCRAPES);
    for _ in 0..SCRAPES {
        let begun = clock.elapsed();
        exporter.get("/metrics").send().await.unwrap().bytes().await.unwrap();
        scrapes.push(clock.elapsed() - begun);
    }
    scrapes.sort_unstable();
    let whole_seconds = (begun.as_secs() + 1..ended.as_secs()).map(Duration::from_secs);
    let mut by_second: Vec<usize> = whole_seconds.map(|at| polls.within(at, at + Duration::from_secs(1))).collect();
    by_second.sort_unstable();
    let (gaps, requests, took) = (polls.gaps(), polls.within(begun, ended), (ended - begun).as_secs_f64());
    let (all, succeeded) = ("dragdropdo_api_requests_total", "dragdropdo_api_requests_total{outcome=success}");
    let memory = after.sum("process_resident_memory_bytes") / f64::from(1 << 20);
    let text = after.text().len();
    let rows = [
        ("tasks", polls.by_task.len().to_string()),
        ("requests", format!("{requests} in {took:.1} s")),
        ("in each second", format!("{:?} to {:?}", by_second.first(), by_second.last())),
        ("failed", (after.sum(all) - after.sum(succeeded)).to_string()),
        (
            "polls of a task apart",
            format!("{:?}, median {:?}, {:?}", share(&gaps, 0), share(&gaps, 50), share(&gaps, 100)),
        ),
        ("poll lag", format!("{:.2} s", after.sum("dragdropdo_poll_lag_seconds"))),
        (
            "CPU",
            format!("{:.1} % of a core, {:?} a poll", used.as_secs_f64() / took * 100.0, used.div_f64(requests as f64)),
        ),
        ("resident memory", format!("{memory:.1} MiB")),
        ("scrape", format!("{text} bytes, {:?} to {:?}", share(&scrapes, 50), share(&scrapes, 100))),
    ];
    for (what, found) in rows {
        eprintln!("{what:24}{found}");
    }
}

/// So many percent of these are no longer than this.
fn share(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}
