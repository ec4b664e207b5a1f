//! Reading a configuration is total: any input gives a request or an error that
//! has an id and a code of the specification.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a step that fails fails the test"
)]

use proptest::prelude::*;
use seaway_cni::command::{Command, Variables};
use seaway_cni::config::NetworkConfig;
use seaway_cni::request::request_for;
use serde_json::{Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(json!("10.0.0.1/24")),
        Just(json!("eth0")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let keys = prop_oneof![
            Just("cni".to_owned()),
            Just("ips".to_owned()),
            Just("mac".to_owned()),
            Just("interfaces".to_owned()),
            Just("address".to_owned()),
            Just("interface".to_owned()),
            Just("name".to_owned()),
            Just("sandbox".to_owned()),
            Just("containerID".to_owned()),
            "[a-z]{1,6}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn commands() -> Vec<Command> {
    ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]
        .into_iter()
        .map(|verb| {
            let variables: Variables = [
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", "c1"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_NETNS", "/run/netns/x"),
                ("CNI_ARGS", "IP=10.0.0.9;MAC=nonsense"),
            ]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
            Command::from_variables(&variables).unwrap()
        })
        .collect()
}

fn read_everything(bytes: &[u8]) {
    match NetworkConfig::parse(bytes) {
        Err(error) => assert!((1..=7).contains(&error.cni_code()), "{error}"),
        Ok(config) => {
            for command in commands() {
                if let Err(error) = request_for(&command, &config) {
                    assert!((1..=7).contains(&error.cni_code()), "{error}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_everything(&bytes);
    }

    #[test]
    fn any_fields_are_read(
        version in prop_oneof![Just(json!("1.1.0")), Just(json!("0.3.1")), any_json()],
        fields in prop::collection::btree_map(
            prop_oneof![
                Just("runtimeConfig"), Just("args"), Just("prevResult"), Just("dns"), Just("ipam"),
                Just("cni.dev/valid-attachments"), Just("cni.dev/attachments"), Just("agentSocket"),
            ],
            any_json(),
            0..6,
        ),
    ) {
        let mut config = json!({"cniVersion": version, "name": "seaway"});
        for (name, value) in fields {
            config[name] = value;
        }
        read_everything(config.to_string().as_bytes());
    }
}
