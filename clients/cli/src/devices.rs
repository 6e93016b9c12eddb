//! `parlo devices`: microphones and loudspeakers.

use parlod::audio::device::{Backend, DeviceInfo, Direction, list};

pub(crate) fn run(backend: Backend) -> anyhow::Result<()> {
    let (system, devices) = list(backend)?;
    println!("{system}");
    for (direction, title) in [(Direction::Input, "Microphones"), (Direction::Output, "Loudspeakers")] {
        println!("\n{title}");
        let mut any = false;
        for device in devices.iter().filter(|device| device.direction == direction) {
            println!("{}", line(device));
            any = true;
        }
        if !any {
            println!("  none");
        }
    }
    println!("\nUse one with --source or --sink \"device:NAME\", a part of its name, or \"device:#N\".");
    Ok(())
}

fn line(device: &DeviceInfo) -> String {
    let mark = if device.is_default { "*" } else { " " };
    let format = device.format.map_or_else(String::new, |format| {
        let channels = match format.channels {
            1 => "mono".to_owned(),
            2 => "stereo".to_owned(),
            more => format!("{more} channels"),
        };
        format!("  ({} Hz, {channels})", format.rate)
    });
    format!("{mark} #{} {}{format}", device.index, device.name)
}
