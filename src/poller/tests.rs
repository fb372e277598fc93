//! The real loop, its budget and the schedule together, in simulated time.
//!
//! No socket: every poll asks for a file that no URL can name, which the client answers as not found without sending
//! anything. The test stands in for the ledger and puts each task that was polled back into the schedule.

use super::*;
use crate::api::Key;
use crate::config::{ApiConfig, KeySource, PollConfig, StorageUrl};
use crate::health::Health;
use crate::ledger::{self, Ledger};
use crate::metrics::BuildInfo;
use crate::schedule::Schedule;
use crate::store::Store;
use crate::task::{FileKey, TaskId};
use crate::time::Time;
use crate::transition::{Next, Policy};
use crate::view::View;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// How often the stand-in for the ledger looks; what it notes is late by at most this.
const LOOK: Duration = Duration::from_millis(50);
/// Each task wants to be polled this often.
const INTERVAL: Duration = Duration::from_secs(5);

struct Bench {
    shared: Arc<Shared>,
    ids: Vec<TaskId>,
    running: tokio::task::JoinHandle<()>,
    /// Every request so far: when, and for which of the tasks.
    requests: Vec<(Duration, usize)>,
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn unnameable() -> Ask {
    Ask::File(FileKey::from_api(".."))
}

impl Bench {
    /// So many tasks, and a poller that runs with a budget of so many requests a minute.
    async fn new(tasks: usize, per_minute: u32) -> Self {
        let clock = Clock::simulated(Time::from_micros(1_700_000_000_000_000));
        let poll = PollConfig { interval: INTERVAL, min_interval: INTERVAL, ..PollConfig::default() };
        let schedule = Arc::new(SharedSchedule::new(Schedule::new(poll, StdRng::seed_from_u64(7))));
        let outcomes = RequestOutcome::ALL.map(RequestOutcome::as_str);
        let instruments = Arc::new(Instruments::new(&outcomes, BuildInfo::of_this_binary(), &clock).unwrap());
        let health = Health::new(&clock);
        let ledger_rooms = ledger::Rooms {
            store: Store::open(&StorageUrl::Memory, &[1.0]).await.unwrap(),
            view: Arc::new(View::default()),
            schedule: schedule.clone(),
            instruments: instruments.clone(),
            heartbeat: health.ledger.clone(),
            clock: clock.clone(),
        };
        let settings = ledger::Settings {
            policy: Policy { poll_interval: INTERVAL, abandon_after: secs(600), retention: secs(600) },
            remember: secs(600),
            known_error_codes: Vec::new(),
            max_error_codes: 1,
            track_unknown: false,
            sources: Vec::new(),
        };
        // It ends here, so what it is told goes nowhere.
        let (_, ledger) = Ledger::new(ledger_rooms, settings, Vec::new());
        let rooms = Rooms { schedule, ledger, instruments, heartbeat: health.poller, clock: clock.clone() };
        let config = ApiConfig { base_url: "http://127.0.0.1:9".parse().unwrap(), ..ApiConfig::default() };
        let client = Client::new(&config, Key::open(&KeySource::Inline("k".into())).unwrap(), clock).unwrap();
        let limit = RateLimit { requests: NonZeroU32::new(per_minute).unwrap(), period: secs(60) };
        let poller = Poller::new(rooms, Terms { client, limit, concurrency: 8 }, CancellationToken::new());
        let shared = poller.shared.clone();
        let running = tokio::spawn(poller.run(TaskTracker::new()));
        let mut bench = Self { shared, ids: Vec::new(), running, requests: Vec::new() };
        for _ in 0..tasks {
            bench.track();
        }
        bench
    }

    fn track(&mut self) {
        let id = TaskId::new(&format!("task_{:03}", self.ids.len())).unwrap();
        let now = self.now();
        self.shared.rooms.schedule.change(|schedule| schedule.track(&id, unnameable(), now));
        self.ids.push(id);
    }

    fn now(&self) -> Duration {
        self.shared.rooms.clock.elapsed()
    }

    fn lag(&self) -> Duration {
        self.shared.rooms.schedule.with(|schedule| schedule.lag(self.now()))
    }

    /// Lets time pass, and answers what is polled meanwhile.
    async fn pass(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            tokio::time::sleep(LOOK).await;
            let now = self.now();
            let polled: Vec<usize> = self.shared.rooms.schedule.with(|schedule| {
                let in_flight = |id: &TaskId| schedule.standing(id).is_some_and(|standing| standing.due.is_none());
                (0..self.ids.len()).filter(|task| in_flight(&self.ids[*task])).collect()
            });
            for task in polled {
                self.requests.push((now, task));
                let job = Job { id: self.ids[task].clone(), ask: unnameable(), dispatched: now };
                let next = Next { ask: unnameable(), at_once: false };
                self.shared.rooms.schedule.change(|schedule| schedule.answered(&job, next, secs(1)));
            }
        }
    }

    fn requests_between(&self, from: Duration, until: Duration) -> usize {
        self.requests.iter().filter(|(at, _)| *at > from && *at <= until).count()
    }

    /// The most requests in any stretch of time of this length.
    fn most_within(&self, length: Duration) -> usize {
        let ends = self.requests.iter().map(|(at, _)| *at);
        ends.map(|end| self.requests.iter().filter(|(at, _)| *at <= end && *at + length > end).count()).max().unwrap()
    }

