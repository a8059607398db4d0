//! The inputs of a project, from its folder or from the binary, each loaded once.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::builtin;
use crate::contract::{Contract, Contracts};
use crate::corpus::{self, Corpus};
use crate::event::{Input, InputRole};
use crate::file;
use crate::host::HostFault;
use crate::json::{self, Digest};
use crate::line_ends::{Rewriting, pattern};
use crate::policy::{self, listed, meta, spec::Policy};
use crate::problem::{Problem, Problems, cut};
use crate::task::{Task, reserved_ending};
use crate::tools::Builtin;

use super::Inputs;
use super::read::{of_fault, read_file};

/// What the name of a file begins with that is built into the program.
pub const BUILTIN: &str = "builtin:";

/// Where the inputs of a project are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// In a folder.
    Folder(Utf8PathBuf),
    /// In the binary.
    Builtin,
}

/// The contracts of a folder, bound to what executes them.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The contracts.
    pub contracts: Arc<Contracts>,
    /// What executes their tools.
    pub tools: Arc<Builtin>,
    /// What the ledger says of their files.
    pub inputs: Vec<Input>,
}

/// Loads inputs, each one once.
#[derive(Debug)]
pub struct Library {
    root: Root,
    contracts: RefCell<HashMap<String, Loaded>>,
    policies: RefCell<HashMap<String, Arc<Policy>>>,
    corpora: RefCell<HashMap<String, Arc<Corpus>>>,
    digests: RefCell<HashMap<String, Option<Digest>>>,
}

impl Library {
    /// A library over a project.
    pub fn new(root: Root) -> Self {
        Self {
            root,
            contracts: RefCell::default(),
            policies: RefCell::default(),
            corpora: RefCell::default(),
            digests: RefCell::default(),
        }
    }

