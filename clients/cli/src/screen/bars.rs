//! Bars of characters.

use parlo_api::Mark;
use ratatui::{
    style::{Color, Modifier, Style},
    text::Span,
};

/// The quietest level that a meter shows, dBFS.
const FLOOR_DBFS: f32 = -60.0;
/// Levels from here on are loud, and from there on too loud, dBFS.
const LOUD_DBFS: f32 = -12.0;
const TOO_LOUD_DBFS: f32 = -3.0;
/// Eighths of a character, from one.
const EIGHTHS: [&str; 7] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A part of a stacked bar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) glyph: &'static str,
    pub(super) colour: Color,
}

/// A colour, where colours may be used.
pub(super) fn coloured(colour: Color, colours: bool) -> Style {
    if colours { Style::new().fg(colour) } else { Style::new() }
}

/// A level as a bar of `width` characters, its peak as a mark.
pub(super) fn meter(level_dbfs: f32, peak_dbfs: f32, width: u16, colours: bool, on: bool) -> Vec<Span<'static>> {
    let width = usize::from(width);
    let position = |level: f32| (((level - FLOOR_DBFS) / -FLOOR_DBFS).clamp(0.0, 1.0) * width as f32).max(0.0);
    let filled = (position(level_dbfs) * 8.0) as usize;
    let (whole, eighths) = (filled / 8, filled % 8);
    let peak = (peak_dbfs > FLOOR_DBFS).then(|| (position(peak_dbfs) as usize).min(width.saturating_sub(1)));
    let style = |column: usize| {
        let level = FLOOR_DBFS - FLOOR_DBFS * (column as f32 + 0.5) / width.max(1) as f32;
        let colour = match level {
            _ if !on => Color::DarkGray,
            _ if level >= TOO_LOUD_DBFS => Color::Red,
            _ if level >= LOUD_DBFS => Color::Yellow,
            _ => Color::Green,
        };
        coloured(colour, colours)
    };
    let cell = |column: usize| match () {
        () if column < whole => Span::styled("█", style(column)),
        () if Some(column) == peak => Span::styled("┃", style(column).add_modifier(Modifier::BOLD)),
        () if column == whole && eighths > 0 => Span::styled(EIGHTHS[eighths - 1], style(column)),
        () => Span::styled("·", Style::new().add_modifier(Modifier::DIM)),
    };
    (0..width).map(cell).collect()
}

/// Values as pieces of one bar, which is as long as their share of `full`, `width` characters at most.
pub(super) fn stacked(pieces: &[Piece], full: f64, width: u16, colours: bool) -> Vec<Span<'static>> {
    let value = |piece: &Piece| if piece.value.is_finite() { piece.value.max(0.0) } else { 0.0 };
    let total: f64 = pieces.iter().map(value).sum();
    let scale = f64::from(width) / if full.is_finite() { full.max(total).max(1e-9) } else { 1.0 };
    let mut spans = Vec::new();
    let (mut sum, mut drawn) = (0.0, 0_usize);
    for piece in pieces {
        sum += value(piece);
        // Each edge is rounded by itself, so that the pieces' lengths add up to the whole's.
        let end = ((sum * scale).round() as usize).clamp(drawn, usize::from(width));
        spans.push(Span::styled(piece.glyph.repeat(end - drawn), coloured(piece.colour, colours)));
        drawn = end;
    }
    spans
}

/// What the pieces are, with their values.
pub(super) fn legend(pieces: &[Piece], decimals: usize, colours: bool) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    for piece in pieces {
        if !spans.is_empty() {
            spans.push(Span::raw(" "));
        }
        spans.push(Span::styled(piece.glyph, coloured(piece.colour, colours)));
        spans.push(Span::raw(format!(" {} {:.decimals$}", piece.name, piece.value)));
    }
    spans
}

/// Marks of frames, in the order of the legend.
pub(super) const MARKS: [Mark; 6] = [Mark::Real, Mark::Coarse, Mark::Predicted, Mark::Faded, Mark::Silent, Mark::Held];

/// How a mark looks, and what it is called.
pub(super) fn mark(mark: Mark, colours: bool) -> (Span<'static>, &'static str) {
    let (glyph, colour, name) = match mark {
        Mark::Real => ("█", Color::Green, "real"),
        Mark::Coarse => ("▓", Color::Cyan, "coarse copy"),
        Mark::Predicted => ("▒", Color::Yellow, "predicted"),
        Mark::Faded => ("░", Color::Red, "faded"),
        Mark::Silent => ("·", Color::DarkGray, "silent"),
        Mark::Held => ("-", Color::Magenta, "waited"),
    };
    (Span::styled(glyph, coloured(colour, colours)), name)
}
