//! Rule 32: callers that block, on every kind of thread that tokio has.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use streamspool::{BlockingReader, BufferHandle, Bytes, Error, ErrorKind, StreamBuffer};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, block_in_place, spawn_blocking, unconstrained, yield_now};

use crate::support::source::{ragged, ready, source};
use crate::support::{BLOCK, MIB, Random, assert_bytes, assert_data, data, on_both_runtimes};

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs `test` on a thread of its own, and fails if it hangs.
fn watched<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let thread = thread::spawn(move || done.send(test()));
    match result.recv_timeout(Duration::from_secs(60)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it panicked"));
        }
    }
}

/// Every blocking call on this thread works, though all bytes are missing before the first one.
fn works(buffer: &BufferHandle) {
    assert_data(&buffer.blocking_read(1000, 5000).unwrap(), 1000);
    let mut reader = buffer.blocking_reader();
    let mut bytes = vec![0; 7000];
    reader.read_exact(&mut bytes).unwrap();
    assert_data(&bytes, 0);
    assert!(reader.seek(SeekFrom::End(0)).unwrap() > 7000);
}

/// Every blocking call on this thread is refused and changes nothing.
fn is_refused(buffer: &BufferHandle) {
    // More calls than a task has budget, because each refusal uses it up.
    for offset in 0..300 {
        let error = buffer.blocking_read(offset, 1).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::InvalidInput, offset));
    }
    // These calls would not have to wait. They are refused too.
    assert_eq!(buffer.blocking_read(5, 0).unwrap_err().kind(), ErrorKind::InvalidInput);
    let mut reader = buffer.blocking_reader();
    reader.set_position(5);
    let refusals = [
        reader.read(&mut [0; 3]).unwrap_err(),
        reader.read(&mut []).unwrap_err(),
        reader.fill_buf().map(drop).unwrap_err(),
        reader.seek(SeekFrom::Start(7)).unwrap_err(),
        reader.seek(SeekFrom::End(0)).unwrap_err(),
        reader.stream_position().unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let text = "a blocking call at offset 5 was made on a thread that runs async tasks; \
                    make it in spawn_blocking, or use the async methods";
        assert_eq!(Error::of(&error).unwrap().to_string(), text);
    }
    assert_eq!(reader.position(), 5);
}

/// A buffer that is served by its own runtime until the runtime is dropped.
fn served() -> (Runtime, BufferHandle) {
    let runtime = multi_thread();
    let buffer = runtime.block_on(async { StreamBuffer::spawn(ragged(MIB as u64, 32)) });
    (runtime, buffer)
}

#[test]
fn rule_32_threads_that_may_block_get_their_bytes() {
    watched(|| {
        // A thread without a runtime.
        let (_runtime, buffer) = served();
        works(&buffer);

        // A thread that has only entered a runtime.
        for runtime in [multi_thread(), current_thread()] {
            let (_serving, buffer) = served();
            let _entered = runtime.enter();
            works(&buffer);
        }
        // A thread on which `block_on` has ended.
        for runtime in [multi_thread(), current_thread()] {
            let (_serving, buffer) = served();
            runtime.block_on(yield_now());
            works(&buffer);
        }
    });
    // `spawn_blocking` of the runtime that serves the buffer.
    on_both_runtimes(|| async {
        let buffer = StreamBuffer::spawn(ragged(MIB as u64, 1));
        spawn_blocking(move || works(&buffer)).await.unwrap();
    });
    // `block_in_place` of that runtime, in a task and in `block_on`.
    watched(|| {
        let runtime = multi_thread();
        runtime.block_on(async {
            let buffer = StreamBuffer::spawn(ragged(MIB as u64, 1));
            tokio::spawn(async move { block_in_place(|| works(&buffer)) }).await.unwrap();
            let buffer = StreamBuffer::spawn(ragged(MIB as u64, 2));
            block_in_place(|| works(&buffer));
            unconstrained(async { block_in_place(|| works(&buffer)) }).await;
        });
    });
}

