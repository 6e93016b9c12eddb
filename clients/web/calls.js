// Who is in the call: a card for each call, and the selected one at large.

import { bitrateBudget, delayBudget } from "./budget.js";
import { Rows, Slider, Switch, attribute, byId, element, show, write } from "./dom.js";
import { helpButton } from "./help.js";
import { Meter } from "./meter.js";
import { clock, count, decibels, kbps, level, microseconds, milliseconds, percent, some } from "./units.js";

/** What to call a peer. */
export const nameOf = (call) => call.peer.name ?? (call.peer.fingerprint ? `Stranger ${call.peer.fingerprint}` : call.peer.address);

/** Whether a call waits for an answer here. */
export const rings = (call) => call.state === "ringing" && call.direction === "incoming";

function stateText(call) {
  if (call.state === "calling") return "Looking for them";
  if (call.state === "ringing") return rings(call) ? "Is calling you" : "Ringing there";
  if (call.state === "ended") return call.failure ? "Failed" : "Ended";
  if (call.held && call.held_by_peer) return "On hold on both sides";
  if (call.held) return "On hold";
  if (call.held_by_peer) return "They hold the call";
  return clock(call.figures?.elapsed_s ?? 0);
}

/** What can be done about a call; `act(method, path, body)` asks the daemon and answers false if it did not work. */
export class CallActions {
  constructor(act) {
    this.act = act;
  }

  path(call, rest = "") {
    return `/calls/${call.id}${rest}`;
  }

  answer(call) {
    return this.act("POST", this.path(call, "/answer"));
  }

  refuse(call, reason = "declined") {
    return this.act("POST", this.path(call, "/refuse"), { reason });
  }

  end(call) {
    return rings(call) ? this.refuse(call) : this.act("DELETE", this.path(call));
  }

  change(call, change) {
    return this.act("PATCH", this.path(call), change);
  }

  hold(call) {
    return this.change(call, { held: !call.held });
  }

  record(call) {
    return this.act(call.recording ? "DELETE" : "POST", this.path(call, "/recording"));
  }
}

/** The cards. */
export class Cards {
  constructor(actions, select) {
    this.list = byId("cards");
    this.rows = new Rows(this.list, (call) => call.id, (call) => this.card(call.id, actions, select));
  }

  card(id, actions, select) {
    let now = null;
    const title = element("strong");
    const state = element("span", { className: "soft" });
    const meterBox = element("span", { className: "meter thin", role: "meter", "aria-label": "Their level" });
    const meter = new Meter(meterBox, null, { format: level });
    const pick = element("button", { type: "button", className: "card-pick", onclick: () => select(id) }, title, state);
    const answer = element("button", { type: "button", className: "primary", textContent: "Answer", onclick: () => actions.answer(now) });
    const hold = element("button", { type: "button", onclick: () => actions.hold(now) });
    const end = element("button", { type: "button", className: "end", onclick: () => actions.end(now) });
    const buttons = element("span", { className: "card-buttons" }, answer, hold, end);
    const root = element("li", { className: "card" }, pick, meterBox, buttons);
    return {
      root,
      meter,
      update: (call) => {
        now = call;
        const name = nameOf(call);
        write(title, name);
        write(state, stateText(call));
        root.dataset.state = call.state;
        root.classList.toggle("rings", rings(call));
        attribute(pick, "aria-pressed", this.selected === call.id);
        show(answer, rings(call));
        show(hold, call.state === "active");
        show(end, call.state !== "ended");
        write(hold, call.held ? "Take up" : "Hold");
        write(end, rings(call) ? "Refuse" : "Hang up");
        attribute(answer, "aria-label", `Answer ${name}`);
        attribute(hold, "aria-label", `${hold.textContent}: ${name}`);
        attribute(end, "aria-label", `${end.textContent}: ${name}`);
        attribute(meterBox, "aria-label", `Level of ${name}`);
        meter.say();
      },
    };
  }

  update(calls, selected) {
    this.selected = selected;
    show(this.list, calls.length > 1);
    this.rows.update(calls);
  }

  live(voices) {
    for (const voice of voices) this.rows.rows.get(voice.call)?.meter.set(voice.level_dbfs);
  }
}

/** How old the keys are; they are to be agreed upon anew every two minutes. */
function keys({ rekeys, key_age_s, rekey_overdue }) {
  if (rekeys == null) return "never: the peer's program is too old";
  const minutes = Math.floor(key_age_s / 60);
  if (rekey_overdue) return `not for ${minutes} minutes: something on the way prevents it`;
  return minutes < 1 ? "less than a minute ago" : `${minutes} min ago`;
}

