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
    println!(
        "\n* is the default. Use another with --source or --sink device:NAME: its name, its id in brackets, a part of\neither that no other has, or #N."
    );
    Ok(())
}

fn line(device: &DeviceInfo) -> String {
    let mark = if device.is_default { "*" } else { " " };
    let channels = match device.format.channels {
        1 => "mono".to_owned(),
        2 => "stereo".to_owned(),
        more => format!("{more} channels"),
    };
    format!("{mark} #{} {}  [{}]  {} Hz, {channels}", device.index, device.name, device.id, device.format.rate)
}
