//! Discovery in front of a real ledger: what sources say, and what becomes of it.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::config::{Config, DiscoveryConfig, StorageUrl, parse};
use dragdropdo_exporter::discovery::Discovery;
use dragdropdo_exporter::health::Health;
use dragdropdo_exporter::ledger::{self, Ledger, LedgerHandle, Source};
use dragdropdo_exporter::metrics::{BuildInfo, Instruments};
use dragdropdo_exporter::schedule::{Schedule, SharedSchedule};
use dragdropdo_exporter::store::Store;
use dragdropdo_exporter::transition::Policy;
use dragdropdo_exporter::view::View;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

/// How long something may take to show: many times what it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A discovery that runs, and the ledger behind it.
struct Bench {
    view: Arc<View>,
    instruments: Arc<Instruments>,
    stop: CancellationToken,
    discovery: JoinHandle<()>,
}

impl Bench {
    async fn start(config: &DiscoveryConfig) -> Self {
        let clock = Clock::system();
        let instruments = Arc::new(Instruments::new(&[], BuildInfo::of_this_binary(), &clock).unwrap());
        let discovery = Discovery::new(config).unwrap();
        let (view, ledger) = ledger(&clock, &instruments, discovery.sources()).await;
        let stop = CancellationToken::new();
        let discovery = tokio::spawn(discovery.run(ledger, instruments.clone(), clock, stop.clone()));
        Self { view, instruments, stop, discovery }
    }

    /// The tracked tasks.
    fn tasks(&self) -> Vec<String> {
        let mut tasks: Vec<String> =
            self.view.tasks().iter().map(|task| format!("{} {}", task.id, task.group)).collect();
        tasks.sort();
        tasks
    }

    fn named_by(&self, source: &str) -> i64 {
        self.instruments.discovery_tasks.with_label_values(&[source]).get()
    }

    fn failures_of(&self, source: &str) -> u64 {
        self.instruments.discovery_failures.with_label_values(&[source]).get()
    }

    /// The label values of the metrics of discovery.
    fn sources(&self) -> Vec<String> {
        let families = self.instruments.gather();
        let of = |name: &str| families.iter().find(|family| family.name() == name).map(|family| family.get_metric());
        let labels = |name| {
            let metrics = of(name).unwrap_or_default().iter();
            metrics.map(|metric| metric.get_label()[0].value().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(labels("dragdropdo_discovery_tasks"), labels("dragdropdo_discovery_failures_total"));
        labels("dragdropdo_discovery_tasks")
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.discovery).await.unwrap().unwrap();
    }
}

async fn ledger(clock: &Clock, instruments: &Arc<Instruments>, sources: Vec<Source>) -> (Arc<View>, LedgerHandle) {
    let config = Config::default();
    let mut store = Store::open(&StorageUrl::Memory, &config.metrics.latency_buckets).await.unwrap();
    let (view, unreadable) = ledger::view_of(store.load(clock.wall()).await.unwrap(), &config.metrics.latency_buckets);
    let view = Arc::new(view);
    let schedule = Schedule::new(config.poll.clone(), StdRng::seed_from_u64(1));
    let rooms = ledger::Rooms {
        store,
        view: view.clone(),
        schedule: Arc::new(SharedSchedule::new(schedule)),
        instruments: instruments.clone(),
        heartbeat: Health::new(clock).ledger,
        clock: clock.clone(),
    };
    let settings = ledger::Settings {
        policy: Policy {
            poll_interval: config.poll.interval,
            abandon_after: config.poll.abandon_after,
            retention: config.retention,
        },
        remember: config.storage.remember,
        known_error_codes: config.metrics.known_error_codes,
        max_error_codes: config.metrics.max_error_codes,
        track_unknown: false,
        sources,
    };
    let (ledger, handle) = Ledger::new(rooms, settings, unreadable);
    // It ends with the test's runtime.
    tokio::spawn(ledger.run(CancellationToken::new()));
    (view, handle)
}

async fn until(what: impl Fn() -> bool) -> bool {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.is_ok()
}

/// A producer that answers with what it is told: a status line and a body.
struct Producer {
    url: String,
    answer: Arc<Mutex<(&'static str, String)>>,
}

impl Producer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:hunter2@{}/list?token=hunter2", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(("503 Service Unavailable", String::new())));
        let shared = answer.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                drop(stream.read(&mut head).await);
                let (status, body) = shared.lock().unwrap().clone();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        Self { url, answer }
    }

    fn says(&self, body: &str) {
        *self.answer.lock().unwrap() = ("200 OK", body.to_owned());
    }

    fn fails(&self) {
        *self.answer.lock().unwrap() = ("503 Service Unavailable", String::new());
    }
}

/// The sources of the files `*.json` in a folder and of some URLs, which are asked much more often than can be configured.
fn config(folder: &Path, urls: &[&str]) -> DiscoveryConfig {
    let http: Vec<String> = urls.iter().map(|url| format!("{{url: '{url}'}}")).collect();
    let text = format!("discovery: {{files: ['*.json'], http: [{}]}}", http.join(", "));
    let mut config = parse(&text, &folder.join("config.yaml"), &|_| None).unwrap().discovery;
    for source in &mut config.http {
        source.refresh_interval = Duration::from_millis(50);
    }
    config
}

