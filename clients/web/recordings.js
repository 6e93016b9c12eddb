// Recordings: the list, playback in the page, downloads.

import { Rows, attribute, byId, element, show, write } from "./dom.js";
import { sureButton } from "./people.js";
import { bytes, clock, when } from "./units.js";

const path = (name, ending) => `/api/v1/recordings/${encodeURIComponent(name)}.${ending}`;

export class Recordings {
  playing = null;

  constructor(act) {
    this.act = act;
    this.audio = byId("audio");
    this.rows = new Rows(byId("recordings"), (recording) => recording.name, () => this.row());
    for (const side of document.querySelectorAll("input[name=side]")) side.addEventListener("change", () => this.load());
    setInterval(() => {
      if (this.running && !document.hidden) this.refresh();
    }, 3000);
  }

  async refresh() {
    const recordings = await this.act("GET", "/recordings");
    if (recordings === false) return;
    recordings.sort((one, other) => other.began_s - one.began_s);
    this.running = recordings.some((recording) => recording.running);
    this.rows.update(recordings);
    show(byId("recordings-empty"), recordings.length === 0);
    if (this.playing && !recordings.some(({ name }) => name === this.playing.name)) this.stop();
  }

  stop() {
    this.playing = null;
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
    show(byId("player"), false);
  }

  play(recording) {
    this.playing = recording;
    show(byId("player"), true);
    write(byId("player-name"), `${recording.peer}, ${when(recording.began_s)}`);
    this.load();
  }

  load() {
    if (!this.playing) return;
    const side = document.querySelector("input[name=side]:checked").value;
    this.audio.src = `${path(this.playing.name, "wav")}?side=${side}`;
    // A browser may want to be asked by hand: then its own button is there.
    this.audio.play().catch(() => {});
  }

  row() {
    let now = null;
    const title = element("strong");
    const detail = element("span", { className: "soft" });
    const play = element("button", { type: "button", textContent: "Play", onclick: () => this.play(now) });
    const wav = element("a", { textContent: "WAV", className: "quiet" });
    const tokens = element("a", { textContent: "Tokens", className: "quiet" });
    const remove = sureButton("Delete", async () => {
      await this.act("DELETE", `/recordings/${encodeURIComponent(now.name)}`);
      this.refresh();
    });
    const tools = element("div", { className: "item-tools" }, wav, tokens, remove);
    const root = element("li", {}, element("div", { className: "item" }, element("div", { className: "item-text" }, title, detail), play), tools);
    return {
      root,
      update: (recording) => {
        now = recording;
        const which = `${recording.peer}, ${when(recording.began_s)}`;
        write(title, recording.peer);
        const state = recording.running ? "being made" : recording.broken_off ? "broke off, but what is there is whole" : null;
        write(detail, [when(recording.began_s), clock(recording.duration_s), bytes(recording.bytes), state].filter(Boolean).join(" · "));
        root.classList.toggle("running", recording.running);
        show(play, !recording.running);
        show(tools, !recording.running);
        wav.href = path(recording.name, "wav");
        wav.download = `${recording.name}.wav`;
        tokens.href = path(recording.name, "ptk");
        tokens.download = `${recording.name}.ptk`;
        attribute(play, "aria-label", `Play ${which}`);
        attribute(wav, "aria-label", `Download ${which} as WAV`);
        attribute(tokens, "aria-label", `Download ${which} as tokens`);
        attribute(remove, "aria-label", `Delete ${which}`);
      },
    };
  }
}
