//! The tables of more readers than streams, on a paused clock and over HTTP in real time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use streamspool::{BufferHandle, Bytes, HttpSource, StreamBuffer};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use crate::common::MIB;
use crate::common::args::Args;
use crate::common::compare::{median, spread};
use crate::common::data::generate;
use crate::common::table::{head, line};
use crate::crowds::{Crowd, crowds};
use crate::exact::{REST, mib};
use crate::link::Link;
use crate::server::Server;
use crate::source::{Counts, Distant};
use crate::viewers::{Audience, Watched, audiences};
use crate::{goal, seconds, streams};

/// How long a crowd may take, in times of the ideal.
const GOAL: f64 = 1.25;

/// A run that takes longer is taken to hang.
const LIMIT: Duration = Duration::from_secs(120);

const SIZE: usize = 64 * MIB;

/// Where the readers are.
#[derive(Clone)]
struct Place {
    streams: usize,
    workers: usize,
    all: Bytes,
    /// In real time over HTTP, instead of the paused clock.
    is_real: bool,
}

pub(crate) fn tables(args: &Args, is_exact: bool) {
    let divisor = if args.quick { 16 } else { 1 };
    let all = generate(SIZE / divisor);
    let exact = Place { streams: streams(args), workers: args.workers, all, is_real: false };
    let real = (!is_exact).then(|| Place { is_real: true, ..exact.clone() });
    let time = Duration::from_secs(if args.quick { 1 } else { 20 });
    for place in [Some(exact), real].into_iter().flatten() {
        let clock = if place.is_real { "over HTTP, in real time" } else { "in process, on a paused clock" };
        println!("\nMore readers than streams ({}), {clock}\n", place.streams);
        head(&["crowd", "ideal", "time", "ratio", "goal", "requests", "goal", "bytes", "goal"]);
        for crowd in crowds(divisor as u64).iter().filter(|crowd| args.wants(crowd.name)) {
            crowd_row(args, &place, crowd);
        }
        println!("\nViewers on {} streams, {clock}\n", place.streams);
        head(&[
            "audience",
            "share",
            "goal",
            "longest wait",
            "goal",
            "seeks: median, longest",
            "requests",
            "bytes",
        ]);
        for audience in audiences(time).iter().filter(|audience| args.wants(audience.name)) {
            audience_row(args, &place, *audience);
        }
    }
}

fn crowd_row(args: &Args, place: &Place, crowd: &Crowd) {
    let link = if args.quick && place.is_real { Link::BRIEF } else { Link::FULL };
    let rounds = if place.is_real { args.rounds(3) } else { 1 };
    let ideal = crowd.ideal(link, place.streams);
    let runs: Vec<_> = (0..rounds).map(|_| run(place, link, |buffer, all| crowd.read(buffer, all))).collect();
    if let Some(error) = runs.iter().find_map(|run| run.0.as_ref().err()) {
        assert!(!args.quick, "{}: {error}", crowd.name);
        return line([crowd.name, &format!("fails: {error}")]);
    }
    let times = || runs.iter().filter_map(|run| run.0.as_ref().ok().copied());
    let ratios: Vec<f64> = times().map(|time| time.as_secs_f64() / ideal.as_secs_f64()).collect();
    let (low, high) = spread(&ratios);
    let ratio = median(ratios.into_iter());
    let requests = median(runs.iter().map(|run| run.1.requests()));
    let bytes = median(runs.iter().map(|run| run.1.bytes()));
    line([
        crowd.name,
        &seconds(ideal),
        &seconds(median(times())),
        &if place.is_real { format!("{ratio:.2} ({low:.2}–{high:.2})") } else { format!("{ratio:.2}") },
        &goal(format!("{GOAL}"), ratio <= GOAL),
        &requests.to_string(),
        &goal(crowd.requests().to_string(), requests <= crowd.requests()),
        &mib(bytes),
        // A server cannot know which of the bytes that it has sent were polled.
        &if place.is_real { String::new() } else { goal(mib(crowd.bytes()), bytes <= crowd.bytes()) },
    ]);
}

fn audience_row(args: &Args, place: &Place, audience: Audience) {
    let link = Link::VIEWERS;
    let (watched, counts) = run(place, link, |buffer, all| audience.watch(buffer, all));
    let Watched { share, longest: (longest, began), mut scrubs } = match watched {
        Ok(watched) => watched,
        Err(error) => {
            assert!(!args.quick, "{}: {error}", audience.name);
            return line([audience.name, &format!("fails: {error}")]);
        }
    };
    scrubs.sort_unstable();
    let seeks = match scrubs[..] {
        [] => String::new(),
        [.., last] => format!("{}, {}", millis(median(scrubs.iter().copied())), millis(last)),
    };
    line([
        audience.name,
        &format!("{:.1} %", share * 100.0),
        &format!("100 %: {}", if share >= 1.0 { "met" } else { "missed" }),
        &format!("{} at {}", millis(longest), seconds(began)),
        &goal(millis(link.latency * 2), longest <= link.latency * 2),
        &seeks,
        &counts.requests().to_string(),
        &mib(counts.bytes()),
    ]);
}

/// Runs `work` on a new buffer, and counts what was asked of its source until its read-ahead had ended.
fn run<T, F: Future<Output = io::Result<T>>>(
    place: &Place,
    link: Link,
    work: impl FnOnce(BufferHandle, Bytes) -> F,
) -> (io::Result<T>, Arc<Counts>) {
    if place.is_real { in_real_time(place, link, work) } else { on_a_paused_clock(place, link, work) }
}

fn on_a_paused_clock<T, F: Future<Output = io::Result<T>>>(
    place: &Place,
    link: Link,
    work: impl FnOnce(BufferHandle, Bytes) -> F,
) -> (io::Result<T>, Arc<Counts>) {
    let counts = Arc::<Counts>::default();
    let source = Distant { all: place.all.clone(), link, counts: Arc::clone(&counts) };
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let done = runtime.block_on(async {
        // A paused clock does not wait for the disk, so nothing is spilled.
        let buffer =
            StreamBuffer::builder().max_memory(usize::MAX).streams(place.streams).spawn_source(source);
        let done = limited(work(buffer.clone(), place.all.clone())).await;
        sleep(REST).await;
        done
    });
    (done, counts)
}

fn in_real_time<T, F: Future<Output = io::Result<T>>>(
    place: &Place,
    link: Link,
    work: impl FnOnce(BufferHandle, Bytes) -> F,
) -> (io::Result<T>, Arc<Counts>) {
    // reqwest takes the provider of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = Builder::new_multi_thread().worker_threads(place.workers).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let done = runtime.block_on(async {
        let server = Server::start(place.all.clone(), link).await;
        let client = Client::builder().no_proxy().build().expect("a client");
        let source = HttpSource::with_client(client, &server.url).expect("a URL");
        let buffer = StreamBuffer::builder().streams(place.streams).spawn_source(source);
        let done = limited(work(buffer, place.all.clone())).await;
        (done, Arc::clone(&server.counts))
    });
    // A reader that hangs must not hold the process.
    runtime.shutdown_background();
    done
}

async fn limited<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
