//! Help for host programs whose storage blocks (SQLite, files).

use crate::model::write::{ConnectorError, NextStep};

/// Runs a blocking closure on the runtime's pool of blocking threads and awaits it, so
/// that the arbiter, which serves many connections, is not held up.
///
/// Use it in a [`Connector`](crate::connectors::Connector) for everything that can take
/// longer than a few milliseconds: open the storage inside the closure or send a clone
/// of a handle into it, and keep one transaction within one closure. When the future is
/// dropped the closure still runs to its end.
///
/// # Errors
/// When the closure panicked, with [`NextStep::Retry`]; after a write treat that as an
/// unknown outcome.
pub async fn blocking<T, F>(work: F) -> Result<T, ConnectorError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ConnectorError::new(NextStep::Retry, "the blocking call panicked or the runtime is stopping"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_result_comes_back_and_a_panic_becomes_an_error() {
        assert_eq!(blocking(|| 6 * 7).await, Ok(42));
        let error = blocking(|| std::panic::resume_unwind(Box::new(()))).await.map(|(): ()| ()).unwrap_err();
        assert_eq!(error.next, NextStep::Retry);
    }

    #[actix_web::test]
    async fn the_arbiter_keeps_running() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = blocking(move || receiver.recv());
        // Would hang if the closure ran on this thread.
        let sending = async move { sender.send(1) };
        let (received, sent) = futures_util::future::join(waiting, sending).await;
        assert!(sent.is_ok());
        assert_eq!(received, Ok(Ok(1)));
    }
}
