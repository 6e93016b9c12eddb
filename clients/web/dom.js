// Small helpers for the document: elements, lists whose rows keep their focus, sliders that do not fight the user.

export const byId = (id) => document.getElementById(id);

/**
 * Text that others may have written (names of peers and of files, words of other programs), as it may be shown: nothing in it is invisible,
 * turns the direction of what is read, or goes on without end. The same characters as `daemon/guard/src/plain_text.rs` has.
 */
export function plain(text) {
  if (typeof text !== "string") return text;
  const shown = text.replace(MISLEADING, "\uFFFD");
  return shown.length > MOST_SHOWN ? `${shown.slice(0, MOST_SHOWN - 3)}...` : shown;
}
const MISLEADING =
  /(?![\n\t])\p{Cc}|[\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\u2800\u3164\uFEFF\uFFA0\uFFF9-\uFFFB]|[\u{1BCA0}-\u{1BCA3}\u{1D173}-\u{1D17A}\u{E0000}-\u{E0FFF}]/gu;
const MOST_SHOWN = 2000;

/** Makes an element. Properties are set as such, `on...` are listeners, names with a dash are attributes. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") made.setAttribute(name, plain(value));
    else made[name] = name === "textContent" || name === "title" ? plain(value) : value;
  }
  made.append(...children.filter((child) => child != null).map(plain));
  return made;
}

/** Writes text only where it differs: no needless layout, no needless speech of a screen reader. */
export function write(target, text) {
  const shown = plain(text);
  if (target.textContent !== shown) target.textContent = shown;
}

export function attribute(target, name, value) {
  const shown = plain(String(value));
  if (target.getAttribute(name) !== shown) target.setAttribute(name, shown);
}

export function show(target, shown) {
  if (target.hidden === shown) target.hidden = !shown;
}

/**
 * Brings `list`'s rows in line with `items`: rows are made once for each key, then updated in place.
 * `make(item)` returns `{root, update(item)}`.
 */
export class Rows {
  constructor(list, key, make) {
    Object.assign(this, { list, key, make, rows: new Map() });
  }

  update(items) {
    const wanted = new Set(items.map(this.key));
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) {
        row.root.remove();
        this.rows.delete(key);
      }
    }
    items.forEach((item, index) => {
      let row = this.rows.get(this.key(item));
      if (!row) {
        row = this.make(item);
        this.rows.set(this.key(item), row);
      }
      if (this.list.children[index] !== row.root) this.list.insertBefore(row.root, this.list.children[index] ?? null);
      row.update(item);
    });
  }
}

const SEND_AFTER_MS = 120;
const TRUST_USER_MS = 1500;

/**
 * A slider over a number that the daemon keeps. `send(number)` goes out at most every 120 ms; what the daemon says is
 * shown only while the user's hand is off.
 */
export class Slider {
  constructor(input, output, text, send) {
    Object.assign(this, { input, output, text, send, changed: -Infinity, timer: null, unsent: null });
    input.addEventListener("input", () => this.moved());
  }

  moved() {
    this.changed = performance.now();
    this.say();
    // For the target that the slider shows now: by the time it is sent, another call may be selected.
    const { send } = this;
    const value = Number(this.input.value);
    this.unsent = () => send(value);
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.unsent();
    }, SEND_AFTER_MS);
  }

  say(value = Number(this.input.value)) {
    const text = this.text(value);
    write(this.output, text);
    attribute(this.input, "aria-valuetext", text);
  }

  update(value) {
    if (performance.now() - this.changed < TRUST_USER_MS) return this.say();
    // The slider may know coarser steps than the daemon: the words are exact.
    if (Number(this.input.value) !== value) this.input.value = value;
    this.say(value);
  }

  /** The slider now stands for something else. */
  forget() {
    this.changed = -Infinity;
  }
}

/** A switch over a truth that the daemon keeps: it shows the user's wish until the daemon has answered. */
export class Switch {
  constructor(input, send) {
    Object.assign(this, { input, pending: 0, last: input.checked });
    input.addEventListener("change", async () => {
      this.pending += 1;
      const done = await send(input.checked);
      this.pending -= 1;
      if (done === false) input.checked = this.last;
    });
  }

  update(value) {
    this.last = value;
    if (!this.pending && this.input.checked !== value) this.input.checked = value;
  }
}
