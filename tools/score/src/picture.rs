//! Spectrograms as PNG, one above the other on one time axis.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use font8x8::{BASIC_FONTS, UnicodeFonts};
use realfft::RealFftPlanner;

use crate::error::{ScoreError, check};

const PLOT_WIDTH: usize = 1280;
const PLOT_HEIGHT: usize = 280;
const LEFT: usize = 64;
const RIGHT: usize = 24;
const TITLE: usize = 36;
const BOTTOM: usize = 36;
/// Window, s: narrow enough in frequency to show the harmonics of a voice.
const WINDOW: f64 = 0.032;
/// What lies so far below the loudest is black.
const RANGE_DB: f64 = 70.0;

/// Places in the palette: shades of the colour map up to here, and then two for the frame.
const SHADES: u8 = 254;
const PAPER: u8 = 254;
const INK: u8 = 255;

/// One spectrogram of a picture.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// What it shows. ASCII.
    pub title: &'a str,
    /// Mono samples.
    pub samples: &'a [f32],
    /// Their rate, Hz.
    pub rate: u32,
}

/// Draws the panels one above the other, each from 0 Hz to half of the lowest rate, over the time of the longest, and writes
/// them as PNG. Levels are relative to the loudest of each panel, over 70 dB.
///
/// # Errors
/// If there is nothing to draw, a sample is no number, or the file cannot be written.
pub fn spectrogram_png(file: &Path, panels: &[Panel<'_>]) -> Result<(), ScoreError> {
    for panel in panels {
        check(panel.samples)?;
    }
    let seconds = panels.iter().map(|p| p.samples.len() as f64 / f64::from(p.rate.max(1))).fold(0.0, f64::max);
    if seconds < WINDOW {
        return Err(ScoreError::TooShort { seconds, needed: WINDOW });
    }
    let top_hz = panels.iter().map(|panel| f64::from(panel.rate) / 2.0).fold(f64::INFINITY, f64::min);
    let panel_height = TITLE + PLOT_HEIGHT;
    let mut canvas = Canvas::new(LEFT + PLOT_WIDTH + RIGHT, panels.len() * panel_height + BOTTOM);
    for (index, panel) in panels.iter().enumerate() {
        let top = index * panel_height + TITLE;
        canvas.text(LEFT, top - 24, panel.title, 2);
        draw(&mut canvas, panel, top, seconds, top_hz);
        for khz in (0..).take_while(|&khz| f64::from(khz) * 1000.0 <= top_hz).step_by(2) {
            let y = top + PLOT_HEIGHT - 1 - (f64::from(khz) * 1000.0 / top_hz * (PLOT_HEIGHT - 1) as f64) as usize;
            canvas.fill(LEFT - 6, y, 6, 1);
            canvas.text_right(LEFT - 10, y.saturating_sub(4), &format!("{khz} kHz"));
        }
    }
    let axis = panels.len() * panel_height;
    let step = [1, 2, 5, 10, 30, 60].into_iter().find(|&step| seconds / step as f64 <= 20.0).unwrap_or(300);
    for second in (0..).step_by(step).take_while(|&second| f64::from(second) <= seconds) {
        let x = LEFT + (f64::from(second) / seconds * (PLOT_WIDTH - 1) as f64) as usize;
        canvas.fill(x, axis, 1, 6);
        canvas.text(x.saturating_sub(4), axis + 10, &format!("{second} s"), 1);
    }
    canvas.write(file)
}

fn draw(canvas: &mut Canvas, panel: &Panel<'_>, top: usize, seconds: f64, top_hz: f64) {
    let rate = f64::from(panel.rate);
    let window = (WINDOW * rate) as usize;
    let size = (4 * window).next_power_of_two();
    let transform = RealFftPlanner::<f64>::new().plan_fft_forward(size);
    let mut spectrum = transform.make_output_vec();
    let mut levels = vec![f64::NEG_INFINITY; PLOT_WIDTH * PLOT_HEIGHT];
    for x in 0..PLOT_WIDTH {
        let centre = (x as f64 / (PLOT_WIDTH - 1) as f64 * seconds * rate) as usize;
        if centre > panel.samples.len() {
            continue;
        }
        let mut frame = vec![0.0; size];
        for (n, place) in frame.iter_mut().take(window).enumerate() {
            let sample = (centre + n).checked_sub(window / 2).and_then(|at| panel.samples.get(at)).copied();
            let weight = 0.5 - 0.5 * (std::f64::consts::TAU * (n as f64 + 0.5) / window as f64).cos();
            *place = f64::from(sample.unwrap_or(0.0)) * weight;
        }
        // Lengths are the transform's own, so it cannot refuse them.
        let _ = transform.process(&mut frame, &mut spectrum);
        for y in 0..PLOT_HEIGHT {
            let hz = (PLOT_HEIGHT - 1 - y) as f64 / (PLOT_HEIGHT - 1) as f64 * top_hz;
            let bin = ((hz / rate * size as f64).round() as usize).min(spectrum.len() - 1);
            levels[y * PLOT_WIDTH + x] = 10.0 * (spectrum[bin].norm_sqr() + 1e-18).log10();
        }
    }
    // A silent panel is black, not the brightest there is.
    let loudest = levels.iter().copied().fold(-60.0, f64::max);
    for (index, level) in levels.iter().enumerate() {
        let shade = (1.0 + (level - loudest) / RANGE_DB).clamp(0.0, 1.0);
        let place = (shade * f64::from(SHADES - 1)).round() as u8;
        canvas.put(LEFT + index % PLOT_WIDTH, top + index / PLOT_WIDTH, place);
    }
}

/// From black by violet and orange to light yellow, evenly brighter to the eye.
fn colour(shade: f64) -> [u8; 3] {
    const STOPS: [[f64; 3]; 9] = [
        [0.0, 0.0, 4.0],
        [28.0, 16.0, 68.0],
        [79.0, 18.0, 123.0],
        [129.0, 37.0, 129.0],
        [181.0, 54.0, 122.0],
        [229.0, 80.0, 100.0],
        [251.0, 135.0, 97.0],
        [254.0, 194.0, 135.0],
        [252.0, 253.0, 191.0],
    ];
    let place = shade * (STOPS.len() - 1) as f64;
    let low = (place as usize).min(STOPS.len() - 2);
    let part = place - low as f64;
    std::array::from_fn(|c| (STOPS[low][c] + part * (STOPS[low + 1][c] - STOPS[low][c])).round() as u8)
}

/// Red, green and blue of every place in the palette.
fn palette() -> Vec<u8> {
    let shades = (0..SHADES).flat_map(|place| colour(f64::from(place) / f64::from(SHADES - 1)));
    shades.chain([255, 255, 255]).chain([32, 32, 40]).collect()
}

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![PAPER; width * height] }
    }

    fn put(&mut self, x: usize, y: usize, place: u8) {
        if x < self.width && y < self.height {
            self.pixels[y * self.width + x] = place;
        }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize) {
        for row in y..y + height {
            for column in x..x + width {
                self.put(column, row, INK);
            }
        }
    }

    fn text(&mut self, x: usize, y: usize, text: &str, scale: usize) {
        for (place, letter) in text.chars().enumerate() {
            let Some(rows) = BASIC_FONTS.get(letter) else { continue };
            for (row, bits) in rows.iter().enumerate() {
                for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                    self.fill(x + (8 * place + column) * scale, y + row * scale, scale, scale);
                }
            }
        }
    }

    fn text_right(&mut self, x: usize, y: usize, text: &str) {
        self.text(x.saturating_sub(8 * text.len()), y, text, 1);
    }

    /// Writes the picture under a temporary name first, so that nobody sees half of it.
    fn write(&self, file: &Path) -> Result<(), ScoreError> {
        let wrong = |error: String| ScoreError::Picture { file: file.display().to_string(), error };
        let temporary = file.with_extension("png.part");
        let encode = || -> Result<(), String> {
            let out = File::create(&temporary).map_err(|error| error.to_string())?;
            let (width, height) = (self.width as u32, self.height as u32);
            let mut encoder = png::Encoder::new(BufWriter::new(out), width, height);
            encoder.set_color(png::ColorType::Indexed);
            encoder.set_palette(palette());
            encoder.set_depth(png::BitDepth::Eight);
            let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
            writer.write_image_data(&self.pixels).map_err(|error| error.to_string())?;
            writer.finish().map_err(|error| error.to_string())?;
            fs::rename(&temporary, file).map_err(|error| error.to_string())
        };
        encode().map_err(|error| {
            let _ = fs::remove_file(&temporary);
            wrong(error)
        })
    }
}
