//! What token frames cost without a neural entropy coder: what it must beat.
//!
//! The adaptive models are measured by ideal code lengths, -log2 of each code's probability, which an arithmetic coder
//! comes near to.

use std::{
    collections::HashMap,
    io::{self, Write},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, anyhow, bail};
use parlo_tokens::TokenFrame;

/// Entries of each codebook.
const CODES: usize = 1024;
/// Bits of a code as it is.
const CODE_BITS: u32 = CODES.ilog2();
/// The sum of a static table's frequencies.
const TOTAL: u32 = 1 << 16;
/// What an adaptive model takes each code to have been seen before it ever was: all of these are tried at once.
const STARTS: [f64; 6] = [1.0 / 1024.0, 1.0 / 64.0, 1.0 / 16.0, 1.0 / 4.0, 1.0, 4.0];
/// How many codes seen after the same code weigh as much as all that is known without it: all are tried at once. The
/// last is order 0 for all practical purposes.
const TRUSTS: [f64; 7] = [0.25, 1.0, 4.0, 16.0, 64.0, 256.0, 1e9];

/// One way to code, and what it takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Baseline {
    /// The way.
    pub(crate) name: String,
    /// Bits over all clips; none if the program that it takes is not installed.
    pub(crate) bits: Option<f64>,
}

/// Measures every way. All frames must have one depth; `tables` are frequencies of each codebook's codes, 65536 in all.
///
/// # Errors
/// If depths differ, a code is not below 1024, a table is missing, does not add up or has no place for a code, or a
/// compressor that is installed fails.
pub(crate) fn measure(clips: &[Vec<TokenFrame>], tables: Option<&[[u32; CODES]]>) -> anyhow::Result<Vec<Baseline>> {
    let depth = check(clips)?;
    let codes: usize = clips.iter().map(|clip| clip.len() * depth).sum();
    let mut all = Vec::new();
    let mut add = |name: &str, bits: Option<f64>| all.push(Baseline { name: name.to_owned(), bits });
    add("plain", Some(codes as f64 * f64::from(CODE_BITS)));
    if let Some(tables) = tables {
        add("a static table for each codebook", Some(fixed(clips, depth, tables)?));
    }
    for (order, after) in [(Order::Zero, "order 0, adaptive"), (Order::One, "order 1, adaptive")] {
        let alone = clips.iter().map(|clip| adaptive(std::slice::from_ref(clip), depth, order)).sum();
        add(&format!("{after}, each clip alone"), Some(alone));
        add(&format!("{after}, carried on from clip to clip"), Some(adaptive(clips, depth, order)));
    }
    let joined = clips.concat();
    for compressor in [XZ, ZSTD] {
        for (form, bytes) in FORMS {
            let each: Vec<_> = clips.iter().map(|clip| bytes(clip)).collect();
            let name = format!("{} {} of {form}", compressor.program, compressor.level);
            add(&format!("{name}, each clip alone"), compressor.bits(&each)?);
            add(&format!("{name}, all clips as one"), compressor.bits(&[bytes(&joined)])?);
        }
    }
    Ok(all)
}

/// The depth that all frames have.
fn check(clips: &[Vec<TokenFrame>]) -> anyhow::Result<usize> {
    let depth = clips.iter().flatten().next().map_or(0, TokenFrame::depth);
    for frame in clips.iter().flatten() {
        if frame.depth() != depth {
            bail!("frames of {depth} and of {} codes cannot be measured together", frame.depth());
        }
        if let Some(code) = frame.codes().iter().find(|&&code| usize::from(code) >= CODES) {
            bail!("code {code} lies outside a codebook of {CODES} entries");
        }
    }
    Ok(depth)
}