const FACTS = [
  ["Lost on the way here", "loss_heard", (call) => percent(call.figures.loss_heard)],
  ["Lost on the way there", "loss_sent", (call) => percent(call.figures.loss_sent)],
  ["Received", null, (call) => kbps(call.figures.received_kbps)],
  ["The path carries", "path", (call) => (call.figures.path_kbps > 0 ? kbps(call.figures.path_kbps) : "not known yet")],
  ["Round trip", "round_trip", (call) => milliseconds(call.figures.round_trip_ms)],
  ["Bits per frame", "entropy", (call) => (call.figures.bits_per_frame == null ? "silent" : `${call.figures.bits_per_frame.toFixed(1)} bits`)],
  ["Frames as sent", null, (call) => count(call.figures.frames.real)],
  ["Coarse copies", null, (call) => count(call.figures.frames.coarse)],
  ["Predicted", null, (call) => count(call.figures.frames.predicted)],
  ["Faded out", null, (call) => count(call.figures.frames.faded)],
  ["Silence", null, (call) => count(call.figures.frames.silent)],
  ["Came too late", "late", (call) => count(call.figures.frames.late)],
  ["Keys renewed", null, (call) => keys(call.figures)],
  ["Encode, decode", "coding", (call) => `${microseconds(call.figures.encode_us_p99)}, ${microseconds(call.figures.decode_us_p99)}`],
];

/** A list of terms with figures; `facts` are `[name, help or null, format]`. */
export class Facts {
  constructor(root, facts) {
    this.rows = facts.map(([name, help, format]) => {
      const value = element("dd");
      root.append(element("div", {}, element("dt", {}, `${name} `, help && helpButton(help)), value));
      return { value, format };
    });
  }

  update(about) {
    for (const { value, format } of this.rows) write(value, format(about));
  }
}

/** The selected call. */
export class CallPanel {
  call = null;
  audio = null;

  constructor(actions, { setAudio, talk, befriend, again }) {
    this.actions = actions;
    const now = (change) => () => this.call && change(this.call);
    const press = (id, action) => byId(id).addEventListener("click", now(action));
    press("answer", (call) => actions.answer(call));
    press("refuse", (call) => actions.refuse(call));
    press("busy", (call) => actions.refuse(call, "busy"));
    press("again", (call) => again(call));
    press("hold", (call) => actions.hold(call));
    press("record", (call) => actions.record(call));
    press("end", (call) => actions.end(call));
    press("befriend", (call) => befriend(call));
    byId("mute").addEventListener("click", () => setAudio({ muted: !this.audio.muted }));
    this.conference = new Switch(byId("conference"), (conference) => actions.change(this.call, { conference }));
    this.adapt = new Switch(byId("adapt"), (adapt) => actions.change(this.call, { adapt }));
    const slider = (id, text, field) => {
      const made = new Slider(byId(id), byId(`${id}-value`), text, null);
      made.field = field;
      return made;
    };
    this.frameMs = 20;
    this.sliders = {
      volume: slider("volume", decibels, "volume_db"),
      depth: slider("depth", (value) => `${some(value, "row")}${this.nowText("depth", value)}`, "depth"),
      bundling: slider("bundling", (value) => `${some(value, "frame")}, ${Math.round(value * this.frameMs)} ms${this.nowText("frames_per_packet", value)}`, "frames_per_packet"),
      latency: slider("latency", (value) => `${value} ms at most`, "latency_ms"),
    };
    this.you = new Meter(byId("meter-you"), byId("meter-you-value"), { format: level });
    this.them = new Meter(byId("meter-peer"), byId("meter-peer-value"), { format: level });
    this.bitrate = bitrateBudget(byId("bitrate"), kbps);
    this.delay = delayBudget(byId("delay"), milliseconds);
    this.facts = new Facts(byId("facts"), FACTS);
    this.talkButton(talk);
  }

  /** What is sent now, where it is not what was asked for. */
  nowText(field, asked) {
    const sent = this.call?.figures?.[field];
    return sent && sent !== asked ? ` · now ${sent}` : "";
  }

