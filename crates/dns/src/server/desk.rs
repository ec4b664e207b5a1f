//! Where other threads leave messages for a shard.

use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use tokio::sync::oneshot;

use super::waiter::Explained;
use crate::forward::machine::Ticket;

/// What other threads tell a shard.
#[derive(Debug)]
pub enum Message {
    /// A query that came by a stream and needs upstreams.
    Query {
        /// The message.
        query: Box<[u8]>,
        /// From whom.
        client: IpAddr,
        /// Takes the answer.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// A query of an operator who wants to know each step.
    Explain {
        /// The message.
        query: Box<[u8]>,
        /// For whom it is answered.
        client: IpAddr,
        /// Takes the answer and the steps.
        reply: oneshot::Sender<Explained>,
    },
    /// What an upstream answered by a stream.
    Answered {
        /// Which upstream.
        upstream: usize,
        /// Which query.
        ticket: Ticket,
        /// The answer, unless there was none.
        octets: Option<Vec<u8>>,
    },
}

/// Where messages for a shard are left.
#[derive(Debug, Clone)]
pub struct ShardDesk {
    inbox: SyncSender<Message>,
    wake: Arc<UnixDatagram>,
}

// === impl ShardDesk ===

impl ShardDesk {
    pub(super) fn new(inbox: SyncSender<Message>, waker: UnixDatagram) -> Self {
        Self { inbox, wake: Arc::new(waker) }
    }

    /// Leaves a message; gives it back when the shard has too many.
    ///
    /// # Errors
    /// The message, when it was not taken.
    pub fn leave(&self, message: Message) -> Result<(), Message> {
        self.inbox.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })?;
        // A full socket wakes the shard as well as this octet would.
        let _ = self.wake.send(&[0]);
        Ok(())
    }
}