#[tokio::test]
async fn what_sources_name_is_followed_and_what_breaks_keeps_its_list() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.json");
    let producer = Producer::start().await;
    let bench = Bench::start(&config(folder.path(), &[&producer.url])).await;
    assert!(until(|| bench.failures_of("http/0") > 1).await, "each failed refresh counts");
    assert_eq!(bench.sources(), ["files/0", "http/0"]);
    assert_eq!((bench.named_by("files/0"), bench.named_by("http/0")), (0, 0));
    assert_eq!(bench.failures_of("files/0"), 0);

    producer.says(r#"[{"targets": ["a", "b"], "labels": {"group": "invoices"}}]"#);
    assert!(until(|| bench.tasks() == ["a invoices", "b invoices"]).await, "{:?}", bench.tasks());
    fs::write(&file, r#"[{"targets": ["b", "c"], "labels": {"group": "invoices"}}]"#).unwrap();
    assert!(until(|| bench.tasks() == ["a invoices", "b invoices", "c invoices"]).await, "{:?}", bench.tasks());
    assert!(until(|| bench.named_by("files/0") == 2).await);

    producer.fails();
    fs::write(&file, "[{").unwrap();
    let before = bench.failures_of("http/0");
    assert!(until(|| bench.failures_of("http/0") > before + 1 && bench.failures_of("files/0") == 1).await);
    assert_eq!((bench.named_by("files/0"), bench.named_by("http/0")), (2, 2));
    assert_eq!(bench.tasks().len(), 3);

    // Tasks that no list names and that were never observed go.
    producer.says("[]");
    fs::write(&file, r#"[{"targets": ["c"], "labels": {"group": "exports"}}]"#).unwrap();
    assert!(until(|| bench.tasks() == ["c exports"]).await, "{:?}", bench.tasks());
    assert!(until(|| bench.named_by("files/0") == 1 && bench.named_by("http/0") == 0).await);
    bench.end().await;
}

#[tokio::test]
async fn a_producer_that_hangs_delays_neither_other_sources_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tasks.json"), r#"[{"targets": ["a"]}]"#).unwrap();
    // Its connections are accepted by the system, and nobody reads what they say.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let producer = Producer::start().await;
    producer.says(r#"[{"targets": ["b"]}]"#);
    let urls = [format!("http://{}/", silent.local_addr().unwrap()), producer.url.clone()];
    let bench = Bench::start(&config(folder.path(), &[&urls[0], &urls[1]])).await;
    assert!(until(|| bench.tasks() == ["a default", "b default"]).await, "{:?}", bench.tasks());
    assert_eq!(bench.failures_of("http/0"), 0);
    bench.end().await;
}

/// A log that is kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines_with(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

// The runtime of one thread, so that the log of this thread is the whole log.
#[tokio::test(flavor = "current_thread")]
async fn a_source_that_breaks_is_logged_once_until_it_is_good_and_without_secrets() {
    let log = Log::default();
    // While there is only one subscriber, a line that another test's thread comes to first is never logged on this one.
    let another = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.json");
    fs::write(&file, "nonsense").unwrap();
    let producer = Producer::start().await;
    let bench = Bench::start(&config(folder.path(), &[&producer.url])).await;
    for round in 1..=2 {
        let before = bench.failures_of("http/0");
        assert!(until(|| bench.failures_of("http/0") > before + 5).await);
        assert!(until(|| bench.failures_of("files/0") == round).await);
        let broken = log.lines_with("can't be refreshed");
        let of = |source: &str| broken.iter().filter(|line| line.contains(source)).count() as u64;
        assert_eq!((of("the source http/0"), of("the source files/0")), (round, round), "{broken:#?}");

        let list = r#"[{"targets": ["a"], "labels": {"env": "prod"}}]"#;
        producer.says(list);
        fs::write(&file, list).unwrap();
        assert!(
            until(|| log.lines_with("can be refreshed again").len() as u64 == 2 * round).await,
            "{:#?}",
            log.lines_with("")
        );
        assert_eq!(log.lines_with("the label \"env\"").len(), 2, "once for each source");
        producer.fails();
        fs::write(&file, "nonsense").unwrap();
    }
    bench.end().await;
    drop((guard, another));
    assert!(log.lines_with("http://127.0.0.1").iter().any(|line| line.contains("/list)")));
    assert!(log.lines_with("hunter2").is_empty());
}

#[tokio::test]
async fn without_sources_it_waits_for_the_end() {
    let bench = Bench::start(&DiscoveryConfig::default()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!bench.discovery.is_finished() && bench.sources().is_empty());
    bench.end().await;
}

#[test]
fn what_is_wrong_with_a_source_is_found_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "discovery: {http: [{url: 'http://h'}, {url: 'https://u:hunter2@h/l?hunter2', tls_config: {ca_file: ca.pem}}]}";
    let config = parse(text, &folder.path().join("config.yaml"), &|_| None).unwrap().discovery;
    let message = Discovery::new(&config).unwrap_err().to_string();
    let file = folder.path().join("ca.pem");
    assert!(
        message.starts_with(&format!("discovery.http[1] (https://h/l): cannot read {}: ", file.display())),
        "{message}"
    );
    let config = DiscoveryConfig { files: vec!["[".to_owned()], http: Vec::new() };
    assert!(Discovery::new(&config).unwrap_err().to_string().starts_with("discovery.files[0]: \"[\" is no glob: "));
    let none = Discovery::new(&DiscoveryConfig::default()).unwrap();
    assert!(none.sources().is_empty());
}
