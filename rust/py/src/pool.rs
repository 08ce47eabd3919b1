//! The thread pool, one a process: a child made by fork gets its own.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::{PyResult, Python};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The pool and the process whose threads it has.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// The pool of this process, built at the first call (`RAYON_NUM_THREADS` sets its size).
///
/// The lock is taken only while attached to the interpreter, and `os.fork` runs attached too, so no
/// child is born with the lock held by a thread that it does not have.
pub(crate) fn pool(_attached: Python<'_>) -> PyResult<Arc<ThreadPool>> {
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let process = process::id();
    match &*slot {
        Some((owner, pool)) if *owner == process => Ok(Arc::clone(pool)),
        _ => {
            let built = ThreadPoolBuilder::new()
                .thread_name(|index| format!("dasd-{index}"))
                .build()
                .map_err(|error| PyRuntimeError::new_err(format!("wanted a thread pool, got: {error}")))?;
            let built = Arc::new(built);
            // A parent's pool has no threads here; ending it would wait for them, so it is let be.
            std::mem::forget(slot.replace((process, Arc::clone(&built))));
            Ok(built)
        }
    }
}
