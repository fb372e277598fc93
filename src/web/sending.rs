//! Answers that may be large: what is being sent is bounded in memory, however slowly it is read.

use super::refusal::Refusal;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all answers together may hold until they are read, in KiB: a thousand usual scrapes, or the list of some 50,000
/// tasks with their files.
const MAX_KIB: u32 = 128 * 1024;
/// What is handed over at once, in bytes. What is kept until then counts.
const CHUNK: usize = 64 * 1024;

/// The room that answers have.
#[derive(Clone, Debug)]
pub(super) struct Sending(Arc<Semaphore>);

impl Sending {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_KIB as usize)))
    }

    /// A body of these bytes, which take room until they are sent. One that is larger than all the room is sent alone.
    ///
    /// # Errors
    ///
    /// No room: others are being read too slowly.
    pub(super) fn body(&self, bytes: impl Into<Bytes>) -> Result<Body, Refusal> {
        let rest = bytes.into();
        let kib = u32::try_from(rest.len().div_ceil(1024)).unwrap_or(MAX_KIB).min(MAX_KIB);
        match self.0.clone().try_acquire_many_owned(kib) {
            Ok(room) => Ok(Body::new(Answer { rest, _room: room })),
            Err(_) => {
                let what = "too many answers are waiting to be read: read them, and try again in a moment";
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, what))
            }
        }
    }
}

struct Answer {
    rest: Bytes,
    _room: OwnedSemaphorePermit,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let chunk = self.rest.len().min(CHUNK);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    #[tokio::test]
    async fn an_answer_takes_room_until_it_is_sent() {
        let sending = Sending::new();
        let large: Vec<u8> = (0..MAX_KIB as usize * 1024 - 1).map(|at| (at % 251) as u8).collect();
        let body = sending.body(large.clone()).unwrap();
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(large.len() as u64));
        assert!(sending.body("x").is_err());
        assert!(to_bytes(body, usize::MAX).await.unwrap() == large, "what was sent is another");
        let waiting = sending.body("x").unwrap();
        assert!(sending.body(large.clone()).is_err());
        drop(waiting);
        assert!(sending.body([large, vec![0; 4096]].concat()).is_ok(), "alone, it may be larger");
    }
}