fn fixed(clips: &[Vec<TokenFrame>], depth: usize, tables: &[[u32; CODES]]) -> anyhow::Result<f64> {
    let tables =
        tables.get(..depth).with_context(|| format!("{depth} codes take as many tables, not {}", tables.len()))?;
    for (book, table) in tables.iter().enumerate() {
        let sum: u64 = table.iter().copied().map(u64::from).sum();
        if sum != u64::from(TOTAL) {
            bail!("the frequencies of codebook {book} add up to {sum}, not to {TOTAL}");
        }
    }
    let mut bits = 0.0;
    for frame in clips.iter().flatten() {
        for (book, (&code, table)) in frame.codes().iter().zip(tables).enumerate() {
            let frequency = table[usize::from(code)];
            if frequency == 0 {
                bail!("the table of codebook {book} has no place for code {code}");
            }
            bits += f64::from(TOTAL.ilog2()) - f64::from(frequency).log2();
        }
    }
    Ok(bits)
}

/// What an adaptive model knows when it meets a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// How often each code came.
    Zero,
    /// How often it came after the code that the frame before has in the same codebook, too.
    One,
}

/// Bits of these clips, one after the other, with what was learned of each kept for the next.
fn adaptive(clips: &[Vec<TokenFrame>], depth: usize, order: Order) -> f64 {
    let mut books: Vec<_> = (0..depth).map(|_| Book::new()).collect();
    let mut bits = 0.0;
    for clip in clips {
        let mut before: Option<&TokenFrame> = None;
        for frame in clip {
            for (index, (&code, book)) in frame.codes().iter().zip(&mut books).enumerate() {
                let before = before.filter(|_| order == Order::One).map(|frame| frame.codes()[index]);
                bits -= book.meet(before, code).log2();
            }
            before = Some(frame);
        }
    }
    bits
}

/// What was seen of one codebook.
struct Book {
    counts: Vec<u32>,
    sum: u32,
    starts: Mixture<{ STARTS.len() }>,
    /// Counts after each code, and their sums.
    pairs: HashMap<(u16, u16), u32>,
    sums: Vec<u32>,
    trusts: Mixture<{ TRUSTS.len() }>,
}

impl Book {
    fn new() -> Self {
        Self {
            counts: vec![0; CODES],
            sum: 0,
            starts: Mixture::new(),
            pairs: HashMap::new(),
            sums: vec![0; CODES],
            trusts: Mixture::new(),
        }
    }

    /// The probability of the code, before it is learned.
    fn meet(&mut self, before: Option<u16>, code: u16) -> f64 {
        let count = &mut self.counts[usize::from(code)];
        let (seen, of) = (f64::from(*count), f64::from(self.sum));
        let mut probability = self.starts.mix(STARTS.map(|start| (seen + start) / (of + start * CODES as f64)));
        (*count, self.sum) = (*count + 1, self.sum + 1);
        if let Some(before) = before {
            let (count, sum) = (self.pairs.entry((before, code)).or_default(), &mut self.sums[usize::from(before)]);
            let (seen, of) = (f64::from(*count), f64::from(*sum));
            probability = self.trusts.mix(TRUSTS.map(|trust| (seen + trust * probability) / (of + trust)));
            (*count, *sum) = (*count + 1, *sum + 1);
        }
        probability
    }
}

/// A blend of models, each weighted by how well it did so far: no worse than the best of them but for a few bits.
struct Mixture<const N: usize>([f64; N]);

impl<const N: usize> Mixture<N> {
    fn new() -> Self {
        Self([1.0 / N as f64; N])
    }

    /// The blend of the models' probabilities of what came.
    fn mix(&mut self, probabilities: [f64; N]) -> f64 {
        let blend = |weights: &[f64; N]| weights.iter().zip(probabilities).map(|(weight, p)| weight * p).sum::<f64>();
        let mixed = blend(&self.0);
        // A model that did badly may recover.
        self.0.iter_mut().zip(probabilities).for_each(|(weight, p)| *weight = (*weight * p / mixed).max(1e-6));
        let sum: f64 = self.0.iter().sum();
        self.0.iter_mut().for_each(|weight| *weight /= sum);
        mixed
    }
}

