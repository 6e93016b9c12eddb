use clap::Args;

/// A part of a file, by time.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TimeRange {
    /// Begin at this time: seconds, M:SS or H:MM:SS, with decimals if need be
    #[arg(long = "from", value_name = "TIME", default_value = "0", value_parser = milliseconds)]
    pub(crate) from_ms: u64,
    /// End at this time; by default at the end
    #[arg(long = "to", value_name = "TIME", default_value = "end", hide_default_value = true, value_parser = milliseconds)]
    pub(crate) to_ms: u64,
}

impl TimeRange {
    /// Whether it is all of a file.
    pub(crate) fn is_all(self) -> bool {
        (self.from_ms, self.to_ms) == (0, u64::MAX)
    }

    /// Refuses one that ends before it begins, or begins beyond the end of a file of this length.
    pub(crate) fn check(self, duration_ms: u64) -> anyhow::Result<()> {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        if self.to_ms <= self.from_ms {
            anyhow::bail!("--to ({} s) must be later than --from ({} s)", seconds(self.to_ms), seconds(self.from_ms));
        }
        if self.from_ms >= duration_ms {
            anyhow::bail!("--from ({} s) lies beyond the end ({} s)", seconds(self.from_ms), seconds(duration_ms));
        }
        Ok(())
    }
}

/// A time as people write it, in milliseconds; "end" is as late as can be.
fn milliseconds(text: &str) -> Result<u64, String> {
    if text == "end" {
        return Ok(u64::MAX);
    }
    let wrong = || format!("\"{text}\" is no time; write seconds (90, 1.5), M:SS (1:30) or H:MM:SS (1:02:03.5)");
    let parts: Vec<&str> = text.split(':').collect();
    let (last, others) = parts.split_last().ok_or_else(wrong)?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if others.len() > 2 || !digits(last) {
        return Err(wrong());
    }
    let seconds: f64 = last.parse().map_err(|_| wrong())?;
    let mut whole = 0_u64;
    for part in others {
        let number: u64 = part.parse().map_err(|_| wrong())?;
        whole = whole.saturating_mul(60).saturating_add(number);
    }
    let within = others.is_empty() || (last.split('.').next().is_some_and(|s| s.len() == 2) && seconds < 60.0);
    let total = (whole.saturating_mul(60) as f64 + seconds) * 1000.0;
    // Beyond 49 days no file has anything.
    if within && total < 1e13 { Ok(total.round() as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, expected) in
            [("0", 0), ("1.5", 1_500), ("90", 90_000), ("1:30", 90_000), ("1:02:03.25", 3_723_250), ("end", u64::MAX)]
        {
            assert_eq!(milliseconds(text), Ok(expected), "{text}");
        }
        for text in ["", "-1", "1:2", "1:60", "1:2:3:4", "x", "1e3", "inf", "nan", ":30", "1.2.3", "99999999999999"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }
}
