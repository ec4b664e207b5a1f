//! Reading what `docker save` wrote before it wrote OCI layouts as well
//! (Docker image specification v1.2, "Combined Image JSON + Filesystem
//! Changeset Format"). The image is given an OCI manifest.

use super::super::error::ImageError;
use super::super::name::ImageName;
use super::super::oci::{Descriptor, DockerImage, ImageConfig, media_type};
use super::{Contents, layout, stage_manifest_of};

const MANIFEST: &str = "manifest.json";

/// The images `manifest.json` names.
pub(super) fn images(contents: &mut Contents<'_>) -> Result<Vec<(Option<ImageName>, Descriptor)>, ImageError> {
    let saved: Vec<DockerImage> = contents.document(MANIFEST, "the archive")?;
    if saved.is_empty() {
        return Err(contents.field(MANIFEST, "[]", "names no image".to_owned()));
    }
    let mut images = Vec::new();
    for (position, image) in saved.iter().enumerate() {
        let manifest = convert(contents, position, image)?;
        let tags = image.repo_tags.clone().unwrap_or_default();
        if tags.is_empty() {
            images.push((None, manifest.clone()));
        }
        for tag in tags {
            let name = tag.parse().map_err(|error: ImageError| {
                contents.field(MANIFEST, &format!("[{position}].RepoTags"), error.to_string())
            })?;
            images.push((Some(name), manifest.clone()));
        }
    }
    Ok(images)
}

fn convert(contents: &mut Contents<'_>, position: usize, image: &DockerImage) -> Result<Descriptor, ImageError> {
    let config_digest = contents.file(&image.config, MANIFEST)?;
    let config: ImageConfig = contents.document(&image.config, MANIFEST)?;
    layout::check_platform(contents, &config)?;
    let (layers, diff_ids) = (image.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        let problem = format!("has {layers} entries, {} has {diff_ids} diff_ids", image.config);
        return Err(contents.field(MANIFEST, &format!("[{position}].Layers"), problem));
    }
    let mut descriptors = Vec::new();
    for (layer, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
        let digest = contents.file(layer, MANIFEST)?;
        let descriptor = describe(contents, layer, digest)?;
        if descriptor.media_type == media_type::OCI_LAYER && descriptor.digest != *diff_id {
            return Err(ImageError::DigestMismatch {
                origin: format!("{}: {layer}", contents.archive.display()),
                expected: diff_id.clone(),
                actual: descriptor.digest,
            });
        }
        descriptors.push(descriptor);
    }
    let size = contents.staging.length_bytes(&config_digest).unwrap_or_default();
    let config = Descriptor {
        media_type: media_type::OCI_CONFIG.to_owned(),
        digest: config_digest,
        size,
        platform: None,
        annotations: Default::default(),
    };
    stage_manifest_of(contents.staging, config, descriptors)
}

fn describe(contents: &Contents<'_>, layer: &str, digest: super::Digest) -> Result<Descriptor, ImageError> {
    use std::io::Read as _;
    let mut magic = Vec::new();
    if let Some(path) = contents.staging.path(&digest) {
        std::fs::File::open(path)
            .and_then(|file| file.take(2).read_to_end(&mut magic))
            .map_err(ImageError::store("read", layer))?;
    }
    let is_gzip = magic == [0x1f, 0x8b];
    let size = contents.staging.length_bytes(&digest).unwrap_or_default();
    let kind = if is_gzip { media_type::OCI_LAYER_GZIP } else { media_type::OCI_LAYER };
    Ok(Descriptor { media_type: kind.to_owned(), digest, size, platform: None, annotations: Default::default() })
}
