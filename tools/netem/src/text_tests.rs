use super::*;

#[test]
fn a_path_reads_from_text() {
    let text = "seed=7 loss=20%/4,delay=50ms jitter=pareto:5ms jitter-reorders=yes reorder=1% duplicate=0.02 corrupt=0.1% \
                outage=10s+2s outage=1min+500ms rate=8kbps queue=300ms headers=48";
    let expected = PathConfig {
        seed: 7,
        loss: Loss::bursts(0.2, 4.0).unwrap(),
        delay: Duration::from_millis(50),
        jitter: Jitter::Pareto(Duration::from_millis(5)),
        jitter_reorders: true,
        reorder: 0.01,
        duplicate: 0.02,
        corrupt: 0.001,
        outages: vec![
            Outage { start: Duration::from_secs(10), length: Duration::from_secs(2) },
            Outage { start: Duration::from_secs(60), length: Duration::from_millis(500) },
        ],
        rate: Some(Rate { bits_per_second: 8000, queue: Duration::from_millis(300), headers: 48 }),
    };
    assert_eq!(text.parse::<PathConfig>().unwrap(), expected);
    assert_eq!("".parse::<PathConfig>().unwrap(), PathConfig::default());
    assert_eq!("loss=ge:0.1:0.3:0:1".parse::<PathConfig>().unwrap().loss.rate(), 0.25);
    assert_eq!("loss=0%".parse::<PathConfig>().unwrap().loss, Loss::None);
}

#[test]
fn nonsense_is_refused_with_an_example() {
    for text in [
        "loss=120%",
        "loss=-1%",
        "loss=90%/2",
        "loss=ge:1:2",
        "loss=x",
        "delay=50",
        "delay=ms",
        "delay=1e400s",
        "jitter=cubic:1ms",
        "reorder=",
        "outage=5s",
        "rate=0bps",
        "rate=8",
        "queue=1s",
        "headers=28",
        "rate",
        "speed=1",
        "jitter-reorders=maybe",
        "seed=-1",
        "delay=99999999999999999999s",
        "delay=1.2.3s",
    ] {
        let error = text.parse::<PathConfig>().unwrap_err().to_string();
        assert!(error.contains(" is not "), "{text}: {error}");
    }
    let error = "delay=50".parse::<PathConfig>().unwrap_err();
    assert_eq!(error.to_string(), "\"50\" is not a span of time, such as 50ms, 2s or 1.5min");
}
