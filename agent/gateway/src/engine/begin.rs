//! The beginning of an answer. A request that no engine has begun with may go to another: the
//! model's name may lead there by now, since models are replaced while they serve.

use futures_util::stream::{self, Stream};

use super::answer::{Answer, Event};
use crate::error::ApiError;
use crate::shutdown::Shutdown;

/// An answer whose first event has come.
#[derive(Debug)]
pub(crate) struct Begun<P> {
    /// What the request was made into for its engine.
    pub(crate) prepared: P,
    pub(crate) first: Event,
    pub(crate) rest: Answer,
}

/// Sends a request and waits for the first event, since a refusal must have its own status. `send`
/// makes it by the configuration of that moment, and is called once more if no engine began with it.
pub(crate) async fn begin<P, F: Future<Output = Result<(P, Answer), ApiError>>>(
    shutdown: &Shutdown,
    send: impl Fn() -> F,
) -> Result<Begun<P>, ApiError> {
    match attempt(shutdown, send()).await {
        Err(error) if error.is_untouched() => attempt(shutdown, send()).await,
        attempted => attempted,
    }
}

async fn attempt<P>(
    shutdown: &Shutdown,
    sent: impl Future<Output = Result<(P, Answer), ApiError>>,
) -> Result<Begun<P>, ApiError> {
    let (prepared, mut rest) = sent.await?;
    let first = next(&mut rest, shutdown).await?;
    Ok(Begun { prepared, first, rest })
}

/// Waits for the next event, but not past the end of the drain.
pub(crate) async fn next(answer: &mut Answer, shutdown: &Shutdown) -> Result<Event, ApiError> {
    if shutdown.has_ended() {
        return Err(ApiError::ShuttingDown);
    }
    tokio::select! {
        biased;
        event = answer.next() => event,
        () = shutdown.ended() => Err(ApiError::ShuttingDown),
    }
}

/// All events of an answer, up to the last one or an error.
pub(crate) fn events(
    first: Event,
    rest: Answer,
    shutdown: Shutdown,
) -> impl Stream<Item = Result<Event, ApiError>> + Send {
    stream::unfold(Rest { first: Some(first), rest: Some(rest), shutdown }, async |mut state| {
        let event = state.next().await?;
        Some((event, state))
    })
}

struct Rest {
    first: Option<Event>,
    /// There until it is over.
    rest: Option<Answer>,
    shutdown: Shutdown,
}

impl Rest {
    async fn next(&mut self) -> Option<Result<Event, ApiError>> {
        let answer = self.rest.as_mut()?;
        let event = match self.first.take() {
            Some(first) => Ok(first),
            None => match answer.ready() {
                Some(event) => event,
                None => next(answer, &self.shutdown).await,
            },
        };
        if !matches!(&event, Ok(event) if !event.is_last()) {
            self.rest = None;
        }
        Some(event)
    }
}
