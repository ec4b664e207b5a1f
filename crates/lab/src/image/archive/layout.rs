//! Reading an OCI image layout (image-layout.md, image-index.md, manifest.md).

use super::super::error::ImageError;
use super::super::name::ImageName;
use super::super::oci::{
    ANNOTATION_NAME, ANNOTATION_REF_NAME, Descriptor, ImageConfig, Index, Manifest, Platform, media_type,
};
use super::Contents;

/// An index may point to an index; deeper nesting than this is refused.
const DEEPEST_NESTING: u32 = 4;

/// The images `index.json` names, for this machine's platform.
pub(super) fn images(contents: &mut Contents<'_>) -> Result<Vec<(Option<ImageName>, Descriptor)>, ImageError> {
    let index: Index = contents.document("index.json", "the archive")?;
    if index.manifests.is_empty() {
        return Err(contents.field("index.json", "manifests", "names no image".to_owned()));
    }
    let mut images = Vec::new();
    for (position, descriptor) in index.manifests.iter().enumerate() {
        let name = name_of(contents, position, descriptor)?;
        // An image for several platforms brings one entry per platform at times.
        if descriptor.platform.as_ref().is_some_and(|platform| *platform != Platform::here())
            && index.manifests.len() > 1
        {
            continue;
        }
        let manifest = manifest_for_here(contents, descriptor, "index.json", 0)?;
        images.push((name, manifest));
    }
    if images.is_empty() {
        return Err(wrong_platform(contents, &index));
    }
    Ok(images)
}

fn name_of(contents: &Contents<'_>, position: usize, descriptor: &Descriptor) -> Result<Option<ImageName>, ImageError> {
    let full = descriptor.annotations.get(ANNOTATION_NAME);
    // The OCI annotation holds a bare tag just as often: then it is no name.
    let candidate =
        full.or_else(|| descriptor.annotations.get(ANNOTATION_REF_NAME).filter(|name| name.contains(['/', ':'])));
    let Some(text) = candidate else { return Ok(None) };
    text.parse().map(Some).map_err(|error: ImageError| {
        let field = format!("manifests[{position}].annotations");
        contents.field("index.json", &field, error.to_string())
    })
}

/// Follows indexes down to the manifest for this machine and checks its parts.
fn manifest_for_here(
    contents: &Contents<'_>,
    descriptor: &Descriptor,
    wanted_by: &str,
    depth: u32,
) -> Result<Descriptor, ImageError> {
    let file = contents.check_blob(descriptor, wanted_by)?;
    if !media_type::is_index(&descriptor.media_type) {
        check_manifest(contents, &file)?;
        let mut manifest = descriptor.clone();
        manifest.annotations.clear();
        manifest.platform = None;
        if !media_type::is_manifest(&manifest.media_type) {
            manifest.media_type = media_type::OCI_MANIFEST.to_owned();
        }
        return Ok(manifest);
    }
    if depth >= DEEPEST_NESTING {
        let problem = format!("indexes are nested deeper than {DEEPEST_NESTING}");
        return Err(contents.field(&file, "manifests", problem));
    }
    let index: Index = contents.document(&file, wanted_by)?;
    let here = Platform::here();
    match index.manifests.iter().find(|one| one.platform.as_ref() == Some(&here)) {
        Some(descriptor) => manifest_for_here(contents, descriptor, &file, depth + 1),
        None => Err(wrong_platform(contents, &index)),
    }
}

fn check_manifest(contents: &Contents<'_>, file: &str) -> Result<(), ImageError> {
    let manifest: Manifest = contents.document(file, "index.json")?;
    let config_file = contents.check_blob(&manifest.config, file)?;
    let config: ImageConfig = contents.document(&config_file, file)?;
    for layer in &manifest.layers {
        contents.check_blob(layer, file)?;
    }
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        let problem = format!("has {diff_ids} entries, the manifest {layers} layers");
        return Err(contents.field(&config_file, "rootfs.diff_ids", problem));
    }
    check_platform(contents, &config)
}

/// An image for another machine would unpack, and then not start.
pub(super) fn check_platform(contents: &Contents<'_>, config: &ImageConfig) -> Result<(), ImageError> {
    let here = Platform::here();
    if config.os == here.os && config.architecture == here.architecture {
        return Ok(());
    }
    Err(ImageError::PlatformMissing {
        origin: format!("image archive {}", contents.archive.display()),
        wanted: here.to_string(),
        found: format!("{}/{}", config.os, config.architecture),
    })
}

fn wrong_platform(contents: &Contents<'_>, index: &Index) -> ImageError {
    let found: Vec<String> =
        index.manifests.iter().filter_map(|descriptor| descriptor.platform.as_ref().map(Platform::to_string)).collect();
    ImageError::PlatformMissing {
        origin: format!("image archive {}", contents.archive.display()),
        wanted: Platform::here().to_string(),
        found: if found.is_empty() { "none".to_owned() } else { found.join(", ") },
    }
}
