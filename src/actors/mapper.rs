//! The mapper: the connection's child that decides. No I/O.

use std::panic::{AssertUnwindSafe, catch_unwind};

use actix::prelude::*;

use crate::actors::message::{Map, Mapped};
use crate::reconcile::before_write::asked;
use crate::reconcile::case::{Case, Partner};
use crate::reconcile::now::Now;
use crate::reconcile::plan::plan;
use crate::reconcile::schema::checked;
use crate::reconcile::sync::BoundSync;

/// Owns nothing. A record whose mapping panics becomes a held-back record.
#[derive(Debug, Default)]
pub struct Mapper;

impl Actor for Mapper {
    type Context = Context<Self>;
}

impl Handler<Map> for Mapper {
    type Result = MessageResult<Map>;

    fn handle(&mut self, message: Map, _: &mut Context<Self>) -> Self::Result {
        let Map { sync, cases, now } = message;
        MessageResult(cases.into_iter().map(|case| step(&sync, case, now)).collect())
    }
}

fn step(sync: &BoundSync, mut case: Case, now: Now) -> Mapped {
    let decided = catch_unwind(AssertUnwindSafe(|| {
        let step = plan(sync, &mut case, now);
        checked(sync, &case, asked(sync, &case, step))
    }));
    match decided {
        Ok(step) => Mapped::Stepped(Box::new(case), step),
        Err(_) => {
            // Only its name and its marker are looked at again, and both are whole.
            case.partner = Partner::NotAsked;
            Mapped::Crashed { side: case.origin, id: case.id.clone(), case: Box::new(case) }
        }
    }
}