#[test]
fn rule_32_a_thread_that_runs_async_tasks_is_refused() {
    watched(|| {
        for runtime in [multi_thread(), current_thread()] {
            let (feed, stream) = source();
            let buffer = runtime.block_on(async {
                let buffer = StreamBuffer::spawn(stream);
                // In `block_on` itself.
                is_refused(&buffer);
                buffer
            });
            runtime.block_on(unconstrained(async {
                let buffer = buffer.clone();
                tokio::spawn(unconstrained(async move { is_refused(&buffer) })).await.unwrap();
            }));
            let spawned = buffer.clone();
            // In a task, at its first poll and at a later one.
            let task = runtime.spawn(async move {
                is_refused(&spawned);
                yield_now().await;
                is_refused(&spawned);
            });
            runtime.block_on(task).unwrap();
            // In a task of a `LocalSet`, and beside it.
            let local = LocalSet::new();
            let other = buffer.clone();
            let task = local.spawn_local(async move { is_refused(&other) });
            local.block_on(&runtime, async { is_refused(&buffer) });
            local.block_on(&runtime, task).unwrap();
            // In `block_on` of another thread, of `spawn_blocking` and of `block_in_place`.
            let (handle, other) = (runtime.handle().clone(), buffer.clone());
            thread::spawn(move || handle.block_on(async { is_refused(&other) })).join().unwrap();
            let (handle, other) = (runtime.handle().clone(), buffer.clone());
            let task = runtime.spawn_blocking(move || handle.block_on(async { is_refused(&other) }));
            runtime.block_on(task).unwrap();
            drop(runtime);
            assert_eq!((feed.taken(), feed.seen().stalled), (0, false), "nothing was requested");
        }
        multi_thread().block_on(async {
            let buffer = StreamBuffer::spawn(ready(10, 1));
            let handle = tokio::runtime::Handle::current();
            block_in_place(|| handle.block_on(async { is_refused(&buffer) }));
        });
    });
}

#[test]
fn rule_32_a_task_without_budget_for_tokio_is_refused_where_it_would_stop_its_runtime() {
    // `unconstrained` hides the budget, which is one sign of a task. The other sign is the thread's scheduler.
    watched(|| {
        current_thread().block_on(unconstrained(async {
            let buffer = StreamBuffer::spawn(ready(100, 10));
            is_refused(&buffer);
            assert_data(&buffer.read(0, 100).await.unwrap(), 0);
        }));
        let local = LocalSet::new();
        let buffer = local.block_on(&current_thread(), async { StreamBuffer::spawn(ready(100, 10)) });
        let task = local.spawn_local(unconstrained(async move { is_refused(&buffer) }));
        local.block_on(&current_thread(), task).unwrap();
    });
}

