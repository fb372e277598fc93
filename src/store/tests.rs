use super::*;
use crate::task::{ErrorCode, Event, FileKey, FileSeen, FilesSeen, Finished, Group, Observation, State};
use crate::totals::{CounterFamily, Histogram, HistogramFamily};
use crate::transition::{Policy, observe};

const NOW: Time = Time::from_micros(1_700_000_000_000_000);
const BOUNDS: [f64; 3] = [1.0, 2.5, 10.0];

fn file_store() -> (tempfile::TempDir, StorageUrl) {
    let folder = tempfile::tempdir().unwrap();
    let url = StorageUrl::Sqlite(folder.path().join("test.db"));
    (folder, url)
}

/// A record in which everything that can be set is set, by way of the rules.
fn rich_record(id: &str) -> (TaskRecord, Vec<Event>) {
    let mut record = TaskRecord::new(TaskId::new(id).unwrap(), Group::new("invoices").unwrap(), &[]);
    record.registered = true;
    record.unlisted_since = Some(NOW);
    let policy = Policy {
        poll_interval: Duration::from_secs(15),
        abandon_after: Duration::from_secs(60),
        retention: Duration::from_secs(60),
    };
    let file = |key: &str, state, error_code: Option<&str>| FileSeen {
        key: FileKey::from_api(key),
        state,
        error_code: error_code.and_then(ErrorCode::from_api),
    };
    let mut events = Vec::new();
    for (seconds, state, files) in [
        (1, State::InProgress, vec![file("a", State::Queued, None), file("b", State::Queued, None)]),
        (3, State::Completed, vec![file("a_result", State::Completed, None), file("b", State::Failed, Some("Bad"))]),
    ] {
        let received = NOW.after(Duration::from_secs(seconds));
        let observation = Observation { received, state, files: FilesSeen::All(files) };
        events.extend(observe(&mut record, &observation, &policy, received));
    }
    (record, events)
}

fn change(record: TaskRecord, events: &[Event]) -> Change {
    let counts = events.iter().flat_map(|event| Count::of(event, &record.id, NOW, &mut ErrorCode::clone)).collect();
    Change { record: Arc::new(record), fate: Fate::Tracked, counts }
}

#[tokio::test]
async fn what_was_committed_is_what_is_loaded() {
    let (_folder, url) = file_store();
    let (record, events) = rich_record("one");
    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    let mut opened = Totals::new();
    for count in Count::group_at_zero(&[ErrorCode::from_api("internal_error").unwrap()]) {
        opened.entry(record.group.clone()).or_default().add(&count, &BOUNDS, NOW);
    }
    store.commit(Work { opened: Some(&opened), ..Work::default() }, NOW).await.unwrap();
    let later = NOW.after(Duration::from_secs(9));
    let added = store
        .commit(Work { changes: &[change(record.clone(), &events)], ..Work::default() }, later)
        .await
        .unwrap()
        .added;
    store.close().await.unwrap();

    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    let loaded = store.load(later).await.unwrap();
    assert_eq!(loaded.tasks, std::slice::from_ref(&record));
    assert!(loaded.unreadable.is_empty());
    let mut expected = opened[&record.group].clone();
    expected.merge(&added[&record.group]);
    for histogram in expected.histograms.values_mut() {
        // Whoever scraped them keeps them.
        histogram.exemplars.clear();
    }
    assert_eq!(loaded.totals[&record.group], expected);
    let completed = expected.counters[&(CounterFamily::FilesFinished, "completed".into())];
    assert_eq!((completed.value, completed.created), (1, NOW), "a counter keeps the time it began");
    assert_eq!(expected.histograms[&(HistogramFamily::TaskLatency, Finished::Completed)].buckets, [0, 1, 0, 0]);
}

#[tokio::test]
async fn a_failure_whose_time_was_not_kept_yet_is_read_all_the_same() {
    let mut store = Store::open(&StorageUrl::Memory, &BOUNDS).await.unwrap();
    let (record, _) = rich_record("one");
    store.commit(Work { changes: &[change(record, &[])], ..Work::default() }, NOW).await.unwrap();
    let old = r#"UPDATE task SET files = '[{"key":"b","state":"failed","counted_failed_as":"b","error_code":"bad"}]'"#;
    sqlx::query(old).execute(&mut store.connection).await.unwrap();
    let loaded = store.load(NOW).await.unwrap();
    let failure = loaded.tasks[0].failures().next().unwrap();
    assert_eq!((failure.at, failure.file.unwrap().key.as_str()), (None, "b"));
}