/// Codes without gaps, zero bits after the last.
fn packed(clip: &[TokenFrame]) -> Vec<u8> {
    let (mut bytes, mut queue, mut waiting) = (Vec::new(), 0_u32, 0);
    for &code in clip.iter().flat_map(TokenFrame::codes) {
        queue = queue << CODE_BITS | u32::from(code);
        waiting += CODE_BITS;
        while waiting >= 8 {
            waiting -= 8;
            bytes.push((queue >> waiting) as u8);
        }
        queue &= (1 << waiting) - 1;
    }
    if waiting > 0 {
        bytes.push((queue << (8 - waiting)) as u8);
    }
    bytes
}

/// Codes in two bytes each, for compressors that look for whole bytes that repeat.
fn wide(clip: &[TokenFrame]) -> Vec<u8> {
    clip.iter().flat_map(TokenFrame::codes).flat_map(|code| code.to_le_bytes()).collect()
}

/// A way to write codes as bytes.
type Form = fn(&[TokenFrame]) -> Vec<u8>;

const FORMS: [(&str, Form); 2] = [("10 bits a code", packed), ("16 bits a code", wide)];

/// A program that compresses its standard input to its standard output.
#[derive(Debug, Clone, Copy)]
struct Compressor {
    program: &'static str,
    /// As hard as it can.
    level: &'static str,
    /// No checksums, among others.
    options: &'static [&'static str],
    /// The option that announces how long the input is, if there is one.
    length: Option<&'static str>,
}

const XZ: Compressor = Compressor { program: "xz", level: "-9e", options: &["--check=none", "--stdout"], length: None };
/// Told the length, it takes a few megabytes instead of 660.
const ZSTD: Compressor = Compressor {
    program: "zstd",
    level: "-22",
    options: &["--ultra", "--no-check", "--quiet", "--stdout"],
    length: Some("--stream-size="),
};

impl Compressor {
    /// Bits of what becomes of each input by itself, if the program is installed.
    fn bits(&self, inputs: &[Vec<u8>]) -> anyhow::Result<Option<f64>> {
        let program = self.program;
        let mut bytes = 0;
        for input in inputs.iter().filter(|input| !input.is_empty()) {
            let mut command = Command::new(program);
            command
                .arg(self.level)
                .args(self.options)
                .args(self.length.map(|option| format!("{option}{}", input.len())));
            let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other.with_context(|| format!("cannot start {program}"))?,
            };
            let mut stdin = child.stdin.take().context("its input was asked for")?;
            // Fed from beside: it may fill its output before it has read all of its input.
            let output = thread::scope(|scope| {
                let feeder = scope.spawn(move || stdin.write_all(input));
                let output = child.wait_with_output();
                let fed = feeder.join().map_err(|_| anyhow!("the feeder of {program} panicked"))?;
                fed.and(output).with_context(|| format!("{program} breaks off"))
            })?;
            if !output.status.success() {
                bail!("{program} failed ({})", output.status);
            }
            bytes += output.stdout.len();
        }
        Ok(Some(bytes as f64 * 8.0))
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "`tests/baselines.rs` runs these; the bench itself has no harness that would")]
mod tests {
    use super::*;

    fn clip(codes: impl IntoIterator<Item = u16>) -> Vec<TokenFrame> {
        // The second codebook runs the other way.
        codes.into_iter().map(|code| TokenFrame::new(&[code, 1023 - code]).unwrap()).collect()
    }

