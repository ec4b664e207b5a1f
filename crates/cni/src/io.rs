//! What touches the world: the sandbox's namespace, the agent's socket, and
//! deletions kept for an agent that is away.

pub(crate) mod agent;
pub(crate) mod namespace;
pub(crate) mod pending_deletion;
