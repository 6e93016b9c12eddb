// A bar that shows a level.

import { attribute, write } from "./dom.js";

/** A meter from `low` to `high`; `target` has the role "meter". */
export class Meter {
  constructor(target, value, { low = -60, high = 0, format }) {
    Object.assign(this, { target, value, low, high, format });
    this.fill = document.createElement("span");
    this.fill.className = "fill";
    this.tick = document.createElement("span");
    this.tick.className = "tick";
    target.append(this.fill, this.tick);
    attribute(target, "aria-valuemin", low);
    attribute(target, "aria-valuemax", high);
    this.set(null);
  }

  share(level) {
    return Math.min(1, Math.max(0, (level - this.low) / (this.high - this.low)));
  }

  /** Moves the bar, and the tick of the peak if there is one. */
  set(level, peak = null) {
    this.level = level;
    this.fill.style.transform = `scaleX(${level == null ? 0 : this.share(level).toFixed(3)})`;
    this.tick.hidden = peak === null || peak <= this.low;
    if (!this.tick.hidden) this.tick.style.left = `${(100 * this.share(peak)).toFixed(1)}%`;
  }

  /** Says the level in words; about once a second, so that it can be read. */
  say() {
    const text = this.format(this.level);
    attribute(this.target, "aria-valuenow", Math.round(Math.min(this.high, Math.max(this.low, this.level ?? this.low))));
    attribute(this.target, "aria-valuetext", text);
    if (this.value) write(this.value, text);
  }
}
