// Colours of the instrument. OKLCH: lightness and hue as the eye sees them (https://bottosson.github.io/posts/oklab/).

/** OKLCH (lightness 0 to 1, chroma, hue in degrees) as sRGB bytes. */
export function oklch(lightness, chroma, hue) {
  const angle = (hue * Math.PI) / 180;
  const a = chroma * Math.cos(angle);
  const b = chroma * Math.sin(angle);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const encode = (linear) => {
    const value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
    return Math.round(Math.min(1, Math.max(0, value)) * 255);
  };
  return [
    encode(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    encode(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    encode(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

const HUES = 128;
// Neighbouring codes are no more alike than others, so they need not look alike: the golden angle keeps them apart.
const GOLDEN = 0.6180339887;

/** Which hue, 0 to 127, a code has: always the same one. */
const hueOf = (code) => Math.floor(((code * GOLDEN) % 1) * HUES);

/** Colours of codes: hue by code, lightness by codebook, the coarsest farthest from the background. */
export class CodeColours {
  constructor(codebooks, dark) {
    this.rows = Array.from({ length: codebooks }, (_, book) => {
      const fine = codebooks > 1 ? book / (codebooks - 1) : 0;
      const lightness = dark ? 0.8 - 0.38 * fine : 0.57 + 0.28 * fine;
      const chroma = 0.115 - 0.055 * fine;
      return Array.from({ length: HUES }, (_, hue) => css(oklch(lightness, chroma, (hue * 360) / HUES)));
    });
  }

  of(book, code) {
    return this.rows[Math.min(book, this.rows.length - 1)][hueOf(code)];
  }
}

/** 256 colours from the background to the loudest, one hue, lightness even: RGBA bytes in a row. */
export function heat(dark, background) {
  const table = new Uint8ClampedArray(256 * 4);
  for (let value = 0; value < 256; value += 1) {
    // Below a third is the hiss of an idle line: left to the background.
    const loud = Math.max(0, (value - 70) / 185);
    const colour = dark
      ? oklch(0.22 + 0.74 * loud, 0.02 + 0.3 * loud * (1 - loud) * 0.75, 200 - 80 * loud)
      : oklch(0.985 - 0.76 * loud, 0.01 + 0.36 * loud * (1 - loud), 160 + 40 * loud);
    // From the background into the scale without an edge.
    const mix = Math.min(1, loud * 6);
    for (let part = 0; part < 3; part += 1) table[value * 4 + part] = background[part] * (1 - mix) + colour[part] * mix;
    table[value * 4 + 3] = 255;
  }
  return table;
}

/** `#rrggbb` as bytes. */
export const bytesOf = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
