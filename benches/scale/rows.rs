//! The table.

use std::time::Duration;

use crate::case::{Case, Figures, Side};
use crate::common::args::Args;
use crate::common::compare::{median, spread};
use crate::common::table::{head, line, size};

/// The processor time, in times of that of the bare copy.
const GOAL: f64 = 2.0;

/// The most streams' cost per byte and memory per stream, in times of those of the fewest.
const FLAT: f64 = 1.1;

/// How often a case is measured at most until the machine has kept its pace.
const TRIES: usize = 5;

/// What one round has measured: our side, and the bare copy.
type Round = (Figures, Figures);

pub(crate) fn all(args: &Args) {
    let counts = [args.scale(1_000, 20), args.scale(10_000, 100)];
    let counts: Vec<usize> = counts.into_iter().filter(|count| args.wants(&number(*count))).collect();
    let number_of_rounds = args.rounds(3);
    let mut rounds = vec![Vec::new(); counts.len()];
    for round in 1..=number_of_rounds {
        for (streams, taken) in counts.iter().zip(&mut rounds) {
            let of = |side| {
                if !args.quick {
                    eprintln!("round {round} of {number_of_rounds}: {} streams, {side}", number(*streams));
                }
                measure(args, side, *streams)
            };
            taken.push((of(Side::Ours), of(Side::Bare)));
        }
    }
    head(&["streams", "what", "ours", "bare copy", "ratio", "spread", "goal", "reached"]);
    for (streams, rounds) in counts.iter().zip(&rounds) {
        each(args, *streams, rounds);
    }
    if let ([few, many], [from, to]) = (&rounds[..], &counts[..]) {
        growth(args, &format!("{} instead of {}", number(*to), number(*from)), few, many);
    }
    if !args.quick {
        println!("{NOTES}");
    }
}

fn measure(args: &Args, side: Side, streams: usize) -> Figures {
    let settle = Duration::from_millis(args.scale(3_000, 50) as u64);
    let time = Duration::from_millis(args.scale(10_000, 150) as u64);
    let case = Case { side, streams, workers: args.workers, settle, time };
    let mut figures = case.measure();
    for _ in 1..if args.quick { 1 } else { TRIES } {
        if figures.is_on_time() {
            break;
        }
        eprintln!("the machine was too busy; again");
        figures = case.measure();
    }
    figures
}

/// The rows of one number of streams.
fn each(args: &Args, streams: usize, rounds: &[Round]) {
    let streams = number(streams);
    let middle = |of: fn(&Figures) -> f64| {
        let ours = median(rounds.iter().map(|(ours, _)| of(ours)));
        (ours, median(rounds.iter().map(|(_, bare)| of(bare))))
    };
    let ratios: Vec<f64> = rounds.iter().map(|(ours, bare)| ours.cpu / bare.cpu).collect();
    let (ratio, (low, high)) = (median(ratios.iter().copied()), spread(&ratios));
    let (ours, bare) = middle(|figures| figures.cpu);
    line([
        &streams,
        "seconds of processor time for each GB",
        &format!("{ours:.2}"),
        &format!("{bare:.2}"),
        &format!("{ratio:.2}"),
        &format!("{low:.2}–{high:.2}"),
        &format!("at most {GOAL}"),
        reached(args, rounds, ratio <= GOAL),
    ]);
    let (ours, bare) = middle(|figures| figures.memory);
    line([&streams, "memory for each stream", &size(ours), &size(bare), "", "", "", ""]);
    let (ours, bare) = middle(|figures| figures.sources);
    let wakes = "wake-ups for each chunk: the task of the source";
    line([&streams, wakes, &format!("{ours:.2}"), &format!("{bare:.2}"), "", "", "", ""]);
    let (ours, bare) = middle(|figures| figures.readers);
    let wakes = "wake-ups for each chunk: the three readers";
    line([&streams, wakes, &format!("{ours:.2}"), &format!("{bare:.2}"), "", "", "", ""]);
    let (ours, bare) = middle(|figures| figures.sleeps);
    let sleeps = "a thread sleeps, for each chunk";
    line([&streams, sleeps, &format!("{ours:.3}"), &format!("{bare:.3}"), "", "", "", ""]);
}

/// How a cost grows with the number of streams.
fn growth(args: &Args, streams: &str, few: &[Round], many: &[Round]) {
    for (what, of) in [
        ("times the processor time for each GB", (|figures| figures.cpu) as fn(&Figures) -> f64),
        ("times the memory for each stream", |figures| figures.memory),
    ] {
        let side = |side: fn(&Round) -> &Figures| {
            let grown: Vec<f64> =
                few.iter().zip(many).map(|(few, many)| of(side(many)) / of(side(few))).collect();
            (median(grown.iter().copied()), spread(&grown))
        };
        let ((ours, (low, high)), (bare, _)) = (side(|round| &round.0), side(|round| &round.1));
        line([
            streams,
            what,
            &format!("{ours:.2}"),
            &format!("{bare:.2}"),
            "",
            &format!("{low:.2}–{high:.2}"),
            &format!("at most {FLAT}"),
            reached(args, few, reached(args, many, ours <= FLAT) == "yes"),
        ]);
    }
}

fn reached(args: &Args, rounds: &[Round], is_reached: bool) -> &'static str {
    if args.quick {
        ""
    } else if !rounds.iter().all(|(ours, bare)| ours.is_on_time() && bare.is_on_time()) {
        "too busy"
    } else {
        ["no", "yes"][usize::from(is_reached)]
    }
}

/// A number with a comma before the last three digits.
fn number(number: usize) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", number / 1_000, number % 1_000) }
}

const NOTES: &str = "
How it was measured:
- Each stream is live: 2 KiB come every 125 ms, which is 16 KiB/s, as a packet of an audio stream of 128 kbit/s. The \
streams are spread over these 125 ms. Each stream has three readers at its live edge. Each of them is a task, reads \
into a buffer of 2 KiB, and compares every byte.
- Ours is a buffer for each stream with `max_memory` of 512 KiB and `max_disk(0)`: a window of the last 16 to 32 s, \
without a file. The window is full before the measurement.
- The bare copy is the same without a buffer: one task for each source passes its chunks to three tasks over three \
bounded tokio channels, and each of these copies them once. It keeps no byte. The chunks of both sides are slices \
of static memory, so that neither allocates them nor counts references to them.
- Each side and each number of streams runs in a process of its own, in turn: 3 s after all readers are at the live \
edge, for 10 s. The figures are medians of the rounds; the ratio and its spread are those of each round. The tokio \
runtime has 2 workers unless --workers says otherwise.
- A GB is 10^9 bytes that the readers got. The processor time is that of the whole process. The memory is what the \
process has grown by. A wake-up is a poll of a task, and a sleep is a voluntary switch of a thread to another one.
- The machine must not be busy with anything else. If it is late, chunks come together, and each costs less. So a \
round is repeated if more than 1 % of the bytes were late, or more than 2 % of the wake-ups of the readers are \
missing.";
