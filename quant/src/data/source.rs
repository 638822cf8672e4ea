use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bitloop_core::digest::Digest;
use bitloop_core::graph::Shape;
use bitloop_core::spec::{DataSpec, Fit, ImageSource, Resize};
use rayon::prelude::*;
use serde_json::json;

use super::fit::fitted;
use super::folder::{Listed, Listing, by_class, by_labels};
use super::picture::Picture;
use super::{DataError, Images, PictureError, cache, load, mnist};

/// Raised when the same files would give other pixels than before; it is part of every cache entry's name.
const DECODER_VERSION: u32 = 2;
/// Bytes of pixels that are held at most (4 GiB).
const BYTES_MAX: usize = 1 << 32;
/// Bytes of one image file that are read at most (256 MiB).
const FILE_BYTES_MAX: u64 = 1 << 28;

/// Which images are wanted, as what, and where to look.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Their source and how they are fitted.
    pub spec: &'a DataSpec,
    /// What relative paths start from: the experiment file's folder.
    pub beside: &'a Path,
    /// Where data sets are looked up, as in [`load`].
    pub folders: &'a [PathBuf],
    /// Where decoded images are kept, if they are.
    pub cache: Option<&'a Path>,
    /// What the model takes: channels, height, width.
    pub shape: &'a Shape,
    /// How many classes the model tells apart.
    pub classes: u32,
}

/// Images, and where they came from.
#[derive(Debug)]
pub struct Loaded {
    /// As the model takes them.
    pub images: Images,
    /// Where they came from.
    pub origin: Origin,
}

/// Where images came from.
#[derive(Debug)]
pub enum Origin {
    /// The files of a data set, which are read every time.
    DataSet,
    /// Image files, decoded now.
    Decoded {
        /// Where they are kept, or why they are not; none if no folder was given.
        kept: Option<Result<PathBuf, io::Error>>,
    },
    /// This entry of the cache.
    Cache(PathBuf),
}

/// Reads the images of an experiment and brings them to what the model takes: channels, size, labels below its classes.
///
/// Folders of images are decoded once: what is decoded goes into `cache` under a digest of the files' names and contents,
/// the labels and the parameters; later calls read that. An entry that is damaged is made again.
///
/// Errors: `DataError`, naming the file.
pub fn read(request: &Request<'_>) -> Result<Loaded, DataError> {
    let shape: [usize; 3] = request
        .shape
        .0
        .as_slice()
        .try_into()
        .map_err(|_| DataError::NotAnImage { shape: request.shape.clone() })?;
    let data_set = |images: Images| {
        let images = fit_all(images, &request.spec.fit, shape)?;
        Ok(Loaded { images, origin: Origin::DataSet })
    };
    match &request.spec.source {
        ImageSource::Dataset { dataset, split } => {
            let images = load(*dataset, *split, request.folders)?;
            same_classes(dataset.as_str().to_owned(), images.classes, request.classes)?;
            data_set(images)
        }
        ImageSource::Idx { images, labels } => {
            let (images, labels) = (request.beside.join(images), request.beside.join(labels));
            data_set(mnist::load_pair(&images, &labels, request.classes)?)
        }
        ImageSource::Folder { images, labels } => {
            let folder = request.beside.join(images);
            let listing = match labels {
                Some(labels) => by_labels(&folder, &request.beside.join(labels), request.classes)?,
                None => by_class(&folder)?,
            };
            if let Some(classes) = listing.classes {
                same_classes(folder.display().to_string(), classes, request.classes)?;
            }
            decoded_once(&Files { folder: &folder, listing, request, shape })
        }
    }
}

fn same_classes(source: String, found: u32, wanted: u32) -> Result<(), DataError> {
    match found == wanted {
        true => Ok(()),
        false => Err(DataError::Classes { source_name: source, found, wanted }),
    }
}

/// Fits the images of a data set, which all have one size.
fn fit_all(images: Images, fit: &Fit, shape: [usize; 3]) -> Result<Images, DataError> {
    if *fit == Fit::default() && images.shape.0 == shape {
        return Ok(images);
    }
    check_total(images.len(), shape)?;
    let [channels, height, width] = images
        .shape
        .0
        .as_slice()
        .try_into()
        .map_err(|_| DataError::NotAnImage { shape: images.shape.clone() })?;
    let fit = |pixels: &[u8]| {
        let picture = Picture { channels, height, width, pixels: pixels.to_vec() };
        fitted(picture, fit, shape).map(|picture| picture.pixels)
    };
    let all: Result<Vec<Vec<u8>>, PictureError> =
        images.pixels.par_chunks_exact(images.shape.elements()).map(fit).collect();
    let pixels = all.map_err(|reason| DataError::Fit { reason })?.concat();
    Ok(Images { shape: Shape(shape.to_vec()), pixels, ..images })
}

