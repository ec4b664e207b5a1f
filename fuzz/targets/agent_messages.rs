//! What comes through the agent's socket. Whatever is understood must be
//! written and read back unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_model::agent_api::{Answer, Request};

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let text = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<Request>(&text).unwrap(), request);
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(data) {
        let text = serde_json::to_vec(&answer).unwrap();
        assert_eq!(serde_json::from_slice::<Answer>(&text).unwrap(), answer);
    }
});
