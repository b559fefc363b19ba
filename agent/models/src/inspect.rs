//! Says what a path holds and which of its files make the model, having read only headers.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nabi_domain::plan::ModelShape;
use nabi_domain::{ModelFormat, ModelName, ModelSummary};

use crate::folder::{self, FolderError};
use crate::gguf::{self, GgufError, ShapeReader, SplitError, SplitName, SplitSet};
use crate::manifest;
use crate::regular_file::{self, FileError};
use crate::safetensors::{self, IndexError, SafetensorsError};
use crate::search::Parts;

/// Why a path is not a model that can be imported.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The path itself.
    #[error("{path:?} could not be found or read: check the path, and that the stick or disk is mounted")]
    Path {
        /// What was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name that cannot be stored.
    #[error("the path {path:?} cannot be stored: rename what is not UTF-8 or begins with a dot")]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// A file that cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// A malformed GGUF file.
    #[error("{path:?}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: GgufError,
    },
    /// Parts that do not belong together.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A folder that is no model.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A malformed safetensors file.
    #[error("{path:?}")]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafetensorsError,
    },
    /// A malformed index.
    #[error("{path:?}")]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: IndexError,
    },
    /// The index and a shard contradict each other.
    #[error("the tensor {tensor:?} is not in {path:?}, where the index has it: copy the folder again")]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard.
        path: PathBuf,
    },
    /// A tensor that the index names twice.
    #[error("the index names the tensor {tensor:?} twice")]
    NamedTwice {
        /// The tensor.
        tensor: String,
    },
    /// No weight at all.
    #[error("{path:?} has no tensors: not a model")]
    NoTensors {
        /// What was given.
        path: PathBuf,
    },
}

/// A file that makes part of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in the store.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// What a path holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// How the weights are stored.
    pub format: ModelFormat,
    /// The architecture by its field name.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// The most frequent weight format by bytes.
    pub quantization: String,
    /// Longest context in tokens.
    pub context_tokens: u64,
    /// What decides its memory and its speed; none where that is not known.
    pub shape: Option<ModelShape>,
    /// Whether the model brings Python code, which is not taken: it only runs where the engine
    /// knows its architecture itself.
    pub remote_code: bool,
    /// The files to store; the one that an engine opens first is the first.
    pub files: Vec<SourceFile>,
}

impl Inspected {
    /// Size of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The summary under a name.
    pub fn summary(&self, name: ModelName) -> ModelSummary {
        ModelSummary {
            name,
            format: self.format,
            architecture: self.architecture.clone(),
            parameters: self.parameters,
            quantization: self.quantization.clone(),
            context_tokens: self.context_tokens,
            bytes: self.bytes(),
        }
    }
}

/// Inspects a GGUF file (any part of a split one, with the others beside it) or a Hugging Face folder.
/// `path` itself may be a link, since its giver named it; files inside a folder may not.
pub fn inspect(path: &Path) -> Result<Inspected, InspectError> {
    inspect_among(path, &Parts::default())
}

/// As [`inspect`]; parts of a split model that are not beside the given one may also lie elsewhere.
pub fn inspect_among(path: &Path, elsewhere: &Parts) -> Result<Inspected, InspectError> {
    let unreadable = |source| InspectError::Path { path: path.to_owned(), source };
    let path = fs::canonicalize(path).map_err(unreadable)?;
    if path.is_dir() { inspect_folder(&path) } else { inspect_gguf(&path, elsewhere) }
}

/// Counts weights and finds the most frequent format.
#[derive(Default)]
struct Weights {
    parameters: u64,
    bytes_by_format: BTreeMap<&'static str, u64>,
}

impl Weights {
    fn add(&mut self, format: &'static str, elements: u64, bytes: u64) {
        self.parameters = self.parameters.saturating_add(elements);
        let sum = self.bytes_by_format.entry(format).or_default();
        *sum = sum.saturating_add(bytes);
    }

    fn most_frequent(&self) -> Option<&'static str> {
        self.bytes_by_format.iter().max_by_key(|(_, bytes)| **bytes).map(|(format, _)| *format)
    }
}

fn source_file(path: PathBuf, metadata: &fs::Metadata) -> Result<SourceFile, InspectError> {
    // The whole path must be text, since an import notes it in its journal.
    let name = path.to_str().and(path.file_name()).and_then(|name| name.to_str());
    match name.filter(|name| manifest::is_file_name(name)).map(str::to_owned) {
        Some(name) => {
            Ok(SourceFile { path, name, bytes: metadata.len(), mtime_ns: regular_file::mtime_ns(metadata) })
        }
        None => Err(InspectError::Name { path }),
    }
}

fn read_gguf(path: &Path, keep_arrays: &[&str]) -> Result<(gguf::Header, SourceFile), InspectError> {
    let (file, metadata) = regular_file::open(path)?;
    let header = gguf::read_header(file, metadata.len(), keep_arrays);
    let header = header.map_err(|source| InspectError::Gguf { path: path.to_owned(), source })?;
    Ok((header, source_file(path.to_owned(), &metadata)?))
}

