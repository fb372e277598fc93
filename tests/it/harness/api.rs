//! A D3 API that answers as it is told to, and remembers what it was asked.

use super::{LOOK, PATIENCE};
use bytes::Bytes;
use dragdropdo_exporter::clock::Clock;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// One answer. By default it is a 200 that comes at once.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    delay: Duration,
    gate: Option<watch::Receiver<bool>>,
}

impl Answer {
    /// A 200 with this body, whatever it is.
    pub(crate) fn body(body: impl Into<Bytes>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), delay: Duration::ZERO, gate: None }
    }

    /// An answer with this status and a body that no log may show.
    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::body(r#"{"error":"the-body-of-a-failure"}"#) }
    }

    /// With this header too.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// That comes only after this time.
    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// That comes only once this is true.
    pub(crate) fn once(self, gate: watch::Receiver<bool>) -> Self {
        Self { gate: Some(gate), ..self }
    }
}

/// A status body as the vendor's page shows it. A file is its key and its state, for a failed one with the error code
/// behind a slash (`failed/internal_error`); a completed one has a download link.
pub(crate) fn operation(state: &str, files: &[(&str, &str)]) -> Answer {
    let files: Vec<_> = files
        .iter()
        .map(|(key, state)| match state.split_once('/') {
            Some((state, code)) => json!({ "file_key": key, "status": state, "error_code": code,
                "error_message": "the-message-of-a-failure" }),
            None if *state == "completed" => json!({ "file_key": key, "status": state,
                "download_link": "https://files.d3.example/the-download-link" }),
            None => json!({ "file_key": key, "status": state }),
        })
        .collect();
    Answer::body(json!({ "operation_status": state, "files_data": files }).to_string())
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// When, since the API's start.
    pub(crate) at: Duration,
    /// The raw path with its query.
    pub(crate) path: String,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// What follows `/status/` in the path: the task ID, or the task ID and the file key.
    pub(crate) what: String,
}

/// The fake API; it ends when it is dropped, with all its connections.
pub(crate) struct FakeApi {
    address: SocketAddr,
    state: Arc<State>,
    serving: AbortHandle,
}

struct State {
    clock: Clock,
    scripts: Mutex<HashMap<String, Script>>,
    otherwise: Mutex<Answer>,
    asked: Mutex<Vec<Asked>>,
    in_flight: Mutex<InFlight>,
}

struct Script {
    answers: VecDeque<Answer>,
    /// How often the last answer has been given.
    repeats: usize,
}

#[derive(Default)]
struct InFlight {
    now: usize,
    most: usize,
}

impl FakeApi {
    /// Starts an API that knows no task: it answers 404 to everything that it has not been told about.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            clock: Clock::system(),
            scripts: Mutex::default(),
            otherwise: Mutex::new(Answer::status(404)),
            asked: Mutex::default(),
            in_flight: Mutex::default(),
        });
        let serving = tokio::spawn(serve(listener, state.clone())).abort_handle();
        Self { address, state, serving }
    }

    /// Its address, as `api.base_url` takes it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it answers from now on when `what` is asked for, a task ID or `task ID/file key` as they stand in the path:
    /// one answer after the other, and the last one again and again.
    pub(crate) fn answers(&self, what: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers: VecDeque<Answer> = answers.into_iter().collect();
        assert!(!answers.is_empty(), "{what} needs an answer");
        self.state.scripts.lock().unwrap().insert(what.to_owned(), Script { answers, repeats: 0 });
    }

    /// What it answers from now on to everything that [`answers`](Self::answers) was not called for.
    pub(crate) fn otherwise(&self, answer: Answer) {
        *self.state.otherwise.lock().unwrap() = answer;
    }

    /// Every request so far, in the order in which they came.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// How often `what` has been asked for.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|asked| asked.what == what).count()
    }

    /// The most requests that it has had to answer at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.in_flight.lock().unwrap().most
    }

    /// Now, as [`Asked::at`] tells it.
    pub(crate) fn now(&self) -> Duration {
        self.state.clock.elapsed()
    }

    /// Waits until the exporter has taken in every answer about `what`, the last one too: it has asked once more.
    pub(crate) async fn has_told_all(&self, what: &str) {
        let told = || self.state.scripts.lock().unwrap().get(what).is_some_and(|script| script.repeats > 1);
        let all = async {
            while !told() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, all).await.is_ok();
        assert!(in_time, "not all answers about {what} were asked for");
    }

    /// Waits until `what` has been asked for `times` more often than now: two times are a poll that began after this.
    pub(crate) async fn is_asked_again(&self, what: &str, times: usize) {
        let target = self.count(what) + times;
        let asked = async {
            while self.count(what) < target {
                tokio::time::sleep(LOOK).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, asked).await.is_ok();
        assert!(in_time, "{what} was asked for {} times and not {target} times", self.count(what));
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let state = state.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(state.clone(), request));
            // The exporter may end the connection, or be killed.
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let what = path.split_once("/status/").map_or("", |(_, what)| what).to_owned();
    let answer = state.scripts.lock().unwrap().get_mut(&what).and_then(Script::next);
    let answer = answer.unwrap_or_else(|| state.otherwise.lock().unwrap().clone());
    let asked = Asked { at: state.clock.elapsed(), path, headers: request.headers().clone(), what };
    state.asked.lock().unwrap().push(asked);
    let in_flight = Counted::new(&state);
    tokio::time::sleep(answer.delay).await;
    if let Some(mut gate) = answer.gate {
        // A test that has ended waits for no answer.
        gate.wait_for(|is_open| *is_open).await.ok();
    }
    drop(in_flight);
    let mut response = Response::builder().status(answer.status).header(CONTENT_TYPE, "application/json");
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(answer.body)).unwrap())
}

impl Script {
    fn next(&mut self) -> Option<Answer> {
        if self.answers.len() > 1 {
            return self.answers.pop_front();
        }
        self.repeats += 1;
        self.answers.front().cloned()
    }
}

/// A request that is being answered, or that the client gives up.
struct Counted<'a>(&'a State);

impl<'a> Counted<'a> {
    fn new(state: &'a State) -> Self {
        let mut in_flight = state.in_flight.lock().unwrap();
        in_flight.now += 1;
        in_flight.most = in_flight.most.max(in_flight.now);
        Self(state)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.in_flight.lock().unwrap().now -= 1;
    }
}
