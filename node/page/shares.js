// Shares: what others can find, how far it is hashed, and what is left out.
import { ask, attempt, empty, tool } from "./dialog.js";
import { bar, el, fill } from "./dom.js";
import { count, percent, size, some } from "./format.js";
import { icon } from "./icons.js";
import { get, poll, post, remove } from "./api.js";

const STATES = { listing: ["info", "Listing"], hashing: ["warn", "Hashing"], ready: ["good", "Ready"], offline: ["bad", "Folder is away"] };
const SAYS = {
  listing: "Names can be searched in a moment.",
  hashing: "Names can be found already. Files can be fetched as they are hashed; what somebody asks for comes first.",
  offline: "The folder is not there: an unplugged disk, perhaps. Nothing is taken for deleted; it is told to nobody until it is back.",
};

export function sharesView(view) {
  const cards = el("div", { cls: "cards" });
  const note = el("p", { cls: "quiet small", role: "status" });
  const opened = new Set(); // shares of which is shown what is left out
  let drawn = "";

  async function refresh() {
    const shares = await attempt(() => get("shares"));
    if (!shares) return;
    const text = JSON.stringify(shares);
    if (text === drawn) return; // so that nothing jumps under somebody's pointer
    drawn = text;
    const [files, bytes] = [shares.reduce((sum, share) => sum + share.files, 0), shares.reduce((sum, share) => sum + share.bytes, 0)];
    note.textContent = shares.length ? `${some(files, "file")}, ${size(bytes)}` : "";
    const add = el("button", { cls: "button primary", type: "button", onclick: () => addShare(refresh) }, icon("plus"), "Share a folder");
    if (shares.length) fill(cards, shares.map((share) => card(share, opened, refresh)));
    else fill(cards, el("div", { cls: "wide" }, empty("share", "Bring something to the table", "Folders that you share can be found by name by everybody in your group within seconds. Files are served in place: nothing is copied, nothing is changed.", add)));
  }

  fill(
    view,
    el("header", {}, el("div", { cls: "title" }, el("h1", {}, "Shares"), note, el("div", { cls: "tools" }, tool("plus", "Share a folder", () => addShare(refresh), { cls: "primary", id: "add-share" })))),
    el("div", { cls: "body" }, cards),
  );
  return poll(refresh, 1500);
}

async function addShare(refresh) {
  const given = await ask(
    "Share a folder",
    [
      el("label", {}, "Folder on the machine of the node", el("input", { name: "dir", required: true, placeholder: "/home/you/Music", autofocus: true, spellcheck: "false" })),
      el("label", {}, "Name that others see (optional)", el("input", { name: "name", placeholder: "the folder’s own", spellcheck: "false" })),
    ],
    "Share",
  );
  if (!given) return;
  await attempt(() => post("shares", { dir: given.dir.trim().replace(/(.)\/+$/, "$1"), name: given.name.trim() || null }), (share) => `${share.name} is being listed`);
  await refresh();
}

function card(share, opened, refresh) {
  const [look, word] = STATES[share.state] ?? ["", share.state];
  const isHashing = share.state === "hashing" || share.state === "listing";
  const button = (drawing, label, work, more = "") => el("button", { cls: `plain iconic ${more}`, type: "button", title: label, "aria-label": `${label}: ${share.name}`, onclick: work }, icon(drawing));
  const unshare = async () => {
    const sure = await ask(`Share ${share.name} no longer?`, [el("p", {}, "Others do not find it any more. The folder and its files stay as they are.")], "Share no longer", "danger");
    if (!sure) return;
    await attempt(() => remove(`shares/${encodeURIComponent(share.name)}`), `${share.name} is shared no longer`);
    await refresh();
  };
  const rescan = () => attempt(() => post(`shares/${encodeURIComponent(share.name)}/rescan`), `Looking for changes in ${share.name}`);
  return el(
    "section", { cls: "card", "aria-label": share.name },
    el(
      "div", { cls: "head" },
      el("span", { cls: "cut" }, el("h2", { cls: "cut" }, share.name)), el("span", { cls: `pill ${look}` }, word),
      el("div", { cls: "tools" }, el("a", { cls: "button plain iconic", href: `#peers/me/${encodeURIComponent(share.name)}`, title: "Look at it as others do", "aria-label": `Look at ${share.name} as others do` }, icon("open")), button("retry", "Look for changes", rescan), button("trash", "Share no longer", unshare, "danger")),
    ),
    el("code", { cls: "small faint cut", title: share.dir }, share.dir),
    isHashing && bar(share.bytes ? share.hashed_bytes / share.bytes : 0),
    el(
      "dl", { cls: "facts" },
      el("dt", {}, "Files"), el("dd", { cls: "num" }, count(share.files)),
      el("dt", {}, "Size"), el("dd", { cls: "num" }, size(share.bytes)),
      el("dt", {}, "Hashed"), el("dd", { cls: "num" }, percent(share.hashed_bytes, share.bytes)),
    ),
    SAYS[share.state] && el("p", { cls: "small quiet" }, SAYS[share.state]),
    share.skipped_count > 0 && skipped(share, opened),
  );
}

function skipped(share, opened) {
  const details = el("details", { open: opened.has(share.name) }, el("summary", { cls: "small quiet" }, `${some(share.skipped_count, "thing")} not shared`), el("ul", { cls: "lines" }, share.skipped.map((text) => el("li", {}, text))));
  details.addEventListener("toggle", () => (details.open ? opened.add(share.name) : opened.delete(share.name)));
  return details;
}
