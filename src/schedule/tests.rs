use super::*;
use proptest::prelude::*;
use rand::SeedableRng;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn poll() -> PollConfig {
    PollConfig { interval: secs(15), min_interval: secs(2), precision: 0.1, abandon_after: secs(600) }
}

fn schedule(ids: &[&str]) -> Schedule {
    let mut schedule = Schedule::new(poll(), StdRng::seed_from_u64(7));
    for id in ids {
        schedule.track(&TaskId::new(id).unwrap(), Ask::Task, Duration::ZERO);
    }
    schedule
}

fn later() -> Next {
    Next { ask: Ask::Task, at_once: false }
}

fn fail(schedule: &mut Schedule, job: &Job, setback: Setback, retry_after: Option<u64>, now: Duration) {
    schedule.failed(job, setback, retry_after.map(secs), LastError { kind: "trouble", what: "trouble".into() }, now);
}

/// Takes the job that is next, at the moment when it may go.
fn take_next(schedule: &mut Schedule) -> Job {
    let at = schedule.next_at().unwrap();
    schedule.take(at).unwrap()
}

#[test]
fn a_task_has_one_slot_and_is_not_handed_out_twice() {
    let mut schedule = schedule(&["a", "a"]);
    assert!(schedule.take(Duration::ZERO).is_some());
    assert!(schedule.take(secs(100)).is_none());
    schedule.track(&TaskId::new("a").unwrap(), Ask::Task, secs(100));
    assert!(schedule.take(secs(100)).is_none());
}

#[test]
fn an_answer_for_a_task_that_is_no_longer_polled_changes_nothing() {
    let mut schedule = schedule(&["a"]);
    let job = take_next(&mut schedule);
    schedule.untrack(&job.id);
    schedule.answered(&job, later(), secs(1));
    assert!(schedule.is_empty() && schedule.next_at().is_none());
}

#[test]
fn the_wait_grows_with_the_age_between_its_two_bounds() {
    for (age, least, most) in [(1, 2.0, 2.0), (60, 5.4, 6.0), (100_000, 13.5, 15.0)] {
        let mut schedule = schedule(&["a"]);
        let job = take_next(&mut schedule);
        schedule.answered(&job, later(), secs(age));
        let wait = schedule.next_at().unwrap().as_secs_f64();
        assert!((least..=most).contains(&wait), "age {age}: {wait}");
    }
}

#[test]
fn equal_bounds_make_a_fixed_period() {
    let fixed = PollConfig { interval: secs(5), min_interval: secs(5), ..poll() };
    let mut schedule = Schedule::new(fixed, StdRng::seed_from_u64(1));
    schedule.track(&TaskId::new("a").unwrap(), Ask::Task, secs(0));
    for turn in 1..10 {
        let job = take_next(&mut schedule);
        schedule.answered(&job, later(), secs(1000));
        assert_eq!(schedule.next_at(), Some(secs(5 * turn)));
    }
}

#[test]
fn the_next_file_of_a_task_is_asked_for_at_once_and_in_its_turn() {
    let mut schedule = schedule(&["a", "b"]);
    let job = take_next(&mut schedule);
    let ask = Ask::File(crate::task::FileKey::from_api("f"));
    schedule.answered(&job, Next { ask: ask.clone(), at_once: true }, secs(1));
    let jobs = [take_next(&mut schedule), take_next(&mut schedule)];
    assert!(jobs.iter().any(|next| next.id == job.id && next.ask == ask));
}

#[test]
fn failures_back_off_per_task_and_hold_back_no_other() {
    let mut schedule = schedule(&["a", "b"]);
    let mut bad = take_next(&mut schedule);
    let mut waits = Vec::new();
    for _ in 0..10 {
        fail(&mut schedule, &bad, Setback::Other, None, bad.dispatched);
        let due = schedule.standing(&bad.id).unwrap().due.unwrap();
        waits.push((due - bad.dispatched).as_secs_f64());
        assert_eq!(schedule.gate.opens_at(), None);
        loop {
            let job = take_next(&mut schedule);
            if job.id == bad.id {
                bad = job;
                break;
            }
            schedule.answered(&job, later(), secs(1));
        }
        assert_eq!(bad.dispatched, due, "it is polled when its backoff ends");
    }
    for (wait, most) in waits.iter().zip([2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]) {
        assert!(*wait <= most && *wait >= most * 0.9, "{waits:?}");
    }
}

#[test]
fn a_503_with_retry_after_holds_back_its_task_alone() {
    let mut schedule = schedule(&["a", "b"]);
    let job = take_next(&mut schedule);
    fail(&mut schedule, &job, Setback::Unavailable, Some(120), secs(0));
    assert_eq!(schedule.standing(&job.id).unwrap().due, Some(secs(120)));
    assert_eq!(schedule.next_at(), Some(secs(0)));
}

