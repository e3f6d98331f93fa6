//! Guide: a download that survives a restart of the server.

use guides::Server;
use streamspool::{HttpSource, State, StreamBuffer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let film: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let server = Server::start(film.clone(), 0)?;
    let buffer = StreamBuffer::spawn_source(HttpSource::new(server.url())?);
    buffer.read(0, 1_000_000).await?;

    let reading = tokio::spawn({
        let buffer = buffer.clone();
        async move { buffer.read(0, usize::MAX).await }
    });
    let port = server.stop();
    let down = |state| matches!(state, State::Retrying { .. });
    let progress = buffer.subscribe().wait_for(|progress| down(progress.state)).await?;
    println!("the server is down: {} bytes loaded, {:?}", progress.loaded, progress.state);

    let server = Server::start(film.clone(), port)?;
    assert!(reading.await?? == film);
    println!("all {} bytes are here; the new server has sent {} of them", film.len(), server.sent().1);
    Ok(())
}
