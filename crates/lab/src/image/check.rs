//! Says early which images are missing, and later which pods wait for one.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::error::ImageError;
use super::name::ImageName;
use super::store::ImageStore;

/// Reasons of a container that waits for an image (kubelet,
/// pkg/kubelet/images/types.go).
const WAITING_FOR_IMAGE: [&str; 5] =
    ["ErrImageNeverPull", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ImageInspectError"];

/// A pod that cannot start for want of an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StuckPod {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// The image as the pod names it.
    pub image: String,
    /// The kubelet's reason, `ErrImageNeverPull` for example.
    pub reason: String,
}

/// All images the pods of these manifests name, in any workload kind and in
/// lists: every object with `containers`, `initContainers` or
/// `ephemeralContainers` counts.
pub fn images_of_manifests(manifests: &[Value]) -> BTreeSet<String> {
    let mut images = BTreeSet::new();
    let mut open: Vec<&Value> = manifests.iter().collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    if matches!(field.as_str(), "containers" | "initContainers" | "ephemeralContainers") {
                        images.extend(container_images(value));
                    }
                    open.push(value);
                }
            }
            Value::Array(values) => open.extend(values),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    images
}

/// Fails, naming all missing images and the commands that bring them, unless
/// the store has every image the manifests name.
pub fn check_images(store: &ImageStore, manifests: &[Value]) -> Result<(), ImageError> {
    let names =
        images_of_manifests(manifests).iter().map(|image| image.parse::<ImageName>()).collect::<Result<Vec<_>, _>>()?;
    store.resolve(&names).map(|_| ())
}

/// The pods of a pod list that wait for an image.
pub fn stuck_pods(pod_list: &Value) -> Vec<StuckPod> {
    let pods = pod_list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut stuck = Vec::new();
    for pod in pods {
        let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
        for status in statuses.iter().filter_map(|path| pod.pointer(path)?.as_array()).flatten() {
            let Some(reason) = text(status, "/state/waiting/reason") else { continue };
            if WAITING_FOR_IMAGE.contains(&reason) {
                stuck.push(StuckPod {
                    namespace: text(pod, "/metadata/namespace").unwrap_or("default").to_owned(),
                    pod: text(pod, "/metadata/name").unwrap_or_default().to_owned(),
                    image: text(status, "/image").unwrap_or_default().to_owned(),
                    reason: reason.to_owned(),
                });
            }
        }
    }
    stuck
}

impl fmt::Display for StuckPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, pod, image, reason } = self;
        write!(f, "pod {namespace}/{pod} waits for image {image} ({reason})")
    }
}

fn container_images(containers: &Value) -> impl Iterator<Item = String> {
    let containers = containers.as_array().map(Vec::as_slice).unwrap_or_default();
    containers.iter().filter_map(|container| text(container, "/image").map(str::to_owned))
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_are_found_in_every_workload() {
        let manifests = [
            json!({"kind": "Pod", "spec": {"containers": [{"image": "a"}], "initContainers": [{"image": "b"}]}}),
            json!({"kind": "List", "items": [
                {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"image": "c:1"}, {"image": "a"}]}}}},
                {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"image": "d"}]}}}}}},
            ]}),
            json!({"kind": "ConfigMap", "data": {"image": "not one"}}),
        ];
        let images: Vec<String> = images_of_manifests(&manifests).into_iter().collect();
        assert_eq!(images, ["a", "b", "c:1", "d"]);
    }

    #[test]
    fn a_missing_image_comes_with_the_command() {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(directory.path()).unwrap();
        let manifests = [json!({"spec": {"containers": [{"image": "nginx:1.27"}]}})];
        let error = check_images(&store, &manifests).unwrap_err();
        let report = seaway_model::diagnosis::Report(&error).to_string();
        assert!(report.contains("SW0986") && report.contains("`seaway lab image pull nginx:1.27`"), "{report}");
    }

    #[test]
    fn pods_that_wait_for_an_image_are_named() {
        let list = json!({"items": [
            {"metadata": {"name": "ok", "namespace": "x"}, "status": {"containerStatuses": [{"image": "a", "state": {"running": {}}}]}},
            {"metadata": {"name": "slow", "namespace": "x"}, "status": {"containerStatuses": [{"image": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]}},
            {"metadata": {"name": "web", "namespace": "x"}, "status": {"containerStatuses": [{"image": "nginx", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}},
        ]});
        let stuck = stuck_pods(&list);
        assert_eq!(stuck.len(), 1);
        let line = stuck[0].to_string();
        assert!(line.starts_with("pod x/web waits for image nginx (ImagePullBackOff)"), "{line}");
    }
}
