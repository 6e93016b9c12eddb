// How one slot looks: sound, marks of losses, tokens.

import { MARKS } from "./timeline.js";

/** Paints a slot's bands, the lowest at the bottom. `colours` are 256 RGBA colours. */
export function soundPainter(spectrum, colours) {
  let image = null;
  const tiny = document.createElement("canvas");
  const tinyContext = tiny.getContext("2d");
  return (context, x, width, height, slot) => {
    const values = spectrum()?.at(slot);
    if (!values) return;
    const bands = values.length;
    if (image?.height !== bands) {
      tiny.width = 1;
      tiny.height = bands;
      image = tinyContext.createImageData(1, bands);
    }
    const table = colours();
    for (let band = 0; band < bands; band += 1) {
      const from = values[band] * 4;
      image.data.set(table.subarray(from, from + 4), (bands - 1 - band) * 4);
    }
    tinyContext.putImageData(image, 0, 0);
    context.drawImage(tiny, 0, 0, 1, bands, x, 0, width, height);
  };
}

function hatch(colour) {
  const tile = document.createElement("canvas");
  tile.width = 6;
  tile.height = 6;
  const context = tile.getContext("2d");
  context.fillStyle = colour;
  for (let y = 0; y < 6; y += 1) for (let x = 0; x < 6; x += 1) if ((x + y) % 6 < 3) context.fillRect(x, y, 1, 1);
  return tile;
}

/**
 * Paints marks. Shape and pattern tell them apart without colour, and height says how bad it is: a line for what came as
 * it was sent, a half-high block for a coarse copy, a hatched one for a guess, a full one for silence where speech was.
 */
export class MarkPainter {
  constructor(theme) {
    this.theme = theme;
    this.pattern = null;
  }

  paint(context, x, width, height, mark) {
    const { theme } = this;
    const unit = Math.max(1, Math.round(height / 18));
    context.fillStyle = theme.warn;
    if (mark === "real") {
      context.fillStyle = theme.soft;
      context.fillRect(x, height - 2 * unit, width, 2 * unit);
    } else if (mark === "silent") {
      context.fillStyle = theme.soft;
      context.fillRect(x, height - 2 * unit, Math.ceil(width / 3), 2 * unit);
    } else if (mark === "coarse") {
      context.fillStyle = theme.accent;
      context.fillRect(x, Math.round(height * 0.5), width, height - Math.round(height * 0.5));
    } else if (mark === "held") {
      context.fillStyle = theme.soft;
      context.fillRect(x, Math.round(height * 0.3), width, unit);
      context.fillRect(x, height - unit, width, unit);
    } else if (mark === "predicted") {
      this.pattern ??= context.createPattern(hatch(theme.warn), "repeat");
      const top = Math.round(height * 0.25);
      context.fillStyle = this.pattern;
      context.fillRect(x, top, width, height - top);
      context.fillStyle = theme.warn;
      context.fillRect(x, top, width, unit);
    } else if (mark === "faded") {
      context.fillRect(x, 0, width, height);
    }
  }
}

/** Paints a frame's codes, the coarsest at the top. Guessed frames are pale; rows that were not sent are `unused`. */
export function paintCodes(context, x, width, height, frames, slot, colours, unused) {
  const index = frames.index(slot);
  if (index < 0) return;
  const mark = MARKS[frames.marks[index]];
  const rows = colours.rows.length;
  const depth = frames.depths[index];
  if (depth === 0) return;
  const gap = height / rows >= 8 ? 1 : 0;
  const pale = mark === "predicted" || mark === "held";
  for (let book = 0; book < rows; book += 1) {
    const top = Math.round((book * height) / rows);
    const bottom = Math.round(((book + 1) * height) / rows);
    const sent = book < depth;
    context.globalAlpha = sent ? (pale ? 0.4 : 1) : 0.3;
    context.fillStyle = sent ? colours.of(book, frames.code(index, book)) : unused;
    context.fillRect(x, top, width, bottom - top - gap);
  }
  context.globalAlpha = 1;
}
