// The page: puts the daemon's news before the user, and the user's wishes before the daemon.

import { Events, Refused, ask } from "./api.js";
import { CallActions, CallPanel, Cards, nameOf, rings } from "./calls.js";
import { Switch, attribute, byId, element, plain, show, write } from "./dom.js";
import { startHelp } from "./help.js";
import { People } from "./people.js";
import { Recordings } from "./recordings.js";
import { Scope } from "./scope.js";
import { startShortcuts } from "./shortcuts.js";
import { Sound } from "./sound.js";
import { Timeline } from "./timeline.js";
import { clock } from "./units.js";

const MOST_NOTICES = 4;
const NOTICE_MS = 10000;

let status = null;
let heardAt = 0;
let selected = null;
let link = "connecting";

function notice(text) {
  const list = byId("notices");
  const close = element("button", { type: "button", className: "round", textContent: "×", "aria-label": "Dismiss this notice" });
  const box = element("div", { className: "notice" }, element("p", { textContent: text }), close);
  close.addEventListener("click", () => box.remove());
  // Somebody who reads it is given the time.
  const fade = () => (box.matches(":hover, :focus-within") ? setTimeout(fade, 2000) : box.remove());
  setTimeout(fade, NOTICE_MS);
  list.append(box);
  while (list.children.length > MOST_NOTICES) list.firstElementChild.remove();
}

/** Asks the daemon; what goes wrong is told. Answers false then, else the daemon's answer. */
async function act(method, path, body) {
  try {
    return await ask(method, path, body);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    // While the daemon is away, the bar at the top says so.
    if (error.status !== 0 || method !== "GET") notice(error.message);
    return false;
  }
}

const setAudio = (change) => act("PATCH", "/audio", change);

// One after the other: "let go" must not overtake "press".
let talking = false;
let talkChain = Promise.resolve();
// Pressed for so long only, and again and again: a page that is killed cannot let go.
const TALK_MS = 2000;
let talkTimer;
function talk(on) {
  if (on === talking || (on && !status?.audio.push_to_talk)) return;
  talking = on;
  clearInterval(talkTimer);
  const change = on ? { talking: true, talking_for_ms: TALK_MS } : { talking: false };
  talkChain = talkChain.then(() => setAudio(change));
  if (on) talkTimer = setInterval(() => (talkChain = talkChain.then(() => talking && setAudio(change))), TALK_MS / 4);
}

const timeline = new Timeline();
const actions = new CallActions(act);
const people = new People(act, (call) => select(call.id));
const recordings = new Recordings(act);
const sound = new Sound(act);
const scope = new Scope(timeline);
const cards = new Cards(actions, select);
const panel = new CallPanel(actions, {
  setAudio,
  talk,
  befriend: (call) => people.befriend(call),
  again: (call) => people.call(call.peer.name ?? call.peer.address),
});
const presence = new Switch(byId("dnd"), (on) => act("PUT", "/presence", { do_not_disturb: on }));

function select(id) {
  selected = id;
  if (status) render();
}

/** Which call is shown: the user's choice while it lives, else the one that matters most. */
function choose(calls) {
  const chosen = calls.find((call) => call.id === selected);
  if (chosen && chosen.state !== "ended") return chosen;
  const alive = calls.filter((call) => call.state !== "ended");
  return alive.find((call) => call.state === "active") ?? alive.at(-1) ?? chosen ?? calls.at(-1) ?? null;
}

function render() {
  const { calls, audio } = status;
  const call = choose(calls);
  selected = call?.id ?? null;
  const bundle = bundleInUse();
  show(byId("empty"), call === null);
  cards.update(calls, selected);
  panel.update(call, audio, bundle);
  timeline.frameMs(bundle.frame_ms);
  scope.codebooks(bundle.codebooks.length);
  scope.select(selected);
  if (call) scope.describe(nameOf(call));
  sound.update(audio);
  write(byId("trouble"), audio.trouble ? `${audio.trouble}; until there is one, calls are silent in this direction.` : "");
  show(byId("trouble"), Boolean(audio.trouble));
  presence.update(status.presence.do_not_disturb);
  write(byId("fingerprint"), status.fingerprint);
  show(byId("own-key"), true);
  const listening = listeningText(status.listening);
  write(byId("empty-listening"), status.presence.do_not_disturb ? "Do not disturb is on: callers are told that you are busy." : listening);
  foot();
  linkText();
  alertRinging(calls);
  title();
}

/** The bundle of the call that is shown, which may be another than the preferred one. */
function bundleInUse() {
  const call = status.calls.find((call) => call.id === selected);
  return status.others?.find((other) => other.tokens === call?.tokens) ?? status.bundle;
}

/** Time goes on between two messages. */
function foot() {
  if (!status) return;
  const bundle = bundleInUse();
  const since = link === "connected" ? (performance.now() - heardAt) / 1000 : 0;
  write(byId("foot"), `Parlo ${status.version} · model ${bundle.name} (bundle ${bundle.id.slice(0, 8)}, tokens ${bundle.tokens.slice(0, 8)}), ${bundle.sample_rate / 1000} kHz · running for ${clock(status.uptime_s + since)} · ${status.resident_mib.toFixed(0)} MiB of memory`);
}

