// The daemon: requests, and the stream of events with its reconnection.

const BASE = "/api/v1";

/** What went wrong with a request, in a sentence for people. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** Asks the daemon. Answers its JSON, or nothing if there is none. */
export async function ask(method, path, body) {
  const options = { method, headers: {}, cache: "no-store" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(BASE + path, options);
  } catch {
    throw new Refused(0, "Parlo's daemon does not answer. Is it running?");
  }
  const text = await answer.text();
  let json = null;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    // An answer that is not JSON is told by its status alone.
  }
  if (!answer.ok) throw new Refused(answer.status, json?.error ?? `Parlo's daemon refused this (${answer.status}).`);
  return json;
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5000;
const QUIET_AFTER_HIDDEN_MS = 5000;
// With the daemon silent this long, the connection is taken for dead. It speaks at least once a second during calls.
const DEAD_AFTER_MS = 20000;

/**
 * The event stream. Calls `onMessage(message)` and `onLink("connected" | "away" | "refused")`. Reconnects by itself.
 * While the page is hidden it asks for no live sound, so that forgotten tabs cost the daemon next to nothing.
 */
export class Events {
  constructor(onMessage, onLink) {
    Object.assign(this, { onMessage, onLink, socket: null, retry: FIRST_RETRY_MS, timer: null, live: !document.hidden });
    document.addEventListener("visibilitychange", () => this.visibility());
    window.addEventListener("online", () => this.now());
    this.open();
  }

  visibility() {
    clearTimeout(this.hiding);
    const want = (live) => {
      if (this.live === live) return;
      this.live = live;
      this.open();
    };
    if (document.hidden) this.hiding = setTimeout(() => want(false), QUIET_AFTER_HIDDEN_MS);
    else want(true);
  }

  now() {
    if (this.socket?.readyState !== WebSocket.OPEN) this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.timer = null;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const old = this.socket;
    const socket = new WebSocket(`${scheme}//${location.host}${BASE}/events${this.live ? "?live=true" : ""}`);
    this.socket = socket;
    // After the new one is in place: its end must not count as the daemon's.
    old?.close();
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      this.heard = performance.now();
      this.retry = FIRST_RETRY_MS;
      this.onLink("connected");
      this.onMessage(JSON.parse(event.data));
    };
    socket.onclose = () => this.lost(socket);
  }

  async lost(socket) {
    if (this.socket !== socket) return;
    // A browser does not tell why a WebSocket failed; a request does.
    let state = "away";
    try {
      await ask("GET", "/status");
    } catch (error) {
      if (error.status === 401 || error.status === 403) state = "refused";
    }
    if (this.socket !== socket) return;
    this.onLink(state);
    this.timer = setTimeout(() => this.open(), this.retry);
    this.retry = Math.min(this.retry * 1.6, LONGEST_RETRY_MS);
  }

  /** To be called now and then: gives up a connection over which nothing comes though it should. */
  watch(inCall) {
    if (inCall && this.socket?.readyState === WebSocket.OPEN && performance.now() - this.heard > DEAD_AFTER_MS) {
      this.onLink("away");
      this.open();
    }
  }
}