fn check_total(images: usize, shape: [usize; 3]) -> Result<usize, DataError> {
    let per_image = Shape(shape.to_vec()).elements();
    match images.checked_mul(per_image) {
        Some(bytes) if bytes <= BYTES_MAX => Ok(per_image),
        Some(_) | None => Err(DataError::TooMany { images, per_image, limit: BYTES_MAX }),
    }
}

/// A folder's images and what is wanted of them.
struct Files<'a> {
    folder: &'a Path,
    listing: Listing,
    request: &'a Request<'a>,
    shape: [usize; 3],
}

fn decoded_once(files: &Files<'_>) -> Result<Loaded, DataError> {
    let digest_of =
        |listed: &Listed| read_file(&files.folder.join(&listed.name)).map(|bytes| Digest::of(&bytes));
    let digests: Vec<_> = files.listing.files.par_iter().map(digest_of).collect();
    let digests = digests.into_iter().collect::<Result<Vec<Digest>, DataError>>()?;
    let entry = files.request.cache.map(|folder| cache::entry(folder, &key(files, &digests)));
    if let Some(entry) = &entry
        && let Some(images) = cache::read(entry)
        && images.shape.0 == files.shape
    {
        return Ok(Loaded { images, origin: Origin::Cache(entry.clone()) });
    }
    let images = decoded(files, &digests)?;
    let kept = entry.map(|entry| cache::write(&entry, &images).map(|()| entry));
    Ok(Loaded { images, origin: Origin::Decoded { kept } })
}

/// The digest of everything that decoded images depend on.
fn key(files: &Files<'_>, digests: &[Digest]) -> Digest {
    let fit = files.request.spec.fit;
    let resize = match fit.resize {
        None => json!(null),
        Some(Resize::ShorterSide(side)) => json!({ "shorter_side": side }),
        Some(Resize::Exact(size)) => json!({ "exact": size }),
    };
    let name = |listed: &Listed| Digest::of(listed.name.as_os_str().as_encoded_bytes()).hex();
    let file = |(listed, digest): (&Listed, &Digest)| json!([name(listed), digest.hex(), listed.label]);
    let listed: Vec<_> = files.listing.files.iter().zip(digests).map(file).collect();
    let text = json!({
        "decoder": DECODER_VERSION,
        "shape": files.shape,
        "classes": files.request.classes,
        "resize": resize,
        "pad": fit.pad,
        "crop": fit.crop,
        "files": listed,
    });
    Digest::of(text.to_string().as_bytes())
}

fn decoded(files: &Files<'_>, digests: &[Digest]) -> Result<Images, DataError> {
    let listed = &files.listing.files;
    let per_image = check_total(listed.len(), files.shape)?;
    let mut pixels = vec![0; listed.len() * per_image];
    let places = pixels.par_chunks_exact_mut(per_image).zip(listed).zip(digests);
    let done: Vec<Result<(), DataError>> = places
        .map(|((place, listed), digest)| {
            let path = files.folder.join(&listed.name);
            let bytes = read_file(&path)?;
            if Digest::of(&bytes) != *digest {
                return Err(DataError::Changed { path });
            }
            let picture = Picture::decode(&bytes)
                .and_then(|picture| fitted(picture, &files.request.spec.fit, files.shape));
            let picture = picture.map_err(|reason| DataError::Picture { path, reason })?;
            place.copy_from_slice(&picture.pixels);
            Ok(())
        })
        .collect();
    // The first in the order of the files, whichever thread was first.
    done.into_iter().collect::<Result<(), DataError>>()?;
    let labels = listed.iter().map(|listed| listed.label).collect();
    Ok(Images { shape: Shape(files.shape.to_vec()), pixels, labels, classes: files.request.classes })
}

fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(io)?.len();
    if bytes > FILE_BYTES_MAX {
        let reason = PictureError::FileSize { bytes, limit: FILE_BYTES_MAX };
        return Err(DataError::Picture { path: path.to_owned(), reason });
    }
    fs::read(path).map_err(io)
}
