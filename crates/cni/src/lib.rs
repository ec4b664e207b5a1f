//! `seaway-cni`: the CNI plugin (specification 1.1.0 and every version before).
//!
//! It reads what the runtime wants from `CNI_…` variables and standard input
//! ([`command`], [`config`]), asks the agent of this node over a Unix socket
//! ([`request`]), and prints the answer in the configuration's own version
//! ([`result`]). It holds no state and needs no privilege but the socket; the
//! agent does the work. Entry point: [`run`].

pub mod arguments;
pub mod command;
pub mod config;
pub mod error;
mod io;
pub mod request;
pub mod result;
pub mod version;

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use seaway_model::agent_api::{Answer, Attachment, Request};
use serde_json::Value;

use crate::command::{Command, Sandbox, Variables};
use crate::config::NetworkConfig;
use crate::error::CniError;
use crate::version::SpecVersion;

/// Largest configuration that is read. Real ones are a few kilobytes; GC lists
/// a hundred bytes per sandbox.
const INPUT_LIMIT_BYTES: u64 = 16 << 20;

/// STATUS: no ADD can succeed now; those that are attached work on.
const NOT_AVAILABLE: u32 = 50;

/// What the process prints and how it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// JSON for standard output; none when the verb has no result.
    pub output: Option<Value>,
    /// Whether the exit code is 0.
    pub success: bool,
}

/// Carries out one call of the plugin.
pub fn run(variables: &Variables, input: &mut dyn Read) -> Outcome {
    // The version of an error is the configuration's, once that is known.
    let mut version = SpecVersion::NEWEST;
    match carry_out(variables, input, &mut version) {
        Ok(output) => Outcome { output, success: true },
        Err((error, code)) => Outcome { output: Some(error.to_json(version, code)), success: false },
    }
}

fn carry_out(
    variables: &Variables,
    input: &mut dyn Read,
    version: &mut SpecVersion,
) -> Result<Option<Value>, (CniError, u32)> {
    let plain = |error: CniError| {
        let code = error.cni_code();
        (error, code)
    };
    let command = Command::from_variables(variables).map_err(plain)?;
    if command == Command::Version {
        // Runtimes ask without writing anything: reading would hang.
        return Ok(Some(result::version_result()));
    }
    let config = read(input).and_then(|bytes| NetworkConfig::parse(&bytes)).map_err(plain)?;
    *version = config.version;
    ask_agent(&command, &config).map_err(|error| {
        let code = match (&command, error.cni_code()) {
            (Command::Status, code) if !(50..=51).contains(&code) && code > 7 => NOT_AVAILABLE,
            (_, code) => code,
        };
        (error, code)
    })
}

fn ask_agent(command: &Command, config: &NetworkConfig) -> Result<Option<Value>, CniError> {
    let Some(request) = request::request_for(command, config)? else { return Ok(None) };
    let answer = match (command, &request) {
        (Command::Add(sandbox) | Command::Check(sandbox), _) => {
            let namespace = sandbox
                .namespace
                .as_deref()
                .map(|path| io::namespace::open_sandbox(path, sandbox.own_namespace_allowed))
                .transpose()?;
            ask(config, &request, namespace.as_ref())?
        }
        (Command::Delete(sandbox), Request::Delete(attachment)) => delete(config, sandbox, &request, attachment)?,
        _ => ask(config, &request, None)?,
    };
    match (command, answer) {
        (Command::Add(sandbox), Answer::Added(added)) => result::added_result(config, sandbox, &added).map(Some),
        (_, Answer::Failed(failure)) => Err(CniError::Refused { failure }),
        (Command::Add(_), other) => Err(CniError::AnswerMalformed {
            socket: config.agent_socket.clone(),
            problem: format!("ADD was answered with {other:?}"),
        }),
        _ => Ok(None),
    }
}

/// DEL, which succeeds even while the agent is away. An agent that is there and
/// does not answer in time has the request; the runtime tries again.
fn delete(
    config: &NetworkConfig,
    sandbox: &Sandbox,
    request: &Request,
    attachment: &Attachment,
) -> Result<Answer, CniError> {
    let namespace =
        sandbox.namespace.as_deref().and_then(|path| io::namespace::open_remains(path, sandbox.own_namespace_allowed));
    match ask(config, request, namespace.as_ref()) {
        Err(error) if error.means_agent_is_gone() => {}
        answer => return answer,
    }
    let kept = io::pending_deletion::keep(&config.agent_socket, attachment)?;
    match ask(config, request, namespace.as_ref()) {
        Err(_) => Ok(Answer::Done),
        Ok(answer) => {
            io::pending_deletion::forget(&kept);
            Ok(answer)
        }
    }
}

fn ask(config: &NetworkConfig, request: &Request, namespace: Option<&File>) -> Result<Answer, CniError> {
    io::agent::ask(&config.agent_socket, request, namespace.map(AsFd::as_fd))
}

fn read(input: &mut dyn Read) -> Result<Vec<u8>, CniError> {
    let mut bytes = Vec::new();
    let mut limited = input.take(INPUT_LIMIT_BYTES + 1);
    limited.read_to_end(&mut bytes).map_err(|source| CniError::InputUnreadable { source })?;
    if bytes.len() as u64 > INPUT_LIMIT_BYTES {
        return Err(CniError::InputTooLarge { limit_bytes: INPUT_LIMIT_BYTES });
    }
    Ok(bytes)
}