    /// Where they are.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Loads a task and all that it names. `seed` replaces the task's own.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn load(&self, task_path: &str, seed: Option<u64>) -> Result<Inputs, Problems> {
        self.load_named(task_path, seed).map_err(|problems| self.as_typed(problems))
    }

    /// Problems with the paths of their files from the working folder on, from where a user opens them.
    fn as_typed(&self, mut problems: Problems) -> Problems {
        for problem in &mut problems.0 {
            problem.file = self.typed(&problem.file);
        }
        problems
    }

    /// The path of an input of the project, as a user types it in the working folder.
    pub fn typed(&self, path: &str) -> String {
        match &self.root {
            _ if path.starts_with(BUILTIN) => path.to_owned(),
            Root::Folder(root) if Utf8Path::new(path).starts_with(root) => path.to_owned(),
            Root::Folder(root) => root.join(path).into_string(),
            Root::Builtin => path.to_owned(),
        }
    }

    fn load_named(&self, task_path: &str, seed: Option<u64>) -> Result<Inputs, Problems> {
        let task_bytes = self.read(task_path)?;
        let mut task = Task::load(task_path, &task_bytes)?;
        let located = |problems| json::located(problems, &task_bytes);
        self.check_id(&task, task_path).map_err(|problem| located(problem.into()))?;
        self.check_paths(&task, task_path).map_err(located)?;
        if let Some(seed) = seed {
            task.seed = seed;
        }
        let mut problems = Vec::new();
        let mut keep = |result: Result<(), Problems>| {
            if let Err(Problems(found)) = result {
                problems.extend(found);
            }
        };
        // What is missing or of another kind is wrong where the task names it.
        let named = |problems: Problems, key: &str, name: &str| {
            let is_of_name = |problem: &Problem| problem.file == name && problem.at.is_empty();
            let at_the_task = |problem: Problem| match is_of_name(&problem) {
                true => problem.named_by(task_path, format!("/{key}")),
                false => problem,
            };
            located(Problems(problems.0.into_iter().map(at_the_task).collect()))
        };
        let contracts = self
            .contracts(&task.contracts)
            .map_err(|e| keep(Err(named(e, "contracts", &task.contracts))))
            .ok();
        let corpus =
            self.corpus(&task.corpus).map_err(|e| keep(Err(named(e, "corpus", &task.corpus)))).ok();
        let prompt = self
            .prompt(&task.prompt)
            .map_err(|e| keep(Err(named(e.into(), "prompt", &task.prompt))))
            .ok();
        let policy = match &contracts {
            Some(Loaded { contracts, .. }) => {
                keep(task.check_tools(task_path, &contracts.names()).map_err(located));
                self.policy(&task.policy, contracts).map(Some)
            }
            None => self.read(&task.policy).map(|_| None).map_err(Problems::from),
        };
        let policy = policy.map_err(|e| keep(Err(named(e, "policy", &task.policy)))).ok().flatten();
        let (Some(loaded), Some(corpus), Some(prompt), Some(policy), true) =
            (contracts, corpus, prompt, policy, problems.is_empty())
        else {
            return Err(Problems(problems));
        };
        let input = |role: InputRole, path: &str, sha256: Digest| Input {
            role,
            path: path.to_owned(),
            sha256,
        };
        let mut list = vec![
            input(InputRole::Task, &self.name(task_path), task.sha256),
            input(InputRole::Policy, &self.name(&task.policy), policy.sha256),
        ];
        list.extend(loaded.inputs.clone());
        list.push(input(
            InputRole::Prompt,
            &self.name(&task.prompt),
            Digest::of(prompt.as_bytes()),
        ));
        if let Some(sha256) = corpus.manifest_sha256 {
            let path = format!("{}/{}", self.name(&task.corpus), corpus::MANIFEST);
            list.push(input(InputRole::CorpusManifest, &path, sha256));
        }
        let Loaded { contracts, tools, .. } = loaded;
        Ok(Inputs { task, policy, contracts, tools, corpus, prompt, list })
    }

    /// The name of an input in evidence: the same wherever the project's folder is, and one by which
    /// it is found again. What is taken from the program is called so, and a file of the project never is.
    fn name(&self, path: &str) -> String {
        if self.root == Root::Builtin && !path.starts_with(BUILTIN) {
            return format!("{BUILTIN}{path}");
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let root = if path.starts_with('/') { "/" } else { "" };
        let name = format!("{root}{}", parts.join("/"));
        let is_builtin = |path: &str| path.starts_with(BUILTIN);
        if is_builtin(&name) && !is_builtin(path) { format!("./{name}") } else { name }
    }

    /// What a task names is of its project: whoever wrote the task does not choose what is read of
    /// the machine that runs it, and no absolute path gets into evidence. A host that a fixture serves
    /// is written as a policy writes it, since no other can be in a URL.
    fn check_paths(&self, task: &Task, path: &str) -> Result<(), Problems> {
        let named = [
            ("/policy", &task.policy),
            ("/contracts", &task.contracts),
            ("/corpus", &task.corpus),
            ("/prompt", &task.prompt),
        ];
        let outside = named.into_iter().filter(|(_, named)| !self.is_inside(named));
        let problem = |(pointer, named): (&str, &String)| {
            Problem::new(path, format!("{:?} leads out of the project", cut(named)))
                .at(pointer)
                .remedy("give a path below the project's root, without \"..\"")
        };
        let in_runs = self.holds_runs(&task.corpus).then(|| {
            Problem::new(
                path,
                format!("the corpus {:?} is runs/, or contains it, or is in it", task.corpus),
            )
            .at("/corpus")
            .remedy("put the documents into a folder of their own: every run changes runs/")
        });
        let hosts = task.fixtures.keys().filter_map(|host| {
            let (what, remedy) = listed::check_host(host).err()?;
            let at = format!("/fixtures/{}", json::pointer_token(host));
            Some(Problem::new(path, what).at(at).remedy(remedy))
        });
        Problems::check(outside.map(problem).chain(in_runs).chain(hosts).collect(), ())
    }

    /// A task below `tasks/` is called what its path says, and its run is found under that name.
    fn check_id(&self, task: &Task, path: &str) -> Result<(), Problem> {
        if let Some(ending) = task.id.split('/').find_map(reserved_ending) {
            let what = format!(
                "a part of the id ends in {ending:?}, as folders do that lie beside a run and are none"
            );
            return Err(Problem::new(path, what).at("/id").remedy("choose another name"));
        }
        let named = path.strip_prefix("tasks/").and_then(|rest| rest.strip_suffix(".json"));
        match named {
            Some(named) if named != task.id => Err(Problem::new(
                path,
                format!("the id is {:?}; expected its path below tasks/", task.id),
            )
            .at("/id")
            .remedy(format!("write \"id\": {:?}", cut(named)))),
            Some(_) => self.check_nesting(task, path),
            None => Ok(()),
        }
    }

    /// Of two tasks the id of one may not be a folder of the other's: its run would lie in the
    /// other's run.
    fn check_nesting(&self, task: &Task, path: &str) -> Result<(), Problem> {
        let nested = |other: &str| {
            let what = format!(
                "of the runs of this task and of {other} one would be in the other, and a run's folder holds one run"
            );
            Err(Problem::new(path, what).at("/id").remedy("rename one of the two"))
        };
        for (at, _) in task.id.match_indices('/') {
            let above = format!("tasks/{}.json", task.id.get(..at).unwrap_or_default());
            if self.has(&above).map_err(|fault| of_fault(path, &fault))? {
                return nested(&above);
            }
        }
        let Located::File(below) = self.locate(path.strip_suffix(".json").unwrap_or(path)) else {
            return Ok(());
        };
        let is_task = |file: &Utf8Path| {
            file.extension() == Some("json") && !file.as_str().ends_with(".schema.json")
        };
        let files = WalkDir::new(&below).sort_by_file_name().into_iter().filter_map(Result::ok);
        let found = files.filter(|entry| entry.file_type().is_file()).find_map(|entry| {
            let inner = Utf8Path::from_path(entry.path())?.strip_prefix(&below).ok()?.to_owned();
            is_task(&inner).then_some(inner)
        });
        found.map_or(Ok(()), |inner| nested(&format!("tasks/{}/{inner}", task.id)))
    }

    /// The contracts in a folder of the project, and what the ledger says of their files.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn contracts(&self, path: &str) -> Result<Loaded, Problems> {
        if let Some(loaded) = self.contracts.borrow().get(path) {
            return Ok(loaded.clone());
        }
        let mut problems = Vec::new();
        let mut contracts = Vec::new();
        let mut texts = HashMap::new();
        for (name, bytes) in self.folder(path, ".json")? {
            if name.ends_with(".schema.json") {
                continue;
            }
            let named = format!("{path}/{name}");
            match Contract::load(&named, &bytes) {
                Ok(contract) => contracts.push(contract),
                Err(Problems(found)) => problems.extend(found),
            }
            texts.insert(named, bytes);
        }
        // What only all of them show has its place in one of them.
        let located = |found: Problems| {
            let place = |problem: Problem| match texts.get(&problem.file) {
                Some(text) => json::located(problem.into(), text).0,
                None => vec![problem],
            };
            Problems(found.0.into_iter().flat_map(place).collect())
        };
        if contracts.is_empty() && problems.is_empty() {
            problems.push(
                Problem::new(path, "contains no contract")
                    .remedy("a contract is a .json file of MCP's Tool shape"),
            );
        }
        Problems::check(problems, ())?;
        let contracts = Contracts::new(contracts).map_err(located)?;
        let tools = Arc::new(Builtin::bind(&contracts).map_err(located)?);
        let inputs: Vec<Input> = contracts
            .iter()
            .map(|contract| Input {
                role: InputRole::Contract,
                path: self.name(&contract.path),
                sha256: contract.sha256,
            })
            .collect();
        let loaded = Loaded { contracts: Arc::new(contracts), tools, inputs };
        self.contracts.borrow_mut().insert(path.to_owned(), loaded.clone());
        Ok(loaded)
    }

    /// A policy of the project.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn policy(&self, path: &str, contracts: &Contracts) -> Result<Arc<Policy>, Problems> {
        if let Some(policy) = self.policies.borrow().get(path) {
            return Ok(Arc::clone(policy));
        }
        let policy = policy::load(path, &self.read(path)?, contracts)?;
        self.check_meta_schema(path)?;
        let policy = Arc::new(policy);
        self.policies.borrow_mut().insert(path.to_owned(), Arc::clone(&policy));
        Ok(policy)
    }

    /// The meta-schema beside a policy is for editors; one that differs would mislead them.
    fn check_meta_schema(&self, policy: &str) -> Result<(), Problem> {
        let beside = match policy.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{}", meta::META_SCHEMA_FILE),
            None => meta::META_SCHEMA_FILE.to_owned(),
        };
        match self.read(&beside) {
            Ok(bytes) if bytes != meta::META_SCHEMA.as_bytes() => {
                let own = Digest::of(meta::META_SCHEMA.as_bytes());
                if let Some(found) = Rewriting::of(&bytes, own) {
                    let remedy = found.remedy(&pattern(&beside));
                    return Err(Problem::new(beside, found.what()).remedy(remedy));
                }
                let what = "it differs from the meta-schema that this program enforces";
                let remedy = "replace it with the program's own, or remove it";
                Err(Problem::new(beside, what).remedy(remedy))
            }
            _ => Ok(()),
        }
    }

    /// Puts another policy of the project into inputs; the policy that it replaces.
    ///
    /// # Errors
    /// Everything that is wrong with the policy.
    pub fn replace_policy(&self, inputs: &mut Inputs, path: &str) -> Result<Arc<Policy>, Problems> {
        let policy = self.policy(path, &inputs.contracts)?;
        for input in inputs.list.iter_mut().filter(|input| input.role == InputRole::Policy) {
            input.path = self.name(path);
            input.sha256 = policy.sha256;
        }
        Ok(std::mem::replace(&mut inputs.policy, policy))
    }

    /// A corpus of the project, verified against its manifest.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn corpus(&self, path: &str) -> Result<Arc<Corpus>, Problems> {
        if let Some(corpus) = self.corpora.borrow().get(path) {
            return Ok(Arc::clone(corpus));
        }
        let name = self.name(path);
        let corpus = match self.locate(path) {
            Located::Builtin(path) => Corpus::from_files(&name, builtin::folder(path))?,
            Located::File(full) => Corpus::load(&full, &name)?,
        };
        let corpus = Arc::new(corpus);
        self.corpora.borrow_mut().insert(path.to_owned(), Arc::clone(&corpus));
        Ok(corpus)
    }

    /// The files of a corpus as they are, and everything that cannot be read.
    pub fn corpus_files(&self, path: &str) -> (BTreeMap<String, Vec<u8>>, Vec<Problem>) {
        match self.locate(path) {
            Located::Builtin(path) => (builtin::folder(path), Vec::new()),
            Located::File(full) => corpus::read(&full, &self.name(path)),
        }
    }

    fn prompt(&self, path: &str) -> Result<String, Problem> {
        String::from_utf8(self.read(path)?).map_err(|error| {
            Problem::new(path, "it is not UTF-8")
                .at(format!("byte {}", error.utf8_error().valid_up_to()))
                .remedy("save it as UTF-8")
        })
    }

    fn locate<'p>(&self, path: &'p str) -> Located<'p> {
        match (path.strip_prefix(BUILTIN), &self.root) {
            (Some(path), _) => Located::Builtin(path),
            (None, Root::Builtin) => Located::Builtin(path),
            (None, Root::Folder(root)) => Located::File(root.join(path)),
        }
    }

    /// Whether a folder of the project is the one of its runs, lies in that, or holds it.
    fn holds_runs(&self, path: &str) -> bool {
        let (Located::File(folder), Located::File(root)) = (self.locate(path), self.locate("."))
        else {
            return false;
        };
        let (Ok(folder), Ok(root)) = (folder.canonicalize_utf8(), root.canonicalize_utf8()) else {
            return false;
        };
        let runs = root.join("runs");
        let runs = runs.canonicalize_utf8().unwrap_or(runs);
        folder.starts_with(&runs) || runs.starts_with(&folder)
    }

    /// The bytes of a file of the project.
    ///
    /// # Errors
    /// That it is not there, cannot be read, or is too large.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Problem> {
        match self.locate(path) {
            Located::Builtin(inner) => builtin::file(inner).map(<[u8]>::to_vec).ok_or_else(|| {
                Problem::new(format!("{BUILTIN}{inner}"), "nothing of that name is built in")
                    .remedy("name a file of the project")
            }),
            Located::File(full) => read_file(&full, path),
        }
    }

    /// Whether a path that comes from a stranger stays in the project, or is built in.
    pub fn is_inside(&self, path: &str) -> bool {
        let inner = path.strip_prefix(BUILTIN).unwrap_or(path);
        let mut parts = Utf8Path::new(inner).components();
        parts.all(|part| matches!(part, Utf8Component::Normal(_) | Utf8Component::CurDir))
    }

    /// SHA-256 of a file of the project; `None` where it is missing.
    pub fn digest(&self, path: &str) -> Option<Digest> {
        if let Some(known) = self.digests.borrow().get(path) {
            return *known;
        }
        let digest = self.read(path).ok().map(|bytes| Digest::of(&bytes));
        self.digests.borrow_mut().insert(path.to_owned(), digest);
        digest
    }

    /// How a file of the project was rewritten since a run was made with it; none where it is the
    /// same, cannot be read, or differs otherwise.
    pub fn rewriting(&self, path: &str, made: Digest) -> Option<Rewriting> {
        if !self.is_inside(path) || self.digest(path)? == made {
            return None;
        }
        Rewriting::of(&self.read(path).ok()?, made)
    }

    /// Whether the project has something at this path.
    ///
    /// # Errors
    /// That the machine does not say: what it does not answer for may be there.
    pub fn has(&self, path: &str) -> Result<bool, HostFault> {
        match self.locate(path) {
            Located::Builtin(path) => {
                Ok(builtin::file(path).is_some() || !builtin::folder(path).is_empty())
            }
            Located::File(full) => Ok(file::at(&full)?.is_some()),
        }
    }

    fn folder(&self, path: &str, suffix: &str) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
        let full = match self.locate(path) {
            Located::Builtin(inner) => return Ok(builtin::folder(inner)),
            Located::File(full) => full,
        };
        let cannot = |error: std::io::Error| file::unlisted(path, &error);
        let mut files = BTreeMap::new();
        for entry in full.read_dir_utf8().map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name();
            if name.ends_with(suffix) && !name.starts_with('.') {
                files.insert(name.to_owned(), read_file(entry.path(), &format!("{path}/{name}"))?);
            }
        }
        Ok(files)
    }
}

enum Located<'p> {
    Builtin(&'p str),
    File(Utf8PathBuf),
}
