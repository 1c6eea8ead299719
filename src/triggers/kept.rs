//! A trigger actor that starts when it is first needed, and comes back: whoever sends to
//! one that has died starts it anew. Nothing is lost by that, as a trigger keeps nothing
//! that it has accepted.

use std::sync::{Mutex, PoisonError};

use actix::dev::ToEnvelope;
use actix::prelude::*;

/// How often a message is sent again to an actor that had died.
const MOST_STARTS: usize = 2;

/// The address of an actor, and how to start it.
pub struct Kept<A: Actor> {
    address: Mutex<Option<Addr<A>>>,
    start: Box<dyn Fn() -> Addr<A> + Send + Sync>,
}

impl<A: Actor<Context = Context<A>>> Kept<A> {
    /// An actor that will run on an arbiter; on the one that first sends to it where none
    /// is named.
    pub fn new(arbiter: Option<ArbiterHandle>, make: impl Fn() -> A + Clone + Send + Sync + 'static) -> Self {
        let start = move || {
            let make = make.clone();
            A::start_in_arbiter(&arbiter.clone().unwrap_or_else(Arbiter::current), move |_| make())
        };
        Self { address: Mutex::new(None), start: Box::new(start) }
    }

    fn address(&self) -> Addr<A> {
        let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        match &*address {
            Some(alive) if alive.connected() => alive.clone(),
            dead => {
                if dead.is_some() {
                    tracing::error!("a trigger died and is started again");
                }
                address.insert((self.start)()).clone()
            }
        }
    }

    /// Sends a message and waits for its answer; `None` where the arbiter is gone, or
    /// answering crashed.
    pub async fn send<M>(&self, message: M) -> Option<M::Result>
    where
        M: Message + Clone + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        for _ in 0..MOST_STARTS {
            if let Ok(answer) = self.address().send(message.clone()).await {
                return Some(answer);
            }
        }
        None
    }
}

impl<A: Actor> std::fmt::Debug for Kept<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
