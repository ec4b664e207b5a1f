//! Writing much, and changing parts: what benchmarks do to a cluster.

use futures::StreamExt;
use hyper::http::{Method, Request};
use serde_json::Value;

use super::{ApiClient, api_error};
use crate::cluster::error::ClusterError;

/// Requests under way at once; more only wait inside the API server.
const CONCURRENT_WRITES: usize = 48;

impl ApiClient {
    /// Creates objects, many at a time and in no order: `(path of the collection, object)`.
    /// `done` hears the count after each.
    ///
    /// # Errors
    /// The first that the API server refuses.
    pub fn create_all(
        &self,
        objects: impl Iterator<Item = (String, Value)>,
        done: impl FnMut(usize),
    ) -> Result<(), ClusterError> {
        self.write_all(objects.map(|(path, object)| (Method::POST, path, object)), done)
    }

    /// Changes objects, many at a time: `(path, fields as [`ApiClient::merge`] takes them)`.
    ///
    /// # Errors
    /// The first that the API server refuses.
    pub fn merge_all(&self, patches: impl Iterator<Item = (String, Value)>) -> Result<(), ClusterError> {
        self.write_all(patches.map(|(path, patch)| (Method::PATCH, path, patch)), |_| ())
    }

    fn write_all(
        &self,
        writes: impl Iterator<Item = (Method, String, Value)>,
        mut done: impl FnMut(usize),
    ) -> Result<(), ClusterError> {
        let writes = futures::stream::iter(writes.map(|(method, path, object)| self.write(method, path, object)));
        self.runtime.block_on(async {
            let mut writes = writes.buffer_unordered(CONCURRENT_WRITES).enumerate();
            while let Some((index, outcome)) = writes.next().await {
                outcome?;
                done(index + 1);
            }
            Ok(())
        })
    }

    /// Changes the fields of an object that `patch` names (RFC 7386).
    ///
    /// # Errors
    /// The API server refuses.
    pub fn merge(&self, path: &str, patch: &Value) -> Result<(), ClusterError> {
        self.runtime.block_on(self.write(Method::PATCH, path.to_owned(), patch.clone()))
    }

    async fn write(&self, method: Method, path: String, object: Value) -> Result<(), ClusterError> {
        let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let what = format!("take {method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .header("content-type", content_type)
            .body(object.to_string().into_bytes())
            .map_err(|error| api_error(&path)(kube::Error::HttpError(error)))?;
        self.client.request_text(request).await.map(drop).map_err(api_error(&what))
    }
}
