//! `parlo devices`: microphones and loudspeakers.

use parlod::audio::device::{Backend, DeviceInfo, Direction, list};

use crate::daemon_verbs::print;

pub(crate) fn run(backend: Backend) -> anyhow::Result<()> {
    let (system, devices) = list(backend)?;
    print(&show(&system, &devices))
}

fn show(system: &str, devices: &[DeviceInfo]) -> String {
    let mut text = format!("{system}\n");
    let microphone = |device: &DeviceInfo| device.direction == Direction::Input && !device.is_monitor;
    let loudspeaker = |device: &DeviceInfo| device.direction == Direction::Output;
    section(&mut text, "Microphones", devices, microphone);
    section(&mut text, "Loudspeakers", devices, loudspeaker);
    if devices.iter().any(|device| device.is_monitor) {
        let title = "Monitors: what this machine plays, sent only where one is named";
        section(&mut text, title, devices, |device| device.is_monitor);
    }
    text.push_str(
        "\n* is the default. Use another with --source or --sink device:NAME: its name, its id in brackets, a part of\neither that no other has, or #N.\n",
    );
    text
}

fn section(text: &mut String, title: &str, devices: &[DeviceInfo], fits: impl Fn(&DeviceInfo) -> bool) {
    text.push_str(&format!("\n{title}\n"));
    let before = text.len();
    for device in devices.iter().filter(|device| fits(device)) {
        text.push_str(&line(device));
    }
    if text.len() == before {
        text.push_str("  none\n");
    }
}

fn line(device: &DeviceInfo) -> String {
    let mark = if device.is_default { "*" } else { " " };
    let channels = match device.format.channels {
        1 => "mono".to_owned(),
        2 => "stereo".to_owned(),
        more => format!("{more} channels"),
    };
    format!("{mark} #{} {}  [{}]  {} Hz, {channels}\n", device.index, device.name, device.id, device.format.rate)
}

#[cfg(test)]
mod tests {
    use parlod::audio::Format;

    use super::*;

    #[test]
    fn monitors_are_listed_apart() {
        let device = |index, id: &str, direction, is_monitor| DeviceInfo {
            index,
            name: id.to_owned(),
            id: id.to_owned(),
            direction,
            is_default: false,
            is_monitor,
            format: Format { rate: 48_000, channels: 1 },
        };
        let devices = [device(0, "spk.monitor", Direction::Input, true), device(1, "spk", Direction::Output, false)];
        let shown = show("PulseAudio", &devices);
        let (before, after) = shown.split_once("\nMonitors").unwrap();
        assert!(before.contains("Microphones\n  none\n") && before.contains("#1 spk"), "{shown}");
        assert!(after.contains("#0 spk.monitor"), "{shown}");
        assert!(!show("ALSA", &devices[1..]).contains("Monitors"));
    }
}
