//! The real binary, with a folder of its own.

use super::{FakeApi, LOOK, PATIENCE, Scrape};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_yaml::{Mapping, Value};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Everything fast, so that tests are short; whatever a test is about, it configures itself.
const QUICK: &str = "
api: {api_key: d3_live_the-key-of-the-api, rate_limit: 1000/s, timeout: 5s}
poll: {interval: 100ms, min_interval: 50ms}
web: {listen_address: '127.0.0.1:0'}
storage: {url: 'sqlite://exporter.db'}
";

/// A configuration in a temporary folder, and all that an exporter leaves there from one start to the next.
pub(crate) struct Setup {
    folder: Arc<TempDir>,
    config: Value,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    shell: Option<String>,
}

impl Setup {
    /// A configuration for this API: `yaml` over one that polls fast and keeps its database in the folder.
    pub(crate) fn new(api: &FakeApi, yaml: &str) -> Self {
        Self::at(&api.url(), yaml)
    }

    /// The same for an API at this address.
    pub(crate) fn at(url: &str, yaml: &str) -> Self {
        let mut setup = Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            config: serde_yaml::from_str(QUICK).unwrap(),
            arguments: Vec::new(),
            environment: Vec::new(),
            shell: None,
        };
        setup.configure(&format!("api: {{base_url: '{url}'}}"));
        setup.configure(yaml);
        setup
    }

    /// Lays `yaml` over the configuration, for the next start: mappings are merged, anything else is replaced.
    pub(crate) fn configure(&mut self, yaml: &str) {
        lay_over(&mut self.config, serde_yaml::from_str(yaml).unwrap());
        std::fs::write(self.path("config.yaml"), serde_yaml::to_string(&self.config).unwrap()).unwrap();
    }

    /// One more argument for the next starts.
    pub(crate) fn argument(&mut self, argument: &str) -> &mut Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// One more variable for the next starts; there are no others.
    pub(crate) fn environment(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What a shell does before it becomes the exporter, for the next starts: `ulimit -n 32`.
    pub(crate) fn shell(&mut self, command: &str) {
        self.shell = Some(command.to_owned());
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the exporter and waits until it is ready.
    pub(crate) async fn start(&self) -> Exporter {
        let mut exporter = self.launch();
        exporter.listens().await;
        let ready = async {
            while exporter.get("/-/ready").send().await.unwrap().status() != StatusCode::OK {
                tokio::time::sleep(LOOK).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, ready).await.is_ok();
        assert!(in_time, "the exporter never is ready:\n{}", exporter.log().join("\n"));
        exporter
    }

    /// Starts the exporter. Its address is not known before it [listens](Exporter::listens).
    pub(crate) fn launch(&self) -> Exporter {
        let mut child = self.command().spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (is_read, mut reads) = watch::channel(true);
        let reading = tokio::spawn({
            let log = log.clone();
            async move {
                let mut lines = stderr.lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    log.lock().unwrap().push(line);
                    // It fails only when nobody is left who could have it wait.
                    reads.wait_for(|reads| *reads).await.ok();
                }
            }
        });
        // An answer that was cut off must be seen, and not hidden by a second try.
        let client = Client::builder().no_proxy().timeout(PATIENCE).retry(reqwest::retry::never()).build().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Exporter { child, log, reading, is_read, client, address, _folder: self.folder.clone() }
    }

    /// Starts an exporter that is to end by itself.
    pub(crate) async fn fails_to_start(&self) -> Ended {
        ended(self.command()).await
    }

    fn command(&self) -> Command {
        let mut command = match &self.shell {
            Some(shell) => through(shell),
            None => binary(),
        };
        // The configuration is where it is by default, config.yaml in the current folder.
        command.current_dir(self.folder.path());
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command
    }
}

/// The binary without an environment: proxies and keys of whoever runs the tests are no part of them.
/// `DRAGDROPDO_TEST_EXPORTER` names another than the one that was built with the tests, like that of a release.
pub(crate) fn binary() -> Command {
    alone(Command::new(path_of_binary()))
}

/// The binary, which a shell becomes after it has done this.
fn through(shell: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")]).arg(path_of_binary());
    alone(command)
}

fn path_of_binary() -> OsString {
    let built = env!("CARGO_BIN_EXE_dragdropdo-exporter");
    std::env::var_os("DRAGDROPDO_TEST_EXPORTER").unwrap_or(built.into())
}

fn alone(mut command: Command) -> Command {
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn lay_over(config: &mut Value, over: Value) {
    match (config, over) {
        (Value::Mapping(config), Value::Mapping(over)) => {
            for (key, value) in over {
                let below = config.entry(key).or_insert(Value::Mapping(Mapping::new()));
                lay_over(below, value);
            }
        }
        (config, over) => *config = over,
    }
}

/// How a process ended and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error: the log, and why it failed.
    pub(crate) stderr: String,
}

/// Runs the binary with these arguments and variables to its end, in `folder`.
pub(crate) async fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = binary();
    command.current_dir(folder).args(arguments).envs(environment.iter().copied());
    ended(command).await
}

