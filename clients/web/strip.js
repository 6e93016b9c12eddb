// A scrolling picture of slots: each slot is painted once into a ring, the ring is copied to the screen.

// Frames may come this much later than the clock's slot; so many columns are painted again each time.
const REPAINT = 16;

/** A canvas whose right edge is now. `paint(context, x, width, height, slot)` paints one slot, on a clear background. */
export class Strip {
  ring = document.createElement("canvas");
  painted = 0;

  constructor(canvas, paint) {
    Object.assign(this, { canvas, paint, column: 1 });
    this.context = canvas.getContext("2d", { alpha: false });
    this.ringContext = this.ring.getContext("2d");
  }

  /** Fits the canvas to its box. `column` is a slot's width, CSS pixels. Whether anything changed. */
  fit(column, ratio) {
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    const wide = Math.max(1, Math.round(column * ratio));
    if (this.canvas.width === width && this.canvas.height === height && this.column === wide) return false;
    this.column = wide;
    this.canvas.width = width;
    this.canvas.height = height;
    this.capacity = Math.ceil(width / wide) + 2 * REPAINT;
    this.ring.width = this.capacity * wide;
    this.ring.height = height;
    this.painted = 0;
    return true;
  }

  /** Everything is to be painted anew. */
  reset() {
    this.painted = 0;
  }

  /** Shows the slots before `head`. */
  draw(head, background) {
    const { canvas, context, ring, ringContext, column, capacity } = this;
    if (!capacity) return;
    const { width, height } = canvas;
    const visible = Math.min(capacity, Math.ceil(width / column));
    const from = Math.max(0, head - capacity + 1, Math.min(this.painted, head) - REPAINT);
    for (let slot = from; slot < head; slot += 1) {
      const x = (slot % capacity) * column;
      ringContext.fillStyle = background;
      ringContext.fillRect(x, 0, column, height);
      this.paint(ringContext, x, column, height, slot);
    }
    this.painted = head;
    context.fillStyle = background;
    context.fillRect(0, 0, width, height);
    let slot = Math.max(0, head - visible);
    while (slot < head) {
      const at = slot % capacity;
      const run = Math.min(capacity - at, head - slot);
      const x = width - (head - slot) * column;
      context.drawImage(ring, at * column, 0, run * column, height, x, 0, run * column, height);
      slot += run;
    }
  }

  /** A line at a slot, to read it by. */
  line(head, slot, colour) {
    const x = this.canvas.width - (head - slot) * this.column;
    this.context.strokeStyle = colour;
    this.context.lineWidth = Math.max(1, devicePixelRatio);
    this.context.strokeRect(x - 1, 0, this.column + 2, this.canvas.height);
  }

  /** The slot under a horizontal position of the pointer. */
  slotAt(clientX, head) {
    const box = this.canvas.getBoundingClientRect();
    const fromRight = ((box.right - clientX) / box.width) * this.canvas.width;
    return head - 1 - Math.floor(fromRight / this.column);
  }
}
