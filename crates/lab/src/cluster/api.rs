//! The lab's own client of its API server: apply manifests, look, wait.
//!
//! Objects are plain JSON; the lab has no opinion about most of their fields.
//! The calls block, because whoever starts a lab has nothing else to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use hyper::http::Request;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::runtime::watcher;
use serde_json::Value;

use super::error::ClusterError;
use crate::patience::patience;

mod manifest;
mod write;

pub use manifest::parse_manifests;

/// Who owns the fields the lab applies.
const FIELD_MANAGER: &str = "seaway-lab";

/// Interval of looking again where there is nothing to watch.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Interval of asking whether waiting is still worth it.
const FAILURE_INTERVAL: Duration = Duration::from_millis(250);

/// A client of one lab's API server; clones share the connection.
#[derive(Clone)]
pub struct ApiClient {
    runtime: Arc<tokio::runtime::Runtime>,
    client: kube::Client,
}

/// A kind of object to look at: `v1 Node`, `apps/v1 DaemonSet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `v1`, `apps/v1`, ….
    pub api_version: &'static str,
    /// `Node`.
    pub kind: &'static str,
}

/// Nodes.
pub const NODE: Kind = Kind { api_version: "v1", kind: "Node" };
/// Pods.
pub const POD: Kind = Kind { api_version: "v1", kind: "Pod" };
/// Services.
pub const SERVICE: Kind = Kind { api_version: "v1", kind: "Service" };

/// Objects by `namespace/name`, or by name.
pub type Objects = BTreeMap<String, Value>;

// === impl ApiClient ===

impl ApiClient {
    /// A client from the text of a kubeconfig.
    ///
    /// # Errors
    /// The text is no kubeconfig.
    pub fn new(kubeconfig: &str) -> Result<Self, ClusterError> {
        let unusable = |reason: String| ClusterError::Kubeconfig { reason };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(|error| unusable(error.to_string()))?;
        let client = runtime.block_on(async {
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(|error| unusable(error.to_string()))?;
            kube::Client::try_from(config).map_err(|error| unusable(error.to_string()))
        })?;
        Ok(Self { runtime: Arc::new(runtime), client })
    }

    /// GETs a path and returns the text of the answer.
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub fn get_text(&self, path: &str) -> Result<String, ClusterError> {
        let request =
            Request::get(path).body(Vec::new()).map_err(|error| api_error(path)(kube::Error::HttpError(error)))?;
        self.runtime.block_on(self.client.request_text(request)).map_err(api_error(&format!("answer {path}")))
    }

    /// GETs a path and returns the object.
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub fn get(&self, path: &str) -> Result<Value, ClusterError> {
        let request =
            Request::get(path).body(Vec::new()).map_err(|error| api_error(path)(kube::Error::HttpError(error)))?;
        self.runtime.block_on(self.client.request(request)).map_err(api_error(&format!("answer {path}")))
    }

