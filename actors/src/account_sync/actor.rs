//! The account-sync actor: a thin shell that begins the runs of one connection, one at a time, and
//! answers for it meanwhile.

use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tracing::Instrument;

use super::connection::Disposal;
use super::errors::SyncError;
use super::notice::Heeded;
use super::run::Run;
use super::work::Work;
use crate::supervision::{Command, Envelope, Lifeline};

/// The actor of one connection. It keeps nothing in memory that counts: each decision reads the
/// store first.
pub struct AccountSync {
    work: Arc<Work>,
    lifeline: Lifeline,
    running: bool,
    /// A run was made while another was coming to its end.
    wanted: bool,
}

/// The connection may be due: look.
#[derive(Clone)]
pub(super) struct Due;

impl Command for Due {
    type Reply = ();
}

/// A run was made for the connection: begin it, if need be after the one that is under way.
#[derive(Clone)]
pub(super) struct Made;

impl Command for Made {
    type Reply = ();
}

/// The user wants a run; this is its id if none is unfinished.
#[derive(Clone)]
pub(super) struct RequestRun {
    pub(super) user_id: String,
    pub(super) run_id: String,
}

impl Command for RequestRun {
    type Reply = Result<Run, SyncError>;
}

/// The provider says that something is new; this is the id of the run if none is unfinished.
#[derive(Clone)]
pub(super) struct Heed {
    pub(super) notice: String,
    pub(super) run_id: String,
}

impl Command for Heed {
    type Reply = Result<Heeded, SyncError>;
}

/// The user deletes the connection.
#[derive(Clone)]
pub(super) struct Revoke {
    pub(super) user_id: String,
    pub(super) command_id: String,
    pub(super) disposal: Disposal,
}

impl Command for Revoke {
    type Reply = Result<(), SyncError>;
}

impl AccountSync {
    pub(super) fn new(work: Work, lifeline: Lifeline) -> Self {
        Self { work: Arc::new(work), lifeline, running: false, wanted: false }
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        if self.running {
            self.wanted = true;
            return;
        }
        self.running = true;
        self.wanted = false;
        let (work, lifeline, busy) = (self.work.clone(), self.lifeline.clone(), self.lifeline.busy());
        let performed = async move { work.perform(&lifeline).await };
        ctx.spawn(performed.into_actor(self).map(move |(), actor, ctx| {
            actor.running = false;
            if actor.wanted && !actor.lifeline.is_draining() {
                actor.run(ctx);
            }
            drop(busy);
        }));
    }
}

impl Actor for AccountSync {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A predecessor may have fallen in the middle of a run.
        self.run(ctx);
    }
}

impl Handler<Envelope<Due>> for AccountSync {
    type Result = ();

    fn handle(&mut self, asked: Envelope<Due>, ctx: &mut Self::Context) {
        // Whoever asks looks again soon, so a run that is ending needs no reminder.
        if self.running {
            self.work.forget_note();
        } else {
            self.run(ctx);
        }
        asked.reply.send(());
    }
}

impl Handler<Envelope<Made>> for AccountSync {
    type Result = ();

    fn handle(&mut self, asked: Envelope<Made>, ctx: &mut Self::Context) {
        self.run(ctx);
        asked.reply.send(());
    }
}

impl Handler<Envelope<RequestRun>> for AccountSync {
    type Result = ();

    fn handle(&mut self, asked: Envelope<RequestRun>, ctx: &mut Self::Context) {
        let (command, reply) = asked.open();
        let (work, busy) = (self.work.clone(), self.lifeline.busy());
        let requested =
            async move { work.request(&command.user_id, &command.run_id).await }.instrument(reply.span());
        ctx.spawn(requested.into_actor(self).map(move |answer, actor, ctx| {
            if matches!(answer, Ok((_, true))) {
                actor.run(ctx);
            }
            reply.send(answer.map(|(run, _)| run));
            drop(busy);
        }));
    }
}

impl Handler<Envelope<Heed>> for AccountSync {
    type Result = ();

    fn handle(&mut self, asked: Envelope<Heed>, ctx: &mut Self::Context) {
        let (command, reply) = asked.open();
        let (work, busy) = (self.work.clone(), self.lifeline.busy());
        let heeded =
            async move { work.heed(&command.notice, &command.run_id).await }.instrument(reply.span());
        ctx.spawn(heeded.into_actor(self).map(move |answer, actor, ctx| {
            if matches!(answer, Ok((_, true))) {
                actor.run(ctx);
            }
            reply.send(answer.map(|(heeded, _)| heeded));
            drop(busy);
        }));
    }
}

impl Handler<Envelope<Revoke>> for AccountSync {
    type Result = ();

    fn handle(&mut self, asked: Envelope<Revoke>, ctx: &mut Self::Context) {
        let (command, reply) = asked.open();
        let (work, busy) = (self.work.clone(), self.lifeline.busy());
        let revoked = async move {
            let Revoke { user_id, command_id, disposal } = command;
            reply.send(work.revoke(&user_id, &command_id, disposal).await);
            drop(busy);
        };
        ctx.spawn(revoked.into_actor(self));
    }
}
