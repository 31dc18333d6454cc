//! Tasks, polled in an order that the seed decides, and only when they were woken: a wake-up that is lost is a task that hangs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::random::Stream;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Task<'a> {
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
    woken: Arc<Flag>,
}

/// The tasks that are not done.
#[derive(Default)]
pub(crate) struct Executor<'a> {
    tasks: Vec<Task<'a>>,
}

impl<'a> Executor<'a> {
    pub(crate) fn spawn(&mut self, future: impl Future<Output = ()> + 'a) {
        self.tasks.push(Task { future: Box::pin(future), woken: Arc::new(Flag(AtomicBool::new(true))) });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn has_woken(&self) -> bool {
        self.tasks.iter().any(|task| task.woken.0.load(Ordering::SeqCst))
    }

    /// Polls one of the tasks that were woken; which one, or `None` if there is none.
    pub(crate) fn step(&mut self, random: &mut Stream) -> Option<usize> {
        let woken: Vec<usize> =
            (0..self.tasks.len()).filter(|index| self.tasks[*index].woken.0.load(Ordering::SeqCst)).collect();
        let index = *woken.get(random.below(woken.len() as u64) as usize)?;
        let task = &mut self.tasks[index];
        task.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(task.woken.clone());
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(()) {
            self.tasks.swap_remove(index);
        }
        Some(index)
    }
}

/// Lets the others have a turn.
pub(crate) fn give_way() -> impl Future<Output = ()> {
    let mut is_second = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut is_second, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}
