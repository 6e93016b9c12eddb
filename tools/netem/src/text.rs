//! Paths as text, for command lines and tests.

use std::{str::FromStr, time::Duration};

use thiserror::Error;

use crate::{
    config::{Outage, PathConfig, Rate},
    jitter::Jitter,
    loss::Loss,
};

/// Text that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not {wanted}")]
pub struct ParseError {
    text: String,
    wanted: &'static str,
}

const SPAN: &str = "a span of time, such as 50ms, 2s or 1.5min";
const CHANCE: &str = "a chance, such as 20% or 0.2";
const LOSS: &str = "a loss, such as 20%, 20%/3 (in runs of 3 packets on average, which must be possible at that rate) or ge:0.1:0.3:0:1";
const JITTER: &str = "a jitter, such as 20ms, normal:10ms or pareto:10ms";
const OUTAGE: &str = "an outage, such as 10s+2s (from the tenth second, for two)";
const RATE: &str = "a rate, such as 8kbps or 1.5Mbps";
const WORD: &str = "one of seed=, loss=, delay=, jitter=, jitter-reorders=, reorder=, duplicate=, corrupt=, outage=, rate=, and, with a rate, queue= and headers=";

fn wrong(text: &str, wanted: &'static str) -> ParseError {
    ParseError { text: text.into(), wanted }
}

/// Reads a number and its unit's factor. Numbers are not negative, and finite.
fn quantity(text: &str, units: &[(&str, f64)], wanted: &'static str) -> Result<f64, ParseError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| factor);
    let value = number.parse::<f64>().ok().zip(factor).map(|(number, factor)| number * factor);
    value.filter(|value| value.is_finite()).ok_or_else(|| wrong(text, wanted))
}

/// Reads a span of time: a number with `min`, `s`, `ms`, `us` or `ns` after it, or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let seconds = quantity(text, &[("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)], SPAN)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong(text, SPAN))
}

/// Reads a chance: `20%` or `0.2`, from 0 to 1.
pub fn parse_chance(text: &str) -> Result<f64, ParseError> {
    let chance = quantity(text, &[("%", 0.01), ("", 1.0)], CHANCE)?;
    if chance <= 1.0 { Ok(chance) } else { Err(wrong(text, CHANCE)) }
}

impl FromStr for Loss {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(chances) = text.strip_prefix("ge:") {
            let chances: Vec<f64> = chances.split(':').map(parse_chance).collect::<Result<_, _>>()?;
            let [enter, leave, in_good, in_bad] = chances[..] else { return Err(wrong(text, LOSS)) };
            return Ok(Self::GilbertElliott { enter, leave, in_good, in_bad });
        }
        if let Some((rate, burst)) = text.split_once('/') {
            let burst = quantity(burst, &[("", 1.0)], LOSS)?;
            return Self::bursts(parse_chance(rate)?, burst).ok_or_else(|| wrong(text, LOSS));
        }
        match parse_chance(text) {
            Ok(0.0) => Ok(Self::None),
            Ok(chance) => Ok(Self::Random(chance)),
            Err(_) if text == "none" => Ok(Self::None),
            Err(_) => Err(wrong(text, LOSS)),
        }
    }
}

impl FromStr for Jitter {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (shape, span) = text.split_once(':').unwrap_or(("uniform", text));
        match (shape, parse_duration(span)) {
            _ if text == "none" => Ok(Self::None),
            (_, Ok(Duration::ZERO)) => Ok(Self::None),
            ("uniform", Ok(span)) => Ok(Self::Uniform(span)),
            ("normal", Ok(span)) => Ok(Self::Normal(span)),
            ("pareto", Ok(span)) => Ok(Self::Pareto(span)),
            _ => Err(wrong(text, JITTER)),
        }
    }
}

impl FromStr for Outage {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let spans = text.split_once('+').map(|(start, length)| (parse_duration(start), parse_duration(length)));
        match spans {
            Some((Ok(start), Ok(length))) => Ok(Self { start, length }),
            _ => Err(wrong(text, OUTAGE)),
        }
    }
}

/// With the queue and headers of [`Rate::new`].
impl FromStr for Rate {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let units = [("bps", 1.0), ("kbps", 1e3), ("Mbps", 1e6), ("bit", 1.0), ("kbit", 1e3), ("Mbit", 1e6)];
        let rate = quantity(text, &units, RATE)?;
        if (1.0..1e15).contains(&rate) { Ok(Self::new(rate.round() as u64)) } else { Err(wrong(text, RATE)) }
    }
}

impl FromStr for PathConfig {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut config = Self::default();
        let (mut queue, mut headers) = (None, None);
        for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').ok_or_else(|| wrong(word, WORD))?;
            match name {
                "seed" => config.seed = value.parse().map_err(|_| wrong(word, "a whole number from 0 up"))?,
                "loss" => config.loss = value.parse()?,
                "delay" => config.delay = parse_duration(value)?,
                "jitter" => config.jitter = value.parse()?,
                "jitter-reorders" => {
                    config.jitter_reorders = match value {
                        "yes" => true,
                        "no" => false,
                        _ => return Err(wrong(word, "yes or no")),
                    }
                }
                "reorder" => config.reorder = parse_chance(value)?,
                "duplicate" => config.duplicate = parse_chance(value)?,
                "corrupt" => config.corrupt = parse_chance(value)?,
                "outage" => config.outages.push(value.parse()?),
                "rate" => config.rate = Some(value.parse()?),
                "queue" => queue = Some((word, parse_duration(value)?)),
                "headers" => {
                    let bytes = value.parse().map_err(|_| wrong(word, "a number of bytes"))?;
                    headers = Some((word, bytes));
                }
                _ => return Err(wrong(word, WORD)),
            }
        }
        match &mut config.rate {
            Some(rate) => {
                rate.queue = queue.map_or(rate.queue, |(_, queue)| queue);
                rate.headers = headers.map_or(rate.headers, |(_, headers)| headers);
            }
            None => {
                if let Some(word) = queue.map(|(word, _)| word).or(headers.map(|(word, _): (&str, usize)| word)) {
                    return Err(wrong(word, WORD));
                }
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