    fn noise(count: usize, mut seed: u64) -> Vec<TokenFrame> {
        let random = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as u16 % 1024
        });
        clip(random.take(count))
    }

    /// Bits a code: each clip alone, and carried on.
    fn rates(clips: &[Vec<TokenFrame>], order: Order) -> (f64, f64) {
        let codes: usize = clips.iter().flatten().map(TokenFrame::depth).sum();
        let alone: f64 = clips.iter().map(|clip| adaptive(std::slice::from_ref(clip), 2, order)).sum();
        (alone / codes as f64, adaptive(clips, 2, order) / codes as f64)
    }

    #[test]
    fn what_never_changes_costs_almost_nothing() {
        let clips = [clip([7; 600]), clip([7; 600])];
        let all = measure(&clips, Some(&[[64; CODES]; 2])).unwrap();
        assert_eq!(all.len(), 2 + 2 * 2 + 2 * 2 * 2);
        for Baseline { name, bits } in all {
            let Some(rate) = bits.map(|bits| bits / 2400.0) else { continue };
            match name.split(' ').next() {
                Some("plain" | "a") => assert_eq!(rate, 10.0, "{name}"),
                Some("order") => assert!(rate < 0.05, "{name}: {rate}"),
                _ => assert!(rate < 1.0, "{name}: {rate}"),
            }
        }
        for (alone, carried) in [rates(&clips, Order::Zero), rates(&clips, Order::One)] {
            assert!(carried < 0.6 * alone, "{alone}, {carried}");
        }
    }

    #[test]
    fn noise_costs_ten_bits() {
        let clips = [noise(20_000, 1), noise(20_000, 2)];
        for (alone, carried) in [rates(&clips, Order::Zero), rates(&clips, Order::One)] {
            assert!((9.98..10.1).contains(&alone) && (9.98..10.1).contains(&carried), "{alone}, {carried}");
        }
    }

    #[test]
    fn a_cycle_is_seen_by_order_1_alone() {
        let clips = [clip((0..3000).map(|at| at % 100)), clip((0..3000).map(|at| at % 100))];
        let (alone, carried) = rates(&clips, Order::Zero);
        assert!(alone > 6.5 && carried > 6.5, "{alone}, {carried}");
        let (alone, carried) = rates(&clips, Order::One);
        assert!(alone < 0.6 && carried < 0.6 * alone, "{alone}, {carried}");
    }

    #[test]
    fn the_chances_of_all_codes_add_up_to_one() {
        let mut sum = 0.0;
        for code in 0..1024 {
            let mut book = Book::new();
            for pair in [3, 9, 3, 9, 3, 5, 3].windows(2) {
                book.meet(Some(pair[0]), pair[1]);
            }
            sum += book.meet(Some(3), code);
        }
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn static_tables_cost_what_they_say() {
        let mut first = [32; CODES];
        first[7] += 1024 * 32;
        let bits = |tables: &[[u32; CODES]]| fixed(&[clip([7, 7, 8])], 2, tables);
        let expected = 2.0 * (65536.0_f64 / (1025.0 * 32.0)).log2() + 11.0 + 3.0 * 10.0;
        assert!((bits(&[first, [64; CODES]]).unwrap() - expected).abs() < 1e-9);
        assert!(bits(&[first]).unwrap_err().to_string().contains("tables"));
        assert!(bits(&[first, [63; CODES]]).unwrap_err().to_string().contains("add up"));
        let mut second = [64; CODES];
        (second[1016], second[0]) = (0, 128);
        assert!(bits(&[first, second]).unwrap_err().to_string().contains("no place for code 1016"));
    }

    #[test]
    fn what_cannot_be_measured_is_refused_or_left_out() {
        let frame = |codes: &[u16]| TokenFrame::new(codes).unwrap();
        assert!(measure(&[vec![frame(&[1, 2])], vec![frame(&[1])]], None).is_err());
        assert!(measure(&[vec![frame(&[1024])]], None).is_err());
        assert!(measure(&[], None).unwrap().iter().all(|one| one.bits.is_none_or(|bits| bits == 0.0)));
        assert_eq!(Compressor { program: "no-such-compressor", ..XZ }.bits(&[vec![1]]).unwrap(), None);
        assert!(Compressor { program: "false", ..XZ }.bits(&[vec![1]]).is_err());
    }

    #[test]
    fn codes_are_packed_without_gaps() {
        assert_eq!(packed(&clip([0x3FF, 1])), [0xFF, 0xC0, 0x00, 0x07, 0xFE]);
        assert_eq!(packed(&clip([0x3FF])), [0xFF, 0xC0, 0x00]);
        assert_eq!(wide(&clip([0x3FF])), [0xFF, 0x03, 0x00, 0x00]);
    }
}
