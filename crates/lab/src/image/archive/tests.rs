use std::fs;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::image::layer::Recipe;
use crate::image::store::ImageStore;

/// An archive made file by file.
#[derive(Clone, Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn with(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), content.into());
        self
    }

    fn blob(self, content: &[u8]) -> (Self, Value) {
        let digest = Digest::of(content);
        let descriptor = json!({"mediaType": "", "digest": digest.to_string(), "size": content.len()});
        (self.with(&format!("blobs/sha256/{}", digest.hex()), content), descriptor)
    }

    fn tar(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in &self.0 {
            append(&mut builder, path, content.len() as u64, content.as_slice()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// A complete OCI layout with one image; `edit` may spoil its documents.
    fn oci(edit: impl Fn(&str, &mut Value)) -> Self {
        let layer = Recipe::default();
        let mut bytes = Vec::new();
        layer.write_layer(&mut bytes).unwrap();
        let (files, layer) = Self::default().blob(&bytes);
        let mut config = config_document(&[Digest::of(&bytes)]);
        edit("config", &mut config);
        let (files, config) = files.blob(&serde_json::to_vec(&config).unwrap());
        let mut manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        edit("manifest", &mut manifest);
        let (files, mut descriptor) = files.blob(&serde_json::to_vec(&manifest).unwrap());
        descriptor["mediaType"] = json!(media_type::OCI_MANIFEST);
        descriptor["annotations"] = json!({"io.containerd.image.name": "docker.io/library/app:1"});
        let mut index = json!({"schemaVersion": 2, "manifests": [descriptor]});
        edit("index", &mut index);
        files.with("index.json", serde_json::to_vec(&index).unwrap()).with("oci-layout", LAYOUT)
    }
}

fn config_document(diff_ids: &[Digest]) -> Value {
    let here = crate::image::oci::Platform::here();
    let diff_ids: Vec<String> = diff_ids.iter().map(Digest::to_string).collect();
    json!({"architecture": here.architecture, "os": here.os, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

fn load(bytes: &[u8]) -> Result<Vec<String>, ImageError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("image.tar");
    fs::write(&file, bytes).unwrap();
    let store = ImageStore::open(&directory.path().join("store")).unwrap();
    let loaded = store.load(&file, None)?;
    assert_eq!(store.list().unwrap().len(), loaded.len());
    Ok(loaded.into_iter().map(|image| image.name.to_string()).collect())
}

#[test]
fn an_oci_layout_is_read_plain_and_compressed() {
    let bytes = Files::oci(|_, _| {}).tar();
    assert_eq!(load(&bytes).unwrap(), ["docker.io/library/app:1"]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&bytes).unwrap();
    assert_eq!(load(&gzip.finish().unwrap()).unwrap(), ["docker.io/library/app:1"]);
}

#[test]
fn what_the_store_writes_it_reads() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&directory.path().join("a")).unwrap();
    let rootfs = directory.path().join("rootfs");
    fs::create_dir_all(rootfs.join("bin")).unwrap();
    fs::write(rootfs.join("bin/sh"), "x").unwrap();
    let recipe = Recipe::rootfs(&rootfs).unwrap();
    let built = store.build(&"team/app:2".parse().unwrap(), &recipe).unwrap();
    assert_eq!(store.build(&"team/app:2".parse().unwrap(), &recipe).unwrap(), built, "unchanged");
    let mut bytes = Vec::new();
    store.export(std::slice::from_ref(&built), &mut bytes).unwrap();
    let file = directory.path().join("export.tar");
    fs::write(&file, bytes).unwrap();
    let other = ImageStore::open(&directory.path().join("b")).unwrap();
    assert_eq!(other.load(&file, None).unwrap(), [built]);
}

#[test]
fn a_replaced_image_leaves_no_blobs_behind() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&directory.path().join("store")).unwrap();
    let rootfs = directory.path().join("rootfs");
    fs::create_dir_all(&rootfs).unwrap();
    let name: ImageName = "app".parse().unwrap();
    for content in ["1", "22", "333"] {
        fs::write(rootfs.join("file"), content).unwrap();
        store.build(&name, &Recipe::rootfs(&rootfs).unwrap()).unwrap();
    }
    assert_eq!(fs::read_dir(directory.path().join("store/blobs/sha256")).unwrap().count(), 3);
    assert_eq!(fs::read_dir(directory.path().join("store")).unwrap().count(), 4, "no staging is left");
}

#[test]
fn a_removed_image_takes_along_only_what_no_other_needs() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&directory.path().join("store")).unwrap();
    let rootfs = directory.path().join("rootfs");
    fs::create_dir_all(&rootfs).unwrap();
    let names: Vec<ImageName> = ["app:1", "app:2", "other"].iter().map(|name| name.parse().unwrap()).collect();
    fs::write(rootfs.join("file"), "1").unwrap();
    for name in &names {
        store.build(name, &Recipe::rootfs(&rootfs).unwrap()).unwrap();
    }
    let kept = store.find(&names[2]).unwrap().unwrap();
    let removed = store.remove(&names[..2]).unwrap();
    assert_eq!(removed.iter().map(|image| &image.name).collect::<Vec<_>>(), [&names[0], &names[1]]);
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&kept));
    assert_eq!(fs::read_dir(directory.path().join("store/blobs/sha256")).unwrap().count(), 3);
    // One that is not there keeps the others.
    assert!(matches!(
        store.remove(&[names[2].clone(), names[0].clone()]),
        Err(ImageError::ImagesMissing { names }) if names == ["app:1"]
    ));
    assert_eq!(store.list().unwrap(), [kept]);
}

