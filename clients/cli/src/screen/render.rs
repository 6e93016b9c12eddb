//! How the screen looks.

use parlo_api::{Call, CallFigures, CallState, Direction};
use ratatui::{
    Frame,
    layout::{Alignment, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, RenderDirection, Sparkline, Wrap},
};

use super::{
    bars::{MARKS, Piece, coloured, legend, mark, meter, stacked},
    keys::KEYS,
    plan::{Part, plan},
    state::Screen,
    track::{Peak, SILENCE_DBFS},
};
use crate::format::{clock, plain, state, who};

/// Width of the names at the left.
const NAME: u16 = 6;
/// Width of the figures at the right of a bar.
const FIGURE: u16 = 13;

/// Draws the screen.
pub(crate) fn render(screen: &Screen, frame: &mut Frame<'_>) {
    let area = frame.area();
    let mut top = area.y;
    for (part, rows) in plan(area.height, screen.alive().count() > 1) {
        // Spare rows are above the keys, which stand at the very bottom.
        let y = if part == Part::Keys { area.bottom().saturating_sub(rows).max(top) } else { top };
        let place = Rect { y, height: rows, ..area }.intersection(area);
        draw(screen, part, place, frame);
        top = top.saturating_add(rows);
    }
    if screen.help {
        help(screen, frame);
    }
}

fn draw(screen: &Screen, part: Part, area: Rect, frame: &mut Frame<'_>) {
    let call = screen.selected();
    let figures = call.and_then(|call| call.figures.as_ref());
    match part {
        Part::Title => title(screen, area, frame),
        Part::Tabs => line(frame, area, tabs(screen)),
        Part::Microphone => microphone(screen, area, frame),
        Part::Loudspeaker => {
            let level = screen.meters.map_or(SILENCE_DBFS, |meters| meters.output_rms_dbfs);
            level_bar(screen, "ear", level, &screen.output, true, String::new(), area, frame);
        }
        Part::Sending => named(frame, area, "send", call.map_or(vec![], sending)),
        Part::Wire => wire(screen, figures, area, frame),
        Part::Loss => named(frame, area, "loss", figures.map_or(vec![], loss)),
        Part::Delay => delay(screen, figures, area, frame),
        Part::Bits => bits(screen, figures, area, frame),
        Part::Heard => heard(screen, area, frame),
        Part::Notices => {
            let rows = usize::from(area.height);
            let skipped = screen.notices.len().saturating_sub(rows);
            let lines = screen.notices.iter().skip(skipped).map(|notice| Line::raw(notice.as_str()));
            let style = coloured(Color::Cyan, screen.colours);
            frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).style(style), area);
        }
        Part::Keys => keys(screen, area, frame),
    }
}

fn title(screen: &Screen, area: Rect, frame: &mut Frame<'_>) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let Some(call) = screen.selected() else {
        let text =
            if screen.status.is_none() { "asking the daemon ..." } else { "no call; parlo call NAME places one" };
        return line(frame, area, vec![Span::styled("Parlo  ", bold), Span::raw(text)]);
    };
    let elapsed = call.figures.as_ref().map_or(String::new(), |figures| format!("  {}", clock(figures.elapsed_s)));
    let colour = match (call.state, call.held || call.held_by_peer) {
        (CallState::Active, false) => Color::Green,
        (CallState::Ended, _) => Color::Red,
        _ => Color::Yellow,
    };
    let ending = screen.ending.contains(&call.id);
    let mut spans = vec![
        Span::styled(who(&call.peer), bold),
        Span::raw("  "),
        Span::styled(if ending { "hanging up" } else { state(call) }, coloured(colour, screen.colours)),
        Span::raw(elapsed),
    ];
    if call.recording.is_some() {
        let style = coloured(Color::Red, screen.colours).add_modifier(Modifier::BOLD);
        spans.push(Span::styled("  ● recording", style));
    }
    if call.recorded_by_peer {
        spans.push(Span::styled("  they record", coloured(Color::Red, screen.colours)));
    }
    if call.conference {
        spans.push(Span::raw("  conference"));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    line(frame, area, spans);
    let right = plain(call.peer.fingerprint.as_deref().unwrap_or(&call.peer.address));
    let width = Span::raw(&right).width();
    if used + width + 2 <= usize::from(area.width) {
        frame.render_widget(Line::raw(right).alignment(Alignment::Right), area);
    }
}

fn tabs(screen: &Screen) -> Vec<Span<'static>> {
    let mut spans = vec![Span::raw("calls ")];
    for call in screen.alive() {
        let style =
            if Some(call.id) == screen.selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        let note = match call.state {
            CallState::Active if !call.held => String::new(),
            _ => format!(": {}", state(call)),
        };
        spans.push(Span::styled(format!(" {} {}{note} ", call.id, who(&call.peer)), style));
        spans.push(Span::raw(" "));
    }
    spans
}

