//! The engine's watched values: tokio wakes who waits for one in an order of chance, this in the order of waiting.

use openraft_rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft_rt::{OptionalSend, OptionalSync};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// Makes such values.
pub(crate) struct FairWatch;

pub(crate) struct Sender<T> {
    value: watch::Sender<T>,
    // After the value: who is woken by the last one sees that it is gone.
    woken: Arc<Woken>,
}

pub(crate) struct Receiver<T> {
    value: watch::Receiver<T>,
    waiting: Arc<Notify>,
}

/// Wakes all when it is dropped.
struct Woken(Arc<Notify>);

impl Drop for Woken {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            woken: Arc::clone(&self.woken),
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            waiting: Arc::clone(&self.waiting),
        }
    }
}

impl Watch for FairWatch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Self::Sender<T>, Self::Receiver<T>) {
        let (sender, receiver) = watch::channel(init);
        let waiting = Arc::new(Notify::new());
        let sender = Sender {
            value: sender,
            woken: Arc::new(Woken(Arc::clone(&waiting))),
        };
        let receiver = Receiver {
            value: receiver,
            waiting,
        };
        (sender, receiver)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<FairWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        let sent = self.value.send(value);
        self.woken.0.notify_waiters();
        sent.map_err(|error| SendError(error.0))
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let modified = self.value.send_if_modified(modify);
        if modified {
            self.woken.0.notify_waiters();
        }
        modified
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver {
            value: self.value.subscribe(),
            waiting: Arc::clone(&self.woken.0),
        }
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<FairWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let waiting = Arc::clone(&self.waiting);
            let mut woken = std::pin::pin!(waiting.notified());
            // Before the look: nothing is missed in between.
            woken.as_mut().enable();
            match self.value.has_changed() {
                Ok(true) => {
                    self.value.mark_unchanged();
                    return Ok(());
                }
                Ok(false) => woken.await,
                Err(_) => return Err(RecvError(())),
            }
        }
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.value.borrow_and_update()
    }
}