#[test]
fn docker_save_archives_are_read_with_their_links() {
    let mut layer = Vec::new();
    Recipe::default().write_layer(&mut layer).unwrap();
    let config = config_document(&[Digest::of(&layer), Digest::of(&layer)]);
    let manifest = json!([{"Config": "c.json", "RepoTags": ["nginx:1", "team/web:2"],
        "Layers": ["one/layer.tar", "two/layer.tar"]}]);
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("one/layer.tar", layer.clone()),
        ("c.json", serde_json::to_vec(&config).unwrap()),
        ("manifest.json", serde_json::to_vec(&manifest).unwrap()),
    ] {
        append(&mut builder, path, content.len() as u64, content.as_slice()).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "two/layer.tar", "../one/layer.tar").unwrap();
    let names = load(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(names, ["docker.io/library/nginx:1", "docker.io/team/web:2"]);
}

#[test]
fn a_bad_archive_is_refused_by_file_and_field() {
    type Edit = fn(&str, &mut Value);
    let table: [(&str, Edit); 8] = [
        ("index.json: field manifests: names no image", |file, value| {
            if file == "index" {
                value["manifests"] = json!([]);
            }
        }),
        ("index.json: field manifests[].annotations: no name", |file, value| {
            if file == "index" {
                value["manifests"][0]["annotations"] = json!({});
            }
        }),
        ("index.json: field manifests[0].annotations: image name", |file, value| {
            if file == "index" {
                value["manifests"][0]["annotations"]["io.containerd.image.name"] = json!("Bad Name");
            }
        }),
        ("index.json: field digest", |file, value| {
            if file == "index" {
                value["manifests"][0].as_object_mut().unwrap().remove("digest");
            }
        }),
        ("index.json: field size", |file, value| {
            if file == "index" {
                value["manifests"][0]["size"] = json!(3);
            }
        }),
        ("field config", |file, value| {
            if file == "manifest" {
                value.as_object_mut().unwrap().remove("config");
            }
        }),
        ("field rootfs.diff_ids: has 0 entries, the manifest 1 layers", |file, value| {
            if file == "config" {
                value["rootfs"]["diff_ids"] = json!([]);
            }
        }),
        ("only for linux/s390x", |file, value| {
            if file == "config" {
                value["architecture"] = json!("s390x");
            }
        }),
    ];
    for (expected, edit) in table {
        let error = load(&Files::oci(edit).tar()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
}

#[test]
fn damaged_and_missing_content_is_named() {
    let good = Files::oci(|_, _| {});
    for path in good.0.keys().filter(|path| path.starts_with("blobs/")) {
        let mut damaged = good.clone();
        damaged.0.get_mut(path).unwrap().push(b' ');
        let error = load(&damaged.tar()).unwrap_err();
        assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
        let mut short = good.clone();
        short.0.remove(path);
        let error = load(&short.tar()).unwrap_err().to_string();
        assert!(error.contains(path.as_str()) && error.contains("missing"), "{error}");
    }
    let error = load(&Files::default().with("etc/passwd", "x").tar()).unwrap_err().to_string();
    assert!(error.contains("index.json or manifest.json is missing"), "{error}");
    let error = load(b"this is no tar file").unwrap_err();
    assert!(matches!(error, ImageError::ArchiveUnreadable { .. } | ImageError::ArchiveFileMissing { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(load(&bytes).is_err());
    }

    #[test]
    fn any_index_is_read_without_panic(text in "\\{\"schemaVersion\":2,\"manifests\":\\[.{0,80}\\]\\}") {
        let _ = load(&Files::default().with("index.json", text).tar());
    }
}

#[test]
fn blobs_stay_while_somebody_reads_images() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&directory.path().join("store")).unwrap();
    let load = |files: &Files, file: &str| {
        let archive = directory.path().join(file);
        fs::write(&archive, files.tar()).unwrap();
        store.load(&archive, None).unwrap()
    };
    let old = load(&Files::oci(|_, _| ()), "old.tar");
    let replacement = Files::oci(|document, value| {
        if document == "config" {
            value["author"] = json!("someone else");
        }
    });

    let reading = store.hold().unwrap();
    let (started, starts) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| {
            started.send(()).unwrap();
            load(&replacement, "new.tar")
        });
        starts.recv().unwrap();
        // Whether the other thread got anywhere yet or not: what is held can be read to the end.
        for _ in 0..200 {
            store.export(&old, std::io::sink()).unwrap();
        }
        drop(reading);
        assert_ne!(replacing.join().unwrap(), old);
    });
    assert!(store.export(&old, std::io::sink()).is_err(), "the old image is gone now");
}
