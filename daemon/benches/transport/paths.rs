//! The paths that calls are led over. All take 40 ms each way, and are the same for every codec: packet for packet, as far as
//! packets are as many.

use std::time::Duration;

use parlo_netem::{Jitter, Loss, Outage, PathConfig, Rate};

use crate::simulation::Script;

/// A path, and what of it Opus is told.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The loss that Opus' encoder is told, percent. Parlo has to find out.
    pub(crate) loss_percent: u8,
    pub(crate) change: Box<dyn Fn(&mut Script<'_>)>,
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    fn scenario(name: &'static str, loss_percent: u8, change: impl Fn(&mut PathConfig) + 'static) -> Scenario {
        let change = Box::new(move |script: &mut Script<'_>| {
            change(&mut script.there);
            change(&mut script.back);
        });
        Scenario { name, loss_percent, change }
    }
    let random =
        |name, percent: u8| scenario(name, percent, move |path| path.loss = Loss::Random(f64::from(percent) / 100.0));
    let jitter = |name, ms| {
        scenario(name, 0, move |path| {
            path.jitter = Jitter::Uniform(Duration::from_millis(ms));
            path.jitter_reorders = true;
        })
    };
    let thin = |name, bits| scenario(name, 0, move |path| path.rate = Some(Rate::new(bits)));
    vec![
        scenario("no fault", 0, |_| {}),
        random("5 % lost", 5),
        random("10 % lost", 10),
        random("20 % lost", 20),
        random("40 % lost", 40),
        scenario("20 % lost in bursts of 3 packets", 20, |path| {
            path.loss = Loss::bursts(0.2, 3.0).unwrap_or_default();
        }),
        jitter("jitter of 50 ms", 50),
        jitter("jitter of 300 ms", 300),
        scenario("5 % held back, 5 % doubled, 2 % damaged", 2, |path| {
            (path.reorder, path.duplicate, path.corrupt) = (0.05, 0.05, 0.02);
        }),
        scenario("gone for 2 s", 0, |path| {
            path.outages = vec![Outage { start: Duration::from_secs(20), length: Duration::from_secs(2) }];
        }),
        Scenario {
            name: "a new address after 20 s",
            loss_percent: 0,
            change: Box::new(|script| script.moves = Some(Duration::from_secs(20))),
        },
        Scenario { name: "clocks 200 ppm apart", loss_percent: 0, change: Box::new(|script| script.skew_ppm = 200.0) },
        thin("4 kbit/s, queue of 500 ms", 4000),
        thin("8 kbit/s, queue of 500 ms", 8000),
        thin("16 kbit/s, queue of 500 ms", 16_000),
    ]
}
