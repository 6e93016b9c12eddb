// Placing calls, and contacts.

import { Rows, Switch, attribute, byId, element, show, write } from "./dom.js";

/** A button that asks once more before it does something for good. */
export function sureButton(text, act) {
  const button = element("button", { type: "button", className: "quiet", textContent: text });
  let timer = null;
  const calm = () => {
    clearTimeout(timer);
    timer = null;
    write(button, text);
  };
  button.addEventListener("click", () => {
    if (timer !== null) {
      calm();
      act();
      return;
    }
    write(button, "Really?");
    timer = setTimeout(calm, 4000);
  });
  button.addEventListener("blur", calm);
  return button;
}

export class People {
  constructor(act, dialled) {
    this.act = act;
    this.dialled = dialled;
    this.rows = new Rows(byId("contacts"), (contact) => contact.name, () => this.row());
    byId("dial").addEventListener("submit", (event) => {
      event.preventDefault();
      this.call(byId("dial-peer").value.trim());
    });
    byId("contact-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.add();
    });
  }

  async call(peer) {
    if (!peer) return;
    const call = await this.act("POST", "/calls", { peer });
    if (call === false) return;
    byId("dial-peer").value = "";
    this.dialled(call);
  }

  async add() {
    const name = byId("contact-name").value.trim();
    const entry = {
      address: byId("contact-address").value.trim() || null,
      key: byId("contact-key").value.trim(),
      auto_answer: byId("contact-auto").checked,
    };
    if ((await this.act("PUT", `/contacts/${encodeURIComponent(name)}`, entry)) === false) return;
    byId("contact-form").reset();
    byId("contact-fold").open = false;
    byId("contact-fold").querySelector("summary").focus();
    this.refresh();
  }

  /** Fills the form with a peer's key: only the name is missing. */
  befriend(call) {
    byId("contact-key").value = call.peer.key;
    byId("contact-address").value = call.direction === "outgoing" ? call.peer.address : "";
    byId("contact-fold").open = true;
    byId("contact-name").focus();
  }

  async refresh() {
    const contacts = await this.act("GET", "/contacts");
    if (contacts === false) return;
    this.rows.update(contacts);
    show(byId("contacts-empty"), contacts.length === 0);
    byId("dial-names").replaceChildren(...contacts.map(({ name }) => element("option", { value: name })));
  }

  row() {
    let now = null;
    const name = element("strong");
    const detail = element("span", { className: "soft" });
    const path = () => `/contacts/${encodeURIComponent(now.name)}`;
    const call = element("button", { type: "button", textContent: "Call", onclick: () => this.call(now.name) });
    const input = element("input", { type: "checkbox", role: "switch" });
    const answer = new Switch(input, async (auto) => {
      const done = await this.act("PUT", path(), { address: now.address, key: now.key, auto_answer: auto });
      this.refresh();
      return done;
    });
    const remove = sureButton("Remove", async () => {
      await this.act("DELETE", path());
      this.refresh();
    });
    const root = element(
      "li",
      {},
      element("div", { className: "item" }, element("div", { className: "item-text" }, name, detail), call),
      element("div", { className: "item-tools" }, element("label", { className: "switch small" }, input, element("span", { textContent: "Answer by itself" })), remove),
    );
    return {
      root,
      update: (contact) => {
        now = contact;
        write(name, contact.name);
        write(detail, [contact.fingerprint, contact.address, contact.psk && "shared secret"].filter(Boolean).join(" · "));
        show(call, contact.address !== null);
        attribute(call, "aria-label", `Call ${contact.name}`);
        attribute(input, "aria-label", `Answer ${contact.name} by itself`);
        attribute(remove, "aria-label", `Remove ${contact.name}`);
        answer.update(contact.auto_answer);
      },
    };
  }
}
