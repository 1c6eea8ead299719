//! How connections tell the host: a bounded stream that nobody waits for.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, unfold};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::model::ids::ConnectionId;
use crate::model::notice::{Notice, Notification};

/// How many notifications a subscriber may be behind before it loses the oldest.
const MOST_WAITING: usize = 1_024;

/// After how long work that waits is late, where nothing else is said.
const LATE_AFTER: Duration = Duration::from_secs(15 * 60);

/// Tells all subscribers. Cheap to clone; never waits for any of them.
#[derive(Debug, Clone)]
pub struct Notifier {
    sender: Arc<Mutex<Option<broadcast::Sender<Notification>>>>,
    late_after_ms: u64,
}

impl Notifier {
    /// Without subscribers. Work is late when it has been waiting for so long.
    #[must_use]
    pub fn new(late_after: Duration) -> Self {
        let sender = Arc::new(Mutex::new(Some(broadcast::Sender::new(MOST_WAITING))));
        Self { sender, late_after_ms: u64::try_from(late_after.as_millis()).unwrap_or(u64::MAX) }
    }

    /// After how long work that waits is late, in milliseconds.
    #[must_use]
    pub fn late_after_ms(&self) -> u64 {
        self.late_after_ms
    }

    fn sender(&self) -> Option<broadcast::Sender<Notification>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether anybody listens: what costs something to find out is only found out then.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        self.sender().is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Tells it to whoever listens.
    pub fn tell(&self, connection: &ConnectionId, at_ms: i64, notice: Notice) {
        if let Some(sender) = self.sender() {
            // An error says that nobody listens.
            let _ = sender.send(Notification { connection: connection.clone(), at_ms, notice });
        }
    }

    /// All that is told from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let Some(sender) = self.sender() else {
            return Subscription { stream: Box::pin(futures_util::stream::empty()) };
        };
        let stream = unfold(sender.subscribe(), |mut receiver| async move {
            match receiver.recv().await {
                Ok(notification) => Some((Ok(notification), receiver)),
                Err(RecvError::Lagged(missed)) => Some((Err(Missed(missed)), receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        Subscription { stream: Box::pin(stream) }
    }

    /// Ends all subscriptions.
    pub fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new(LATE_AFTER)
    }
}

/// This many notifications were lost, because more than a thousand were waiting. What they
/// were about is to be seen in the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} notifications were missed")]
pub struct Missed(pub u64);

/// A stream of notifications. Ends when the kernel is shut down.
pub struct Subscription {
    stream: Pin<Box<dyn Stream<Item = Result<Notification, Missed>> + Send>>,
}

impl Subscription {
    /// The next notification, or how many were missed; `None` once the kernel is shut down.
    pub async fn next(&mut self) -> Option<Result<Notification, Missed>> {
        self.stream.next().await
    }
}

impl Stream for Subscription {
    type Item = Result<Notification, Missed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(waiting_ms: u64) -> Notice {
        Notice::Late { waiting_ms }
    }

    #[actix::test]
    async fn who_does_not_listen_loses_the_oldest_and_is_told_how_many() {
        let notifier = Notifier::default();
        assert!(!notifier.has_listeners());
        notifier.tell(&"acme".into(), 0, late(0));
        let mut subscription = notifier.subscribe();
        let num = MOST_WAITING as u64 + 5;
        (1..=num).for_each(|waiting_ms| notifier.tell(&"acme".into(), 0, late(waiting_ms)));
        notifier.close();
        assert_eq!(subscription.next().await, Some(Err(Missed(5))));
        let first = Notification { connection: "acme".into(), at_ms: 0, notice: late(6) };
        assert_eq!(subscription.next().await, Some(Ok(first)));
        let rest: Vec<_> = subscription.collect().await;
        assert_eq!(rest.len(), MOST_WAITING - 1);
        assert_eq!(notifier.subscribe().next().await, None, "closed");
    }
}
