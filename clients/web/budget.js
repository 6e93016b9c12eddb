// A sum and its parts, as one stacked bar with figures below.

import { attribute, element, write } from "./dom.js";
import { helpButton } from "./help.js";

/**
 * `parts` are `{key, name, help}` in the order of the bar. `format` writes a number with its unit. With `scale(total)`, the
 * bar ends at that number and has a mark at `mark.at`; without, the bar is the whole.
 */
export class Budget {
  constructor(root, { title, parts, format, scale, mark }) {
    Object.assign(this, { title, parts, format, scale, mark });
    this.sum = element("p", { className: "sum" });
    this.bar = element("div", { className: "bar", role: "img", "aria-label": title });
    this.pieces = parts.map((part, index) => {
      const piece = element("span", { className: `piece piece-${index}` });
      const value = element("dd");
      return { part, piece, value };
    });
    this.bar.append(...this.pieces.map(({ piece }) => piece));
    this.rest = element("span", { className: "rest" });
    if (scale) this.bar.append(this.rest);
    const rows = this.pieces.map(({ part, value }, index) =>
      element("div", {}, element("dt", {}, element("span", { className: `swatch piece-${index}`, "aria-hidden": "true" }), `${part.name} `, helpButton(part.help)), value),
    );
    root.append(this.sum, this.bar);
    if (mark) {
      this.markLine = element("span", { className: "bar-mark", "aria-hidden": "true" });
      this.bar.append(this.markLine);
      this.markText = element("p", { className: "bar-note soft", textContent: mark.text });
      root.append(this.markText);
    }
    root.append(element("dl", { className: "parts" }, ...rows));
  }

  /** `values` by key, their `total`, and what is said after the sum. */
  update(values, total, after) {
    const whole = this.scale ? this.scale(total) : total;
    for (const { part, piece, value } of this.pieces) {
      const number = Math.max(0, values[part.key]);
      piece.style.flexGrow = whole > 0 ? number / whole : 0;
      write(value, this.format(number));
    }
    this.rest.style.flexGrow = whole > 0 ? Math.max(0, 1 - total / whole) : 1;
    if (this.markLine) this.markLine.style.left = `${(100 * this.mark.at) / whole}%`;
    this.sum.replaceChildren(element("strong", { textContent: this.format(total) }), element("span", { className: "soft", textContent: after }));
    attribute(this.bar, "aria-label", `${this.title}: ${this.parts.map((part) => `${part.name} ${this.format(values[part.key])}`).join(", ")}.`);
  }
}

export const bitrateBudget = (root, format) =>
  new Budget(root, {
    title: "Wire bitrate",
    format,
    parts: [
      { key: "speech", name: "Speech", help: "speech" },
      { key: "redundancy", name: "Redundancy", help: "redundancy" },
      { key: "headers", name: "Headers", help: "headers" },
      { key: "ip", name: "IP", help: "ip" },
    ],
  });

// Above this, people begin to talk into each other (ITU-T G.114).
const NOTICED_MS = 150;

export const delayBudget = (root, format) =>
  new Budget(root, {
    title: "Delay",
    format,
    scale: (total) => Math.max(200, total * 1.05),
    mark: { at: NOTICED_MS, text: `The line is at ${NOTICED_MS} ms: up to there, talk feels direct.` },
    parts: [
      { key: "capture", name: "Capture", help: "capture" },
      { key: "frame", name: "Frame", help: "frame" },
      { key: "network", name: "Network", help: "network" },
      { key: "jitter_buffer", name: "Jitter buffer", help: "jitter" },
      { key: "codec", name: "Coding", help: "codec" },
      { key: "device", name: "Device", help: "device" },
    ],
  });
