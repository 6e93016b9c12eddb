// Devices, gains, and the stages that the own voice passes.

import { Facts } from "./calls.js";
import { Slider, Switch, byId, element, write } from "./dom.js";
import { helpButton } from "./help.js";
import { Meter } from "./meter.js";
import { count, decibels, milliseconds } from "./units.js";

/** Stage -> its name, and its meter: the field, the ends, and how it reads. */
const STAGES = [
  ["high_pass", "Rumble filter", null],
  ["echo_cancellation", "Echo cancellation", { field: "echo_return_loss_enhancement_db", low: 0, high: 40, none: "no echo" }],
  ["noise_suppression", "Noise suppression", { field: "noise_reduction_db", low: 0, high: 30, none: "–" }],
  ["gain_control", "Level control", { field: "gain_db", low: 0, high: 30, none: "–" }],
  ["silence", "Silence detection", null],
];

const ppm = (value) => `${value > 0 ? "+" : ""}${value.toFixed(0)} ppm`.replace("-", "−");

const FACTS = [
  ["Real-time threads", null, ({ realtime }) => (realtime === null ? "no call" : realtime ? "yes" : "not allowed; see parlo doctor")],
  ["Deadline misses", "misses", (figures) => `${count(figures.deadline_misses)} of ${count(figures.blocks)}`],
  ["Sound server late", "server-late", (figures) => count(figures.server_late)],
  ["Microphone overran", null, (figures) => `${count(figures.capture_overruns)} times`],
  ["Loudspeaker ran dry", null, (figures) => `${count(figures.playback_underruns)} times`],
  ["Behind the microphone", null, (figures) => milliseconds(figures.capture_ring_ms)],
  ["Before the loudspeaker", null, (figures) => milliseconds(figures.playback_ring_ms)],
  ["Microphone clock", "drift", (figures) => ppm(figures.capture_drift_ppm)],
  ["Loudspeaker clock", "drift", (figures) => ppm(figures.playback_drift_ppm)],
];

export class Sound {
  devices = [];
  audio = null;

  constructor(act) {
    this.act = act;
    this.set = (change) => act("PATCH", "/audio", change);
    for (const end of ["source", "sink"]) {
      const select = byId(end);
      select.addEventListener("change", async () => {
        if ((await this.set({ [end]: select.value })) === false) this.fill();
      });
      select.addEventListener("focus", () => this.refresh());
    }
    const slider = (id, text, field) => new Slider(byId(id), byId(`${id}-value`), text, (value) => this.set({ [field]: value }));
    this.inputGain = slider("input-gain", decibels, "input_gain_db");
    this.outputGain = slider("output-gain", decibels, "output_gain_db");
    this.sideTone = slider("side-tone", (value) => (value <= -60 ? "off" : decibels(value)), "side_tone_db");
    this.pushToTalk = new Switch(byId("ptt"), (on) => this.set({ push_to_talk: on }));
    this.stages = STAGES.map(([field, name, meter]) => this.stage(field, name, meter));
    this.facts = new Facts(byId("sound-facts"), FACTS);
  }

  stage(field, name, meter) {
    const input = element("input", { type: "checkbox", role: "switch" });
    const value = element("span", { className: "meter-value" });
    const row = element("li", { className: "stage-row" }, element("label", { className: "switch" }, input, element("span", { textContent: name })), helpButton(field));
    let bar = null;
    if (meter) {
      const box = element("span", { className: "meter thin", role: "meter", "aria-label": name });
      const format = (number) => (number == null ? meter.none : decibels(number));
      bar = new Meter(box, value, { low: meter.low, high: meter.high, format });
      row.append(box);
    }
    row.append(value);
    byId("stages").append(row);
    return { field, meter, bar, value, toggle: new Switch(input, (on) => this.set({ [field]: on })) };
  }

  async refresh() {
    const devices = await this.act("GET", "/devices");
    if (devices === false) return;
    this.devices = devices;
    this.fill();
  }

  fill() {
    if (!this.audio) return;
    this.fillOne(byId("source"), "input", this.audio.endpoints.source);
    this.fillOne(byId("sink"), "output", this.audio.endpoints.sink);
  }

  fillOne(select, direction, current) {
    const all = this.devices.filter((device) => device.direction === direction);
    const own = all.filter((device) => !device.is_monitor);
    // Not microphones: what this machine plays. For whoever means to send that.
    const monitors = all.filter((device) => device.is_monitor).map((device) => [`device:${device.id}`, device.name]);
    const preferred = own.find((device) => device.is_default);
    const options = [["default", preferred ? `System's choice (${preferred.name})` : "System's choice"]];
    options.push(...own.map((device) => [`device:${device.name}`, device.name]), ["none", "None"]);
    if (![...options, ...monitors].some(([value]) => value === current)) options.push([current, current]);
    const key = JSON.stringify([options, monitors]);
    if (select.dataset.options !== key) {
      select.dataset.options = key;
      const choices = (list) => list.map(([value, text]) => element("option", { value, textContent: text }));
      select.replaceChildren(...choices(options));
      if (monitors.length) select.append(element("optgroup", { label: "What this machine plays" }, ...choices(monitors)));
    }
    if (select.value !== current) select.value = current;
  }

  update(audio) {
    this.audio = audio;
    // Not under an open list.
    if (document.activeElement !== byId("source") && document.activeElement !== byId("sink")) this.fill();
    this.inputGain.update(audio.input_gain_db);
    this.outputGain.update(audio.output_gain_db);
    this.sideTone.update(audio.side_tone_db ?? -60);
    this.pushToTalk.update(audio.push_to_talk);
    this.meters(audio.meters);
    for (const { field, toggle, bar, value } of this.stages) {
      toggle.update(audio.stages[field]);
      bar?.say();
      if (field === "silence") write(value, audio.stages.silence ? (audio.meters.speech ? "speech" : "silence") : "");
    }
    this.facts.update(audio.figures);
  }

  meters(meters) {
    for (const { meter, bar } of this.stages) bar?.set(meters[meter.field]);
  }
}