#[tokio::test]
async fn other_bounds_begin_a_histogram_anew_and_leave_the_rest() {
    let (_folder, url) = file_store();
    let (record, events) = rich_record("one");
    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    store.commit(Work { changes: &[change(record.clone(), &events)], ..Work::default() }, NOW).await.unwrap();
    store.close().await.unwrap();

    let later = NOW.after(Duration::from_secs(60));
    for _ in 0..2 {
        let mut store = Store::open(&url, &[5.0]).await.unwrap();
        let totals = store.load(later).await.unwrap().totals.remove(&record.group).unwrap();
        let histogram = &totals.histograms[&(HistogramFamily::TaskLatency, Finished::Completed)];
        assert_eq!(*histogram, Histogram::new(&[5.0], later));
        assert_eq!(totals.counters[&(CounterFamily::FilesFinished, "failed".into())].value, 1);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_row_is_left_out_and_the_rest_of_the_batch_is_kept() {
    let (_folder, url) = file_store();
    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    for action in ["ABORT", "ROLLBACK"] {
        let trigger = format!(
            "CREATE TRIGGER refuse_{action} BEFORE INSERT ON task WHEN NEW.id = 'bad_{action}' \
             BEGIN SELECT RAISE({action}, 'not this one'); END"
        );
        sqlx::query(sqlx::AssertSqlSafe(trigger)).execute(&mut store.connection).await.unwrap();
        let changes: Vec<Change> = ["good_1", &format!("bad_{action}"), "good_2"]
            .iter()
            .map(|id| {
                let (record, events) = rich_record(id);
                change(record, &events)
            })
            .collect();
        let committed = store.commit(Work { changes: &changes, ..Work::default() }, NOW).await.unwrap();
        assert_eq!(committed.refused.keys().copied().collect::<Vec<_>>(), [1]);
        assert!(committed.refused[&1].contains("not this one"));
        let added = &committed.added[&changes[0].record.group];
        assert_eq!(added.counters[&(CounterFamily::FilesFinished, "failed".into())].value, 2);
    }
    let loaded = store.load(NOW).await.unwrap();
    let ids: Vec<&str> = loaded.tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(ids, ["good_1", "good_2"]);
    let totals = loaded.totals.values().next().unwrap();
    assert_eq!(totals.counters[&(CounterFamily::FilesFinished, "failed".into())].value, 4);
}

#[tokio::test]
async fn what_is_committed_after_refusals_is_there_for_others_to_read() {
    let (_folder, url) = file_store();
    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    for action in ["ROLLBACK", "ABORT"] {
        let trigger = format!(
            "CREATE TRIGGER refuse_{action} BEFORE INSERT ON task WHEN NEW.id = 'bad_{action}' \
             BEGIN SELECT RAISE({action}, 'not this one'); END"
        );
        sqlx::query(sqlx::AssertSqlSafe(trigger)).execute(&mut store.connection).await.unwrap();
        let bad = change(rich_record(&format!("bad_{action}")).0, &[]);
        assert_eq!(store.commit(Work { changes: &[bad], ..Work::default() }, NOW).await.unwrap().refused.len(), 1);
    }
    let good = change(rich_record("good").0, &[]);
    store.commit(Work { changes: &[good], ..Work::default() }, NOW).await.unwrap();
    let StorageUrl::Sqlite(path) = &url else { panic!("not a file") };
    let mut other = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let found = sqlx::query("SELECT COUNT(*) FROM task").fetch_one(&mut other).await.unwrap();
    assert_eq!(found.get::<i64, _>(0), 1);
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
}

#[tokio::test]
async fn a_remembered_row_that_cannot_be_read_is_told_from_a_database_that_fails() {
    let (_folder, url) = file_store();
    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    let (record, _) = rich_record("bad");
    let id = record.id.clone();
    store.commit(Work { changes: &[change(record, &[])], ..Work::default() }, NOW).await.unwrap();
    for broken in ["files = '[{'", "started = 'yesterday'", "state = 'lost'"] {
        let statement = format!("UPDATE task SET {broken} WHERE id = 'bad'");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut store.connection).await.unwrap();
        let error = store.recall(&id).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{broken}: {error}");
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_set_aside_and_named() {
    let (_folder, url) = file_store();
    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    let changes = ["good", "bad"].map(|id| change(rich_record(id).0, &[]));
    store.commit(Work { changes: &changes, ..Work::default() }, NOW).await.unwrap();
    sqlx::query("UPDATE task SET files = '[{' WHERE id = 'bad'").execute(&mut store.connection).await.unwrap();
    let loaded = store.load(NOW).await.unwrap();
    assert_eq!(loaded.tasks.len(), 1);
    assert_eq!(loaded.unreadable.len(), 1);
    assert_eq!(loaded.unreadable[0].0, "bad");
}

#[tokio::test]
async fn a_second_exporter_is_kept_off_while_sqlite_stays_open_to_readers() {
    let (_folder, url) = file_store();
    let store = Store::open(&url, &BOUNDS).await.unwrap();
    let error = Store::open(&url, &BOUNDS).await.unwrap_err().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    store.close().await.unwrap();
    Store::open(&url, &BOUNDS).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (_folder, url) = file_store();
    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'from the future', TRUE, x'00', 0)",
    )
    .execute(&mut store.connection)
    .await
    .unwrap();
    store.close().await.unwrap();
    let error = Store::open(&url, &BOUNDS).await.unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 99, known: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_departed_task_is_remembered_until_it_is_forgotten() {
    let mut store = Store::open(&StorageUrl::Memory, &BOUNDS).await.unwrap();
    let (record, _) = rich_record("gone");
    let departed = Change { fate: Fate::Departed(NOW), ..change(record.clone(), &[]) };
    store.commit(Work { changes: &[departed], ..Work::default() }, NOW).await.unwrap();
    assert!(store.load(NOW).await.unwrap().tasks.is_empty());
    assert_eq!(store.recall(&record.id).await.unwrap().record, Some(record.clone()));
    let later = NOW.after(Duration::from_secs(1));
    let old = store.departed_before(later, 10).await.unwrap();
    assert_eq!(old, ["gone"]);
    store.forget(&[], &old, later).await.unwrap();
    assert!(store.departed_before(later, 10).await.unwrap().is_empty());
    store.forget(&old, &[], later).await.unwrap();
    assert_eq!(store.recall(&record.id).await.unwrap(), Recalled::default());
}

#[tokio::test]
async fn an_early_webhook_is_kept_until_it_is_too_old() {
    let (_folder, url) = file_store();
    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    let id = TaskId::new("early").unwrap();
    let received = |seconds| NOW.after(Duration::from_secs(seconds));
    let webhook = |announced, seconds| EarlyWebhook { id: id.clone(), announced, received: received(seconds) };
    for webhook in [webhook(Some(NOW), 1), webhook(None, 2)] {
        store.commit(Work { early_webhooks: &[webhook], ..Work::default() }, NOW).await.unwrap();
    }
    store.close().await.unwrap();
    let mut store = Store::open(&url, &BOUNDS).await.unwrap();
    assert_eq!(store.recall(&id).await.unwrap().early_webhook, Some(webhook(Some(NOW), 2)));
    store.forget_early_webhooks(received(3)).await.unwrap();
    assert_eq!(store.recall(&id).await.unwrap(), Recalled::default());
}

#[tokio::test]
async fn early_webhooks_are_bounded_and_the_oldest_go_first() {
    let mut store = Store::open(&StorageUrl::Memory, &BOUNDS).await.unwrap();
    let webhooks: Vec<EarlyWebhook> = (0..10_050)
        .map(|number| EarlyWebhook {
            id: TaskId::new(&format!("t{number}")).unwrap(),
            announced: None,
            received: Time::from_micros(number),
        })
        .collect();
    store.commit(Work { early_webhooks: &webhooks, ..Work::default() }, NOW).await.unwrap();
    assert_eq!(store.recall(&webhooks[49].id).await.unwrap(), Recalled::default());
    assert!(store.recall(&webhooks[50].id).await.unwrap().early_webhook.is_some());
}
