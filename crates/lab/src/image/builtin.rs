//! The images that are part of the product: made from programs on this machine
//! the first time a lab needs them, and again when a program changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::ImageError;
use super::layer::{Recipe, check_static};
use super::name::ImageName;
use super::store::{ImageStore, StoredImage};

/// Where the distribution keeps its static busybox: shell, ping, wget and nc in
/// the test image, if it is installed.
const BUSYBOX: &str = "/bin/busybox";
/// Names under which busybox is called in the test image.
const BUSYBOX_NAMES: [&str; 24] = [
    "cat",
    "date",
    "dd",
    "env",
    "free",
    "grep",
    "head",
    "hostname",
    "id",
    "ip",
    "ls",
    "mount",
    "nc",
    "netstat",
    "nslookup",
    "ping",
    "ping6",
    "ps",
    "sh",
    "sleep",
    "timeout",
    "traceroute",
    "vi",
    "wget",
];

/// An image that is part of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Builtin {
    /// The sandbox every pod starts with.
    Pause,
    /// Kubernetes' own test server and client.
    Agnhost,
    /// CoreDNS.
    CoreDns,
    /// Seaway: the agent, the controller, the CNI plugin.
    Seaway,
    /// The demo application.
    Bookinfo,
}

/// Where the programs are that go into the images.
#[derive(Debug, Clone)]
pub struct BuiltinPrograms {
    /// The multi-call binary; `seaway-cni`, `seaway-pause` and `bookinfo` lie
    /// beside it.
    pub seaway: PathBuf,
    /// Kubernetes' `agnhost`, if it has been built.
    pub agnhost: Option<PathBuf>,
    /// `coredns`, if it has been built.
    pub coredns: Option<PathBuf>,
}

// === impl Builtin ===

impl Builtin {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pause, Self::Agnhost, Self::CoreDns, Self::Seaway, Self::Bookinfo];

    /// The name pods use. The tag of a program of others is its version.
    pub const fn reference(self) -> &'static str {
        match self {
            Self::Pause => "seaway/pause:1",
            Self::Agnhost => "seaway/agnhost:1.36.1",
            Self::CoreDns => "seaway/coredns:1.14.7",
            Self::Seaway => concat!("seaway/seaway:v", env!("CARGO_PKG_VERSION")),
            Self::Bookinfo => "seaway/bookinfo:v1",
        }
    }

    /// [`Self::reference`], completed.
    pub fn name(self) -> Result<ImageName, ImageError> {
        self.reference().parse()
    }

    /// The built-in image of that name.
    pub fn of_name(name: &ImageName) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.name().is_ok_and(|own| own == *name))
    }

    fn recipe(self, programs: &BuiltinPrograms) -> Result<Recipe, ImageError> {
        let beside = |name: &str| programs.seaway.with_file_name(name);
        let mut recipe = match self {
            Self::Pause => single("/pause", &beside("seaway-pause"))?,
            Self::Agnhost => agnhost(built("agnhost", programs.agnhost.as_deref())?)?,
            Self::CoreDns => single("/coredns", built("coredns", programs.coredns.as_deref())?)?,
            Self::Seaway => seaway(&programs.seaway, &beside("seaway-cni"))?,
            Self::Bookinfo => single("/bookinfo", &beside("bookinfo"))?,
        };
        recipe.labels.insert("org.opencontainers.image.title".into(), self.title().into());
        Ok(recipe)
    }

    fn title(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Agnhost => "agnhost",
            Self::CoreDns => "coredns",
            Self::Seaway => "seaway",
            Self::Bookinfo => "bookinfo",
        }
    }
}

// === impl BuiltinPrograms ===

impl BuiltinPrograms {
    /// The running program and those beside it, with the given Kubernetes
    /// programs.
    pub fn of_this_program(agnhost: Option<PathBuf>, coredns: Option<PathBuf>) -> Result<Self, ImageError> {
        let seaway = std::env::current_exe().map_err(ImageError::store("find", "the running program"))?;
        Ok(Self { seaway, agnhost, coredns })
    }
}

// === impl ImageStore ===

impl ImageStore {
    /// Makes the built-in images that are wanted, each only if it is not there
    /// or its programs changed.
    pub fn ensure_builtin(
        &self,
        wanted: &[Builtin],
        programs: &BuiltinPrograms,
    ) -> Result<Vec<StoredImage>, ImageError> {
        wanted.iter().map(|builtin| self.build(&builtin.name()?, &builtin.recipe(programs)?)).collect()
    }
}

fn built<'a>(name: &str, path: Option<&'a Path>) -> Result<&'a Path, ImageError> {
    path.ok_or_else(|| ImageError::SourceUnusable {
        path: PathBuf::from(name),
        problem: "this Kubernetes program has not been built".to_owned(),
    })
}

fn single(inside: &str, program: &Path) -> Result<Recipe, ImageError> {
    check_static(program)?;
    Ok(Recipe {
        files: BTreeMap::from([(PathBuf::from(inside), program.to_owned())]),
        entrypoint: vec![inside.to_owned()],
        ..Recipe::default()
    })
}

fn agnhost(program: &Path) -> Result<Recipe, ImageError> {
    let mut recipe = single("/agnhost", program)?;
    recipe.command = vec!["pause".to_owned()];
    let busybox = Path::new(BUSYBOX);
    if check_static(busybox).is_ok() {
        recipe.files.insert(PathBuf::from(BUSYBOX), busybox.to_owned());
        let links = BUSYBOX_NAMES.map(|name| (Path::new("/bin").join(name), PathBuf::from("busybox")));
        recipe.links.extend(links);
        recipe.environment = vec!["PATH=/bin".to_owned()];
    }
    Ok(recipe)
}

fn seaway(multi_call: &Path, cni: &Path) -> Result<Recipe, ImageError> {
    check_static(cni)?;
    let mut recipe = single("/usr/bin/seaway", multi_call)?;
    recipe.files.insert(PathBuf::from("/usr/bin/seaway-cni"), cni.to_owned());
    recipe.environment = vec!["PATH=/usr/bin".to_owned()];
    Ok(recipe)
}
