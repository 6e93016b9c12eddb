// Keys of the whole page. They can be switched off, as single letters may collide with what speech input types.

import { byId } from "./dom.js";

const STORE = "parlo-shortcuts";

/** What a key means elsewhere: text in a field, a choice in a list, a press on a button. */
const typing = (target) => target.closest("input:not([type=checkbox]):not([type=range]):not([type=radio]), textarea, select");
const pressing = (target) => target.closest("button, a, summary, input, select, textarea, audio");

export function startShortcuts({ talk, canTalk, press, answer, end }) {
  const dialog = byId("shortcuts");
  const enabled = byId("shortcuts-on");
  try {
    enabled.checked = localStorage.getItem(STORE) !== "off";
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  enabled.addEventListener("change", () => {
    try {
      localStorage.setItem(STORE, enabled.checked ? "on" : "off");
    } catch {
      // As above.
    }
  });
  byId("show-shortcuts").addEventListener("click", () => dialog.showModal());

  const keys = {
    a: answer,
    e: end,
    m: () => press("mute"),
    h: () => press("hold"),
    r: () => press("record"),
    "?": () => dialog.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (!enabled.checked || dialog.open || event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (event.key === " ") {
      // On the talk button itself, the bar talks too.
      if (!canTalk() || (pressing(event.target) && event.target.id !== "talk")) return;
      event.preventDefault();
      if (!event.repeat) talk(true);
      return;
    }
    if (event.repeat || typing(event.target)) return;
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") talk(false);
  });
  window.addEventListener("blur", () => talk(false));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) talk(false);
  });
}
