//! The mounts of a run: each a name and what serves it.

use std::sync::Arc;

use camino::Utf8PathBuf;

use crate::corpus::Corpus;
use crate::event::ErrorClass;
use crate::host::HostFault;

use super::folder::{Folder, Reach};
use super::named::{CORPUS, MountName, MountNames, WORK};
use super::open::{Opened, ReadCapability, ReadSource, WriteCapability};
use super::work::WorkFolder;
use super::{MountPath, Refusal};

/// A place that paths may name: its name, and what serves it.
#[derive(Debug, Clone)]
pub struct Mount {
    name: MountName,
    served: Served,
}

/// What serves a mount. Another mount needs no new kind; another way of serving files does.
#[derive(Debug, Clone)]
enum Served {
    /// Documents in memory.
    Documents(Arc<Corpus>),
    /// A folder of the machine, to read.
    Folder(Arc<Folder>),
    /// The run's own folder.
    Work(Arc<WorkFolder>),
}

impl Mount {
    /// Documents from memory under a name.
    pub fn documents(name: MountName, documents: Arc<Corpus>) -> Self {
        Self { name, served: Served::Documents(documents) }
    }

    /// A folder of the machine under a name. It is opened when something is first read from it, and
    /// held from then on.
    pub fn folder(name: MountName, path: Utf8PathBuf) -> Self {
        Self { name, served: Served::Folder(Arc::new(Folder::new(path))) }
    }
}

/// The mounts of a run.
#[derive(Debug, Clone)]
pub struct Mounts {
    /// What searching looks through, which is also a mount.
    corpus: Arc<Corpus>,
    names: MountNames,
    mounts: Vec<Mount>,
}

impl Mounts {
    /// The two mounts that every run has: a corpus, and a folder of the run's own, which is made when
    /// something is first written to it.
    pub fn new(corpus: Arc<Corpus>, work: Utf8PathBuf) -> Self {
        let names = MountNames::built_in().clone();
        let work = Arc::new(WorkFolder::new(work));
        let served = |name: &MountName| match name.as_str() {
            CORPUS => Some(Served::Documents(Arc::clone(&corpus))),
            WORK => Some(Served::Work(Arc::clone(&work))),
            _ => None,
        };
        let mount = |name: &MountName| Some(Mount { name: name.clone(), served: served(name)? });
        let mounts = names.iter().filter_map(mount).collect();
        Self { corpus, names, mounts }
    }

    /// The mounts for deciding without a run: a corpus, and a folder that is nowhere.
    pub fn of_no_run(corpus: Arc<Corpus>) -> Self {
        Self::new(corpus, Utf8PathBuf::from("/nonexistent/gatedrun"))
    }

    /// Mounts of these names with nothing in them.
    pub fn empty(names: &MountNames) -> Self {
        let nothing = Arc::new(Corpus::empty());
        let mut empty = Self::of_no_run(Arc::clone(&nothing));
        let further = names.iter().filter(|name| empty.names.get(name.as_str()).is_none());
        let further: Vec<Mount> =
            further.map(|name| Mount::documents(name.clone(), Arc::clone(&nothing))).collect();
        empty.mounts.extend(further);
        empty.names = names.clone();
        empty
    }

    /// These, and one more, which nothing can write.
    ///
    /// # Errors
    /// That its name is taken.
    pub fn and(mut self, mount: Mount) -> Result<Self, String> {
        self.names = self.names.and(&mount.name)?;
        self.mounts.push(mount);
        Ok(self)
    }

    /// The corpus.
    pub fn corpus(&self) -> &Arc<Corpus> {
        &self.corpus
    }

    /// What a path may begin with.
    pub fn names(&self) -> &MountNames {
        &self.names
    }

    /// What serves a path's mount.
    fn served(&self, path: &MountPath) -> Option<&Served> {
        self.mounts.iter().find(|mount| mount.name == path.mount).map(|mount| &mount.served)
    }

    /// Opens a file for reading, at most `bytes_max` long. A file that is not there opens too, as
    /// a capability whose reading fails: absence is the tool's error and no denial.
    ///
    /// # Errors
    /// What the machine refuses.
    pub fn open_read(
        &self,
        path: &MountPath,
        bytes_max: u64,
    ) -> Result<Opened<ReadCapability>, HostFault> {
        let opened = match self.served(path) {
            None => Err(Reach::Refused(NO_MOUNT)),
            Some(Served::Documents(documents)) => {
                match documents.documents().binary_search_by(|d| d.path.cmp(&path.relative())) {
                    Ok(index) => Ok(ReadSource::Document(Arc::clone(documents), index)),
                    Err(_) => Ok(ReadSource::Failed(ErrorClass::NotFound)),
                }
            }
            Some(Served::Folder(folder)) => folder.open_file(path.names()).map(ReadSource::File),
            Some(Served::Work(work)) => work.open_file(path.names()).map(ReadSource::File),
        };
        let source = match opened {
            Ok(source) => source,
            Err(Reach::Absent(class)) => ReadSource::Failed(class),
            Err(Reach::Refused(reason)) => return Ok(Opened::Refused(path.refusal(reason))),
            Err(Reach::Host(error)) => {
                return Err(HostFault::new(path.to_string(), "opened", error));
            }
        };
        Ok(Opened::Open(ReadCapability { name: path.to_string(), source, bytes_max }))
    }

    /// Opens a place for writing one file of at most `bytes_max`. Nothing is made yet. Only the run's
    /// own folder has such a place, whatever a policy lists.
    ///
    /// # Errors
    /// What the machine refuses.
    pub fn open_write(
        &self,
        path: &MountPath,
        bytes_max: u64,
    ) -> Result<Opened<WriteCapability>, HostFault> {
        let work = match self.served(path) {
            None => return Ok(Opened::Refused(path.refusal(NO_MOUNT))),
            Some(Served::Documents(_) | Served::Folder(_)) => {
                return Ok(Opened::Refused(path.refusal("its mount is read-only")));
            }
            Some(Served::Work(work)) => work,
        };
        match work.open_file(path.names()) {
            Err(Reach::Refused(reason)) => Ok(Opened::Refused(path.refusal(reason))),
            Err(Reach::Host(error)) => Err(HostFault::new(path.to_string(), "opened", error)),
            Ok(_) | Err(Reach::Absent(_)) => Ok(Opened::Open(WriteCapability {
                name: path.to_string(),
                work: Arc::clone(work),
                names: path.names().to_vec(),
                bytes_max,
            })),
        }
    }
}

/// Why a path is not opened that was read with the names of other mounts.
const NO_MOUNT: &str = "there is no such mount";

impl MountPath {
    fn refusal(&self, reason: &str) -> Refusal {
        Refusal {
            mount: Some(self.mount.clone()),
            resolved: Some(self.relative()),
            reason: format!("opening {self} was refused: {reason}"),
        }
    }
}