#[test]
fn a_429_holds_back_all_for_as_long_as_it_says_but_no_longer_than_five_minutes() {
    for (says, holds) in [(7, 7), (100_000, 300)] {
        let mut schedule = schedule(&["a", "b"]);
        let job = take_next(&mut schedule);
        fail(&mut schedule, &job, Setback::RateLimited, Some(says), secs(1));
        assert_eq!(schedule.next_at(), Some(secs(1 + holds)));
        assert_eq!(schedule.take(secs(holds)), None);
    }
}

#[test]
fn a_429_that_says_nothing_doubles_up_to_five_minutes_and_begins_anew_after_an_answer() {
    let mut schedule = schedule(&["a"]);
    for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        let job = take_next(&mut schedule);
        fail(&mut schedule, &job, Setback::RateLimited, None, job.dispatched);
        assert_eq!(schedule.next_at().unwrap() - job.dispatched, secs(expected));
    }
    let job = take_next(&mut schedule);
    schedule.succeeded(&job);
    schedule.answered(&job, later(), secs(1));
    let job = take_next(&mut schedule);
    fail(&mut schedule, &job, Setback::RateLimited, None, job.dispatched);
    assert_eq!(schedule.next_at().unwrap() - job.dispatched, secs(1));
}

#[test]
fn requests_that_were_under_way_together_double_the_hold_once() {
    let mut schedule = schedule(&["a", "b", "c"]);
    let jobs: Vec<Job> = (0..3).map(|_| take_next(&mut schedule)).collect();
    for job in &jobs {
        fail(&mut schedule, job, Setback::RateLimited, None, secs(1));
    }
    assert_eq!(schedule.next_at(), Some(secs(2)));
}

#[test]
fn a_401_slows_all_polling_to_one_request_every_thirty_seconds_until_one_succeeds() {
    let mut schedule = schedule(&["a", "b", "c"]);
    let job = take_next(&mut schedule);
    fail(&mut schedule, &job, Setback::KeyRejected, None, secs(0));
    for turn in 1..4 {
        assert_eq!(schedule.next_at(), Some(secs(30 * turn)));
        let job = take_next(&mut schedule);
        assert_eq!(schedule.take(secs(30 * turn)), None);
        fail(&mut schedule, &job, Setback::KeyRejected, None, secs(30 * turn));
    }
    let job = take_next(&mut schedule);
    schedule.succeeded(&job);
    assert_eq!(schedule.gate.opens_at(), None);
}

#[test]
fn a_new_key_ends_the_slow_mode() {
    let mut schedule = schedule(&["a", "b"]);
    let job = take_next(&mut schedule);
    fail(&mut schedule, &job, Setback::KeyRejected, None, secs(5));
    schedule.key_changed(secs(6));
    assert_eq!(schedule.next_at(), Some(secs(0)));
}

#[test]
fn one_tasks_403_backs_off_and_two_tasks_403_in_a_row_slow_all() {
    let mut schedule = schedule(&["a", "b", "c"]);
    let (a, b) = (take_next(&mut schedule), take_next(&mut schedule));
    fail(&mut schedule, &a, Setback::Forbidden, None, secs(0));
    fail(&mut schedule, &a, Setback::Forbidden, None, secs(0));
    assert_eq!(schedule.next_at(), Some(secs(0)), "one task's 403 holds back nobody");
    schedule.succeeded(&b);
    fail(&mut schedule, &b, Setback::Forbidden, None, secs(0));
    assert_eq!(schedule.next_at(), Some(secs(0)), "a success came between");
    fail(&mut schedule, &a, Setback::Forbidden, None, secs(0));
    assert_eq!(schedule.next_at(), Some(secs(30)));
}

#[test]
fn an_unknown_task_backs_off_to_five_minutes_and_after_an_hour_to_one() {
    let mut schedule = schedule(&["a"]);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let job = take_next(&mut schedule);
        schedule.unknown(&job, later(), secs(60), job.dispatched);
        waits.push((schedule.next_at().unwrap() - job.dispatched).as_secs());
    }
    assert!(waits[0] <= 2 && (270..=300).contains(&waits[9]), "{waits:?}");
    let job = take_next(&mut schedule);
    schedule.unknown(&job, later(), secs(3600), job.dispatched);
    assert_eq!(schedule.next_at().unwrap() - job.dispatched, secs(3600));
}

#[test]
fn the_lag_is_that_of_the_most_overdue_poll() {
    let mut schedule = schedule(&["a"]);
    schedule.track(&TaskId::new("b").unwrap(), Ask::Task, secs(5));
    assert_eq!(schedule.lag(secs(10)), secs(10));
    take_next(&mut schedule);
    assert_eq!(schedule.lag(secs(10)), secs(5));
    assert_eq!(schedule.lag(secs(4)), secs(0));
}

