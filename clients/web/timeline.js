// What was heard and said lately, by time. A slot is as long as a frame of the model; slots are counted from the daemon's start.
// Bounded memory: only the last `CAPACITY` slots are kept.

export const CAPACITY = 1024;
// Frames of different sources need not come in step. So much may one lead or lag before it is put right.
const SLACK = 12;

/** Gives out slots in order, near the clock's. */
class Cursor {
  next = null;

  /** The first of `count` slots that end near `head`. */
  take(count, head) {
    const off = this.next === null ? Infinity : Math.abs(this.next + count - head);
    const first = off > SLACK ? head - count : this.next;
    this.next = first + count;
    return first;
  }
}

/** Rows of numbers, one for each slot. */
export class Spectrum {
  constructor(bands) {
    this.bands = bands;
    this.cursor = new Cursor();
    this.slots = new Float64Array(CAPACITY).fill(-1);
    this.values = new Uint8Array(CAPACITY * bands);
  }

  add(rows, head) {
    let slot = this.cursor.take(rows.length, head);
    for (const row of rows) {
      const at = slot % CAPACITY;
      this.slots[at] = slot;
      this.values.set(row.slice(0, this.bands), at * this.bands);
      slot += 1;
    }
  }

  /** The values of a slot, or null. */
  at(slot) {
    const at = slot % CAPACITY;
    return this.slots[at] === slot ? this.values.subarray(at * this.bands, (at + 1) * this.bands) : null;
  }
}

export const MARKS = ["real", "coarse", "predicted", "faded", "silent", "held"];
const MOST_CODEBOOKS = 32;

/** Frames of one direction of a call. */
export class Frames {
  cursor = new Cursor();
  slots = new Float64Array(CAPACITY).fill(-1);
  marks = new Uint8Array(CAPACITY);
  depths = new Uint8Array(CAPACITY);
  numbers = new Float64Array(CAPACITY);
  codes = new Uint16Array(CAPACITY * MOST_CODEBOOKS);

  /** `frames` are those of the API; those said are "real" or "silent". */
  add(frames, head) {
    let slot = this.cursor.take(frames.length, head);
    for (const frame of frames) {
      const at = slot % CAPACITY;
      const depth = Math.min(frame.codes.length, MOST_CODEBOOKS);
      this.slots[at] = slot;
      this.marks[at] = Math.max(0, MARKS.indexOf(frame.mark ?? (frame.silent ? "silent" : "real")));
      this.depths[at] = depth;
      this.numbers[at] = frame.number ?? -1;
      for (let book = 0; book < depth; book += 1) this.codes[at * MOST_CODEBOOKS + book] = frame.codes[book];
      slot += 1;
    }
  }

  /** Where a slot's frame lies in the arrays, or -1. */
  index(slot) {
    const at = slot % CAPACITY;
    return slot >= 0 && this.slots[at] === slot ? at : -1;
  }

  code(index, book) {
    return this.codes[index * MOST_CODEBOOKS + book];
  }

  /** A slot's frame as an object, or null. */
  at(slot) {
    const index = this.index(slot);
    if (index < 0) return null;
    const depth = this.depths[index];
    return {
      number: this.numbers[index] < 0 ? null : this.numbers[index],
      mark: MARKS[this.marks[index]],
      codes: Array.from(this.codes.subarray(index * MOST_CODEBOOKS, index * MOST_CODEBOOKS + depth)),
    };
  }

  /** How many frames of each kind lie in the `slots` slots before `head`. */
  counts(head, slots) {
    const counts = Object.fromEntries(MARKS.map((mark) => [mark, 0]));
    for (let slot = Math.max(0, head - slots); slot < head + SLACK; slot += 1) {
      const index = this.index(slot);
      if (index >= 0) counts[MARKS[this.marks[index]]] += 1;
    }
    return counts;
  }
}

/** All of it: the clock, the sound heard, and each call's frames. */
export class Timeline {
  head = 0;
  slotsPerSecond = 50;
  spectrum = null;
  calls = new Map();

  /** How long the model's frames are. What there was of another model's is forgotten. */
  frameMs(ms) {
    const rate = 1000 / ms;
    if (!(ms > 0) || rate === this.slotsPerSecond) return;
    this.slotsPerSecond = rate;
    this.head = 0;
    this.spectrum = null;
    this.calls.clear();
  }

  /** Takes a `live` message. */
  add(live) {
    const head = Math.round(live.at_s * this.slotsPerSecond);
    if (head < this.head) {
      // The daemon has begun anew, and its clock with it.
      this.spectrum = null;
      this.calls.clear();
    }
    this.head = head;
    const bands = live.spectrogram[0]?.length;
    if (bands) {
      if (this.spectrum?.bands !== bands) this.spectrum = new Spectrum(bands);
      this.spectrum.add(live.spectrogram, head);
    }
    for (const voice of live.calls) {
      const call = this.of(voice.call);
      if (voice.heard.length) call.heard.add(voice.heard, head);
      if (voice.said.length) call.said.add(voice.said, head);
      call.level = voice.level_dbfs;
    }
  }

  of(id) {
    if (!this.calls.has(id)) this.calls.set(id, { heard: new Frames(), said: new Frames(), level: -120 });
    return this.calls.get(id);
  }

  /** Forgets calls that are no longer listed. */
  keep(ids) {
    for (const id of this.calls.keys()) if (!ids.has(id)) this.calls.delete(id);
  }
}
