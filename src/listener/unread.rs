//! What an answer leaves unread of a request's body.
//!
//! Most refusals are decided before the body has come. Many clients read no answer before they have sent their body, or
//! take the stream's reset (HTTP/2) or the connection's (HTTP/1.1) that unread bytes end in for the answer. So the rest
//! is read and thrown away first, within bounds.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::EXPECT;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// The most that is thrown away, in bytes: as much as the longest body that any route takes, so that whatever would be
/// right with the right credentials is answered.
const MAX_BYTES: usize = 1024 * 1024;
/// How long after its head a request's body may still be thrown away: as long as a route that reads it waits.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The body of a request that others answer.
pub(super) struct Unread {
    body: Arc<Mutex<Lent>>,
    waits_to_be_asked: bool,
    /// Runs from the head on.
    timeout: Sleep,
}

/// A body, and how far it was read.
struct Lent {
    incoming: Incoming,
    is_begun: bool,
    is_over: bool,
}

impl Unread {
    /// The request for those who answer it, and what they will leave unread of it.
    pub(super) fn of(request: Request<Incoming>) -> (Request, Self) {
        let waits_to_be_asked = request.headers().contains_key(EXPECT);
        let (head, incoming) = request.into_parts();
        let is_over = incoming.is_end_stream();
        let body = Arc::new(Mutex::new(Lent { incoming, is_begun: false, is_over }));
        let unread = Self { body: body.clone(), waits_to_be_asked, timeout: sleep(TIMEOUT) };
        (Request::from_parts(head, Body::new(Reader(body))), unread)
    }

    /// Reads what is left, and throws it away.
    pub(super) async fn discard(self) {
        let is_nothing_coming = {
            let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
            // The first look at a body asks a client for it that waits for "100 Continue".
            body.is_over || (self.waits_to_be_asked && !body.is_begun)
        };
        if is_nothing_coming {
            return;
        }
        let mut reader = Reader(self.body);
        let mut discarded = 0;
        let discarding = async {
            while discarded <= MAX_BYTES
                && let Some(Ok(frame)) = reader.frame().await
            {
                discarded += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        tokio::select! {
            () = discarding => {}
            // A client that is still not done gets its answer all the same.
            () = self.timeout => {}
        }
    }
}

/// Reads a body that is lent.
struct Reader(Arc<Mutex<Lent>>);

impl hyper::body::Body for Reader {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if body.is_over {
            return Poll::Ready(None);
        }
        body.is_begun = true;
        let frame = ready!(Pin::new(&mut body.incoming).poll_frame(context));
        body.is_over = !matches!(frame, Some(Ok(_))) || body.incoming.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_over
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).incoming.size_hint()
    }
}