    /// DELETEs a path; nothing there is fine, too.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn delete(&self, path: &str) -> Result<(), ClusterError> {
        let request =
            Request::delete(path).body(Vec::new()).map_err(|error| api_error(path)(kube::Error::HttpError(error)))?;
        match self.runtime.block_on(self.client.request_text(request)) {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(api_error(&format!("delete {path}"))(error)),
            Ok(_) => Ok(()),
        }
    }

    /// Waits until the API server serves.
    ///
    /// # Errors
    /// It does not within `timeout`, or `failed` returned an error meanwhile.
    pub fn wait_until_ready(
        &self,
        timeout: Duration,
        failed: &mut dyn FnMut() -> Result<(), ClusterError>,
    ) -> Result<(), ClusterError> {
        let give_up = Instant::now() + timeout;
        loop {
            let state = match self.get_text("/readyz") {
                Ok(_) => return Ok(()),
                Err(error) => super::error::chain(&error),
            };
            failed()?;
            if Instant::now() > give_up {
                return Err(ClusterError::NotReady {
                    what: "the API server is".into(),
                    seconds: timeout.as_secs(),
                    state,
                });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Applies all objects of a manifest, in order, as their owner.
    ///
    /// # Errors
    /// The manifest is malformed or the API server refuses an object.
    pub fn apply(&self, name: &str, manifest: &str) -> Result<(), ClusterError> {
        for object in parse_manifests(name, manifest)? {
            self.apply_object(&object)?;
        }
        Ok(())
    }

    /// Applies one object as its owner.
    ///
    /// # Errors
    /// The API server refuses it; a kind whose definition was applied a moment
    /// ago is tried again for a while.
    pub fn apply_object(&self, object: &Value) -> Result<(), ClusterError> {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let what = format!("apply {kind} {name}");
        let api =
            self.dynamic_api(text("/apiVersion"), kind, object.pointer("/metadata/namespace").and_then(Value::as_str));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let give_up = Instant::now() + patience(Duration::from_secs(10));
        loop {
            match self.runtime.block_on(api.patch(name, &params, &Patch::Apply(object))) {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 && Instant::now() < give_up => {
                    std::thread::sleep(POLL_INTERVAL);
                }
                Err(error) => return Err(api_error(&what)(error)),
            }
        }
    }

    /// Watches objects until `done` says so; returns what it said.
    ///
    /// `done` sees all objects after each change and returns `Ok` when content,
    /// else what is missing, for the error. `failed` is asked now and then
    /// whether waiting is still worth it.
    ///
    /// # Errors
    /// `done` is not content within `timeout`, or `failed` returned an error.
    pub fn watch_until<T>(
        &self,
        what: &str,
        kind: Kind,
        scope: Scope<'_>,
        timeout: Duration,
        failed: &mut dyn FnMut() -> Result<(), ClusterError>,
        mut done: impl FnMut(&Objects) -> Result<T, String>,
    ) -> Result<T, ClusterError> {
        let api = self.dynamic_api(kind.api_version, kind.kind, scope.namespace);
        let mut config = watcher::Config::default();
        if let Some(labels) = scope.labels {
            config = config.labels(labels);
        }
        let mut state = String::from("nothing seen yet");
        let watching = async {
            let mut collection = Collection::default();
            let mut events = std::pin::pin!(watcher(api, config));
            let mut alarm = tokio::time::interval(FAILURE_INTERVAL);
            loop {
                let event = tokio::select! {
                    // With many nodes, looking for failures takes longer than an event is young.
                    biased;
                    event = events.next() => event,
                    _ = alarm.tick() => {
                        failed()?;
                        alarm.reset();
                        continue;
                    }
                };
                match event {
                    Some(Ok(event)) => collection.take(event),
                    Some(Err(error)) => {
                        state = super::error::chain(&error);
                        tokio::time::sleep(POLL_INTERVAL).await;
                        continue;
                    }
                    None => return Ok(None),
                }
                if collection.complete {
                    match done(&collection.objects) {
                        Ok(value) => return Ok(Some(value)),
                        Err(missing) => state = missing,
                    }
                }
            }
        };
        let ended = self.runtime.block_on(async { tokio::time::timeout(timeout, watching).await });
        match ended {
            Ok(Ok(Some(value))) => Ok(value),
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(None)) | Err(_) => {
                Err(ClusterError::NotReady { what: what.to_owned(), seconds: timeout.as_secs(), state })
            }
        }
    }

    fn dynamic_api(&self, api_version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let types = TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let gvk = GroupVersionKind::try_from(&types).unwrap_or_else(|_| GroupVersionKind::gvk("", api_version, kind));
        let resource = ApiResource::from_gvk(&gvk);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient").finish_non_exhaustive()
    }
}

/// Which objects of a kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// Namespace; none: all, or a kind without namespaces.
    pub namespace: Option<&'a str>,
    /// Label selector.
    pub labels: Option<&'a str>,
}

/// The objects of a watch, and whether the first list has ended.
#[derive(Debug, Default)]
struct Collection {
    objects: Objects,
    complete: bool,
}

// === impl Collection ===

impl Collection {
    fn take(&mut self, event: watcher::Event<DynamicObject>) {
        match event {
            watcher::Event::Init => *self = Self::default(),
            watcher::Event::InitDone => self.complete = true,
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                self.objects.insert(object_key(&object), serde_json::to_value(&object).unwrap_or_default());
            }
            watcher::Event::Delete(object) => {
                self.objects.remove(&object_key(&object));
            }
        }
    }
}

/// Whether an object has a condition with status `True`.
#[must_use]
pub fn has_condition(object: &Value, condition: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == condition && c["status"] == "True")
}

fn object_key(object: &DynamicObject) -> String {
    let name = object.metadata.name.clone().unwrap_or_default();
    match &object.metadata.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name,
    }
}

fn api_error(action: &str) -> impl FnOnce(kube::Error) -> ClusterError {
    let action = action.to_owned();
    move |source| match source {
        // The client's own text repeats the whole status.
        kube::Error::Api(status) => ClusterError::Api { action, source: status },
        source => ClusterError::Api { action, source: Box::new(source) },
    }
}
