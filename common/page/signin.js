// Signing in with a key that a verb of the program printed.
import { attempt } from "./dialog.js";
import { el } from "./dom.js";
import { post } from "./api.js";

/** Signs in with a key, a link that holds one, or the token. */
export const signIn = (text) => post("session", { key: text.trim().replace(/^.*#key=/, "") });

/** `where`: what is signed in to, which machine it is on, and the verb that prints a key. */
export function signinView(enter, where = { title: "Sign in to your node", machine: "node", command: "potluck page" }) {
  const input = el("input", { id: "key", name: "key", autocomplete: "off", spellcheck: "false", placeholder: "Key, or the whole link", required: true });
  const submit = async (event) => {
    event.preventDefault();
    const done = await attempt(async () => (await signIn(input.value), true));
    if (done) enter();
    else input.select();
  };
  const card = el(
    "form",
    { cls: "card", onsubmit: submit },
    el("img", { src: "/page/icon.svg", alt: "" }),
    el("h1", {}, where.title),
    el("p", { cls: "quiet" }, `Only you may use this page. In a terminal on the machine of the ${where.machine}, type`),
    el("div", { cls: "copyline" }, el("code", {}, where.command)),
    el("p", { cls: "quiet" }, "and open the link that it prints. It works once; this browser then stays signed in for a month. Or paste it here:"),
    el("label", { for: "key" }, "Key", input),
    el("button", { cls: "primary" }, "Sign in"),
  );
  queueMicrotask(() => input.focus());
  return el("main", { cls: "signin", id: "view" }, card);
}