/** Who can call here, by the address that the daemon listens at. */
function listeningText(address) {
  if (!address) return "Nobody can call you: this daemon does not listen.";
  const host = address.slice(0, address.lastIndexOf(":"));
  if (/^127\.|^\[::1\]$|^\[::ffff:127\./.test(host)) return `Only programs on this machine can call you: the daemon listens at ${address}. For others, start it with “parlod --listen 0.0.0.0:7275”.`;
  return `Friends reach you at port ${address.split(":").at(-1)} of this machine.`;
}

let announced = new Set();
function alertRinging(calls) {
  const ringing = calls.filter(rings);
  const fresh = ringing.filter((call) => !announced.has(call.id));
  if (fresh.length) write(byId("urgent"), `${fresh.map(nameOf).join(" and ")} ${fresh.length > 1 ? "are" : "is"} calling. Press a to answer, e to refuse.`);
  else if (!ringing.length) write(byId("urgent"), "");
  announced = new Set(ringing.map((call) => call.id));
  document.body.classList.toggle("ringing", ringing.length > 0);
}

let blink = false;
function title() {
  const ringing = status?.calls.find(rings);
  const active = status?.calls.find((call) => call.state === "active");
  let text = "Parlo";
  if (link !== "connected") text = "Parlo is away";
  else if (ringing) text = blink ? "☎ ☎ ☎" : `☎ ${nameOf(ringing)} is calling`;
  else if (active) text = `${active.recording ? "● " : ""}${nameOf(active)} – Parlo`;
  const shown = plain(text);
  if (document.title !== shown) document.title = shown;
}

function linkText() {
  const texts = { connecting: "Connecting", away: "Away", refused: "Not let in", connected: "Ready" };
  let text = texts[link];
  const talkingTo = status?.calls.filter((call) => call.state === "active").length ?? 0;
  if (link === "connected" && talkingTo) text = talkingTo === 1 ? "In a call" : `In ${talkingTo} calls`;
  write(byId("link-text"), text);
  attribute(byId("link"), "data-state", link);
}

function onLink(state) {
  if (state === link) return;
  const before = link;
  link = state;
  linkText();
  title();
  show(byId("away"), state === "away" || state === "refused");
  document.body.classList.toggle("is-away", state !== "connected");
  if (state === "away") {
    write(byId("away-title"), "Parlo's daemon is away.");
    write(byId("away-text"), "This page comes back by itself when it is there again. To start it, run parlod in a terminal.");
  } else if (state === "refused") {
    write(byId("away-title"), "Parlo does not let this page in.");
    write(byId("away-text"), "Its daemon has another token now. Reload this page to log in again; “parlo daemon open” prints the address with the token.");
  } else if (state === "connected") {
    if (before !== "connecting") {
      talking = false;
      clearInterval(talkTimer);
    }
    people.refresh();
    recordings.refresh();
    sound.refresh();
  }
}

let recorded = "";
function onStatus(message) {
  const { type: _, ...next } = message;
  status = next;
  heardAt = performance.now();
  timeline.keep(new Set(status.calls.map((call) => call.id)));
  const recording = status.calls.map((call) => call.recording).join();
  if (recording !== recorded) {
    recorded = recording;
    recordings.refresh();
  }
  render();
}

function onLive(live) {
  timeline.add(live);
  if (document.hidden) return;
  panel.live(live);
  cards.live(live.calls);
  sound.meters(live.meters);
  scope.news();
}

const events = new Events((message) => {
  if (message.type === "status") onStatus(message);
  else if (message.type === "live") onLive(message);
  else if (message.type === "notice") notice(message.text);
}, onLink);

setInterval(() => {
  foot();
  events.watch(status?.calls.some((call) => call.state === "active") ?? false);
  if (status?.calls.some(rings)) {
    blink = !blink && !scope.calm.matches;
    title();
  }
}, 1000);

byId("copy-key").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(status.key);
    notice("Your key is copied. Send it to your friend.");
  } catch {
    notice(`Your key: ${status.key}`);
  }
});

const selectedCall = () => status?.calls.find((call) => call.id === selected) ?? null;
startHelp();
startShortcuts({
  talk,
  canTalk: () => Boolean(status?.audio.push_to_talk && selectedCall()?.state === "active"),
  press: (id) => {
    const button = byId(id);
    // Only what could be clicked.
    if (!button.hidden && button.offsetParent !== null) button.click();
  },
  answer: () => {
    const call = status?.calls.find(rings);
    if (call) {
      actions.answer(call);
      select(call.id);
    }
  },
  end: () => {
    const call = status?.calls.find(rings) ?? selectedCall();
    if (call && call.state !== "ended") actions.end(call);
  },
});
window.addEventListener("focus", () => people.refresh());
window.addEventListener("pagehide", () => {
  if (!talking) return;
  // The page is going; nobody will let go of the button.
  fetch("/api/v1/audio", { method: "PATCH", keepalive: true, headers: { "Content-Type": "application/json" }, body: '{"talking":false}' });
});
