//! The traces over HTTP on loopback in real time, beside other ways to read them.

use std::io;
use std::time::Duration;

use reqwest::Client;
use streamspool::{Bytes, HttpSource, StreamBuffer};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::common::args::Args;
use crate::common::compare::{median, spread};
use crate::common::table::{head, line};
use crate::link::Link;
use crate::server::Server;
use crate::traces::Trace;
use crate::{by_hand, download, goal, ours, seconds, streams};

/// How long a trace may take, in times of the ideal.
const GOAL: f64 = 1.25;

/// A side that takes longer is taken to hang.
const LIMIT: Duration = Duration::from_secs(60);

/// A way to read a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Streamspool,
    StreamDownload,
    ByHand,
}

const SIDES: [Side; 3] = [Side::Streamspool, Side::StreamDownload, Side::ByHand];

/// How one side has read a trace once.
#[derive(Debug)]
struct Sample {
    time: io::Result<Duration>,
    requests: u64,
}

pub(crate) fn rows(args: &Args, traces: &[Trace], all: &Bytes) {
    // reqwest takes the provider of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    println!("\nOver HTTP on loopback, in real time: seconds, times the ideal (spread), requests\n");
    head(&["trace", "ideal", "streamspool", "goal", "stream-download", "range requests by hand"]);
    let runtime = Builder::new_multi_thread().worker_threads(args.workers).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let link = if args.quick { Link::BRIEF } else { Link::FULL };
    for trace in traces.iter().filter(|trace| args.wants(trace.name)) {
        runtime.block_on(row(args, trace, link, all));
    }
    // A reader that hangs must not hold the process.
    runtime.shutdown_background();
}

async fn row(args: &Args, trace: &Trace, link: Link, all: &Bytes) {
    let mut taken = SIDES.map(|_| Vec::new());
    for round in 0..args.rounds(3) {
        // Another side begins each round.
        for turn in 0..SIDES.len() {
            let at = (round + turn) % SIDES.len();
            taken[at].push(sample(SIDES[at], args, trace, link, all).await);
        }
    }
    let ideal = trace.ideal(link);
    let [streamspool, download, by_hand] = taken.map(|samples| Figures::of(&samples, ideal));
    if args.quick {
        assert_eq!(streamspool.error, None, "{}", trace.name);
        assert_eq!(by_hand.error, None, "{}", trace.name);
    }
    line([
        trace.name,
        &seconds(ideal),
        &streamspool.shown(),
        &goal(format!("{GOAL}"), streamspool.ratio() <= GOAL),
        &download.shown(),
        &by_hand.shown(),
    ]);
}

/// Each side has a server, a client and connections of its own.
async fn sample(side: Side, args: &Args, trace: &Trace, link: Link, all: &Bytes) -> Sample {
    let server = Server::start(all.clone(), link).await;
    let client = Client::builder().no_proxy().build().expect("a client");
    let url = server.url.as_str();
    let time = timeout(LIMIT, async {
        match side {
            Side::Streamspool => {
                let source = HttpSource::with_client(client, url).map_err(io::Error::other)?;
                let buffer = StreamBuffer::builder().streams(streams(args)).spawn_source(source);
                ours::read(&buffer, trace, all).await
            }
            Side::StreamDownload => download::read(&client, url, trace, all).await,
            Side::ByHand => by_hand::read(&client, url, trace, all).await,
        }
    });
    let time = time.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    Sample { time, requests: server.counts.requests() }
}

/// What the rounds of one side say.
#[derive(Debug)]
struct Figures {
    times: Vec<Duration>,
    ideal: Duration,
    error: Option<String>,
    requests: u64,
}

impl Figures {
    fn of(samples: &[Sample], ideal: Duration) -> Self {
        let error = samples.iter().find_map(|sample| sample.time.as_ref().err());
        Self {
            times: samples.iter().filter_map(|sample| sample.time.as_ref().ok().copied()).collect(),
            ideal,
            error: error.map(ToString::to_string),
            requests: median(samples.iter().map(|sample| sample.requests)),
        }
    }

    fn ratios(&self) -> Vec<f64> {
        self.times.iter().map(|time| time.as_secs_f64() / self.ideal.as_secs_f64()).collect()
    }

    fn ratio(&self) -> f64 {
        if self.error.is_some() { f64::INFINITY } else { median(self.ratios().into_iter()) }
    }

    fn shown(&self) -> String {
        let requests = self.requests;
        if let Some(error) = &self.error {
            return format!("fails: {error}; {requests}");
        }
        let (low, high) = spread(&self.ratios());
        let time = seconds(median(self.times.iter().copied()));
        format!("{time}, {:.2} ({low:.2}–{high:.2}), {requests}", self.ratio())
    }
}
