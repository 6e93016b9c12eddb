// The instrument: sound heard, losses, tokens heard and said, over one axis of time.

import { CodeColours, bytesOf, heat } from "./colours.js";
import { attribute, byId, element, write } from "./dom.js";
import { MarkPainter, paintCodes, soundPainter } from "./paints.js";
import { Strip } from "./strip.js";
import { Frames, MARKS, Spectrum } from "./timeline.js";
import { count, some } from "./units.js";

/** What each mark means: its word, and a sentence. */
const MEANING = {
  real: ["As sent", "It arrived whole, and was decoded as it was coded."],
  coarse: ["Coarse copy", "It was lost, but a rougher copy of it came in a later packet."],
  predicted: ["Predicted", "It was lost; the model guessed it from what came before."],
  faded: ["Faded out", "It was lost after so many others that nothing is played any more."],
  silent: ["Silence", "Nobody spoke: soft noise is played, and almost nothing is sent."],
  held: ["Waiting", "It was not there yet; the model bridged the gap while it waited."],
};

const WIDE_PX = 640;
// With reduced motion the picture steps this seldom.
const CALM_MS = 1000;

export class Scope {
  frozen = null;
  cursor = null;
  call = null;
  drawnAt = -Infinity;

  constructor(timeline) {
    this.timeline = timeline;
    this.box = byId("scope");
    this.readout = byId("readout");
    this.axis = byId("axis");
    this.theme = {};
    this.colours = new CodeColours(12, false);
    const frames = (side) => this.shown()?.[side];
    this.strips = {
      spectrogram: new Strip(byId("spectrogram"), soundPainter(() => this.source().spectrum, () => this.heat)),
      marks: new Strip(byId("marks"), (context, x, width, height, slot) => {
        const index = frames("heard")?.index(slot) ?? -1;
        if (index >= 0) this.marks.paint(context, x, width, height, MARKS[frames("heard").marks[index]]);
      }),
      lattice: new Strip(byId("lattice"), (context, x, width, height, slot) => {
        if (frames("heard")) paintCodes(context, x, width, height, frames("heard"), slot, this.colours, this.theme.line);
      }),
      said: new Strip(byId("lattice-said"), (context, x, width, height, slot) => {
        if (frames("said")) paintCodes(context, x, width, height, frames("said"), slot, this.colours, this.theme.line);
      }),
    };
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.retheme());
    new ResizeObserver(() => this.ask()).observe(this.box);
    document.addEventListener("visibilitychange", () => this.ask());
    this.reading();
    this.retheme();
  }

  /** The model's number of codebooks: as many rows. */
  codebooks(number) {
    if (number === this.colours.rows.length || number < 1) return;
    this.colours = new CodeColours(number, this.dark.matches);
    this.reset();
  }

  retheme() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["panel", "ink", "soft", "line", "accent", "warn"]) {
      this.theme[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.marks = new MarkPainter(this.theme);
    this.heat = heat(this.dark.matches, bytesOf(this.theme.panel));
    this.colours = new CodeColours(this.colours.rows.length, this.dark.matches);
    this.legend();
    this.reset();
  }

  legend() {
    const ratio = Math.ceil(devicePixelRatio);
    byId("legend").replaceChildren(
      ...MARKS.map((mark) => {
        const swatch = element("canvas", { width: 18 * ratio, height: 18 * ratio, "aria-hidden": "true" });
        const context = swatch.getContext("2d");
        for (let x = 0; x < 18 * ratio; x += 3 * ratio) this.marks.paint(context, x, 3 * ratio, 18 * ratio, mark);
        const [word, sentence] = MEANING[mark];
        return element("li", {}, swatch, element("span", { textContent: word }), element("span", { className: "hidden", textContent: `: ${sentence}` }));
      }),
    );
  }

  /** Shows another call. */
  select(id) {
    if (id === this.call) return;
    this.call = id;
    this.melt();
    this.reset();
  }

  /** Where the pictures come from: the present, or what was frozen. */
  source() {
    return this.frozen ?? this.timeline;
  }

  shown() {
    if (this.frozen) return this.frozen;
    return this.call === null ? null : this.timeline.of(this.call);
  }

  freeze() {
    const copy = (made, from) => Object.assign(made, structuredClone({ ...from }));
    const { spectrum, head } = this.timeline;
    const { heard, said } = this.timeline.of(this.call);
    this.frozen = {
      head,
      heard: copy(new Frames(), heard),
      said: copy(new Frames(), said),
      spectrum: spectrum && copy(new Spectrum(spectrum.bands), spectrum),
    };
    this.freezeShown();
  }

  melt() {
    this.frozen = null;
    this.cursor = null;
    this.freezeShown();
    this.reset();
  }

  freezeShown() {
    const button = byId("freeze");
    attribute(button, "aria-pressed", this.frozen !== null);
    write(button, this.frozen ? "Go on" : "Freeze picture");
  }

  reset() {
    for (const strip of Object.values(this.strips)) strip.reset();
    this.ask();
  }

  /** There is something new to draw. */
  ask() {
    if (this.asked || document.hidden || this.call === null || this.box.offsetParent === null) return;
    this.asked = true;
    requestAnimationFrame((now) => {
      this.asked = false;
      this.draw(now);
    });
  }

  /** New sound has come. */
  news() {
    if (this.frozen || (this.calm.matches && performance.now() - this.drawnAt < CALM_MS)) return;
    this.ask();
  }

  draw(now) {
    this.drawnAt = now;
    const { head } = this.source();
    const wide = this.box.clientWidth >= WIDE_PX;
    const column = wide ? 3 : 2;
    const ratio = Math.min(2, devicePixelRatio || 1);
    const rows = this.colours.rows.length;
    const height = (most) => `${Math.max(24, Math.min(28, Math.max(3, Math.round(most / rows))) * rows)}px`;
    this.strips.lattice.canvas.style.height = height(wide ? 156 : 120);
    this.strips.said.canvas.style.height = height(wide ? 60 : 48);
    for (const strip of Object.values(this.strips)) {
      strip.fit(column, ratio);
      strip.draw(head, this.theme.panel);
      if (this.cursor !== null) strip.line(head, this.cursor, this.theme.ink);
    }
    this.drawAxis(column, ratio);
  }

  drawAxis(column, ratio) {
    const { axis, theme } = this;
    const width = Math.round(axis.clientWidth * ratio);
    const height = Math.round(axis.clientHeight * ratio);
    const { slotsPerSecond } = this.timeline;
    const key = `${width} ${height} ${theme.soft} ${slotsPerSecond}`;
    if (this.axisKey === key) return;
    this.axisKey = key;
    axis.width = width;
    axis.height = height;
    const context = axis.getContext("2d");
    context.fillStyle = theme.soft;
    context.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "bottom";
    const second = slotsPerSecond * Math.round(column * ratio);
    for (let seconds = 0; seconds * second < width; seconds += 1) {
      const x = width - seconds * second;
      context.fillRect(Math.min(x, width - ratio), 0, ratio, 4 * ratio);
      if (seconds > 0 && x < 24 * ratio) continue;
      context.textAlign = seconds === 0 ? "right" : "center";
      context.fillText(seconds === 0 ? "now" : `−${seconds} s`, x, height);
    }
  }

  // Reading single frames, by pointer or by arrow keys.
  reading() {
    const { lattice } = this.strips;
    const at = (event) => this.read(lattice.slotAt(event.clientX, this.source().head));
    lattice.canvas.addEventListener("pointermove", (event) => at(event));
    lattice.canvas.addEventListener("pointerdown", (event) => at(event));
    lattice.canvas.addEventListener("pointerleave", () => {
      if (!this.frozen) this.read(null);
    });
    lattice.canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -25, PageDown: 25, Home: -Infinity, End: Infinity };
      const step = steps[event.key];
      if (step === undefined || this.call === null) return;
      event.preventDefault();
      if (!this.frozen) this.freeze();
      const { head } = this.frozen;
      const visible = Math.floor(lattice.canvas.width / lattice.column);
      const from = this.cursor ?? head;
      this.read(Math.max(0, head - visible, Math.min(head - 1, from + step)));
    });
    byId("freeze").addEventListener("click", () => (this.frozen ? this.melt() : this.freeze()));
  }

  read(slot) {
    this.cursor = slot;
    const frame = slot === null ? null : this.shown()?.heard.at(slot);
    let text = "Point at the tokens, or select them and use the arrow keys, to read a single frame.";
    if (slot !== null) text = "No frame here.";
    if (frame) {
      const [word, sentence] = MEANING[frame.mark];
      const name = frame.number === null ? "A frame" : `Frame ${count(frame.number)}`;
      const codes = frame.codes.length ? ` Its codes: ${frame.codes.join(" ")}.` : "";
      text = `${name}. ${word}. ${sentence}${codes}`;
    }
    write(this.readout, text);
    const canvas = this.strips.lattice.canvas;
    attribute(canvas, "aria-valuenow", slot === null ? 0 : Math.max(-150, slot + 1 - this.source().head));
    attribute(canvas, "aria-valuetext", text);
    this.ask();
  }

  /** Says in words what the pictures show; to be called about once a second. */
  describe(name) {
    const shown = this.shown();
    if (!shown || this.call === null) return;
    const { head } = this.source();
    const counts = shown.heard.counts(head, Math.round(5 * this.timeline.slotsPerSecond));
    const parts = MARKS.filter((mark) => counts[mark]).map((mark) => `${counts[mark]} ${MEANING[mark][0].toLowerCase()}`);
    const heard = parts.length ? parts.join(", ") : "nothing yet";
    const { strips } = this;
    attribute(strips.spectrogram.canvas, "aria-label", "Spectrogram of the sound heard: time runs to the right, pitch upwards, brightness is loudness.");
    attribute(strips.marks.canvas, "aria-label", `Frames of the last five seconds: ${heard}.`);
    attribute(strips.lattice.canvas, "aria-label", `Tokens heard from ${name}: ${some(this.colours.rows.length, "row")}, coarse at the top, ${count(Math.round(10 * this.timeline.slotsPerSecond) / 10)} frames a second.`);
    attribute(strips.said.canvas, "aria-label", "Tokens of what you said, drawn in the same way.");
    if (this.cursor === null) attribute(strips.lattice.canvas, "aria-valuetext", `Last five seconds: ${heard}. Arrow keys read single frames.`);
  }
}
