use std::collections::BTreeSet;
use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::testing::moto::Moto;

/// More than two parts of a bucket.
const BIG_BYTES: usize = 20 << 20;

fn store(artifacts: &Artifacts, bytes: &[u8]) -> Digest {
    let mut writer = artifacts.writer(Digest::of(bytes)).unwrap();
    for chunk in bytes.chunks(bytes.len() / 5 + 1) {
        writer.write(chunk).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), bytes.len() as u64);
    Digest::of(bytes)
}

fn read(artifacts: &Artifacts, digest: Digest) -> Result<Vec<u8>, ArtifactError> {
    let mut reader = artifacts.reader(digest)?;
    let mut all = Vec::new();
    while let Some(bytes) = reader.next(300_000)? {
        all.extend(bytes);
    }
    Ok(all)
}

/// Writes what no `ArtifactWriter` would.
fn damage(artifacts: &Artifacts, digest: Digest, bytes: &[u8]) {
    let mut blob = artifacts.blobs.create(&digest.hex()).unwrap();
    blob.write(bytes).unwrap();
    blob.finish().unwrap();
}

fn what_was_stored_is_read_back(artifacts: &Artifacts) {
    let other = Digest::of(b"other");
    let big: Vec<u8> = (0..BIG_BYTES).map(|index| (index / 7 % 251) as u8).collect();

    for bytes in [&b""[..], b"weights and more", &big] {
        let digest = store(artifacts, bytes);

        assert!(read(artifacts, digest).unwrap() == bytes, "{} bytes", bytes.len());
        assert_eq!(artifacts.missing(&[digest, other, other]).unwrap(), [other]);
        assert_eq!(store(artifacts, bytes), digest, "a second time is as good");
    }
    assert!(matches!(read(artifacts, other), Err(ArtifactError::Missing(digest)) if digest == other));
}

fn other_bytes_than_promised_leave_nothing(artifacts: &Artifacts) {
    let promised = Digest::of(b"promised");
    for sent in [&b"sent"[..], &vec![1; BIG_BYTES]] {
        let mut writer = artifacts.writer(promised).unwrap();
        writer.write(sent).unwrap();

        assert!(matches!(writer.finish(), Err(ArtifactError::Mismatch { .. })));
        assert_eq!(artifacts.missing(&[promised]).unwrap(), [promised]);
    }
    let mut given_up = artifacts.writer(promised).unwrap();
    given_up.write(b"prom").unwrap();
    drop(given_up);
    assert_eq!(artifacts.missing(&[promised]).unwrap(), [promised]);
}

fn a_damaged_artifact_is_named_and_counts_as_missing(artifacts: &Artifacts) {
    for damaged in [&b"weighty"[..], b"weights and", b""] {
        let digest = store(artifacts, b"weights");
        damage(artifacts, digest, damaged);

        let refused = read(artifacts, digest).unwrap_err();

        assert!(matches!(refused, ArtifactError::Damaged(_)), "{refused}");
        assert!(refused.to_string().contains(&digest.to_string()));
        assert_eq!(artifacts.missing(&[digest]).unwrap(), [digest]);
        store(artifacts, b"weights");
        assert_eq!(read(artifacts, digest).unwrap(), b"weights", "it can be sent again");
    }
}

fn whoever_asks_what_to_send_is_told_of_damaged_artifacts_too(artifacts: &Artifacts) {
    let [whole, damaged] = [&b"weights"[..], b"images"].map(|bytes| store(artifacts, bytes));
    damage(artifacts, damaged, b"image");

    assert_eq!(artifacts.missing_or_damaged(&[whole, damaged]).unwrap(), [damaged]);
    assert_eq!(read(artifacts, whole).unwrap(), b"weights");
}

/// What every place for artifacts must do.
fn keeps_the_contract(artifacts: &Artifacts) {
    what_was_stored_is_read_back(artifacts);
    other_bytes_than_promised_leave_nothing(artifacts);
    a_damaged_artifact_is_named_and_counts_as_missing(artifacts);
    whoever_asks_what_to_send_is_told_of_damaged_artifacts_too(artifacts);
}

#[test]
fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();

    keeps_the_contract(&Artifacts::in_folder(folder.path().to_owned()));

    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".part")));
}

