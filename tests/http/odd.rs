//! Servers that are odd at random. Whatever they do, no byte is wrong and no two versions are mixed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use streamspool::{Error, HttpSource, Retry, StreamBuffer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::client;
use crate::server::head;

/// `STREAMSPOOL_RUNS` sets another number, and `STREAMSPOOL_SEED` a single run.
const RUNS: u64 = 200;

/// More answers than any run needs if the source makes progress.
const MOST_ANSWERS: usize = 400;

/// A date that is strong by the `Date` of each answer, one of the next version, and that `Date`.
const DATES: [&str; 2] = ["Tue, 24 Nov 2026 11:00:00 GMT", "Tue, 24 Nov 2026 11:30:00 GMT"];
const SENT: &str = "Tue, 24 Nov 2026 12:00:00 GMT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    Ignored,
    /// Each request with a range is answered with this status.
    Refused(u16),
    Served,
    /// No part is longer than this.
    Short(usize),
    /// Parts start at a multiple of this.
    Aligned(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Validators {
    Tag,
    Date,
    WeakTagAndDate,
    WeakTag,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfRange {
    Evaluated,
    /// The server ignores `If-Range`, and serves the range.
    Ignored,
    /// The server answers each request with `If-Range` with a 200.
    False,
}

/// How a server writes `Content-Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContentRange {
    Valid,
    /// `bytes=0-9/10`
    Equals,
    /// `0-9/10`
    NoUnit,
    /// `bytes 0-10/10`, where the part reaches the end.
    SizeAsLast,
    /// None at all.
    Missing,
}

/// A server, and how often it fails.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is drawn independently of the others")]
struct Odd {
    ranges: Ranges,
    validators: Validators,
    if_range: IfRange,
    /// `Last-Modified` is left out where RFC 9110 (15.3.7) says so.
    is_terse: bool,
    /// Parts tell the size of the resource.
    tells_total: bool,
    form: ContentRange,
    /// Whole bodies are chunked and have no length.
    is_chunked: bool,
    /// A 416 tells the size of the resource.
    tells_end: bool,
    accept_ranges: bool,
    /// How many answers break off or are refused.
    faults: usize,
    /// The number of the answer from which on the resource is another one.
    replaced: usize,
    lens: [usize; 2],
}

impl Odd {
    fn new(rng: &mut Rng) -> Self {
        let len = rng.usize(0..200_000);
        let other = if rng.bool() { len } else { rng.usize(0..200_000) };
        Self {
            ranges: match rng.u8(0..7) {
                0 => Ranges::Ignored,
                6 => Ranges::Refused(*rng.choice(&[400, 403, 404, 406, 412, 416, 500, 501, 503]).unwrap()),
                1 => Ranges::Short(rng.usize(10_000..100_000)),
                2 => Ranges::Aligned(rng.usize(1..50_000)),
                _ => Ranges::Served,
            },
            validators: match rng.u8(0..5) {
                0 => Validators::Tag,
                1 => Validators::Date,
                2 => Validators::WeakTagAndDate,
                3 => Validators::WeakTag,
                _ => Validators::Nothing,
            },
            if_range: match rng.u8(0..4) {
                0 => IfRange::Ignored,
                1 => IfRange::False,
                _ => IfRange::Evaluated,
            },
            is_terse: rng.bool(),
            tells_total: rng.u8(0..4) > 0,
            form: match rng.u8(0..12) {
                0 => ContentRange::Equals,
                1 => ContentRange::NoUnit,
                2 => ContentRange::SizeAsLast,
                3 => ContentRange::Missing,
                _ => ContentRange::Valid,
            },
            is_chunked: rng.bool(),
            tells_end: rng.bool(),
            accept_ranges: rng.bool(),
            faults: rng.usize(0..8),
            replaced: if rng.bool() { rng.usize(0..6) } else { usize::MAX },
            lens: [len, other],
        }
    }

    fn film(&self, version: usize) -> Vec<u8> {
        let byte = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        (0..self.lens[version] as u64).map(|at| byte(at).wrapping_add(version as u8)).collect()
    }

    fn validators(&self, version: usize, is_terse: bool) -> String {
        let date = if is_terse { String::new() } else { format!("Last-Modified: {}\r\n", DATES[version]) };
        let validators = match self.validators {
            Validators::Tag => format!("ETag: \"{version}\"\r\n{date}"),
            Validators::Date => date,
            Validators::WeakTagAndDate => format!("ETag: W/\"{version}\"\r\n{date}"),
            Validators::WeakTag => format!("ETag: W/\"{version}\"\r\n"),
            Validators::Nothing => String::new(),
        };
        format!("Date: {SENT}\r\n{validators}")
    }

    fn refusal(&self) -> Option<u16> {
        if let Ranges::Refused(status) = self.ranges { Some(status) } else { None }
    }

    fn answer(&self, version: usize, request: &str) -> Vec<u8> {
        let value = |name| {
            let mut lines = request.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let film = self.film(version);
        // The first offset, and the offset after the last one.
        let range = value("range").map(|range| {
            let (from, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let end = if last.is_empty() { film.len() } else { last.parse::<usize>().unwrap() + 1 };
            (from.parse::<usize>().unwrap(), end.min(film.len()))
        });
        let condition = value("if-range");
        let is_true = match (condition, self.if_range) {
            (None, _) | (Some(_), IfRange::Ignored) => true,
            (Some(_), IfRange::False) => false,
            (Some(condition), IfRange::Evaluated) => {
                condition == format!("\"{version}\"") || condition == DATES[version].to_lowercase()
            }
        };
        match range {
            Some(_) if self.refusal().is_some() => {
                let status = self.refusal().unwrap_or_default();
                message(&format!("{status} Text"), "Content-Length: 5\r\n", b"sorry")
            }
            Some((from, end)) if is_true && self.ranges != Ranges::Ignored => {
                if from >= film.len() {
                    let total = if self.tells_end {
                        format!("Content-Range: bytes */{}\r\n", film.len())
                    } else {
                        String::new()
                    };
                    return message("416 Text", &format!("{total}Content-Length: 5\r\n"), b"sorry");
                }
                let from = if let Ranges::Aligned(block) = self.ranges { from / block * block } else { from };
                let len = if let Ranges::Short(most) = self.ranges { most } else { film.len() };
                let part = &film[from..end.min(from + len)];
                let total = if self.tells_total { film.len().to_string() } else { "*".into() };
                let last = from + part.len() - 1;
                let range = match self.form {
                    ContentRange::Equals => format!("bytes={from}-{last}/{total}"),
                    ContentRange::NoUnit => format!("{from}-{last}/{total}"),
                    ContentRange::SizeAsLast if last + 1 == film.len() && self.tells_total => {
                        format!("bytes {from}-{total}/{total}")
                    }
                    ContentRange::Valid | ContentRange::SizeAsLast => format!("bytes {from}-{last}/{total}"),
                    ContentRange::Missing => String::new(),
                };
                let headers = format!(
                    "Content-Range: {range}\r\nContent-Length: {}\r\n{}",
                    part.len(),
                    self.validators(version, self.is_terse && condition.is_some())
                );
                message("206 Text", &headers, part)
            }
            _ => {
                let is_liar = matches!(self.ranges, Ranges::Ignored | Ranges::Refused(_));
                let ranges = if self.accept_ranges && !is_liar { "Accept-Ranges: bytes\r\n" } else { "" };
                let headers = format!("{ranges}{}", self.validators(version, false));
                if self.is_chunked {
                    let headers = format!("Transfer-Encoding: chunked\r\n{headers}");
                    let mut body = Vec::new();
                    for chunk in film.chunks(7000) {
                        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                        body.extend_from_slice(chunk);
                        body.extend_from_slice(b"\r\n");
                    }
                    body.extend_from_slice(b"0\r\n\r\n");
                    return message("200 Text", &headers, &body);
                }
                message("200 Text", &format!("Content-Length: {}\r\n{headers}", film.len()), &film)
            }
        }
    }

    /// Answers each connection once, in their order.
    async fn serve(self, listener: TcpListener, mut rng: Rng, answers: Arc<AtomicUsize>) {
        let mut faults = self.faults;
        loop {
            let (mut connection, _): (TcpStream, _) = listener.accept().await.unwrap();
            let request = head(&mut connection).await;
            let number = answers.fetch_add(1, Ordering::SeqCst);
            let mut answer = self.answer(usize::from(number >= self.replaced), &request);
            if faults > 0 {
                faults -= 1;
                match rng.u8(0..8) {
                    0 => answer = message("503 Text", "Retry-After: 0\r\nContent-Length: 0\r\n", b""),
                    1 => answer.clear(),
                    _ => answer.truncate(rng.usize(0..answer.len())),
                }
            }
            // The client may have left.
            let _ = connection.write_all(&answer).await;
            let _ = connection.shutdown().await;
        }
    }
}

fn message(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").as_bytes(), body].concat()
}

async fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let odd = Odd::new(&mut rng);
    let films = [odd.film(0), odd.film(1)];
    // Some short reads anywhere, then all bytes.
    let mut reads: Vec<_> =
        (0..rng.usize(0..4)).map(|_| (rng.usize(0..200_000), rng.usize(0..5000))).collect();
    reads.push((0, usize::MAX));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answers = Arc::new(AtomicUsize::new(0));
    let server = tokio::spawn(odd.clone().serve(listener, rng, Arc::clone(&answers)));
    let retry = Retry::default().attempts(20).first_delay(Duration::ZERO).max_delay(Duration::ZERO);
    let source = HttpSource::with_client(client(), url).unwrap();
    let buffer = StreamBuffer::builder().retry(retry).spawn_source(source);
    let reads = async {
        let mut found = Vec::new();
        for (offset, len) in reads {
            let bytes = buffer.read(offset as u64, len).await?;
            found.push((offset, len, bytes));
        }
        Ok::<_, Error>(found)
    };
    let result = tokio::time::timeout(Duration::from_secs(60), reads).await;
    let result = result.unwrap_or_else(|_| panic!("seed {seed} hangs: {odd:?}"));
    let count = answers.load(Ordering::SeqCst);
    assert!(count < MOST_ANSWERS, "seed {seed}: {count} answers of {odd:?}");
    let is_replaced = odd.replaced < count;
    match result {
        Ok(found) => {
            let is_of = |film: &Vec<u8>| {
                let expected = |offset: usize, len| {
                    &film[offset.min(film.len())..film.len().min(offset.saturating_add(len))]
                };
                found.iter().all(|(offset, len, bytes)| {
                    // Before the first byte has arrived, the resource may have been another one, with another end.
                    let is_end = films.iter().any(|film| *offset >= film.len() || *len == 0);
                    bytes == expected(*offset, *len) || bytes.is_empty() && is_end
                })
            };
            let is_right = is_of(&films[0]) || is_replaced && is_of(&films[1]);
            assert!(is_right, "seed {seed}: wrong bytes of {odd:?}");
        }
        Err(error) => {
            assert!(is_replaced, "seed {seed}: {error:?} of {odd:?}");
            let mut loaded = Vec::new();
            while let Ok(bytes) = buffer.read(loaded.len() as u64, 1000).await
                && !bytes.is_empty()
            {
                loaded.extend_from_slice(&bytes);
            }
            let is_prefix = films.iter().any(|film| film.starts_with(&loaded));
            assert!(is_prefix, "seed {seed}: {} bytes are mixed by {odd:?}", loaded.len());
        }
    }
    server.abort();
}

#[tokio::test]
async fn rules_21_to_24_servers_that_are_odd_at_random_cause_no_wrong_byte() {
    let seeds = match std::env::var("STREAMSPOOL_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("STREAMSPOOL_RUNS").map_or(RUNS, |runs| runs.parse().unwrap()),
    };
    for seed in seeds {
        run(seed).await;
    }
}
