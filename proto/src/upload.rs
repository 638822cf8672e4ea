//! An artifact on its way to the coordinator: it may take as long as it takes, as long as it moves.

use std::time::Duration;

use bitloop_core::digest::Digest;
use tokio::sync::mpsc;

use crate::convert;
use crate::transport::CHUNK_BYTES;
use crate::v1;

/// The coordinator did not take a chunk in time.
#[derive(Debug, PartialEq, Eq)]
pub struct Stalled;

/// Hands over an artifact's chunks, each within `patience`; ends early if nobody takes them any more, as the answer is there.
pub async fn send_chunks(
    (digest, bytes): (&Digest, &[u8]),
    chunks: mpsc::Sender<v1::ArtifactChunk>,
    patience: Duration,
) -> Result<(), Stalled> {
    let digest = convert::digest_to_wire(digest);
    // An empty artifact is one empty chunk, as the first chunk names the digest.
    let count = bytes.len().div_ceil(CHUNK_BYTES).max(1);
    for start in (0..count).map(|index| index * CHUNK_BYTES) {
        let data = bytes[start..bytes.len().min(start + CHUNK_BYTES)].to_vec();
        let sent = chunks.send(v1::ArtifactChunk { digest: digest.clone(), data });
        match tokio::time::timeout(patience, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(Stalled),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn artifact() -> (Digest, Vec<u8>) {
        let bytes: Vec<u8> = (0..20 * CHUNK_BYTES + 1).map(|index| (index % 251) as u8).collect();
        (Digest::of(&bytes), bytes)
    }

    #[tokio::test]
    async fn an_artifact_may_take_many_times_as_long_as_one_chunk() {
        let (digest, bytes) = artifact();
        let (sender, mut chunks) = mpsc::channel::<v1::ArtifactChunk>(1);
        let taking = async {
            let mut taken = Vec::new();
            while let Some(chunk) = chunks.recv().await {
                taken.extend(chunk.data);
                tokio::time::sleep(PATIENCE / 20).await;
            }
            taken
        };

        let (sent, taken) = tokio::join!(send_chunks((&digest, &bytes), sender, PATIENCE), taking);

        assert_eq!(sent, Ok(()));
        assert_eq!(Digest::of(&taken), digest);
    }

    #[tokio::test]
    async fn a_chunk_that_nobody_takes_ends_it() {
        let (digest, bytes) = artifact();
        let (sender, chunks) = mpsc::channel(1);

        assert_eq!(send_chunks((&digest, &bytes), sender, PATIENCE / 20).await, Err(Stalled));
        drop(chunks);
    }

    #[tokio::test]
    async fn who_needs_no_more_of_it_is_sent_no_more_and_an_empty_one_is_sent() {
        let (digest, bytes) = artifact();
        let (sender, mut chunks) = mpsc::channel(1);
        chunks.close();
        assert_eq!(send_chunks((&digest, &bytes), sender, PATIENCE).await, Ok(()));

        let (sender, mut chunks) = mpsc::channel(1);
        assert_eq!(send_chunks((&Digest::of(b""), b""), sender, PATIENCE).await, Ok(()));
        let chunk = chunks.recv().await.unwrap();
        assert_eq!((chunk.digest, chunk.data), (Digest::of(b"").as_bytes().to_vec(), Vec::new()));
    }
}