#[test]
fn rule_32_loaded_bytes_are_refused_too_and_the_task_goes_on() {
    on_both_runtimes(|| async {
        let buffer = StreamBuffer::spawn(ready(100, 10));
        buffer.load().await.unwrap();
        is_refused(&buffer);
        // A reader that holds the bytes already, from a thread that may block.
        let mut reader = buffer.blocking_reader();
        let mut reader = spawn_blocking(move || {
            reader.fill_buf().unwrap();
            reader
        });
        let mut reader = (&mut reader).await.unwrap();
        assert_eq!(reader.read(&mut [0; 3]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_data(&buffer.read(0, 100).await.unwrap(), 0);
    });
}

#[test]
fn rule_32_a_blocking_reader_reads_and_seeks_like_a_file() {
    fn check(mut reader: BlockingReader, size: u64) {
        let mut model = Cursor::new(data(0, size as usize));
        let mut random = Random(32);
        for _ in 0..300 {
            let target = match random.below(3) {
                0 => SeekFrom::Start(random.below(size + 1000)),
                1 => SeekFrom::Current(random.below(2 * size) as i64 - size as i64),
                _ => SeekFrom::End(random.below(size + 1000) as i64 - size as i64),
            };
            match (reader.seek(target), model.seek(target)) {
                (Ok(actual), Ok(expected)) => assert_eq!(actual, expected, "{target:?}"),
                (actual, expected) => {
                    assert_eq!(actual.unwrap_err().kind(), expected.unwrap_err().kind(), "{target:?}");
                }
            }
            assert_eq!(reader.stream_position().unwrap(), model.position());
            let len = random.below(BLOCK as u64);
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            (&mut reader).take(len).read_to_end(&mut bytes).unwrap();
            (&mut model).take(len).read_to_end(&mut expected).unwrap();
            assert_bytes(&bytes, &expected, reader.position());
        }
    }
    for max_memory in [BLOCK, usize::MAX] {
        on_both_runtimes(|| async move {
            let size = 4 * BLOCK as u64 + 100;
            let buffer = StreamBuffer::builder().max_memory(max_memory).spawn(ragged(size, 2));
            let reader = buffer.blocking_reader();
            spawn_blocking(move || check(reader, size)).await.unwrap();
        });
    }
}

#[test]
fn rule_32_a_read_waits_for_one_byte_and_an_exact_read_for_all() {
    watched(|| {
        let runtime = multi_thread();
        let (mut feed, stream) = source();
        let buffer = runtime.block_on(async { StreamBuffer::spawn(stream) });
        let mut reader = buffer.blocking_reader();
        let reading = thread::spawn(move || {
            let mut bytes = [0; 100];
            let first = reader.read(&mut bytes).unwrap();
            (bytes[..first].to_vec(), reader)
        });
        let exact = buffer.clone();
        let exact = thread::spawn(move || exact.blocking_read(5, 10).unwrap());
        feed.chunk(7);
        let (first, mut reader) = reading.join().unwrap();
        assert_data(&first, 0);
        assert_eq!(first.len(), 7);
        assert!(!exact.is_finished());
        feed.chunk(7);
        feed.chunk(7);
        assert_eq!(exact.join().unwrap(), data(5, 10));
        // `fill_buf` gives slices, and `consume` takes no more than they hold.
        assert!(!reader.fill_buf().unwrap().is_empty());
        reader.consume(usize::MAX);
        assert!(reader.position() <= 21);
        feed.end();
        let mut rest = Vec::new();
        reader.set_position(20);
        reader.read_to_end(&mut rest).unwrap();
        assert_data(&rest, 20);
        assert_eq!(rest.len(), 1);
    });
}

#[test]
fn rule_32_lines_are_read() {
    on_both_runtimes(|| async {
        let text = ["one\nt", "wo\nth", "ree"].map(|part| Ok(Bytes::from(part)));
        let buffer = StreamBuffer::spawn(futures::stream::iter(text));
        let reader = buffer.blocking_reader();
        let lines = spawn_blocking(move || reader.lines().collect::<Result<Vec<_>, _>>());
        assert_eq!(lines.await.unwrap().unwrap(), ["one", "two", "three"]);
    });
}

#[test]
fn rule_32_a_wait_ends_when_the_buffer_closes() {
    watched(|| {
        for how in 0..3 {
            let runtime = multi_thread();
            let (feed, stream) = source();
            let buffer = runtime.block_on(async { StreamBuffer::spawn(stream) });
            let (mut reader, mut seeker) = (buffer.blocking_reader(), buffer.blocking_reader());
            let reading = thread::spawn(move || reader.read(&mut [0; 9]).unwrap_err());
            let seeking = thread::spawn(move || seeker.seek(SeekFrom::End(0)).unwrap_err());
            let (one, two) = (buffer.clone(), buffer.clone());
            let exact = thread::spawn(move || one.blocking_read(3, 5).unwrap_err());
            // A thread of the runtime that ends: its end waits for this thread.
            let inside = runtime.spawn_blocking(move || two.blocking_read(4, 5).unwrap_err().kind());
            while !feed.seen().stalled {
                thread::yield_now();
            }
            match how {
                0 => buffer.close(),
                1 => drop(runtime),
                _ => runtime.shutdown_background(),
            }
            for error in [reading.join().unwrap(), seeking.join().unwrap()] {
                assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Closed);
            }
            let error = exact.join().unwrap();
            assert_eq!((error.kind(), error.offset()), (ErrorKind::Closed, 3));
            if how == 0 {
                assert_eq!(futures_block_on(inside), ErrorKind::Closed);
            }
            assert_eq!(buffer.blocking_read(8, 1).unwrap_err().kind(), ErrorKind::Closed);
        }
    });
}

/// Awaits a task from a plain thread.
fn futures_block_on<T>(task: tokio::task::JoinHandle<T>) -> T {
    current_thread().block_on(task).unwrap()
}

#[test]
fn rule_32_a_current_thread_runtime_that_ends_answers_its_blocking_threads() {
    watched(|| {
        let runtime = current_thread();
        let (feed, stream) = source();
        let (told, answer) = mpsc::channel();
        runtime.block_on(async {
            let buffer = StreamBuffer::spawn(stream);
            spawn_blocking(move || told.send(buffer.blocking_read(0, 5).unwrap_err().kind()));
            while !feed.seen().stalled {
                yield_now().await;
            }
        });
        // The drop of the runtime waits for the thread, and the thread waits for the actor. The runtime drops the
        // actor first.
        drop(runtime);
        assert_eq!(answer.recv().unwrap(), ErrorKind::Closed);
    });
}

#[test]
fn rules_15_and_32_a_failure_of_the_source_is_no_end_of_file() {
    on_both_runtimes(|| async {
        let (mut feed, stream) = source();
        let buffer = StreamBuffer::spawn(stream);
        feed.chunk(10);
        feed.fail(io::ErrorKind::UnexpectedEof.into());
        let mut reader = buffer.blocking_reader();
        let (bytes, error) = spawn_blocking(move || {
            let mut bytes = Vec::new();
            let error = reader.read_to_end(&mut bytes).unwrap_err();
            (bytes, error)
        })
        .await
        .unwrap();
        assert_bytes(&bytes, &data(0, 10), 0);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(Error::of(&error).unwrap().offset(), 10);
    });
}

#[test]
fn rule_32_many_blocked_threads_are_each_answered() {
    watched(|| {
        let (_runtime, buffer) = served();
        thread::scope(|threads| {
            for n in 0..16 {
                let buffer = &buffer;
                threads.spawn(move || {
                    let mut random = Random(n);
                    for _ in 0..100 {
                        let offset = random.below(MIB as u64 - 1000);
                        assert_data(&buffer.blocking_read(offset, 1000).unwrap(), offset);
                    }
                });
            }
        });
    });
}

#[test]
fn rule_32_a_wake_up_for_something_else_is_not_taken_for_an_answer() {
    watched(|| {
        let runtime = multi_thread();
        let (mut feed, stream) = source();
        let buffer = runtime.block_on(async { StreamBuffer::spawn(stream) });
        let reading = thread::spawn(move || buffer.blocking_read(0, 5).unwrap());
        for _ in 0..100 {
            reading.thread().unpark();
            thread::yield_now();
        }
        assert!(!reading.is_finished());
        feed.chunk(5);
        assert_eq!(reading.join().unwrap(), data(0, 5));
    });
}

#[test]
fn rule_32_a_blocking_reader_is_send_and_sync_and_prints_no_contents() {
    fn assert_traits<T: Send + Sync + Read + BufRead + Seek + 'static>(_: &T) {}
    let runtime = multi_thread();
    let buffer = runtime.block_on(async { StreamBuffer::spawn(ready(100, 10)) });
    let mut reader = buffer.blocking_reader();
    reader.read_exact(&mut [0; 3]).unwrap();
    assert_traits(&reader);
    assert_eq!(format!("{reader:?}"), "BlockingReader { position: 3, .. }");
    assert_eq!(reader.handle().handle_count(), 2);
}
