//! Fetching an image: manifest for this machine, configuration, layers, each
//! checked against the digest that names it.

use super::archive::parse_document;
use super::digest::Digest;
use super::error::ImageError;
use super::name::ImageName;
use super::oci::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};
use super::registry::{Document, PullOptions, Repository};
use super::staging::Staging;
use super::store::{ImageStore, StagedImage, StoredImage};

// === impl ImageStore ===

impl ImageStore {
    /// Fetches an image from its registry. `progress` is given a line per part.
    pub async fn pull(
        &self,
        name: &ImageName,
        options: &PullOptions,
        progress: &mut dyn FnMut(&str),
    ) -> Result<StoredImage, ImageError> {
        let mut repository = Repository::new(name, *options)?;
        let document = manifest_for_here(&mut repository, name).await?;
        let manifest: Manifest = parse(name, "manifest", &document.bytes)?;
        let mut staging = Staging::new(self.directory())?;
        let parts: Vec<&Descriptor> = std::iter::once(&manifest.config).chain(&manifest.layers).collect();
        for (position, part) in parts.iter().enumerate() {
            if self.blob_path(&part.digest).exists() || staging.path(&part.digest).is_some() {
                continue;
            }
            progress(&format!("{}: part {} of {}, {} bytes", name.short(), position + 1, parts.len(), part.size));
            fetch(&mut repository, name, part, &mut staging).await?;
        }
        self.check_config(name, &manifest, &staging)?;
        let descriptor = staging.add(&document.media_type, &document.bytes)?;
        let staged = StagedImage { name: name.clone(), manifest: descriptor, source: None };
        let mut images = self.commit(&staging, vec![staged])?;
        images.pop().ok_or_else(|| ImageError::ImagesMissing { names: vec![name.to_string()] })
    }

    /// A single manifest says only in its configuration what it runs on.
    fn check_config(&self, name: &ImageName, manifest: &Manifest, staging: &Staging) -> Result<(), ImageError> {
        let stored = self.blob_path(&manifest.config.digest);
        let path = staging.path(&manifest.config.digest).unwrap_or(&stored);
        let bytes = std::fs::read(path).map_err(ImageError::store("read", path))?;
        let config: ImageConfig = parse(name, "configuration", &bytes)?;
        let found = Platform { architecture: config.architecture, os: config.os };
        if found == Platform::here() {
            return Ok(());
        }
        Err(ImageError::PlatformMissing {
            origin: name.to_string(),
            wanted: Platform::here().to_string(),
            found: found.to_string(),
        })
    }
}

async fn manifest_for_here(repository: &mut Repository, name: &ImageName) -> Result<Document, ImageError> {
    let document = repository.manifest(&name.version()).await?;
    if let Some(expected) = name.digest() {
        check_digest(name, expected, &document.bytes)?;
    }
    if media_type::is_manifest(&document.media_type) {
        return Ok(document);
    }
    if !media_type::is_index(&document.media_type) {
        let problem = format!("media type {:?} is neither an image nor an index", document.media_type);
        return Err(ImageError::RegistryAnswer { url: name.to_string(), problem });
    }
    let index: Index = parse(name, "index", &document.bytes)?;
    let here = Platform::here();
    let Some(descriptor) = index.manifests.iter().find(|one| one.platform.as_ref() == Some(&here)) else {
        let found: Vec<_> = index.manifests.iter().filter_map(|one| one.platform.as_ref()).collect();
        return Err(ImageError::PlatformMissing {
            origin: name.to_string(),
            wanted: here.to_string(),
            found: found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        });
    };
    let document = repository.manifest(&descriptor.digest.to_string()).await?;
    check_digest(name, &descriptor.digest, &document.bytes)?;
    Ok(document)
}

async fn fetch(
    repository: &mut Repository,
    name: &ImageName,
    part: &Descriptor,
    staging: &mut Staging,
) -> Result<(), ImageError> {
    let mut blob = staging.writer()?;
    repository.blob(part, &mut blob).await?;
    let (actual, _) = staging.finish(blob)?;
    if actual == part.digest {
        return Ok(());
    }
    Err(ImageError::DigestMismatch { origin: name.to_string(), expected: part.digest.clone(), actual })
}

fn check_digest(name: &ImageName, expected: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
    let actual = Digest::of(bytes);
    if actual == *expected {
        return Ok(());
    }
    Err(ImageError::DigestMismatch { origin: name.to_string(), expected: expected.clone(), actual })
}

fn parse<T: serde::de::DeserializeOwned>(name: &ImageName, what: &str, bytes: &[u8]) -> Result<T, ImageError> {
    parse_document(bytes).map_err(|(field, problem)| ImageError::RegistryAnswer {
        url: name.to_string(),
        problem: format!("{what}: field {field}: {problem}"),
    })
}

#[cfg(test)]
mod tests;