async fn ended(mut command: Command) -> Ended {
    let Ok(output) = tokio::time::timeout(PATIENCE, command.output()).await else {
        panic!("{command:?} does not end");
    };
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A running exporter; it is killed when it is dropped.
pub(crate) struct Exporter {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    reading: JoinHandle<()>,
    is_read: watch::Sender<bool>,
    client: Client,
    _folder: Arc<TempDir>,
}

impl Exporter {
    /// Waits until it listens.
    pub(crate) async fn listens(&mut self) {
        let line = self.logs("listening on http://").await;
        let address = line.split("listening on http://").nth(1).unwrap();
        self.address = address.split(['"', ' ']).next().unwrap().parse().unwrap();
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Does not read its log any longer, as `| head -1` does not.
    pub(crate) fn is_not_read(&self) {
        self.reading.abort();
    }

    /// Leaves its log where it is, in a pipe that fills up, until the exporter has ended.
    pub(crate) fn is_left_unread(&self) {
        self.is_read.send_replace(false);
    }

    /// The CPU time that it has used, as the system tells it.
    pub(crate) fn cpu(&self) -> Duration {
        /// How the kernel counts, on every Linux.
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // Behind the name, which may hold anything, the user's and the system's share are the 12th and the 13th.
        let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        TICK * ticks.map(|ticks| ticks.parse::<u32>().unwrap()).sum()
    }

    /// A request to a route.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// A GET of a route.
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// `/api/v1/tasks`, read.
    pub(crate) async fn tasks(&self) -> serde_json::Value {
        self.get("/api/v1/tasks").send().await.unwrap().json().await.unwrap()
    }

    /// Scrapes `/metrics`; what breaks a rule of the format fails the test.
    pub(crate) async fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Scrape::parse(&answer.text().await.unwrap()).unwrap()
    }

    /// Scrapes until `condition` holds; `what` says in words what is waited for.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Scrape) -> bool) -> Scrape {
        let mut latest = self.scrape().await;
        let holds = async {
            while !condition(&latest) {
                tokio::time::sleep(LOOK).await;
                latest = self.scrape().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, holds).await.is_ok();
        assert!(in_time, "{what}: never so\n{}\n{}", latest.text(), self.log().join("\n"));
        latest
    }

    /// Scrapes until these series have these values, and tells which one has another when they never do.
    pub(crate) async fn shows(&self, expected: &[(&str, f64)]) -> Scrape {
        let mut what = String::new();
        for (series, value) in expected {
            write!(what, "{series} {value}, ").unwrap();
        }
        self.until(&what, |scrape| expected.iter().all(|(series, value)| scrape.get(series) == Some(*value))).await
    }

    /// The lines of the log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits until a line of the log has this text, and answers the first that has.
    pub(crate) async fn logs(&self, text: &str) -> String {
        let found = async {
            loop {
                if let Some(line) = self.log().into_iter().find(|line| line.contains(text)) {
                    return line;
                }
                assert!(!self.reading.is_finished(), "it ended without logging {text}:\n{}", self.log().join("\n"));
                tokio::time::sleep(LOOK).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("the log never has {text}:\n{}", self.log().join("\n")))
    }

    /// Ends it as a service manager does, by SIGTERM, and answers its exit status and its whole log.
    pub(crate) async fn terminate(self) -> (ExitStatus, Vec<String>) {
        self.signal("TERM").await;
        self.ends(PATIENCE).await
    }

    /// Ends it by SIGTERM, within the time that the exporter promises whatever is going on, and answers its whole log.
    pub(crate) async fn stops(self) -> Vec<String> {
        self.stops_by("TERM").await
    }

    /// The same by another signal.
    pub(crate) async fn stops_by(self, signal: &str) -> Vec<String> {
        /// The promise is 5 s; the rest is for a machine that does a lot else.
        const PROMISE: Duration = Duration::from_secs(8);
        self.signal(signal).await;
        let (status, log) = self.ends(PROMISE).await;
        assert!(status.success(), "{status}\n{}", log.join("\n"));
        log
    }

    /// Sends it a signal, by its short name.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.pid();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Ends it as a crash does, by SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.ends(PATIENCE).await;
    }

    async fn ends(mut self, bound: Duration) -> (ExitStatus, Vec<String>) {
        let end = async {
            let status = self.child.wait().await.unwrap();
            self.is_read.send_replace(true);
            // A log that is not read has no end to wait for.
            (&mut self.reading).await.ok();
            status
        };
        let end = tokio::time::timeout(bound, end).await;
        let status = end.unwrap_or_else(|_| panic!("it has not ended within {bound:?}:\n{}", self.log().join("\n")));
        (status, self.log())
    }
}
