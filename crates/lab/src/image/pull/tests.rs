//! Against a registry on loopback, served by this test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use super::*;
use crate::image::layer::Recipe;

/// What the registry answers, by path.
#[derive(Default)]
struct Served {
    answers: BTreeMap<String, (String, Vec<u8>)>,
    redirects: BTreeMap<String, String>,
    needs_token: bool,
    seen: Vec<String>,
}

struct Registry {
    address: SocketAddr,
    served: Arc<Mutex<Served>>,
}

impl Registry {
    fn start(served: Served) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(Mutex::new(served));
        let shared = Arc::clone(&served);
        // Ends with the test process; it only ever answers this test.
        thread::spawn(move || {
            for connection in listener.incoming() {
                let _ = answer(connection.unwrap(), address, &shared);
            }
        });
        Self { address, served }
    }

    fn pull(&self, store: &ImageStore, path: &str) -> Result<StoredImage, ImageError> {
        let name: ImageName = format!("{}/{path}", self.address).parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(store.pull(&name, &PullOptions::default(), &mut |_| {}))
    }
}

fn answer(stream: TcpStream, address: SocketAddr, shared: &Mutex<Served>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    let mut authorized = false;
    for line in lines {
        let line = line?;
        authorized |= line.eq_ignore_ascii_case("authorization: bearer sesame");
        if line.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let mut served = shared.lock().unwrap();
    served.seen.push(path.clone());
    let (status, headers, body) = if path.starts_with("/token?") {
        (200, String::new(), br#"{"token":"sesame"}"#.to_vec())
    } else if served.needs_token && path.starts_with("/v2/") && !authorized {
        let challenge = format!(r#"Bearer realm="http://{address}/token",service="here",scope="repository:app:pull""#);
        (401, format!("WWW-Authenticate: {challenge}\r\n"), Vec::new())
    } else if let Some(target) = served.redirects.get(&path) {
        (307, format!("Location: {target}\r\n"), Vec::new())
    } else if let Some((media_type, body)) = served.answers.get(&path) {
        (200, format!("Content-Type: {media_type}\r\n"), body.clone())
    } else {
        (404, String::new(), Vec::new())
    };
    let mut stream = stream;
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n")?;
    stream.write_all(&body)
}

/// An image `app:1` for several platforms, as a registry serves it.
fn published() -> Served {
    let mut layer = Vec::new();
    Recipe::default().write_layer(&mut layer).unwrap();
    let here = Platform::here();
    let config = json!({"architecture": here.architecture, "os": here.os,
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]}});
    let config = serde_json::to_vec(&config).unwrap();
    let describe = |bytes: &[u8], kind: &str| json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": describe(&config, media_type::OCI_CONFIG), "layers": [describe(&layer, media_type::OCI_LAYER)]});
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut other = describe(b"other", media_type::OCI_MANIFEST);
    other["platform"] = json!({"architecture": "s390x", "os": "linux"});
    let mut ours = describe(&manifest, media_type::OCI_MANIFEST);
    ours["platform"] = serde_json::to_value(&here).unwrap();
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [other, ours]})).unwrap();
    let mut served = Served::default();
    let mut put = |path: String, kind: &str, bytes: &[u8]| {
        served.answers.insert(format!("/v2/app/{path}"), (kind.to_owned(), bytes.to_vec()));
    };
    put("manifests/1".to_owned(), media_type::OCI_INDEX, &index);
    put(format!("manifests/{}", Digest::of(&manifest)), media_type::OCI_MANIFEST, &manifest);
    put(format!("blobs/{}", Digest::of(&config)), "application/octet-stream", &config);
    put(format!("blobs/{}", Digest::of(&layer)), "application/octet-stream", &layer);
    served
}

fn store() -> (tempfile::TempDir, ImageStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    (directory, store)
}

#[test]
fn an_image_is_fetched_for_this_machine() {
    let registry = Registry::start(published());
    let (_directory, store) = store();
    let image = registry.pull(&store, "app:1").unwrap();
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&image));
    store.export(&[image], std::io::sink()).unwrap();
    // What is there is not fetched again.
    registry.pull(&store, "app:1").unwrap();
    let seen = &registry.served.lock().unwrap().seen;
    assert_eq!(seen.iter().filter(|path| path.contains("/blobs/")).count(), 2, "{seen:?}");
}

#[test]
fn tokens_and_redirects_are_followed() {
    let mut served = published();
    served.needs_token = true;
    let moved: Vec<String> = served.answers.keys().filter(|path| path.contains("/blobs/")).cloned().collect();
    for path in moved {
        let content = served.answers.remove(&path).unwrap();
        let elsewhere = path.replace("/v2/", "/storage/");
        served.redirects.insert(path, elsewhere.clone());
        served.answers.insert(elsewhere, content);
    }
    let registry = Registry::start(served);
    let (_directory, store) = store();
    registry.pull(&store, "app:1").unwrap();
    let seen = &registry.served.lock().unwrap().seen;
    assert!(seen.contains(&"/token?scope=repository:app:pull&service=here".to_owned()), "{seen:?}");
}

#[test]
fn what_is_wrong_is_named() {
    let (_directory, store) = store();
    let registry = Registry::start(published());
    let error = registry.pull(&store, "app:2").unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");

    let mut damaged = published();
    for (path, (_, bytes)) in &mut damaged.answers {
        if path.contains("/blobs/") {
            *bytes.last_mut().unwrap() ^= 1;
        }
    }
    let error = Registry::start(damaged).pull(&store, "app:1").unwrap_err();
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");

    let mut foreign = published();
    let (_, index) = foreign.answers.get_mut("/v2/app/manifests/1").unwrap();
    *index = String::from_utf8(index.clone()).unwrap().replace(&Platform::here().architecture, "riscv64").into();
    let error = Registry::start(foreign).pull(&store, "app:1").unwrap_err().to_string();
    assert!(error.contains("linux/s390x, linux/riscv64"), "{error}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Registry { address: closed, served: Arc::default() };
    let error = nobody.pull(&store, "app:1").unwrap_err();
    assert!(matches!(error, ImageError::RegistryUnreachable { .. }), "{error}");
    assert!(store.list().unwrap().is_empty(), "nothing half-fetched is kept");
}
