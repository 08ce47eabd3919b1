//! The one wrapper around every kernel: no GIL, no panic, and Ctrl-C answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use dasd_core::{Error, Stop};
use pyo3::prelude::*;

use crate::errors::{kernel_error, panicked};
use crate::pool::pool;

/// How long Ctrl-C may go unnoticed.
const POLL: Duration = Duration::from_millis(50);

/// Where the worker leaves its result.
struct Slot<T> {
    result: Mutex<Option<thread::Result<Result<T, Error>>>>,
    filled: Condvar,
}

impl<T> Slot<T> {
    fn fill(&self, result: thread::Result<Result<T, Error>>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.filled.notify_one();
    }

    fn wait(&self) -> Option<thread::Result<Result<T, Error>>> {
        let guard = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.filled.wait_timeout_while(guard, POLL, |result| result.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

/// Runs `work` on the pool while this thread lets other Python threads run and looks for signals.
///
/// `work` borrows its input: an Arrow buffer must not be released on a thread of the pool, as
/// releasing some of them needs the GIL that this thread may hold.
pub(crate) fn run<T, F>(py: Python<'_>, work: F) -> PyResult<T>
where
    T: Send,
    F: FnOnce(&Stop) -> Result<T, Error> + Send,
{
    let pool = pool(py)?;
    let stop = Stop::new();
    let slot = Slot { result: Mutex::new(None), filled: Condvar::new() };
    pool.in_place_scope(|scope| {
        scope.spawn(|_| slot.fill(catch_unwind(AssertUnwindSafe(|| work(&stop)))));
        let mut interrupted = None;
        loop {
            if let Some(result) = py.detach(|| slot.wait()) {
                return match (interrupted, result) {
                    (Some(raised), _) => Err(raised),
                    (None, Ok(done)) => done.map_err(|error| kernel_error(&error)),
                    (None, Err(payload)) => Err(panicked(&*payload)),
                };
            }
            if interrupted.is_none()
                && let Err(raised) = py.check_signals()
            {
                stop.request();
                interrupted = Some(raised);
            }
        }
    })
}

/// What every entry runs inside: a panic on this thread (reading arguments, making results) becomes an
/// exception too. Left alone it would be a `PanicException`, which no `except Exception` catches.
pub(crate) fn guard<T>(work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(panicked(&*payload)))
}
