//! Memory of a process. Each row runs in its own process, so that memory left by another row does not count
//! and no counting allocator slows the other rows.

use streamspool::StreamBuffer;
use tokio::io::AsyncReadExt;

use crate::common::args::Args;
use crate::common::child::{ask, asked, status};
use crate::common::compare::{median, spread};
use crate::common::data::{BUFFER, Source, generate};
use crate::common::table::{line, size};
use crate::common::{KIB, MIB, WORKERS, run, spawned};

pub(crate) fn rows(args: &Args) {
    let buffers = args.scale(10_000, 100);
    row(args, "an idle buffer and its task", &format!("idle {buffers}"), 8 * KIB);
    let mib = args.scale(1024, 16);
    row(
        args,
        "1 GiB through the default budget: peak growth of the process",
        &format!("peak {mib}"),
        16 * MIB,
    );
}

fn row(args: &Args, work: &str, asked: &str, goal: usize) {
    if !args.wants(work) || !cfg!(target_os = "linux") {
        return;
    }
    let grown: Vec<f64> = (0..args.rounds(3)).map(|_| ask(asked).parse().expect("a number")).collect();
    let (ours, (low, high)) = (median(grown.iter().copied()), spread(&grown));
    let reached = if args.quick { "" } else { ["no", "yes"][usize::from(ours <= goal as f64)] };
    let spread = format!("{}–{}", size(low), size(high));
    line([work, "", &size(ours), "", "", &spread, &format!("at most {}", size(goal as f64)), reached]);
}

/// Does the work and prints the result if this is a child process. Returns whether it is one.
pub(crate) fn is_one() -> bool {
    let Some(asked) = asked() else { return false };
    let (work, number) = asked.split_once(' ').expect("a work and a number");
    let number = number.parse().expect("a number");
    let grown = match work {
        "idle" => run(WORKERS, spawned(idle(number))),
        _ => run(WORKERS, spawned(peak(number))),
    };
    println!("{grown}");
    true
}

/// Bytes of the process per buffer without any read, including its actor task.
async fn idle(buffers: usize) -> f64 {
    let spawn = || StreamBuffer::spawn(futures::stream::pending());
    let mut held = Vec::with_capacity(buffers + 1);
    held.push(spawn());
    settle().await;
    let before = status("VmRSS:");
    held.extend((0..buffers).map(|_| spawn()));
    settle().await;
    (status("VmRSS:") - before) / buffers as f64
}

/// Lets every actor run until it waits. A request would make each actor allocate memory that an idle actor
/// does not have, so this waits far longer than they need.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
}

/// The peak growth of the process in bytes while `mib` MiB are read.
async fn peak(mib: usize) -> f64 {
    let data = generate(8 * MIB);
    let mut buf = vec![1; BUFFER];
    settle().await;
    let before = status("VmRSS:");
    let buffer = StreamBuffer::spawn(Source::cycle(&data, (mib * MIB) as u64));
    let mut reader = buffer.reader();
    let mut done = 0;
    loop {
        let read = reader.read(&mut buf).await.expect("reads");
        if read == 0 {
            break;
        }
        done += read;
    }
    assert_eq!(done, mib * MIB);
    status("VmHWM:") - before
}
