//! The one loop over events. It has a thread of its own: deciding is computation, and must delay nobody's network.

use crate::clock;
use crate::failure::{Exit, Failure};
use regraft_engine::{Effect, Event, Report, Wanted};
use regraft_model::Object;
use regraft_model::config::Application;
use regraft_model::id::ClusterName;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Events that wait. Who brings more waits itself (watches) or drops what is brought again (ticks).
const QUEUE_EVENTS: usize = 1024;

/// Events that are decided on together when they wait: one look at what changed serves all of them.
const BATCH_EVENTS: usize = 256;

/// Where events go.
#[derive(Clone)]
pub(super) struct Engine(mpsc::Sender<Input>);

/// The receiving end, until the loop starts.
pub(super) struct Inputs(mpsc::Receiver<Input>);

enum Input {
    Event(Box<Event>),
    Report(oneshot::Sender<Report>),
    Wanted(Box<Question>, oneshot::Sender<Wanted>),
    End,
}

/// What a sync of an application to a cluster would ask for, were its objects these.
pub(super) struct Question {
    pub(super) application: Application,
    pub(super) cluster: ClusterName,
    pub(super) objects: Vec<Object>,
}

/// A channel to a loop that starts later.
pub(super) fn channel() -> (Engine, Inputs) {
    let (sender, receiver) = mpsc::channel(QUEUE_EVENTS);
    (Engine(sender), Inputs(receiver))
}

/// Starts the loop. `ended` is cancelled when it ends, also by a panic. `perform` must not block; what it
/// returns is an answer at once.
pub(super) fn start(
    engine: regraft_engine::Engine,
    inputs: Inputs,
    ended: CancellationToken,
    perform: impl FnMut(Effect) -> Option<Event> + Send + 'static,
) -> Result<(), Failure> {
    clock::start_thread("engine", move || {
        let _ended = ended.drop_guard();
        run(engine, inputs, perform);
    })
    .map(drop)
    .map_err(|error| {
        Failure::of(
            Exit::Failed,
            "NoThread",
            &error,
            "are there too many threads?",
        )
    })
}

impl Engine {
    /// Hands an event over, waiting for room. Events after the loop's end go nowhere.
    pub(super) async fn tell(&self, event: Event) {
        let _ = self.0.send(Input::Event(Box::new(event))).await;
    }

    /// Hands an event over from a thread that may block.
    pub(super) fn tell_blocking(&self, event: Event) {
        let _ = self.0.blocking_send(Input::Event(Box::new(event)));
    }

    /// Hands an event over that may be lost when the loop is busy.
    pub(super) fn tell_if_idle(&self, event: Event) {
        let _ = self.0.try_send(Input::Event(Box::new(event)));
    }

    /// Ends the loop, and with it everything that effects go to.
    pub(super) async fn end(&self) {
        let _ = self.0.send(Input::End).await;
    }

    /// What the engine waits for.
    pub(super) async fn report(&self) -> Option<Report> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Input::Report(reply)).await.ok()?;
        answer.await.ok()
    }

    /// What a sync would ask a cluster for.
    pub(super) async fn wanted(&self, question: Question) -> Option<Wanted> {
        let (reply, answer) = oneshot::channel();
        let input = Input::Wanted(Box::new(question), reply);
        self.0.send(input).await.ok()?;
        answer.await.ok()
    }
}

fn run(
    mut engine: regraft_engine::Engine,
    Inputs(mut inputs): Inputs,
    mut perform: impl FnMut(Effect) -> Option<Event>,
) {
    let mut events = Vec::new();
    while let Some(input) = inputs.blocking_recv() {
        let mut next = Some(input);
        while let Some(Input::Event(event)) = next {
            events.push(*event);
            let room = events.len() < BATCH_EVENTS;
            next = room.then(|| inputs.try_recv().ok()).flatten();
        }
        if let Some(by_ms) = clock::follow() {
            tracing::warn!(
                by_ms,
                "the clock was set, or the machine slept: what was seen before counts no more"
            );
            events.insert(0, Event::ClockSet);
        }
        while !events.is_empty() {
            let effects = engine.on(events.drain(..), clock::now());
            events.extend(effects.into_iter().filter_map(&mut perform));
        }
        match next {
            Some(Input::Report(reply)) => {
                // Who asked may have gone.
                let _ = reply.send(engine.report());
            }
            Some(Input::Wanted(question, reply)) => {
                let Question {
                    application,
                    cluster,
                    objects,
                } = *question;
                let _ = reply.send(engine.wanted(&application, &cluster, &objects));
            }
            Some(Input::End) => return,
            Some(Input::Event(_)) | None => {}
        }
    }
}