fn microphone(screen: &Screen, area: Rect, frame: &mut Frame<'_>) {
    let level = screen.meters.map_or(SILENCE_DBFS, |meters| meters.input_rms_dbfs);
    let (on, note) = match screen.status.as_ref().map(|status| &status.audio) {
        Some(audio) if audio.muted => (false, " MUTED"),
        Some(audio) if audio.push_to_talk && audio.talking => (true, " TALKING"),
        Some(audio) if audio.push_to_talk && screen.releases => (false, " hold space"),
        Some(audio) if audio.push_to_talk => (false, " press space"),
        _ => (true, ""),
    };
    level_bar(screen, "mic", level, &screen.input, on, note.to_owned(), area, frame);
}

#[expect(clippy::too_many_arguments, reason = "two rows that differ in all of these")]
fn level_bar(
    screen: &Screen,
    name: &'static str,
    level: f32,
    peak: &Peak,
    on: bool,
    note: String,
    area: Rect,
    frame: &mut Frame<'_>,
) {
    let figure = if note.is_empty() { format!("{level:>5.0} dBFS") } else { note };
    let width = area.width.saturating_sub(NAME + FIGURE);
    let mut spans = meter(level, peak.at(screen.at_s), width, screen.colours, on);
    spans.push(Span::raw(figure));
    named(frame, area, name, spans);
}

/// What is sent, in words.
fn sending(call: &Call) -> Vec<Span<'static>> {
    let settings = &call.settings;
    let most = if settings.adapt { "at most" } else { "always" };
    let text = match &call.figures {
        None => format!("{most} {} codes x {}", settings.depth, settings.frames_per_packet),
        Some(figures) => {
            let copies = match figures.copies {
                0 => String::new(),
                1 => " + a copy".into(),
                more => format!(" + {more} copies"),
            };
            let opus = if call.codec.as_deref() == Some("opus") { "Opus, " } else { "" };
            let (depth, frames) = (figures.depth, figures.frames_per_packet);
            format!(
                "{opus}{depth} codes x {frames}{copies}; {most} {}; path {:.0} kbps",
                settings.depth, figures.path_kbps
            )
        }
    };
    vec![Span::raw(text)]
}

fn wire(screen: &Screen, figures: Option<&CallFigures>, area: Rect, frame: &mut Frame<'_>) {
    let Some(sent) = figures.map(|figures| &figures.sent) else { return named(frame, area, "wire", vec![]) };
    let piece = |name, value, glyph, colour| Piece { name, value, glyph, colour };
    let pieces = [
        piece("speech", sent.speech, "█", Color::Green),
        piece("copies", sent.redundancy, "▓", Color::Cyan),
        piece("headers", sent.headers, "▒", Color::Yellow),
        piece("IP", sent.ip, "░", Color::Magenta),
    ];
    // Whole steps of 8 kbps, so that the bar's length means something from one second to the next.
    let full = (sent.wire / 8.0).ceil().max(1.0) * 8.0;
    let (bar, below) = rows(area);
    let mut spans = stacked(&pieces, full, area.width.saturating_sub(NAME + FIGURE), screen.colours);
    fill(&mut spans, area.width.saturating_sub(NAME + FIGURE));
    spans.push(Span::raw(format!("{:>5.1} kbps", sent.wire)));
    named(frame, bar, "wire", spans);
    named(frame, below, "", legend(&pieces, 1, screen.colours));
}

fn loss(figures: &CallFigures) -> Vec<Span<'static>> {
    vec![Span::raw(format!(
        "sent {:.1} %  heard {:.1} %  late {}  receiving {:.1} kbps",
        100.0 * figures.loss_sent,
        100.0 * figures.loss_heard,
        figures.frames.late,
        figures.received_kbps
    ))]
}

fn delay(screen: &Screen, figures: Option<&CallFigures>, area: Rect, frame: &mut Frame<'_>) {
    let Some(budget) = figures.map(|figures| &figures.budget) else { return named(frame, area, "delay", vec![]) };
    let piece = |name, value, glyph, colour| Piece { name, value, glyph, colour };
    let pieces = [
        piece("mic", budget.capture, "█", Color::Green),
        piece("frame", budget.frame, "▓", Color::Cyan),
        piece("net", budget.network, "▒", Color::Yellow),
        piece("jitter", budget.jitter_buffer, "░", Color::Magenta),
        piece("codec", budget.codec, "▚", Color::Blue),
        piece("ear", budget.device, "▞", Color::Red),
    ];
    let full = (budget.total / 100.0).ceil().max(1.0) * 100.0;
    let width = area.width.saturating_sub(NAME + FIGURE);
    let (bar, below) = rows(area);
    let mut spans = stacked(&pieces, full, width, screen.colours);
    fill(&mut spans, width);
    spans.push(Span::raw(format!("{:>5.0} ms", budget.total)));
    named(frame, bar, "delay", spans);
    named(frame, below, "", legend(&pieces, 0, screen.colours));
}