fn inspect_gguf(path: &Path, elsewhere: &Parts) -> Result<Inspected, InspectError> {
    let (given, file) = read_gguf(path, &[])?;
    let paths = match SplitSet::count(&given)? {
        1 => vec![path.to_owned()],
        count => part_paths(path, &file.name, count, elsewhere)?,
    };
    drop(given);
    let mut set = (paths.len() > 1).then(|| SplitSet::new(paths.len() as u64));
    let mut weights = Weights::default();
    let mut files = Vec::new();
    let mut described = None;
    for path in paths {
        let (header, file) = read_gguf(&path, &[gguf::TOKENS])?;
        if let Some(set) = &mut set {
            set.add(&file.name, &header)?;
        }
        if described.is_none() {
            let both =
                gguf::describe(&header).and_then(|description| Ok((description, ShapeReader::new(&header)?)));
            described = Some(both.map_err(|source| InspectError::Gguf { path, source })?);
        }
        if let Some((_, shape)) = &mut described {
            shape.add(&header.tensors);
        }
        for tensor in &header.tensors {
            weights.add(tensor.tensor_type.name, tensor.elements, tensor.bytes);
        }
        files.push(file);
    }
    if let Some(set) = set {
        set.finish()?;
    }
    let (Some((description, shape)), Some(format)) = (described, weights.most_frequent()) else {
        return Err(InspectError::NoTensors { path: path.to_owned() });
    };
    Ok(Inspected {
        format: ModelFormat::Gguf,
        architecture: description.architecture,
        parameters: weights.parameters,
        quantization: format.to_owned(),
        context_tokens: description.context_tokens,
        shape: shape.finish(),
        remote_code: false,
        files,
    })
}

/// The paths of all parts: beside the given one, or elsewhere.
fn part_paths(path: &Path, name: &str, count: u64, elsewhere: &Parts) -> Result<Vec<PathBuf>, SplitError> {
    let Some(split) = SplitName::parse(name).filter(|split| split.count == count) else {
        return Err(SplitError::Name { file: name.to_owned(), count });
    };
    let place = |part: u64| {
        let name = split.of_part(part);
        let beside = path.with_file_name(&name);
        let there = fs::symlink_metadata(&beside).is_ok();
        if there { Ok(beside) } else { elsewhere.get(&name).cloned().ok_or(name) }
    };
    let (found, missing): (Vec<_>, Vec<_>) = (1..=count).map(place).partition(Result::is_ok);
    let missing: Vec<String> = missing.into_iter().filter_map(Result::err).collect();
    match missing.is_empty() {
        true => Ok(found.into_iter().filter_map(Result::ok).collect()),
        false => Err(SplitError::Missing { parts: missing, count }),
    }
}

fn inspect_folder(path: &Path) -> Result<Inspected, InspectError> {
    let listing = folder::list(path)?;
    let config = regular_file::read(&path.join(folder::CONFIG), folder::CONFIG_BYTES_MAX)?;
    let config = folder::read_config(&config)?;
    let shards = shards(path, &listing)?;
    let mut weights = Weights::default();
    let mut packed = BTreeSet::new();
    let mut files = Vec::new();
    for (shard, named) in shards {
        let path = path.join(shard);
        let (file, metadata) = regular_file::open(&path)?;
        let tensors = safetensors::read_header(file, metadata.len());
        let tensors = tensors.map_err(|source| InspectError::Safetensors { path: path.clone(), source })?;
        check_shard(&path, &tensors, &named)?;
        for tensor in tensors {
            weights.add(tensor.data_type.name, tensor.elements, tensor.bytes);
            if tensor.data_type.whole {
                packed.insert(tensor.data_type.name);
            }
        }
        files.push(source_file(path, &metadata)?);
    }
    for name in &listing.side_files {
        files.push(side_file(path.join(name))?);
    }
    let Some(format) = weights.most_frequent() else {
        return Err(InspectError::NoTensors { path: path.to_owned() });
    };
    // Weights packed into whole numbers are named by their method.
    let method = config.quantization.filter(|_| packed.contains(format));
    Ok(Inspected {
        format: ModelFormat::HuggingFace,
        architecture: config.architecture,
        parameters: weights.parameters,
        quantization: method.unwrap_or_else(|| format.to_owned()),
        context_tokens: config.context_tokens,
        shape: None,
        remote_code: config.remote_code,
        files,
    })
}

/// The shards to take, each with the tensors that the index has in it (none without an index).
fn shards(path: &Path, listing: &folder::Listing) -> Result<BTreeMap<String, Vec<String>>, InspectError> {
    if !listing.has_index() {
        return Ok(listing.safetensors.iter().map(|name| (name.clone(), Vec::new())).collect());
    }
    let index = path.join(folder::INDEX);
    let json = regular_file::read(&index, safetensors::INDEX_BYTES_MAX)?;
    let shards = safetensors::read_index(&json);
    let shards = shards.map_err(|source| InspectError::Index { path: index, source })?.shards;
    let mut seen = HashSet::new();
    for tensor in shards.values().flatten() {
        if !seen.insert(tensor) {
            return Err(InspectError::NamedTwice { tensor: tensor.clone() });
        }
    }
    drop(seen);
    Ok(shards)
}

fn check_shard(path: &Path, tensors: &[safetensors::Tensor], named: &[String]) -> Result<(), InspectError> {
    let there: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    match named.iter().find(|tensor| !there.contains(tensor.as_str())) {
        Some(tensor) => Err(InspectError::NotInShard { tensor: tensor.clone(), path: path.to_owned() }),
        None => Ok(()),
    }
}

fn side_file(path: PathBuf) -> Result<SourceFile, InspectError> {
    let (_, metadata) = regular_file::open(&path)?;
    let (bytes, max) = (metadata.len(), folder::SIDE_FILE_BYTES_MAX);
    if bytes > max {
        return Err(FileError::TooLarge { path, bytes, max }.into());
    }
    source_file(path, &metadata)
}