#[test]
fn a_task_is_failing_until_it_is_answered_or_no_longer_polled() {
    let mut schedule = schedule(&["a", "b", "c"]);
    let jobs: Vec<Job> = (0..3).map(|_| take_next(&mut schedule)).collect();
    for job in &jobs {
        fail(&mut schedule, job, Setback::Other, None, secs(0));
        fail(&mut schedule, job, Setback::Other, None, secs(0));
    }
    assert_eq!(schedule.failing("trouble"), 3);
    schedule.succeeded(&jobs[0]);
    schedule.not_found(&jobs[1]);
    schedule.untrack(&jobs[2].id);
    assert_eq!(schedule.failing("trouble"), 0);
}

#[test]
fn a_kind_of_failure_tells_since_when_and_what_happened_last() {
    let mut schedule = schedule(&["a", "b"]);
    let (a, b) = (take_next(&mut schedule), take_next(&mut schedule));
    let told = |schedule: &Schedule| {
        let kinds = schedule.failing_kinds();
        kinds
            .map(|(kind, failing)| (kind, failing.tasks, failing.since, failing.latest.to_string()))
            .collect::<Vec<_>>()
    };
    for (job, kind, what, now) in [(&a, "timeout", "slow", 1), (&a, "timeout", "slower", 2), (&b, "timeout", "slow", 3)]
    {
        schedule.failed(job, Setback::Other, None, LastError { kind, what: what.into() }, secs(now));
    }
    assert_eq!(told(&schedule), [("timeout", 2, secs(1), "slow".to_owned())]);
    schedule.failed(&a, Setback::Other, None, LastError { kind: "server_error", what: "500".into() }, secs(4));
    schedule.succeeded(&b);
    assert_eq!(told(&schedule), [("server_error", 1, secs(4), "500".to_owned())]);
    schedule.succeeded(&a);
    assert_eq!(told(&schedule), []);
}

#[test]
fn what_holds_requests_back_is_told_with_its_end() {
    let mut schedule = schedule(&["a", "b"]);
    let holds = |schedule: &Schedule, now| schedule.holds(secs(now)).collect::<Vec<_>>();
    let (a, b) = (take_next(&mut schedule), take_next(&mut schedule));
    assert_eq!(holds(&schedule, 0), []);
    fail(&mut schedule, &a, Setback::RateLimited, Some(20), secs(1));
    fail(&mut schedule, &b, Setback::KeyRejected, None, secs(2));
    assert_eq!(holds(&schedule, 20), [(Hold::RateLimited, secs(21)), (Hold::KeyRejected, secs(32))]);
    assert_eq!(holds(&schedule, 21), [(Hold::KeyRejected, secs(32))]);
    fail(&mut schedule, &a, Setback::RateLimited, Some(20), secs(21));
    assert_eq!(holds(&schedule, 40), [(Hold::RateLimited, secs(41)), (Hold::KeyRejected, secs(32))]);
    assert_eq!(holds(&schedule, 99), [(Hold::KeyRejected, secs(32))], "only an answer ends that");
}

#[test]
fn the_next_polls_come_in_their_order_without_those_under_way() {
    let mut schedule = schedule(&["c"]);
    for (id, now) in [("b", 9), ("a", 5)] {
        schedule.track(&TaskId::new(id).unwrap(), Ask::Task, secs(now));
    }
    take_next(&mut schedule);
    let next: Vec<_> = schedule.next_polls().map(|(due, id)| (due, id.as_str())).collect();
    assert_eq!((next, schedule.under_way()), (vec![(secs(5), "a"), (secs(9), "b")], 1));
}

#[test]
fn a_task_that_alone_is_rejected_or_limited_keeps_no_hold_up() {
    for setback in [Setback::KeyRejected, Setback::RateLimited] {
        let mut schedule = schedule(&["a", "b", "c"]);
        let bad = take_next(&mut schedule);
        fail(&mut schedule, &bad, setback, None, secs(1));
        let next = take_next(&mut schedule);
        assert_ne!(next.id, bad.id);
        schedule.succeeded(&next);
        assert_ne!(take_next(&mut schedule).id, bad.id);
    }
}

#[test]
fn a_rejection_of_the_old_key_slows_nothing_down() {
    let mut schedule = schedule(&["a", "b"]);
    let job = take_next(&mut schedule);
    schedule.key_changed(secs(1));
    fail(&mut schedule, &job, Setback::KeyRejected, None, secs(2));
    assert_eq!(schedule.next_at(), Some(secs(0)));
}

#[test]
fn a_poll_that_is_not_dealt_with_shows_as_lag() {
    let mut schedule = schedule(&["a"]);
    let job = take_next(&mut schedule);
    assert_eq!(schedule.lag(secs(15)), secs(0));
    assert_eq!(schedule.lag(secs(45)), secs(30));
    schedule.answered(&job, later(), secs(1));
    assert_eq!(schedule.lag(secs(1)), secs(0));
}

