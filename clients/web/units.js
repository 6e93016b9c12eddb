// Numbers as people read them, each with its unit.

const missing = "–";

export const decibels = (value) => (value == null ? missing : `${value > 0 ? "+" : ""}${Math.round(value)} dB`.replace("-", "−"));

export const level = (value) => (value == null || value <= -90 ? "silent" : `${Math.round(value)} dBFS`.replace("-", "−"));

export const kbps = (value) => (value == null ? missing : `${value < 10 ? value.toFixed(2) : value.toFixed(1)} kbps`);

export const milliseconds = (value) => (value == null ? missing : `${Math.round(value)} ms`);

export const microseconds = (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} ms` : `${value} µs`);

export const percent = (share) => `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

export const count = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");

/** A count and its word: "1 frame", "3 frames". */
export const some = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

/** Seconds as 4:07 or 1:02:09. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export function bytes(value) {
  if (value < 1000) return `${value}\u00a0B`;
  return value < 1e6 ? `${(value / 1000).toFixed(1)}\u00a0kB` : `${(value / 1e6).toFixed(1)}\u00a0MB`;
}

export const when = (seconds) =>
  new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
