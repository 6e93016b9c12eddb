// Help on terms: a small "?" beside each, with a sentence or two that shows on hover, on focus and on touch.

import { byId, element, show } from "./dom.js";

/** Term -> its name, and what it is in plain words. */
export const TERMS = {
  key: ["key", "A key is a long name that nobody can fake. It begins with parlo:. Give yours to a friend (“Copy key”). The fingerprint is its short form: too short to call by, good to compare by voice, to be sure that nobody sits in between."],
  dnd: ["do not disturb", "While this is on, nobody rings here: callers are told that the line is busy."],
  level: ["levels", "How loud the voices are. dBFS counts down from the loudest that fits: −20 is normal speech, above −3 it distorts."],
  spectrogram: ["the sound heard", "A picture of what you hear. Time runs to the right, low tones are at the bottom, high ones at the top; the stronger the colour, the louder."],
  losses: ["losses", "The network sometimes loses packets. Each mark says what a fiftieth of a second was made of: what was sent, a rougher copy, a guess, or nothing."],
  lattice: ["tokens heard", "The voice travels as small numbers, called tokens: a column every fiftieth of a second. The top row says roughly how it sounds, each row below refines it. A colour is always the same number."],
  said: ["tokens said", "The same for your own voice: the numbers that are sent to the other side. Where it is empty, you were silent."],
  wire: ["sent over the wire", "Everything that leaves this machine for this call, in kilobits (1000 bits) a second. An ordinary internet call takes 30 to 100."],
  speech: ["speech", "The voice itself, squeezed as far as the model can predict it."],
  redundancy: ["redundancy", "Copies of earlier speech that repair what got lost. They grow when the network is bad."],
  headers: ["headers", "Parlo's own numbering, its proof that nobody changed the packet, and its reports on the network."],
  ip: ["IP", "Addresses that the internet puts on every packet: 28 bytes each, or 48 with IPv6. Bigger bundles need fewer packets."],
  delay: ["the delay", "How long a word takes from their mouth to your ear, stage by stage. Under 150 ms people do not notice it."],
  capture: ["capture", "The microphone and its buffers. Theirs is taken to be like yours."],
  frame: ["frame", "Speech is cut into frames, of 20 ms with most models, and a packet waits until its last frame is full."],
  network: ["network", "The way through the internet: half of the round trip that was measured when the call began."],
  jitter: ["jitter buffer", "Packets come unevenly. So some are kept waiting a little, so that sound never runs dry."],
  codec: ["coding", "The time to turn sound into tokens and back."],
  device: ["device", "Your loudspeaker and its buffers."],
  depth: ["depth", "How many rows of tokens may be sent. Each row makes the voice finer and costs up to 0.5 kbps. 4 is understandable, 12 is the finest."],
  bundling: ["bundling", "How many frames share a packet. More saves much of the headers, and adds delay."],
  latency: ["latency", "How long a packet may take to fill when the network is so bad that bundles must grow."],
  adapt: ["following the network", "While this is on, depth, bundling and copies follow what the network carries; the sliders are limits. While it is off, they stay as you set them."],
  conference: ["conference", "Calls with this on hear one another through you. The others stay apart."],
  auto: ["answering by itself", "Calls from this key are answered at once, without ringing: your microphone is then on without a click."],
  ptt: ["push to talk", "Your microphone is on only while you hold the space bar, or the talk button."],
  "side-tone": ["hearing yourself", "Plays a little of your own voice into your ear, as telephones do. All the way left is off."],
  high_pass: ["rumble filter", "Takes out rumble below 80 Hz: steps, wind, fans."],
  echo_cancellation: ["echo cancellation", "Takes out what the microphone hears of the loudspeaker, so that the others do not hear themselves. The number says by how much: 20 dB is a tenth as loud."],
  noise_suppression: ["noise suppression", "Takes out steady noise, such as a fan. The number says by how much."],
  gain_control: ["level control", "Brings quiet and loud voices to one level. The number says what it adds now."],
  silence: ["silence detection", "Sends almost nothing while you do not speak."],
  loss_heard: ["lost on the way here", "The share of the last second's frames that did not come in time, and had to be guessed."],
  loss_sent: ["lost on the way there", "The share of your packets that the other side says never came."],
  path: ["path", "What the network to the other side is thought to carry, from how packets arrive."],
  entropy: ["bits per frame", "How many bits a frame of your voice takes after prediction. The better the model foresees you, the fewer."],
  late: ["late", "Frames that came after all, but after their moment had passed."],
  round_trip: ["round trip", "The time to the other side and back, measured when the call began."],
  coding: ["coding time", "How long this machine takes for a packet's frames, encoding and decoding, in 99 of 100 cases."],
  misses: ["deadline misses", "Blocks of 10 ms that this program was too late with. Should be zero."],
  "server-late": ["sound server late", "Times that the system's sound server brought or asked for sound too late. Not this program's fault, but it may be heard."],
  drift: ["clock drift", "How much faster the sound device's clock runs than the machine's, in millionths. Parlo evens it out."],
};

/** A "?" button for a term. */
export const helpButton = (term) => arm(element("button", { type: "button", className: "help" }), term);

function arm(button, term) {
  button.dataset.help = term;
  button.textContent = "?";
  button.setAttribute("aria-label", `What is ${TERMS[term][0]}?`);
  return button;
}

/** Arms every "?" of the document, and shows the tip. */
export function startHelp() {
  const tip = byId("tip");
  let shown = null;
  let opened = 0;

  const close = () => {
    shown?.removeAttribute("aria-describedby");
    shown = null;
    show(tip, false);
  };
  const place = () => {
    const at = shown.getBoundingClientRect();
    if (at.bottom < 0 || at.top > innerHeight) return close();
    const left = Math.max(8, Math.min(at.left + at.width / 2 - tip.offsetWidth / 2, document.documentElement.clientWidth - tip.offsetWidth - 8));
    const below = at.bottom + 8;
    const top = below + tip.offsetHeight > innerHeight - 8 ? at.top - tip.offsetHeight - 8 : below;
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  };
  const open = (button) => {
    if (shown === button) return;
    close();
    shown = button;
    opened = performance.now();
    // In a modal dialog only its own children can be seen.
    (button.closest("dialog") ?? document.body).append(tip);
    tip.textContent = TERMS[button.dataset.help][1];
    button.setAttribute("aria-describedby", "tip");
    show(tip, true);
    place();
  };
  const button = (event) => event.target.closest?.("button.help");

  for (const each of document.querySelectorAll("button.help")) arm(each, each.dataset.help);
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "mouse" && button(event)) open(button(event));
  });
  document.addEventListener("pointerout", (event) => {
    const to = event.relatedTarget;
    if (event.pointerType === "mouse" && shown && to !== tip && to !== shown && document.activeElement !== shown) close();
  });
  document.addEventListener("focusin", (event) => (button(event) ? open(button(event)) : close()));
  document.addEventListener("focusout", (event) => {
    if (button(event) === shown) close();
  });
  document.addEventListener("click", (event) => {
    const pressed = button(event);
    if (!pressed) return close();
    // The press that gave it the focus has just opened it.
    if (shown === pressed && performance.now() - opened > 400) close();
    else open(pressed);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && shown) {
      event.preventDefault();
      close();
    }
  });
  // A control that gets the focus may be scrolled into view: the tip goes along.
  document.addEventListener("scroll", () => shown && place(), { passive: true, capture: true });
}
