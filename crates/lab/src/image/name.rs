//! Image names, completed the way containerd's CRI does.
//!
//! Grammar: the `reference` package of the distribution project; short names
//! get the domain `docker.io`, one-word names the folder `library/`, names
//! without tag and digest the tag `latest`. A pod that says `nginx` therefore
//! finds the image stored as `docker.io/library/nginx:latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::ImageError;

/// The domain of names that have none.
const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of names that have neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// Longest domain plus path the reference grammar allows.
const LONGEST_NAME: usize = 255;
/// Longest tag the reference grammar allows.
const LONGEST_TAG: usize = 128;

/// A complete image name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

// === impl ImageName ===

impl ImageName {
    /// Host (and port) the image belongs to: `docker.io`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository below the domain: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What a registry is asked for: the digest if there is one, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// The digest the name is pinned to.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// As a person would write it: `nginx:latest`, `seaway/pause:1`.
    pub fn short(&self) -> String {
        let full = self.to_string();
        let without_domain = full.strip_prefix("docker.io/").unwrap_or(&full);
        without_domain.strip_prefix("library/").unwrap_or(without_domain).to_owned()
    }
}

impl FromStr for ImageName {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let invalid = |problem: String| ImageError::NameInvalid { name: text.to_owned(), problem };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(invalid)?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; before it, a port.
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
            _ => (rest, None),
        };
        let (domain, path) = split_domain(rest);
        check_domain(domain).map_err(invalid)?;
        check_path(&path).map_err(invalid)?;
        if let Some(tag) = tag {
            check_tag(tag).map_err(invalid)?;
        }
        if domain.len() + 1 + path.len() > LONGEST_NAME {
            return Err(invalid(format!("longer than {LONGEST_NAME} characters")));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { domain: domain.to_owned(), path, tag, digest })
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn split_domain(name: &str) -> (&str, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, path)) if is_domain(first) => (first, path),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain, format!("library/{path}"));
    }
    (domain, path.to_owned())
}

fn is_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn check_domain(domain: &str) -> Result<(), String> {
    let (host, port) = if domain.starts_with('[') {
        match domain.rsplit_once(']') {
            Some((address, port)) => (address.trim_start_matches('['), port.strip_prefix(':')),
            None => return Err(format!("host {domain:?} lacks a closing bracket")),
        }
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        }
    };
    let host_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '%');
    if host.is_empty() || !host.chars().all(host_character) {
        return Err(format!("host {domain:?} is not a host name or address"));
    }
    if !domain.starts_with('[') && host.contains(':') {
        return Err(format!("host {domain:?} has more than one port"));
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() => Err(format!("port {port:?} is not a port")),
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), String> {
    for part in path.split('/') {
        if part.is_empty() {
            return Err("a part between slashes is empty".to_owned());
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if let Some(odd) = part.bytes().find(|byte| !plain(*byte) && !b"._-".contains(byte)) {
            return Err(format!("{:?} may not stand in {part:?}", char::from(odd)));
        }
        if !part.bytes().next().is_some_and(plain) || !part.bytes().last().is_some_and(plain) {
            return Err(format!("{part:?} does not begin and end with a letter or digit"));
        }
        check_separators(part)?;
    }
    Ok(())
}

/// Separators are one dot, one or two underscores, or any number of dashes.
fn check_separators(part: &str) -> Result<(), String> {
    let separators = part.split(|c: char| c.is_ascii_alphanumeric()).filter(|separator| !separator.is_empty());
    for separator in separators {
        let allowed = matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
        if !allowed {
            return Err(format!("{separator:?} may not separate words in {part:?}"));
        }
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if tag.is_empty() || tag.len() > LONGEST_TAG {
        return Err(format!("the tag has {} characters, 1 to {LONGEST_TAG} are allowed", tag.len()));
    }
    if !tag.starts_with(word) || !tag.chars().all(|c| word(c) || matches!(c, '.' | '-')) {
        return Err(format!("tag {tag:?} has a character that may not stand there"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_completed_as_containerd_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let table = [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("nginx:1.27", "docker.io/library/nginx:1.27".to_owned()),
            ("seaway/pause:1", "docker.io/seaway/pause:1".to_owned()),
            ("docker.io/nginx", "docker.io/library/nginx:latest".to_owned()),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest".to_owned()),
            ("localhost/app", "localhost/app:latest".to_owned()),
            ("localhost:5000/app", "localhost:5000/app:latest".to_owned()),
            ("127.0.0.1:5000/team/app:v1", "127.0.0.1:5000/team/app:v1".to_owned()),
            ("[::1]:5000/app:v1", "[::1]:5000/app:v1".to_owned()),
            ("example.org/a/b/c:d", "example.org/a/b/c:d".to_owned()),
            ("a__b/c-----d.e", "docker.io/a__b/c-----d.e:latest".to_owned()),
        ];
        for (text, full) in table {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), full, "{text}");
        }
        let pinned: ImageName = format!("nginx@{digest}").parse().unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/library/nginx@{digest}"));
        assert_eq!(pinned.version(), digest);
    }

    #[test]
    fn bad_names_say_which_rule_they_break() {
        let table = [
            ("", "empty"),
            ("a//b", "empty"),
            ("team/App", "'A'"),
            ("-app", "begin and end"),
            ("app_", "begin and end"),
            ("a..b", "\"..\""),
            ("app:", "tag has 0"),
            ("app:-x", "tag \"-x\""),
            ("app@sha256:12", "64"),
            ("app@md5:12", "sha256:"),
            ("localhost:port/app", "port"),
        ];
        for (text, part) in table {
            let error = text.parse::<ImageName>().unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_full_name_reads_back_as_itself(
            path in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}", tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
        ) {
            let name: ImageName = format!("{path}:{tag}").parse().unwrap();
            prop_assert_eq!(&name.to_string().parse::<ImageName>().unwrap(), &name);
            prop_assert_eq!(&name.short().parse::<ImageName>().unwrap(), &name);
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,64}") {
            let _ = text.parse::<ImageName>();
        }
    }
}