    /// A request for the first task, of which the test tells how it failed.
    fn fail_one(&mut self, status: u16, retry_after: Option<Duration>) {
        let now = self.now();
        let job = Job { id: self.ids[0].clone(), ask: unnameable(), dispatched: now };
        let failure = Failure {
            outcome: if status == 429 { RequestOutcome::RateLimited } else { RequestOutcome::Unauthorized },
            status: Some(status),
            retry_after,
            reason: "scripted".into(),
        };
        self.shared.failed(&job, &failure, now);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_budget_is_short_it_is_kept_and_spent_and_all_tasks_are_equally_late() {
    let mut bench = Bench::new(100, 300).await;
    bench.pass(secs(200)).await;
    // At most a second's worth at once, and then the rate; a look may see the next request with those before it.
    assert!(bench.most_within(secs(1)) <= 5 + 5 + 1, "{} in a second", bench.most_within(secs(1)));
    assert!(bench.most_within(secs(60)) <= 300 + 5 + 1, "{} in a minute", bench.most_within(secs(60)));
    // Nothing of the budget is lost between two rounds.
    assert!(bench.requests.len() >= 5 * 200 - 5, "{} in all", bench.requests.len());
    let mut polls: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    for (at, task) in &bench.requests {
        polls.entry(*task).or_default().push(*at);
    }
    assert_eq!(polls.len(), 100);
    for (task, times) in polls {
        for pair in times.windows(2) {
            let wait = (pair[1] - pair[0]).as_secs_f64();
            // A round of all tasks takes 100 / 5 seconds.
            assert!((18.5..=21.5).contains(&wait), "task {task} waited {wait} s");
        }
    }
    let lag = bench.lag().as_secs_f64();
    assert!((13.5..=16.5).contains(&lag), "a round of 20 s, and none is due for 5 s of it: {lag}");
}

#[tokio::test(start_paused = true)]
async fn when_the_budget_is_ample_every_task_is_polled_at_its_interval() {
    let mut bench = Bench::new(20, 6000).await;
    bench.pass(secs(60)).await;
    let rounds = bench.requests.len() / 20;
    assert!((11..=12).contains(&rounds), "{rounds} rounds in a minute");
    assert!(bench.lag() <= ROUND, "{:?}", bench.lag());
}

#[tokio::test(start_paused = true)]
async fn a_429_stops_every_request_for_as_long_as_it_says_and_then_the_budget_is_spent_as_before() {
    let mut bench = Bench::new(100, 300).await;
    bench.pass(secs(10)).await;
    let began = bench.now();
    bench.fail_one(429, Some(secs(7)));
    bench.pass(secs(20)).await;
    // One look's delay on either side.
    assert_eq!(bench.requests_between(began + LOOK, began + secs(7)), 0);
    let after = bench.requests_between(began + secs(7), began + secs(8));
    assert!((5..=5 + 5 + 1).contains(&after), "{after} in the second after the hold");
    let later = bench.requests_between(began + secs(10), began + secs(20));
    assert!((48..=52).contains(&later), "{later} in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_accepted_makes_one_request_every_thirty_seconds_until_it_changes() {
    let mut bench = Bench::new(100, 300).await;
    bench.pass(secs(10)).await;
    let began = bench.now();
    bench.fail_one(401, None);
    bench.pass(secs(100)).await;
    let slow: Vec<u64> =
        bench.requests.iter().filter(|(at, _)| *at > began + LOOK).map(|(at, _)| at.as_secs()).collect();
    assert_eq!(slow, [40, 70, 100]);

    let changed = bench.now();
    let now = bench.now();
    bench.shared.rooms.schedule.change(|schedule| schedule.key_changed(now));
    bench.pass(secs(10)).await;
    let first = bench.requests_between(changed, changed + secs(1));
    assert!(first >= 5, "{first} requests in the second after the key changed");
    assert!(bench.requests_between(changed, changed + secs(10)) >= 50 - 5);
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_the_slow_mode_at_once() {
    let mut bench = Bench::new(100, 300).await;
    bench.pass(secs(10)).await;
    bench.fail_one(401, None);
    bench.pass(secs(31)).await;
    let now = bench.now();
    let job = Job { id: bench.ids[1].clone(), ask: unnameable(), dispatched: now };
    bench.shared.rooms.schedule.change(|schedule| schedule.succeeded(&job));
    bench.pass(secs(1)).await;
    let first = bench.requests_between(now, now + secs(1));
    assert!(first >= 5, "{first} requests in the second after a success");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_while_the_loop_sleeps_is_polled_at_once() {
    let mut bench = Bench::new(0, 300).await;
    bench.pass(secs(3)).await;
    let came = bench.now();
    bench.track();
    bench.pass(secs(1)).await;
    assert_eq!(bench.requests_between(came, came + LOOK), 1);
}

#[tokio::test(start_paused = true)]
async fn after_the_stop_nothing_is_asked_and_the_loop_ends() {
    let mut bench = Bench::new(100, 300).await;
    bench.pass(secs(5)).await;
    let before = bench.requests.len();
    bench.shared.stop.cancel();
    bench.pass(secs(30)).await;
    assert_eq!(bench.requests.len(), before);
    assert!(bench.running.is_finished());
}