/// Bits per frame: how well the model knows the voice.
fn bits(screen: &Screen, figures: Option<&CallFigures>, area: Rect, frame: &mut Frame<'_>) {
    named(frame, area, "bits", vec![]);
    let place = inside(area, NAME, FIGURE);
    if let Some(track) = screen.selected.and_then(|id| screen.tracks.get(&id)) {
        // Newest first, drawn from the right: the past moves to the left.
        let newest_first: Vec<u64> = track.bits.iter().rev().copied().take(usize::from(place.width)).collect();
        let graph = Sparkline::default()
            .data(&newest_first)
            .direction(RenderDirection::RightToLeft)
            .style(coloured(Color::Green, screen.colours));
        frame.render_widget(graph, place);
    }
    if let Some(bits) = figures.and_then(|figures| figures.bits_per_frame) {
        let x = place.right().min(area.right());
        let right = Rect { x, width: area.right().saturating_sub(x), y: area.bottom().saturating_sub(1), height: 1 };
        frame.render_widget(Line::raw(format!("{bits:>5.0} a frame")), right.intersection(area));
    }
}

/// The last seconds, a column for each 100 ms.
fn heard(screen: &Screen, area: Rect, frame: &mut Frame<'_>) {
    let (bar, below) = rows(area);
    let width = usize::from(area.width.saturating_sub(NAME));
    let columns = screen.selected.and_then(|id| screen.tracks.get(&id)).map(|track| &track.columns);
    let spans = columns.map_or(vec![], |columns| {
        let last = columns.iter().skip(columns.len().saturating_sub(width));
        last.map(|&column| mark(column, screen.colours).0).collect()
    });
    named(frame, bar, "heard", spans);
    let mut names = Vec::new();
    for (glyph, name) in MARKS.map(|kind| mark(kind, screen.colours)) {
        names.extend([glyph, Span::raw(format!(" {name}  "))]);
    }
    named(frame, below, "", names);
}

fn keys(screen: &Screen, area: Rect, frame: &mut Frame<'_>) {
    let rings = screen.alive().any(|call| call.state == CallState::Ringing && call.direction == Direction::Incoming);
    let talk = match screen.status.as_ref().map(|status| status.audio.push_to_talk) {
        Some(true) if screen.releases => "hold space talk  ",
        Some(true) => "space talk on/off  ",
        _ => "",
    };
    let ringing = if rings { "a answer  x refuse  " } else { "" };
    let end = if screen.alive().next().is_some() { "q hang up" } else { "q leave" };
    let text = format!("{ringing}{end}  ? help  {talk}m mute  h hold  +/- depth  r record");
    let style = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Line::styled(text, style), area);
}

fn help(screen: &Screen, frame: &mut Frame<'_>) {
    let mut lines: Vec<Line<'_>> = KEYS.iter().map(|(key, does)| Line::raw(format!("{key:9}  {does}"))).collect();
    lines.push(Line::raw(if screen.releases {
        "This terminal tells when keys are let go: hold space to talk."
    } else {
        "This terminal does not tell when keys are let go: space switches talk."
    }));
    let (width, height) = (66, lines.len() as u16 + 2);
    let place =
        frame.area().centered(ratatui::layout::Constraint::Length(width), ratatui::layout::Constraint::Length(height));
    let place = place.intersection(frame.area());
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" keys ");
    frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: false }), place);
}

/// A part's first row, and what is below.
fn rows(area: Rect) -> (Rect, Rect) {
    let first = area.height.min(1);
    let below = Rect { y: area.y.saturating_add(first), height: area.height - first, ..area };
    (Rect { height: first, ..area }, below)
}

fn inside(area: Rect, left: u16, right: u16) -> Rect {
    Rect { x: area.x.saturating_add(left), width: area.width.saturating_sub(left.saturating_add(right)), ..area }
        .intersection(area)
}

/// Spaces up to a width.
fn fill(spans: &mut Vec<Span<'static>>, width: u16) {
    let used: usize = spans.iter().map(Span::width).sum();
    spans.push(Span::raw(" ".repeat(usize::from(width).saturating_sub(used))));
}

/// A row with its name at the left.
fn named(frame: &mut Frame<'_>, area: Rect, name: &'static str, spans: Vec<Span<'static>>) {
    let style = Style::new().add_modifier(Modifier::DIM);
    let mut all = vec![Span::styled(format!("{name:width$}", width = usize::from(NAME)), style)];
    all.extend(spans);
    line(frame, area, all);
}

fn line(frame: &mut Frame<'_>, area: Rect, spans: Vec<Span<'static>>) {
    frame.render_widget(Line::from(spans), area);
}
