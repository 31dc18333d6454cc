//! Rows that are read ahead, on a thread of their own: what takes time before a row comes to its transaction is done there.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use tenantry::{ReadRow, RowReader};

use crate::output::{Failure, Outcome};
use crate::rows::Rows;

/// How many pieces wait to be taken.
const PIECES_MAX: usize = 2;
/// About how many bytes of the file there are in a piece.
const PIECE_SIZE_BYTES: u64 = 4_000_000;

/// Some rows of a file.
pub(crate) struct Piece {
    pub(crate) rows: Vec<ReadRow>,
    /// How far reading has come, in bytes.
    pub(crate) position: u64,
}

/// The rows of a file, piece by piece.
pub(crate) struct Feed {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is room for a piece, or nobody takes any more.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Outcome<Piece>>,
    is_over: bool,
    is_left: bool,
    waker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on a piece, or the end, once there is room; false when nobody takes any more.
    fn hand_on(&self, piece: Option<Outcome<Piece>>) -> bool {
        let mut state = self.lock();
        while state.pieces.len() >= PIECES_MAX && !state.is_left {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_over |= !matches!(piece, Some(Ok(_)));
        state.pieces.extend(piece);
        let goes_on = !state.is_left && !state.is_over;
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
        goes_on
    }
}

impl Feed {
    /// Begins to read.
    pub(crate) fn start(mut rows: Rows, reader: RowReader, piece_rows: usize) -> Outcome<Feed> {
        let shared = Arc::<Shared>::default();
        let there = shared.clone();
        let read = move || {
            loop {
                let piece = match rows.next_rows(piece_rows, PIECE_SIZE_BYTES) {
                    Ok(found) if found.is_empty() => None,
                    Ok(found) => {
                        let read = found.into_iter().map(|row| reader.read(row)).collect();
                        Some(Ok(Piece { rows: read, position: rows.progress().0 }))
                    }
                    Err(failure) => Some(Err(failure)),
                };
                if !there.hand_on(piece) {
                    return;
                }
            }
        };
        // It is not waited for: it may be waiting for standard input.
        let spawned = thread::Builder::new().name("tenantry-rows".to_owned()).spawn(read);
        spawned.map_err(|error| Failure::Io("a thread that reads the rows".to_owned(), error))?;
        Ok(Feed { shared })
    }

    /// The next piece, an error where the file cannot be read further, nothing at its end.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Outcome<Piece>>> {
        let mut state = self.shared.lock();
        match state.pieces.pop_front() {
            Some(piece) => {
                self.shared.changed.notify_one();
                Poll::Ready(Some(piece))
            }
            None if state.is_over => Poll::Ready(None),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.lock().is_left = true;
        self.shared.changed.notify_one();
    }
}
