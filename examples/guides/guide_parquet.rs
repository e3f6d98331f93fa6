//! Guide: read a Parquet file of an object store. `InMemory` stands for S3 or any other store.
use std::{io, sync::Arc};

use object_store::{ObjectStoreExt, memory::InMemory};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::{errors::Result, record::Row};
use streamspool::{BlockingReader, BufferHandle, Bytes, ObjectSource, StreamBuffer};

/// A file for `parquet`: its size, and its bytes from any offset.
struct Table(BufferHandle, u64);
impl Length for Table {
    fn len(&self) -> u64 {
        self.1
    }
}
impl ChunkReader for Table {
    type T = BlockingReader;
    fn get_read(&self, start: u64) -> Result<BlockingReader> {
        let mut reader = self.0.blocking_reader();
        reader.set_position(start);
        Ok(reader)
    }
    fn get_bytes(&self, start: u64, len: usize) -> Result<Bytes> {
        Ok(self.0.blocking_read(start, len).map_err(io::Error::from)?)
    }
}

fn rows(table: Table) -> Result<Vec<Row>> {
    SerializedFileReader::new(table)?.get_row_group(7)?.get_row_iter(None)?.take(3).collect()
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let store = Arc::new(InMemory::new());
    store.put(&"names.parquet".into(), guides::table()?.into()).await?;
    let buffer = StreamBuffer::spawn_source(ObjectSource::new(store, "names.parquet"));
    let table = Table(buffer.clone(), buffer.size().await?);
    println!("{:?}", tokio::task::spawn_blocking(|| rows(table)).await??);
    Ok(())
}