#[test]
fn the_end_of_a_damaged_artifact_does_not_remove_what_was_sent_again_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::in_folder(folder.path().to_owned());
    let digest = Digest::of(b"weights");
    damage(&artifacts, digest, b"weighty");
    let mut reader = artifacts.reader(digest).unwrap();
    let mut late = artifacts.reader(digest).unwrap();
    assert_eq!(reader.next(100).unwrap(), Some(b"weighty".to_vec()));

    store(&artifacts, b"weights");

    assert!(matches!(reader.next(100), Err(ArtifactError::Damaged(_))), "what it read is damaged");
    assert_eq!(read(&artifacts, digest).unwrap(), b"weights");
    damage(&artifacts, digest, b"weighty");
    artifacts.blobs.remove(&digest.hex()).unwrap();
    assert_eq!(late.next(100).unwrap(), Some(b"weighty".to_vec()));
    assert!(matches!(late.next(100), Err(ArtifactError::Damaged(_))), "somebody else removed it first");
}

#[test]
fn a_folder_that_is_named_is_made_and_must_be_writable() {
    let root = tempfile::tempdir().unwrap();
    let named = root.path().join("shared/artifacts");

    let artifacts = Artifacts::at(&named.display().to_string()).unwrap();

    assert_eq!(artifacts.folder(), Some(named.as_path()));
    assert_eq!(fs::read_dir(&named).unwrap().count(), 0);
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = Artifacts::at(&file.join("below").display().to_string()).unwrap_err().to_string();
    assert!(refused.contains("name a folder that can be written"), "{refused}");
}

#[test]
fn a_place_that_cannot_be_asked_is_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let artifacts = Artifacts::in_folder(file);
    let digest = Digest::of(b"weights");

    for refused in [
        artifacts.missing(&[digest]).map(drop),
        artifacts.missing_or_damaged(&[digest]).map(drop),
        artifacts.reader(digest).map(drop),
        artifacts.writer(digest).map(drop),
    ] {
        assert!(matches!(refused, Err(ArtifactError::Unusable { .. })), "{refused:?}");
    }
}

#[test]
fn a_bucket_keeps_the_contract() {
    let Some(moto) = Moto::start() else { return };
    let prefixed = Artifacts::in_bucket("s3://artifacts/some/prefix", moto.settings()).unwrap();

    keeps_the_contract(&prefixed);

    let bare = Artifacts::in_bucket("s3://artifacts", moto.settings()).unwrap();
    let digest = Digest::of(b"weights and more");
    assert_eq!(bare.missing(&[digest]).unwrap(), [digest], "prefixes keep apart");
    assert_eq!(store(&bare, b"weights and more"), digest);
    assert_eq!(moto.unfinished_uploads(), 0);
    assert_eq!(prefixed.folder(), None);
    Bucket::open("s3://artifacts/some/prefix", moto.settings()).unwrap().look().unwrap();
    Bucket::open("s3://artifacts/nothing/here", moto.settings()).unwrap().look().unwrap();
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    for url in ["s3://artifacts", "ftp://artifacts/prefix", "s3://"] {
        let no_settings = std::iter::empty();
        let nowhere = [("AWS_ENDPOINT_URL", "http://[::1]:0"), ("AWS_ACCESS_KEY_ID", "id")];
        let settings = nowhere.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = if url == "s3://artifacts" { settings.to_vec() } else { no_settings.collect() };

        let refused = Artifacts::in_bucket(url, settings.into_iter()).unwrap_err().to_string();

        assert!(refused.contains(url) && refused.contains("docs/stores.md"), "{refused}");
    }
}

#[test]
fn a_bucket_that_nobody_made_is_named() {
    let Some(moto) = Moto::start() else { return };

    let refused = Artifacts::in_bucket("s3://nobodys", moto.settings()).unwrap_err().to_string();

    assert!(refused.contains("s3://nobodys") && refused.contains("NoSuchBucket"), "{refused}");
    let looked = Bucket::open("s3://nobodys", moto.settings()).unwrap().look().unwrap_err().to_string();
    assert!(looked.contains("NoSuchBucket"), "{looked}");
}

/// A folder that says so whenever somebody begins to read a blob of it.
struct Watched<F> {
    folder: Folder,
    opening: F,
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.fmt(formatter)
    }
}

impl<F: Fn() + Send + Sync> Blobs for Watched<F> {
    fn place(&self) -> String {
        self.folder.place()
    }

