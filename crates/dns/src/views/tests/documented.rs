use super::*;

/// What an object of the API looks like from here.
#[derive(serde::Deserialize)]
struct Object {
    kind: String,
    spec: serde_json::Value,
}

/// Every example of the documents is an object that can be used, and every field of it is known.
#[test]
fn examples_of_the_documents_can_be_used() {
    let documents =
        [include_str!("../../../../../docs/reference/dns-config.md"), include_str!("../../../../../docs/guide/dns.md")];
    let mut found = 0;
    for text in documents {
        let blocks = text.split("```").skip(1).step_by(2);
        for block in blocks.filter(|block| block.contains("kind: DNSConfig")) {
            let begin = block.find("apiVersion:").unwrap();
            let yaml = block[begin..].split("\nEND").next().unwrap();
            let object: Object = serde_saphyr::from_str(yaml).unwrap();
            assert_eq!(object.kind, "DNSConfig");
            let spec: DnsSpec = serde_json::from_value(object.spec.clone()).unwrap();
            compiled(&spec);
            holds(&serde_json::to_value(&spec).unwrap(), &object.spec, "spec");
            found += 1;
        }
    }
    assert_eq!(found, 3);
}

/// Whether everything that is written was read.
fn holds(read: &serde_json::Value, written: &serde_json::Value, path: &str) {
    use serde_json::Value::{Array, Object};
    match (read, written) {
        (Object(read), Object(written)) => {
            for (key, value) in written {
                holds(read.get(key).unwrap_or_else(|| panic!("{path}.{key} is not known")), value, key);
            }
        }
        (Array(read), Array(written)) => {
            assert_eq!(read.len(), written.len(), "{path}");
            read.iter().zip(written).for_each(|(read, written)| holds(read, written, path));
        }
        _ => assert_eq!(read, written, "{path}"),
    }
}
