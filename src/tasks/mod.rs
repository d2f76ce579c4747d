//! Work on tokio's threads. What tokio makes for each type of a task - to poll, cancel, wait for and free it - is some
//! kilobytes of code; here all tasks are of one type, for an allocation each. Not for what is started thousands of times a
//! second.

use std::any::Any;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Work = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

/// Starts a task. It goes on when the handle is dropped.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let task: Task = Box::pin(task);
    tokio::spawn(task)
}

/// Starts what may block, on a thread for that. It goes on when what is returned is dropped.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
    let work: Work = Box::new(move || Box::new(work()));
    Blocking { work: tokio::task::spawn_blocking(work), result: PhantomData }
}

/// Waits for what [`blocking`] started.
#[derive(Debug)]
pub struct Blocking<T> {
    work: JoinHandle<Box<dyn Any + Send>>,
    result: PhantomData<fn() -> T>,
}

/// The work has no result: it panicked, or the program is about to end.
#[derive(Debug, thiserror::Error)]
#[error("the work was not done: {0}")]
pub struct NotDone(String);

impl<T: 'static> Future for Blocking<T> {
    type Output = Result<T, NotDone>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.work).poll(context).map(|done| {
            let done = done.map_err(|error| NotDone(error.to_string()))?;
            done.downcast().map(|result| *result).map_err(|_| NotDone("it came to something else".to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_comes_back_with_its_result_or_none() {
        assert_eq!(blocking(|| vec![1, 2]).await.unwrap(), [1, 2]);
        let panicked = blocking(|| assert!(std::hint::black_box(false), "on purpose")).await;
        assert!(panicked.unwrap_err().to_string().contains("panic"));
        let (tell, told) = tokio::sync::oneshot::channel();
        spawn(async move { tell.send(7).unwrap() }).await.unwrap();
        assert_eq!(told.await, Ok(7));
    }
}