#[test]
fn a_webhook_makes_a_task_due_now_and_overtakes_nobody() {
    let mut schedule = schedule(&["a", "b"]);
    let (a, b) = (take_next(&mut schedule), take_next(&mut schedule));
    for job in [&a, &b] {
        schedule.answered(job, later(), secs(1000));
    }
    schedule.bring_forward(&a.id, secs(3));
    assert_eq!(schedule.next_at(), Some(secs(3)));
    schedule.track(&TaskId::new("c").unwrap(), Ask::Task, secs(2));
    let order = [schedule.take(secs(4)).unwrap().id.to_string(), schedule.take(secs(4)).unwrap().id.to_string()];
    assert_eq!(order, ["c", "a"]);
}

#[test]
fn webhooks_repeated_without_end_bring_a_task_forward_once_a_second() {
    let mut schedule = schedule(&["a"]);
    let mut polls = 0;
    for tenth in 0..100u32 {
        let now = Duration::from_millis(100) * tenth;
        schedule.bring_forward(&TaskId::new("a").unwrap(), now);
        if let Some(job) = schedule.take(now) {
            polls += 1;
            schedule.answered(&job, later(), secs(1000));
        }
    }
    assert!((10..=12).contains(&polls), "{polls}");
}

#[test]
fn a_webhook_during_a_poll_makes_one_more_poll_follow() {
    let mut schedule = schedule(&["a"]);
    let job = take_next(&mut schedule);
    schedule.bring_forward(&job.id, Duration::from_millis(300));
    schedule.answered(&job, later(), secs(1000));
    assert_eq!(schedule.next_at(), Some(Duration::from_millis(300)));
    let job = schedule.take(secs(1)).unwrap();
    schedule.answered(&job, later(), secs(1000));
    assert!(schedule.next_at().unwrap() > secs(10), "it was one");
}

#[test]
fn a_webhook_leaves_a_task_alone_for_as_long_as_its_503_asks() {
    let mut schedule = schedule(&["a"]);
    let job = take_next(&mut schedule);
    fail(&mut schedule, &job, Setback::Unavailable, Some(60), secs(1));
    schedule.bring_forward(&job.id, secs(3));
    assert_eq!(schedule.next_at(), Some(secs(61)));
}

#[test]
fn a_webhook_during_the_very_poll_that_a_503_answers_waits_as_long_as_it_asks() {
    let mut schedule = schedule(&["a"]);
    let job = take_next(&mut schedule);
    schedule.bring_forward(&job.id, secs(1));
    fail(&mut schedule, &job, Setback::Unavailable, Some(60), secs(2));
    assert_eq!(schedule.next_at(), Some(secs(62)));
}

#[test]
fn a_shorter_interval_holds_for_tasks_that_wait_too() {
    let mut schedule = schedule(&["a"]);
    let job = take_next(&mut schedule);
    schedule.answered(&job, later(), secs(1000));
    schedule.set_poll(PollConfig { interval: secs(3), ..poll() }, secs(1));
    assert_eq!(schedule.next_at(), Some(secs(4)));
}

#[test]
fn a_webhook_ends_a_backoff_but_no_hold() {
    let mut schedule = schedule(&["a"]);
    let job = take_next(&mut schedule);
    fail(&mut schedule, &job, Setback::Other, None, secs(0));
    schedule.bring_forward(&job.id, secs(1));
    let job = schedule.take(secs(1)).unwrap();
    fail(&mut schedule, &job, Setback::RateLimited, Some(60), secs(1));
    schedule.bring_forward(&job.id, secs(3));
    assert_eq!(schedule.next_at(), Some(secs(61)));
}

proptest! {
    /// With a budget of one poll per second for many tasks, each is polled in every round: none starves.
    #[test]
    fn when_the_budget_is_short_all_are_equally_late(tasks in 2usize..40, seed: u64) {
        let mut schedule = Schedule::new(poll(), StdRng::seed_from_u64(seed));
        for task in 0..tasks {
            schedule.track(&TaskId::new(&format!("t{task}")).unwrap(), Ask::Task, Duration::ZERO);
        }
        let mut last = HashMap::new();
        for second in 0..600 {
            if let Some(job) = schedule.take(secs(second)) {
                if let Some(before) = last.insert(job.id.clone(), second) {
                    // Its own wait, and then at most one turn of every other task.
                    prop_assert!(second - before <= 15 + tasks as u64, "{} waited {}", job.id, second - before);
                }
                schedule.answered(&job, later(), secs(second));
            }
        }
        prop_assert_eq!(last.len(), tasks);
    }
}
