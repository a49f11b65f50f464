//! Hands the lab's image to Docker, once per recipe. Knows no containers.

use std::io::{self, Read};

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use crate::lab::LabError;
use crate::lab::image::{self, Image};

use super::refused;

const REPOSITORY: &str = "foundry-lab";

/// How much of the image is handed over at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// Returns the image's name in Docker, after Docker has got it.
///
/// # Errors
/// If the archive cannot be read or Docker does not take it.
pub(super) async fn ensure(docker: &Docker, image: &Image) -> Result<String, LabError> {
    let name = format!("{REPOSITORY}:{}", image.digest);
    if docker.inspect_image(&name).await.is_ok() {
        return Ok(name);
    }
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(REPOSITORY)
        .tag(&image.digest)
        .build();
    let root =
        bollard::body_try_stream(chunks(image::open(image)?).map(|chunk| chunk.map(Into::into)));
    docker
        .create_image(Some(options), Some(root), None)
        .try_collect::<Vec<_>>()
        .await
        .map_err(refused(format!("import the image {name}")))?;
    Ok(name)
}

/// Reads `tar` on a thread of its own, chunk by chunk, as fast as they are taken.
fn chunks(
    mut tar: impl Read + Send + 'static,
) -> impl StreamExt<Item = io::Result<Vec<u8>>> + Send {
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = tar.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
            let last = !matches!(read, Ok(1..));
            let full = read.map(|_| chunk);
            if matches!(&full, Ok(chunk) if chunk.is_empty())
                || sender.blocking_send(full).is_err()
                || last
            {
                break;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    })
}