    fn look(&self) -> io::Result<()> {
        self.folder.look()
    }

    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        self.folder.stamp(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>> {
        self.folder.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        (self.opening)();
        self.folder.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }
}

fn watched(folder: &Path, opening: impl Fn() + Send + Sync + 'static) -> Artifacts {
    Artifacts::new(Arc::new(Watched { folder: Folder::new(folder.to_owned()), opening }), None)
}

/// Artifacts in a folder, and how often one of them was opened.
fn counted(folder: &Path) -> (Artifacts, Arc<AtomicUsize>) {
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    let count = move || {
        counted.fetch_add(1, Ordering::SeqCst);
    };
    (watched(folder, count), opened)
}

#[test]
fn an_artifact_that_is_asked_for_many_times_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let (artifacts, opened) = counted(folder.path());
    let (here, missing) = (store(&artifacts, b"weights"), Digest::of(b"missing"));

    let asked = [here, missing, here, here, missing, here];

    assert_eq!(artifacts.missing_or_damaged(&asked).unwrap(), [missing]);
    assert_eq!(opened.load(Ordering::SeqCst), 2);
}

#[test]
fn reading_stops_when_it_is_not_wanted_and_what_is_not_here_is_still_named() {
    let folder = tempfile::tempdir().unwrap();
    let (artifacts, opened) = counted(folder.path());
    let [weights, images, labels] =
        [&b"weights"[..], b"images", b"labels"].map(|bytes| store(&artifacts, bytes));
    let absent = Digest::of(b"absent");
    let asked = [weights, images, labels, absent];

    let missing = artifacts.missing_or_damaged_while(&asked, || opened.load(Ordering::SeqCst) < 2);

    assert_eq!(opened.load(Ordering::SeqCst), 2);
    assert_eq!(missing.unwrap(), [absent]);
}

/// Goal: an upload is put into its place while a damaged artifact of a gigabyte is read once more.
#[test]
fn uploads_do_not_wait_for_a_damaged_artifact_to_be_looked_at_again() {
    let folder = tempfile::tempdir().unwrap();
    let uploaded = Arc::new(OnceLock::new());
    let upload = Arc::clone(&uploaded);
    let path = folder.path().to_owned();
    let (places, opened) = (Arc::new(RwLock::new(())), AtomicUsize::new(0));
    let held = Arc::clone(&places);
    let blobs = watched(folder.path(), move || {
        // The first who opens it is its reader.
        if opened.fetch_add(1, Ordering::SeqCst) == 1 {
            assert!(held.try_read().is_ok(), "whoever reads it again holds up uploads");
            let other = Artifacts::in_folder(path.clone());
            upload.set(store(&other, b"weights")).unwrap();
        }
    });
    let artifacts = Artifacts { places, ..blobs };
    let digest = Digest::of(b"weights");
    damage(&artifacts, digest, b"weighty");

    assert!(matches!(read(&artifacts, digest), Err(ArtifactError::Damaged(_))));

    assert_eq!(uploaded.get(), Some(&digest), "it was sent again meanwhile");
    assert_eq!(read(&artifacts, digest).unwrap(), b"weights", "and stays");
    assert_eq!(artifacts.misses().take(), BTreeSet::new(), "nobody misses it");
}

#[test]
fn what_changes_between_two_looks_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, opened) = (folder.path().to_owned(), AtomicUsize::new(0));
    let digest = Digest::of(b"weights");
    let artifacts = watched(folder.path(), move || {
        if opened.fetch_add(1, Ordering::SeqCst) == 1 {
            // Damaged as well, which only its own reader says.
            damage(&Artifacts::in_folder(path.clone()), digest, b"another");
        }
    });
    damage(&artifacts, digest, b"weighty");

    assert!(read(&artifacts, digest).is_err());

    assert_eq!(artifacts.missing(&[digest]).unwrap(), []);
    assert!(read(&artifacts, digest).is_err());
    assert_eq!(artifacts.missing(&[digest]).unwrap(), [digest]);
}

#[test]
fn what_readers_miss_is_told_once_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::in_folder(folder.path().to_owned());
    let [weights, images] = [&b"weights"[..], b"images"].map(|bytes| store(&artifacts, bytes));
    let absent = Digest::of(b"absent");
    damage(&artifacts, weights, b"weighty");
    assert_eq!(artifacts.missing(&[absent]).unwrap(), [absent]);
    assert_eq!(artifacts.misses().take(), BTreeSet::new(), "whoever only looks misses nothing");

    for digest in [weights, images, absent, absent] {
        let _ = read(&artifacts, digest);
    }

    assert_eq!(artifacts.misses().take(), BTreeSet::from([weights, absent]));
}
