//! Entries of a zip, read out of order. The directory of a zip is at its end.

use std::io::{Cursor, Read, Write};

use streamspool::StreamBuffer;
use tokio_util::io::SyncIoBridge;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::support::{CLIP, TUNE, in_time, pattern, uneven};

fn entries() -> Vec<(String, Vec<u8>)> {
    let mut entries = vec![("film/clip.mp4".into(), CLIP.to_vec()), ("tune.mp3".into(), TUNE.to_vec())];
    entries.extend((0..40).map(|number| (format!("data/{number}.bin"), pattern(number * 3571))));
    entries
}

fn archive() -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (number, (name, bytes)) in entries().iter().enumerate() {
        let method = if number % 3 == 0 { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        writer.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[tokio::test]
async fn every_entry_of_a_zip_is_read_out_of_order_though_the_size_is_unknown() {
    let bytes = archive();
    // The size is not declared, so the seek from the end loads the whole stream (contract rule 14).
    let buffer = StreamBuffer::builder().max_memory(256 * 1024).read_ahead(0).spawn(uneven(&bytes));
    let reader = SyncIoBridge::new(buffer.reader());
    let read = tokio::task::spawn_blocking(move || {
        let mut archive = ZipArchive::new(reader).unwrap();
        let entries = entries();
        assert_eq!(archive.len(), entries.len());
        for step in 0..entries.len() {
            let (name, expected) = &entries[step * 17 % entries.len()];
            let mut got = Vec::new();
            // At the end of an entry, the reader also compares its checksum.
            archive.by_name(name).unwrap().read_to_end(&mut got).unwrap();
            assert!(got == *expected, "{name}");
        }
    });
    in_time("the entries", read).await.unwrap();
    assert!(buffer.progress().spilled > 0);
}

#[tokio::test]
async fn several_readers_unpack_one_archive_at_once() {
    let bytes = archive();
    let buffer =
        StreamBuffer::builder().size(bytes.len() as u64).max_memory(256 * 1024).spawn(uneven(&bytes));
    let jobs = (0..4).map(|part| {
        let reader = SyncIoBridge::new(buffer.reader());
        tokio::task::spawn_blocking(move || {
            let mut archive = ZipArchive::new(reader).unwrap();
            for (name, expected) in entries().iter().rev().skip(part).step_by(4) {
                let mut got = Vec::new();
                archive.by_name(name).unwrap().read_to_end(&mut got).unwrap();
                assert!(got == *expected, "{name}");
            }
        })
    });
    for job in in_time("all jobs", futures::future::join_all(jobs)).await {
        job.unwrap();
    }
}
