// What both pages do around their views: the way between them, and the way in.
import { attempt } from "./dialog.js";
import { el } from "./dom.js";
import { get } from "./api.js";
import { icon } from "./icons.js";
import { signIn } from "./signin.js";

/** The list of views, and the link to each by its key. */
export function navigation(views) {
  const links = {};
  const nav = el("nav", { cls: "nav", "aria-label": "Views" });
  for (const [key, { name, icon: drawing }] of Object.entries(views)) {
    links[key] = el("a", { href: `#${key}` }, icon(drawing), el("span", {}, name));
    nav.append(links[key]);
  }
  return { nav, links };
}

/** Marks the link of the view that is shown. */
export function mark(links, key) {
  for (const [known, link] of Object.entries(links)) {
    if (known === key) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Takes the key from the address, if one is there, and calls `enter` or, for who is not signed in, `leave`. */
export async function arrive(enter, leave) {
  const key = location.hash.match(/^#key=([0-9a-f]+)$/)?.[1];
  if (key) {
    history.replaceState(null, "", "/"); // it works once; nobody need find it in the history
    await attempt(() => signIn(key));
  }
  const session = await attempt(() => get("session"));
  if (session?.signed_in) enter();
  else leave();
}