  talkButton(talk) {
    const button = byId("talk");
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      talk(true);
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(name, () => talk(false));
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    button.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.repeat) talk(true);
    });
    button.addEventListener("keyup", (event) => {
      if (event.key === "Enter") talk(false);
    });
    button.addEventListener("blur", () => talk(false));
  }

  update(call, audio, bundle) {
    const other = call?.id !== this.call?.id;
    this.call = call;
    this.audio = audio;
    show(byId("call"), call !== null);
    if (!call) return;
    const name = nameOf(call);
    const active = call.state === "active";
    byId("call").dataset.state = call.state;
    write(byId("peer"), name);
    const tokens = call.codec === "opus" ? "Opus" : null;
    const sub = [call.peer.name && call.peer.fingerprint, call.peer.address, tokens].filter(Boolean);
    write(byId("peer-sub"), sub.join(" · "));
    show(byId("befriend"), !call.peer.name && call.peer.key !== null);
    write(byId("elapsed"), active ? clock(call.figures?.elapsed_s ?? 0) : stateText(call));
    this.note(call);
    this.buttons(call, audio, active);
    write(byId("meter-peer-name"), name);
    attribute(byId("meter-peer"), "aria-label", `Level of ${name}`);
    this.conference.update(call.conference);
    this.adapt.update(call.settings.adapt);
    byId("depth").max = bundle.codebooks.length;
    // Opus has frames of its own.
    this.frameMs = call.codec === "opus" ? 20 : bundle.frame_ms;
    const values = { volume: call.volume_db, depth: call.settings.depth, bundling: call.settings.frames_per_packet, latency: call.settings.latency_ms };
    for (const [key, slider] of Object.entries(this.sliders)) {
      if (other) slider.forget();
      slider.send = (value) => this.actions.change(call, { [slider.field]: value });
      slider.update(values[key]);
    }
    const { figures } = call;
    for (const id of ["meters", "scope", "budgets", "facts"]) show(byId(id), active && figures !== null);
    show(byId("settings"), active);
    if (!active || !figures) return;
    const copies = figures.copies ? ` · ${some(figures.copies, "copy").replace("copys", "copies")} in each packet` : "";
    this.bitrate.update(figures.sent, figures.sent.wire, `${some(figures.frames_per_packet, "frame")} in each packet${copies}`);
    this.delay.update(figures.budget, figures.budget.total, "mouth to ear");
    this.facts.update(call);
    this.you.say();
    this.them.say();
  }

  note(call) {
    let text = "";
    if (call.state === "active" && call.recorded_by_peer) text = `${nameOf(call)} records this call.`;
    if (call.state === "ended") text = call.failure ?? "The call is over. It disappears from here within a minute.";
    else if (rings(call)) text = call.peer.name ? `${nameOf(call)} would like to talk to you.` : "None of your contacts has this key. If you answer, ask for their fingerprint, and compare.";
    else if (call.codec === "opus") text += (text && " ") + "The two sides share no model, so this call uses Opus: it takes more bits, and there are no tokens to see.";
    write(byId("call-note"), text);
    show(byId("call-note"), text !== "");
    byId("call-note").classList.toggle("warn", call.failure !== null || (call.state === "active" && call.recorded_by_peer));
  }

  buttons(call, audio, active) {
    const incoming = rings(call);
    for (const id of ["answer", "refuse", "busy"]) show(byId(id), incoming);
    for (const id of ["mute", "hold", "record"]) show(byId(id), active);
    show(byId("again"), call.state === "ended" && call.direction === "outgoing");
    show(byId("end"), !incoming && call.state !== "ended");
    show(byId("talk"), active && audio.push_to_talk);
    const label = (id, text) => write(byId(id).querySelector(".text"), text);
    label("end", active ? "Hang up" : "Cancel");
    label("mute", audio.muted ? "Unmute" : "Mute");
    attribute(byId("mute"), "aria-pressed", audio.muted);
    label("hold", call.held ? "Take up again" : "Hold");
    attribute(byId("hold"), "aria-pressed", call.held);
    label("record", call.recording ? "Stop recording" : "Record");
    attribute(byId("record"), "aria-pressed", call.recording !== null);
    label("talk", audio.talking ? "You are heard" : "Hold to talk");
    attribute(byId("talk"), "aria-pressed", audio.talking);
  }

  live(live) {
    if (!this.call) return;
    this.you.set(live.meters.input_rms_dbfs, live.meters.input_peak_dbfs);
    const voice = live.calls.find((each) => each.call === this.call.id);
    if (voice) this.them.set(voice.level_dbfs);
  }
}
